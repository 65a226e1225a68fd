"""What a comparison says, in one sentence: by the interval of the change, the random control, and everything that got worse.

Knows numbers; no terminal, no page.
"""

from resect.core.number_format import PLAIN, MetricFormat, NumberStyle, plural
from resect.report.readers.noise_search import NoiseSearch
from resect.report.readers.plan_summary import PlanSummary
from resect.runs.schemas.comparison import ComparisonFile, Measurement, MetricComparison, PairedChange

#: A loss of a kind of examples, as a share or in log loss, from which on the verdict names it.
WORTH_SAYING = 0.02
#: A rise of the share of generated texts that match no choice, from which on the verdict names it.
NO_CHOICE = 0.05


def has_helped(comparison: ComparisonFile) -> bool:
    """Whether the metric improved beyond chance, and random edits of the same size did not do as well.

    Of a reduction without a task, which is to cost little: whether it cost no more than was allowed.
    """
    noise = NoiseSearch.of(comparison)
    if noise is not None:
        return noise.is_within
    figures, change, control = MetricFormat(comparison.metric), comparison.difference, comparison.control
    if change is None or figures.verdict(change.interval) != "improved":
        return False
    return control is None or figures.gain(change_to(comparison, control)) < min(map(figures.gain, change.interval))


def has_price(comparison: ComparisonFile) -> bool:
    """Whether an improvement has a price: another metric got worse, or generated answers do not show the gain."""
    return _generation_doubt(comparison) or bool(harm_by_other_metrics(comparison))


def verdict(comparison: ComparisonFile, plan: PlanSummary, style: NumberStyle = PLAIN) -> str:
    """One sentence (or two) on what the numbers say."""
    noise, change, control = NoiseSearch.of(comparison), comparison.difference, comparison.control
    if noise is not None:
        return noise.verdict(comparison, plan, style)
    if plan.total == 0:
        return f"Nothing was {plan.past}: on the select split, no {plan.noun} was better than none. The model stays as it is."
    if change is None:
        return "Nothing was compared."
    figures = MetricFormat(comparison.metric, style)
    says = figures.verdict(change.interval)
    sentence = f"{figures.change(change.mean, unit=True)} on examples that the search never saw"
    sentence += f" (95 % interval {figures.change_interval(change.interval)}).{_generated(comparison, says == 'improved', style)}"
    if control is not None:
        sentence += f" {plan.control_phrase}: {figures.change(change_to(comparison, control), unit=True)}."
    if says == "improved" and not has_helped(comparison):
        sentence += f" So {'others' if plan.is_of_matrices else 'random cuts'} may do as well: {plan.subject} not special."
    sentence += _cost_by_tag(change, figures) + harm_by_other_metrics(comparison, style) + _calibration(comparison, figures, plan.noun)
    is_doubted = comparison.metric == "accuracy" and _generation_doubt(comparison)
    helps = "helps when the choices are scored" if is_doubted else "helps"
    words = {"improved": helps, "worsened": "does harm", "no clear change": "shows no reliable change"}
    return f"{plan.action(style)} {words[says]}: {sentence}"


def change_to(comparison: ComparisonFile, other: Measurement) -> float:
    """The change from the model without an edit to another measurement of the same comparison."""
    return other.mean - comparison.base.mean


def has_spread(comparison: ComparisonFile) -> bool:
    """Whether there are several instructions, over whose means there is a spread."""
    return comparison.n_instructions != 1


def answer_changes(comparison: ComparisonFile, figures: MetricFormat) -> str:
    """How many answers became better and worse, and of how many; empty where that is not known."""
    change, total = comparison.difference, number_of_answers(comparison)
    if change is None or change.fixed is None or change.broken is None:
        return ""
    return figures.answer_changes(vars(change)) + (f", {total}" if total else "")


def number_of_answers(comparison: ComparisonFile) -> str:
    """Of how many answers some changed: each example is evaluated under each instruction; empty where that is not known."""
    examples, instructions, change = comparison.n_examples, comparison.n_instructions, comparison.difference
    changed = 0 if change is None else (change.fixed or 0) + (change.broken or 0)
    if examples is None or instructions is None or changed > examples * instructions:  # several trials are counted together
        return ""
    product = f" ({plural(examples, 'examples')} × {plural(instructions, 'instructions')})" if instructions > 1 else ""
    return f"of {examples * instructions:,}{product}"


def harm_by_other_metrics(comparison: ComparisonFile, style: NumberStyle = PLAIN) -> str:
    """Under which other metrics it clearly got worse, as generated text may while the most probable choice gets better; or empty."""
    main = comparison.difference
    scored = comparison.metric == "accuracy" and main is not None and MetricFormat().verdict(main.interval) == "improved"
    worse = []
    for name, other in comparison.other_metrics.metrics.items():
        figures, change = MetricFormat(name, style), other.difference
        if change is None or (scored and name == "generation"):  # the sentence on generated answers says it
            continue
        if figures.verdict(change.interval) == "worsened" and figures.gain(change.mean) <= -WORTH_SAYING:
            worse.append(f"{name} {figures.pair(*(None if end is None else end.mean for end in (other.base, other.edited)))}")
    return f" By other metrics it does harm: {', '.join(worse)}." if worse else ""


def _cost_by_tag(change: PairedChange, figures: MetricFormat) -> str:
    """Which kinds of examples got clearly worse, whatever became of all together; a sentence, or empty."""
    worse = [f"{tag} ({figures.change(mean)})" for tag, mean in change.by_tag.items() if figures.gain(mean) <= -WORTH_SAYING]
    return f" It has a price: {', '.join(worse)}." if worse else ""


def _generation(comparison: ComparisonFile) -> tuple[PairedChange | None, str, float | None, float | None]:
    """Generated answers next to scored ones: the change, what its interval says, shares of texts that match no choice."""
    generation = comparison.other_metrics.generation or MetricComparison()
    change = generation.difference if comparison.metric == "accuracy" else None
    says = "" if change is None else MetricFormat("generation").verdict(change.interval)
    before, after = (None, None) if generation.unmatched is None else (generation.unmatched.base, generation.unmatched.edited)
    return change, says, before, after


def _strays(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after - before > NO_CHOICE


def _generation_doubt(comparison: ComparisonFile) -> bool:
    """Whether a gain of the scored choices is not all there is to say."""
    _, says, before, after = _generation(comparison)
    return _strays(before, after) or says in ("no clear change", "worsened")


def _generated(comparison: ComparisonFile, has_improved: bool, style: NumberStyle) -> str:
    """What becomes of generated answers, as a sentence; empty where they show the same."""
    change, says, before, after = _generation(comparison)
    share = lambda value: f"{100 * (value or 0.0):.0f}{style.blank}%"
    astray = f"{share(after)} of its texts are no choice ({share(before)} before)" if _strays(before, after) else ""
    if change is None or not has_improved or says == "improved":
        return f" But when the model writes its answer, {astray}." if astray else ""
    figures = MetricFormat("generation", style)
    sentence = "It does harm" if says == "worsened" else "Not shown"
    sentence += f" when the model writes its answer ({figures.change(change.mean, unit=True)}, {figures.change_interval(change.interval)})"
    return f" {sentence}: {astray}." if astray else f" {sentence}."


def _calibration(comparison: ComparisonFile, figures: MetricFormat, noun: str) -> str:
    """What calibration of the model without an edit does; empty where it was not measured. Baselines are accuracies."""
    edited, baselines = comparison.edited, comparison.baselines
    means = {name.upper(): measured.mean for name, measured in baselines.items() if measured is not None}
    if not means or edited is None or comparison.metric != "accuracy":
        return ""
    better = [f"{name} {figures.value(mean)}" for name, mean in means.items() if mean >= edited.mean]
    if better:
        return f" Calibration of the model as it is does as well, or better, without a {noun}: {', '.join(better)}."
    changes = {name: mean - comparison.base.mean for name, mean in means.items()}
    effect = "does not help"
    if max(changes.values()) >= WORTH_SAYING:
        effect = f"instead of a {noun} does less"
    elif max(changes.values()) <= -WORTH_SAYING:
        effect = "does harm"
    named = ", ".join(f"{name} {figures.change(change)}" for name, change in changes.items())
    return f" Calibration {effect}: {named}{figures.style.blank}points."
