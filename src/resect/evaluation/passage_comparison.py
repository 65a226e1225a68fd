"""What a plan changes in the log loss of plain text: the same passages before and after, next to random plans."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from resect.core.comparison import Comparison
from resect.core.execution import Entry, Workers, journal_key
from resect.edits.plan import Plan
from resect.models.language_model import LanguageModel

from .compare import comparison_of_values
from .perplexity import PERPLEXITY, perplexity_kind
from .text_passages import Passages

#: What the comparison calls the text.
PLAIN_TEXT = "plain text"


@dataclass(frozen=True)
class PassageLossWork:
    """The losses of the same passages under one plan after the other, as work for an engine."""

    model: LanguageModel
    passages: Passages

    def __call__(self, plan: Plan) -> Entry:
        """Returns the negative log-probability of every passage. Raises NotFinite, OutOfMemory, and what a plan raises."""
        with plan.applied(self.model):
            return {"losses": self.passages.losses()}


def compare_passages(passages: Passages, plan: Plan, controls: Sequence[Plan], seed: int, workers: Workers) -> Comparison:
    """Compares the log loss of a token, averaged in each passage: unedited, edited and under controls; with the perplexities.

    Parameters
    ----------
    plan : an empty one changes nothing, and is not computed
    controls : random plans of the same size; their mean is reported
    seed : of the resampling behind intervals and tests

    Raises NotFinite, OutOfMemory, and what applying a plan raises.
    """
    model = passages.model
    plans = [Plan(), *([plan] if plan.edits else []), *controls]
    keys = [journal_key(passages.digest, compared.digest) for compared in plans]
    entries = workers.map(PassageLossWork(model, passages), plans, keys, stage="reading the text that is reported on")
    losses = [np.asarray(entry["losses"], dtype=np.float64) for entry in entries]
    base, edited, drawn = losses[0], losses[1] if plan.edits else losses[0], losses[2:]
    per_token = 1.0 / np.array([passages.scored_tokens(place) for place in range(passages.pairs)])
    comparison = comparison_of_values(
        PLAIN_TEXT,
        "logloss",
        base * per_token,
        edited * per_token,
        np.mean(drawn, axis=0) * per_token if drawn else None,
        groups=[str(place) for place in range(passages.pairs)],
        less_is_better=True,
        seed=seed,
    )
    perplexity = {"base": passages.perplexity(base.sum()), "edited": passages.perplexity(edited.sum()), "tokens": passages.tokens}
    return replace(comparison, side_effects={PERPLEXITY: {**perplexity, "kind": perplexity_kind(model)}})
