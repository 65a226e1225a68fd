"""LASER without a task: drop what looks like noise in a matrix' spectrum, wherever plain text does not mind.

One setting for all tasks. In every matrix the components above the noise edge of its spectrum stay (`noise_edge`); a matrix is left so
reduced if plain text stays as probable as is wanted. Knows no task, no file and no terminal.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

from resect.core.address import Site
from resect.core.errors import InputError
from resect.core.execution import Workers
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd_cache import SvdCache
from resect.evaluation.text_passages import Passages
from resect.methods.base import Found
from resect.models.language_model import LanguageModel
from resect.search.candidate_scoring import CandidateScorer
from resect.search.elimination import GreedyComposition, Threshold

from .candidate_matrices import reducible
from .marchenko_pastur import kept_rank, noise_edge


@dataclass(frozen=True)
class Denoising:
    """The settings of the task-free choice.

    Parameters
    ----------
    sites : globs of matrices; empty: the first and the last matrix of every feed-forward block
    rise : the share by which the perplexity of the text may rise in all, 0.01 is 1 %

    Raises InputError for a negative rise.
    Source: ours; the edge of noise as in `noise_edge`. LASER (arXiv:2312.13558) chooses by a task.
    """

    sites: str | tuple[str, ...] = ()
    rise: float = 0.01

    def __post_init__(self) -> None:
        if not self.rise >= 0:
            raise InputError(f"The perplexity may rise by a share from 0 on, not {self.rise}.")

    def sites_of(self, model: LanguageModel) -> tuple[Site, ...]:
        """The matrices that are looked at. Raises BadAddress, NotWritable."""
        return reducible(self.sites, model)

    def search(
        self,
        model: LanguageModel,
        passages: Passages,
        workers: Workers | None = None,
        *,
        factors: SvdCache | None = None,
        state_memory: int | None = None,
    ) -> Found:
        """Reduce one matrix after the other, from the last layer down, to what stands above its noise edge; keep it while the text allows.

        passages : plain text by which is accepted; report on other text
        Raises BadAddress, NotFinite, NotWritable, OutOfMemory.
        """
        factors, workers = factors or SvdCache(model.anatomy), workers or Workers()
        sites = sorted(self.sites_of(model), key=lambda site: (site.stack == "encoder", -site.layer))
        sweep = CandidateScorer(passages, factors, state_memory=state_memory, purpose="text", workers=workers)
        # exp(loss / tokens) may rise by the factor 1 + rise, so the total loss by tokens · log(1 + rise).
        floor = sweep.base_total - passages.allowance(self.rise)
        lines, stage = list[dict[str, Any]](), "reducing to the edge of noise"
        found = cache(lambda number: self._candidate(model, sites[number], factors))
        climb = GreedyComposition(
            sweep, lambda number: [edit for edit in found(number)[:1] if edit], len(sites), sweep.start, Threshold(floor), rises=False
        )
        workers.progress(stage, 0, len(sites))
        for number, steps in enumerate(climb.steps()):
            line: dict[str, Any] = {"site": str(sites[number]), **found(number)[1]}
            line |= {"score": None, "examples": 0, "complete": False, "seconds": 0.0, "kept": False}
            for _, tally, is_kept in steps:
                line |= {"score": passages.perplexity(-tally.total) if tally.complete else None, "examples": tally.asked}
                line |= {"complete": tally.complete, "seconds": tally.seconds, "kept": is_kept}
            lines.append(line)
            workers.progress(stage, number + 1, len(sites))
        notes = (
            ()
            if climb.kept
            else ("No matrix could be reduced to the edge of noise without the text becoming too improbable: the plan is empty.",)
        )
        plan = Plan(tuple(climb.kept)).for_model(model) if climb.kept else Plan()
        return Found(plan, None, tuple(lines), notes, {"rise": self.rise})

    def _candidate(self, model: LanguageModel, site: Site, factors: SvdCache) -> tuple[ReduceRank | None, dict[str, Any]]:
        """The reduction of a matrix to what stands above noise; None where all of it does."""
        shape, values = model.anatomy.shape(site), factors.values(site)
        rank = kept_rank(values, shape)
        told = {"rank": rank, "noise_edge": noise_edge(values, shape)}
        if rank >= min(shape):
            return None, {**told, "rho": None}
        edit = ReduceRank(site, rho_for(rank, min(shape)))
        return edit, {**told, "rho": edit.rho}


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
