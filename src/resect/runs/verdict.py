"""The verdict: what everything that was measured on held-out examples says of an edit, in one word and its reasons.

The target alone does not decide. A gain counts where its interval excludes 0, random edits of the same size do not reach it, and a model
that always gives one kind of answer does not either. A loss of a tag, of another task or of generated answers counts where its interval
excludes 0; a rise of perplexity where the text is not beyond the model. From one limit on a loss is a price, from a higher one on it is
damage, and then no gain makes up for it; without a gain every such loss is damage. Ours.

Knows the schema of comparison.json; no run, no page.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from resect.core.intervals import LEVEL
from resect.core.number_format import BROKEN_PERPLEXITY, PLAIN, MetricFormat

from .guard_limits import CONSTANT, PERPLEXITY, GuardLimits
from .schemas.comparison import ComparisonFile, MetricComparison, PairedChange, SideEffect
from .schemas.parts import Interval
from .schemas.verdict import Verdict, VerdictWord

#: The name of the side effect that is text of the model's own writing.
OWN_TEXT = "own text"
#: A text is foreign to a model if its perplexity is so many times that of the model's own text, and above a floor. Where a model knows the
#: kind of text, the two are of one order: own text is about as hard to predict as what it was trained on.
FOREIGN_FACTOR = 10
#: The floor: a model whose own text is nearly certain (answers of few words) may know prose all the same. Ordinary prose that is none of
#: their training text has a perplexity below it even for small models (GPT-2 of 124 M parameters: 29 to 75; Radford et al. 2019, table 3).
FOREIGN_FLOOR = 100


@dataclass(frozen=True)
class Loss:
    """Something that got worse. `cost` and limits as in `GuardLimits`; `text`: a clause with its numbers."""

    cost: float
    price: float
    damage: float
    text: str

    @property
    def is_damage(self) -> bool:
        """Whether it is more than any gain makes up for."""
        return self.cost >= self.damage

    @property
    def counts(self) -> bool:
        """Whether it is worth naming."""
        return self.cost >= self.price


def judge(
    comparison: ComparisonFile, *, is_empty: bool = False, price: GuardLimits | None = None, damage: GuardLimits | None = None
) -> Verdict:
    """Returns the verdict on an edit.

    Parameters
    ----------
    is_empty : whether the plan is empty: nothing was changed
    price, damage : from which loss on there is a price, and damage; default: those of guards, and `GuardLimits.damage`
    """
    price, damage = price or GuardLimits(), damage or GuardLimits.damage()
    word, reasons = _word(comparison, is_empty, price, damage)
    return Verdict(word=word, reasons=tuple(reasons), limits={"price": price.to_json(), "damage": damage.to_json()})


def _word(comparison: ComparisonFile, is_empty: bool, price: GuardLimits, damage: GuardLimits) -> tuple[VerdictWord, list[str]]:
    change = comparison.difference
    if is_empty or change is None:
        refused = None if comparison.other_metrics.guards is None else comparison.other_metrics.guards.refused
        if not is_empty:
            return "no reliable change", ["nothing was compared"]
        if refused is None:
            return "no reliable change", ["nothing was changed, since on the select split no candidate was better than no edit"]
        costs = "; ".join(cost.sentence for cost in refused.broken)
        return "no reliable change", [
            f"nothing was changed, since what scored better on the select split breaks guards ({refused.name}: {costs})"
        ]
    figures, target = MetricFormat(comparison.metric), target_clause(comparison)
    losses = sorted((loss for loss in losses_of(comparison, price, damage) if loss.counts), key=lambda loss: -loss.cost / loss.damage)
    named = [loss.text for loss in losses]
    constant = _constants(comparison)
    if constant is not None:
        return "replaces one constant answer by another", [constant, target]
    if any(loss.is_damage for loss in losses):
        return "damages", [*(loss.text for loss in losses if loss.is_damage), target, *(loss.text for loss in losses if not loss.is_damage)]
    doubts = list(_doubts(comparison))
    says = figures.verdict(change.interval)
    if says == "worsened" and not _is_allowed(comparison):
        return "damages", [target, *named]
    if says == "improved" and not doubts:
        hidden = [*_hidden_prices(comparison), *_uncertain(comparison, damage)]
        if losses or hidden:
            return "helps, at a price", [target, *named, *hidden]
        return "helps", [target, *_not_excluded(comparison, damage)]
    if losses:
        return "damages", [*named, target, *doubts]
    return "no reliable change", [target, *doubts, *_about_p_value(change, says)]


def is_foreign(comparison: ComparisonFile) -> bool:
    """Returns whether plain text was far less probable than the model's own before the edit: it is of a kind that it does not know."""
    text, own = (comparison.side_effects.get(name) or SideEffect() for name in (PERPLEXITY, OWN_TEXT))
    return is_foreign_text(text.base, own.base)


def is_foreign_text(text: float | None, own: float | None) -> bool:
    """Returns whether the perplexity of a text is far above that of a model's own; None: not measured."""
    return text is not None and own is not None and text > max(FOREIGN_FLOOR, FOREIGN_FACTOR * own)


def is_beyond(comparison: ComparisonFile) -> bool:
    """Returns whether plain text was beyond the model before the edit, so that its perplexity says nothing."""
    return _says_nothing(comparison.side_effects.get(PERPLEXITY) or SideEffect())


def _says_nothing(text: SideEffect) -> bool:
    return bool(text.is_beyond) or (text.base is not None and text.base > BROKEN_PERPLEXITY)


def _is_allowed(comparison: ComparisonFile) -> bool:
    """Whether a search without a task was to let the perplexity rise as far as it did."""
    text, allowed = comparison.side_effects.get(PERPLEXITY) or SideEffect(), comparison.other_metrics.rise
    return allowed is not None and bool(text.base) and text.edited is not None and text.edited / (text.base or 1.0) - 1 <= allowed


def _about_p_value(change: PairedChange, says: str) -> Iterator[str]:
    """Yields why a small p-value does not make a reliable change."""
    if says == "no clear change" and change.p_value is not None and change.p_value <= LEVEL:
        yield "the p-value assumes symmetric changes; the interval does not, holds 0, and decides"


def target_clause(comparison: ComparisonFile) -> str:
    """Returns what became of the metric, with its interval."""
    figures, change = MetricFormat(comparison.metric, n_groups=comparison.n_groups), comparison.difference
    if change is None:
        return "nothing was compared"
    ends = figures.pair(comparison.base.mean, None if comparison.edited is None else comparison.edited.mean)
    return f"{comparison.metric} {ends}: {_changed(change, figures)}"


def losses_of(comparison: ComparisonFile, price: GuardLimits, damage: GuardLimits) -> Iterator[Loss]:
    """Yields everything that got worse beyond chance, however little."""
    yield from _tags(comparison, price, damage)
    for name, other in comparison.other_metrics.metrics.items():
        yield from _metric(name, other, price, damage)
    for name, effect in comparison.side_effects.items():
        if effect is not None:
            yield from _side_effect(name, effect, price, damage)
    yield from _collapsed(comparison, price, damage)
    yield from _samples(comparison, price, damage)


def _tags(comparison: ComparisonFile, price: GuardLimits, damage: GuardLimits) -> Iterator[Loss]:
    figures = MetricFormat(comparison.metric)
    for tag, mean, interval in _tag_changes(comparison):
        if figures.verdict(interval) == "worsened":
            text = f"{tag} {_tag_ends(comparison, tag, figures)}: {_tag_change(mean, interval, figures)}"
            yield _loss(-figures.gain(mean), tag, price, damage, text, figures, comparison.base.by_tag.get(tag))


def _tag_changes(comparison: ComparisonFile) -> list[tuple[str, float, Interval]]:
    """Returns tag, mean change and interval of each tag of which both are known."""
    change = comparison.difference
    return (
        [] if change is None else [(tag, change.by_tag[tag], ends) for tag, ends in change.interval_by_tag.items() if tag in change.by_tag]
    )


def _tag_ends(comparison: ComparisonFile, tag: str, figures: MetricFormat) -> str:
    edited = comparison.edited
    return figures.pair(comparison.base.by_tag.get(tag), None if edited is None else edited.by_tag.get(tag))


def _tag_change(mean: float, interval: Interval, figures: MetricFormat) -> str:
    return f"{figures.change(mean, unit=True)} ({figures.change_interval(interval)})"


def _metric(name: str, other: MetricComparison, price: GuardLimits, damage: GuardLimits) -> Iterator[Loss]:
    figures, change = MetricFormat(name), other.difference
    ends = figures.pair(*(None if measured is None else measured.mean for measured in (other.base, other.edited)))
    if change is not None and figures.verdict(change.interval) == "worsened":
        what = "generated answers" if name == "generation" else name
        base = None if other.base is None else other.base.mean
        yield _loss(-figures.gain(change.mean), name, price, damage, f"{what} {ends}: {_changed(change, figures)}", figures, base)
    unmatched = other.unmatched
    if unmatched is not None and unmatched.base is not None and unmatched.edited is not None:
        pair = MetricFormat().pair(unmatched.base, unmatched.edited)
        text = f"generated texts that match no choice {pair}"  # each counts as wrong already, so it is never damage by itself
        yield Loss(unmatched.edited - unmatched.base, _limit(price.collapse), math.inf, text)


def _side_effect(name: str, effect: SideEffect, price: GuardLimits, damage: GuardLimits) -> Iterator[Loss]:
    if effect.difference is not None:
        figures = MetricFormat(effect.metric or "accuracy")
        if figures.verdict(effect.difference.interval) == "worsened":
            text = f"{name} {figures.pair(effect.base, effect.edited)}: {_changed(effect.difference, figures)}"
            yield _loss(-figures.gain(effect.difference.mean), name, price, damage, text, figures, effect.base)
        return
    is_perplexity = name == PERPLEXITY or effect.kind is not None
    if not is_perplexity or not effect.base or (name == PERPLEXITY and _says_nothing(effect)):
        return
    what = "perplexity of text of the model's own writing" if name == OWN_TEXT else "perplexity of plain text"
    if effect.edited is None:
        yield Loss(math.inf, _limit(price.perplexity), _limit(damage.perplexity), f"{what}: not finite after the edit")
        return
    rise = effect.edited / effect.base - 1
    text = f"{what} {PLAIN.number(effect.base)} → {PLAIN.number(effect.edited)} ({PLAIN.signed(100 * rise, 1)} %)"
    yield Loss(rise, _limit(price.perplexity), _limit(damage.perplexity), text)


def _collapsed(comparison: ComparisonFile, price: GuardLimits, damage: GuardLimits) -> Iterator[Loss]:
    frequent = None if comparison.answers is None else comparison.answers.most_frequent
    if frequent is None or frequent.base is None or frequent.edited is None or not frequent.is_certain:
        return
    before, after = frequent.base, frequent.edited
    share = PLAIN.percent(before.wrong_share)
    base = f"{share} before" if before.label == after.label else f"before, the most frequent wrong kind was {before.label}, with {share}"
    text = f"it answers {after.label} in {PLAIN.percent(after.wrong_share)} of the cases where that is wrong ({base})"
    yield Loss(after.wrong_share - before.wrong_share, _limit(price.collapse), _limit(damage.collapse), text)


def _samples(comparison: ComparisonFile, price: GuardLimits, damage: GuardLimits) -> Iterator[Loss]:
    samples = comparison.other_metrics.samples
    repetition = None if samples is None else samples.repetition
    if repetition is None or repetition.base is None or repetition.edited is None:
        return
    text = f"repetition in what it writes {MetricFormat().pair(repetition.base, repetition.edited)}"
    yield Loss(repetition.edited - repetition.base, _limit(price.collapse), _limit(damage.collapse), text)


def _constants(comparison: ComparisonFile) -> str | None:
    """Returns a clause where one constant answer took the place of another."""
    frequent = None if comparison.answers is None else comparison.answers.most_frequent
    before, after = (None, None) if frequent is None else (frequent.base, frequent.edited)
    if before is None or after is None or min(before.share, after.share) < CONSTANT or before.label == after.label:
        return None
    return (
        f"it answered {before.label} to {PLAIN.percent(before.share)} of the questions, and now answers {after.label} to "
        f"{PLAIN.percent(after.share)}"
    )


def _doubts(comparison: ComparisonFile) -> Iterator[str]:
    """Yields why a gain would be none: other edits, or always one answer, do as well."""
    figures, change, control, edited = MetricFormat(comparison.metric), comparison.difference, comparison.control, comparison.edited
    if change is None or edited is None or figures.verdict(change.interval) != "improved":
        return
    if control is not None and figures.gain(control.mean - comparison.base.mean) >= min(map(figures.gain, change.interval)):
        yield f"random edits of the same size: {figures.change(control.mean - comparison.base.mean, unit=True)}, which may be as much"
    if comparison.is_plain_text and (is_foreign(comparison) or is_beyond(comparison)):
        yield "plain text of this kind is foreign to the model, so that a gain on it says little"
    constant = None if comparison.answers is None else comparison.answers.constant
    if constant is not None and comparison.metric in ("accuracy", "generation") and constant.score >= edited.mean:
        yield f"always {constant.label} scores {PLAIN.percent(constant.score)} without reading the question"


def _hidden_prices(comparison: ComparisonFile) -> Iterator[str]:
    """Yields a clause where a gain of scored choices is not shown when the model writes its answer."""
    generation = comparison.other_metrics.generation
    change = None if generation is None or comparison.metric != "accuracy" else generation.difference
    figures = MetricFormat("generation")
    if change is not None and figures.verdict(change.interval) == "no clear change":
        yield f"the gain is not shown when the model writes its answer: {_changed(change, figures)}"


def _uncertain(comparison: ComparisonFile, damage: GuardLimits) -> Iterator[str]:
    """Yields tags that fell as far as damage, though their intervals hold 0: that is no proof of a loss, and none of its absence."""
    figures = MetricFormat(comparison.metric)
    for tag, mean, interval in _tag_changes(comparison) if figures.is_share else ():
        if mean < 0 and -mean >= damage.of_tag(tag) and figures.verdict(interval) == "no clear change":
            yield f"{tag} may have lost: {_tag_ends(comparison, tag, figures)}, {_tag_change(mean, interval, figures)}"


def _not_excluded(comparison: ComparisonFile, damage: GuardLimits) -> Iterator[str]:
    """Yields a clause on the tag of which the largest loss is not excluded, where that would be damage."""
    figures, changes = MetricFormat(comparison.metric), _tag_changes(comparison)
    if not changes or not figures.is_share:
        return
    tag, mean, interval = min(changes, key=lambda change: change[2][0])
    if -interval[0] >= damage.of_tag(tag):
        yield f"too few examples to exclude a loss of {tag}: {_tag_change(mean, interval, figures)}"


def _loss(cost: float, name: str, price: GuardLimits, damage: GuardLimits, text: str, figures: MetricFormat, base: float | None) -> Loss:
    """Returns the loss of a tag, a task or a metric; one in log loss is measured as a share of what it was."""
    if figures.is_share:
        return Loss(cost, price.of_tag(name), damage.of_tag(name), text)
    return Loss(cost / base if base else math.inf, _limit(price.perplexity), _limit(damage.perplexity), text)


def _limit(limit: float | None) -> float:
    return math.inf if limit is None else limit


def _changed(change: PairedChange, figures: MetricFormat) -> str:
    return f"{figures.change(change.mean, unit=True)} (95 % interval {figures.change_interval(change.interval)})"


def limits_of(values: Mapping[str, Any]) -> tuple[GuardLimits, GuardLimits]:
    """Returns the limits of price and damage from the settings of a recipe; guards that are off leave the usual price. Raises BadRecipe."""
    guards = GuardLimits.parse(values.get("guard") or ())
    return GuardLimits() if guards.is_none else guards, GuardLimits.damage(values.get("damage") or ())
