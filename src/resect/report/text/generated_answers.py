"""What becomes of the answers that a model writes, beside those that are scored, in a sentence. Knows no page, no terminal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resect.core.number_format import PLAIN, MetricFormat, NumberStyle
from resect.report.readers.tolerant import difference_of, number_of, object_of

#: A rise of the share of texts that are no choice, from which on the verdict names it.
NO_CHOICE = 0.05


@dataclass(frozen=True)
class Written:
    """Written answers: the change of their accuracy by its interval and mean, the shares of texts that are no choice before and after.

    `is_other`: whether choices are what is compared, and the written answers stand beside them.
    """

    change: Mapping[str, Any] | None
    before: float | None
    after: float | None
    is_other: bool

    @classmethod
    def of(cls, comparison: Mapping[str, Any]) -> "Written":
        """As comparison.json tells it; nothing where nothing was written."""
        found = object_of(object_of(comparison.get("other_metrics")).get("generation"))
        ends, is_other = object_of(found.get("unmatched")), comparison.get("metric") == "accuracy"
        change = difference_of(found.get("difference")) if is_other else None
        return cls(change, number_of(ends.get("base")), number_of(ends.get("edited")), is_other)

    @property
    def says(self) -> str:
        """What the interval of the change says (`MetricFormat.verdict`); "" where there is none."""
        return "" if self.change is None else MetricFormat("generation").verdict(self.change["interval"])

    @property
    def strays(self) -> bool:
        """Whether clearly more texts are no choice than before."""
        return self.before is not None and self.after is not None and self.after - self.before > NO_CHOICE

    @property
    def has_doubt(self) -> bool:
        """Whether a gain of the scored choices is not all there is to say."""
        return self.strays or self.says in ("no clear change", "worsened")

    def sentence(self, helps: bool, face: NumberStyle = PLAIN) -> str:
        """What to say beside the verdict, or nothing. `helps`: whether the compared metric improved."""
        astray = (
            f"{self._share(self.after, face)} of its texts are no choice ({self._share(self.before, face)} before)" if self.strays else ""
        )
        if self.change is None or not helps or self.says == "improved":
            return f" But when the model writes its answer, {astray}." if astray else ""
        figures = MetricFormat("generation", face)
        told = "It does harm" if self.says == "worsened" else "Not shown"
        told += f" when the model writes its answer ({figures.change(self.change['mean'], unit=True)}"
        told += f", {figures.change_interval(self.change['interval'])})"
        return f" {told}: {astray}." if astray else f" {told}."

    def _share(self, share: float | None, face: NumberStyle) -> str:
        return f"{100 * (share or 0.0):.0f}{face.blank}%"
