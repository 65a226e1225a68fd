"""A run on corpora by language as a summary on a terminal: whose text suffers from whose units, how sure that is, what to type next."""

import shlex
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from resect.core.address import Neurons
from resect.core.number_format import PLAIN, plural
from resect.report.readers.language_matrix import LanguageMatrix
from resect.report.readers.run_contents import LanguageContents, RunContents
from resect.report.readers.shell_commands import near, program
from resect.report.readers.steering import SteeringResult, remarks
from resect.report.tables.language_tables import own_text_table, questions_table, steering_table, strengths_table
from resect.report.text.language_sentences import few_windows_note, scored_tokens, subject
from resect.report.text.language_verdict import language_verdict
from resect.report.text.next_steps import next_commands_by_language
from resect.report.text.printable import plain
from resect.report.text.split_table import SplitTable, drawn
from resect.runs.run_files import COUNTS
from resect.runs.run_folder import Run

from .blocks import commands, indented, under

#: With more languages than this the matrix is left to the page.
MOST = 16
#: Units of a language that are named.
UNITS = 8


def language_title(contents: LanguageContents) -> str:
    """The languages, for the title."""
    return plain(subject(contents.languages))


def recorded(run: Run, notes: Sequence[Text]) -> list[RenderableType]:
    """A run that only recorded counts."""
    model, counts = shlex.quote(near(run.recipe.model)), shlex.quote(near(str(run.folder / COUNTS)))
    merge = f"{program()} {run.recipe.method} {model} --counts {counts} OTHER/{COUNTS} --valid LANG=PATH …"
    done = Text("Counts were recorded, as requested; nothing was selected.", style="bold")
    return [*notes, Text(""), done, *commands([("select, with counts that were recorded elsewhere:", merge)])]


def languages(contents: RunContents, notes: Sequence[Text]) -> list[RenderableType]:
    """A run that deactivated units of languages."""
    by_language = contents.languages or LanguageContents()
    matrix, questions = by_language.matrix, by_language.questions
    parts: list[RenderableType] = []
    if matrix is not None:
        on = scored_tokens(matrix)
        parts += [Text(line) for line in (f"on held-out text: {on}" if on else "", few_windows_note(matrix)) if line]
    parts += [*notes, *([] if matrix is None else _matrix(matrix)), *_units(by_language.units)]
    table = None if questions is None else questions_table(questions, PLAIN)
    parts += [] if table is None else under(f"Open questions: {table.title}", drawn(table))
    if questions is not None and table is None:
        number = plural(sum(questions.n.values()), "open questions")
        parts += [Text(""), Text(f"{number} answered: neither the language nor the quality of the answers was measured.")]
    parts += steering_results(by_language.steered) if by_language.steered else []
    if matrix is None:
        return [*parts, Text(""), Text("The run is not finished, or damaged: see what is missing.", style="bold yellow")]
    parts += _verdict(matrix)
    return (
        parts if contents.recipe is None else [*parts, *commands(next_commands_by_language(contents.recipe, contents.run.folder, matrix))]
    )


def _matrix(matrix: LanguageMatrix) -> list[RenderableType]:
    """The matrix, and its diagonal."""
    parts: list[RenderableType] = []
    if len(matrix.languages) <= MOST:
        rows = "rows: whose units are deactivated; columns: whose text"
        parts += under(f"Change of the negative log-probability of a token, in nats ({rows})", changes(matrix))
        parts.append(indented(Text("* the largest of its row", style="dim")))
    legend = "next most: the other language's text that suffers most; random units: its own draw of them; clearly: above all of these"
    return [
        *parts,
        *under("Each language's own text, with its own units deactivated", drawn(own_text_table(matrix, PLAIN))),
        indented(Text(legend, style="dim")),
    ]


def changes(matrix: LanguageMatrix) -> SplitTable:
    """A row for the language whose units are deactivated; on the diagonal its own text, bold; the largest of a row is marked."""
    strongest, rows = matrix.strongest, []
    for place, name in enumerate(matrix.languages):
        cells = [Text(f"{plain(name)} off")]
        for column, change in enumerate(matrix.loss.change[place]):
            mark = "*" if strongest[place] == column else " "
            style = "bold" if place == column else "yellow" if mark == "*" else ""
            cells.append(Text(f"{PLAIN.signed(change).removeprefix('+')}{mark}", style=style))
        rows.append(cells)
    return SplitTable(["", *(f"{plain(name)} " for name in matrix.languages)], rows)


def steering_results(results: Sequence[SteeringResult]) -> list[RenderableType]:
    """Results of steering: a table, and below it sentences on its rows."""
    lines = [f"{'; '.join(result.name for result in same)}: {sentence}" for sentence, same in remarks(results)]
    lines += ["Empty and unclear answers count as in no language."] if any(any(result.uncounted) for result in results) else []
    table = under("Steered: answers in the language that was requested", drawn(steering_table(results, PLAIN)))
    parts = [*table, *(indented(Text(plain(line))) for line in lines)]
    for tried in filter(None, (strengths_table(result, PLAIN) for result in results)):
        parts += under(plain(tried.title), drawn(tried))
    return parts


def _units(units: Mapping[str, Neurons]) -> list[RenderableType]:
    """The first units of each language, by layer."""
    if not any(units.values()) or len(units) > MOST:
        return []
    rows = []
    for name, neurons in units.items():
        left, parts = UNITS, []
        for site, indices in neurons.items():
            parts += [f"{str(site).removesuffix(f'.{site.role}')}: {', '.join(map(str, indices[:left]))}"] if left else []
            left = max(0, left - len(indices))
        more = " …" if neurons.count > UNITS else ""
        rows.append(Text(plain(f"{name}  {'  '.join(parts)}{more}")))
    return under("Which units (the first of each language, counted from 0; all of them in plans/ and on the page)", Group(*rows))


def _verdict(matrix: LanguageMatrix) -> list[RenderableType]:
    """What speaks against it first, then what the matrix says."""
    verdict = language_verdict(matrix)
    word = Text(verdict.word, style="bold green" if verdict.is_clear else "bold yellow")
    doubts = [Text(plain(doubt), style="yellow") for doubt in verdict.doubts]
    return [Text(""), word, *doubts, Text(plain(" ".join(verdict.findings)), style="bold green" if verdict.is_clear else "")]
