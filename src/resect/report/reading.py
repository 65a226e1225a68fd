"""What can be read of a run folder, whatever is missing or damaged in it, and how to get the rest.

Nothing that comes out of here needs another look: numbers are finite, keys are there or None. Knows no form of report.
"""

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..address import Neurons, Site
from ..errors import BadPlan, InputError, ResectError
from ..scores import Scores
from ..store import PART, RECIPE, TRIALS, Run
from .advice import near, program

T = TypeVar("T")
Object = dict[str, Any]
#: No measurement is as large.
HUGE = 1e15
#: What the rows of examples.jsonl are called.
CHANGED = "The changed answers"


@dataclass(frozen=True)
class Gap:
    """Something that a run does not hold: what it is, why it is not there, and how to get it."""

    what: str
    why: str
    how: str


@dataclass(frozen=True)
class Cut:
    """What a plan cuts: units by site, whole matrices, and the digest of the plan (that of `Plan.digest`)."""

    units: Neurons
    counts: Mapping[Site, int]
    factors: tuple[str, ...]
    family: str | None
    digest: str

    @property
    def total(self) -> int:
        """How many neurons and matrices."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Reading:
    """A run as it can be read. What is not there is None, or empty, and `gaps` says so."""

    run: Run
    comparison: Object | None
    cut: Cut | None
    trials: tuple[Object, ...]
    examples: tuple[Object, ...]
    scores: Scores | None
    environment: Object
    parts: "tuple[Reading, ...]" = ()
    gaps: tuple[Gap, ...] = field(default=(), compare=False)

    @property
    def chosen(self) -> float | None:
        """The n that was chosen: how much the plan cuts."""
        return None if self.cut is None else float(self.cut.total)

    @classmethod
    def of(cls, run: Run) -> "Reading":
        """Read all of it. Raises nothing for what is missing or damaged."""
        gaps: list[Gap] = []

        def tried(what: str, read: Callable[[], T], nothing: T) -> T:
            try:
                return read()
            except ResectError as error:
                gaps.append(_gap(run, what, str(error)))
            except (TypeError, ValueError, KeyError, AttributeError) as error:  # valid JSON, but not what was kept there
                gaps.append(_gap(run, what, f"It is damaged: it holds something else than a run keeps there ({error})."))
            return nothing

        comparison = tried("The comparison", lambda: comparison_of(run.comparison()), None)
        cut = tried("The plan", lambda: cut_of(run.plan_json()), None)
        scores = tried("The scores", run.scores, None)
        nothing: Object = {}
        no_rows: tuple[tuple[Object, ...], int] = ((), 0)
        trials, odd_trials = tried("The candidates that were tried", lambda: _rows(_trials(run), trial_of), no_rows)
        examples, odd_examples = tried(CHANGED, lambda: _rows(run.examples(), example_of), no_rows)
        for what, odd in (("candidates that were tried", odd_trials), ("changed answers", odd_examples)):
            if odd:
                gaps.append(_gap(run, f"{odd:,} of the {what}", "The rows are damaged."))
        parts, lost = _parts(run)
        if all(gap.what != CHANGED for gap in gaps):
            gaps += _broken_off(run, len(examples), parts[0].comparison if parts else comparison)
        environment = tried("The environment", lambda: _environment(run), nothing)
        inner = [Gap(f"{part.run.folder.name}: {gap.what}", gap.why, gap.how) for part in parts for gap in part.gaps]
        return cls(run, comparison, cut, trials, examples, scores, environment, parts, tuple(gaps + lost + inner))


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
        "other_metrics": {str(name): value for name, value in others.items() if isinstance(value, Mapping)},
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


def cut_of(plan: Mapping[str, Any]) -> Cut:
    """What a plan cuts. Raises InputError, TypeError or KeyError where it is no plan."""
    edits = plan["edits"]
    if not isinstance(edits, list):
        raise BadPlan("plan.json is damaged: it holds no list of edits.")
    units, counts, factors = Neurons(), Counter[Site](), []
    for edit in edits:
        held = Neurons.from_json(edit.get("neurons") or {})
        units = units | held
        counts.update({site: len(indices) for site, indices in held.items()})
        if "site" in edit:
            counts[Site.parse(edit["site"])] += 1
        factors.append(str(edit.get("kind", "edit")))
    canonical = json.dumps(plan, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
    family = object_of(plan.get("model")).get("family")
    return Cut(units, counts, tuple(dict.fromkeys(factors)), None if family is None else str(family), digest)


def trial_of(row: object) -> Object | None:
    """A candidate with its size and its score, or None."""
    value = object_of(row)
    size, score = number_of(value.get("size")), number_of(value.get("score"))
    told = {name: number_of(value.get(name)) for name in ("examples", "seconds")}
    return (
        None if size is None or score is None else {"size": size, "score": score, "complete": value.get("complete", True) is True, **told}
    )


def example_of(row: object) -> Object | None:
    """A changed answer with its texts, or None."""
    value = object_of(row)
    if not {"prompt", "gold", "base", "edited"} <= value.keys():
        return None
    tags = value.get("tags")
    texts = {name: str(value.get(name, "")) for name in ("id", "instruction", "prompt", "gold", "base", "edited")}
    return {**texts, "tags": tuple(map(str, tags)) if isinstance(tags, list) else ()}


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


def _rows(found: list[Any], sound: Callable[[object], Object | None]) -> tuple[tuple[Object, ...], int]:
    """The rows that are as they should be, and how many are not."""
    kept = tuple(row for row in map(sound, found) if row is not None)
    return kept, len(found) - len(kept)


def _trials(run: Run) -> list[Any]:
    if not (run.folder / TRIALS).exists():
        raise InputError(f"The run in {run.folder} has no list of candidates yet ({TRIALS} is missing).")
    return list(run.trials())


def _environment(run: Run) -> Object:
    held = run.environment()
    if not held:
        raise InputError("environment.json is missing or damaged, so versions and device are not known.")
    return held


def _parts(run: Run) -> tuple[tuple[Reading, ...], list[Gap]]:
    """The trials that can be read, and those that cannot. `official` averages its draws, and has no folders for them."""
    recipe, found, lost = run.recipe, [], []
    if recipe.trials > 1 and recipe.variant != "official":
        for number in range(1, recipe.trials + 1):
            try:
                found.append(Reading.of(Run.load(run.folder / f"{PART}{number}")))
            except ResectError as error:
                lost.append(_gap(run, f"Trial {number} of {recipe.trials}", str(error)))
    return tuple(found), lost


def _broken_off(run: Run, held: int, comparison: Object | None) -> list[Gap]:
    """What is missing where fewer changed answers are there than were fixed and broken: a torn end is dropped in silence."""
    change = comparison["difference"] if comparison else None
    counted = sum(change[name] or 0 for name in ("fixed", "broken")) if change else 0
    if held >= counted:
        return []
    return [_gap(run, "Some of the changed answers", f"The list of them breaks off: {held:,} of at least {counted:,} are there.")]


def _gap(run: Run, what: str, why: str) -> Gap:
    # The error's own advice is left out: the command stands apart.
    return Gap(what, why.partition(" `resect run ")[0], f"{program()} run {shlex.quote(near(str(run.folder / RECIPE)))}")
