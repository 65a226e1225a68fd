"""Degeneration of written answers: how much they repeat, whether they are all the same, whether they are empty; and guards on it.

Steering may raise the share of answers in a language while it destroys them: the same words over and over, one answer to every prompt, or
none. Guards compare three shares with those of the unedited model's answers to the same prompts; none may rise by more than the limit:

repetition     of the 4-grams of tokens of an answer, those that occurred before in it; the mean over the answers (seq-rep-4 of Welleck et
               al. 2020, arXiv:1908.04319, as in `own_text`)
most frequent  of the answers, those that are the most frequent text, empty ones aside
empty          of the answers, those without text

The perplexity of plain text is no guard here: who steers away from a language raises the perplexity of its text by intent. Ours; the papers
apply whatever strength is requested. Knows texts; knows no plan.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resect.core.number_format import PLAIN
from resect.models.language_model import LanguageModel

from .own_text import repeated_share

#: Differences of shares that are rounding errors.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Degeneration:
    """How far some answers have degenerated.

    Parameters
    ----------
    answers : their number
    repetition : the mean share of an answer's 4-grams of tokens that occurred before in it, in [0, 1]
    most_frequent : the share of the most frequent text that is not empty, of all answers
    empty : the number of answers without text
    """

    answers: int
    repetition: float
    most_frequent: float
    empty: int

    @classmethod
    def of(cls, model: LanguageModel, texts: Sequence[str]) -> "Degeneration":
        """Measures one answer or more, in tokens of the model's tokenizer; white space around a text does not distinguish it."""
        plain = [text.strip() for text in texts]
        frequent = Counter(text for text in plain if text).most_common(1)
        tokens = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in plain]
        return cls(
            len(plain),
            math.fsum(map(repeated_share, tokens)) / len(plain),
            frequent[0][1] / len(plain) if frequent else 0.0,
            plain.count(""),
        )

    @property
    def empty_share(self) -> float:
        """The share of the answers without text."""
        return self.empty / self.answers

    def broken_guards(self, unedited: "Degeneration", limit: float | None) -> tuple[str, ...]:
        """Returns the guards that these answers break, in words; none without a limit. `unedited`: of answers to the same prompts."""
        if limit is None:
            return ()
        shares = {
            "repetition": (unedited.repetition, self.repetition),
            "same answer": (unedited.most_frequent, self.most_frequent),
            "empty answers": (unedited.empty_share, self.empty_share),
        }
        return tuple(
            f"{name} {PLAIN.percent(before)} → {PLAIN.percent(after)}"
            for name, (before, after) in shares.items()
            if after - before > limit + _ROUNDING
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the measures as a steering's file has them."""
        return {"repetition": self.repetition, "most_frequent": self.most_frequent, "empty": self.empty}
