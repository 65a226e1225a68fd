"""What a model answered, quoted: answers that changed, open questions with units deactivated, steered answers. Knows no file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from resect.core.exhibits import SHARE, HeatMap
from resect.core.number_format import plural
from resect.report.readers.open_answers import (
    RANDOM,
    AnswerScores,
    OpenQuestionScores,
    QuestionAnswers,
    WrittenAnswer,
    empty_answers,
    is_same_language,
)
from resect.report.readers.plan_summary import PlanSummary
from resect.report.readers.steering import AnswerPair, SteeringResult, remarks
from resect.report.tables.language_tables import questions_table, steering_table, strengths_table
from resect.report.text.changed_answers import AnswerKind, ChangedExample, QuotedText

from .blocks import Answer, Block, Fold, Heading, Listing, Paragraph, Quotation, Quotations, Section
from .exhibit_section import exhibit_blocks

#: Questions of a language that are quoted; languages whose first one is not folded; steered prompts that are quoted, and not folded.
QUOTED, OPEN, SIDE_BY_SIDE, FIRST = 5, 3, 40, 2
UNCOUNTED = "Empty answers, and those whose language is unclear (mostly because they are short), count as in no language."
KINDS = {"fixed": "Fixed", "broken": "Broken", "other": "Wrong before and after"}
_CODE = re.compile("[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


def changed_section(
    kinds: Sequence[AnswerKind], instructions: Sequence[str], plan: PlanSummary, *, is_lost: bool, has_trials: bool
) -> Section:
    """Returns the answers that changed, by kind. `is_lost`: they could not be read; `has_trials`: they are those of the first trial."""
    blocks = list[Block]()
    if is_lost:
        blocks.append(Paragraph("No answers can be shown: they could not be read.", "note"))
    if len(instructions) > 1:
        lines = Listing([(line, "") for line in instructions], is_numbered=True)
        blocks.append(Fold(f"The {len(instructions)} instructions, by number", (lines,), is_printed=True))
    for kind in kinds:
        blocks.append(Heading(f"{KINDS[kind.name]}: {plural(kind.pairs, 'answers')} to {plural(kind.total, 'examples')}"))
        blocks.append(Quotations([_changed(example, kind.name) for example in kind.open]))
        if kind.folded:
            blocks.append(Fold(f"Show {len(kind.folded):,} more", (Quotations([_changed(example, kind.name) for example in kind.folded]),)))
        if kind.left_out:
            more = f"{kind.left_out:,} more are left out, to keep this page small; examples.jsonl in the run folder has all of them."
            blocks.append(Paragraph(more, "note"))
    first = " They are those of the first trial." if has_trials else ""
    about = f"One entry for each example, with the answers before and after the {plan.noun}. Instructions are given by number.{first}"
    licence = Paragraph("What follows quotes the task's data. Its licence may forbid passing it on.", "quote")
    return Section("examples", "Changed answers", "Answers that changed", (about, licence), blocks)


def _changed(example: ChangedExample, kind: str) -> Quotation:
    gold = "" if kind in ("fixed", "broken") else example.gold.teaser or example.gold.whole
    rows = [
        ((_judged("before", answer.before, kind == "broken"), _judged("after", answer.after, kind == "fixed")), answer.under)
        for answer in example.answers
    ]
    return Quotation(example.id, example.prompt, rows, example.tags, gold)


def _judged(name: str, text: QuotedText, is_right: bool) -> Answer:
    word = "right" if is_right else "wrong"
    return Answer(name, text, word, word)


def questions_section(scores: OpenQuestionScores | None, questions: Sequence[QuestionAnswers]) -> Section:
    """Returns answers to open questions with units of languages deactivated."""
    blocks, folds = list[Block](), list[Fold]()
    if scores is not None:
        scores = scores if scores.empty else replace(scores, empty=empty_answers(questions))
        blocks += map(Paragraph, _about_questions(scores))
        table = questions_table(scores)
        blocks += [] if table is None else [table]
        folds = [fold for fold in (_by_deactivation(scores.accuracy, True), _by_deactivation(scores.quality, False)) if fold is not None]
    by_language: dict[str, list[QuestionAnswers]] = {}
    for question in questions:
        by_language.setdefault(question.language, []).append(question)
    if questions:
        is_cut = any(len(group) > QUOTED for group in by_language.values())
        quoted = f"the first {QUOTED} questions of each language" if is_cut else "all questions"
        blocks.append(Paragraph(f"Quoted: {quoted}. With the units of other languages deactivated: answers.jsonl in the run folder."))
        blocks.append(Quotations([_question(group[0]) for group in list(by_language.values())[:OPEN]], is_wide=True))
    for place, (language, group) in enumerate(by_language.items()):
        first, title = (1, f"More questions in {language}") if place < OPEN else (0, f"Questions in {language}")
        rest = [_question(question) for question in group[first:QUOTED]]
        folds += [Fold(title, (Quotations(rest, is_wide=True),))] if rest else []
    how = "Open questions, answered with no unit deactivated, with the units of the question's own language, and with as many random units."
    but = "Language: of each answer, by a language identifier; it cannot tell short ones. Quality: a rating by a judge model."
    return Section("questions", "Open questions", "Answers to open questions", (how, but), (*blocks, *folds))


def _about_questions(scores: OpenQuestionScores) -> list[str]:
    size = "" if scores.new_tokens is None else f", answers of at most {scores.new_tokens:,} tokens"
    sentences = [f"{plural(sum(scores.n.values()), 'questions')} in {plural(len(scores.n), 'languages')}{size}."] if scores.n else []
    sentences += [UNCOUNTED] if any(any(scores.uncounted(name)) for name in scores.n) else []
    sentences += [] if scores.accuracy else ["The language of the answers was not identified."]
    sentences += [] if scores.quality else ["The answers were not rated: their quality is not known."]
    sentences += [f"{plural(scores.unjudged, 'answers')} got no rating, and count nowhere."] if scores.unjudged else []
    return sentences


def _by_deactivation(measure: AnswerScores | None, is_share: bool) -> Fold | None:
    """Every deactivation by every language of questions."""
    if measure is None or not measure.deactivated:
        return None
    random = {"random": measure.random} if measure.random else {}
    rows: dict[str, Mapping[str, float]] = {"none": measure.base, **random, **measure.deactivated}
    values = tuple(tuple(row.get(name) for name in measure.languages) for row in rows.values())
    title = "Share of answers in the language of the question" if is_share else "Quality of the answers"
    title = f"{title}, by whose units are deactivated"
    form: dict[str, Any] = {"unit": SHARE} if is_share else {"digits": 2, "center": 1.0}
    drawn = HeatMap(title, tuple(rows), measure.languages, values, corner="deactivated", **form)
    return Fold(drawn.title, exhibit_blocks([drawn], headings=False))


def _question(question: QuestionAnswers) -> Quotation:
    """The answers that are to be compared; where there are none of them, those with the units of other languages deactivated."""
    names = {"": "no unit deactivated", question.language: f"units of {question.language} deactivated", RANDOM: "random units deactivated"}
    shown = [off for off in names if off in question.answers] or list(question.answers)
    answers = [_answer(names.get(off, f"units of {off} deactivated"), question.answers[off], question.language) for off in shown]
    return Quotation(question.id, QuotedText.of(question.prompt), ((answers, ""),), language=language_code(question.language))


def steering_section(results: Sequence[SteeringResult]) -> Section:
    """Returns answers steered into languages."""
    folds, first = list[Fold](), list[Quotation]()
    for result in results:
        quotations = [_steered(pair, result) for pair in result.pairs[:SIDE_BY_SIDE]]
        shown = FIRST if len(results) <= 3 else 1
        first += quotations[:shown]
        more = f", the first {len(quotations)} of {len(result.pairs):,}" if len(quotations) < len(result.pairs) else ""
        folds += [Fold(f"More prompts: {result.name}{more}", (Quotations(quotations[shown:], is_wide=True),))] if quotations[shown:] else []
    sentences = [f"{'; '.join(result.name for result in of)}: {sentence}" for sentence, of in remarks(results)]
    sentences += [UNCOUNTED] if any(any(result.uncounted) for result in results) else []
    how = "While the model writes, the units of the requested language are activated; those of the language to leave are deactivated."
    but = "An answer in the right language may still be a worse answer: read some."
    tried = [table for table in map(strengths_table, results) if table is not None]
    blocks: list[Block] = [*map(Paragraph, sentences), steering_table(results), *tried, Quotations(first, is_wide=True), *folds]
    return Section("steered", "Steering", "Steered into a language", (how, but), blocks)


def _steered(pair: AnswerPair, result: SteeringResult) -> Quotation:
    answers = (_answer("before", pair.before, result.to), _answer("steered", pair.after, result.to))
    return Quotation(result.name, QuotedText.of(pair.prompt), ((answers, ""),))


def _answer(name: str, answer: WrittenAnswer, wanted: str) -> Answer:
    identified = answer.identified
    remarks_on = [identified] if identified else []
    remarks_on += [] if answer.quality is None else [f"quality {answer.quality:g}"]
    tone = "" if identified is None else "right" if is_same_language(wanted, identified) else "wrong"
    text = QuotedText.of(answer.text) if answer.text.strip() else QuotedText("(nothing)")
    return Answer(name, text, ", ".join(remarks_on), tone, language_code(identified or ""))


def language_code(language: str) -> str:
    """Returns a language's code as an HTML page may hold it; empty for what is no code."""
    return language.replace("_", "-") if _CODE.fullmatch(language) else ""
