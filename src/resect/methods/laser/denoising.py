"""The choice of LASER without a task: drop what looks like noise in a matrix' spectrum, wherever the perplexity of plain text allows it.

In every matrix the components above the noise edge of its spectrum stay (`marchenko_pastur`); a matrix stays reduced if plain text remains
as probable as is required. One setting for all tasks. Source: ours; LASER (arXiv:2312.13558) chooses by a task. Knows no task and no file.
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

from .marchenko_pastur import kept_rank, noise_edge

STAGE = "reducing to the noise edge"


def denoise(
    model: LanguageModel,
    passages: Passages,
    sites: Sequence[Site],
    rise: float,
    factors: SvdCache,
    state_memory: int | None,
    workers: Workers,
) -> Found:
    """Reduce one matrix after the other, from the last layer down, to what is above its noise edge; keep it while the text allows.

    Parameters
    ----------
    passages : plain text that decides; report on other text
    rise : the share by which the perplexity of the text may rise in all, 0.01 is 1 %
    state_memory : bytes of hidden states that may be cached; None: a quarter of what is free

    Raises NotFinite, NotWritable, OutOfMemory.
    """
    sites = sorted(sites, key=lambda site: (site.stack == "encoder", -site.layer))
    scorer = CandidateScorer(passages, factors, state_memory=state_memory, purpose="text", workers=workers)
    # exp(loss / tokens) may rise by the factor 1 + rise, so the total loss by tokens · log(1 + rise).
    threshold = Threshold(scorer.base_total - passages.allowance(rise))
    candidate = cache(lambda number: _candidate(model, sites[number], factors))
    composition = GreedyComposition(
        scorer, lambda number: [edit for edit in candidate(number)[:1] if edit], len(sites), scorer.start, threshold, rises=False
    )
    lines = list[dict[str, Any]]()
    workers.progress(STAGE, 0, len(sites))
    for number, steps in enumerate(composition.steps()):
        line: dict[str, Any] = {"site": str(sites[number]), **candidate(number)[1]}
        line |= {"score": None, "examples": 0, "complete": False, "seconds": 0.0, "kept": False}
        for _, score, is_kept in steps:
            line |= {"score": passages.perplexity(-score.total) if score.complete else None, "examples": score.asked}
            line |= {"complete": score.complete, "seconds": score.seconds, "kept": is_kept}
        lines.append(line)
        workers.progress(STAGE, number + 1, len(sites))
    kept = tuple(composition.kept)
    notes = () if kept else ("No matrix could be reduced to its noise edge without the text becoming too improbable: the plan is empty.",)
    plan = Plan(kept).for_model(model) if kept else Plan()
    return Found.one(plan, trials=tuple(lines), notes=notes, facts={"rise": rise})


def _candidate(model: LanguageModel, site: Site, factors: SvdCache) -> tuple[ReduceRank | None, dict[str, Any]]:
    """The reduction of a matrix to what is above the noise edge; None where all of it is."""
    shape, values = model.anatomy.shape(site), factors.values(site)
    rank = kept_rank(values, shape)
    facts = {"rank": rank, "noise_edge": noise_edge(values, shape)}
    if rank >= min(shape):
        return None, {**facts, "rho": None}
    edit = ReduceRank(site, rho_for(rank, min(shape)))
    return edit, {**facts, "rho": edit.rho}


def rho_for(rank: int, of: int) -> float:
    """The shortest decimal ρ with ⌊ρ · of⌋ = rank.

    >>> rho_for(12, 128), rho_for(0, 128), rho_for(1, 3)
    (0.1, 0.0, 0.4)
    """
    digits = 0
    while True:
        digits += 1
        steps = 10**digits
        candidate = Fraction(-(-rank * steps // of), steps)
        if candidate * of < rank + 1:
            return float(candidate)
