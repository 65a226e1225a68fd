"""A reduction without a task: components above the noise edge stay, as far as plain text allows. Numbers and sentences; knows no page."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from resect.core.number_format import BROKEN_PERPLEXITY, DASH, PLAIN, MetricFormat, NumberStyle
from resect.runs.schemas.comparison import ComparisonFile, SideEffect, WrittenSamples
from resect.runs.schemas.rows import TrialLine
from resect.runs.verdict import is_foreign_text

from .plan_summary import PlanSummary


@dataclass(frozen=True)
class NoiseSearch:
    """A search on plain text.

    allowed : the share by which the perplexity might rise
    before, after : the perplexity of the text that is reported on
    own : the perplexity of text of the model's own writing, which the search did not see; empty where none was measured
    samples : greedy samples, which the search did not see either, and what the search allowed; empty where none were written
    candidates : matrices; without a ρ nothing in it is below the edge; without a score it was given up before the end
    """

    allowed: float
    before: float | None
    after: float | None
    candidates: tuple[TrialLine, ...] = ()
    own: SideEffect = field(default_factory=SideEffect)
    samples: WrittenSamples = field(default_factory=WrittenSamples)

    @classmethod
    def of(cls, comparison: ComparisonFile | None, trials: Iterable[TrialLine] = ()) -> "NoiseSearch | None":
        """The search; None where it had a task."""
        allowed = None if comparison is None else comparison.other_metrics.rise
        if comparison is None or allowed is None:
            return None
        text = comparison.side_effects.get("perplexity") or SideEffect()
        own, samples = comparison.side_effects.get("own text") or SideEffect(), comparison.other_metrics.samples or WrittenSamples()
        return cls(allowed, text.base, text.edited, tuple(trial for trial in trials if trial.site is not None), own, samples)

    @property
    def rise(self) -> float | None:
        """The share by which the perplexity rose."""
        return _rise(self.before, self.after)

    @property
    def own_rise(self) -> float | None:
        """The share by which the perplexity of the model's own text rose."""
        return _rise(self.own.base, self.own.edited)

    @property
    def repetition_rise(self) -> float | None:
        """By how much samples repeat themselves more, as a share."""
        repetition = self.samples.repetition
        return None if repetition is None or repetition.edited is None else repetition.edited - repetition.base

    @property
    def is_foreign(self) -> bool:
        """Whether the text was far less probable than the model's own before anything was reduced: it is of a kind it does not know."""
        return is_foreign_text(self.before, self.own.base)

    @property
    def is_broken(self) -> bool:
        """Whether the text was beyond the model, or foreign to it, before anything was reduced: its perplexity says nothing."""
        return (self.before is not None and self.before > BROKEN_PERPLEXITY) or self.is_foreign

    @property
    def is_writing_within(self) -> bool:
        """Whether own text and repetition rose no more than allowed, as far as they were measured."""
        limits = self.samples.limits
        measured = ((self.own_rise, limits.perplexity), (self.repetition_rise, limits.repetition))
        return all(rise is None or limit is None or rise <= limit for rise, limit in measured)

    @property
    def is_within(self) -> bool:
        """Whether neither the perplexity of text that the search never saw, nor what the model writes, suffered more than allowed."""
        return self.rise is not None and self.rise <= self.allowed and self.is_writing_within and not self.is_broken

    def extent(self, style: NumberStyle = PLAIN) -> str:
        """What was tried, and what became of it, as a sentence."""
        kept = sum(trial.kept is True for trial in self.candidates)
        clean = sum(trial.rho is None for trial in self.candidates)
        refused = sum(bool(trial.broken) for trial in self.candidates)
        rest = len(self.candidates) - kept - clean - refused
        sentence = f"{kept:,} of {len(self.candidates):,} matrices were reduced to the components above the noise edge of their spectrum"
        sentence += f"; {rest:,} {'was' if rest == 1 else 'were'} left, since plain text became too improbable" if rest else ""
        sentence += f"; {refused:,} {'was' if refused == 1 else 'were'} left, since the model then wrote worse" if refused else ""
        sentence += f"; in {clean:,} nothing is below the edge" if clean else ""
        limits = self.samples.limits
        own = "" if limits.perplexity is None else f", that of the model's own text by {_percent(limits.perplexity, style)}"
        own += "" if limits.repetition is None else f", the repetition of its samples by {100 * limits.repetition:g}{style.blank}points"
        return f"{sentence}. The perplexity might rise by {_percent(self.allowed, style)} in all{own}."

    def writing(self, style: NumberStyle = PLAIN) -> str:
        """Own text and repetition before and after, as sentences; "" where neither was measured."""
        sentences, limits, repetition = list[str](), self.samples.limits, self.samples.repetition
        if self.own_rise is not None:
            rise = f"{style.signed(100 * self.own_rise, 1)}{style.blank}%"
            allowed = "" if limits.perplexity is None else f"; {_percent(limits.perplexity, style)} was allowed"
            pair = f"{style.number(self.own.base)} → {style.number(self.own.edited)}"
            sentences.append(f"Perplexity of text of the model's own writing: {pair} ({rise}{allowed}).")
        if self.repetition_rise is not None and repetition is not None:
            rise = f"{style.signed(100 * self.repetition_rise, 1)}{style.blank}points"
            allowed = "" if limits.repetition is None else f"; {100 * limits.repetition:g} were allowed"
            pair = f"{style.percent(repetition.base)} → {style.percent(repetition.edited)}"
            sentences.append(f"Repetition in its greedy samples (4-grams that occurred before): {pair} ({rise}{allowed}).")
        return " ".join(sentences)

    def foreign(self, style: NumberStyle = PLAIN) -> str:
        """That the text was of a kind that the model does not know, and what to do, as sentences; "" where it was not."""
        if not self.is_foreign:
            return ""
        before, own = style.number(self.before), style.number(self.own.base)
        return (
            f"This text is foreign to the model: before anything was reduced, its perplexity was {before}, that of the model's own text "
            f"{own}. Choose and judge by text of the kind that it knows (--text)."
        )

    def verdict(self, comparison: ComparisonFile, plan: PlanSummary, style: NumberStyle = PLAIN) -> str:
        """One sentence (or two) on what the numbers say."""
        allowed = _percent(self.allowed, style)
        if plan.total == 0:
            harm = f"raising the perplexity by more than {allowed}" + (", or writing worse" if self.own.base is not None else "")
            nothing = f"Nothing was reduced: no matrix could lose what is below its noise edge without {harm}. The model stays as it is."
            return " ".join(filter(None, (nothing, self.foreign(style))))
        pair = f"{style.number(self.before)} → {style.number(self.after)}"
        rise = DASH if self.rise is None else f"{style.signed(100 * self.rise, 1)}{style.blank}%"
        sentence = plan.action(style) + (" to the components above noise" if len(plan.reductions) > 1 else "")
        sentence += f" changes the perplexity of text that the search never saw: {pair} ({rise}; {allowed} was allowed)."
        figures, control, edited = MetricFormat(comparison.metric, style), comparison.control, comparison.edited
        if control is not None and edited is not None:
            changes = [figures.change(outcome.mean - comparison.base.mean) for outcome in (edited, control)]
            sentence += f" Log loss of a token: {changes[0]}; other matrices of those roles, reduced as far: {changes[1]}."
        sentence += f" {self.writing(style)}" if self.own_rise is not None or self.repetition_rise is not None else ""
        if self.is_foreign:
            return f"{sentence} {self.foreign(style)}"
        if self.is_broken:
            return f"{sentence} But this text was beyond the model from the beginning: choose and judge by text that it knows (--text)."
        return sentence if self.is_within else f"{sentence} That is more than was allowed."


def _rise(before: float | None, after: float | None) -> float | None:
    """The share by which a perplexity rose; None where it is not known."""
    return None if not before or after is None else after / before - 1


def _percent(share: float, style: NumberStyle) -> str:
    return f"{100 * share:g}{style.blank}%"
