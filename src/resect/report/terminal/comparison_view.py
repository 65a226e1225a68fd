"""A comparison on a terminal: the measurements, the change, means by tag, side effects and other metrics. Knows no run folder."""

from rich.console import RenderableType
from rich.text import Text

from resect.core.number_format import PLAIN, MetricFormat, few_groups_note, plural, sample_sizes
from resect.report.readers.plan_summary import PlanSummary
from resect.report.tables import kind_tables as kinds
from resect.report.tables import run_tables as tables
from resect.report.text.printable import plain
from resect.report.text.split_table import drawn
from resect.report.text.verdict import answer_changes
from resect.runs.reference_scores import balanced_note, frequent_sentence
from resect.runs.schemas.comparison import ComparisonFile

from .blocks import indented, under

TAGS_SHOWN = 8


def evaluated(comparison: ComparisonFile) -> str:
    """How much was evaluated."""
    note = few_groups_note(comparison.n_groups, MetricFormat(comparison.metric).is_share)
    if comparison.is_plain_text:
        what = f"on text that the search never saw: {plural(comparison.n_examples, 'passages')}"
    else:
        what = f"on held-out data: {sample_sizes(comparison.counts())}"
    return f"{what}\n{note}" if note else what


def outcome(comparison: ComparisonFile, plan: PlanSummary) -> list[RenderableType]:
    """Before, after, control and baselines, and the change."""
    table = tables.result_table(comparison, plan, tables.figures_of(comparison, PLAIN), with_other_way=True)
    changed = [] if comparison.difference is None else [difference(comparison)]
    return [drawn(table), *changed]


def difference(comparison: ComparisonFile) -> Text:
    """The change with its interval and p-value, and how many answers were fixed and broken."""
    figures, change = tables.figures_of(comparison, PLAIN), comparison.difference
    if change is None:
        return Text("Nothing was compared.")
    test = f", {plain(change.test)}" if change.test else ""
    sure = f"95 % interval {figures.change_interval(change.interval)}; {PLAIN.p_value(change.p_value)}{test}"
    answers = "" if comparison.is_plain_text else answer_changes(comparison, figures)
    return Text(f"change {figures.change(change.mean, unit=True)} ({sure})" + (f"\n{answers}" if answers else ""))


def details(comparison: ComparisonFile) -> list[RenderableType]:
    """Means by tag, other metrics, side effects and bias scores, each under a heading."""
    figures, others = tables.figures_of(comparison, PLAIN), comparison.other_metrics
    notes = []
    if others.trials is not None and others.trials.edited:
        notes.append(f"trials: {', '.join(map(figures.value, others.trials.edited))} (spread {figures.value(others.trials.std)})")
    unmatched = None if others.generation is None else others.generation.unmatched
    if unmatched is not None and (unmatched.base or unmatched.edited):
        notes.append(f"generated texts that match no choice: {MetricFormat().pair(unmatched.base, unmatched.edited)}")
    if tables.is_perplexity_broken(comparison):
        notes.append("Plain text is beyond this model: its perplexity says nothing.")
    bias, left_out = tables.bias_table(comparison, PLAIN), "" if comparison.bias_scores is None else comparison.bias_scores.left_out
    if bias is not None:
        notes.append("Below a bias score: its 95 % interval over groups, and the number of answers that name a person.")
    if left_out:
        notes.append(f"Bias scores: {left_out}")
    tags, options = kinds.tag_table(comparison, figures, is_drawn=False), kinds.positions_table(comparison, PLAIN)
    parts = {
        "By tag": (tags, balanced_note(comparison)),
        "How answers spread over the options": (options, frequent_sentence(comparison)),
        "Other metrics": (tables.other_metrics_table(comparison, PLAIN), ""),
        "Side effects": (tables.side_effects_table(comparison, PLAIN), ""),
        "Bias scores (0 none; +1 all answers with the stereotype, -1 all against it)": (bias, ""),
    }
    blocks = list[RenderableType]()
    for heading, (table, note) in parts.items():
        blocks += [] if table is None else under(heading, drawn(table, TAGS_SHOWN))
        blocks += [] if table is None or not note else [indented(Text(plain(note)))]
        notes += [note] if table is None and note else []
    return [*blocks, *map(Text, map(plain, notes))]
