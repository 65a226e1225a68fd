"""A reduction without a task: what stands above noise stays, as far as plain text allows. Plain values and sentences; knows no page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from resect.core.address import Site
from resect.core.number_format import DASH, BROKEN_PERPLEXITY, PLAIN, MetricFormat, NumberStyle

from .plan_summary import Surgery
from .tolerant import number_of, object_of


@dataclass(frozen=True)
class Looked:
    """A matrix that was looked at. `rho` None: nothing in it is below the edge; `perplexity` None: it was given up before the end."""

    site: Site
    rho: float | None
    rank: int | None
    perplexity: float | None
    is_kept: bool


@dataclass(frozen=True)
class Denoised:
    """A search without a task: by what share the perplexity was allowed to rise, and that of the text that is reported on."""

    allowed: float
    before: float | None
    after: float | None
    looked_at: tuple[Looked, ...] = ()

    @classmethod
    def of(cls, comparison: Mapping[str, Any] | None, trials: Iterable[Mapping[str, Any]] = ()) -> "Denoised | None":
        """What comparison.json and sound lines (see `sound.trial_of`) tell; None where the search had a task."""
        allowed = number_of(object_of((comparison or {}).get("other_metrics")).get("rise"))
        if allowed is None:
            return None
        text = object_of(object_of((comparison or {}).get("side_effects")).get("perplexity"))
        looked_at = tuple(
            Looked(Site.parse(row["site"]), row["rho"], row["rank"], row["score"], row["kept"] is True) for row in trials if "site" in row
        )
        return cls(allowed, number_of(text.get("base")), number_of(text.get("edited")), looked_at)

    @property
    def rise(self) -> float | None:
        """By what share the perplexity rose."""
        return None if not self.before or self.after is None else self.after / self.before - 1

    @property
    def is_lost(self) -> bool:
        """Whether the text was beyond the model before anything was reduced, so that its perplexity says nothing."""
        return self.before is not None and self.before > BROKEN_PERPLEXITY

    @property
    def is_within(self) -> bool:
        """Whether the perplexity of text that the search never saw rose no more than it was allowed to."""
        return self.rise is not None and self.rise <= self.allowed and not self.is_lost

    def extent(self, face: NumberStyle = PLAIN) -> str:
        """What was looked at, and what became of it, as a sentence."""
        kept = sum(each.is_kept for each in self.looked_at)
        whole = sum(each.rho is None for each in self.looked_at)
        rest = len(self.looked_at) - kept - whole
        told = f"{kept:,} of {len(self.looked_at):,} matrices were reduced to what stands above the noise edge of their spectrum"
        told += f"; {rest:,} {'was' if rest == 1 else 'were'} left, since plain text became too improbable" if rest else ""
        told += f"; in {whole:,} nothing is below the edge" if whole else ""
        return f"{told}. Allowed was a rise of the perplexity by {_percent(self.allowed, face)} in all."

    def verdict(self, comparison: Mapping[str, Any], surgery: Surgery, face: NumberStyle = PLAIN) -> str:
        """One sentence (or two) on what the numbers say."""
        allowed = _percent(self.allowed, face)
        if surgery.total == 0:
            return (
                f"Nothing was reduced: no matrix could lose what is below its noise edge without raising the perplexity by more than "
                f"{allowed}. The model stays as it is."
            )
        pair = f"{face.number(self.before)} → {face.number(self.after)}"
        rise = DASH if self.rise is None else f"{face.signed(100 * self.rise, 1)}{face.blank}%"
        told = f"{surgery.doing(face)} to what stands above noise" if len(surgery.reductions) > 1 else surgery.doing(face)
        told += f" changes the perplexity of text that the search never saw: {pair} ({rise}; {allowed} was allowed)."
        figures, control, edited = MetricFormat(comparison["metric"], face), comparison.get("control"), comparison.get("edited")
        if control is not None and edited is not None:
            base = comparison["base"]["mean"]
            changes = (figures.change(each["mean"] - base) for each in (edited, control))
            told += f" Log loss of a token: {next(changes)}; other matrices of those roles, reduced as far: {next(changes)}."
        if self.is_lost:
            return f"{told} But this text was beyond the model from the beginning: choose and judge by text that it knows (--text)."
        return told if self.is_within else f"{told} That is more than was allowed."


def _percent(share: float, face: NumberStyle) -> str:
    return f"{100 * share:g}{face.blank}%"
