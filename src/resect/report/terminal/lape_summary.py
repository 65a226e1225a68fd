"""A run of LAPE as a summary on a terminal: whose text suffers from whose units being off, how sure that is, what to type next."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from resect.core.address import Neurons
from resect.core.number_format import DASH, PLAIN, MetricFormat, before_after, plural
from resect.report.readers.deactivation import Effects, effects_of
from resect.report.readers.language_units import units_of
from resect.report.readers.open_answers import Questions, Scored, questions_of
from resect.report.readers.shell_commands import near, program
from resect.report.readers.steering import Steered, apart, remarks, steered_of
from resect.report.readers.tolerant import comparison_of
from resect.report.readers.unit_sets import Sets, sets_of
from resect.report.text import lape_sentences, lape_verdict
from resect.report.text.lape_sentences import farthest
from resect.report.text.printable import Wide, plain
from resect.runs.run_files import COUNTS, REPORT
from resect.runs.run_folder import Run

#: From so many languages on the matrix is left to the page.
MOST = 16
SHARES = MetricFormat("accuracy")
#: Units of a language that are named.
UNITS = 8


def summary(run: Run) -> RenderableType:
    """The summary of a finished run. Raises InputError where it is not finished, or its matrix is damaged."""
    recipe = run.recipe
    notes = [Text(plain(note), style="yellow") for note in run.environment().get("notes") or ()]
    last = Group(*(Text(line, style="dim", no_wrap=True, overflow="ignore") for line in _places(run)))
    name = Path(recipe.model).name
    if not recipe.compares:
        languages = lape_sentences.languages_of(recipe)
        title = Text(f"{recipe.method} · {name} · {plain(lape_sentences.subject(languages))}", style="bold")
        done = Text("Counts were recorded, as asked; nothing was selected.", style="bold")
        return Group(title, *notes, Text(""), done, *_next([_merge(run)]), Text(""), last)
    effects, questions = effects_of(run.matrix()), questions_of(comparison_of(run.comparison()))
    sets, _ = sets_of(run.analyses())
    title = Text(f"{recipe.method} · {name} · {plain(lape_sentences.subject(effects.languages))}", style="bold")
    on, short = lape_sentences.scored(effects), lape_sentences.few(effects)
    parts: list[RenderableType] = [title, *([Text(f"on held-out text: {on}")] if on else []), *([Text(short)] if short else []), *notes]
    if len(effects.languages) <= MOST:
        parts += _under(
            "Change of the negative log-probability of a token, in nats (rows: whose units are off; columns: whose text)", matrix(effects)
        )
        parts.append(Padding(Text("* the largest of its row", style="dim"), (0, 0, 0, 2)))
    parts += _under("Each language's own text, with its own units off", own(effects))
    parts.append(
        Padding(
            Text("next most: the other language's text that suffers most; random: its own draw of random units off", style="dim"),
            (0, 0, 0, 2),
        )
    )
    parts += _chosen(units_of(run, effects.languages))
    if questions is not None and (questions.accuracy or questions.quality):
        heading = " and ".join(
            ("answers in their language",) * bool(questions.accuracy) + ("quality from 1 to 5",) * bool(questions.quality)
        )
        parts += _under(f"Open questions: {heading}", asked(questions))
    elif questions is not None:
        told_of = plural(int(sum(questions.n.values())), "open questions")
        parts += [Text(""), Text(f"{told_of} asked: neither the language nor the quality of the answers was measured.")]
    results = apart({name: steered_of(found) for name, found in run.steered().items()})
    parts += steerings(results) if results else []
    parts += [Text(""), Text(f"Parallel sentences: {farthest(sets.similarity)}")] if sets.similarity is not None else []
    parts += _verdict(effects, sets)
    return Group(*parts, *_next(lape_sentences.next_commands(recipe, run.folder, effects)), Text(""), last)


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
        after_all = effects.perplexity.after[place][place]
        pair = DASH if after_all is None else f"{lape_sentences.perplexity(after_all)} ({lape_sentences.rise(effects.own[place])})"
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
    return Wide(("", "units", "change", "95 % interval", effects.kind, "next most", "random"), rows)


def asked(found: Questions) -> Wide:
    """Of each language that was asked in: as it is, its own units off, random units off."""
    measures = [(scored, is_share) for scored, is_share in ((found.accuracy, True), (found.quality, False)) if scored is not None]
    head = ["asked in", "questions", *(f"{what}{how}" for _, share in measures for what, how in _heads(share))]
    rows = [[Text(plain(name)), Text(PLAIN.number(n)), *_cells(measures, found.silence(name), name)] for name, n in found.n.items()]
    return Wide(head, rows or [[Text(DASH)] * len(head)])


def steerings(found: Sequence[Steered]) -> list[RenderableType]:
    """What came of each steering: a table, and below it what there is to say of its rows."""
    has_quality = any(each.quality for each in found)
    head = ["", "prompts", "in that language", "change, points", *(["quality"] if has_quality else [])]
    rows = []
    for each in found:
        accuracy = SHARES.pair(*each.accuracy) if each.accuracy else DASH
        cells = [PLAIN.number(each.number), accuracy, each.certainty(SHARES)]
        cells += [before_after(PLAIN.number, *each.quality) if each.quality else DASH] if has_quality else []
        rows.append([Text(plain(each.short)), *map(Text, cells)])
    lines = [Text(plain(f"{'; '.join(each.short for each in of)}: {sentence}")) for sentence, of in remarks(found)]
    silent = [
        f"{each.short}: {' → '.join(one or 'none' for one in each.silence)} of {each.number:,}" for each in found if any(each.silence)
    ]
    told_of = "Answers that count as in no language, before → after (unclear: mostly too short to tell)"
    lines += [Text(plain(f"{told_of}: {'; '.join(silent)}."))] if silent else []
    return [*_under("Steered: answers in the language that was wanted", Wide(head, rows)), *(Padding(line, (0, 0, 0, 2)) for line in lines)]


def _chosen(units: Mapping[str, Neurons]) -> list[RenderableType]:
    """The first units of each language, by layer."""
    if not any(units.values()) or len(units) > MOST:
        return []
    rows = []
    for name, neurons in units.items():
        left, parts = UNITS, []
        for site, held in neurons.items():
            parts += [f"{str(site).removesuffix('.act')}: {', '.join(map(str, held[:left]))}"] if left else []
            left = max(0, left - len(held))
        more = " …" if neurons.count > UNITS else ""
        rows.append(Text(plain(f"{name}  {'  '.join(parts)}{more}")))
    return _under("Which units (the first of each language, counted from 0; all of them in plans/ and on the page)", Group(*rows))


def _verdict(effects: Effects, sets: Sets) -> list[RenderableType]:
    """What speaks against it first, then how steady the selection is, then what the matrix says."""
    found = lape_verdict.verdict(effects)
    steady = lape_verdict.steadiness(sets.stability)
    doubts = [Text(plain(doubt), style="yellow") for doubt in found.doubts]
    says = Text(plain(" ".join(found.says)), style="bold green" if found.is_clear else "")
    return [
        Text(""),
        Text(found.word, style="bold green" if found.is_clear else "bold yellow"),
        *doubts,
        *([Text(steady)] if steady else []),
        says,
    ]


def _heads(is_share: bool) -> list[tuple[str, str]]:
    return [("" if is_share else "quality, ", how) for how in ("as it is", "own off", "random off")]


def _cells(measures: list[tuple[Scored, bool]], silence: Sequence[str], language: str) -> list[Text]:
    cells = []
    for scored, is_share in measures:
        values = (scored.base.get(language), scored.own(language), scored.random.get(language))
        told_of = [SHARES.value(value) if is_share else PLAIN.number(value) for value in values]
        silent = silence if is_share else ("",) * len(values)
        cells += [Text(f"{cell}, {more}" if more else cell) for cell, more in zip(told_of, silent, strict=True)]
    return cells


def _places(run: Run) -> list[str]:
    """Where the files are, and the page."""
    page = run.folder / REPORT
    read = (
        f"To read and to send: {page}"
        if page.exists()
        else f"For a page to read and to send: {program()} report {shlex.quote(near(str(run.folder)))}"
    )
    return [f"Everything is in {run.folder}", read]


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
