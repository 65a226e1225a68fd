"""What a comparison says: the verdict in one of five words (`resect.runs.verdict`), and the sentences that give its reasons.

Knows numbers; no terminal, no page.
"""

from resect.core.number_format import PLAIN, MetricFormat, NumberStyle, plural
from resect.report.readers.noise_search import NoiseSearch
from resect.report.readers.plan_summary import PlanSummary
from resect.runs.schemas.comparison import ComparisonFile, Measurement
from resect.runs.schemas.verdict import Verdict
from resect.runs.verdict import judge

#: A change of calibration, as a share, from which on it is named.
WORTH_SAYING = 0.02
#: The verdict as the verb of a sentence, where it is none by itself.
PHRASES = {"no reliable change": "makes no reliable change", "damages": "damages the model"}


def verdict_of(comparison: ComparisonFile, plan: PlanSummary) -> Verdict:
    """The verdict that was stored with the comparison; of an older comparison by the usual limits."""
    return comparison.verdict or judge(comparison, is_empty=plan.total == 0)


def has_helped(comparison: ComparisonFile, plan: PlanSummary) -> bool:
    """Whether the verdict is that the edit helps, at a price or not; of a reduction without a task, whether it cost what was allowed."""
    word, noise = verdict_of(comparison, plan).word, NoiseSearch.of(comparison)
    if noise is not None:
        return noise.is_within and word in ("helps", "no reliable change")
    return word in ("helps", "helps, at a price")


def verdict(comparison: ComparisonFile, plan: PlanSummary, style: NumberStyle = PLAIN) -> str:
    """The verdict and its reasons in sentences: what was changed and what became of it, the control, and calibration."""
    noise, control = NoiseSearch.of(comparison), comparison.control
    if noise is not None:
        word = verdict_of(comparison, plan).word
        return f"{word[:1].upper()}{word[1:]}: {noise.verdict(comparison, plan, style)}"
    judged = verdict_of(comparison, plan)
    clauses = "; ".join(judged.reasons)
    if plan.total == 0 or comparison.difference is None:
        return f"{judged.word[:1].upper()}{judged.word[1:]}: {clauses}."
    sentence = f"{plan.action(style)} {PHRASES.get(judged.word, judged.word)}: {clauses}."
    figures = MetricFormat(comparison.metric, style)
    if control is not None and "random edits" not in clauses:
        sentence += f" {plan.control_phrase}: {figures.change(change_to(comparison, control), unit=True)}."
    return sentence + _calibration(comparison, figures, plan.noun)


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
