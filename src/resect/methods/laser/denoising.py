"""LASER without a task: remove from every matrix the components that are indistinguishable from noise, as long as plain text allows it.

Of each matrix the components above the noise edge of its spectrum are kept (`marchenko_pastur`); a matrix stays reduced if the perplexity
of plain text stays below a limit, and the model still writes as it did (`writing_guard`). One result for all tasks. Source: ours; LASER
(arXiv:2312.13558) chooses by a task. Knows no task and no file.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

from resect.core.address import Site
from resect.core.execution import Workers
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd_cache import SvdCache
from resect.evaluation.own_text import SEARCHED, OwnText
from resect.evaluation.text_passages import Passages
from resect.methods.base import Found
from resect.models.language_model import LanguageModel
from resect.runs.guard_limits import GuardLimits
from resect.search.candidate_scoring import CandidateScorer
from resect.search.elimination import GreedyComposition, Threshold

from .marchenko_pastur import noise_edge, rank_above_noise
from .reduction_search import last_layer_first
from .writing_guard import WritingGuard

STAGE = "reducing to the noise edge"
NOTHING = "No matrix could be reduced to its noise edge within the limits on plain text and on the model's own writing: the plan is empty."
NO_WRITING = "A masked model writes no text of its own: only the perplexity of the plain text limited what was reduced."


def denoise(
    model: LanguageModel,
    passages: Passages,
    sites: Sequence[Site],
    rise: float,
    svd_cache: SvdCache,
    state_memory: int | None,
    workers: Workers,
    limits: GuardLimits | None = None,
) -> Found:
    """Reduce one matrix after the other, from the last layer down, to the components above its noise edge; keep it if the text allows.

    Parameters
    ----------
    passages : plain text that decides; report on other text
    rise : the share by which the perplexity of the text may rise in all, 0.01 is 1 %
    state_memory : bytes of hidden states that may be cached; None: a quarter of the free memory
    limits : how much the perplexity of text of the model's own writing, and the repetition of its samples, may rise; None: the defaults

    Raises NotFinite, NotWritable, OutOfMemory.
    """
    sites, limits = last_layer_first(sites), limits or GuardLimits()
    own = OwnText.of(model, passages, SEARCHED, workers)
    scorer = CandidateScorer(passages, svd_cache, state_memory=state_memory, purpose="text", workers=workers)
    # exp(loss / tokens) may rise by the factor 1 + rise, so the total loss by tokens · log(1 + rise).
    threshold = Threshold(scorer.base_total - passages.allowance(rise))
    candidate = cache(lambda number: _candidate(model, sites[number], svd_cache))
    guard = WritingGuard(own, scorer.evaluator, limits, workers.silent())
    composition = GreedyComposition(
        scorer,
        lambda number: [edit for edit in candidate(number)[:1] if edit],
        len(sites),
        scorer.start,
        threshold,
        raises_threshold=False,
        accepts=guard.accepts,
    )
    lines = list[dict[str, Any]]()
    workers.progress(STAGE, 0, len(sites))
    for number, steps in enumerate(composition.steps()):
        line: dict[str, Any] = {"site": str(sites[number]), **candidate(number)[1]}
        line |= {"score": None, "examples": 0, "complete": False, "seconds": 0.0, "kept": False}
        for edit, score, is_kept, is_refused in steps:
            line |= {"score": passages.perplexity(-score.total) if score.complete else None, "examples": score.answered}
            line |= {"complete": score.complete, "seconds": score.seconds, "kept": is_kept}
            line |= {"broken": list(guard.broken[edit])} if is_refused else {}
        lines.append(line)
        workers.progress(STAGE, number + 1, len(sites))
    kept = tuple(composition.kept)
    notes = (*(() if kept else (NOTHING,)), *((NO_WRITING,) if own is None else ()))
    plan = Plan(kept).for_model(model) if kept else Plan()
    return Found.one(plan, trials=tuple(lines), notes=notes, facts={"rise": rise})


def _candidate(model: LanguageModel, site: Site, svd_cache: SvdCache) -> tuple[ReduceRank | None, dict[str, Any]]:
    """The reduction of a matrix to the components above its noise edge, with what its trial reports; None where all are above it."""
    shape, singular_values = model.anatomy.shape(site), svd_cache.singular_values(site)
    rank = rank_above_noise(singular_values, shape)
    facts = {"rank": rank, "noise_edge": noise_edge(singular_values, shape)}
    if rank >= min(shape):
        return None, {**facts, "rho": None}
    edit = ReduceRank(site, shortest_rho(rank, min(shape)))
    return edit, {**facts, "rho": edit.rho}


def shortest_rho(rank: int, full_rank: int) -> float:
    """The ρ with the fewest decimals for which ⌊ρ · full_rank⌋ = rank.

    >>> shortest_rho(12, 128), shortest_rho(0, 128), shortest_rho(1, 3)
    (0.1, 0.0, 0.4)
    """
    digits = 0
    while True:
        digits += 1
        steps = 10**digits
        candidate = Fraction(-(-rank * steps // full_rank), steps)
        if candidate * full_rank < rank + 1:
            return float(candidate)
