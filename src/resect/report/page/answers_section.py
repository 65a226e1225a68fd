"""What a model wrote, as sections of a page: open questions with units off, steered answers side by side. Knows no file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from markupsafe import Markup

from resect.core.number_format import DASH, PAGE, MetricFormat, plural
from resect.report.charts.heatmap import heat
from resect.report.readers.open_answers import RANDOM, Question, Questions, Said, Scored, empties, same
from resect.report.readers.steering import Pair, Steered, remarks
from resect.report.tables.tables import Table
from resect.report.text.changed_answers import Text

from .sections import Figure, Fold, Quotation, Section, Voice

#: Questions of a language that are quoted; languages of which one stands open; steered prompts of a result, and those that stand open.
QUOTED, OPEN, SIDE_BY_SIDE, FIRST = 5, 3, 40, 2
SHARES = MetricFormat("accuracy", PAGE)
SILENT = "Empty answers, and those whose language is unclear (mostly for being short), count as in no language."
_CODE = re.compile("[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


def open_questions(found: Questions | None, answers: Sequence[Question]) -> Section | None:
    """Open questions, with units of languages off."""
    if found is None and not answers:
        return None
    words, folds = [], []
    table = None
    if found is not None:
        found = found if found.empty else replace(found, empty=empties(answers))
        table = _table(found)
        asked = [int(number) for number in found.n.values()]
        size = "" if found.new_tokens is None else f", answers of at most {found.new_tokens:,} tokens"
        words += [f"{plural(sum(asked), 'questions')} in {plural(len(asked), 'languages')}{size}."] if asked else []
        words += [SILENT] if any(any(found.silence(name)) for name in found.n) else []
        words += [] if found.accuracy else ["Which language the answers are in was not identified."]
        words += [] if found.quality else ["The answers were not judged: their quality is not known."]
        words += [f"{plural(found.unjudged, 'answers')} got no number from the judge, and count nowhere."] if found.unjudged else []
        folds += [fold for fold in (_map(found.accuracy, True), _map(found.quality, False)) if fold is not None]
    by_language: dict[str, list[Question]] = {}
    for question in answers:
        by_language.setdefault(question.language, []).append(question)
    shown = tuple(_quoted(here[0]) for here in list(by_language.values())[:OPEN])
    for place, (language, here) in enumerate(by_language.items()):
        rest = here[1 if place < OPEN else 0 : QUOTED]
        folds += (
            [Fold(f"{'More questions' if place < OPEN else 'Questions'} in {language}", quotes=tuple(map(_quoted, rest)))] if rest else []
        )
    few = f"the first {QUOTED} questions of each language" if any(len(here) > QUOTED for here in by_language.values()) else "all questions"
    words += (
        [f"Quoted: {few}, whatever came of them. With the units of other languages off: answers.jsonl in the run folder."]
        if answers
        else []
    )
    how = (
        "Questions without one right answer, asked with nothing off, with the units of the question's own language off, and with as many "
        "random units off."
    )
    but = "Language: what a language identifier says of each answer; short ones it cannot tell. Quality: what a judge model says."
    return Section("questions", "Open questions", "What it then writes", how, but, tuple(words), (), table, tuple(folds), quotes=shown)


def _table(found: Questions) -> Table | None:
    """By language of the question: as it is, random units off, its own units off; in the right language, and quality."""
    measures = [(scored, is_share) for scored, is_share in ((found.accuracy, True), (found.quality, False)) if scored is not None]
    if not measures:
        return None
    languages = tuple(dict.fromkeys((*found.n, *(name for scored, _ in measures for name in scored.languages))))
    rows = []
    for name in languages:
        cells = [PAGE.number(found.n.get(name))]
        for scored, is_share in measures:
            values = [_value(value, is_share) for value in (scored.base.get(name), scored.random.get(name), scored.own(name))]
            base, own, random = found.silence(name) if is_share else ("", "", "")
            cells += [cell + (f"\n{silent}" if silent else "") for cell, silent in zip(values, (base, random, own), strict=True)]
        rows.append((name, *cells))
    heads = [f"{what}{how}" for _, is_share in measures for what, how in _heads(is_share)]
    caption = " and ".join("in the language of the question" if is_share else "quality from 1 to 5" for _, is_share in measures)
    return Table(f"Answers {caption}" if found.accuracy else "Quality of the answers", ("asked in", "questions", *heads), tuple(rows))


def _heads(is_share: bool) -> list[tuple[str, str]]:
    what = "" if is_share else "quality, "
    return [(what, "as it is"), (what, "random off"), (what, "own off")]


def _map(scored: Scored | None, is_share: bool) -> Fold | None:
    """Every deactivation against every language of questions."""
    if scored is None or not scored.off:
        return None
    columns = scored.languages
    held: dict[str, Mapping[str, float]] = {"nothing": scored.base, **({"random": scored.random} if scored.random else {}), **scored.off}
    cells = [[row.get(name) for name in columns] for row in held.values()]
    texts = [["" if value is None else _value(value, is_share).removesuffix(f"{PAGE.blank}%") for value in row] for row in cells]
    what = "Answers in the language of the question, per cent" if is_share else "Quality of the answers"
    drawn = heat(
        list(held), columns, cells, texts, title=f"{what}, by what is off", corner="off", floor=0.0 if is_share else 1.0, dense=True
    )
    return Fold(f"{what}, by whose units are off", (Figure(Markup(drawn), what, "natural"),))


def _quoted(question: Question) -> Quotation:
    """The answers that are to be compared; where there are none of them, whatever was answered with the units of other languages off."""
    names = {"": "as it is", question.language: f"{question.language} off", RANDOM: "random off"}
    shown = [off for off in names if off in question.answers] or list(question.answers)
    voices = (_voice(names.get(off, f"{off} off"), question.answers[off], question.language) for off in shown)
    return Quotation(question.id, Text.of(question.prompt), tuple(voices), code(question.language))


def steered_section(found: Sequence[Steered]) -> Section | None:
    """Answers steered into languages."""
    if not found:
        return None
    rows, folds, quotes, is_silent = [], [], list[Quotation](), False
    words = [f"{'; '.join(each.name for each in of)}: {sentence}" for sentence, of in remarks(found)]
    for each in found:
        accuracy, quality = each.accuracy or (None, None), each.quality or (None, None)
        shares = [_value(value, True) for value in accuracy]
        none = [f"\n{silent}" if silent else "" for silent in each.silence]
        change, *sure = each.certainty(SHARES).partition(" (")
        quiet = sure[-1].removesuffix(")")
        cells = [cell + more for cell, more in zip(shares, none, strict=True)]
        cells += [change + (f"\n{quiet}" if quiet else ""), *(_value(value, False) for value in quality)]
        rows.append((each.name, PAGE.number(each.number), *cells))
        is_silent = is_silent or any(each.silence)
        pairs = [_pair(pair, each) for pair in each.pairs[:SIDE_BY_SIDE]]
        first = FIRST if len(found) <= 3 else 1
        quotes += pairs[:first]
        more = f", the first {len(pairs)} of {len(each.pairs):,}" if len(pairs) < len(each.pairs) else ""
        folds += [Fold(f"More prompts: {each.name}{more}", quotes=tuple(pairs[first:]))] if pairs[first:] else []
    words += [SILENT] if is_silent else []
    head = ("steered", "prompts", "in that language before", "after", "change, in points", "quality before", "after")
    has_quality = any(each.quality for each in found)
    table = Table(
        "Answers in the language that was wanted", head if has_quality else head[:5], tuple(row if has_quality else row[:5] for row in rows)
    )
    how = "While the model writes, the units of the language that is wanted are activated; those of one that is to go are switched off."
    but = "An answer in the right language may still be a worse answer: read some."
    return Section("steered", "Steering", "Steered into a language", how, but, tuple(words), (), table, tuple(folds), quotes=tuple(quotes))


def _pair(pair: Pair, of: Steered) -> Quotation:
    voices = (_voice("before", pair.before, of.to), _voice("steered", pair.after, of.to))
    return Quotation(of.name, Text.of(pair.prompt), voices)


def _voice(name: str, said: Said, wanted: str) -> Voice:
    parts = [said.identified] if said.identified else []
    parts += [f"quality {said.quality:g}"] if said.quality is not None else []
    tone = "" if said.identified is None else "right" if same(wanted, said.identified) else "wrong"
    return Voice(name, Text.of(said.text) if said.text.strip() else Text("(nothing)"), ", ".join(parts), tone, code(said.identified or ""))


def code(language: str) -> str:
    """A language's code as a page may say it; "" for what is none."""
    return language.replace("_", "-") if _CODE.fullmatch(language) else ""


def _value(value: float | None, is_share: bool) -> str:
    return SHARES.value(value) if is_share else DASH if value is None else f"{value:.2f}"
