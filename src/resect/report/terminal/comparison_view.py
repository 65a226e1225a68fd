"""A comparison on a terminal: the measurements, the change, means by tag, side effects and other metrics. Knows no run folder."""

from rich import box
from rich.table import Table
from rich.text import Text

from resect.core.number_format import BROKEN_PERPLEXITY, DASH, PLAIN, MetricFormat, before_after, few_groups_note, plural, sample_sizes
from resect.report.text.printable import plain
from resect.report.text.verdict import answer_changes, has_spread
from resect.runs.schemas.comparison import BiasScore, ComparisonFile, Measurement, MetricComparison

#: The two ways of answering: the choice of highest probability, and the text that is generated.
METRIC_WORDS = {"accuracy": "scored", "generation": "generated"}
TAGS_SHOWN = 8


def evaluated(comparison: ComparisonFile) -> str:
    """How much was evaluated."""
    note = few_groups_note(comparison.n_groups)
    if comparison.is_plain_text:
        what = f"on text that the search never saw: {plural(comparison.n_examples, 'passages')}"
    else:
        what = f"on held-out data: {sample_sizes(comparison.counts())}"
    return f"{what}\n{note}" if note else what


def outcome(comparison: ComparisonFile) -> Table:
    """Before, after, control and baselines: the mean with its interval, the mean by the other way of answering, the spread."""
    figures, spreads = MetricFormat(comparison.metric), has_spread(comparison)
    other_name, other = other_way(comparison)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    headings = [METRIC_WORDS.get(comparison.metric, comparison.metric), "95 % interval", *([other_name] if other else [])]
    for heading in (*headings, *(["± instructions"] if spreads else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, key, measured in measurements(comparison):
        cells = [figures.value(measured.mean), figures.interval(measured.interval)]
        if other is not None:
            beside: Measurement | None = getattr(other, key, None)
            cells.append(figures.value(None if beside is None else beside.mean))
        cells += [figures.value(measured.std_over_instructions)] if spreads else []
        table.add_row(label, *cells, style="bold" if label == "after" else "")
    for name, baseline in (other.baselines if other is not None else {}).items():  # of the accuracy, whatever else is compared
        if baseline is not None:
            table.add_row(plain(name.upper()), DASH, DASH, figures.value(baseline.mean), *([DASH] if spreads else []))
    return table


def measurements(comparison: ComparisonFile) -> list[tuple[str, str, Measurement]]:
    """Before, after, control and baselines: label, key, measurement."""
    rows = [("before", "base", comparison.base), ("after", "edited", comparison.edited), ("control", "control", comparison.control)]
    rows += [(plain(name.upper()), name, baseline) for name, baseline in comparison.baselines.items()]
    return [(label, key, measured) for label, key, measured in rows if measured is not None]


def other_way(comparison: ComparisonFile) -> tuple[str, MetricComparison | None]:
    """The other way of answering: its heading, and its numbers; None where it was not measured."""
    others = comparison.other_metrics
    for name, other in (("generation", others.generation), ("accuracy", others.accuracy)):
        if other is not None and comparison.metric not in (name, "logloss"):
            return METRIC_WORDS[name], other
    return "", None


def difference(comparison: ComparisonFile) -> Text:
    """The change with its interval and p-value, and how many answers were fixed and broken."""
    figures, change = MetricFormat(comparison.metric), comparison.difference
    if change is None:
        return Text("Nothing was compared.")
    test = f", {plain(change.test)}" if change.test else ""
    sure = f"95 % interval {figures.change_interval(change.interval)}; {PLAIN.p_value(change.p_value)}{test}"
    answers = "" if comparison.is_plain_text else answer_changes(comparison, figures)
    return Text(f"change {figures.change(change.mean, unit=True)} ({sure})" + (f"\n{answers}" if answers else ""))


def means_by_tag(comparison: ComparisonFile) -> Table | None:
    """Before, after, control and baselines for each tag of the examples; what was not measured has no column."""
    measured = {label: found for label, _, found in measurements(comparison)}
    tags = list(comparison.base.by_tag)
    total = [tag for tag in tags if all(found.by_tag.get(tag) == found.mean for found in measured.values())]
    if len(total) == 1:  # a tag that all examples carry says nothing that the total does not
        tags.remove(total[0])
    if not tags:
        return None
    figures, table = MetricFormat(comparison.metric), Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("", *measured):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=bool(heading))
    for tag in tags[:TAGS_SHOWN]:
        table.add_row(plain(tag), *(figures.value(found.by_tag.get(tag)) for found in measured.values()))
    if len(tags) > TAGS_SHOWN:
        table.add_row(f"… and {len(tags) - TAGS_SHOWN} more")
    return table


def side_effects(comparison: ComparisonFile) -> Text | None:
    """The spread over trials, other metrics, perplexity, other tasks, bias scores."""
    lines = [*_other_metrics(comparison), *_side_effects(comparison), *_bias_scores(comparison)]
    return Text("\n".join(lines)) if lines else None


def _other_metrics(comparison: ComparisonFile) -> list[str]:
    figures, others, lines = MetricFormat(comparison.metric), comparison.other_metrics, []
    if others.trials is not None and others.trials.edited:
        lines.append(f"trials: {', '.join(map(figures.value, others.trials.edited))} (spread {figures.value(others.trials.std)})")
    unmatched = others.generation.unmatched if others.generation is not None else None
    if unmatched is not None and (unmatched.base or unmatched.edited):
        lines.append(f"generated texts that match no choice: {before_after(PLAIN.percent, unmatched.base, unmatched.edited)}")
    in_columns = {"accuracy", "generation"} if other_way(comparison)[1] else set[str]()
    for name, other in others.metrics.items():
        if name not in in_columns and other.base is not None:
            better = " (less is better)" if MetricFormat(name).gain(1.0) < 0 else ""
            after = None if other.edited is None else other.edited.mean
            lines.append(f"{plain(name)}{better}: {MetricFormat(name).pair(other.base.mean, after)}")
    if others.paraphrases is not None:
        pair = MetricFormat().pair(others.paraphrases.base, others.paraphrases.edited)
        lines.append(f"facts that are right in every paraphrase: {pair}")
    return lines


def _side_effects(comparison: ComparisonFile) -> list[str]:
    lines = []
    for name, effect in comparison.side_effects.items():
        if effect is None or effect.base is None:
            continue
        if name == "perplexity":
            broken = "  (this text is beyond the model: it says nothing)" if effect.base > BROKEN_PERPLEXITY else ""
            pair = before_after(PLAIN.number, effect.base, effect.edited)
            lines.append(f"{plain(effect.kind or name)} on plain text: {pair}{broken}")
        else:
            figures, change = MetricFormat(effect.metric or "accuracy"), effect.difference
            sure = f" (95 % interval of the change {figures.change_interval(change.interval)})" if change is not None else ""
            lines.append(f"{plain(name)}: {figures.pair(effect.base, effect.edited)}{sure}")
    return lines


def _bias_scores(comparison: ComparisonFile) -> list[str]:
    scores = comparison.bias_scores
    if scores is None or scores.base is None:
        return []
    after = scores.edited or BiasScore()
    pairs = [("ambig", scores.base.ambig, after.ambig), ("disambig", scores.base.disambig, after.disambig)]
    meaning = "0 none; +1 all answers with the stereotype, -1 all against it"
    return [
        f"bias score, {name} ({meaning}): {before_after(PLAIN.signed, first, last)}" for name, first, last in pairs if first is not None
    ]
