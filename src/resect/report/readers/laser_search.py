"""A search among reductions of matrices, as its lines and the comparison tell it, in values and sentences. Knows no page, no drawing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resect.core.address import ROLES, Site
from resect.core.errors import InputError
from resect.core.number_format import MetricFormat, NumberStyle, plural
from resect.runs.recipe import Recipe

from .plan_summary import Reduction, Surgery
from .tolerant import number_of, object_of, whole_of

#: With fewer examples than this, the best of many candidates owes much to luck.
FEW_EXAMPLES = 50


@dataclass(frozen=True)
class Candidate:
    """One reduction that was asked. `score`: where it was stopped early, the best that it could still have reached.

    `kept`: whether a composition kept it; None where nothing was composed.
    """

    site: Site
    rho: float | None
    rank: int | None
    score: float
    is_complete: bool
    kept: bool | None
    asked: float | None

    def exactly(self, figures: MetricFormat) -> str:
        """The score; of one that was stopped, as the bound that it is."""
        value = figures.value(self.score)
        return value if self.is_complete else f"{_bound(figures)}{figures.style.blank}{value}"

    def briefly(self, figures: MetricFormat) -> str:
        """The score without its unit; a bound with fewer digits, rounded such that it stays one."""
        if self.is_complete:
            return figures.aligned(self.score)
        if figures.is_share:
            return f"{_bound(figures)}{math.ceil(100 * self.score - 1e-9)}"
        away = math.floor if figures.gain(1.0) < 0 else math.ceil
        return f"{_bound(figures)}{away(100 * self.score) / 100:.2f}"


@dataclass(frozen=True)
class Step:
    """One state of a composition: what was added last (None: the model as it is), and its metric on select and on test."""

    site: Site | None
    rho: float | None
    rank: int | None
    select: float | None
    test: float | None


@dataclass(frozen=True)
class Sought:
    """A search: its candidates, the metric that chose, the model as it is and the chosen one on select, and a composition's steps."""

    candidates: tuple[Candidate, ...]
    metric: str
    base: float | None
    chosen: float | None
    n_examples: int | None
    n_instructions: int | None
    steps: tuple[Step, ...]

    @classmethod
    def of(cls, trials: Iterable[Mapping[str, Any]], comparison: Mapping[str, Any] | None) -> "Sought | None":
        """The search of sound lines (see `sound.trial_of`) and what comparison.json tells of it; None where no matrix was sought."""
        rows = [row for row in trials if row.get("site") is not None and row.get("score") is not None]
        others = object_of((comparison or {}).get("other_metrics"))
        select = object_of(others.get("select"))
        steps = _steps(others.get("composition"))
        if not rows and not steps:
            return None
        metric = str(select.get("metric") or (comparison or {}).get("metric") or "accuracy")
        base, chosen = (number_of(select.get(name)) for name in ("base", "chosen"))
        examples, instructions = (whole_of(select.get(name)) for name in ("n_examples", "n_instructions"))
        return cls(tuple(map(_candidate, rows)), metric, base, chosen, examples, instructions, steps)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The matrices, in the order of the model."""
        return tuple(sorted({each.site for each in self.candidates}, key=_order))

    @property
    def rhos(self) -> tuple[float, ...]:
        """The shares of the rank, from the gentlest on."""
        return tuple(sorted({each.rho for each in self.candidates if each.rho is not None}, reverse=True))

    @property
    def is_composed(self) -> bool:
        """Whether candidates were asked one on top of the other."""
        return any(each.kept is not None for each in self.candidates)

    def figures(self, face: NumberStyle) -> MetricFormat:
        """How the metric that chose is written."""
        return MetricFormat(self.metric, face)

    def best(self, among: Sequence[Candidate] | None = None) -> Candidate | None:
        """The best of those that were asked in full."""
        gain = MetricFormat(self.metric).gain
        whole = [each for each in (self.candidates if among is None else among) if each.is_complete]
        return max(whole, key=lambda each: gain(each.score), default=None)

    def extent(self) -> str:
        """How much was searched, as a sentence."""
        asked = "" if self.n_examples is None else f", on {plural(self.n_examples, 'examples')} of the select split"
        if self.n_instructions is not None and self.n_instructions > 1:
            asked += f" × {plural(self.n_instructions, 'instructions')}"
        matrices = f"{len(self.sites):,} matri{'x' if len(self.sites) == 1 else 'ces'}"
        whole = len(self.sites) * len(self.rhos) == len(self.candidates)
        size = f"{matrices} × {len(self.rhos)} ρ = " if whole and self.rhos else f"{matrices}, "
        return f"{size}{plural(len(self.candidates), 'candidates')}{asked}."

    def stopped(self) -> str:
        """How many were asked in full, as a sentence; nothing where all were."""
        whole = sum(each.is_complete for each in self.candidates)
        early = len(self.candidates) - whole
        if not early:
            return "All of them were asked in full." if len(self.candidates) > 1 else ""
        told = "was stopped early, once it" if early == 1 else "were stopped early, each once it"
        return f"{whole:,} asked in full; {early:,} {told} could no longer win."

    def caution(self) -> str:
        """What keeps the choice from being sure, as a sentence; nothing where enough examples chose."""
        if self.n_examples is None or self.n_examples >= FEW_EXAMPLES or len(self.candidates) < 2:
            return ""
        return f"Only {plural(self.n_examples, 'examples')} chose among {len(self.candidates):,} candidates: a gain on select may be luck."

    def outcome(self, surgery: Surgery, face: NumberStyle) -> list[str]:
        """What was chosen, and the metric on select before and after, as sentences."""
        figures = self.figures(face)
        pair = "" if self.base is None else f"{figures.metric} on select {figures.pair(self.base, self.chosen)}"
        if not surgery.reductions:
            return [self._nothing(figures)]
        if len(surgery.reductions) == 1:
            return [f"Chosen: {surgery.reductions[0].told(face)}" + (f"; {pair}." if pair else ".")]
        kept = f"Kept: {len(surgery.reductions):,} reductions, one on top of the other"
        return [f"{kept}; {pair}." if pair else f"{kept}."]

    def _nothing(self, figures: MetricFormat) -> str:
        best = self.best()
        if best is None:
            return "None of them could do better on select than the model as it is."
        at = "" if best.rho is None else f", ρ {best.rho:g}"
        against = "" if self.base is None else f"; the model as it is: {figures.value(self.base)}"
        return f"The best of those asked in full: {best.site}{at}, with {figures.value(best.score)} on select{against}."


def searched(recipe: Recipe, sought: Sought) -> list[str]:
    """What was searched, in sentences."""
    if recipe.published:
        return ["Nothing was searched: the published choice for this model and task was taken."]
    told = [sought.extent(), sought.stopped(), sought.caution()]
    if recipe.screen is not None:
        told.insert(0, f"Screened first: only the {recipe.screened:,} matrices that the loss's gradient finds most promising.")
    return [sentence for sentence in told if sentence]


def panels(sites: Iterable[Site]) -> dict[tuple[str, str], list[Site]]:
    """Matrices by stack and role, each in the order of the layers: one panel each."""
    found: dict[tuple[str, str], list[Site]] = {}
    for site in sorted(set(sites), key=_order):
        found.setdefault((site.stack, site.role), []).append(site)
    return found


def row_name(site: Site) -> str:
    """What a matrix is called in the panel of its role."""
    return str(site.layer) if site.expert is None else f"{site.layer}, expert {site.expert}"


def _bound(figures: MetricFormat) -> str:
    return "≤" if figures.gain(1.0) > 0 else "≥"


def _order(site: Site) -> tuple[bool, int, int, int]:
    return site.stack != "encoder", ROLES.index(site.role), site.layer, -1 if site.expert is None else site.expert


def _candidate(row: Mapping[str, Any]) -> Candidate:
    site = Site.parse(row["site"])
    return Candidate(site, row["rho"], row["rank"], row["score"], row["complete"], row["kept"], row["examples"])


def _steps(found: object) -> tuple[Step, ...]:
    """The steps of a composition; what is no step is left out."""
    steps = []
    for row in found if isinstance(found, list) else []:
        held = object_of(row)
        try:
            site = None if held.get("site") is None else Site.parse(str(held["site"]))
        except InputError:
            continue
        numbers = (number_of(held.get(name)) for name in ("select", "test"))
        steps.append(Step(site, number_of(held.get("rho")), whole_of(held.get("rank")), *numbers))
    return tuple(steps)


def step_name(step: Step) -> str:
    """What was added, on one line."""
    if step.site is None:
        return "the model as it is"
    return Reduction(step.site, step.rho, rank=step.rank).told() if step.rho is not None else str(step.site)
