"""What is put side by side: models × tasks × methods from run folders (plans × tasks of a transfer: see transfers.py).

Decides what stands in which cell, and what is said of it; gridforms.py gives it its forms. Measures nothing.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from resect.core.comparison import Comparison, Estimate
from resect.core.errors import InputError
from resect.report.readers.deactivation import effects_of
from resect.report.readers.plan_summary import OF_LANGUAGES, OF_MATRICES, Surgery
from resect.runs.run_folder import Run

from .grid_footnotes import Done
from .grid_formats import Cell, Column, Grid, Row, clean, told_apart
from .grid_records import changed, spread, unit
from .transfers import transferred

__all__ = ["Grid", "table", "transferred"]

#: Settings that decide which examples a model is asked, and how.
ASKED = (
    *("task", "data", "template", "instructions", "split_by", "chat_template", "limit", "variant", "authors_task"),
    *("corpus", "valid", "valid_tokens", "window", "purity"),
)
#: What a run of languages measures, as the heading of a column.
OWN_TEXT = "own text, own units off"
#: Numbers that are nearer than this are one.
SAME = 1e-9


@dataclass(frozen=True)
class _Measured:
    """A run, read: its comparison, how many neurons it cuts (of several trials the mean), how many trials it has."""

    run: Run
    comparison: Comparison
    cut: int | float
    trials: int
    surgery: Surgery
    languages: str = ""

    @property
    def method(self) -> str:
        """What found what is cut: of units of languages, by what they were selected."""
        recipe = self.run.recipe
        return recipe.selector if recipe.method in OF_LANGUAGES else recipe.method

    @property
    def model(self) -> tuple[str, str | None]:
        return self.run.recipe.model, self.run.recipe.revision

    @property
    def what(self) -> str:
        """What was cut, on one line."""
        if self.trials > 1 and not self.surgery.is_of_matrices:
            return f"{self.cut:g} neurons (mean of {self.trials} trials)"
        return self.surgery.brief() + self.languages

    @property
    def task(self) -> str:
        """What was measured; units of languages have no task, and every language has its own text."""
        return OWN_TEXT if self.run.recipe.method in OF_LANGUAGES else self.comparison.task

    @property
    def column(self) -> Column:
        return Column(self.task, self.comparison.metric)

    def asks_like(self, other: "_Measured") -> bool:
        """Whether both were, as far as one can see, measured on the same examples: the original does the same on them."""
        mine, theirs = self.comparison, other.comparison
        return mine.n_examples == theirs.n_examples and _is_same(mine.base, theirs.base)


@dataclass(frozen=True)
class _Line:
    """A line of numbers: their name in comparison.json, and, where a cut is in them, whose."""

    label: str
    name: str
    method: str | None = None


@dataclass(frozen=True)
class _Number:
    """One measurement of a run, and the line that it belongs to."""

    of: _Measured
    line: _Line
    estimate: Estimate

    @property
    def change(self) -> float | None:
        """The change against the original of the same run; None: it is the original."""
        return None if self.line.name == "base" else self.estimate.mean - self.of.comparison.base.mean

    @property
    def worth(self) -> float:
        """The mean, such that more is better."""
        return -self.estimate.mean if self.of.column.is_loss else self.estimate.mean

    def is_like(self, other: "_Number") -> bool:
        """Whether one cell may stand for both. Two cuts are one only where all their settings are the same."""
        alike = _is_same(self.estimate, other.estimate) and self.of.asks_like(other.of)
        return alike and (self.line.method is None or not self.of.run.recipe.differs(other.of.run.recipe))


def table(runs: Sequence[Run]) -> Grid:
    """Models × tasks × methods, as FIG. 4 of the CRISPR patent prints them: a block of rows a model, a column a task and metric.

    A cell is the mean and, in brackets, its difference to the original of the same run; the best of a model and task is
    bold, among numbers of the same examples. Where one model has several runs on one task, each has a row of its own,
    labelled by its folder, save where the numbers are the same (of a cut, the settings too). A folder that is given twice
    counts once. Of several trials, their mean is shown.

    Raises InputError where there is no run, or where one is not finished or damaged; it names the folder.
    """
    folders = {os.path.realpath(run.folder): run for run in runs}
    if not folders:
        raise InputError("There is no run to put into a table; name at least one run folder.")
    read = [_read(run) for run in folders.values()]
    columns = tuple(dict.fromkeys(each.column for each in read))
    models = tuple(dict.fromkeys(each.model for each in read))
    paths = told_apart(model for model, _ in models)
    names = {(model, revision): clean(paths[model] + (f"@{revision}" if revision else "")) for model, revision in models}
    lines = _lines(read)
    numbers = [number for each in read for number in _numbers(each, lines)]
    rows = [row for model in models for row in _block(names[model], [n for n in numbers if n.of.model == model], lines, columns, read)]
    records = tuple(_record(number, names[number.of.model]) for number in numbers)
    whose = _folders(read)
    done = dict.fromkeys(
        Done(names[each.model], each.column.label, each.method.upper(), whose.get(str(each.run.folder), "") + each.what)
        for model in models
        for each in sorted(read, key=lambda each: columns.index(each.column))
        if each.model == model
    )
    return Grid("method", columns, tuple(rows), _caption(read, numbers, columns, rows), records, tuple(done))


def _read(run: Run) -> _Measured:
    held, plan = run.comparison(), run.plan_json()
    try:
        comparison = Comparison.from_json(held)
    except InputError as error:
        raise InputError(f"The comparison of the run in {run.folder} is damaged: {error}") from error
    trials = comparison.other_metrics.get("trials") or {}
    surgery = _surgery(run, plan)
    sizes = trials.get("sizes") or [surgery.total]
    languages = _languages(run) if run.recipe.method in OF_LANGUAGES else ""
    return _Measured(run, comparison, mean(sizes), len(trials.get("edited") or [plan]), surgery, languages)


def _folders(read: Sequence[_Measured]) -> dict[str, str]:
    """By folder, what tells a run of languages from another of the same model and selector: two may have as many units."""
    found = [each for each in read if each.run.recipe.method in OF_LANGUAGES]
    several = [each for each in found if sum((other.model, other.method) == (each.model, each.method) for other in found) > 1]
    names = told_apart(str(each.run.folder) for each in read)
    return {str(each.run.folder): f"{clean(names[str(each.run.folder)])}: " for each in several}


def _languages(run: Run) -> str:
    """For how many languages the own text suffers most, as the end of a line; nothing where the matrix is not there, or damaged."""
    try:
        effects = effects_of(run.matrix())
    except (InputError, TypeError, ValueError):
        return ""
    told = f"the own text suffers most for {len(effects.specific)} of {len(effects.with_units)} languages"
    return f"; {told} (clearly so for {len(effects.sure)}, by chance 1 in {len(effects.languages)})"


def _surgery(run: Run, plan: Mapping[str, Any]) -> Surgery:
    """What a run's plan does. Raises InputError where it is damaged."""
    try:
        return Surgery.of(plan, run.recipe.method)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"The plan of the run in {run.folder} is damaged: {error}") from error


def _lines(read: Sequence[_Measured]) -> list[_Line]:
    """The lines there may be, in the order in which they are printed."""
    methods = tuple(dict.fromkeys(each.method for each in read))
    lines = [_Line("original", "base"), _Line("CC", "cc"), _Line("DC", "dc")]
    for method in methods:
        of_languages = any(each.method == method and each.run.recipe.method in OF_LANGUAGES for each in read)
        rival = "other matrices" if method in OF_MATRICES else "random units" if of_languages else "random cut"
        random = rival if len(methods) == 1 else f"{rival}, as {method.upper()}"
        lines += [_Line(method.upper(), "edited", method), _Line(random, "control", method)]
    return lines


def _numbers(measured: _Measured, lines: Sequence[_Line]) -> list[_Number]:
    """What a run has measured."""
    found = measured.comparison
    known = {**found.baselines, "base": found.base, "edited": found.edited, "control": found.control}
    fitting = [(line, known.get(line.name)) for line in lines if line.method in (None, measured.method)]
    return [_Number(measured, line, estimate) for line, estimate in fitting if estimate is not None]


def _block(
    model: str, numbers: Sequence[_Number], lines: Sequence[_Line], columns: Sequence[Column], read: Sequence[_Measured]
) -> list[Row]:
    """The rows of one model; a line without any number has none."""
    folders = told_apart(str(each.run.folder) for each in read)
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
    return [Row(model, label, tuple(found.get(column) for column in columns)) for label, found in cells.items() if found]


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
    """A cell; it is the best where no number of the same examples is better, and one is worse. Without a language's units, none is."""
    if number.of.run.recipe.method in OF_LANGUAGES:
        return Cell(number.estimate.mean, number.change)
    worths = [rival.worth for rival in rivals if rival.of.asks_like(number.of)]
    best = max(worths) - number.worth <= SAME < max(worths) - min(worths)
    return Cell(number.estimate.mean, number.change, best=best)


def _record(number: _Number, model: str) -> dict[str, Any]:
    """A line of the CSV file. `change` has an interval where it was measured as a difference of pairs: of the cut."""
    measured, comparison = number.of, number.of.comparison
    paired = comparison.difference if number.line.name == "edited" else None
    return {
        "model": model,
        "task": measured.task,
        "method": number.line.label,
        "measured": number.line.name,
        "metric": comparison.metric,
        **spread(number.estimate),
        **changed(number.change, paired),
        "n_cut": measured.cut if number.line.method else 0,
        "cut": measured.what if number.line.name == "edited" else "",
        "n_examples": comparison.n_examples,
        "n_instructions": comparison.n_instructions,
        "trials": measured.trials,
        "run": str(measured.run.folder),
    }


def _caption(read: Sequence[_Measured], numbers: Sequence[_Number], columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """What the numbers are, and what keeps them from being compared."""
    names = {number.line.name for number in numbers}
    parts = [unit(columns), "In brackets: the change against the original."]
    if any(cell is not None and cell.best for row in rows for cell in row.cells):
        parts.append("Bold: the best of its model and task, among numbers of the same examples.")
    if names & {"cc", "dc"}:
        parts.append("CC, DC: the original under contextual and domain-context calibration.")
    controlled = {number.of.run.recipe.method for number in numbers if number.line.name == "control"}
    if controlled - {*OF_MATRICES, *OF_LANGUAGES}:
        parts.append("Random cut: as many neurons of the same layers and roles, drawn at random.")
    if controlled & {*OF_LANGUAGES}:
        parts.append("Random units: for each language as many of the same layers, drawn at random.")
    if controlled & {*OF_MATRICES}:
        parts.append("Other matrices: of the same role, drawn at random, reduced as far.")
    if any(each.run.recipe.method in OF_LANGUAGES for each in read):
        parts.append(
            "Units of languages: each language's own text, with its units off. More log loss is what is looked for: none of them is bold."
        )
        parts.append("What they do to other languages' text is no matter of one number: see the run's report.")
    if any(each.trials > 1 for each in read):
        parts.append("Where a run has several trials, the mean over them.")
    if any(cell is None for row in rows for cell in row.cells):
        parts.append("A dash: not measured.")
    for column in columns:
        asked = [each for each in read if each.column == column]
        other = sorted({name for each in asked for name in asked[0].run.recipe.differs(each.run.recipe)} & set(ASKED))
        other += ["number of examples"] if len({each.comparison.n_examples for each in asked}) > 1 else []
        if other:
            parts.append(f"The runs on {column.label} differ in {', '.join(other)}: their numbers may not be of the same examples.")
    return " ".join(parts)


def _is_same(one: Estimate, other: Estimate) -> bool:
    pairs = zip((one.mean, *one.interval), (other.mean, *other.interval), strict=True)
    return all(abs(mine - theirs) <= SAME for mine, theirs in pairs)
