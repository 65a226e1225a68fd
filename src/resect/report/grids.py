"""What is put side by side: models × tasks × methods from run folders, and plans × tasks of a transfer.

Decides what stands in which cell, and what is said of it; gridforms.py gives it its forms. Measures nothing.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from statistics import mean
from typing import Any

from ..comparison import Comparison, Difference, Estimate
from ..errors import InputError
from ..store import Run
from .gridforms import OWN, SURE, Cell, Column, Grid, Row, clean, told_apart
from .terminal import cut_count

__all__ = ["Grid", "table", "transferred"]

#: Settings that decide which examples a model is asked, and how.
ASKED = ("task", "data", "template", "instructions", "split_by", "chat_template", "limit", "variant", "authors_task")
#: Numbers that are nearer than this are one.
SAME = 1e-9


@dataclass(frozen=True)
class _Measured:
    """A run, read: its comparison, how many neurons it cuts (of several trials the mean), how many trials it has."""

    run: Run
    comparison: Comparison
    cut: int | float
    trials: int

    @property
    def model(self) -> tuple[str, str | None]:
        return self.run.recipe.model, self.run.recipe.revision

    @property
    def column(self) -> Column:
        return Column(self.comparison.task, self.comparison.metric)

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
    return Grid("method", columns, tuple(rows), _caption(read, numbers, columns, rows), records)


def _read(run: Run) -> _Measured:
    held, plan = run.comparison(), run.plan_json()
    try:
        comparison = Comparison.from_json(held)
    except InputError as error:
        raise InputError(f"The comparison of the run in {run.folder} is damaged: {error}") from error
    trials = comparison.other_metrics.get("trials") or {}
    sizes = trials.get("sizes") or [cut_count(plan)]
    return _Measured(run, comparison, mean(sizes), len(trials.get("edited") or [plan]))


def _lines(read: Sequence[_Measured]) -> list[_Line]:
    """The lines there may be, in the order in which they are printed."""
    methods = tuple(dict.fromkeys(each.run.recipe.method for each in read))
    lines = [_Line("original", "base"), _Line("CC", "cc"), _Line("DC", "dc")]
    for method in methods:
        random = "random cut" if len(methods) == 1 else f"random cut, as {method.upper()}"
        lines += [_Line(method.upper(), "edited", method), _Line(random, "control", method)]
    return lines


def _numbers(measured: _Measured, lines: Sequence[_Line]) -> list[_Number]:
    """What a run has measured."""
    found = measured.comparison
    known = {**found.baselines, "base": found.base, "edited": found.edited, "control": found.control}
    fitting = [(line, known.get(line.name)) for line in lines if line.method in (None, measured.run.recipe.method)]
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
    """A cell; it is the best where no number of the same examples is better, and one is worse."""
    worths = [rival.worth for rival in rivals if rival.of.asks_like(number.of)]
    best = max(worths) - number.worth <= SAME < max(worths) - min(worths)
    return Cell(number.estimate.mean, number.change, best=best)


def _record(number: _Number, model: str) -> dict[str, Any]:
    """A line of the CSV file. `change` has an interval where it was measured as a difference of pairs: of the cut."""
    measured, comparison = number.of, number.of.comparison
    paired = comparison.difference if number.line.name == "edited" else None
    return {
        "model": model,
        "task": comparison.task,
        "method": number.line.label,
        "measured": number.line.name,
        "metric": comparison.metric,
        **_spread(number.estimate),
        **_changed(number.change, paired),
        "n_cut": measured.cut if number.line.method else 0,
        "n_examples": comparison.n_examples,
        "n_instructions": comparison.n_instructions,
        "trials": measured.trials,
        "run": str(measured.run.folder),
    }


def _caption(read: Sequence[_Measured], numbers: Sequence[_Number], columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """What the numbers are, and what keeps them from being compared."""
    names = {number.line.name for number in numbers}
    parts = [_unit(columns), "In brackets: the change against the original."]
    parts.append("Bold: the best of its model and task, among numbers of the same examples.")
    if names & {"cc", "dc"}:
        parts.append("CC, DC: the original under contextual and domain-context calibration.")
    if "control" in names:
        parts.append("Random cut: as many neurons of the same layers and roles, drawn at random.")
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


def transferred(found: Mapping[str, Any]) -> Grid:
    """Plans × tasks, from what `asking.transfer` found: the model as it is, then a row a plan, by the task it was found on.

    A cell is the metric after the cut and, in brackets, its change; marked are changes whose 95 % interval excludes 0, and
    the task that the cut was found on. Plans found on one task, or on none that is known, are told apart by their folder.

    Raises InputError where there is no task, or where an estimate is damaged.
    """
    metric, tasks, plans = str(found["metric"]), list(found["tasks"]), list(found["plans"])
    if not tasks:
        raise InputError("There is no task to show a transfer to; name at least one.")
    columns = tuple(Column(task, metric) for task in tasks)
    base = [Estimate.from_json(found["base"][task]) for task in tasks]
    rows = [Row("", "as it is", tuple(Cell(estimate.mean) for estimate in base))]
    records = [_transfer_record({}, column, estimate, None) for column, estimate in zip(columns, base, strict=True)]
    for plan, label, results in zip(plans, _plan_labels(plans), found["results"], strict=True):
        cells = []
        for column, result in zip(columns, results, strict=True):
            edited, change = Estimate.from_json(result["edited"]), Difference.from_json(result["difference"])
            sure = change.improved or change.worsened
            cells.append(Cell(edited.mean, change.mean, sure=sure, own=plan["found_on"] == column.task))
            records.append(_transfer_record(plan, column, edited, change))
        rows.append(Row("", label, tuple(cells)))
    parts = (
        *(_unit(columns), "A row a cut, by the task it was found on. In brackets: the change against the model as it is."),
        f"{SURE} the 95 % interval of the change excludes 0 (by chance alone, one in twenty does).",
        f"{OWN} the task that the cut was found on.",
    )
    return Grid("found on", columns, tuple(rows), " ".join(parts), tuple(records))


def _plan_labels(plans: Sequence[Mapping[str, Any]]) -> list[str]:
    """The task that each plan was found on; where that is not known, or not enough, its folder."""
    folders = [str(PurePath(plan["name"]).parent) if PurePath(plan["name"]).name == "plan.json" else plan["name"] for plan in plans]
    names, tasks = told_apart(folders), [plan["found_on"] for plan in plans]
    labels = []
    for plan, folder, task in zip(plans, folders, tasks, strict=True):
        label = names[folder] if task is None else task if tasks.count(task) == 1 else f"{task} · {names[folder]}"
        labels.append(clean(label) + ("" if plan["cut"] else " (nothing cut)"))
    return labels


def _transfer_record(plan: Mapping[str, Any], column: Column, estimate: Estimate, change: Difference | None) -> dict[str, Any]:
    return {
        "plan": plan.get("name"),
        "found_on": plan.get("found_on"),
        "task": column.task,
        "measured": "edited" if plan else "base",
        "metric": column.metric,
        **_spread(estimate),
        **_changed(None if change is None else change.mean, change),
        "n_cut": plan.get("cut", 0),
    }


def _spread(estimate: Estimate) -> dict[str, Any]:
    low, high = estimate.interval
    return {"mean": estimate.mean, "low": low, "high": high, "std_over_instructions": estimate.std_over_instructions}


def _changed(change: float | None, paired: Difference | None) -> dict[str, Any]:
    low, high, p_value = (None, None, None) if paired is None else (*paired.interval, paired.p_value)
    return {"change": change, "change_low": low, "change_high": high, "p_value": p_value}


def _unit(columns: Sequence[Column]) -> str:
    """What the numbers of these columns are."""
    shares, losses = ([column for column in columns if column.is_loss == lossy] for lossy in (False, True))
    parts = ["Accuracy on held-out examples, mean over the instructions, in per cent; changes in points."] if shares else []
    if any(column.metric != "accuracy" for column in shares):
        parts.append("The answer is the most probable choice, or where a heading says generation, the text that is generated.")
    if losses:
        parts.append("Log loss on held-out examples where a heading says so: less is better.")
    return " ".join(parts)


def _is_same(one: Estimate, other: Estimate) -> bool:
    pairs = zip((one.mean, *one.interval), (other.mean, *other.interval), strict=True)
    return all(abs(mine - theirs) <= SAME for mine, theirs in pairs)
