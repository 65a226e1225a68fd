"""What the scores of a comparison are read against: chance, one constant answer, the mean over tags, and how answers spread.

Knows the schema of comparison.json, and no form of report.
"""

from resect.core.number_format import ORDINALS, PLAIN, NumberStyle

from .schemas.comparison import ComparisonFile
from .schemas.verdict import FrequentAnswer, Positions

#: The metrics that count right answers one by one, so that guessing and constant answers have a score by them.
COUNTED = ("accuracy", "generation")
#: Shares that are nearer than this are written alike.
ALIKE = 0.0005


def reference_scores(comparison: ComparisonFile) -> list[tuple[str, str, float]]:
    """What is scored without reading the question, as kind ("chance", "constant"), label and share; empty for other metrics."""
    answers = comparison.answers
    if answers is None or comparison.metric not in COUNTED:
        return []
    chance = [] if answers.chance is None else [("chance", "chance", answers.chance)]
    constant = answers.constant
    return [*chance, *([] if constant is None else [("constant", f"always {constant.label}", constant.score)])]


def reference_note(comparison: ComparisonFile) -> str:
    """What these scores are; "" where there are none."""
    kinds = {kind: label for kind, label, _ in reference_scores(comparison)}
    parts = ["Chance: guessing among the choices."] if "chance" in kinds else []
    if "constant" in kinds:
        label = kinds["constant"]
        parts.append(
            f"{label[:1].upper()}{label[1:]}: a model that gives this answer to every question; no other constant answer scores more."
        )
    return " ".join(parts)


def balanced_means(comparison: ComparisonFile) -> dict[str, float]:
    """The mean over tags of each tag's mean, by "before" and "after"; empty where examples have no tags that tell them apart."""
    balanced = {} if comparison.answers is None else comparison.answers.balanced
    means = {"before": balanced.get("base"), "after": balanced.get("edited")}
    return {kind: mean for kind, mean in means.items() if mean is not None}


def balanced_differs(comparison: ComparisonFile) -> bool:
    """Whether a mean over tags is another number than the mean over examples, before or after."""
    means = {"before": comparison.base.mean, "after": None if comparison.edited is None else comparison.edited.mean}
    return any(
        mean is not None and abs(balanced - mean) >= ALIKE
        for kind, balanced in balanced_means(comparison).items()
        for mean in [means[kind]]
    )


def balanced_note(comparison: ComparisonFile) -> str:
    """What "balanced" is, or that it is the mean here; "" where examples have no tags that tell them apart."""
    if not balanced_means(comparison):
        return ""
    if balanced_differs(comparison):
        return "Balanced: the mean of the tags' means, each tag counted alike."
    return "Balanced over tags, each counted alike, the means are the same."


def positions(comparison: ComparisonFile) -> dict[str, tuple[float, ...]]:
    """Shares of right and of given answers by option, by label; empty where answers are no choices."""
    shares_of = (None if comparison.answers is None else comparison.answers.positions) or Positions()
    rows = {"right answers": shares_of.right, "before": shares_of.base, "after": shares_of.edited or ()}
    return {label: shares for label, shares in rows.items() if 0 < len(shares) <= len(ORDINALS)}


def positions_sentence(comparison: ComparisonFile, style: NumberStyle = PLAIN) -> str:
    """How answers spread over the options, as a sentence; "" where answers are no choices."""
    rows = positions(comparison)
    if not rows:
        return ""
    parts = [f"{label} {', '.join(map(style.percent, shares))}" for label, shares in rows.items()]
    return f"Answers by option, from the first on: {'; '.join(parts)}."


def frequent_sentence(comparison: ComparisonFile, style: NumberStyle = PLAIN) -> str:
    """The kind of answer that is given most often where it is wrong, before and after; "" where that is not known."""
    frequent = None if comparison.answers is None else comparison.answers.most_frequent
    if frequent is None or frequent.base is None:
        return ""
    sentence = f"The kind of answer that is most often given where it is wrong: {_frequent(frequent.base, style)}"
    if frequent.edited is None:
        return f"{sentence}."
    sentence += f"; after the edit, {_frequent(frequent.edited, style)}"
    if frequent.edited.wrong_share - frequent.base.wrong_share < ALIKE or frequent.is_certain is None:
        return f"{sentence}."
    return f"{sentence}. The rise {'is beyond chance' if frequent.is_certain else 'may be chance'} (one-sided sign-flip test at 10 %)."


def _frequent(answer: FrequentAnswer, style: NumberStyle) -> str:
    share = f"{style.percent(answer.wrong_share)} of the questions to which another answer is right"
    return f"{answer.label} ({share}; {style.percent(answer.share)} of all)"
