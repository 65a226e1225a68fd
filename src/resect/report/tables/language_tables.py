"""The tables of a run on corpora by language: each language's own text, answers to open questions, steered answers. Knows no page."""

from collections.abc import Sequence

from resect.core.exhibits import Cell, Table
from resect.core.number_format import DASH, PAGE, MetricFormat, NumberStyle, plural
from resect.report.readers.language_matrix import LanguageMatrix
from resect.report.readers.open_answers import OpenQuestionScores
from resect.report.readers.steering import SteeringResult
from resect.report.text.language_sentences import rise


def own_text_table(matrix: LanguageMatrix, style: NumberStyle = PAGE) -> Table:
    """For each language: its units, the change of its own text, the text that suffers next, and random units."""
    rows = []
    for place, name in enumerate(matrix.languages):
        following, ends = matrix.next_to(name), matrix.loss.interval[place][place]
        own = style.signed(matrix.own[place]) + ("" if ends is None else f"\n{style.signed(ends[0])} to {style.signed(ends[1])}")
        after = DASH if following is None else f"{style.signed(following[1])}\n{following[0]}"
        says = {True: "yes", False: "no", None: DASH}[matrix.largest[place]]
        sure = "yes" if name in matrix.sure else "no" if name in matrix.with_units else DASH
        random = style.signed(matrix.random[place])
        rows.append((name, matrix.units[place], own, rise(matrix.own[place], style), after, random, says, sure))
    title = "Change of the negative log-probability of a token, in nats. Clearly: the interval is above 0, random units and the next text"
    columns = ("language", "units", "its own text", "perplexity", "next most", "random units", "own is the largest", "clearly")
    return Table(title, columns, rows)


def questions_table(scores: OpenQuestionScores, style: NumberStyle = PAGE) -> Table | None:
    """By language of the question: without an edit, with random units and with its own units deactivated; None where nothing is known."""
    measures = [(measure, is_share) for measure, is_share in ((scores.accuracy, True), (scores.quality, False)) if measure is not None]
    rows = []
    for name in dict.fromkeys((*scores.n, *(name for measure, _ in measures for name in measure.languages))):
        cells = list[str]()
        for measure, is_share in measures:
            base, own, random = scores.uncounted(name) if is_share else ("", "", "")
            values = (measure.base.get(name), base), (measure.random.get(name), random), (measure.own(name), own)
            cells += [_value(value, is_share, style) + (f"\n{remark}" if remark else "") for value, remark in values]
        rows.append((name, scores.n.get(name), *cells))
    states = ("no unit deactivated", "random units", "own units")
    columns = [state if is_share else f"quality, {state}" for _, is_share in measures for state in states]
    title = " and ".join("in the language of the question" if is_share else "quality from 1 to 5" for _, is_share in measures)
    title = f"Answers {title}" if scores.accuracy else "Quality of the answers"
    return Table(title, ("questions in", "number", *columns), rows) if measures and rows else None


def steering_table(results: Sequence[SteeringResult], style: NumberStyle = PAGE) -> Table:
    """For each result: the answers in the language that was requested before and after, the change, the quality."""
    shares, rows = MetricFormat("accuracy", style), list[tuple[Cell, ...]]()
    for result in results:
        accuracy, quality = result.accuracy or (None, None), result.quality or (None, None)
        cells = [shares.value(value) + (f"\n{note}" if note else "") for value, note in zip(accuracy, result.uncounted, strict=True)]
        change, _, sure = result.change(shares).partition(" (")
        change += f"\n{sure.removesuffix(')')}" if sure else ""
        rows.append((result.name, result.number, *cells, change, *(_value(rating, False, style) for rating in quality)))
    columns = ("steered", "prompts", "in that language before", "after", "change, in points", "quality before", "after")
    used = len(columns) if any(result.quality for result in results) else 5
    return Table("Answers in the language that was requested", columns[:used], [row[:used] for row in rows])


def strengths_table(result: SteeringResult, style: NumberStyle = PAGE) -> Table | None:
    """What each strength does to the answers that chose one; the chosen one stands out. None where the strength was requested."""
    choice = result.choice
    if choice is None:
        return None
    rows = list[tuple[Cell, ...]]()
    tried = [*([] if choice.unsteered is None else [choice.unsteered]), *choice.tried]
    for each in tried:
        shares = (each.language_accuracy, each.repetition, each.most_frequent)
        empty = DASH if each.empty is None else f"{each.empty:,}"
        name = "no steering" if each.strength is None else f"{each.strength:g}"
        rows.append((name, *map(style.percent, shares), empty, "\n".join(each.breaks) or ("" if each.strength is None else "none")))
    strong = [place for place, each in enumerate(tried) if each.strength == choice.chosen]
    title = f"Strengths that were tried on {plural(choice.n, 'prompts')}: {result.name}"
    columns = ("strength", "language accuracy", "repetition", "same answer", "empty", "guards broken")
    return Table(title, columns, rows, strong=strong)


def _value(value: float | None, is_share: bool, style: NumberStyle) -> str:
    return MetricFormat("accuracy", style).value(value) if is_share else DASH if value is None else f"{value:.2f}"
