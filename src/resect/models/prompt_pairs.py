"""What a model is asked: pairs of prompt and continuation, encoded once, equal prompts together. Knows token ids; knows no model."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from resect.core.errors import InputError, NotFinite, OutOfMemory

from .encoding import Ids, Tokens


@dataclass(frozen=True)
class PromptPairs:
    """Pairs of prompt and continuation, encoded once, so that many plans can be asked the same.

    `prompts` are distinct, `labels[p]` the distinct labels asked of prompt p, `where[i] = (p, label)` finds pair i again.
    """

    prompts: tuple[Ids, ...]
    labels: tuple[tuple[Tokens, ...], ...]
    where: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, encoded: Iterable[Tokens]) -> "PromptPairs":
        """The requests of pairs, in their order."""
        places: dict[Ids, int] = {}
        labels: list[dict[Tokens, int]] = []
        where = []
        for tokens in encoded:
            prompt = places.setdefault(tokens.input_ids, len(places))
            if prompt == len(labels):
                labels.append({})
            where.append((prompt, labels[prompt].setdefault(tokens, len(labels[prompt]))))
        return cls(tuple(places), tuple(map(tuple, labels)), tuple(where))

    def __len__(self) -> int:
        return len(self.where)

    @property
    def tokens(self) -> list[Tokens]:
        """The tokens of each pair, in the order in which they were asked for."""
        return [self.labels[prompt][label] for prompt, label in self.where]

    def gathered(self, totals: Sequence[Sequence[float]]) -> Float64[np.ndarray, " pairs"]:
        """The log-probability of each pair, from those of each prompt's labels. Raises NotFinite."""
        scores = np.array([totals[prompt][label] for prompt, label in self.where], dtype=np.float64)
        if np.isnan(scores).any():
            raise NotFinite(
                f"{int(np.isnan(scores).sum())} of {len(scores)} log-probabilities are NaN. The weights or the dtype are at fault: "
                "try --dtype float32, and look for NaN in the checkpoint."
            )
        return scores


@contextmanager
def single_batch(rows: int, tokens: int) -> Iterator[None]:
    """What is run inside is one batch. Raises OutOfMemory, in words, where memory does not hold it."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(
            f"{rows} rows of up to {tokens} tokens do not fit into memory at once. Try a smaller --batch-size, --dtype bfloat16, "
            "--device-map auto, or shorter prompts."
        ) from error


def equal_length_texts(**named: Sequence[str]) -> list[Sequence[str]]:
    """Lists of texts, equally many in each. Raises InputError: one text instead of a list would be taken for a list of letters."""
    for name, texts in named.items():
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{name} is a list of texts, not {texts!r:.60}.")
    counts = {name: len(texts) for name, texts in named.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"There are as many of each: {', '.join(f'{count} {name}' for name, count in counts.items())}.")
    return list(named.values())
