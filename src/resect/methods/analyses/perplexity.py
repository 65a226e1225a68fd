"""Perplexity of plain text with a sliding window, before and after the plan. Knows no task.

As in transformers ("Perplexity of fixed-length models"): all documents are one sequence of tokens; a window moves by a stride, and scores
the tokens that no earlier window has scored, so that each is predicted from at least window − stride tokens (except in the first window).
Other kinds of model have no sliding window: see `explanation`.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from resect.core.errors import InputError
from resect.core.execution import Entry, journal_key
from resect.edits.plan import Plan
from resect.evaluation.perplexity import logprob_under, perplexity_kind
from resect.models.batching import Batcher
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel, perplexity_of
from resect.models.text_windows import DEFAULT_WINDOW, sliding_rows

from .study import Study

#: Tokens between two windows (the paper's).
STRIDE = 512
#: The largest window, where a model's context is longer: the logits of all its tokens are in memory at once.
LARGEST = 4096


def perplexity(study: Study) -> dict[str, Any]:
    """Returns the perplexity before and after: exp of the mean −log P of a token. `kind` and `how` say which perplexity it is.

    Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), appendix C.4: stride 512, over a sequence of tokens. Differs from the source
    in: the text is the user's, or what ships; a context of 512 tokens or less has a stride of half of it; windows end at 4,096 tokens.
    Raises InputError for a text of less than two tokens, NotFinite, OutOfMemory.
    """
    model = study.model
    window, stride = (sizes(model.context)) if model.kind == "causal" else (min(DEFAULT_WINDOW, model.context or DEFAULT_WINDOW), None)
    rows = model.text_rows(study.texts) if stride is None else _rows(model, study.texts, window, stride)
    size = {"window": window, "stride": stride, "tokens": sum(len(row.label_ids) for row in rows)}
    base, edited = (_perplexity(study, rows, window, plan) for plan in (Plan(), study.plan))
    return {**size, "base": base, "edited": edited, "text": study.text_name, "kind": perplexity_kind(model), "how": explanation(model.kind)}


def explanation(kind: str) -> str:
    """Returns a sentence on how the perplexity of this kind of model is computed."""
    if kind == "causal":
        return "A window slides over all documents as one sequence; each token is predicted from those before it in its window."
    if kind == "masked":
        return "No window slides: each token of a document's windows is predicted with itself masked."
    return "No window slides: the first half of each window of a document is read, and the second half predicted."


def sizes(context: int | None) -> tuple[int, int]:
    """Returns window and stride in tokens, by the model's context (None: unlimited; the window is then two strides).

    >>> sizes(2048), sizes(512), sizes(None)
    ((2048, 512), (512, 256), (1024, 512))
    """
    window = 2 * STRIDE if context is None else min(context, LARGEST)
    return window, STRIDE if window > STRIDE else max(1, window // 2)


def _rows(model: LanguageModel, texts: Sequence[str], window: int, stride: int) -> list[Tokens]:
    ids = tuple(token for document in model.encoder.encode_documents(texts) for token in document)
    rows = sliding_rows(ids, window, stride) if window > 1 else []
    if not rows:
        raise InputError("The text for the perplexity has less than two tokens; nothing can be scored.")
    return rows


def _perplexity(study: Study, rows: Sequence[Tokens], window: int, plan: Plan) -> float:
    key = journal_key("sliding", [list(study.texts), window, [[len(row.input_ids), len(row.label_ids)] for row in rows]])
    logprob = logprob_under(plan, study.model, rows, key, study.workers, work=partial(_read, study.model))
    return perplexity_of(logprob, sum(len(row.label_ids) for row in rows))


def _read(model: LanguageModel, rows: Sequence[Tokens]) -> Entry:
    batcher = Batcher(model.model, model.anatomy)  # the batch sizes that the model knows are for shorter windows
    return {"logprob": math.fsum(math.fsum(logprobs) for _, logprobs in model.logprobs_by_batch(rows, batcher))}
