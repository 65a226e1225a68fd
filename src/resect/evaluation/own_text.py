"""Text that a model writes by itself: its perplexity under an edit, and how much greedy continuations repeat.

Perplexity of a given text says what an edit does to that text only: where the text is foreign to a model, an edit may make it more probable
while the model can no longer write. Two measures need no text of the right kind:

own text      tokens that the unedited model samples at temperature 1 after its first token (encoder-decoder: after the first half of a
              passage); the mean negative log-probability that the edited model gives them.
repetition    greedy continuations of pieces of plain text; the share of the 4-grams of tokens that occurred before in the same
              continuation, averaged over the continuations: seq-rep-4 of Welleck et al. 2020 (arXiv:1908.04319).

A masked model writes no text. Knows a model, passages and plans; knows no search and no limit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from resect.core.execution import Entry, Workers, journal_key
from resect.edits.plan import Plan
from resect.models.encoding import Ids, Tokens
from resect.models.language_model import LanguageModel, perplexity_of

from .text_passages import Passages

#: What comparison.json calls the side effect, and the text.
OWN_TEXT, OWN_TEXT_NAME = "own text", "text of the model's own writing"
STAGE = "writing text of the model's own"
#: Seeds of the texts that a search may use, and of those that are reported on.
SEARCHED, REPORTED = 0, 1
#: Sampled texts, and the most tokens of each.
TEXTS, TEXT_TOKENS = 16, 64
#: Prompts that are continued greedily, tokens of each, and the most tokens of a continuation.
PROMPTS, PROMPT_TOKENS, CONTINUATION_TOKENS = 16, 16, 48
#: Tokens of the runs whose repetition is counted.
RUN = 4


@dataclass(frozen=True)
class Writing:
    """What a model, edited or not, makes of own text and prompts.

    Parameters
    ----------
    loss : mean negative log-probability of a token of the unedited model's own text (natural logarithm)
    continuations : the greedy ids after each prompt
    """

    loss: float
    continuations: tuple[Ids, ...]

    @property
    def perplexity(self) -> float:
        """The perplexity of the unedited model's own text. Raises NotFinite where a float cannot represent it."""
        return perplexity_of(-self.loss, 1)

    @property
    def repetition(self) -> float:
        """The mean share of the 4-grams of a continuation that occurred before in it, in [0, 1]."""
        return math.fsum(map(repeated_share, self.continuations)) / max(1, len(self.continuations))


@dataclass(frozen=True)
class OwnText:
    """What the unedited model wrote, and prompts to be continued.

    Parameters
    ----------
    rows : the sampled tokens as labels, after what they continue
    prompts : pieces of plain text
    digest : names all of it in a journal
    """

    model: LanguageModel = field(repr=False)
    rows: tuple[Tokens, ...] = field(repr=False)
    prompts: tuple[Tokens, ...] = field(repr=False)
    digest: str

    @classmethod
    def of(cls, model: LanguageModel, passages: Passages, seed: int, workers: Workers) -> "OwnText | None":
        """Samples texts from the model as it is now; None for a masked model, which writes none.

        Parameters
        ----------
        passages : where prompts are taken from; and what the sampled texts continue where the model cannot begin by itself
        seed : of the samples; the same texts for the same seed

        Raises NotFinite, OutOfMemory.
        """
        if model.kind == "masked":
            return None
        openings, room = _openings(model, passages), TEXT_TOKENS if model.context is None else min(TEXT_TOKENS, model.context - 1)
        digest = journal_key("own text", passages.digest, seed, TEXTS, TEXT_TOKENS, PROMPTS, PROMPT_TOKENS, CONTINUATION_TOKENS)

        def sample() -> Entry:
            generator = torch.Generator(device="cpu").manual_seed(seed)
            draws = torch.rand((TEXTS, room), generator=generator, dtype=torch.float64)
            workers.progress(STAGE, 0, 1)
            texts = [list(ids) for ids in model.continue_prompts(openings, room, draws)]
            workers.progress(STAGE, 1, 1)
            return {"texts": texts}

        texts = workers.remember(digest, sample)["texts"]
        rows = tuple(Tokens(opening.input_ids, tuple(ids)) for opening, ids in zip(openings, texts, strict=True))
        return cls(model, rows, tuple(_prompts(model, passages)), digest)

    @property
    def tokens(self) -> int:
        """The number of scored tokens."""
        return sum(len(row.label_ids) for row in self.rows)

    def loss(self) -> float:
        """Returns the mean negative log-probability of a token, with the model as it is now. Raises NotFinite, OutOfMemory."""
        return -self.model.total_logprob(self.rows) / self.tokens

    def continuations(self) -> tuple[Ids, ...]:
        """Returns the greedy ids after each prompt, with the model as it is now. Raises NotFinite, OutOfMemory."""
        room = CONTINUATION_TOKENS
        if self.model.kind == "causal" and self.model.context is not None:
            room = min(room, self.model.context - max(len(prompt.input_ids) for prompt in self.prompts))
        return tuple(self.model.continue_prompts(self.prompts, max(1, room)))

    def writings(self, plans: Sequence[Plan], workers: Workers) -> list[Writing]:
        """Returns what the model makes of it under each plan. Raises NotFinite, OutOfMemory, and what applying a plan raises."""
        keys = [journal_key(self.digest, "writing", plan.digest) for plan in plans]
        entries = workers.map(WritingWork(self), plans, keys, stage="reading and writing text of the model's own")
        return [Writing(entry["loss"], tuple(map(tuple, entry["continuations"]))) for entry in entries]

    def compared(self, plan: Plan, workers: Workers, texts: int = 4) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the side effect on own text, and the greedy samples, before and after a plan, as comparison.json has them.

        `texts`: so many samples as texts. Raises as `writings`.
        """
        base, *rest = self.writings([Plan(), *([plan] if plan.edits else [])], workers)
        edited = rest[0] if rest else base
        perplexities = {"base": base.perplexity, "edited": edited.perplexity}
        effect = {**perplexities, "kind": "perplexity", "text": OWN_TEXT_NAME, "tokens": self.tokens}
        shown = list(zip((prompt.input_ids for prompt in self.prompts), base.continuations, edited.continuations, strict=True))[:texts]
        samples = {
            "n": len(self.prompts),
            "repetition": {"base": base.repetition, "edited": edited.repetition},
            "texts": [dict(zip(("prompt", "base", "edited"), map(self._text, ids), strict=True)) for ids in shown],
        }
        return effect, samples

    def _text(self, ids: Ids) -> str:
        return str(self.model.tokenizer.decode(ids, skip_special_tokens=True))


@dataclass(frozen=True)
class WritingWork:
    """The loss of own text and the greedy continuations under one plan after the other, as work for an engine."""

    own: OwnText

    def __call__(self, plan: Plan) -> Entry:
        """`loss` and `continuations`. Raises NotFinite, OutOfMemory, and what a plan raises."""
        with plan.applied(self.own.model):
            return {"loss": self.own.loss(), "continuations": [list(ids) for ids in self.own.continuations()]}


def repeated_share(ids: Sequence[int], run: int = RUN) -> float:
    """Returns the share of the runs of `run` tokens that occurred before in the same sequence, in [0, 1); 0 where it is shorter.

    seq-rep-n of Welleck et al. 2020 (arXiv:1908.04319): 1 − distinct n-grams / n-grams.

    >>> repeated_share([1, 2, 3, 1, 2, 3, 1, 2, 3], run=3), repeated_share([1, 2, 3, 4, 5]), repeated_share([1, 2])
    (0.5714285714285714, 0.0, 0.0)
    """
    runs = [tuple(ids[start : start + run]) for start in range(len(ids) - run + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _openings(model: LanguageModel, passages: Passages) -> list[Tokens]:
    """Returns what each sampled text continues: BOS, or EOS, which separates documents; else the first tokens of passages.

    An encoder-decoder reads the beginning of a passage, as much of it as its encoder reads where passages are scored.
    """
    rows = _spread(passages.rows, TEXTS)
    if model.kind == "encoder-decoder":
        return [Tokens(row.input_ids[:TEXT_TOKENS], ()) for row in rows]
    first = next((token for token in (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id) if token is not None), None)
    return [Tokens(row.input_ids[:1] if first is None else (first,), ()) for row in rows]


def _prompts(model: LanguageModel, passages: Passages) -> list[Tokens]:
    """Returns pieces of passages, evenly spread, each after BOS where the tokenizer defines it (causal)."""
    pieces, bos = list[Ids](), model.tokenizer.bos_token_id
    for row in passages.rows:
        ids = row.input_ids if model.kind == "encoder-decoder" else row.input_ids + row.label_ids
        starts = [*range(0, max(1, len(ids) - PROMPT_TOKENS + 1), PROMPT_TOKENS)]
        pieces += [ids[start : start + PROMPT_TOKENS] for start in starts]
    chosen = [pieces[place] for place in sorted({round(place) for place in np.linspace(0, len(pieces) - 1, PROMPTS)})]
    leading = () if model.kind == "encoder-decoder" or bos is None else (bos,)
    return [Tokens((leading if ids[:1] != leading else ()) + ids, ()) for ids in chosen]


def _spread(rows: Sequence[Tokens], count: int) -> list[Tokens]:
    """Returns so many rows, evenly spread; some of them several times where there are fewer."""
    return [rows[place * len(rows) // count] for place in range(count)]
