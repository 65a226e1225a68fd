"""The tables of a report on one run. Knows no page."""

from collections.abc import Sequence

from resect.core.exhibits import Table
from resect.core.number_format import BROKEN_PERPLEXITY, DASH, PAGE, MetricFormat, NumberStyle, plural
from resect.report.readers.plan_summary import PlanSummary
from resect.report.readers.run_contents import RunContents
from resect.report.text.verdict import answer_changes, has_spread
from resect.runs.reference_scores import balanced_differs, balanced_means, reference_scores
from resect.runs.run_files import PART
from resect.runs.schemas.comparison import (
    BiasScore,
    ComparisonFile,
    Measurement,
    MetricComparison,
    PairedChange,
    SideEffect,
    TrialSpread,
    Unmatched,
)

BASELINES = {"cc": "CC, contextual calibration", "dc": "DC, domain-context calibration"}


def figures_of(comparison: ComparisonFile | None, style: NumberStyle = PAGE) -> MetricFormat:
    """How the values of a comparison's metric are written; those of accuracy where there is none."""
    return MetricFormat(style=style) if comparison is None else MetricFormat(comparison.metric, style, comparison.n_groups)


def estimates(comparison: ComparisonFile, plan: PlanSummary) -> list[tuple[str, str, Measurement]]:
    """What was measured: kind, label, measurement."""
    baselines = comparison.baselines
    rows = [
        *(("before", "before", comparison.base), ("after", f"after the {plan.noun}", comparison.edited)),
        ("control", f"control: {plan.control_noun}", comparison.control),
        *((name, label, baselines.get(name)) for name, label in BASELINES.items()),
    ]
    return [(kind, label, measured) for kind, label, measured in rows if measured is not None]


def result_table(comparison: ComparisonFile, plan: PlanSummary, figures: MetricFormat, *, with_other_way: bool = False) -> Table:
    """The measurements as numbers; with one instruction there is no spread.

    with_other_way : a column more for the means by the other way of answering, scored or generated
    """
    spreads, other, rows = has_spread(comparison), _other_way(comparison) if with_other_way else None, []
    balanced = balanced_means(comparison) if balanced_differs(comparison) else {}
    for kind, label, measured in estimates(comparison, plan):
        cells = [figures.value(measured.mean), figures.interval(measured.interval)]
        if other is not None:
            by_other = {"before": other.base, "after": other.edited}.get(kind)
            cells.append(_mean(figures, by_other))
        cells += [figures.value(measured.std_over_instructions)] if spreads else []
        rows.append((label, *cells, *([figures.value(balanced.get(kind))] if balanced else [])))
    strong = [number for number, (kind, _, _) in enumerate(estimates(comparison, plan)) if kind == "after"]
    blank = [DASH] * (spreads + bool(balanced))
    for name, baseline in (other.baselines if other is not None else {}).items():  # of the accuracy, whatever else is compared
        rows += [] if baseline is None else [(BASELINES.get(name, name), DASH, DASH, figures.value(baseline.mean), *blank)]
    rows += [
        (label, figures.value(score), DASH, *([] if other is None else [DASH]), *blank) for _, label, score in reference_scores(comparison)
    ]
    heading = {"accuracy": "scored", "generation": "generated"}
    columns = ["", heading.get(comparison.metric, comparison.metric) if other is not None else comparison.metric, "95 % interval"]
    columns += [] if other is None else [heading["accuracy" if comparison.metric == "generation" else "generation"]]
    columns += [*(["± instructions"] if spreads else []), *(["balanced"] if balanced else [])]
    return Table(f"{comparison.metric} on the test split", columns, rows, strong=strong)


def _other_way(comparison: ComparisonFile) -> MetricComparison | None:
    """By generation where choices are scored, and the other way round; None where that was not measured."""
    others = comparison.other_metrics
    return {"accuracy": others.generation, "generation": others.accuracy}.get(comparison.metric)


def scored_and_generated(comparison: ComparisonFile, plan: PlanSummary, style: NumberStyle = PAGE) -> Table | None:
    """The accuracy by scoring and by generation; None where only one of them was measured."""
    mine = MetricComparison(base=comparison.base, edited=comparison.edited, difference=comparison.difference)
    other, others = _other_way(comparison), comparison.other_metrics
    if other is None or other.base is None:
        return None
    figures, both = (
        MetricFormat(style=style, n_groups=comparison.n_groups),
        (mine, other) if comparison.metric == "accuracy" else (other, mine),
    )
    rows = [
        ("before", *(_with_interval(figures, side.base) for side in both)),
        (f"after the {plan.noun}", *(_with_interval(figures, side.edited) for side in both)),
        ("change, in points", *(_change(figures, side.difference) for side in both)),
        ("fixed / broken", *(_fixed(side.difference) for side in both)),
    ]
    for name, label in BASELINES.items():
        if other.baselines.get(name) is not None:
            rows.append((label, _with_interval(figures, other.baselines[name]), DASH))
    unmatched = (None if others.generation is None else others.generation.unmatched) or Unmatched()
    for label, share in (("before", unmatched.base), ("after", unmatched.edited)):
        if share is not None:
            rows.append((f"no choice matched, {label}", DASH, figures.value(share)))
    return Table("Accuracy by scoring and by generation", ("", "by scoring", "by generation"), rows, strong=(1,))


def other_metrics_table(comparison: ComparisonFile, style: NumberStyle = PAGE) -> Table | None:
    """Metrics besides accuracy by scoring and by generation, and the main one: top-k accuracy, log loss, facts in all paraphrases."""
    shown, rows = {"accuracy", "generation"} if comparison.metric in ("accuracy", "generation") else set[str](), []
    for name, other in comparison.other_metrics.metrics.items():
        if name not in shown and other.base is not None:
            figures = MetricFormat(name, style, comparison.n_groups)
            label = f"{name} (less is better)" if figures.gain(1.0) < 0 else name
            cells = [_with_interval(figures, other.base), _with_interval(figures, other.edited), _change(figures, other.difference)]
            rows.append((label, *cells))
    facts = comparison.other_metrics.paraphrases
    if facts is not None:
        number = "" if facts.per_fact is None else f", {style.number(facts.per_fact)} paraphrases each"
        label, figures = f"right in every paraphrase ({plural(facts.n_facts, 'facts')}{number})", MetricFormat(style=style)
        rows.append((label, figures.value(facts.base), figures.value(facts.edited), _change(figures, facts.difference)))
    return Table("Other metrics on the test split", ("metric", "before", "after", "change"), rows) if rows else None


def reductions_table(plan: PlanSummary, style: NumberStyle = PAGE) -> Table:
    """What is reduced, matrix by matrix."""
    rows = []
    for reduction in plan.reductions:
        rank = style.number(reduction.rank) + (" (zeroed)" if reduction.rank == 0 else "")
        rows.append((str(reduction.site), reduction.setting, rank, style.number(reduction.full)))
    return Table("Matrices that are reduced, layers counted from 0", ("matrix", "how far", "rank left", "of"), rows)


def bias_table(comparison: ComparisonFile, style: NumberStyle = PAGE) -> Table | None:
    """BBQ's bias scores, before and after, all and by category, each with its interval and the number of answers that it counts."""
    scores, nothing = comparison.bias_scores, BiasScore()
    if scores is None:
        return None
    before, after = scores.base or nothing, scores.edited or nothing
    pairs = [("all", before, after), *((name, score, after.by_category.get(name, nothing)) for name, score in before.by_category.items())]
    kinds = (
        ("ambiguous", lambda score: (score.ambig, score.interval_ambig, score.n_ambig)),
        ("clear", lambda score: (score.disambig, score.interval_disambig, score.n_disambig)),
    )
    rows = [
        (f"{label}, {kind}", *(_bias_score(style, *part(score), has_interval=comparison.n_groups != 1) for score in (first, last)))
        for label, first, last in pairs
        for kind, part in kinds
        if part(first)[0] is not None or part(last)[0] is not None
    ]
    return Table("BBQ's bias scores", ("items", "before", "after"), rows) if rows else None


def side_effects_table(comparison: ComparisonFile, style: NumberStyle = PAGE) -> Table | None:
    """Perplexity and other tasks, before and after."""
    rows = []
    for name, effect in comparison.side_effects.items():
        if effect is None or effect.base is None:
            continue
        base, edited = effect.base, effect.edited
        if effect.kind or "perplexity" in name:
            tokens = "" if effect.tokens is None else f" ({effect.tokens:,} tokens)"
            share = DASH if edited is None or not base else f"{style.signed(100 * (edited / base - 1), 1)}{style.blank}%"
            rows.append(
                (f"{effect.kind or name} of {effect.text or 'plain text'}{tokens}", style.number(base), style.number(edited), share)
            )
        else:
            metric = effect.metric or "accuracy"
            figures, change = MetricFormat(metric, style), effect.difference
            gain = _change(figures, change) if change else figures.change(None if edited is None else edited - base)
            rows.append((f"{name}, {metric}", figures.value(base), figures.value(edited), gain))
    return Table("Side effects", ("what", "before", "after", "change"), rows) if rows else None


def is_perplexity_broken(comparison: ComparisonFile) -> bool:
    """Whether the plain text was beyond the model before the edit, so that its perplexity says nothing."""
    base = (comparison.side_effects.get("perplexity") or SideEffect()).base
    return base is not None and base > BROKEN_PERPLEXITY


def trials_table(contents: RunContents) -> Table | None:
    """The trials of a job, one a row."""
    rows = []
    for part in contents.parts:
        comparison, plan, figures = part.comparison, part.plan, figures_of(part.comparison)
        measured = (None, None, None) if comparison is None else (comparison.edited, comparison.difference, comparison.control)
        cells = (_with_interval(figures, measured[0]), _change(figures, measured[1]), _mean(figures, measured[2]))
        name = f"{part.run.folder.name.removeprefix(PART)} (seed{PAGE.blank}{part.run.recipe.seed})"
        rows.append((name, DASH if plan is None else f"{plan.total:,}" if not plan.reductions else plan.brief(), *cells))
    of_matrices = any(part.plan_or_kind.is_of_matrices for part in contents.parts)
    columns = ("trial", "reduced" if of_matrices else "cut", "after", "change", "control")
    return Table(f"Each trial with its own samples and its own {'reduction' if of_matrices else 'cut'}", columns, rows) if rows else None


def spread_sentence(trials: TrialSpread | None, figures: MetricFormat) -> str:
    """How far the trials are apart."""
    if trials is None or not trials.edited:
        return ""
    return f"After it: {', '.join(map(figures.value, trials.edited))}; standard deviation {figures.value(trials.std)}."


def shared_units_sentence(parts: Sequence[RunContents]) -> str:
    """How far the trials agree about what to cut."""
    cuts = [part.plan.units for part in parts if part.plan is not None]
    if len(cuts) < 2 or any(part.plan_or_kind.is_of_matrices for part in parts):
        return ""
    common, every = cuts[0], cuts[0]
    for units in cuts[1:]:
        common, every = common & units, every | units
    return f"{plural(common.count, 'neurons')} of the {every.count:,} that any trial cuts are cut by all of them."


def change_sentences(comparison: ComparisonFile, figures: MetricFormat) -> tuple[str, tuple[str, ...]] | None:
    """The paired change, and its interval, test and numbers of answers; None where nothing was compared."""
    change = comparison.difference
    if change is None:
        return None
    lines = [
        f"95 % interval {figures.change_interval(change.interval)}",
        PAGE.p_value(change.p_value) + (f", {change.test}" if change.test else ""),
        "" if comparison.is_plain_text else answer_changes(comparison, figures),
    ]
    return figures.change(change.mean, unit=True), tuple(filter(None, lines))


def _mean(figures: MetricFormat, measured: Measurement | None) -> str:
    return figures.value(None if measured is None else measured.mean)


def _bias_score(
    style: NumberStyle, score: float | None, interval: tuple[float, float] | None, answers: int | None, *, has_interval: bool
) -> str:
    """A score, and below it its interval and the number of answers; a dash where there is none."""
    lines = [style.signed(score)]
    if score is not None and interval is not None and has_interval:
        lines.append(" to ".join(map(style.signed, interval)))
    if score is not None and answers is not None:
        lines.append(plural(answers, "answers") if answers else "none names anyone")
    return "\n".join(lines)


def _with_interval(figures: MetricFormat, measured: Measurement | None) -> str:
    return DASH if measured is None else f"{figures.value(measured.mean)}\n{figures.interval(measured.interval)}"


def _change(figures: MetricFormat, change: PairedChange | None) -> str:
    if change is None:
        return DASH
    return f"{figures.change(change.mean)}\n{figures.change_interval(change.interval)}\n{figures.style.p_value(change.p_value)}"


def _fixed(change: PairedChange | None) -> str:
    return DASH if change is None or change.fixed is None or change.broken is None else f"{change.fixed:,} / {change.broken:,}"
