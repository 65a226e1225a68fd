"""A text as shards: which windows each has, and the digest of all that was read."""

from typing import Any

import numpy as np
import pytest

import pico
from resect.methods.lape.text_shards import ShardedText
from resect.models.encoding import PromptEncoder

LINES = [f"line {place} of the text" for place in range(40)]


def text_of(documents: Any = LINES, **settings: Any) -> ShardedText:
    return ShardedText("en", documents, PromptEncoder(pico.tokenizer("causal"), "causal"), **({"window": 10} | settings))


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"shard_tokens": 300}, [30, 30, 23]),
        ({"shard_tokens": 309}, [30, 30, 23]),
        ({"shard_tokens": 3, "tokens": 35}, [1, 1, 1]),
        ({"tokens": 49}, [1] * 4),
        ({"tokens": 300}, [2] * 15),
        ({"tokens": 500}, [4] * 12 + [2]),
        ({"tokens": 10}, [1]),
        ({}, [83]),
    ],
    ids=str,
)
def test_shards_have_equal_numbers_of_windows_except_for_the_last(settings: dict[str, Any], sizes: list[int]) -> None:
    text = text_of(**settings)
    shards = list(text.shards())
    assert [len(shard.windows) for shard in shards] == sizes
    all_windows = next(text_of().shards()).windows
    assert (np.concatenate([shard.windows for shard in shards]) == all_windows[: sum(sizes)]).all()
    assert text.has_ended is ("tokens" not in settings)
    assert text.packed_tokens == 10 * sum(sizes) == text.expected_tokens()


def test_the_digest_is_of_all_windows_so_far_whatever_the_shards() -> None:
    digests = [shard.digest for shard in text_of(shard_tokens=100).shards()]
    assert len(set(digests)) == len(digests)
    assert [shard.digest for shard in text_of(shard_tokens=200).shards()][:2] == digests[1:4:2]
    other = [shard.digest for shard in text_of([*LINES[:12], "another", *LINES[13:]], shard_tokens=100).shards()]
    assert [mine == theirs for mine, theirs in zip(digests, other, strict=False)] == [True, True, *([False] * (len(digests) - 2))][
        : len(other)
    ]


def test_a_text_can_be_read_again() -> None:
    text = text_of(shard_tokens=100)
    first = [shard.digest for shard in text.shards()]
    next(text.shards())
    assert [shard.digest for shard in text.shards()] == first


def test_text_is_read_only_as_needed() -> None:
    read = []

    def documents():
        for place in range(100_000):
            read.append(place)
            yield "some words " * 20

    shards = text_of(documents(), shard_tokens=1000).shards()
    next(shards)
    assert len(read) <= 256
