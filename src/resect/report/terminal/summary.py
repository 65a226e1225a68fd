"""A run folder as a summary on a terminal: what changed, how sure that is, what the plan does, and what to type next.

Reads what the run folder holds, and measures nothing; what is missing or damaged is named, and the rest is shown. Text that comes from data
is printed as it is: never as markup, and without control characters.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from resect.core.exhibits import Exhibit, Table, by_section
from resect.core.number_format import PLAIN
from resect.report.readers.looks_at_test import LooksAtTest
from resect.report.readers.noise_search import NoiseSearch
from resect.report.readers.rank_search import RankSearch
from resect.report.readers.run_contents import Gap, RunContents
from resect.report.readers.shell_commands import near, program
from resect.report.tables.run_tables import reductions_table
from resect.report.tables.search_tables import composition_table
from resect.report.text.changed_answers import examples_shown, kind_of
from resect.report.text.next_steps import caution, next_commands
from resect.report.text.printable import Trimmed, plain, shortened
from resect.report.text.split_table import drawn
from resect.report.text.verdict import verdict, verdict_of
from resect.runs.guarded_search import GuardedSearch
from resect.runs.run_files import REPORT
from resect.runs.run_folder import Run
from resect.runs.schemas.rows import ExampleLine

from .blocks import commands, indented, under
from .comparison_view import details, evaluated, outcome
from .language_summary import language_title, languages, recorded
from .plan_view import cut_neurons
from .verdict_styles import STYLES

#: Rows of a table that a terminal shows, of exhibits, and of reductions; the page has all of them.
ROWS_SHOWN, LAYERS_SHOWN = 12, 24


def console(**settings: Any) -> Console:
    """Where results are printed: standard output; colour only on a terminal, and not where NO_COLOR is set."""
    return Console(**{"markup": False, "highlight": False, "emoji": False, **settings})


def show(content: RenderableType, on: Console | None = None) -> None:
    """Print it. A line that may not be broken, a command to copy, runs over the edge instead of being cut."""
    (on or console()).print(Trimmed(content), crop=False)


def summary(run: Run) -> RenderableType:
    """The summary of a run."""
    contents = RunContents.of(run)
    name = run.recipe.model if contents.recipe is None else Path(run.recipe.model).name
    guarded = GuardedSearch.of(contents.comparison)  # what it changed is told where the search is
    told = [note for note in contents.environment.notes if guarded is None or not guarded.says_the_same(note)]
    notes = [Text(plain(note), style="yellow") for note in told]
    if contents.languages is not None:
        title = language_title(contents.languages)
        body = languages(contents, notes) if run.recipe.compares else recorded(run, notes)
    else:
        title = plain(contents.comparison.task if contents.comparison is not None else run.recipe.get("task", ""))
        body = _compared(contents, notes)
    heading = Text(" · ".join(filter(None, (plain(run.recipe.method), plain(name), title))), style="bold")
    return Group(heading, *body, *exhibits(contents.exhibits), *_gaps(contents.gaps), Text(""), *_places(run))


def _compared(contents: RunContents, notes: Sequence[Text]) -> list[RenderableType]:
    """What was compared, for a run with a task or on plain text."""
    comparison, plan = contents.comparison, contents.plan
    parts: list[RenderableType] = [] if comparison is None else [Text(evaluated(comparison))]
    looks = LooksAtTest.of(contents.run, contents.environment)
    parts += [Text(plain(looks.sentence()))] if looks is not None and looks.sentence() else []
    parts += [*notes, *_search(contents)]
    if comparison is not None:
        parts += [Text(""), *outcome(comparison, contents.plan_or_kind), *details(comparison)]
    if plan is not None:
        parts += under("Where the cut is", cut_neurons(plan))
        parts += under("What was reduced", drawn(reductions_table(plan, PLAIN), LAYERS_SHOWN)) if plan.reductions else []
    parts += under("Answers that changed", changed_answers(contents.examples))
    if comparison is None or plan is None:
        return [*parts, Text(""), Text("The run is not finished, or damaged: see what is missing.", style="bold yellow")]
    word = verdict_of(comparison, plan).word
    parts += [Text(""), Text(plain(verdict(comparison, plan)), style=STYLES[word])]
    examples = examples_shown(contents.examples)
    prompt = plain(examples[0].prompt) if examples else "…"
    if contents.recipe is not None:
        steps = next_commands(contents.recipe, contents.run.folder, comparison, plan, prompt)
        parts += commands(steps, caution(contents.recipe, comparison, plan, looks))
    return parts


def changed_answers(rows: Sequence[ExampleLine]) -> RenderableType | None:
    """Three answers that changed, each of another example: fixed ones, and a broken one where there is one."""
    parts: list[RenderableType] = []
    for row in examples_shown(rows):
        mark = {"other": "changed"}.get(kind_of(row), kind_of(row))
        answers = f"{mark}: {plain(row.base)} → {plain(row.edited)}   (right: {plain(row.gold)})"
        parts.append(Text(shortened(row.prompt, row.instruction), style="dim"))
        parts.append(Padding(Text(answers), (0, 0, 1, 2), expand=False))
    return Group(*parts) if parts else None


def exhibits(shown: Sequence[Exhibit]) -> list[RenderableType]:
    """What the method shows: notes and tables; curves and heat maps by name, since the page draws them."""
    parts: list[RenderableType] = []
    for section, members in by_section(shown).items():
        parts += [Text(""), Text(plain(section), style="bold")]
        for exhibit in members:
            is_table = isinstance(exhibit, Table)
            parts.append(indented(Text(plain(exhibit.title) + ("" if is_table else ": drawn on the page"), style="italic")))
            parts += [indented(drawn(exhibit, ROWS_SHOWN))] if isinstance(exhibit, Table) else []
            parts += [indented(Text(plain(exhibit.note), style="dim"))] if exhibit.note else []
    return parts


def _search(contents: RunContents) -> list[RenderableType]:
    """What was searched among matrices, and what guards changed in any search."""
    noise, plan = NoiseSearch.of(contents.comparison, contents.trials), contents.plan
    search, guarded = RankSearch.of(contents.trials, contents.comparison), GuardedSearch.of(contents.comparison)
    guards = [] if guarded is None else [Text(plain(line)) for line in guarded.sentences()]
    if noise is not None:
        return [Text(""), Text(noise.extent())]
    if search is None:
        return [Text(""), *guards] if guards else []
    lines: list[RenderableType] = [Text(line, style="yellow" if line == search.caution else "") for line in search.sentences()]
    lines += [] if plan is None else [Text(search.outcome(plan, PLAIN), style="bold")]
    steps = [] if len(search.steps) < 2 else under("Steps", drawn(composition_table(search, PLAIN), LAYERS_SHOWN))
    return [Text(""), *lines, *guards, *steps]


def _gaps(gaps: Sequence[Gap]) -> list[RenderableType]:
    """What is missing or damaged, and how to get it."""
    if not gaps:
        return []
    lines: list[RenderableType] = [Text(""), Text("What is missing", style="bold red")]
    lines += [Text(plain(f"{gap.what}: {gap.why}"), style="red") for gap in gaps]
    for line in dict.fromkeys(gap.how for gap in gaps if gap.how):
        lines.append(Text(f"    {line}", style="cyan", no_wrap=True, overflow="ignore"))
    return lines


def _places(run: Run) -> list[RenderableType]:
    """Where the files are, and the page."""
    page = run.folder / REPORT
    read = f"{program()} report {shlex.quote(near(str(run.folder)))}"
    lines = [
        f"Everything is in {run.folder}",
        f"To read and to send: {page}" if page.exists() else f"For a page to read and to send: {read}",
    ]
    return [Text(line, style="dim", no_wrap=True, overflow="ignore") for line in lines]
