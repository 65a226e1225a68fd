"""Runs side by side: models × tasks × methods, from run folders (plans × tasks of a transfer: see transfers.py).

Decides which number is in which cell, and what is said of it; grid_formats.py gives it its forms. Measures nothing.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from resect.core.errors import InputError
from resect.report.readers.language_matrix import LanguageMatrix
from resect.report.readers.plan_summary import PlanSummary
from resect.runs.run_files import COMPARISON, MATRIX, PLAN, TRIALS
from resect.runs.run_folder import Run
from resect.runs.schemas.comparison import ComparisonFile, Measurement
from resect.runs.schemas.languages import MatrixFile
from resect.runs.schemas.parts import Schema
from resect.runs.schemas.plan import PlanFile
from resect.runs.schemas.reading import read_file, read_lines_file
from resect.runs.schemas.rows import TrialLine

from .grid_formats import Cell, Column, Grid, PlanNote, Row, clean, told_apart
from .grid_records import changed, read_against, spread, unit
from .transfers import transferred

__all__ = ["Grid", "table", "transferred"]

#: Settings that decide which examples a model is evaluated on, and how.
EXAMPLES = (
    *("task", "data", "template", "instructions", "split_by", "limit", "variant", "authors_task"),
    *("chat_template", "chat_kwargs", "system", "parse_special"),
    *("corpus", "valid", "valid_tokens", "window", "purity"),
)
#: What a run on corpora by language measures, as the heading of a column.
OWN_TEXT = "own text, own units off"
#: Numbers that are nearer than this are one.
SAME = 1e-9


@dataclass(frozen=True)
class _RunNumbers:
    """A run: its comparison, its plan, and the matrix of a run on corpora by language (`by_language`; None where it is damaged)."""

    run: Run
    comparison: ComparisonFile
    plan: PlanSummary
    by_language: bool
    matrix: LanguageMatrix | None

    @classmethod
    def of(cls, run: Run) -> "_RunNumbers":
        run.comparison(), run.plan_json()  # an unfinished run is refused with the command that finishes it
        comparison, plan = _sound(run, COMPARISON, ComparisonFile), _sound(run, PLAN, PlanFile)
        trials, _ = read_lines_file(run.folder / TRIALS, TrialLine)
        file, _ = read_file(run.folder / MATRIX, MatrixFile)
        matrix = None if file is None else LanguageMatrix.of(file)
        return cls(run, comparison, PlanSummary.of(plan, trials), (run.folder / MATRIX).exists(), matrix)

    @property
    def method(self) -> str:
        """What found the plan: units of languages, by what they were selected."""
        selector = self.matrix.selector if self.matrix is not None else self.run.recipe.get("selector")
        return str(selector) if self.by_language and selector else self.run.recipe.method

    @property
    def control(self) -> str:
        """What the control is called."""
        return "random units" if self.by_language else "other matrices" if self.plan.is_of_matrices else "random cut"

    @property
    def model(self) -> tuple[str, str | None]:
        return self.run.recipe.model, self.run.recipe.get("revision")

    @property
    def column(self) -> Column:
        """The task, under its metric; units of languages have no task, and every language has its own text."""
        return Column(OWN_TEXT if self.by_language else self.comparison.task, self.comparison.metric)

    @property
    def trials(self) -> int:
        spread_over = self.comparison.other_metrics.trials
        return len(spread_over.edited) if spread_over is not None and spread_over.edited else 1

    @property
    def size(self) -> float:
        """How many neurons and matrices the plan changes; of several trials the mean."""
        spread_over = self.comparison.other_metrics.trials
        return mean(spread_over.sizes) if spread_over is not None and spread_over.sizes else self.plan.total

    @property
    def what(self) -> str:
        """What the plan changes, on one line."""
        if self.trials > 1 and not self.plan.is_of_matrices:
            return f"{self.size:g} neurons (mean of {self.trials} trials)"
        if self.matrix is None:
            return self.plan.brief()
        most = f"the own text suffers most for {len(self.matrix.specific)} of {len(self.matrix.with_units)} languages"
        return f"{self.plan.brief()}; {most} (clearly so for {len(self.matrix.sure)}, by chance 1 in {len(self.matrix.languages)})"

    def has_same_examples(self, other: "_RunNumbers") -> bool:
        """Whether both were, as far as one can see, evaluated on the same examples: the original does the same on them."""
        mine, theirs = self.comparison, other.comparison
        return mine.n_examples == theirs.n_examples and _is_same(mine.base, theirs.base)


@dataclass(frozen=True)
class _Line:
    """A line of numbers: its label, their key in comparison.json, and, where an edit is in them, whose."""

    label: str
    key: str
    method: str | None = None


@dataclass(frozen=True)
class _Number:
    """One measurement of a run, and the line that it belongs to."""

    of: _RunNumbers
    line: _Line
    measured: Measurement

    @property
    def change(self) -> float | None:
        """The change against the original of the same run; None: it is the original."""
        return None if self.line.key == "base" else self.measured.mean - self.of.comparison.base.mean

    @property
    def worth(self) -> float:
        """The mean, such that more is better."""
        return -self.measured.mean if self.of.column.is_loss else self.measured.mean

    def is_like(self, other: "_Number") -> bool:
        """Whether one cell may be of both. Two edits are one only where all their settings are the same."""
        alike = _is_same(self.measured, other.measured) and self.of.has_same_examples(other.of)
        return alike and (self.line.method is None or not self.of.run.recipe.differs(other.of.run.recipe))


def table(runs: Sequence[Run]) -> Grid:
    """Models × tasks × methods, as FIG. 4 of the CRISPR patent prints them: a block of rows a model, a column a task and metric.

    A cell is the mean and, in brackets, its difference to the original of the same run; the best of a model and task is
    bold, among numbers of the same examples. Where one model has several runs on one task, each has a row of its own,
    labelled by its folder, save where the numbers are the same (of an edit, the settings too). A folder that is given twice
    counts once. Of several trials, their mean is shown.

    Raises InputError where there is no run, or where one is not finished or damaged; it names the folder.
    """
    folders = {os.path.realpath(run.folder): run for run in runs}
    if not folders:
        raise InputError("There is no run to put into a table; name at least one run folder.")
    read = [_RunNumbers.of(run) for run in folders.values()]
    columns = tuple(dict.fromkeys(run.column for run in read))
    models = tuple(dict.fromkeys(run.model for run in read))
    paths = told_apart(model for model, _ in models)
    names = {(model, revision): clean(paths[model] + (f"@{revision}" if revision else "")) for model, revision in models}
    lines = _lines(read)
    numbers = [number for run in read for number in _numbers(run, lines)]
    rows = [row for model in models for row in _block(names[model], [n for n in numbers if n.of.model == model], lines, columns, read)]
    return Grid(
        "method",
        columns,
        tuple(rows),
        _caption(read, numbers, columns, rows),
        tuple(_record(number, names[number.of.model]) for number in numbers),
        _notes(read, models, names, columns),
    )


def _sound(run: Run, name: str, schema: type[Schema]) -> Schema:
    """A file without any damage. Raises InputError."""
    content, damages = read_file(run.folder / name, schema)
    if content is None or damages:
        reasons = "; ".join(map(str, damages[:3]))
        raise InputError(f"{name} of the run in {run.folder} is damaged: {reasons.rstrip('.')}. `resect run {run.folder}` writes it again.")
    return content


def _lines(read: Sequence[_RunNumbers]) -> list[_Line]:
    """The lines there may be, in the order in which they are printed."""
    controls = {run.method: run.control for run in read}
    lines = [_Line("original", "base"), _Line("CC", "cc"), _Line("DC", "dc")]
    for method, control in controls.items():
        label = control if len(controls) == 1 else f"{control}, as {method.upper()}"
        lines += [_Line(method.upper(), "edited", method), _Line(label, "control", method)]
    return lines


def _numbers(run: _RunNumbers, lines: Sequence[_Line]) -> list[_Number]:
    """What a run has measured."""
    comparison = run.comparison
    known = {**comparison.baselines, "base": comparison.base, "edited": comparison.edited, "control": comparison.control}
    fitting = [(line, known.get(line.key)) for line in lines if line.method in (None, run.method)]
    return [_Number(run, line, measured) for line, measured in fitting if measured is not None]


def _block(
    model: str, numbers: Sequence[_Number], lines: Sequence[_Line], columns: Sequence[Column], read: Sequence[_RunNumbers]
) -> list[Row]:
    """The rows of one model; a line without any number has none."""
    folders = told_apart(str(run.run.folder) for run in read)
    cells: dict[str, dict[Column, Cell]] = {}
    for line in lines:
        cells[line.label] = {}  # the row that needs no folder's name comes first
        for column in columns:
            rivals = [number for number in numbers if number.of.column == column]
            groups = _grouped([number for number in rivals if number.line == line])
            for group in groups:
                whose = ", ".join(clean(folders[str(number.of.run.folder)]) for number in group)
                label = line.label if len(groups) == 1 else f"{line.label} · {whose}"
                cells.setdefault(label, {})[column] = _cell(group[0], rivals)
    return [Row(model, label, tuple(row.get(column) for column in columns)) for label, row in cells.items() if row]


def _grouped(numbers: Sequence[_Number]) -> list[list[_Number]]:
    groups: list[list[_Number]] = []
    for number in numbers:
        group = next((group for group in groups if group[0].is_like(number)), None)
        if group is None:
            groups.append([number])
        else:
            group.append(number)
    return groups


def _cell(number: _Number, rivals: Sequence[_Number]) -> Cell:
    """A cell; it is the best where no number of the same examples is better, and one is worse. Of deactivated languages none is."""
    if number.of.by_language:
        return Cell(number.measured.mean, number.change)
    worths = [rival.worth for rival in rivals if rival.of.has_same_examples(number.of)]
    best = max(worths) - number.worth <= SAME < max(worths) - min(worths)
    return Cell(number.measured.mean, number.change, best=best)


def _record(number: _Number, model: str) -> dict[str, Any]:
    """A line of the CSV file. `change` has an interval where it was measured as a difference of pairs: of the edit."""
    run, comparison = number.of, number.of.comparison
    paired = comparison.difference if number.line.key == "edited" else None
    return {
        "model": model,
        "task": run.column.task,
        "method": number.line.label,
        "measured": number.line.key,
        "metric": comparison.metric,
        **spread(number.measured),
        **changed(number.change, paired),
        "n_cut": run.size if number.line.method else 0,
        "cut": run.what if number.line.key == "edited" else "",
        "n_examples": comparison.n_examples,
        "n_instructions": comparison.n_instructions,
        "trials": run.trials,
        "run": str(run.run.folder),
        **read_against(comparison, number.line.key),
    }


def _notes(
    read: Sequence[_RunNumbers],
    models: Sequence[tuple[str, str | None]],
    names: dict[tuple[str, str | None], str],
    columns: Sequence[Column],
) -> tuple[PlanNote, ...]:
    """What each run changed. Where several runs are of one model, method and task, each has its folder in it: two may change as much."""
    folders, notes = told_apart(str(run.run.folder) for run in read), list[PlanNote]()
    for run in sorted(read, key=lambda run: (models.index(run.model), columns.index(run.column))):
        same = [other for other in read if (other.model, other.method) == (run.model, run.method)]
        twins = [other for other in same if run.by_language or other.column == run.column]
        whose = f"{clean(folders[str(run.run.folder)])}: " if len(twins) > 1 else ""
        word = "" if run.comparison.verdict is None else run.comparison.verdict.word
        notes.append(PlanNote(names[run.model], run.column.label, run.method.upper(), whose + run.what, word))
    return tuple(dict.fromkeys(notes))


def _caption(read: Sequence[_RunNumbers], numbers: Sequence[_Number], columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """What the numbers are, and what keeps them from being compared."""
    keys = {number.line.key for number in numbers}
    parts = [unit(columns), "In brackets: the change against the original."]
    if any(cell is not None and cell.best for row in rows for cell in row.cells):
        parts.append("Bold: the best of its model and task, among numbers of the same examples.")
    if keys & {"cc", "dc"}:
        parts.append("CC, DC: the original under contextual and domain-context calibration.")
    controls = {number.of.control for number in numbers if number.line.key == "control"}
    meanings = {
        "random cut": "Random cut: as many neurons of the same layers and roles, drawn at random.",
        "random units": "Random units: for each language as many of the same layers, drawn at random.",
        "other matrices": "Other matrices: of the same role, drawn at random, reduced as far.",
    }
    parts += [meaning for control, meaning in meanings.items() if control in controls]
    if any(run.by_language for run in read):
        parts.append(
            "Units of languages: each language's own text, with its units deactivated. More log loss is what is looked for: none of them "
            "is bold. What they do to other languages' text is no matter of one number: see the run's report."
        )
    if any(run.trials > 1 for run in read):
        parts.append("Where a run has several trials, the mean over them.")
    if any(cell is None for row in rows for cell in row.cells):
        parts.append("A dash: not measured.")
    for column in columns:
        same = [run for run in read if run.column == column]
        other = sorted({name for run in same for name in same[0].run.recipe.differs(run.run.recipe)} & set(EXAMPLES))
        other += ["number of examples"] if len({run.comparison.n_examples for run in same}) > 1 else []
        if other:
            parts.append(f"The runs on {column.label} differ in {', '.join(other)}: their numbers may not be of the same examples.")
    return " ".join(parts)


def _is_same(one: Measurement, other: Measurement) -> bool:
    if (one.interval is None) != (other.interval is None):
        return False
    pairs = zip((one.mean, *(one.interval or ())), (other.mean, *(other.interval or ())), strict=True)
    return all(abs(mine - theirs) <= SAME for mine, theirs in pairs)
