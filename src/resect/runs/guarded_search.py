"""What guards held in a search: their limits, what the metric alone would have chosen, and what was chosen instead. Knows no page."""

from collections.abc import Iterable
from dataclasses import dataclass

from resect.core.exhibits import Table
from resect.core.number_format import DASH, PLAIN, MetricFormat, NumberStyle

from .guard_limits import ALL_TAGS, COLLAPSE, PERPLEXITY
from .schemas.comparison import ComparisonFile
from .schemas.rows import TrialLine
from .schemas.verdict import GuardedCandidate, GuardOutcome


@dataclass(frozen=True)
class GuardedSearch:
    """A search with guards. `metric`: what chose."""

    outcome: GuardOutcome
    metric: str

    @classmethod
    def of(cls, comparison: ComparisonFile | None) -> "GuardedSearch | None":
        """The guards of a run; None where nothing was guarded."""
        outcome = None if comparison is None else comparison.other_metrics.guards
        if comparison is None or outcome is None:
            return None
        select = comparison.other_metrics.select
        return cls(outcome, (select.metric if select is not None else "") or comparison.metric)

    def limits(self, style: NumberStyle = PLAIN) -> str:
        """From where on a candidate is refused, as a sentence; "" without any limit."""
        limits = self.outcome.limits
        points = lambda limit: "no limit" if limit is None else "1 point" if limit == 0.01 else f"{100 * limit:g} points"
        named = {tag: limit for tag, limit in limits.items() if tag not in (ALL_TAGS, PERPLEXITY, COLLAPSE)}
        all_tags, perplexity, collapse = (limits.get(name) for name in (ALL_TAGS, PERPLEXITY, COLLAPSE))
        parts = []
        if all_tags is not None:
            exceptions = f" ({'; '.join(f'{tag}: {points(limit)}' for tag, limit in named.items())})" if named else ""
            parts.append(f"a tag loses more than {points(all_tags)}{exceptions}")
        else:
            parts += [f"the tag {tag} loses more than {points(limit)}" for tag, limit in named.items() if limit is not None]
        if perplexity is not None:
            parts.append(f"the perplexity of plain text rises by more than {100 * perplexity:g}{style.blank}%")
        if collapse is not None:
            parts.append(f"the most frequent kind of answer is given in {points(collapse)} more of the cases where it is wrong")
        if not parts:
            return ""
        listed = f"{', '.join(parts[:-1])}{',' if parts[2:] else ''} or {parts[-1]}" if parts[1:] else parts[0]
        return f"Guards: a candidate cannot win where {listed}."

    @property
    def has_limits(self) -> bool:
        """Whether anything was guarded."""
        return any(limit is not None for limit in self.outcome.limits.values())

    @property
    def is_unchanged(self) -> bool:
        """Whether something was chosen, and would have been without guards."""
        return self.outcome.refused is None and self.outcome.chosen is not None

    def sentences(self, style: NumberStyle = PLAIN) -> list[str]:
        """The limits; what the metric alone would have chosen and what that breaks; what was chosen instead."""
        refused, figures = self.outcome.refused, MetricFormat(self.metric, style)
        told = [self.limits(style) or "No guards: the metric alone chose."]
        if any(limit is not None for name, limit in self.outcome.limits.items() if name != PERPLEXITY):
            told.append("A loss of a tag and a rise of an answer count if beyond chance: by a one-sided sign-flip test at 10 %.")
        if refused is not None:
            told.append(f"By {self.metric} on the select split alone: {_with_score(refused, figures)}. It breaks: {_costs(refused)}.")
            told.append(f"Chosen instead: {_with_score(self.outcome.chosen, figures)}.")
        elif self.is_unchanged and self.has_limits:
            told.append("They did not change the choice.")
        changes = {} if self.outcome.chosen is None else self.outcome.chosen.changes
        if changes:
            listed = ", ".join(f"{tag} {figures.change(change)}" for tag, change in changes.items())
            told.append(f"On the select split, what was chosen changes, in points: {listed}.")
        return [sentence for sentence in told if sentence]

    def table(self, style: NumberStyle = PLAIN) -> Table | None:
        """What the metric alone would have chosen, what it breaks, and what was chosen; None where that is the same."""
        refused, chosen, figures = self.outcome.refused, self.outcome.chosen, MetricFormat(self.metric, style)
        if refused is None:
            return None
        name, value = ("nothing", DASH) if chosen is None else (chosen.name, figures.value(chosen.score))
        rows = [
            (f"by {self.metric} alone: {refused.name}", figures.value(refused.score), _costs(refused)),
            (f"chosen: {name}", value, DASH if chosen is None else "nothing"),
        ]
        return Table("What the guards changed", ("", f"{self.metric} (select)", "breaks"), rows, strong=(1,), is_text=True)

    def says_the_same(self, note: str) -> bool:
        """Whether a note of the run is the sentence that the search wrote on what the guards changed."""
        refused = self.outcome.refused
        return refused is not None and note.startswith(f"By {self.metric} on the select split alone, {refused.name} ")


def has_broken(trials: Iterable[TrialLine]) -> bool:
    """Whether any of the candidates breaks a guard."""
    return any(trial.broken for trial in trials)


def breaks(trial: TrialLine) -> str:
    """What a candidate breaks, in words; a dash where it breaks nothing, or was not checked."""
    return "; ".join(trial.broken) or DASH


def _costs(candidate: GuardedCandidate) -> str:
    return "; ".join(cost.sentence or cost.guard for cost in candidate.broken) or "a guard"


def _with_score(candidate: GuardedCandidate | None, figures: MetricFormat) -> str:
    return "nothing" if candidate is None else f"{candidate.name} ({figures.value(candidate.score)})"
