"""A run of LAPE as a summary on a terminal: whose text suffers from whose units being off, how sure that is, what to type next."""

import shlex
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ...contents import COUNTS
from ...figures import DASH, PLAIN, Figures, arrow
from ...store import Run
from ..advice import near, program
from ..printed import Wide, plain
from ..sound import comparison_of
from . import told
from .effects import Effects, effects_of
from .spoken import Questions, Scored, Steered, questions_of, steered_of

#: From so many languages on the matrix is left to the page.
MOST = 16
SHARES = Figures("accuracy")


def summary(run: Run) -> RenderableType:
    """The summary of a finished run. Raises InputError where it is not finished, or its matrix is damaged."""
    recipe = run.recipe
    notes = [Text(plain(note), style="yellow") for note in run.environment().get("notes") or ()]
    last = Text(f"Everything is in {run.folder}", style="dim", no_wrap=True, overflow="ignore")
    name = Path(recipe.model).name
    if recipe.record_only:
        languages = told.languages_of(recipe)
        title = Text(f"{recipe.method} · {name} · {plain(told.subject(languages))}", style="bold")
        done = Text("Counts were recorded, as asked; nothing was selected.", style="bold")
        return Group(title, *notes, Text(""), done, *_next([_merge(run)]), Text(""), last)
    effects, questions = effects_of(run.matrix()), questions_of(comparison_of(run.comparison()))
    title = Text(f"{recipe.method} · {name} · {plain(told.subject(effects.languages))}", style="bold")
    on, short = told.scored(effects), told.few(effects)
    parts: list[RenderableType] = [title, *([Text(f"on held-out text: {on}")] if on else []), *([Text(short)] if short else []), *notes]
    if len(effects.languages) <= MOST:
        parts += _under(
            "Change of the negative log-probability of a token, in nats (rows: whose units are off; columns: whose text)", matrix(effects)
        )
        parts.append(Padding(Text("* the largest of its row", style="dim"), (0, 0, 0, 2)))
    parts += _under("Each language's own text, with its own units off", own(effects))
    if questions is not None and (questions.accuracy or questions.quality):
        heading = " and ".join(
            ("answers in their language",) * bool(questions.accuracy) + ("quality from 1 to 5",) * bool(questions.quality)
        )
        parts += _under(f"Open questions: {heading}", asked(questions))
    results = [steered_of(found) for found in run.steered().values()]
    parts += _under("Steered: answers in the language that was wanted", steered(results)) if results else []
    says = told.verdict(effects)
    parts += [Text(""), Text(plain(says.sentence), style="bold green" if says.is_clear else "bold yellow")]
    return Group(*parts, *_next(told.next_commands(recipe, run.folder, effects)), Text(""), last)


def matrix(effects: Effects) -> Wide:
    """The matrix: a row for the language whose units are off; on the diagonal its own text, bold; the largest of a row is marked."""
    strongest, rows = effects.strongest, []
    for place, name in enumerate(effects.languages):
        cells = [Text(f"{plain(name)} off")]
        for column, change in enumerate(effects.loss.change[place]):
            mark = "*" if strongest[place] == column else " "
            style = "bold" if place == column else "yellow" if mark == "*" else ""
            cells.append(Text(f"{PLAIN.signed(change).removeprefix('+')}{mark}", style=style))
        rows.append(cells)
    return Wide(["", *(f"{plain(name)} " for name in effects.languages)], rows)


def own(effects: Effects) -> Wide:
    """Of each language: units, perplexity and loss of its own text, the text that suffers next, and random units."""
    rows = []
    for place, name in enumerate(effects.languages):
        ends, following = effects.loss.interval[place][place], effects.next_to(name)
        pair = arrow(told.perplexity, effects.perplexity.base[place], effects.perplexity.after[place][place])
        after = DASH if following is None else f"{plain(following[0])} {PLAIN.signed(following[1])}"
        told_ends = DASH if ends is None else f"{PLAIN.signed(ends[0])} to {PLAIN.signed(ends[1])}"
        cells = (
            PLAIN.number(effects.units[place]),
            PLAIN.signed(effects.own[place]),
            told_ends,
            pair,
            after,
            PLAIN.signed(effects.random[place]),
        )
        rows.append([Text(plain(name)), *map(Text, cells)])
    return Wide(("", "units", "change", "95 % interval", effects.kind, "next", "random units"), rows)


def asked(found: Questions) -> Wide:
    """Of each language that was asked in: as it is, its own units off, random units off."""
    measures = [(scored, is_share) for scored, is_share in ((found.accuracy, True), (found.quality, False)) if scored is not None]
    head = ["asked in", "questions", *(f"{what}{how}" for _, share in measures for what, how in _heads(share))]
    rows = [[Text(plain(name)), Text(PLAIN.number(n)), *_cells(measures, name)] for name, n in found.n.items()]
    return Wide(head, rows or [[Text(DASH)] * len(head)])


def steered(found: list[Steered]) -> Wide:
    """Of each steering: language accuracy and quality before and after."""
    rows = []
    for each in found:
        accuracy, quality = each.accuracy or (None, None), each.quality or (None, None)
        shown = (SHARES.pair(*accuracy) if each.accuracy else DASH, arrow(PLAIN.number, *quality) if each.quality else DASH)
        rows.append([Text(plain(each.name)), Text(PLAIN.number(len(each.pairs) if each.n is None else each.n)), *map(Text, shown)])
    return Wide(("", "prompts", "in that language", "quality"), rows)


def _heads(is_share: bool) -> list[tuple[str, str]]:
    return [("" if is_share else "quality, ", how) for how in ("as it is", "own off", "random off")]


def _cells(measures: list[tuple[Scored, bool]], language: str) -> list[Text]:
    cells = []
    for scored, is_share in measures:
        values = (scored.base.get(language), scored.own(language), scored.random.get(language))
        cells += [Text(SHARES.value(value) if is_share else PLAIN.number(value)) for value in values]
    return cells


def _merge(run: Run) -> tuple[str, str]:
    model, counts = shlex.quote(near(run.recipe.model)), shlex.quote(near(str(run.folder / COUNTS)))
    return (
        "select, with counts that were recorded elsewhere:",
        f"{program()} lape {model} --counts {counts} OTHER/{COUNTS} --valid LANG=PATH …",
    )


def _under(heading: str, part: RenderableType) -> list[RenderableType]:
    return [Text(""), Text(heading, style="bold"), Padding(part, (0, 0, 0, 2), expand=False)]


def _next(commands: list[tuple[str, str]]) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(""), Text("Next:", style="bold")] if commands else []
    for reason, line in commands:
        parts += [Text(f"  {plain(reason)}"), Text(f"    {line}", style="cyan", no_wrap=True, overflow="ignore")]
    return parts
