"""Writes numbers for readers: shares in per cent, losses as they are, changes with their sign, a dash where nothing was measured.

Knows which metrics are shares and how a medium writes a number; does not know pages, terminals or what a comparison means.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Written where nothing was measured.
DASH = "–"
#: Fewest groups whose change can be told from chance at the 5 % level, and of values without bounds can have a 95 % interval.
FEWEST_GROUPS = 6
#: The places of the choices of an example, in words; reports count answers at these.
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
#: From this perplexity on a model no longer predicts the text: it does no better than guessing among as many tokens.
BROKEN_PERPLEXITY = 10_000


@dataclass(frozen=True)
class NumberStyle:
    """How a medium writes a number: `blank` goes between a number and its unit, `minus` in front of a number below 0."""

    blank: str
    minus: str

    def number(self, value: float | None) -> str:
        """Returns a number with four significant digits.

        >>> PLAIN.number(-0.00123456), PLAIN.number(12345.678), PLAIN.number(2.0), PLAIN.number(None)
        ('-0.001235', '12,346', '2', '–')
        """
        if value is None:
            return DASH
        return self._with_minus(f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}")

    def percent(self, share: float | None, unit: bool = True) -> str:
        """Returns a share in per cent, with one decimal.

        >>> PLAIN.percent(0.8064), PLAIN.percent(0.8064, unit=False)
        ('80.6 %', '80.6')
        """
        if share is None:
            return DASH
        return self._with_minus(f"{100 * share:.1f}") + (f"{self.blank}%" if unit else "")

    def signed(self, value: float | None, digits: int = 3) -> str:
        """Returns a number with its sign; a number that rounds to zero has none.

        >>> PLAIN.signed(0.25), PLAIN.signed(-0.0001), PAGE.signed(-0.25, 1)
        ('+0.250', '0.000', '−0.2')
        """
        return DASH if value is None else self._with_minus(f"{value:+.{digits}f}")

    def p_value(self, value: float | None) -> str:
        """Returns a p-value; below 0.001 only that bound.

        >>> PLAIN.p_value(0.0001), PLAIN.p_value(0.25)
        ('p < 0.001', 'p = 0.250')
        """
        if value is None:
            return "p unknown"
        return self.blank.join(("p", "<", "0.001") if value < 0.001 else ("p", "=", f"{value:.3f}"))

    def _with_minus(self, text: str) -> str:
        return (text if text.strip("+-0.") else text.lstrip("+-")).replace("-", self.minus)


#: PLAIN: terminals and Markdown, where a reader may copy a number. PAGE: HTML, charts and LaTeX.
PLAIN, PAGE = NumberStyle(" ", "-"), NumberStyle("\N{NO-BREAK SPACE}", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class MetricFormat:
    """How the values of a metric are written. Shares are in [0, 1]; None (not measured) is written as a dash.

    n_groups : the number of groups behind intervals, None where it is not known; those of one group are written as a dash
    """

    metric: str = "accuracy"
    style: NumberStyle = PLAIN
    n_groups: int | None = None

    @property
    def is_share(self) -> bool:
        """Whether values are shares, where more is better; all other metrics are losses."""
        return self.metric != "logloss"

    def value(self, value: float | None) -> str:
        """Returns a value with its unit.

        >>> MetricFormat().value(0.607), MetricFormat("logloss").value(0.607), MetricFormat().value(None)
        ('60.7 %', '0.607', '–')
        """
        return self.style.percent(value) if self.is_share else self.style.number(value)

    def aligned(self, value: float | None) -> str:
        """Returns a value without its unit, with the same number of decimals as the rest of a table column.

        >>> MetricFormat().aligned(0.607), MetricFormat("logloss").aligned(1.0)
        ('60.7', '1.000')
        """
        if value is None or self.is_share:
            return self.style.percent(value, unit=False)
        return self.style.signed(value).removeprefix("+")

    def interval(self, ends: Sequence[float] | None) -> str:
        """Returns the 95 % interval of a value; the unit is written once.

        >>> MetricFormat().interval([0.58, 0.63])
        '58.0 to 63.0 %'
        """
        if ends is None or self.n_groups == 1:
            return DASH
        low, high = ends
        return f"{self.style.percent(low, unit=False) if self.is_share else self.value(low)} to {self.value(high)}"

    def pair(self, before: float | None, after: float | None) -> str:
        """Returns the values before and after; only the first where the second is None.

        >>> MetricFormat().pair(0.607, 0.816), MetricFormat().pair(0.607, None)
        ('60.7 % → 81.6 %', '60.7 %')
        """
        return before_after(self.value, before, after)

    def change(self, change: float | None, unit: bool = False) -> str:
        """Returns a difference of two values with its sign; for shares in percentage points.

        >>> MetricFormat().change(0.209, unit=True), MetricFormat("logloss").change(-0.5, unit=True)
        ('+20.9 points', '-0.500')
        """
        if change is None or not self.is_share:
            return self.style.signed(change)
        return self.style.signed(100 * change, 1) + (f"{self.style.blank}points" if unit else "")

    def change_interval(self, ends: Sequence[float] | None) -> str:
        """Returns the 95 % interval of a change.

        >>> MetricFormat().change_interval([-0.01, 0.005])
        '-1.0 to +0.5'
        """
        return DASH if ends is None or self.n_groups == 1 else f"{self.change(ends[0])} to {self.change(ends[1])}"

    def gain(self, change: float) -> float:
        """Returns the change with the sign that makes above 0 better, whatever the metric."""
        return change if self.is_share else -change

    def answer_changes(self, change: Mapping[str, Any]) -> str:
        """Returns how many answers became better and how many worse, from the `difference` of comparison.json.

        >>> difference = {"fixed": 1300, "broken": 1}
        >>> MetricFormat().answer_changes(difference)
        '1,300 answers fixed, 1 broken'
        >>> MetricFormat("logloss").answer_changes(difference)
        '1,300 golden answers became more probable, 1 less probable'
        """
        if self.is_share:
            return fixed_and_broken(change)
        return f"{plural(change['fixed'], 'golden answers')} became more probable, {change['broken']:,} less probable"

    def verdict(self, ends: Sequence[float]) -> str:
        """Returns what the interval of a change shows: "improved", "worsened" or "no clear change".

        >>> MetricFormat().verdict([0.01, 0.2]), MetricFormat("logloss").verdict([0.01, 0.2]), MetricFormat().verdict([0.0, 0.2])
        ('improved', 'worsened', 'no clear change')
        """
        low, high = sorted(map(self.gain, ends))
        return "improved" if low > 0 else "worsened" if high < 0 else "no clear change"


def before_after(write: Callable[[float | None], str], before: float | None, after: float | None) -> str:
    """Returns two numbers as `write` writes them, with an arrow between; only the first where `after` is None."""
    return write(before) + ("" if after is None else f" → {write(after)}")


def plural(number: int | None, noun: str) -> str:
    """Returns a number with its noun, given in the plural.

    >>> plural(1, "examples"), plural(2300, "examples"), plural(None, "examples")
    ('1 example', '2,300 examples', 'an unknown number of examples')
    """
    return f"an unknown number of {noun}" if number is None else f"{number:,} {noun if number != 1 else noun.removesuffix('s')}"


def fixed_and_broken(change: Mapping[str, Any]) -> str:
    """Returns how many answers became right and how many wrong, from the `difference` of comparison.json.

    >>> fixed_and_broken({"fixed": 1300, "broken": 1})
    '1,300 answers fixed, 1 broken'
    """
    return f"{plural(change['fixed'], 'answers')} fixed, {change['broken']:,} broken"


def sample_sizes(comparison: Mapping[str, Any]) -> str:
    """Returns the numbers of examples, groups and instructions in the object of comparison.json.

    >>> sample_sizes({"n_examples": 1200, "n_groups": 300, "n_instructions": 1})
    '1,200 examples, 300 groups, 1 instruction'
    """
    return ", ".join(plural(comparison[f"n_{noun}"], noun) for noun in ("examples", "groups", "instructions"))


def few_groups_note(number: int | None, is_share: bool = True) -> str:
    """Returns a sentence on intervals from fewer than six groups; "" where there are enough groups, or their number is unknown.

    is_share : values are shares, whose bounds give an interval from few groups too
    """
    if number is None or number >= FEWEST_GROUPS:
        return ""
    if number == 1:
        return "With one group there is no interval, and no change can be told from chance."
    note = "With fewer than six groups no change can be told from chance"
    return f"{note}; the intervals are wide." if is_share else f"{note}; instead of an interval the range of the groups' means is given."
