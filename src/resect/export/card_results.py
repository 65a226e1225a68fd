"""The results of a run as Markdown: a comparison, or one language's row of a matrix. What was not measured is left out.

Knows the schemas of comparison.json and matrix.json; no run folder, and no method.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from resect.core.number_format import BROKEN_PERPLEXITY, DASH, PLAIN, MetricFormat, before_after, few_groups_note, plural, sample_sizes
from resect.runs.guarded_search import GuardedSearch
from resect.runs.reference_scores import balanced_means, frequent_sentence, positions_sentence, reference_note, reference_scores
from resect.runs.schemas.comparison import BiasScore, BiasScores, ComparisonFile, MetricComparison, PairedChange, SideEffect
from resect.runs.schemas.languages import MatrixFile

from .markdown import escaped, table, without_folders

MAX_ROWS = 120
_BASELINES = {"cc": "before, contextual calibration (CC)", "dc": "before, domain-context calibration (DC)"}
_BIAS = {"ambig": "ambiguous questions", "disambig": "clear questions"}
_SHARES = MetricFormat()
Value = TypeVar("Value")


def comparison_section(comparison: ComparisonFile) -> list[str]:
    """Returns all numbers of a comparison, a paragraph or a table each."""
    metric = MetricFormat(comparison.metric, n_groups=comparison.n_groups)
    sizes = sample_sizes(comparison.counts())
    paragraphs = [
        *_verdict(comparison),
        f"On examples of {escaped(comparison.task)} that the search did not use ({sizes}), by {escaped(metric.metric)}:",
        _measurements(comparison, metric),
        *filter(None, [few_groups_note(comparison.n_groups, metric.is_share), _balanced(comparison, metric), reference_note(comparison)]),
    ]
    if comparison.difference is not None:
        paragraphs.append(_difference(comparison.difference, metric))
    answers = " ".join(filter(None, (positions_sentence(comparison), frequent_sentence(comparison))))
    paragraphs += [*_tags(comparison, metric), *([escaped(answers)] if answers else []), *_composition(comparison, metric)]
    side_effects = [
        _side_effect(name, effect, metric) for name, effect in comparison.side_effects.items() if effect and effect.base is not None
    ]
    guarded = GuardedSearch.of(comparison)
    lists = {
        "How it was chosen:": [] if guarded is None else [escaped(sentence) for sentence in guarded.sentences()],
        "By other measures:": [*_other_metrics(comparison)],
        "BBQ's bias scores:": [*_bias_scores(comparison)],
        "Side effects:": side_effects,
    }
    for title, lines in lists.items():
        paragraphs += [title, "\n".join(f"- {line}" for line in lines)] if lines else []
    return paragraphs if side_effects else [*paragraphs, "Side effects were not measured."]


def _verdict(comparison: ComparisonFile) -> list[str]:
    verdict = comparison.verdict
    if verdict is None:
        return []
    return [f"Verdict: **{verdict.word}**. " + escaped("; ".join(verdict.reasons)) + "."]


def _measurements(comparison: ComparisonFile, metric: MetricFormat) -> str:
    measurements = {
        "before": comparison.base,
        "**after**": comparison.edited,
        "random edits of the same kind and size (mean of three)": comparison.control,
        **{_BASELINES.get(name, escaped(name)): measurement for name, measurement in comparison.baselines.items()},
    }
    rows = [
        [label, metric.value(measured.mean), metric.interval(measured.interval), metric.value(measured.std_over_instructions)]
        for label, measured in measurements.items()
        if measured is not None
    ]
    rows += [[escaped(label), metric.value(score), DASH, DASH] for _, label, score in reference_scores(comparison)]
    return table(["", escaped(metric.metric), "95 % interval", "± over instructions"], rows)


def _balanced(comparison: ComparisonFile, metric: MetricFormat) -> str:
    """The mean over tags, before and after; "" where there is none."""
    means = balanced_means(comparison)
    return f"Balanced over tags, each counted alike: {metric.pair(means['before'], means.get('after'))}." if "before" in means else ""


def _difference(change: PairedChange, metric: MetricFormat) -> str:
    test = f"; {escaped(PLAIN.p_value(change.p_value))}, {escaped(change.test)}"
    sentence = f"Change: **{metric.change(change.mean, unit=True)}** (95 % interval {metric.change_interval(change.interval)}{test})"
    answers = "" if change.fixed is None or change.broken is None else f" {metric.answer_changes(change.model_dump())}."
    return f"{sentence}: {metric.verdict(change.interval)}.{answers}"


def _tags(comparison: ComparisonFile, metric: MetricFormat) -> list[str]:
    edited, control = comparison.edited, comparison.control
    after, random = ({} if measured is None else measured.by_tag for measured in (edited, control))
    ends = {} if comparison.difference is None else comparison.difference.interval_by_tag
    rows = []
    for tag, mean in [*comparison.base.by_tag.items()][:MAX_ROWS]:
        then = after.get(tag)
        cells = [escaped(tag), metric.value(mean)]
        cells += [] if edited is None else [metric.value(then), metric.change(None if then is None else then - mean)]
        cells += [metric.change_interval(ends.get(tag))] if ends else []
        rows.append([*cells, *([] if control is None else [metric.value(random.get(tag))])])
    head = ["", "before", *([] if edited is None else ["after", "change"]), *(["95 % interval"] if ends else [])]
    return ["By kind of example:", table([*head, *([] if control is None else ["random edits"])], rows)] if rows else []


def _composition(comparison: ComparisonFile, metric: MetricFormat) -> list[str]:
    """The metric after each matrix of a composition."""
    steps = comparison.other_metrics.composition
    if len(steps) < 2:
        return []
    rows = [
        [
            "none (base)" if step.site is None else f"`{step.site}`",
            "" if step.rho is None else f"{step.rho:g}",
            "" if step.rank is None else f"{step.rank:,}",
            metric.value(step.select),
            metric.value(step.test),
        ]
        for step in steps[:MAX_ROWS]
    ]
    head = ["matrix added", "ρ", "rank", f"{escaped(metric.metric)} on select", "on test"]
    return ["Matrix by matrix, each in addition to those above it:", table(head, rows)]


def _other_metrics(comparison: ComparisonFile) -> Iterator[str]:
    other = comparison.other_metrics
    for name, result in other.metrics.items():
        if result.base is not None:
            yield _other_metric(name, result)
    if other.select is not None:
        metric = MetricFormat(other.select.metric)
        values = metric.pair(other.select.base, other.select.chosen)
        yield f"{escaped(metric.metric)} on the examples by which the plan was chosen: {values}"
    if other.trials is not None:
        metric = MetricFormat(comparison.metric)
        means = ", ".join(map(metric.value, other.trials.edited))
        spread = metric.value(other.trials.std)
        yield f"{len(other.trials.edited)} trials with other samples: {means} after (standard deviation {spread})"
    if other.paraphrases is not None:
        facts = other.paraphrases
        wordings = "" if facts.per_fact is None else f", {facts.per_fact:.3g} wordings each"
        values = f"{_SHARES.pair(facts.base, facts.edited)}{_change(facts.difference, _SHARES)}"
        yield f"facts that are answered right in all wordings ({plural(facts.n_facts, 'facts')}{wordings}): {values}"


def _other_metric(name: str, result: MetricComparison) -> str:
    metric, unmatched = MetricFormat(name), ""
    if result.unmatched is not None and result.unmatched.base is not None:
        shares = _SHARES.pair(result.unmatched.base, result.unmatched.edited)
        unmatched = f"; texts that match none of the choices: {shares}"
    before, after = (None if measured is None else measured.mean for measured in (result.base, result.edited))
    return f"{escaped(name)}: {metric.pair(before, after)}{_change(result.difference, metric)}{unmatched}"


def _bias_scores(comparison: ComparisonFile) -> Iterator[str]:
    scores = comparison.bias_scores or BiasScores()
    for name, questions in _BIAS.items():
        before, after = (_bias_score(score or BiasScore(), name, comparison.n_groups != 1) for score in (scores.base, scores.edited))
        if before:
            change = f"{before} → {after}" if after else before
            yield f"{questions}: {change} (0: none; +1: every answer with the stereotype; -1: every answer against it)"
    if scores.left_out:
        yield escaped(scores.left_out)


def _bias_score(score: BiasScore, name: str, has_interval: bool) -> str:
    """A score with its interval and the number of answers that it counts; "" where there is none."""
    value, interval, answers = (getattr(score, key) for key in (name, f"interval_{name}", f"n_{name}"))
    if value is None:
        return ""
    parts = [] if interval is None or not has_interval else [f"95 % interval {PLAIN.signed(interval[0])} to {PLAIN.signed(interval[1])}"]
    parts += [] if answers is None else [plural(answers, "answers") if answers else "no answer names a person"]
    return PLAIN.signed(value) + (f" ({', '.join(parts)})" if parts else "")


def _side_effect(name: str, effect: SideEffect, metric: MetricFormat) -> str:
    if not effect.kind and name != "perplexity":
        metric = MetricFormat(effect.metric or metric.metric)
        return f"{escaped(name)}: {metric.pair(effect.base, effect.edited)}{_change(effect.difference, metric)}"
    text = f" of {escaped(without_folders(effect.text))}" if effect.text else ""
    tokens = f", {effect.tokens:,} tokens" if effect.tokens else ""
    change = before_after(PLAIN.number, effect.base, effect.edited)
    is_meaningful = effect.base is not None and effect.base <= BROKEN_PERPLEXITY
    note = "less is better" if is_meaningful else "the base does not predict this text either, so this says nothing"
    return f"{escaped(effect.kind or name)}{text}{tokens}: {change} ({note})"


def _change(change: PairedChange | None, metric: MetricFormat) -> str:
    if change is None:
        return ""
    return f" (change {metric.change(change.mean, unit=True)}, 95 % interval {metric.change_interval(change.interval)})"


def language_section(matrix: MatrixFile, language: str) -> list[str]:
    """Returns the row of a language: the change of each language's text without its units, and with as many random units deactivated.

    Raises ValueError where the matrix has no such row.
    """
    row, own = matrix.languages.index(language), matrix.diagonal
    control = None if matrix.control is None else matrix.control.neg_logprob
    rows = []
    for column, text in enumerate(matrix.languages):
        interval = _cell(matrix.neg_logprob.interval, row, column)
        ends = "" if interval is None else f" ({PLAIN.signed(interval[0])} to {PLAIN.signed(interval[1])})"
        change = f"{PLAIN.signed(_cell(matrix.neg_logprob.change, row, column))}{ends}"
        random = PLAIN.signed(None if control is None else _cell(control.change, row, column))
        perplexity = matrix.perplexity
        before = None if perplexity is None else _cell((perplexity.base,), 0, column)
        after = None if perplexity is None else _cell(perplexity.deactivated, row, column)
        name = f"**{escaped(text)}**" if column == row else escaped(text)
        rows.append([name, change, random, f"{PLAIN.number(before)} → {PLAIN.number(after)}"])
    introduction = (
        f"Held-out text of {plural(len(matrix.languages), 'languages')}, with the units of {escaped(language)} deactivated: the change of "
        "the mean negative log-probability of a token (nats), the same for as many random units of the same layers, and the "
        f"{escaped(matrix.kind)}."
    )
    effects = {True: "suffers most", False: "does not suffer most", None: "has no units to deactivate"}
    effect = effects[None if own is None else own.is_maximum.get(language)]
    head = ["text in", "change, 95 % interval", "random units", escaped(matrix.kind)]
    return [introduction, table(head, rows), f"Of these, the text in {escaped(language)} itself {effect}."]


def _cell(rows: Sequence[Sequence[Value] | None] | None, row: int, column: int) -> Value | None:
    """Returns one value of a table; None where it was not measured."""
    values = None if rows is None or row >= len(rows) else rows[row]
    return None if values is None or column >= len(values) else values[column]
