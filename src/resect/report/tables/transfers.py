"""Plans × tasks: what a plan that was found on one task does to others. Measures nothing."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from resect.core.errors import InputError
from resect.core.number_format import MetricFormat
from resect.runs.schemas.comparison import Measurement, PairedChange

from .grid_formats import OWN, SURE, Cell, Column, Grid, Row, clean, told_apart
from .grid_records import changed, spread, unit


def transferred(transfer: Mapping[str, Any]) -> Grid:
    """Plans × tasks, from what a transfer measured: the model as it is, then a row a plan, by the task it was found on.

    A cell is the metric after the edit and, in brackets, its change; marked are changes whose 95 % interval excludes 0, and
    the task that the plan was found on. Plans found on one task, or on none that is known, have their folder in the label.

    Raises InputError where there is no task, or where a measurement is damaged.
    """
    tasks, plans, metrics = list(transfer["tasks"]), list(transfer["plans"]), transfer.get("metrics") or {}
    if not tasks:
        raise InputError("There is no task to show a transfer to; name at least one.")
    columns = tuple(Column(task, str(metrics.get(task) or transfer["metric"])) for task in tasks)
    try:
        base = [Measurement.model_validate(transfer["base"][task]) for task in tasks]
        edited = [[Measurement.model_validate(result["edited"]) for result in results] for results in transfer["results"]]
        changes = [[PairedChange.model_validate(result["difference"]) for result in results] for results in transfer["results"]]
    except ValidationError as error:
        raise InputError(f"The transfer is damaged: {error.errors()[0]['msg']}.") from error
    rows = [Row("", "as it is", tuple(Cell(measured.mean) for measured in base))]
    records = [_record({}, column, measured, None) for column, measured in zip(columns, base, strict=True)]
    for plan, label, after_all, change_all in zip(plans, _plan_labels(plans), edited, changes, strict=True):
        cells = []
        for column, after, change in zip(columns, after_all, change_all, strict=True):
            sure = MetricFormat().verdict(change.interval) != "no clear change"
            cells.append(Cell(after.mean, change.mean, sure=sure, own=plan["found_on"] == column.task))
            records.append(_record(plan, column, after, change))
        rows.append(Row("", label, tuple(cells)))
    parts = (
        *(unit(columns), "A row a plan, by the task it was found on. In brackets: the change against the model as it is."),
        f"{SURE} the 95 % interval of the change excludes 0 (by chance alone, one in twenty does).",
        f"{OWN} the task that the plan was found on.",
    )
    return Grid("found on", columns, tuple(rows), " ".join(parts), tuple(records))


def _plan_labels(plans: Sequence[Mapping[str, Any]]) -> list[str]:
    """The task that each plan was found on; where that is not known, or not enough, its folder."""
    folders = [str(PurePath(plan["name"]).parent) if PurePath(plan["name"]).name == "plan.json" else plan["name"] for plan in plans]
    names, tasks = told_apart(folders), [plan["found_on"] for plan in plans]
    labels = []
    for plan, folder, task in zip(plans, folders, tasks, strict=True):
        label = names[folder] if task is None else task if tasks.count(task) == 1 else f"{task} · {names[folder]}"
        labels.append(clean(label) + ("" if plan["cut"] else " (nothing changed)"))
    return labels


def _record(plan: Mapping[str, Any], column: Column, measured: Measurement, change: PairedChange | None) -> dict[str, Any]:
    return {
        "plan": plan.get("name"),
        "found_on": plan.get("found_on"),
        "task": column.task,
        "measured": "edited" if plan else "base",
        "metric": column.metric,
        **spread(measured),
        **changed(None if change is None else change.mean, change),
        "n_cut": plan.get("cut", 0),
    }
