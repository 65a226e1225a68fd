"""Pairs of prompt and continuation, encoded once, equal prompts grouped. Knows token ids; knows no model."""

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
    """Pairs of prompt and continuation, encoded once, to be scored under many plans.

    `prompts` are distinct, `labels[p]` are the distinct labels of prompt p, and pair i is `positions[i]` = (p, index of the label).
    """

    prompts: tuple[Ids, ...]
    labels: tuple[tuple[Tokens, ...], ...]
    positions: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, encoded: Iterable[Tokens]) -> "PromptPairs":
        """Returns the grouped pairs of encoded ones."""
        prompts: dict[Ids, int] = {}
        labels: list[dict[Tokens, int]] = []
        positions = []
        for tokens in encoded:
            prompt = prompts.setdefault(tokens.input_ids, len(prompts))
            if prompt == len(labels):
                labels.append({})
            positions.append((prompt, labels[prompt].setdefault(tokens, len(labels[prompt]))))
        return cls(tuple(prompts), tuple(map(tuple, labels)), tuple(positions))

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def tokens(self) -> list[Tokens]:
        """The tokens of each pair, in the order of the pairs."""
        return [self.labels[prompt][label] for prompt, label in self.positions]

    def gather(self, totals: Sequence[Sequence[float]]) -> Float64[np.ndarray, " pairs"]:
        """Returns the log-probability of each pair, from those of each prompt's labels. Raises NotFinite."""
        scores = np.array([totals[prompt][label] for prompt, label in self.positions], dtype=np.float64)
        if np.isnan(scores).any():
            raise NotFinite(
                f"{int(np.isnan(scores).sum())} of {len(scores)} log-probabilities are NaN. The cause is in the weights or the dtype: "
                "try --dtype float32, and check the checkpoint for NaN."
            )
        return scores


@contextmanager
def one_batch(rows: int, tokens: int) -> Iterator[None]:
    """Context manager around the forward calls of one batch: raises OutOfMemory, with advice, where it does not fit into memory."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(
            f"{rows} rows of up to {tokens} tokens do not fit into memory at once. Try a smaller --batch-size, --dtype bfloat16, "
            "--device-map auto, or shorter prompts."
        ) from error


def check_texts(**named: Sequence[str]) -> list[Sequence[str]]:
    """Returns lists of texts of equal length. Raises InputError: one text instead of a list would be read as a list of letters."""
    for name, texts in named.items():
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{name} is a list of texts, not {texts!r:.60}.")
    counts = {name: len(texts) for name, texts in named.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"There must be as many of each: {', '.join(f'{count} {name}' for name, count in counts.items())}.")
    return list(named.values())
