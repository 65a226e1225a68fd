"""A grid of measurements, and its forms: text for a terminal, CSV, LaTeX, a picture, JSON. Knows no run and no task."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from resect.core.exhibits import HeatMap
from resect.core.number_format import DASH, PAGE, PLAIN, MetricFormat, NumberStyle
from resect.report.charts.heat_map import heat_map
from resect.report.charts.svg import standalone
from resect.report.text.printable import plain
from resect.report.text.split_table import SplitTable

SURE, OWN = "*", "†"
#: The columns of the notes on plans; the last one only where there are verdicts.
NOTES = ("model", "task", "method", "what was changed", "verdict")
_LATEX = {
    **{character: f"\\{character}" for character in "_%&#${}"},
    "\\": "\\textbackslash{}",
    "^": "\\textasciicircum{}",
    "~": "\\textasciitilde{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "`": "\\textasciigrave{}",
    "[": "{[}",  # after the end of a row these two would be read as its options
    "*": "{*}",
    "-": "-{}",  # see _SPECIAL
    DASH: "--",
    "−": "$-$",
    "·": "$\\cdot$",
    OWN: "\\dag{}",
}
# Of hyphens only those that another follows: together they would become a dash.
_SPECIAL = re.compile("-(?=-)|[" + re.escape("".join(set(_LATEX) - {"-"})) + "]")


@dataclass(frozen=True)
class Column:
    """A task under one metric."""

    task: str
    metric: str = "accuracy"

    @property
    def label(self) -> str:
        """The task, and the metric where it is not accuracy."""
        name = clean(self.task)
        return name if self.metric == "accuracy" else f"{name} ({clean(self.metric)})"

    @property
    def is_loss(self) -> bool:
        """Whether less is better, and values are no shares."""
        return not MetricFormat(self.metric).is_share

    def figures(self, cell: "Cell | None", face: NumberStyle = PLAIN) -> tuple[str, str, str]:
        """A cell's mean, its change in brackets, its marks; shares in per cent, losses as they are."""
        if cell is None:
            return DASH, "", ""
        figures = MetricFormat(self.metric, face)
        change = "" if cell.change is None else f"({figures.change(cell.change)})"
        return figures.aligned(cell.mean), change, SURE * cell.sure + OWN * cell.own


@dataclass(frozen=True)
class Cell:
    """One measurement: its mean, and the change against the original (None: it is the original).

    `best`: none of its model and task is better. `sure`: the 95 % interval of the change excludes 0. `own`: the cut was
    found on this task.
    """

    mean: float
    change: float | None = None
    best: bool = False
    sure: bool = False
    own: bool = False


@dataclass(frozen=True)
class Row:
    """One line of cells, one a column (None: not measured), in a block of rows ("" where there are no blocks)."""

    block: str
    label: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class PlanNote:
    """What the plan of one run changes: of a model, on a task, by a method; and the verdict in a word, "" where there is none."""

    model: str
    task: str
    method: str
    what: str
    verdict: str = ""

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """The cells of a row, as many as `NOTES`."""
        return self.model, self.task, self.method, self.what, self.verdict or DASH


@dataclass(frozen=True)
class Grid:
    """Rows × columns. `heading` says what the rows' labels are; `records`: every number behind it, as flat objects with the same keys.

    `notes`: what the plan of each run changes, from which one sees which layer is the best for which task.
    """

    heading: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str
    records: tuple[Mapping[str, Any], ...]
    notes: tuple[PlanNote, ...] = ()

    def text(self) -> RenderableType:
        """For a terminal: as many columns side by side as there is room for, the others below. The best is bold."""
        texts = [self._column(position) for position in range(len(self.columns))]
        rows, before = list[list[Text]](), ""
        for number, row in enumerate(self.rows):
            rows += [[Text(row.block, style="bold"), *(Text("") for _ in self.columns)]] if row.block != before else []
            before = row.block
            label = Text(f"  {row.label}" if row.block else row.label)
            bold = ["bold" if cell is not None and cell.best else "" for cell in row.cells]
            rows.append([label, *(Text(column[number], style) for column, style in zip(texts, bold, strict=True))])
        table = SplitTable([self.heading, *(column.label for column in self.columns)], rows)
        notes: list[RenderableType] = [self._notes(), Text("")] if self.notes else []
        return Group(table, Text(""), *notes, Text(self.caption, style="dim"))

    def _column(self, position: int) -> list[str]:
        """A column's cells, all of one width, with the decimal points in line."""
        column = self.columns[position]
        parts = [column.figures(row.cells[position]) for row in self.rows]
        means, changes, marks = (max(map(len, part)) for part in zip(*parts, strict=True))
        blank = " " if changes else ""
        return [f"{mean:>{means}}{blank}{change:>{changes}}{mark:<{marks}}" for mean, change, mark in parts]

    def _notes(self) -> Table:
        """A line a run; where a model is that of the line above, it is not repeated."""
        table, before, heads = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0)), "", self._note_heads
        for place, head in enumerate(heads):
            table.add_column(head, overflow="fold", min_width=min(8, max(cell_len(note.cells[place]) for note in self.notes)))
        for note in self.notes:
            table.add_row(*map(Text, ("" if note.model == before else note.model, *note.cells[1 : len(heads)])))
            before = note.model
        return table

    @property
    def _note_heads(self) -> Sequence[str]:
        return NOTES if any(note.verdict for note in self.notes) else NOTES[:-1]

    def csv(self) -> str:
        """The records, a line each under a line of names; fractions, not per cent; what was not measured is empty."""
        out = io.StringIO()
        names = list(self.records[0])
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: clean(value) if isinstance(value, str) else value for name, value in row.items()} for row in self.records)
        return out.getvalue()

    def latex(self) -> str:
        r"""A table environment; the document needs \usepackage{booktabs}. The best is \textbf."""
        blocked = any(row.block for row in self.rows)
        heads = [*(["model"] if blocked else []), self.heading, *(column.label for column in self.columns)]
        lines = [" & ".join(map(escaped, heads)) + r" \\"]
        before = None
        for row in self.rows:
            if row.block != before:
                lines.append(r"\midrule")
            names = [row.block if row.block != before else ""] if blocked else []
            cells = [_latex_cell(column, cell) for column, cell in zip(self.columns, row.cells, strict=True)]
            lines.append(" & ".join([*map(escaped, [*names, row.label]), *cells]) + r" \\")
            before = row.block
        layout = "l" * (len(heads) - len(self.columns)) + "r" * len(self.columns)
        head = ["% needs \\usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{escaped(self.caption)}}}"]
        body = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"]
        below = []
        if self.notes:
            shown = self._note_heads
            notes = [" & ".join(map(escaped, cells[: len(shown)])) + r" \\" for cells in (NOTES, *(note.cells for note in self.notes))]
            top = [r"\par\medskip", rf"\begin{{tabular}}{{{'l' * len(shown)}}}", r"\toprule", notes[0], r"\midrule"]
            below = [*top, *notes[1:], r"\bottomrule", r"\end{tabular}"]
        return "\n".join([*head, *body, *below, r"\end{table}"]) + "\n"

    def picture(self) -> str:
        """An SVG file: a heat map, coloured by the gain over the original (of losses, by the decrease)."""
        labels = [f"{row.block} · {row.label}" if row.block else row.label for row in self.rows]
        # Points and losses have no scale in common: next to shares, losses have no colour.
        coloured = [column.is_loss == all(each.is_loss for each in self.columns) for column in self.columns]
        gains, texts = [], []
        for row in self.rows:
            cells = list(zip(self.columns, row.cells, strict=True))
            gains.append([_gain(*cell) if shaded else None for shaded, cell in zip(coloured, cells, strict=True)])
            texts.append([_joined(*cell) for cell in cells])
        heads = [column.label for column in self.columns]
        return standalone(heat_map(HeatMap(self.caption, labels, heads, gains, corner=self.heading, texts=texts)))

    def to_json(self) -> dict[str, Any]:
        """A JSON object: {"caption", "columns", "rows": [{"block", "label", "cells"}], "records"}; fractions."""
        rows = [
            {"block": row.block, "label": row.label, "cells": [None if cell is None else dict(vars(cell)) for cell in row.cells]}
            for row in self.rows
        ]
        columns = [{"task": column.task, "metric": column.metric} for column in self.columns]
        values = {"caption": self.caption, "columns": columns, "rows": rows, "records": [dict(record) for record in self.records]}
        return {**values, "cuts": [dict(vars(each)) for each in self.notes]}


def clean(text: object) -> str:
    r"""Text from data as one line, without control characters.

    >>> clean("a\x1b[31m\n b")
    'a [31m b'
    """
    return " ".join(plain(text).split())


def escaped(text: str) -> str:
    r"""Text as LaTeX prints it.

    >>> print(escaped("50 % of a_b {x}"))
    50 \% of a\_b \{x\}
    """
    return _SPECIAL.sub(lambda match: _LATEX[match[0]], clean(text))


def told_apart(paths: Iterable[str]) -> dict[str, str]:
    """Each path's last parts, as many as tell it from the others.

    >>> told_apart(["runs/a/age", "runs/b/age", "google/flan-t5-base"])
    {'runs/a/age': 'a/age', 'runs/b/age': 'b/age', 'google/flan-t5-base': 'flan-t5-base'}
    """
    parts = {path: PurePath(path).parts or (path,) for path in paths}
    names = {}
    for path, mine in parts.items():
        ends = range(1, len(mine) + 1)
        alone = (n for n in ends if not any(other != path and theirs[-n:] == mine[-n:] for other, theirs in parts.items()))
        names[path] = str(PurePath(*mine[-next(alone, len(mine)) :]))
    return names


def _latex_cell(column: Column, cell: Cell | None) -> str:
    mean, change, marks = column.figures(cell, PAGE)
    numbers = " ".join(filter(None, (escaped(mean), escaped(change).replace("+", "$+$"))))
    bold = rf"\textbf{{{numbers}}}" if cell is not None and cell.best else numbers
    return bold + (f"$^{{{marks.replace(OWN, chr(92) + 'dagger ').strip()}}}$" if marks else "")


def _joined(column: Column, cell: Cell | None) -> str:
    mean, change, marks = column.figures(cell, PAGE)
    return " ".join(filter(None, (mean, change))) + marks


def _gain(column: Column, cell: Cell | None) -> float | None:
    if cell is None:
        return None
    change = round(cell.change or 0.0, 3)  # what is written as 0 has no colour
    return MetricFormat(column.metric).gain(change)
