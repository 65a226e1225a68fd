"""How much is run at once: found from the first work of a kind, halved where memory runs out, and kept. Knows no text and no task."""

import gc
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from resect.core.errors import InputError, OutOfMemory

from .anatomy import Anatomy

Answer = TypeVar("Answer")
#: What a batch is for: choices after prompts, gradients of an answer (which keep all layers), every token of a text (logits of all),
#: windows of a text (no logits).
Purpose = Literal["answers", "gradients", "text", "windows"]
#: Bytes of activations that a batch may take on a CPU, where running out of memory kills the process instead of raising.
CPU_BATCH_BYTES = 256 * 2**20
LARGEST_BATCH = 32


class Batcher:
    """Places in batches.

    Parameters
    ----------
    model : the Hugging Face model
    batch_size : rows run at once; "auto": what fits a fixed budget (CPU) or half of the free memory (GPU)

    `sizes`: places run at once, by purpose; what is found stands there, and what stands there is used.

    Raises InputError for a size below 1.
    """

    def __init__(self, model: Any, anatomy: Anatomy, batch_size: int | Literal["auto"] = "auto") -> None:
        if batch_size != "auto" and batch_size < 1:
            raise InputError(f"A batch size is 'auto' or a number from 1 on, not {batch_size}.")
        self._model, self._anatomy, self._given = model, anatomy, batch_size
        self.sizes: MutableMapping[str, int] = {}

    def run(
        self,
        places: Sequence[int],
        work: Callable[[Sequence[int]], Answer],
        length: Callable[[int], int],
        *,
        purpose: Purpose = "answers",
        rows: int = 1,
    ) -> Iterator[tuple[Sequence[int], Answer]]:
        """Yield (batch, work(batch)) over all places in order; a batch that memory cannot hold is halved and tried again.

        `length(place)` in tokens; the first place has the greatest. `rows`: how many rows a place has. Raises OutOfMemory where a single
        place does not fit.
        """
        if places:
            self.size(length(places[0]), purpose, rows)
        done = 0
        while done < len(places):
            part = places[done : done + self.sizes[purpose]]
            try:
                answer = work(part)
            except (torch.OutOfMemoryError, MemoryError) as error:
                if len(part) == 1:
                    raise OutOfMemory(
                        f"Not even one row of {length(part[0])} tokens fits into memory. "
                        "Try --dtype bfloat16, --device-map auto, or shorter prompts."
                    ) from error
                self.sizes[purpose] = len(part) // 2
            else:
                done += len(part)
                yield part, answer
                continue
            # Outside the handler, so that the failed batch's tensors are no longer held by the traceback.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    @property
    def is_automatic(self) -> bool:
        """Whether sizes are found here, not given."""
        return self._given == "auto"

    def size(self, tokens: int, purpose: Purpose = "answers", rows: int = 1) -> int:
        """Places run at once for a purpose; found from the longest place's tokens where it is not known yet."""
        if purpose not in self.sizes:
            self.sizes[purpose] = self._found(tokens, purpose, rows)
        return self.sizes[purpose]

    def _found(self, tokens: int, purpose: Purpose, rows: int) -> int:
        """Places of `rows` rows of `tokens` tokens whose activations fit."""
        if self._given != "auto":
            return max(1, self._given // rows)
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
        return int(np.clip(budget // max(rows * row, 1), 1, LARGEST_BATCH))
