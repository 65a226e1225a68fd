"""Estimates, paired differences and the object of comparison.json. Knows no model and no file.

The one place that decides how two runs are compared; `intervals` says how certain the result is, and why.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from .errors import InputError, NotFinite
from .intervals import DRAWS, SKEWED_LEVEL, GroupHalves, Interval, bounded_interval, mcnemar

SCHEMA = 1


@dataclass(frozen=True)
class Estimate:
    """One measurement: mean over all example × instruction pairs, interval, spread over instructions, means and intervals by tag.

    `std_over_instructions`: population standard deviation of the instructions' means (0 for one instruction).
    """

    mean: float
    interval: Interval
    std_over_instructions: float
    by_tag: Mapping[str, float] = field(default_factory=dict)
    interval_by_tag: Mapping[str, Interval] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object, keys as in comparison.json. Raises NotFinite."""
        value = {
            "mean": self.mean,
            "interval": list(self.interval),
            "std_over_instructions": self.std_over_instructions,
            "by_tag": dict(self.by_tag),
            "interval_by_tag": {tag: list(interval) for tag, interval in self.interval_by_tag.items()},
        }
        return _finite("estimate", value)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Estimate":
        """Returns the estimate of a JSON object. Raises InputError."""
        mean, interval, std = (_key(value, name) for name in ("mean", "interval", "std_over_instructions"))
        return cls(mean, _interval(interval), std, dict(value.get("by_tag", {})), _intervals(value))


@dataclass(frozen=True)
class Difference:
    """Edited − base on the same pairs; `fixed` and `broken` count the pairs that became better and worse."""

    mean: float
    interval: Interval
    p_value: float
    test: str
    fixed: int
    broken: int
    by_tag: Mapping[str, float] = field(default_factory=dict)
    interval_by_tag: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def improved(self) -> bool:
        """Whether both ends of the interval are above 0. Without any effect true in 5 % of the cases at most (see `intervals`)."""
        return self.interval.low > 0

    @property
    def worsened(self) -> bool:
        """Whether both ends of the interval are below 0."""
        return self.interval.high < 0

    def without_change(self) -> "Difference":
        """Returns the difference of answers of one and the same model: no change can be otherwise, so its intervals have no width."""
        return replace(self, interval=Interval(0.0, 0.0), interval_by_tag={tag: Interval(0.0, 0.0) for tag in self.interval_by_tag})

    @property
    def verdict(self) -> str:
        """One of "improved", "worsened" and "no clear change"."""
        return "improved" if self.improved else "worsened" if self.worsened else "no clear change"

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object, keys as in comparison.json. Raises NotFinite."""
        value = {
            "mean": self.mean,
            "interval": list(self.interval),
            "p_value": self.p_value,
            "test": self.test,
            "fixed": self.fixed,
            "broken": self.broken,
            "by_tag": dict(self.by_tag),
            "interval_by_tag": {tag: list(interval) for tag, interval in self.interval_by_tag.items()},
        }
        return _finite("difference", value)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Difference":
        """Returns the difference of a JSON object. Raises InputError."""
        mean, interval, p_value, test, fixed, broken = (
            _key(value, name) for name in ("mean", "interval", "p_value", "test", "fixed", "broken")
        )
        by_tag = dict(value.get("by_tag", {}))
        return cls(mean, _interval(interval), p_value, test, fixed, broken, by_tag, _intervals(value))


@dataclass(frozen=True)
class Comparison:
    """The content of comparison.json. None: not measured. Fractions, not percent.

    `control`: the mean of the random controls' outcomes; `baselines`: "cc" and "dc"; `side_effects`: name to {"base",
    "edited"}; `bias_scores`: a benchmark's own scores, {"base", "edited"}; `answers`: chance, the best constant answer, how answers spread
    over kinds and positions; `verdict`: {"word", "reasons", "limits"}.
    """

    task: str
    metric: str
    n_examples: int
    n_instructions: int
    n_groups: int
    base: Estimate
    edited: Estimate | None = None
    control: Estimate | None = None
    difference: Difference | None = None
    baselines: Mapping[str, Estimate | None] = field(default_factory=lambda: {"cc": None, "dc": None})
    side_effects: Mapping[str, Any] = field(default_factory=dict)
    other_metrics: Mapping[str, Any] = field(default_factory=dict)
    bias_scores: Mapping[str, Any] | None = None
    answers: Mapping[str, Any] | None = None
    verdict: Mapping[str, Any] | None = None
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Returns the object of comparison.json. Raises NotFinite where a number in it is NaN or infinite."""
        value: dict[str, Any] = {name: getattr(self, name) for name in ("schema", "task", "metric", *_COUNTS)}
        value |= {name: _optional_json(getattr(self, name)) for name in ("base", "edited", "control")}
        value["baselines"] = {name: _optional_json(baseline) for name, baseline in self.baselines.items()}
        value["difference"] = _optional_json(self.difference)
        value["side_effects"] = dict(self.side_effects)
        value["other_metrics"] = dict(self.other_metrics)
        for name in ("bias_scores", "answers", "verdict"):
            part = getattr(self, name)
            value[name] = None if part is None else dict(part)
        return _finite("comparison", value)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Comparison":
        """Returns the comparison of an object as `to_json` writes it; unknown keys are ignored. Raises InputError."""
        if _key(value, "schema") != SCHEMA:
            raise InputError(f"This comparison has the schema {value['schema']!r}; this version of resect reads {SCHEMA}.")
        difference = value.get("difference")
        return cls(
            **{name: _key(value, name) for name in ("task", "metric", *_COUNTS)},
            base=Estimate.from_json(_key(value, "base")),
            edited=_optional_estimate(value.get("edited")),
            control=_optional_estimate(value.get("control")),
            difference=None if difference is None else Difference.from_json(difference),
            baselines={name: _optional_estimate(baseline) for name, baseline in value.get("baselines", {}).items()},
            side_effects=value.get("side_effects") or {},
            other_metrics=value.get("other_metrics") or {},
            bias_scores=value.get("bias_scores"),
            answers=value.get("answers"),
            verdict=value.get("verdict"),
        )


_COUNTS = ("n_examples", "n_instructions", "n_groups")


def estimate(
    values: Shaped[np.ndarray, "examples ..."],
    groups: Sequence[str],
    tags: Sequence[Iterable[str]] | None = None,
    seed: int = 0,
) -> Estimate:
    """Returns the mean of a metric, with its interval over groups.

    Parameters
    ----------
    values : the metric of each pair, [examples, instructions] or [examples]; where all are in [0, 1], that is taken as their bounds
    groups : the group of each example
    tags : the tags of each example, for means and intervals by tag
    seed : of the draws behind the intervals

    With fewer than six groups, values without bounds have no 95 % interval; the range of the groups' means is given instead.
    Raises NotFinite for NaN or infinity, InputError for shapes that do not match.
    """
    pairs = _pairs("values", values, groups)
    bounded, rows = _is_bounded(pairs), rows_by_tag(tags, len(pairs))

    def interval(halves: GroupHalves) -> Interval:
        return bounded_interval(halves.totals[:, 0], halves.totals[:, 1], 0.0, 1.0, seed) if bounded else halves.interval()

    halves = GroupHalves.of(pairs, groups, seed)
    return Estimate(
        mean=halves.mean,
        interval=interval(halves),
        std_over_instructions=float(pairs.mean(axis=0).std()),
        by_tag={tag: float(pairs[rows[tag]].mean()) for tag in rows},
        interval_by_tag={tag: interval(_halves_of(rows[tag], pairs, groups, seed)) for tag in rows},
    )


def difference(
    base: Shaped[np.ndarray, "examples ..."],
    edited: Shaped[np.ndarray, "examples ..."],
    groups: Sequence[str],
    seed: int = 0,
    tags: Sequence[Iterable[str]] | None = None,
) -> Difference:
    """Returns edited − base, paired: the same examples in the same order, the same instructions.

    Parameters as of `estimate`; `base` and `edited` have one shape. The test: exact McNemar where there is one
    instruction, every group is one example and every outcome changes by −1, 0 or 1; else a sign-flip test of the
    groups' summed differences, exact up to 20 groups, else over 10,000 seeded draws, (1 + as extreme) / (1 + draws).
    Both are two-sided, p in (0, 1]. An interval that excludes 0 has p at most 0.05. Of values in [0, 1] it is wider than the test alone
    would make it, so that it holds for skewed changes too (see `intervals`), and never of zero width: that nothing changed in n groups
    does not say that nothing changes in others.

    With fewer than six groups no effect differs from 0 at the 5 % level; the interval holds at least the range of the groups' means, and 0.
    Raises NotFinite, InputError.
    """
    before, after = _pairs("base", base, groups), _pairs("edited", edited, groups)
    if before.shape != after.shape:
        raise InputError(f"base has the shape {before.shape} and edited {after.shape}; a paired difference needs equal shapes.")
    change, bounded = after - before, _is_bounded(before) and _is_bounded(after)
    fixed, broken = int((change > 0).sum()), int((change < 0).sum())
    halves, rows = GroupHalves.of(change, groups, seed), rows_by_tag(tags, len(change))

    def tag_interval(tag: str) -> Interval:
        part = _halves_of(rows[tag], change, groups, seed)
        return _change_interval(part, part.interval(include=0.0), bounded, seed)

    interval = halves.interval(include=0.0)
    single = change.shape[1] == 1 and len(set(groups)) == len(groups) and bool(np.isin(change, (-1, 0, 1)).all())
    if single:
        p_value, test = mcnemar(fixed, broken), "exact McNemar"
        interval = halves.consistent_with(interval, p_value)
    else:
        p_value = halves.p_value()
        test = "sign-flip over groups (exact)" if halves.exact else f"sign-flip over groups ({DRAWS:,} draws)"
    return Difference(
        mean=halves.mean,
        interval=_change_interval(halves, interval, bounded, seed),
        p_value=p_value,
        test=test,
        fixed=fixed,
        broken=broken,
        by_tag={tag: float(change[rows[tag]].mean()) for tag in rows},
        interval_by_tag={tag: tag_interval(tag) for tag in rows},
    )


def _halves_of(rows: Sequence[int], pairs: Float[np.ndarray, "examples instructions"], groups: Sequence[str], seed: int) -> GroupHalves:
    return GroupHalves.of(pairs[list(rows)], [groups[row] for row in rows], seed)


def _change_interval(halves: GroupHalves, interval: Interval, bounded: bool, seed: int) -> Interval:
    """Returns the interval of a change, widened where its values have bounds, so that it needs no symmetry."""
    if not bounded:
        return interval
    skewed = bounded_interval(halves.totals[:, 0], halves.totals[:, 1], -1.0, 1.0, seed, SKEWED_LEVEL)
    return Interval(min(interval.low, skewed.low), max(interval.high, skewed.high))


def _is_bounded(pairs: Float[np.ndarray, "examples instructions"]) -> bool:
    """Whether the values are taken as bounded by [0, 1]: shares, and means of shares."""
    return bool(((pairs >= 0) & (pairs <= 1)).all())


def _pairs(name: str, values: np.ndarray, groups: Sequence[str]) -> Float[np.ndarray, "examples instructions"]:
    array = np.asarray(values, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.size == 0 or len(groups) != len(array):
        raise InputError(
            f"{name} has the shape {np.shape(values)} for {len(groups)} groups; [examples, instructions] with a group "
            "for each example, and at least one pair, is needed."
        )
    if not np.isfinite(array).all():
        raise NotFinite(f"{int((~np.isfinite(array)).sum())} of the {array.size} outcomes in {name} are NaN or infinite.")
    return array


def rows_by_tag(tags: Sequence[Iterable[str]] | None, examples: int) -> dict[str, list[int]]:
    """Returns the rows of the examples that carry each tag, sorted by tag. Raises InputError where tags are not of so many examples."""
    if tags is not None and len(tags) != examples:
        raise InputError(f"There are tags for {len(tags)} examples, but outcomes of {examples}.")
    rows: dict[str, list[int]] = {}
    for row, names in enumerate(tags or ()):
        for name in dict.fromkeys(names):
            rows.setdefault(name, []).append(row)
    return {name: rows[name] for name in sorted(rows)}


def _key(value: Mapping[str, Any], name: str) -> Any:
    if not isinstance(value, Mapping) or name not in value:
        raise InputError(f"This is no comparison: the key {name!r} is missing.")
    return value[name]


def _interval(value: Any) -> Interval:
    if not isinstance(value, Sequence) or len(value) != 2:
        raise InputError(f"This is no comparison: an interval is [low, high], not {value!r}.")
    return Interval(*value)


def _intervals(value: Mapping[str, Any]) -> dict[str, Interval]:
    return {tag: _interval(interval) for tag, interval in (value.get("interval_by_tag") or {}).items()}


def _optional_json(value: Estimate | Difference | None) -> dict[str, Any] | None:
    return None if value is None else value.to_json()


def _optional_estimate(value: Mapping[str, Any] | None) -> Estimate | None:
    return None if value is None else Estimate.from_json(value)


def _finite(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """Returns the value itself. Raises NotFinite where a number in it is NaN or infinite, which JSON cannot represent."""
    for key, part in value.items():
        inner = part if isinstance(part, dict) else dict(enumerate(part)) if isinstance(part, list | tuple) else {}
        _finite(f"{name}.{key}", {str(inner_key): entry for inner_key, entry in inner.items()})
        if isinstance(part, float) and not math.isfinite(part):
            raise NotFinite(f"{name}.{key} is {part}; NaN and infinity are never reported.")
    return value
