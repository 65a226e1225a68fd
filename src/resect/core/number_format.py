"""Numbers as people read them: shares in per cent, losses as they are, changes with their sign, a dash for nothing.

Knows what a metric's values are and how a face writes a number; knows no comparison's meaning, no page, no terminal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: What stands where nothing was measured.
DASH = "–"
#: With fewer groups there is no 95 % interval (see `comparison.estimate`).
FEWEST_GROUPS = 6
#: A perplexity from which on a model is lost: no better than guessing among as many tokens.
LOST = 10_000


@dataclass(frozen=True)
class NumberStyle:
    """How a number looks where it is read: `blank` stands between it and what belongs to it, `minus` before what is below 0."""

    blank: str
    minus: str

    def number(self, value: float | None) -> str:
        """A number with four digits that count.

        >>> PLAIN.number(-0.00123456), PLAIN.number(12345.678), PLAIN.number(2.0), PLAIN.number(None)
        ('-0.001235', '12,346', '2', '–')
        """
        if value is None:
            return DASH
        return self._spelt(f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}")

    def percent(self, share: float | None, unit: bool = True) -> str:
        """A share in per cent, with one digit.

        >>> PLAIN.percent(0.8064), PLAIN.percent(0.8064, unit=False)
        ('80.6 %', '80.6')
        """
        if share is None:
            return DASH
        return self._spelt(f"{100 * share:.1f}") + (f"{self.blank}%" if unit else "")

    def signed(self, value: float | None, digits: int = 3) -> str:
        """A number with its sign; what is written as zero has none.

        >>> PLAIN.signed(0.25), PLAIN.signed(-0.0001), PAGE.signed(-0.25, 1)
        ('+0.250', '0.000', '−0.2')
        """
        return DASH if value is None else self._spelt(f"{value:+.{digits}f}")

    def p_value(self, value: float | None) -> str:
        """How surprising a change would be without any effect.

        >>> PLAIN.p_value(0.0001), PLAIN.p_value(0.25)
        ('p < 0.001', 'p = 0.250')
        """
        if value is None:
            return "p unknown"
        return self.blank.join(("p", "<", "0.001") if value < 0.001 else ("p", "=", f"{value:.3f}"))

    def _spelt(self, told: str) -> str:
        return (told if told.strip("+-0.") else told.lstrip("+-")).replace("-", self.minus)


#: Terminals and Markdown, where one may want to copy a number; and what is set: HTML, drawings, LaTeX.
PLAIN, PAGE = NumberStyle(" ", "-"), NumberStyle("\N{NO-BREAK SPACE}", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class MetricFormat:
    """How the values of a metric are written on a face. Shares lie in [0, 1]; None is nothing, and written as a dash."""

    metric: str = "accuracy"
    face: NumberStyle = PLAIN

    @property
    def is_share(self) -> bool:
        """Whether values are shares, and more is better; else they are losses."""
        return self.metric != "logloss"

    def value(self, value: float | None) -> str:
        """A value.

        >>> Figures().value(0.607), Figures("logloss").value(0.607), Figures().value(None)
        ('60.7 %', '0.607', '–')
        """
        return self.face.percent(value) if self.is_share else self.face.number(value)

    def aligned(self, value: float | None) -> str:
        """A value without its unit, with as many digits as all the others of a column.

        >>> Figures().aligned(0.607), Figures("logloss").aligned(1.0)
        ('60.7', '1.000')
        """
        if value is None or self.is_share:
            return self.face.percent(value, unit=False)
        return self.face.signed(value).removeprefix("+")

    def interval(self, ends: Sequence[float] | None) -> str:
        """Where a value lies with 95 % confidence; the unit stands once.

        >>> Figures().interval([0.58, 0.63])
        '58.0 to 63.0 %'
        """
        if ends is None:
            return DASH
        low, high = ends
        return f"{self.face.percent(low, unit=False) if self.is_share else self.value(low)} to {self.value(high)}"

    def pair(self, before: float | None, after: float | None) -> str:
        """A value before and after; only before where there is nothing after.

        >>> Figures().pair(0.607, 0.816), Figures().pair(0.607, None)
        ('60.7 % → 81.6 %', '60.7 %')
        """
        return arrow(self.value, before, after)

    def change(self, change: float | None, unit: bool = False) -> str:
        """A difference of two values with its sign; of shares in points.

        >>> Figures().change(0.209, unit=True), Figures("logloss").change(-0.5, unit=True)
        ('+20.9 points', '-0.500')
        """
        if change is None or not self.is_share:
            return self.face.signed(change)
        return self.face.signed(100 * change, 1) + (f"{self.face.blank}points" if unit else "")

    def changes(self, ends: Sequence[float] | None) -> str:
        """Where a change lies with 95 % confidence.

        >>> Figures().changes([-0.01, 0.005])
        '-1.0 to +0.5'
        """
        return DASH if ends is None else f"{self.change(ends[0])} to {self.change(ends[1])}"

    def gain(self, change: float) -> float:
        """How much better a change makes it: above 0 is better, whatever the metric."""
        return change if self.is_share else -change

    def turned(self, change: Mapping[str, Any]) -> str:
        """How many answers became better, and how many worse, of a difference in comparison.json.

        >>> told = {"fixed": 1300, "broken": 1}
        >>> Figures().turned(told)
        '1,300 answers fixed, 1 broken'
        >>> Figures("logloss").turned(told)
        '1,300 golden answers became more probable, 1 less probable'
        """
        if self.is_share:
            return fixed_and_broken(change)
        return f"{plural(change['fixed'], 'golden answers')} became more probable, {change['broken']:,} less probable"

    def verdict(self, ends: Sequence[float]) -> str:
        """What the interval of a change says: "improved", "worsened" or "no clear change".

        >>> Figures().verdict([0.01, 0.2]), Figures("logloss").verdict([0.01, 0.2]), Figures().verdict([0.0, 0.2])
        ('improved', 'worsened', 'no clear change')
        """
        low, high = sorted(map(self.gain, ends))
        return "improved" if low > 0 else "worsened" if high < 0 else "no clear change"


def arrow(write: Callable[[float | None], str], before: float | None, after: float | None) -> str:
    """Two numbers, before and after, as `write` writes them; only the first where there is no second."""
    return write(before) + ("" if after is None else f" → {write(after)}")


def plural(number: int | None, what: str) -> str:
    """How many there are of something.

    >>> count(1, "examples"), count(2300, "examples"), count(None, "examples")
    ('1 example', '2,300 examples', 'an unknown number of examples')
    """
    return f"an unknown number of {what}" if number is None else f"{number:,} {what if number != 1 else what.removesuffix('s')}"


def fixed_and_broken(change: Mapping[str, Any]) -> str:
    """How many answers became right, and how many wrong, of a difference in comparison.json.

    >>> fixed_and_broken({"fixed": 1300, "broken": 1})
    '1,300 answers fixed, 1 broken'
    """
    return f"{plural(change['fixed'], 'answers')} fixed, {change['broken']:,} broken"


def sample_sizes(comparison: Mapping[str, Any]) -> str:
    """How much was asked, of the object of comparison.json.

    >>> counts({"n_examples": 1200, "n_groups": 300, "n_instructions": 1})
    '1,200 examples, 300 groups, 1 instruction'
    """
    return ", ".join(plural(comparison[f"n_{what}"], what) for what in ("examples", "groups", "instructions"))


def few_groups(number: int | None) -> str:
    """What stands where intervals should, as a sentence; nothing where there are enough groups, or nobody knows."""
    if number is None or number >= FEWEST_GROUPS:
        return ""
    return "With fewer than six groups there is no interval: the range of their means stands in for it."
