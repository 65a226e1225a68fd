"""Guards: what a candidate of a search may not cost, measured on the questions by which it is chosen and on plain text.

A candidate that breaks a guard cannot win, however well it scores. Three guards (`GuardLimits`): no tag that tells examples apart loses
more than a limit, by a one-sided 90 % interval over groups; the most frequent kind of answer does not become more frequent where it is
wrong (`answer_kinds`); the perplexity of plain text does not rise. Ours; the papers choose by the metric alone. Knows no method.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

from resect.core.errors import NotFinite
from resect.core.execution import Workers, journal_key
from resect.core.number_format import PLAIN, MetricFormat
from resect.edits.plan import Plan
from resect.models.language_model import perplexity_of
from resect.runs.guard_limits import COLLAPSE, PERPLEXITY, GuardLimits

from .answer_kinds import accuracy_of, collapse, is_certain_loss, kinds_of, most_frequent
from .perplexity import is_beyond, logprob_under
from .questions import Answers, Questions

Candidate = TypeVar("Candidate", bound=Hashable)


@dataclass(frozen=True)
class BrokenGuard:
    """A guard that a candidate breaks.

    Parameters
    ----------
    guard : a tag, "collapse" or "perplexity"
    cost : loss of the tag or rise of the share of the most frequent kind of answer, as shares; relative rise of the perplexity
    limit : the largest cost that is allowed
    before, after : the values, as shares or perplexities; None where the value is not finite
    label : the kind of answer, for "collapse"
    """

    guard: str
    cost: float
    limit: float
    before: float | None
    after: float | None
    label: str = ""

    def __str__(self) -> str:
        if self.guard == PERPLEXITY:
            if self.after is None:
                return "the perplexity of plain text is not finite"
            return f"perplexity {PLAIN.number(self.before)} → {PLAIN.number(self.after)} ({PLAIN.signed(100 * self.cost, 0)} %)"
        pair = f"{PLAIN.percent(self.before)} → {PLAIN.percent(self.after)}"
        return f"{self.label} where it is wrong {pair}" if self.guard == COLLAPSE else f"{self.guard} {pair}"

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object; a cost that is not finite is null."""
        cost = self.cost if math.isfinite(self.cost) else None
        return {**vars(self), "cost": cost}


class Guards:
    """Limits on what plans may cost, with the unedited model's values to compare with.

    Parameters
    ----------
    limits : what may be lost
    questions : those by which candidates are chosen
    texts : plain text; none: its perplexity is not guarded
    workers : engine and journal: nothing is asked or read twice
    seed : of the draws behind intervals

    Raises UnknownName for a limit on a tag that no example has.
    """

    def __init__(
        self, limits: GuardLimits, questions: Questions, texts: Sequence[str] = (), workers: Workers | None = None, seed: int = 0
    ) -> None:
        limits.check_tags({tag for example in questions.examples for tag in example.tags}, "(no example that the search chooses by has it)")
        self.limits, self.questions, self.texts = limits, questions, tuple(texts)
        self._workers, self._seed = (workers or Workers()).silent(), seed

    @property
    def are_off(self) -> bool:
        """Whether nothing is guarded."""
        return self.limits.is_none

    def broken(self, plan: Plan) -> tuple[BrokenGuard, ...]:
        """Returns the guards that a plan breaks; the perplexity is measured only where the answers break none.

        Raises NotFinite for answers, OutOfMemory, WrongModel, NotWritable.
        """
        if self.are_off or plan.is_empty:
            return ()
        answers = self.questions.answers(plan, workers=self._workers)
        return self.broken_by_answers(answers) or self.broken_by_text(plan)

    def broken_by_answers(self, answers: Answers) -> tuple[BrokenGuard, ...]:
        """Returns the guards on tags and on kinds of answers that these answers break."""
        return (*self._broken_tags(answers), *self._collapse(answers))

    def broken_by_text(self, plan: Plan) -> tuple[BrokenGuard, ...]:
        """Returns the guard on the perplexity of plain text where a plan breaks it."""
        limit = self.held.perplexity
        before = None if limit is None else self.base_perplexity
        if limit is None or before is None:
            return ()
        try:
            after = self._perplexity(plan)
        except (NotFinite, OverflowError):
            return (BrokenGuard(PERPLEXITY, math.inf, limit, before, None),)
        return (BrokenGuard(PERPLEXITY, after / before - 1, limit, before, after),) if after / before - 1 > limit else ()

    @property
    def held(self) -> GuardLimits:
        """The limits that hold: without that of the perplexity where plain text is beyond the model."""
        is_off = self.limits.perplexity is None or not self.texts or self._text_is_beyond
        return replace(self.limits, perplexity=None) if is_off else self.limits

    def changes(self, plan: Plan) -> dict[str, float]:
        """Returns the change of each tag that tells examples apart under a plan; empty where answers are not right or wrong."""
        after = self.questions.answers(plan, workers=self._workers)
        values = [accuracy_of(self.questions, answers) for answers in (self._base, after)]
        if values[0] is None or values[1] is None:
            return {}
        return {tag: float(values[1][rows].mean() - values[0][rows].mean()) for tag, rows in self.questions.rows_by_tag.items()}

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences on guards that have nothing to hold."""
        if self.are_off:
            return ()
        notes = []
        if math.isfinite(min(self.limits.tags.values(), default=math.inf)) and not self.questions.rows_by_tag:
            notes.append("No guard on tags: the task tells no kinds of examples apart by tags, so only the total stands for them.")
        if self.limits.perplexity is not None and self.texts and self._text_is_beyond:
            perplexity = "not finite" if self.base_perplexity is None else PLAIN.number(self.base_perplexity)
            notes.append(
                f"No guard on perplexity: plain text is beyond this model (perplexity {perplexity}), so that its rise says nothing. Text "
                "that the model knows can be given by --text."
            )
        common = most_frequent(kinds_of(self.questions, self._base))
        if self.limits.collapse is not None and common is not None and common.wrong_share > 1 - self.limits.collapse:
            notes.append(
                f"The guard on collapse cannot hold anything: the unedited model answers {common.label} in "
                f"{PLAIN.percent(common.wrong_share)} of the cases where that is wrong."
            )
        return tuple(notes)

    @cached_property
    def base_perplexity(self) -> float | None:
        """The perplexity of the texts under the unedited model; None without texts, or where it is not finite."""
        if not self.texts:
            return None
        try:
            return self._perplexity(Plan())
        except (NotFinite, OverflowError):
            return None

    @property
    def _text_is_beyond(self) -> bool:
        return self.base_perplexity is None or is_beyond(self.questions.model, self.base_perplexity)

    @cached_property
    def _base(self) -> Answers:
        return self.questions.answers(Plan(), workers=self._workers)

    def _broken_tags(self, answers: Answers) -> list[BrokenGuard]:
        before, after = accuracy_of(self.questions, self._base), accuracy_of(self.questions, answers)
        if before is None or after is None:
            return []
        broken = []
        for tag, rows in self.questions.rows_by_tag.items():
            limit, loss = self.limits.of_tag(tag), float(before[rows].mean() - after[rows].mean())
            groups = [self.questions.groups[row] for row in rows]
            if loss > limit and is_certain_loss(before[rows], after[rows], groups, self._seed):
                broken.append(BrokenGuard(tag, loss, limit, float(before[rows].mean()), float(after[rows].mean())))
        return broken

    def _collapse(self, answers: Answers) -> list[BrokenGuard]:
        limit = self.limits.collapse
        found = None if limit is None else collapse(self.questions, self._base, answers, self._seed)
        if limit is None or found is None or found.rise <= limit or not found.is_certain:
            return []
        return [BrokenGuard(COLLAPSE, found.rise, limit, found.before, found.after, found.label)]

    def _perplexity(self, plan: Plan) -> float:
        model = self.questions.model
        rows, key = model.text_rows(self.texts), journal_key("text", list(self.texts))
        return perplexity_of(logprob_under(plan, model, rows, key, self._workers), sum(len(row.label_ids) for row in rows))


@dataclass(frozen=True)
class GuardedChoice(Generic[Candidate]):
    """What a guarded search chose.

    Parameters
    ----------
    chosen : the best candidate that breaks no guard; None: none is better than no edit
    by_score : what the score alone would have chosen; None: no edit
    broken : what each candidate that was checked breaks
    """

    chosen: Candidate | None
    by_score: Candidate | None
    broken: Mapping[Candidate, tuple[BrokenGuard, ...]]

    @property
    def is_guarded(self) -> bool:
        """Whether the guards changed the choice."""
        return self.chosen != self.by_score


def guard_facts(
    guards: Guards,
    choice: GuardedChoice[Candidate] | None,
    describe: Callable[[Candidate], Mapping[str, Any]] = lambda candidate: {},
    plan: Plan | None = None,
) -> dict[str, Any]:
    """Returns what comparison.json says on guards (`other_metrics.guards`).

    Parameters
    ----------
    choice : None: the search chose more than one candidate, or none by its score
    describe : a candidate by "name" and "score", and as in trials.jsonl by "size", or "site" and "rho"
    plan : what was chosen, to tell what it changes by tag where guards hold
    """
    refused = chosen = None
    if choice is not None:
        chosen = None if choice.chosen is None else dict(describe(choice.chosen))
        if choice.is_guarded and choice.by_score is not None:
            broken = choice.broken.get(choice.by_score, ())
            costs = [{**guard.to_json(), "sentence": str(guard)} for guard in broken]
            refused = {**describe(choice.by_score), "broken": costs}
    if chosen is not None and plan is not None and not guards.are_off:
        chosen["changes"] = guards.changes(plan)
    limits = guards.limits if guards.are_off else guards.held
    return {"limits": limits.to_json(), "refused": refused, "chosen": chosen}


def guard_sentence(facts: Mapping[str, Any], metric: str) -> str:
    """Returns what the score alone would have chosen, what that would have cost, and what was chosen instead; "" where it is the same."""
    refused, chosen, figures = facts["refused"], facts["chosen"], MetricFormat(metric)
    if refused is None:
        return ""
    costs = "; ".join(cost["sentence"] for cost in refused["broken"])
    instead = "nothing" if chosen is None else f"{chosen['name']} ({figures.value(chosen['score'])})"
    return (
        f"By {metric} on the select split alone, {refused['name']} would have been chosen ({figures.value(refused['score'])}). It breaks "
        f"guards: {costs}. Chosen instead: {instead}."
    )
