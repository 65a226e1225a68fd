"""Packing: the windows of all ids in a row, whatever the documents are like."""

import itertools

import pytest

from resect.core.errors import InputError
from resect.models.text_windows import WindowPacker, full_window


@pytest.mark.parametrize("window", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("lengths", [(), (0,), (3,), (1, 1, 1, 1), (5, 0, 9), (20, 1, 13), (2,) * 30], ids=str)
def test_windows_are_those_of_the_joined_documents(window: int, lengths: tuple[int, ...]) -> None:
    number = itertools.count()
    documents = [tuple(itertools.islice(number, length)) for length in lengths]
    joined = [each for document in documents for each in document]
    packing = WindowPacker(window)
    found = list(packing.windows(iter(documents)))
    assert all(len(each) == window for each in found)
    assert [each for piece in found for each in piece] == joined[: len(joined) - packing.dropped]
    assert packing.dropped == len(joined) % window


def test_windows_come_as_the_documents_do() -> None:
    packing, read = WindowPacker(4), []

    def documents():
        for place in range(10):
            read.append(place)
            yield (place,) * 2

    windows = packing.windows(documents())
    assert next(windows) == (0, 0, 1, 1)
    assert read == [0, 1]
    assert packing.dropped == 0


def test_the_default_window_is_the_context_up_to_a_limit() -> None:
    assert full_window(512, "causal") == 512
    assert full_window(100_000, "causal") == 4096
    assert full_window(None, "causal") == 512
    assert full_window(77, "causal") == 77
    assert full_window(77, "encoder-decoder") == 76  # half is read by the encoder, half by the decoder
    assert full_window(100_000, "causal", 5000) == 5000
    assert full_window(512, "encoder-decoder", 33) == 33


@pytest.mark.parametrize("window", [0, 1, 513])
def test_a_window_beyond_the_context_is_refused(window: int) -> None:
    with pytest.raises(InputError, match="2 to 512"):
        full_window(512, "causal", window)
