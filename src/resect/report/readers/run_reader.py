"""What can be read of a run folder, whatever is missing or damaged in it, and how to get the rest.

Nothing that comes out of here needs another look: numbers are finite, keys are there or None. Knows no form of report.
"""

import shlex
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resect.core.errors import InputError, ResectError, RunMismatch
from resect.core.files import read_text
from resect.core.number_format import MetricFormat
from resect.core.scores import Scores
from resect.runs.methods import method_names
from resect.runs.recipe import Recipe
from resect.runs.run_files import PART, RECIPE, SCORES, TRIALS
from resect.runs.run_folder import Run

from .analyses import Analyses, analyses_of
from .lape_run import Held
from .missing import Gap, Tries, gap
from .plan_summary import OF_LANGUAGES, OF_MATRICES, Surgery
from .shell_commands import near, program
from .tolerant import Cut, Object, comparison_of, cut_of, example_of, rows_of, trial_of

#: What the rows of examples.jsonl are called.
CHANGED = "The changed answers"
NO_ROWS: tuple[tuple[Object, ...], list[str]] = ((), [])


@dataclass(frozen=True)
class Reading:
    """A run as it can be read. What is not there is None, or empty, and `gaps` says so.

    `recipe`: the settings, None where they are damaged; then those of `run` are only what could be saved of them. `languages`: what
    a run of LAPE holds beyond what every run has; None for another.
    """

    run: Run
    recipe: Recipe | None
    comparison: Object | None
    cut: Cut | None
    trials: tuple[Object, ...]
    examples: tuple[Object, ...]
    scores: Scores | None
    environment: Object
    analyses: Analyses = field(default_factory=Analyses)
    parts: "tuple[Reading, ...]" = ()
    languages: Held | None = None
    gaps: tuple[Gap, ...] = field(default=(), compare=False)

    @property
    def surgery(self) -> Surgery:
        """What was done; where the plan is missing, nothing by this method."""
        return Surgery(method=self.run.recipe.method) if self.cut is None else self.cut.surgery

    @property
    def chosen(self) -> float | None:
        """The n that was chosen: how much the plan cuts."""
        return None if self.cut is None else float(self.cut.total)

    @classmethod
    def of(cls, run: Run) -> "Reading":
        """Read all of it. Raises nothing for what is missing or damaged."""
        tried = Tries(run)
        recipe = tried("The recipe", lambda: Recipe.load(run.folder / RECIPE), None)
        nothing: Object = {}
        if run.recipe.method in OF_LANGUAGES:
            return _of_languages(run, recipe, tried)
        comparison = tried("The comparison", lambda: comparison_of(run.comparison()), None)
        trials, odd_trials = tried("The candidates that were tried", lambda: rows_of(_trials(run), trial_of), NO_ROWS)
        cut = tried("The plan", lambda: cut_of(run.plan_json(), run.recipe.method, trials), None)
        has_scores = run.recipe.method not in OF_MATRICES or (run.folder / SCORES).exists()
        scores = tried("The scores", run.scores, None) if has_scores else None
        examples, odd_examples = tried(CHANGED, lambda: rows_of(run.examples(), example_of), NO_ROWS)
        for what, odd in (("candidates that were tried", odd_trials), ("changed answers", odd_examples)):
            if odd:
                tried.gaps.append(gap(run, f"{len(odd):,} of the {what}", f"The rows are damaged: {odd[0]}."))
        parts, lost = _parts(run)
        if all(gap.what != CHANGED for gap in tried.gaps):
            tried.gaps += _broken_off(run, len(examples), parts[0].comparison if parts else comparison)
        environment = tried("The environment", lambda: _environment(run), nothing)
        analyses, odd_analyses = _analyses(run)
        inner = [Gap(f"{part.run.folder.name}: {gap.what}", gap.why, gap.how) for part in parts for gap in part.gaps]
        everything = tuple(tried.gaps + odd_analyses + lost + inner)
        return cls(run, recipe, comparison, cut, trials, examples, scores, environment, analyses, parts, gaps=everything)


def _of_languages(run: Run, recipe: Recipe | None, tried: Tries) -> Reading:
    """A run of LAPE: it has no task, so neither candidates nor changed answers; where counts were only recorded, not even a plan."""
    comparison, cut, scores = None, None, None
    if run.recipe.compares:
        comparison = tried("The comparison", lambda: comparison_of(run.comparison()), None)
        cut = tried("The plan", lambda: cut_of(run.plan_json(), run.recipe.method), None)
        scores = tried("The scores", run.scores, None)
    nothing: Object = {}
    environment = tried("The environment", lambda: _environment(run), nothing)
    held = Held.of(run, comparison, tried)
    return Reading(run, recipe, comparison, cut, (), (), scores, environment, languages=held, gaps=tuple(tried.gaps))


def opened(folder: str | Path) -> Run:
    """A run folder to read, even where its recipe is damaged: then the run has the settings that could be saved of it.

    Raises RunMismatch where it is no run folder.
    """
    try:
        return Run.load(folder)
    except RunMismatch:
        if not Run.is_run(folder):
            raise
        return Run(Path(folder), _saved(Path(folder)))


def _saved(folder: Path) -> Recipe:
    """What of a damaged recipe says which model and task it was: from its own lines, else from what lies beside it."""
    try:
        text = read_text(folder / RECIPE, "recipe")
    except InputError:
        text = ""
    held: dict[str, str] = {}
    for line in text.splitlines():
        try:
            found = tomllib.loads(line) if line.partition("=")[0].strip() in ("method", "model", "task") else {}
        except tomllib.TOMLDecodeError:
            continue
        held |= {name: value for name, value in found.items() if isinstance(value, str) and value.strip()}
    method = held["method"] if held.get("method") in method_names() else "crispr"
    if method in OF_LANGUAGES:
        return Recipe.from_settings({"model": held.get("model", "unknown model"), "method": method, "counts": ["unknown counts"]})
    return Recipe.from_settings({"model": "unknown model", "task": "unknown task", **held, "method": method})


def _analyses(run: Run) -> tuple[Analyses, list[Gap]]:
    """What was analysed of a run, and the parts that are damaged. A run that was not analysed lacks nothing."""
    again = f"{program()} analyse {shlex.quote(near(str(run.folder)))}"
    try:
        found, odd = analyses_of(run.analyses())
    except InputError as error:
        return Analyses(), [Gap("The analyses", str(error), again)]
    return found, [Gap(f"The analysis called {name}", why, again) for name, why in odd]


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
                lost.append(gap(run, f"Trial {number} of {recipe.trials}", str(error)))
    return tuple(found), lost


def _broken_off(run: Run, held: int, comparison: Object | None) -> list[Gap]:
    """What is missing where fewer changed answers are there than were fixed and broken: a torn end is dropped in silence."""
    # Where less is better, what moved is no answer that changed.
    change = comparison["difference"] if comparison and MetricFormat(comparison["metric"]).is_share else None
    counted = sum(change[name] or 0 for name in ("fixed", "broken")) if change else 0
    if held >= counted:
        return []
    return [gap(run, "Some of the changed answers", f"The list of them breaks off: {held:,} of at least {counted:,} are there.")]
