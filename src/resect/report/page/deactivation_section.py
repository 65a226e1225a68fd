"""The matrix of a run of LAPE as a section of a page: heat maps and tables. Knows no file."""

from collections.abc import Sequence

from markupsafe import Markup

from resect.core.number_format import DASH, PAGE, plural
from resect.report.charts.heatmap import Shade, heat
from resect.report.readers.deactivation import Effects
from resect.report.readers.deactivation import Table as Cells
from resect.report.tables.tables import Table
from resect.report.text.lape_sentences import few, perplexity, rise

from .sections import Figure, Fold, Section

#: What the rows are: the language whose units are off. The columns are that of the text.
CORNER = "off"
#: Pairs that are named in a sentence.
PAIRS = 4


def matrix(effects: Effects) -> Section:
    """What becomes of each language's text with each language's units off."""
    keys = (("down", "less probable than before"), ("up", "more probable"), ("chosen", "the largest change of its row"))
    how = (
        "A row: the language whose units are switched off, or random ones in their place. A column: the language of the text that is "
        "read. A cell: the change of the mean negative log-probability of a token, in nats; above 0 the text has become less probable."
    )
    but = "It says how well the model still reads plain text, not what it writes."
    beside = [PAGE.blank.join((mine, "→", theirs, PAGE.signed(change))) for mine, theirs, change in effects.others[:PAIRS]]
    words = [f"Beside the diagonal, the strongest (units → text): {', '.join(beside)}."] if beside else []
    if effects.without_units:
        words.append(f"Without units, nothing is off: {', '.join(effects.without_units)}.")
    words += [few(effects)] if few(effects) else []
    random, draws = effects.control, effects.control.draws if effects.control else None
    shade = Shade.of([*effects.loss.change, *(random.loss if random else ())], diverging=True)
    chosen = frozenset((row, column) for row, column in enumerate(effects.strongest) if column is not None)
    drawn = [_map(effects, effects.loss.change, "The row's units off", shade, chosen)]
    if random is not None:
        over = "" if draws is None else " (one draw)" if draws == 1 else f" (mean of {plural(draws, 'draws')})"
        drawn.append(_map(effects, random.loss, f"Random units off{over}", shade))
    else:
        words.append("Random units were not switched off, so that there is no control.")
    folds = [Fold(f"In {effects.kind}, as papers print it", _perplexities(effects), _perplexity_table(effects))]
    folds += [Fold("Every change with its 95 % interval", table=_intervals(effects))] if any(map(any, effects.loss.interval)) else []
    title = "Each language without its units"
    return Section("matrix", "The matrix", title, how, but, tuple(words), tuple(drawn), own_table(effects), tuple(folds), keys)


def own_table(effects: Effects) -> Table:
    """Of each language: its units, what their being off does to its own text, the text that suffers next, and random units."""
    rows = []
    for place, name in enumerate(effects.languages):
        ends, following = effects.loss.interval[place][place], effects.next_to(name)
        own = PAGE.signed(effects.own[place]) + ("" if ends is None else f"\n{_between(ends)}")
        in_percent = rise(effects.own[place], PAGE)
        after = DASH if following is None else f"{PAGE.signed(following[1])}\n{following[0]}"
        says = {True: "yes", False: "no", None: DASH}[effects.largest[place]]
        random, sure = PAGE.signed(effects.random[place]), "yes" if name in effects.sure else "no" if name in effects.with_units else DASH
        rows.append((name, PAGE.number(effects.units[place]), own, in_percent, after, random, says, sure))
    head = ("language", "units", "its own text", "perplexity", "next most", "random units", "own is the largest", "clearly so")
    caption = (
        "Change of the negative log-probability of a token, in nats. For sure: the whole interval lies above 0, random units and next most"
    )
    return Table(caption, head, tuple(rows))


def _map(effects: Effects, cells: Cells, heading: str, shade: Shade, chosen: frozenset[tuple[int, int]] = frozenset()) -> Figure:
    # What is gained is shown as on every page: less probable is worse, so its colour is that of a loss.
    gains = [[None if value is None else -value for value in row] for row in cells]
    texts = [[PAGE.signed(value).removeprefix("+") for value in row] for row in cells]
    drawn = heat(
        effects.languages,
        effects.languages,
        gains,
        texts,
        title=f"{heading}: change of the negative log-probability, by language",
        corner=CORNER,
        shade=shade,
        chosen=chosen,
        dense=True,
    )
    return Figure(Markup(drawn), heading, "natural", heading)


def _perplexities(effects: Effects) -> tuple[Figure, ...]:
    found = effects.perplexity.change
    if all(value is None for row in found for value in row):
        return ()
    tables = [("The row's units off", found), *([("Random units off", effects.control.perplexity)] if effects.control else [])]
    shade = Shade.of([row for _, cells in tables for row in cells], diverging=True)
    drawn = []
    for heading, cells in tables:
        gains = [[None if value is None else -value for value in row] for row in cells]
        texts = [[PAGE.signed(value, 2).removeprefix("+") for value in row] for row in cells]
        title = f"{heading}: change of {effects.kind}, by language"
        svg = heat(effects.languages, effects.languages, gains, texts, title=title, corner=CORNER, shade=shade, dense=True)
        drawn.append(Figure(Markup(svg), title, "natural", f"{heading}: change of {effects.kind}"))
    return tuple(drawn)


def _perplexity_table(effects: Effects) -> Table:
    """Perplexities as they are: with nothing off, then with each language's units."""
    lines = {"nothing off": effects.perplexity.base}
    lines |= {f"{name} off": row for name, row in zip(effects.languages, effects.perplexity.after, strict=True)}
    rows = [(name, *(perplexity(value, PAGE) for value in row)) for name, row in lines.items()]
    return Table(f"{effects.kind.capitalize()} of held-out text, by language of the text", ("", *effects.languages), tuple(rows))


def _intervals(effects: Effects) -> Table:
    rows = []
    for name, changes, ends in zip(effects.languages, effects.loss.change, effects.loss.interval, strict=True):
        cells = (PAGE.signed(value) + ("" if end is None else f"\n{_between(end)}") for value, end in zip(changes, ends, strict=True))
        rows.append((f"{name} off", *cells))
    return Table("Change of the negative log-probability of a token, by language of the text", ("", *effects.languages), tuple(rows))


def _between(ends: Sequence[float]) -> str:
    return f"{PAGE.signed(ends[0])} to {PAGE.signed(ends[1])}"
