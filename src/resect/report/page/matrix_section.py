"""What deactivating each language's units does to the text of each language, as a section: heat maps and tables. Knows no file."""

from collections.abc import Sequence

from resect.core.exhibits import HeatMap, Table
from resect.core.number_format import PAGE, plural
from resect.report.readers.language_matrix import Cells, LanguageMatrix, RandomControl
from resect.report.tables.language_tables import own_text_table
from resect.report.text.language_sentences import few_windows_note, perplexity

from .blocks import Block, Fold, Paragraph, Section, folded
from .exhibit_section import exhibit_blocks

#: Pairs of languages that a sentence names.
PAIRS = 4
LEGEND = {"down": "less probable than before", "up": "more probable", "framed": "the largest change of its row"}


def matrix_section(matrix: LanguageMatrix) -> Section:
    """Returns the matrix of a run."""
    how = (
        "A row: the language whose units are deactivated, or random ones in their place. A column: the language of the text. A "
        "cell: the change of the mean negative log-probability of a token, in nats; above 0 the text has become less probable."
    )
    but = "It shows how well the model still reads plain text, not what it writes."
    control, others = matrix.control, matrix.others[:PAIRS]
    pairs = [PAGE.blank.join((mine, "→", theirs, PAGE.signed(change))) for mine, theirs, change in others]
    sentences = [f"The strongest off the diagonal (units → text): {', '.join(pairs)}."] if pairs else []
    sentences += [f"Without units, nothing is deactivated: {', '.join(matrix.without_units)}."] if matrix.without_units else []
    sentences += [few_windows_note(matrix)] if few_windows_note(matrix) else []
    sentences += [] if control else ["Random units were not deactivated, so that there is no control."]
    framed = [(row, column) for row, column in enumerate(matrix.strongest) if column is not None]
    maps = _maps(matrix, "nats", matrix.loss.change, None if control is None else control.loss, 3, framed)
    blocks: list[Block] = [*map(Paragraph, sentences), *exhibit_blocks(maps), folded(own_text_table(matrix))]
    names = ("", *matrix.languages)
    of_perplexity = _maps(matrix, matrix.kind, matrix.perplexity.change, None if control is None else control.perplexity, 2)
    has_perplexity = any(value is not None for row in matrix.perplexity.change for value in row)
    rows = {"nothing": matrix.perplexity.base} | dict(zip(matrix.languages, matrix.perplexity.deactivated, strict=True))
    cells = [(f"{name} deactivated", *(perplexity(value, PAGE) for value in row)) for name, row in rows.items()]
    table = Table(f"{matrix.kind.capitalize()} of held-out text, by language of the text", names, cells)
    blocks.append(Fold(f"In {matrix.kind}, as papers print it", (*exhibit_blocks(of_perplexity if has_perplexity else []), table)))
    if any(map(any, matrix.loss.interval)):
        ends = [
            (f"{name} deactivated", *(PAGE.signed(value) + _interval(end) for value, end in zip(changes, intervals, strict=True)))
            for name, changes, intervals in zip(matrix.languages, matrix.loss.change, matrix.loss.interval, strict=True)
        ]
        table = Table("Change of the negative log-probability of a token, by language of the text", names, ends)
        blocks.append(Fold("Every change with its 95 % interval", (table,), is_printed=len(ends) <= 40))
    return Section("matrix", "Matrix", "Each language without its units", (how, but), blocks)


def _maps(
    matrix: LanguageMatrix, unit: str, changes: Cells, random: Cells | None, digits: int, framed: Sequence[tuple[int, int]] = ()
) -> list[HeatMap]:
    """The changes with each language's units deactivated, and with random ones, on one scale."""
    tables = [("The row's units deactivated", changes, framed)]
    tables += [(f"Random units deactivated{_draws(matrix.control)}", random, ())] if random is not None else []
    full = max((abs(value) for _, cells, _ in tables for row in cells for value in row if value is not None), default=0.0)
    return [
        HeatMap(
            heading,
            matrix.languages,
            matrix.languages,
            cells,
            unit,
            corner="deactivated",
            digits=digits,
            full=full or None,
            lower_is_better=True,
            framed=marks,
            legend=LEGEND,
        )
        for heading, cells, marks in tables
    ]


def _draws(control: RandomControl | None) -> str:
    draws = None if control is None else control.draws
    return "" if draws is None else " (one draw)" if draws == 1 else f" (mean of {plural(draws, 'draws')})"


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"\n{PAGE.signed(ends[0])} to {PAGE.signed(ends[1])}"
