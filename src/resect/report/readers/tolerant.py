"""What a run folder holds, made sound: numbers are finite, keys are there or None. Plain values in and out; knows no file, no page."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from resect.core.address import Neurons, Site
from resect.core.errors import BadPlan, InputError, ResectError

from .plan_summary import Surgery

Object = dict[str, Any]
Row = TypeVar("Row")
#: No measurement is as large.
HUGE = 1e15


def rows_of(found: Iterable[Any], sound: Callable[[Any], Row]) -> tuple[tuple[Row, ...], list[str]]:
    """The rows that are as they should be, and of each that is not, what is wrong with it."""
    kept, odd = [], []
    for number, row in enumerate(found, start=1):
        try:
            kept.append(sound(row))
        except InputError as error:
            odd.append(f"of row {number:,}, {error}")
    return tuple(kept), odd


def parts_of(found: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What each reader makes of the part of its name, where there is one; and of each part that is damaged its name and why."""
    parts: dict[str, Any] = {}
    odd = []
    for name, read in readers.items():
        if found.get(name) is None:
            continue
        try:
            parts[name] = read(object_of(found[name]))
        except ResectError as error:
            odd.append((name, str(error)))
        except (KeyError, TypeError, ValueError) as error:  # valid JSON, but not what was kept there
            told = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            odd.append((name, f"It is damaged: {told}."))
    return parts, odd


def comparison_of(found: Mapping[str, Any]) -> Object:
    """A comparison of which every part is as comparison.json has it, or None. Raises InputError where no base is in it."""
    base = estimate_of(found.get("base"))
    if base is None:
        raise InputError("comparison.json is damaged: it holds no accuracy of the model as it was.")
    baselines, others = object_of(found.get("baselines")), object_of(found.get("other_metrics"))
    bias = object_of(found.get("bias_scores"))
    return {
        "task": str(found.get("task", "")),
        "metric": str(found.get("metric", "accuracy")),
        **{name: whole_of(found.get(name)) for name in ("n_examples", "n_groups", "n_instructions")},
        "base": base,
        "edited": estimate_of(found.get("edited")),
        "control": estimate_of(found.get("control")),
        "baselines": {name: estimate_of(baselines.get(name)) for name in ("cc", "dc")},
        "difference": difference_of(found.get("difference")),
        "other_metrics": {
            str(name): value for name, value in others.items() if isinstance(value, Mapping | list) or number_of(value) is not None
        },
        "side_effects": {str(name): value for name, value in object_of(found.get("side_effects")).items() if isinstance(value, Mapping)},
        "bias_scores": {name: object_of(bias.get(name)) for name in ("base", "edited")},
    }


def estimate_of(found: object) -> Object | None:
    """One measurement, or None where there is none. What is no number in it becomes None."""
    value = object_of(found)
    mean = number_of(value.get("mean"))
    if mean is None:
        return None
    spread = number_of(value.get("std_over_instructions"))
    return {"mean": mean, "interval": interval_of(value), "std_over_instructions": spread, "by_tag": numbers_of(value.get("by_tag"))}


def difference_of(found: object) -> Object | None:
    """A paired difference, or None where its mean or its interval is not there."""
    value = object_of(found)
    mean, interval = number_of(value.get("mean")), interval_of(value)
    if mean is None or interval is None:
        return None
    told = {"p_value": number_of(value.get("p_value")), "test": str(value.get("test", "")), "by_tag": numbers_of(value.get("by_tag"))}
    return {"mean": mean, "interval": interval, "fixed": whole_of(value.get("fixed")), "broken": whole_of(value.get("broken")), **told}


@dataclass(frozen=True)
class Cut:
    """What a plan does: units by site, in words, and the digest of the plan (that of `Plan.digest`)."""

    units: Neurons
    counts: Mapping[Site, int]
    surgery: Surgery
    family: str | None
    digest: str

    @property
    def total(self) -> int:
        """How many neurons and matrices."""
        return self.surgery.total


def cut_of(plan: Mapping[str, Any], method: str = "", trials: Iterable[Mapping[str, Any]] = ()) -> Cut:
    """What a plan, found by `method`, does. Raises InputError, TypeError or KeyError where it is no plan."""
    edits = plan["edits"]
    if not isinstance(edits, list):
        raise BadPlan("plan.json is damaged: it holds no list of edits.")
    units, counts = Neurons(), Counter[Site]()
    for edit in edits:
        held = Neurons.from_json(edit.get("neurons") or {})
        units = units | held
        counts.update({site: len(indices) for site, indices in held.items()})
    canonical = json.dumps(plan, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
    family = object_of(plan.get("model")).get("family")
    return Cut(units, counts, Surgery.of(plan, method, trials), None if family is None else str(family), digest)


def trial_of(row: object) -> Object:
    """A candidate: a size, or a matrix with its ρ and rank, and the score. Raises InputError that says what is wrong with it."""
    value = object_of(row)
    score = number_of(value.get("score"))
    if score is None and (value.get("score") is not None or value.get("site") is None):  # a matrix that was given up may have none
        raise InputError(f"its score is {value.get('score')!r}, which is no number")
    told: Object = {"score": score, "complete": value.get("complete", True) is True}
    told |= {name: number_of(value.get(name)) for name in ("examples", "seconds")}
    if value.get("size") is not None:
        return told | {"size": _at_least_0(value, "size")}
    try:
        site = Site.parse(str(value.get("site")))
    except InputError as error:
        raise InputError("it has neither a size nor a site that there can be") from error
    rho, rank, kept = number_of(value.get("rho")), whole_of(value.get("rank")), value.get("kept")
    if rho is not None and not 0 <= rho <= 1:
        raise InputError(f"its rho is {rho:g}; ρ is a share from 0 to 1")
    return told | {"site": str(site), "rho": rho, "rank": rank, "kept": kept if isinstance(kept, bool) else None}


def _at_least_0(value: Mapping[str, Any], name: str) -> float:
    found = number_of(value[name])
    if found is None or found < 0:
        raise InputError(f"its {name} is {value[name]!r}; it is a count, 0 or more")
    return found


def example_of(row: object) -> Object:
    """A changed answer with its texts. Raises InputError that says what is missing."""
    value = object_of(row)
    lost = [name for name in ("prompt", "gold", "base", "edited") if name not in value]
    if lost:
        raise InputError(f"it has no {', '.join(lost)}")
    tags = value.get("tags")
    texts = {name: str(value.get(name, "")) for name in ("id", "instruction", "prompt", "gold", "base", "edited")}
    right = object_of(value.get("right"))
    known = {name: right[name] for name in ("base", "edited") if isinstance(right.get(name), bool)}
    return {**texts, "right": known, "tags": tuple(map(str, tags)) if isinstance(tags, list) else ()}


def is_right(row: Mapping[str, Any], which: str) -> bool:
    """Whether the answer "base" or "edited" of a row of examples.jsonl is right: as the row says, else where it is the golden text."""
    return bool(object_of(row.get("right")).get(which, row[which] == row["gold"]))


def number_of(value: object) -> float | None:
    """A number, or None where it is none, or so large that nothing was measured there."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if -HUGE < value < HUGE else None


def whole_of(value: object) -> int | None:
    """A whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and -HUGE < value < HUGE else None


def numbers_of(found: object) -> dict[str, float]:
    """The numbers of an object by name; what is none is left out."""
    numbers = {str(name): number_of(value) for name, value in object_of(found).items()}
    return {name: value for name, value in numbers.items() if value is not None}


def interval_of(found: Mapping[str, Any]) -> list[float] | None:
    """The interval of a measurement, or None."""
    ends = found.get("interval")
    numbers = [number_of(end) for end in ends] if isinstance(ends, list) else []
    return [end for end in numbers if end is not None] if len(numbers) == 2 and None not in numbers else None


def object_of(found: object) -> Mapping[str, Any]:
    """A JSON object; an empty one where it is something else."""
    return found if isinstance(found, Mapping) else {}
