"""The log-likelihood of plain text under a plan, computed in items that a journal stores. Knows a model and plans; knows no text file."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resect.core.execution import Entry, Workers, journal_key
from resect.core.number_format import BROKEN_PERPLEXITY
from resect.edits.plan import Plan, WorkWithPlan
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel
from resect.models.text_windows import row_chunks

#: The name of the side effect that is no task.
PERPLEXITY = "perplexity"
#: Tokens, as they are fed, of one item of work: some seconds of a small model.
ITEM_TOKENS = 2**16


@dataclass(frozen=True)
class RowsLogprob:
    """The total log-probability of rows of text, as work for an engine."""

    model: LanguageModel

    def __call__(self, rows: Sequence[Tokens]) -> Entry:
        """Computes it, with the model as it is now. Raises NotFinite, OutOfMemory."""
        return {"logprob": self.model.total_logprob(rows)}


def logprob_under(
    plan: Plan,
    model: LanguageModel,
    rows: Sequence[Tokens],
    key: str,
    workers: Workers,
    *,
    work: Callable[[Sequence[Tokens]], Entry] | None = None,
    allow_other_model: bool = False,
) -> float:
    """Returns total log-probability (natural logarithm) of rows of text under a plan.

    Parameters
    ----------
    key : names the rows in the journal
    work : on the rows of one item; default: `RowsLogprob`

    Raises NotFinite, OutOfMemory, and as `Plan.applied`.
    """
    items = list(row_chunks(sorted(rows, key=model.input_length, reverse=True), model.input_length, ITEM_TOKENS))
    keys = [journal_key(key, ITEM_TOKENS, plan.digest, place) for place in range(len(items))]
    under_plan = WorkWithPlan(plan, model, work or RowsLogprob(model), allow_other_model)
    stage = "reading plain text" if plan.is_empty else "reading plain text, edited"
    return math.fsum(entry["logprob"] for entry in workers.map(under_plan, items, keys, stage=stage))


def perplexity_kind(model: LanguageModel) -> str:
    """Returns the name of what is measured: for a masked model each token is scored with itself masked."""
    return "pseudo-perplexity" if model.kind == "masked" else "perplexity"


def is_beyond(model: LanguageModel, perplexity: float) -> bool:
    """Returns whether a text is beyond a model: it predicts its tokens no better than by guessing among its vocabulary."""
    vocabulary = getattr(model.model.config.get_text_config(), "vocab_size", None)
    return perplexity > min(BROKEN_PERPLEXITY, vocabulary or BROKEN_PERPLEXITY)
