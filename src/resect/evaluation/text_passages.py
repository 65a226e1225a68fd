"""Passages of plain text, whose log loss scores candidate edits as a task's questions do. Knows texts and a model; no task and no plan."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from resect.core.errors import InputError
from resect.core.execution import journal_key
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel
from resect.models.prompt_pairs import one_batch
from resect.models.text_windows import DEFAULT_WINDOW


class Passages:
    """Windows of plain text; the value of each is the negative log-probability of its tokens (natural logarithm): less is better.

    Parameters
    ----------
    texts : documents, opened by BOS and closed by EOS where the tokenizer defines them
    part, parts : every `parts`-th passage, from the one of number `part` on
    limit : at most so many of them, spread evenly

    Raises InputError where the texts hold nothing to score.
    """

    metric, less_is_better, best_value, replayable = "logloss", True, 0.0, True

    def __init__(self, model: LanguageModel, texts: Sequence[str], part: int = 0, parts: int = 1, limit: int | None = None) -> None:
        window = min(DEFAULT_WINDOW, model.context or DEFAULT_WINDOW)
        rows = list(model.window_rows(model.encoder.encode_documents(texts), window))[part::parts]
        every = 1 if limit is None else max(1, math.ceil(len(rows) / limit))
        self.model, self._rows = model, tuple(rows[::every])
        if not self._rows:
            raise InputError("The text is too short: no passage of two tokens or more is left to score. Give more of it (--text).")
        self.digest = journal_key("passages", [list(texts), part, parts, every])

    @property
    def rows(self) -> tuple[Tokens, ...]:
        """The passages as they are scored, in their own order."""
        return self._rows

    @property
    def pairs(self) -> int:
        """The number of passages."""
        return len(self._rows)

    @property
    def tokens(self) -> int:
        """The number of scored tokens."""
        return sum(len(row.label_ids) for row in self._rows)

    def perplexity(self, loss: float) -> float:
        """Returns the perplexity of the passages, from their total negative log-probability."""
        return math.exp(loss / self.tokens)

    def allowance(self, rise: float) -> float:
        """Returns by how much the total negative log-probability may rise where the perplexity may rise by this share."""
        return self.tokens * math.log1p(rise)

    def scored_tokens(self, pair: int) -> int:
        """Returns the number of scored tokens of a passage."""
        return len(self._rows[pair].label_ids)

    def losses(self) -> Float64[np.ndarray, " passages"]:
        """Returns the negative log-probability of every passage, with the model as it is now. Raises NotFinite, OutOfMemory."""
        return -self.model.row_logprobs(self._rows)

    def length(self, pair: int) -> int:
        """Returns tokens of a passage."""
        return self.model.input_length(self._rows[pair])

    def batch(self, pairs: Sequence[int]) -> "PassageBatch":
        """Returns some passages, to be scored in one batch."""
        return PassageBatch(tuple(pairs), self.model, tuple(self._rows[pair] for pair in pairs))


@dataclass(frozen=True)
class PassageBatch:
    """Passages that are scored at once."""

    pairs: tuple[int, ...]
    model: LanguageModel
    rows: tuple[Tokens, ...]

    def evaluate(self) -> tuple[Float64[np.ndarray, " pairs"], Float64[np.ndarray, " pairs"]]:
        """Returns negative log-probabilities, and margins: these times −1. Raises NotFinite, OutOfMemory."""
        with one_batch(len(self.rows), max(map(self.model.input_length, self.rows))):
            logprobs = np.array(self.model.one_batch_logprobs(self.rows), dtype=np.float64)
        return -logprobs, logprobs
