"""LASER without a task: remove from every matrix the components that are indistinguishable from noise, as long as plain text allows it.

Of each matrix the components above the noise edge of its spectrum are kept (`marchenko_pastur`); a matrix stays reduced if the perplexity
of plain text stays below a limit. One result for all tasks. Source: ours; LASER (arXiv:2312.13558) chooses by a task. Knows no task and no
file.
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
from resect.evaluation.text_passages import Passages
from resect.methods.base import Found
from resect.models.language_model import LanguageModel
from resect.search.candidate_scoring import CandidateScorer
from resect.search.elimination import GreedyComposition, Threshold

from .marchenko_pastur import noise_edge, rank_above_noise
from .reduction_search import last_layer_first

STAGE = "reducing to the noise edge"


def denoise(
    model: LanguageModel,
    passages: Passages,
    sites: Sequence[Site],
    rise: float,
    svd_cache: SvdCache,
    state_memory: int | None,
    workers: Workers,
) -> Found:
    """Reduce one matrix after the other, from the last layer down, to the components above its noise edge; keep it if the text allows.

    Parameters
    ----------
    passages : plain text that decides; report on other text
    rise : the share by which the perplexity of the text may rise in all, 0.01 is 1 %
    state_memory : bytes of hidden states that may be cached; None: a quarter of the free memory

    Raises NotFinite, NotWritable, OutOfMemory.
    """
    sites = last_layer_first(sites)
    scorer = CandidateScorer(passages, svd_cache, state_memory=state_memory, purpose="text", workers=workers)
    # exp(loss / tokens) may rise by the factor 1 + rise, so the total loss by tokens · log(1 + rise).
    threshold = Threshold(scorer.base_total - passages.allowance(rise))
    candidate = cache(lambda number: _candidate(model, sites[number], svd_cache))
    composition = GreedyComposition(
        scorer, lambda number: [edit for edit in candidate(number)[:1] if edit], len(sites), scorer.start, threshold, raises_threshold=False
    )
    lines = list[dict[str, Any]]()
    workers.progress(STAGE, 0, len(sites))
    for number, steps in enumerate(composition.steps()):
        line: dict[str, Any] = {"site": str(sites[number]), **candidate(number)[1]}
        line |= {"score": None, "examples": 0, "complete": False, "seconds": 0.0, "kept": False}
        for _, score, is_kept, _ in steps:
            line |= {"score": passages.perplexity(-score.total) if score.complete else None, "examples": score.answered}
            line |= {"complete": score.complete, "seconds": score.seconds, "kept": is_kept}
        lines.append(line)
        workers.progress(STAGE, number + 1, len(sites))
    kept = tuple(composition.kept)
    notes = () if kept else ("No matrix could be reduced to its noise edge without too large a rise of the perplexity: the plan is empty.",)
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
