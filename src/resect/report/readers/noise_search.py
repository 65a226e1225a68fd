"""A reduction without a task: components above the noise edge stay, as far as plain text allows. Numbers and sentences; knows no page."""

from collections.abc import Iterable
from dataclasses import dataclass

from resect.core.number_format import BROKEN_PERPLEXITY, DASH, PLAIN, MetricFormat, NumberStyle
from resect.runs.schemas.comparison import ComparisonFile, SideEffect
from resect.runs.schemas.rows import TrialLine

from .plan_summary import PlanSummary


@dataclass(frozen=True)
class NoiseSearch:
    """A search on plain text.

    allowed : the share by which the perplexity might rise
    before, after : the perplexity of the text that is reported on
    candidates : matrices; without a ρ nothing in it is below the edge; without a score it was given up before the end
    """

    allowed: float
    before: float | None
    after: float | None
    candidates: tuple[TrialLine, ...] = ()

    @classmethod
    def of(cls, comparison: ComparisonFile | None, trials: Iterable[TrialLine] = ()) -> "NoiseSearch | None":
        """The search; None where it had a task."""
        allowed = None if comparison is None else comparison.other_metrics.rise
        if comparison is None or allowed is None:
            return None
        text = comparison.side_effects.get("perplexity") or SideEffect()
        return cls(allowed, text.base, text.edited, tuple(trial for trial in trials if trial.site is not None))

    @property
    def rise(self) -> float | None:
        """The share by which the perplexity rose."""
        return None if not self.before or self.after is None else self.after / self.before - 1

    @property
    def is_broken(self) -> bool:
        """Whether the text was beyond the model before anything was reduced, so that its perplexity says nothing."""
        return self.before is not None and self.before > BROKEN_PERPLEXITY

    @property
    def is_within(self) -> bool:
        """Whether the perplexity of text that the search never saw rose no more than allowed."""
        return self.rise is not None and self.rise <= self.allowed and not self.is_broken

    def extent(self, style: NumberStyle = PLAIN) -> str:
        """What was tried, and what became of it, as a sentence."""
        kept = sum(trial.kept is True for trial in self.candidates)
        clean = sum(trial.rho is None for trial in self.candidates)
        rest = len(self.candidates) - kept - clean
        sentence = f"{kept:,} of {len(self.candidates):,} matrices were reduced to the components above the noise edge of their spectrum"
        sentence += f"; {rest:,} {'was' if rest == 1 else 'were'} left, since plain text became too improbable" if rest else ""
        sentence += f"; in {clean:,} nothing is below the edge" if clean else ""
        return f"{sentence}. The perplexity might rise by {_percent(self.allowed, style)} in all."

    def verdict(self, comparison: ComparisonFile, plan: PlanSummary, style: NumberStyle = PLAIN) -> str:
        """One sentence (or two) on what the numbers say."""
        allowed = _percent(self.allowed, style)
        if plan.total == 0:
            return (
                f"Nothing was reduced: no matrix could lose what is below its noise edge without raising the perplexity by more than "
                f"{allowed}. The model stays as it is."
            )
        pair = f"{style.number(self.before)} → {style.number(self.after)}"
        rise = DASH if self.rise is None else f"{style.signed(100 * self.rise, 1)}{style.blank}%"
        sentence = plan.action(style) + (" to the components above noise" if len(plan.reductions) > 1 else "")
        sentence += f" changes the perplexity of text that the search never saw: {pair} ({rise}; {allowed} was allowed)."
        figures, control, edited = MetricFormat(comparison.metric, style), comparison.control, comparison.edited
        if control is not None and edited is not None:
            changes = [figures.change(outcome.mean - comparison.base.mean) for outcome in (edited, control)]
            sentence += f" Log loss of a token: {changes[0]}; other matrices of those roles, reduced as far: {changes[1]}."
        if self.is_broken:
            return f"{sentence} But this text was beyond the model from the beginning: choose and judge by text that it knows (--text)."
        return sentence if self.is_within else f"{sentence} That is more than was allowed."


def _percent(share: float, style: NumberStyle) -> str:
    return f"{100 * share:g}{style.blank}%"
