"""Before and after as sections of a page: the measurements with their intervals, by tag, side effects, trials. Knows no file."""

from markupsafe import Markup

from resect.core.number_format import PAGE, MetricFormat, few_groups_note
from resect.report.charts.interval_chart import IntervalRow, interval_chart
from resect.report.readers.plan_summary import PlanSummary
from resect.report.readers.run_contents import RunContents
from resect.report.tables import kind_tables as kinds
from resect.report.tables import run_tables as tables
from resect.report.text.verdict import has_spread
from resect.report.text.words import answered
from resect.runs.reference_scores import balanced_note, frequent_sentence, reference_note, reference_scores
from resect.runs.schemas.comparison import ComparisonFile

from .blocks import Block, Change, Figure, Figures, Fold, Paragraph, Section, folded


def comparison_sections(comparison: ComparisonFile, plan: PlanSummary) -> list[Section]:
    """Returns the sections on what was measured before and after."""
    figures = tables.figures_of(comparison)
    sections, tags, intervals = (
        [_result(comparison, plan)],
        kinds.tag_table(comparison, figures),
        kinds.tag_interval_table(comparison, figures),
    )
    if tags is not None:
        about = "Means by tag. An example may have several tags. The hollow mark is before, the filled one after."
        blocks = [
            folded(tags),
            *([] if intervals is None else [Fold("Before and after with 95 % intervals", (intervals,), is_printed=True)]),
        ]
        sections.append(Section("tags", "By kind", "By kind of example", (about,), blocks))
    return [*sections, *_options(comparison)]


def _options(comparison: ComparisonFile) -> list[Section]:
    """How answers spread over the options, and the kind of answer that is given most often where it is wrong."""
    table, frequent = kinds.positions_table(comparison), frequent_sentence(comparison, PAGE)
    blocks: list[Block] = [*([] if table is None else [table]), *([Paragraph(frequent)] if frequent else [])]
    about = "A model that is drawn to one option, or to one kind of answer, may gain where that answer is right, and lose elsewhere."
    return [Section("options", "Options", "By option", (about,), blocks)] if blocks else []


def _result(comparison: ComparisonFile, plan: PlanSummary) -> Section:
    """The measurements on the test split, by the main metric and by others."""
    figures, title = tables.figures_of(comparison), f"{comparison.metric} with 95 % intervals"
    references = {kind: (label, score) for kind, label, score in reference_scores(comparison)}
    rows = [
        IntervalRow(label, outcome.mean, None if comparison.n_groups == 1 else outcome.interval, kind)
        for kind, label, outcome in tables.estimates(comparison, plan)
    ]
    rows += [IntervalRow(*references["constant"], kind="constant")] if "constant" in references else []
    chart = interval_chart(rows, title=title, is_share=figures.is_share, reference=comparison.base.mean, named=references.get("chance"))
    figure, change = Figure(Markup(chart), title), tables.change_sentences(comparison, figures)
    blocks: list[Block] = [Figures((figure,)) if change is None else Change(figure, "change, answer by answer", *change)]
    blocks += [
        tables.result_table(comparison, plan, figures),
        *(Paragraph(about, "note") for about in _about_rows(comparison, plan) if about),
    ]
    others, both = tables.other_metrics_table(comparison), tables.scored_and_generated(comparison, plan)
    blocks += [] if others is None else [others]
    if both is not None:
        note = "By scoring, the most probable choice is the answer. By generation, the model writes it; what matches no choice is wrong."
        blocks += [both, Paragraph(note, "note")]
    elif others is None and comparison.metric in ("accuracy", "generation"):
        only = f"Of answers by scoring and by generation, only one was measured: {answered(comparison.metric).partition(':')[0]}."
        blocks.append(Paragraph(only, "note"))
    about = (
        "On examples that the search never saw. The lines are 95 % intervals over groups of examples that belong together; the broken line "
        "is the model without the edit."
    )
    if "chance" in references:
        about += " The dotted line is chance."
    return Section("result", "Before and after", "Before and after", (about,), blocks)


def _about_rows(comparison: ComparisonFile, plan: PlanSummary) -> tuple[str, str]:
    """What the rows are: those that were measured, and what they are read against."""
    parts = [plan.control]
    if any(comparison.baselines.values()):
        parts.append("CC and DC: the model without the edit, its answers calibrated with content-free input.")
    elif not comparison.is_plain_text:
        parts.append("CC and DC were not measured.")
    parts += ["± instructions: the standard deviation of the instructions' means."] if has_spread(comparison) else []
    is_share = MetricFormat(comparison.metric).is_share
    against = (reference_note(comparison), balanced_note(comparison), few_groups_note(comparison.n_groups, is_share))
    return " ".join(filter(None, parts)), " ".join(filter(None, against))


def side_effects_section(comparison: ComparisonFile, plan: PlanSummary) -> Section:
    """Returns what else became of the model: bias scores of the benchmark, plain text, other tasks."""
    blocks = list[Block]()
    bias, sides = tables.bias_table(comparison), tables.side_effects_table(comparison)
    left_out = "" if comparison.bias_scores is None else comparison.bias_scores.left_out
    if bias is not None:
        note = "From −1 (all answers against the stereotype) over 0 (no bias) to +1 (all answers with it). Parrish et al. 2022. Below each "
        note += "score: its 95 % interval over groups, and the number of answers that name a person."
        blocks += [bias, Paragraph(f"{note} {left_out}".strip(), "note")]
    elif left_out:
        blocks.append(Paragraph(f"No bias scores: no answer could be counted. {left_out}", "note"))
    elif not comparison.is_plain_text:
        blocks.append(Paragraph("No bias scores: this task has none, or they were not measured.", "note"))
    if sides is None:
        blocks.append(Paragraph("No side effects were measured.", "note"))
    else:
        reading = f"A {plan.noun} that leaves it as it is has left the rest of the model alone, as far as this text shows."
        if tables.is_perplexity_broken(comparison):
            reading = (
                f"Plain text was beyond this model before anything was {plan.past}: its perplexity says nothing about the {plan.noun}."
            )
        blocks += [sides, Paragraph(f"Perplexity: lower is better. {reading}", "note")]
    about = "What else became of the model: the benchmark's own bias scores, plain text, other tasks."
    return Section("side-effects", "Side effects", "Side effects", (about,), blocks)


def trials_section(contents: RunContents) -> list[Section]:
    """Returns the trials of a job, one a row, and how they differ; none where there was one trial."""
    table, comparison = tables.trials_table(contents), contents.comparison
    if table is None:
        return []
    spread = None if comparison is None else comparison.other_metrics.trials
    sentences = (tables.spread_sentence(spread, tables.figures_of(comparison)), tables.shared_units_sentence(contents.parts))
    about = "The search was repeated with other samples. Above are means over the trials; plan, search and answers are of the first."
    blocks: list[Block] = [table, *(Paragraph(sentence, "note") for sentence in sentences if sentence)]
    return [Section("trials", "Trials", "Trials", (about,), blocks)]
