"""Batch sizes: found at the first batch of each purpose, halved where memory runs out, and kept. Knows no text and no task."""

import gc
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from resect.core.errors import InputError, OutOfMemory

from .anatomy import Anatomy

Result = TypeVar("Result")
#: What a batch is for: choices after prompts, gradients of an answer (which store all layers), every token of a text (logits of all),
#: windows of a text (no logits).
Purpose = Literal["answers", "gradients", "text", "windows"]
#: Bytes of activations of a batch on a CPU, where running out of memory kills the process instead of raising an error.
CPU_BATCH_BYTES = 256 * 2**20
MAX_BATCH_SIZE = 32


class Batcher:
    """Splits indices into batches.

    Parameters
    ----------
    model : the Hugging Face model
    batch_size : rows in a batch; "auto": what fits a fixed budget (CPU) or half of the free memory (GPU)

    `sizes`: indices in a batch, by purpose; sizes that are found are stored here, and sizes that are here are used.

    Raises InputError for a size below 1.
    """

    def __init__(self, model: Any, anatomy: Anatomy, batch_size: int | Literal["auto"] = "auto") -> None:
        if batch_size != "auto" and batch_size < 1:
            raise InputError(f"A batch size is 'auto' or a number from 1 on, not {batch_size}.")
        self._model, self._anatomy, self._batch_size = model, anatomy, batch_size
        self.sizes: MutableMapping[str, int] = {}

    def map_batches(
        self,
        indices: Sequence[int],
        work: Callable[[Sequence[int]], Result],
        length: Callable[[int], int],
        *,
        purpose: Purpose = "answers",
        rows: int = 1,
    ) -> Iterator[tuple[Sequence[int], Result]]:
        """Yields (batch, work(batch)) over all indices in order; a batch that does not fit into memory is halved and tried again.

        `length(index)` in tokens; the first index has the longest. `rows`: how many rows an index has. Raises OutOfMemory where a single
        index does not fit.
        """
        if indices:
            self.size_for(length(indices[0]), purpose, rows)
        done = 0
        while done < len(indices):
            batch = indices[done : done + self.sizes[purpose]]
            try:
                result = work(batch)
            except (torch.OutOfMemoryError, MemoryError) as error:
                if len(batch) == 1:
                    raise OutOfMemory(
                        f"Not even one row of {length(batch[0])} tokens fits into memory. "
                        "Try --dtype bfloat16, --device-map auto, or shorter prompts."
                    ) from error
                self.sizes[purpose] = len(batch) // 2
            else:
                done += len(batch)
                yield batch, result
                continue
            # Outside the handler, so that the traceback no longer refers to the failed batch's tensors.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    @property
    def is_automatic(self) -> bool:
        """Whether batch sizes are found automatically."""
        return self._batch_size == "auto"

    def size_for(self, tokens: int, purpose: Purpose = "answers", rows: int = 1) -> int:
        """Returns the indices in a batch for a purpose; found from the tokens of the longest one where it is not known yet."""
        if purpose not in self.sizes:
            self.sizes[purpose] = self._find_size(tokens, purpose, rows)
        return self.sizes[purpose]

    def _find_size(self, tokens: int, purpose: Purpose, rows: int) -> int:
        """Returns how many indices of `rows` rows of `tokens` tokens fit."""
        if self._batch_size != "auto":
            return max(1, self._batch_size // rows)
        config, anatomy = self._model.config.get_text_config(), self._anatomy
        heads = getattr(config, "num_attention_heads", None) or 1
        embedding = self._model.get_input_embeddings().weight
        row = (tokens * (16 * anatomy.d_model + 4 * anatomy.d_ff) + heads * tokens**2) * embedding.element_size()
        if purpose == "gradients":
            row *= sum(anatomy.layers.values())
        elif purpose == "text":  # logits of every token, and their logarithms in float32
            row += tokens * embedding.shape[0] * (embedding.element_size() + 4)
        device = embedding.device
        budget = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else CPU_BATCH_BYTES
        return int(np.clip(budget // max(rows * row, 1), 1, MAX_BATCH_SIZE))
