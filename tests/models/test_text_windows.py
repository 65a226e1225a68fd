"""Windows: those of the joined documents, and their default size."""

import itertools

import pytest

from resect.core.errors import InputError
from resect.models.text_windows import WindowPacker, window_size


@pytest.mark.parametrize("window", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("lengths", [(), (0,), (3,), (1, 1, 1, 1), (5, 0, 9), (20, 1, 13), (2,) * 30], ids=str)
def test_windows_are_those_of_the_joined_documents(window: int, lengths: tuple[int, ...]) -> None:
    number = itertools.count()
    documents = [tuple(itertools.islice(number, length)) for length in lengths]
    joined = [token for document in documents for token in document]
    packer = WindowPacker(window)
    windows = list(packer.windows(iter(documents)))
    assert all(len(piece) == window for piece in windows)
    assert [token for piece in windows for token in piece] == joined[: len(joined) - packer.dropped]
    assert packer.dropped == len(joined) % window


def test_documents_are_read_only_as_windows_need_them() -> None:
    packer, read = WindowPacker(4), []

    def documents():
        for index in range(10):
            read.append(index)
            yield (index,) * 2

    windows = packer.windows(documents())
    assert next(windows) == (0, 0, 1, 1)
    assert read == [0, 1]
    assert packer.dropped == 0


def test_the_default_window_is_the_context_up_to_a_limit() -> None:
    assert window_size(512, "causal") == 512
    assert window_size(100_000, "causal") == 4096
    assert window_size(None, "causal") == 512
    assert window_size(77, "causal") == 77
    assert window_size(77, "encoder-decoder") == 76  # the encoder reads half, the decoder half
    assert window_size(100_000, "causal", 5000) == 5000
    assert window_size(512, "encoder-decoder", 33) == 33


@pytest.mark.parametrize("window", [0, 1, 513])
def test_a_window_beyond_the_context_is_refused(window: int) -> None:
    with pytest.raises(InputError, match="2 to 512"):
        window_size(512, "causal", window)
