"""Batch sizes: halved where memory runs out, and an error where a single row does not fit."""

import pytest
import torch

import pico
from resect.core.errors import InputError, OutOfMemory
from resect.models.anatomy import Anatomy
from resect.models.batching import Batcher


def batcher(batch_size: int) -> Batcher:
    model = pico.build("llama")
    return Batcher(model, Anatomy.of(model), batch_size)


def test_a_batch_that_does_not_fit_into_memory_is_halved() -> None:
    batches, processed = batcher(8), []

    def work(batch: range) -> int:
        if len(batch) > 3:
            raise torch.OutOfMemoryError("so many")
        processed.extend(batch)
        return len(batch)

    assert [result for _, result in batches.map_batches(range(7), work, lambda index: 1)] == [3, 3, 1]
    assert processed == list(range(7))
    assert batches.sizes == {"answers": 3}


def test_a_single_row_that_does_not_fit_into_memory_is_an_error() -> None:
    def work(batch: range) -> int:
        raise torch.OutOfMemoryError("even one")

    with pytest.raises(OutOfMemory, match="bfloat16"):
        list(batcher(8).map_batches(range(3), work, lambda index: 1))


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="1 on, not 0"):
        batcher(0)
