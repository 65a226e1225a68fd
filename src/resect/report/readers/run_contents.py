"""What is in a run folder, as far as it is sound, and what is missing or damaged, with the command that brings it back.

Numbers are finite, and what is not there is None or empty. Knows no form of report and no method: what a run is about follows from its
files and from the settings that its recipe has.
"""

import hashlib
import json
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resect.core.address import Neurons
from resect.core.errors import InputError, ResectError, RunMismatch
from resect.core.exhibits import Exhibit
from resect.core.files import read_text
from resect.core.number_format import MetricFormat
from resect.core.scores import Scores
from resect.runs.recipe import Recipe
from resect.runs.run_files import (
    ANALYSES,
    ANSWERS,
    COMPARISON,
    COUNTS,
    ENVIRONMENT,
    EXAMPLES,
    EXHIBITS,
    MATRIX,
    PART,
    PLAN,
    RECIPE,
    SCORES,
    TRIALS,
)
from resect.runs.run_folder import Run
from resect.runs.schemas.comparison import ComparisonFile
from resect.runs.schemas.languages import MatrixFile, SteeringFile
from resect.runs.schemas.parts import Damage, Schema
from resect.runs.schemas.plan import PlanFile
from resect.runs.schemas.reading import read_exhibits_file, read_file, read_lines_file
from resect.runs.schemas.rows import AnswerLine, ExampleLine, TrialLine
from resect.runs.schemas.work import AnalysesFile, EnvironmentFile

from .language_matrix import LanguageMatrix
from .open_answers import OpenQuestionScores, QuestionAnswers, by_question
from .plan_summary import PlanSummary
from .shell_commands import near, program
from .steering import SteeringResult, with_distinct_names

#: Damages of one file that are named; of more, how many there are.
NAMED = 3


@dataclass(frozen=True)
class Gap:
    """Something that is missing or damaged: what it is, why, and the command that brings it back ("" where none would)."""

    what: str
    why: str
    how: str


@dataclass(frozen=True)
class LanguageContents:
    """What a run on corpora by language has in addition.

    units : the selected units of each language
    """

    languages: tuple[str, ...] = ()
    matrix: LanguageMatrix | None = None
    units: dict[str, Neurons] = field(default_factory=dict)
    questions: OpenQuestionScores | None = None
    answers: tuple[QuestionAnswers, ...] = ()
    steered: tuple[SteeringResult, ...] = ()


@dataclass(frozen=True)
class RunContents:
    """The contents of a run folder.

    recipe : None where it is damaged; then those of `run` are only what could be saved of it
    plan : None where plan.json is missing or damaged
    languages : None where the run has a task, or searched on plain text
    parts : the trials of a run that has several
    """

    run: Run
    recipe: Recipe | None
    comparison: ComparisonFile | None = None
    plan: PlanSummary | None = None
    trials: tuple[TrialLine, ...] = ()
    examples: tuple[ExampleLine, ...] = ()
    scores: Scores | None = None
    environment: EnvironmentFile = field(default_factory=EnvironmentFile)
    exhibits: tuple[Exhibit, ...] = ()
    languages: LanguageContents | None = None
    parts: "tuple[RunContents, ...]" = ()
    gaps: tuple[Gap, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, run: Run) -> "RunContents":
        """Everything in the folder. Raises nothing for what is missing or damaged."""
        files = _Files(run)
        recipe = files.value("The recipe", lambda: Recipe.load(run.folder / RECIPE))
        by_language = _is_by_language(run, recipe)
        comparison = plan = scores = None
        trials: tuple[TrialLine, ...] = ()
        examples: tuple[ExampleLine, ...] = ()
        if run.recipe.compares:
            comparison = files.object("The comparison", COMPARISON, ComparisonFile)
            if not by_language:
                trials = files.rows("The candidates that were tried", TRIALS, TrialLine)
            plan = files.plan(trials)
            if (run.folder / SCORES).exists() or (recipe is not None and recipe.settings.scores_units):
                scores = files.value("The scores", run.scores)
            if not by_language:
                examples = files.rows("The changed answers", EXAMPLES, ExampleLine)
        parts = files.parts(len(recipe.settings.repetitions()) if recipe is not None else 0)
        files.check_examples(len(examples), parts[0].comparison if parts else comparison)
        environment = files.object("The environment", ENVIRONMENT, EnvironmentFile) or EnvironmentFile()
        exhibits, languages = files.exhibits(), files.languages(comparison) if by_language else None
        return cls(run, recipe, comparison, plan, trials, examples, scores, environment, exhibits, languages, parts, tuple(files.gaps))

    @property
    def plan_or_kind(self) -> PlanSummary:
        """What the plan does; where it is missing, nothing of the kind that was tried."""
        return PlanSummary.of(None, self.trials) if self.plan is None else self.plan


class _Files:
    """The files of a run, read one by one. `gaps`: what is missing or damaged so far."""

    def __init__(self, run: Run) -> None:
        self.run, self.gaps = run, list[Gap]()
        self._finish = f"{program()} run {shlex.quote(near(str(run.folder / RECIPE)))}"

    def value(self, what: str, read: Any) -> Any:
        """What `read` returns; None, and a gap, where it raises an error of resect."""
        try:
            return read()
        except ResectError as error:
            # The error's own advice is left out: the command has a place of its own.
            self.gaps.append(Gap(what, str(error).partition(" `resect run ")[0], self._finish))
            return None

    def object(self, what: str, name: str, schema: type[Schema]) -> Schema | None:
        """A file that holds one object."""
        content, damages = read_file(self.run.folder / name, schema)
        self.note(what, damages, is_lost=content is None)
        return content

    def rows(self, what: str, name: str, schema: type[Schema]) -> tuple[Schema, ...]:
        """A file of rows."""
        rows, damages = read_lines_file(self.run.folder / name, schema)
        damaged = len({damage.part.partition(",")[0] for damage in damages})
        self.note(f"{damaged:,} of t{what[1:]}" if rows else what, damages, is_lost=True)
        return rows

    def note(self, what: str, damages: Sequence[Damage], *, is_lost: bool, how: str | None = None) -> None:
        """Note damages of one file as a gap. `is_lost`: nothing of it could be read."""
        if not damages:
            return
        more = f"; and {len(damages) - NAMED:,} more" if len(damages) > NAMED else ""
        reasons = "; ".join(f"{damage.part} {damage.reason}".strip().rstrip(".") for damage in damages[:NAMED])
        why = f"{damages[0].file}{':' if damages[0].part else ''} {reasons}{more}."
        self.gaps.append(Gap(what if is_lost else f"{what}, in part", why, self._finish if how is None else how))

    def plan(self, trials: Sequence[TrialLine]) -> PlanSummary | None:
        """The plan, with the digest that `Plan.digest` gives it."""
        plan = self.object("The plan", PLAN, PlanFile)
        return None if plan is None else PlanSummary.of(plan, trials, _digest(self.run.plan_json()))

    def parts(self, number: int) -> tuple[RunContents, ...]:
        """The trials that can be read, of so many; what is missing in them, or of them, becomes a gap."""
        parts = list[RunContents]()
        for place in range(1, number + 1):
            part = self.value(f"Trial {place} of {number}", lambda at=place: Run.load(self.run.folder / f"{PART}{at}"))
            parts += [] if part is None else [RunContents.of(part)]
        self.gaps += [Gap(f"{part.run.folder.name}: {gap.what}", gap.why, gap.how) for part in parts for gap in part.gaps]
        return tuple(parts)

    def check_examples(self, count: int, comparison: ComparisonFile | None) -> None:
        """Note where fewer changed answers are there than were fixed and broken: a torn end of the file is dropped silently."""
        # Where less is better, what changed is a probability and no answer.
        change = comparison.difference if comparison is not None and MetricFormat(comparison.metric).is_share else None
        counted = 0 if change is None else (change.fixed or 0) + (change.broken or 0)
        if count < counted and not any(gap.what.startswith("The changed answers") for gap in self.gaps):
            why = f"The list breaks off: {count:,} of at least {counted:,} are there."
            self.gaps.append(Gap("Some of the changed answers", why, self._finish))

    def exhibits(self) -> tuple[Exhibit, ...]:
        """What the method shows. Damaged results of analyses are named here too: exhibits are made of them."""
        exhibits, damages = read_exhibits_file(self.run.folder / EXHIBITS)
        how = self._finish
        if (self.run.folder / ANALYSES).exists():
            how = f"{program()} analyse {shlex.quote(near(str(self.run.folder)))}"
            analyses, damaged = read_file(self.run.folder / ANALYSES, AnalysesFile)
            self.note("The analyses", damaged, is_lost=analyses is None, how=how)
        self.note("The exhibits", damages, is_lost=not exhibits, how=how)
        return exhibits

    def languages(self, comparison: ComparisonFile | None) -> LanguageContents:
        """What a run on corpora by language has in addition."""
        matrix = None
        if self.run.recipe.compares:
            file = self.object("The matrix", MATRIX, MatrixFile)
            matrix = None if file is None else LanguageMatrix.of(file)
        answers: tuple[AnswerLine, ...] = ()
        if (self.run.folder / ANSWERS).exists():
            answers = self.rows("The open answers", ANSWERS, AnswerLine)
        units = self._units(matrix.languages if matrix is not None else ())
        languages = matrix.languages if matrix is not None else tuple(units) or languages_of(self.run.recipe)
        questions = OpenQuestionScores.of(comparison)
        return LanguageContents(languages, matrix, units, questions, by_question(answers), self._steered())

    def _units(self, order: Sequence[str]) -> dict[str, Neurons]:
        """The units of each language, from its plan, in the order of the languages."""
        units = {}
        for path in sorted(self.run.plans_folder.glob("*.json")):
            plan, damages = read_file(path, PlanFile)
            self.note(f"The plan of {path.stem}", damages, is_lost=plan is None)
            if plan is not None:
                units[path.stem] = PlanSummary.of(plan).units
        places = {name: place for place, name in enumerate(order)}
        return dict(sorted(units.items(), key=lambda item: places.get(item[0], len(places))))

    def _steered(self) -> tuple[SteeringResult, ...]:
        results = {}
        for path in self.run.steered_paths():
            file, damages = read_file(path, SteeringFile)
            # The job knows nothing of steering: continuing it would not bring this back.
            self.note(f"What was steered ({path.stem})", damages, is_lost=file is None, how="")
            if file is not None:
                results[path.stem] = SteeringResult.of(file)
        return tuple(with_distinct_names(results))


def languages_of(recipe: Recipe) -> tuple[str, ...]:
    """The languages whose text a recipe names, in its order."""
    entries = (entry for key in ("corpus", "valid", "counts") for entry in recipe.get(key, ()))
    return tuple(dict.fromkeys(entry.partition("=")[0] for entry in entries if "=" in entry))


def opened(folder: str | Path) -> Run:
    """A run folder to read, even where its recipe is damaged: then the run has the settings that could be saved of it.

    Raises RunMismatch where it is no run folder.
    """
    try:
        return Run.load(folder)
    except RunMismatch:
        if not Run.is_run(folder):
            raise
        return Run(Path(folder), DamagedRecipe(Path(folder) / RECIPE))


class DamagedRecipe(Recipe):
    """What a damaged recipe still says of method, model and task, line by line. It has no other setting."""

    def __init__(self, path: Path) -> None:
        values = {"method": "", "model": "unknown model", "task": ""}
        try:
            lines = read_text(path, "recipe").splitlines()
        except InputError:
            lines = []
        for line in lines:
            try:
                line_values = tomllib.loads(line) if line.partition("=")[0].strip() in values else {}
            except tomllib.TOMLDecodeError:
                continue
            values |= {key: value for key, value in line_values.items() if isinstance(value, str) and value.strip()}
        vars(self).update(method=values.pop("method"), values=values)

    @property
    def compares(self) -> bool:
        """A run whose recipe is damaged is read as one that compares: what it lacks is named."""
        return True


def _is_by_language(run: Run, recipe: Recipe | None) -> bool:
    """Whether the run is on corpora by language."""
    if recipe is not None:
        return "corpus" in recipe.values
    return any((run.folder / name).exists() for name in (MATRIX, COUNTS))


def _digest(plan: dict[str, Any]) -> str:
    canonical = json.dumps(plan, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
