"""A search among reductions of matrices, from its candidates and the comparison: numbers and sentences. Knows no page, no drawing."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from resect.core.address import STACKS, Site, expert_order, role_order
from resect.core.number_format import MetricFormat, NumberStyle, plural
from resect.runs.schemas.comparison import ComparisonFile, CompositionStep, SelectSplit
from resect.runs.schemas.rows import TrialLine

from .plan_summary import PlanSummary, Reduction

#: With fewer examples than this, the best of many candidates owes much to chance.
FEW_EXAMPLES = 50


@dataclass(frozen=True)
class RankSearch:
    """A search among matrices and shares ρ of their rank.

    candidates : those that have a score; one that is not complete has the best score that it could reach
    metric : what chose
    base, chosen : the model without an edit and the chosen candidate, on the select split
    steps : of a composition
    """

    candidates: tuple[TrialLine, ...]
    metric: str
    base: float | None
    chosen: float | None
    n_examples: int | None
    n_instructions: int | None
    steps: tuple[CompositionStep, ...]

    @classmethod
    def of(cls, trials: Iterable[TrialLine], comparison: ComparisonFile | None) -> "RankSearch | None":
        """The search; None where no matrix was tried."""
        candidates = tuple(trial for trial in trials if trial.site is not None and trial.score is not None)
        others = None if comparison is None else comparison.other_metrics
        steps = () if others is None else others.composition
        if not candidates and not steps:
            return None
        select = (others.select if others is not None else None) or SelectSplit()
        metric = select.metric or (comparison.metric if comparison is not None else "accuracy")
        return cls(candidates, metric, select.base, select.chosen, select.n_examples, select.n_instructions, steps)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The matrices, in the order of the model."""
        return tuple(sorted({trial.site for trial in self.candidates if trial.site is not None}, key=site_order))

    @property
    def rhos(self) -> tuple[float, ...]:
        """The shares of the rank, from the gentlest reduction on."""
        return tuple(sorted({trial.rho for trial in self.candidates if trial.rho is not None}, reverse=True))

    @property
    def is_composed(self) -> bool:
        """Whether candidates were evaluated on top of those that were kept before."""
        return any(trial.kept is not None for trial in self.candidates)

    def figures(self, style: NumberStyle) -> MetricFormat:
        """How the metric that chose is written."""
        return MetricFormat(self.metric, style)

    @property
    def best(self) -> TrialLine | None:
        """The best of the complete candidates."""
        gain = MetricFormat(self.metric).gain
        complete = [trial for trial in self.candidates if trial.complete]
        return max(complete, key=lambda trial: gain(trial.score or 0.0), default=None)

    def sentences(self) -> list[str]:
        """How much was searched, how many candidates were stopped early, and what keeps the choice from being sure."""
        if len(self.candidates) == 1:
            return ["Nothing was searched: there was one candidate."]
        return [sentence for sentence in (self._extent(), self._stopped(), self.caution) if sentence]

    def _extent(self) -> str:
        matrices = f"{len(self.sites):,} matri{'x' if len(self.sites) == 1 else 'ces'}"
        is_grid = self.rhos and len(self.sites) * len(self.rhos) == len(self.candidates)
        size = f"{matrices} × {len(self.rhos)} ρ = " if is_grid else f"{matrices}, "
        on = "" if self.n_examples is None else f", on {plural(self.n_examples, 'examples')} of the select split"
        if self.n_instructions is not None and self.n_instructions > 1:
            on += f" × {plural(self.n_instructions, 'instructions')}"
        return f"{size}{plural(len(self.candidates), 'candidates')}{on}."

    def _stopped(self) -> str:
        complete = sum(trial.complete for trial in self.candidates)
        early = len(self.candidates) - complete
        if not early:
            return "All candidates were evaluated completely."
        were = "was stopped early, once it" if early == 1 else "were stopped early, each once it"
        return f"{complete:,} evaluated completely; {early:,} {were} could no longer win."

    @property
    def caution(self) -> str:
        """What keeps the choice from being sure, as a sentence; nothing where enough examples chose."""
        if self.n_examples is None or self.n_examples >= FEW_EXAMPLES or len(self.candidates) < 2:
            return ""
        return f"Only {plural(self.n_examples, 'examples')} chose among {len(self.candidates):,} candidates: a gain there may be chance."

    def outcome(self, plan: PlanSummary, style: NumberStyle) -> str:
        """What was chosen, and the metric on select before and after, as a sentence."""
        figures = self.figures(style)
        if not plan.reductions:
            return self._nothing(figures)
        pair = "" if self.base is None else f"; {figures.metric} on select {figures.pair(self.base, self.chosen)}"
        if len(plan.reductions) == 1:
            return f"Chosen: {plan.reductions[0].line(style)}{pair}."
        return f"Kept: {len(plan.reductions):,} reductions, one on top of the other{pair}."

    def _nothing(self, figures: MetricFormat) -> str:
        best = self.best
        if best is None:
            return "None of them could do better on select than the model as it is."
        rho = "" if best.rho is None else f", ρ {best.rho:g}"
        base = "" if self.base is None else f"; the model as it is: {figures.value(self.base)}"
        return f"The best complete candidate: {best.site}{rho}, with {figures.value(best.score)} on select{base}."


def score(trial: TrialLine, figures: MetricFormat) -> str:
    """The score of a candidate; of one that was stopped early, as the bound that it is."""
    value = figures.value(trial.score)
    return value if trial.complete else f"{_bound(figures)}{figures.style.blank}{value}"


def short_score(trial: TrialLine, figures: MetricFormat) -> str:
    """The same without its unit; a bound has fewer digits, and is rounded such that it stays one."""
    if trial.complete or trial.score is None:
        return figures.aligned(trial.score)
    if figures.is_share:
        return f"{_bound(figures)}{math.ceil(100 * trial.score - 1e-9)}"
    outwards = math.floor if figures.gain(1.0) < 0 else math.ceil
    return f"{_bound(figures)}{outwards(100 * trial.score) / 100:.2f}"


def _bound(figures: MetricFormat) -> str:
    return "≤" if figures.gain(1.0) > 0 else "≥"


def step_name(step: CompositionStep) -> str:
    """What a step of a composition added, on one line."""
    if step.site is None:
        return "the model as it is"
    return Reduction(step.site, step.rho, rank=step.rank).line() if step.rho is not None else str(step.site)


def site_order(site: Site) -> tuple[int, tuple[int, str], int, int]:
    """The place of a matrix: by stack, role, layer, expert; roles of other names come after the canonical ones."""
    return STACKS.index(site.stack), role_order(site.role), site.layer, expert_order(site.expert)
