"""What a plan changes: the answers to the same questions before and after, paired. Knows questions and plans; knows no method."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Shaped

from resect.core.comparison import Comparison, difference, estimate
from resect.core.errors import InputError
from resect.core.execution import Workers
from resect.data.tasks.task import Example, Task
from resect.edits.plan import Plan
from resect.models.language_model import LanguageModel
from resect.runs.guard_limits import GuardLimits
from resect.runs.schemas.comparison import ComparisonFile
from resect.runs.verdict import judge

from .answer_kinds import answer_summary
from .metrics import TOP, all_correct
from .questions import Answers, Questions

#: The tag of an example that paraphrases another of its group.
PARAPHRASE = "paraphrase"


@dataclass(frozen=True)
class AnswerComparison:
    """Answers to the same examples, before and after.

    `controls`: the answers under each random plan. `changed`: the pairs of example and instruction whose answer changed, as rows of
    examples.jsonl: another choice, or where the answer is free text (or top-k) another text or another correctness. The log-loss of a
    free text changes no answer.
    """

    questions: Questions
    base: Answers
    edited: Answers
    controls: tuple[Answers, ...]
    seed: int

    @property
    def comparison(self) -> Comparison:
        """The numbers: estimates with intervals over groups, and the paired difference."""
        return comparison_of_answers(self.questions, self.base, [self.edited], [self.controls], self.seed)

    @property
    def changed(self) -> tuple[dict[str, Any], ...]:
        """One row for each changed pair, with its texts, so that a report needs neither model nor data."""
        differs = self.base.predictions != self.edited.predictions
        for e, i in np.argwhere(~differs).tolist():
            if self.questions.is_generated(e):
                differs[e, i] = self.questions.answer_text(self.base, e, i) != self.questions.answer_text(self.edited, e, i)
        return tuple(self._row(e, i) for e, i in np.argwhere(differs).tolist())

    def _row(self, e: int, i: int) -> dict[str, Any]:
        """Returns the row of a pair; `right` only where the texts do not show it: a generated answer is seldom the golden text itself."""
        example, instruction = self.questions.examples[e], self.questions.task.instructions[i]
        both = {"base": self.base, "edited": self.edited}
        right = {name: bool(answers.values[e, i] == 1) for name, answers in both.items()} if self.questions.is_generated(e) else None
        return {
            "id": example.id,
            "instruction": instruction,
            "prompt": self.questions.prompt(example, instruction),
            "gold": example.gold_text,
            "base": self.questions.answer_text(self.base, e, i),
            "edited": self.questions.answer_text(self.edited, e, i),
            "tags": list(example.tags),
            **({} if right is None else {"right": right}),
        }


def comparison_of_answers(
    questions: Questions,
    base: Answers,
    edited: Sequence[Answers],
    controls: Sequence[Sequence[Answers]],
    seed: int,
) -> Comparison:
    """Compares the base with the mean of several edited answers (one for each trial), and with the mean of all their controls."""
    drawn = [answers.values for trial in controls for answers in trial]
    facts = _paraphrases(questions, base, edited, seed)
    comparison = comparison_of_values(
        questions.task.name,
        questions.metric,
        base.values,
        np.mean([answers.values for answers in edited], axis=0),
        np.mean(drawn, axis=0) if drawn else None,
        groups=questions.groups,
        tags=[example.tags for example in questions.examples],
        less_is_better=questions.less_is_better,
        seed=seed,
    )
    others = {} if facts is None else {"paraphrases": facts}
    summary = answer_summary(questions, base, edited, seed)
    if all(answers is base for answers in edited):  # an empty plan: nothing could have been otherwise
        comparison = replace(comparison, difference=comparison.difference and comparison.difference.without_change())
    return replace(comparison, answers=summary, other_metrics=others, bias_scores=_bias_scores(questions, base, edited))


def comparison_of_values(
    task: str,
    metric: str,
    base: Shaped[np.ndarray, "examples ..."],
    edited: Shaped[np.ndarray, "examples ..."],
    control: Shaped[np.ndarray, "examples ..."] | None,
    *,
    groups: Sequence[str],
    tags: Sequence[Iterable[str]] | None = None,
    less_is_better: bool,
    seed: int,
) -> Comparison:
    """Compares values before and after, [examples, instructions] or [examples], paired, with intervals over groups."""
    change = difference(base, edited, groups, seed, tags)
    if less_is_better:  # a value that fell was fixed
        change = replace(change, fixed=change.broken, broken=change.fixed)
    return Comparison(
        task=task,
        metric=metric,
        n_examples=len(base),
        n_instructions=base.shape[1] if base.ndim > 1 else 1,
        n_groups=len(set(groups)),
        base=estimate(base, groups, tags, seed),
        edited=estimate(edited, groups, tags, seed),
        control=None if control is None else estimate(control, groups, tags, seed),
        difference=change,
    )


def compare(
    model: LanguageModel,
    plan: Plan,
    task: Task,
    *,
    examples: Sequence[Example] | None = None,
    controls: Sequence[Plan] = (),
    metric: str | None = None,
    seed: int = 0,
    search_prompt: bool = False,
    allow_other_model: bool = False,
    workers: Workers | None = None,
) -> AnswerComparison:
    """Returns answers of the base model, under `plan`, and under each control plan, on the same examples.

    Parameters
    ----------
    examples : default: the *test* split
    controls : random plans of the same size and kind; their mean is reported
    metric : a name of `resect.evaluation.metrics.METRICS`; default: the one that the task is reported by
    seed : of the resampling behind intervals and tests
    search_prompt : see `Questions`

    Raises EmptySplit, WrongModel, NotWritable, NotFinite, OutOfMemory.
    """
    examples = task.split("test") if examples is None else examples
    questions = Questions(model, task, examples, metric or task.metric, search_prompt=search_prompt)
    return compare_questions(questions, plan, controls=controls, seed=seed, allow_other_model=allow_other_model, workers=workers)


def compare_questions(
    questions: Questions,
    plan: Plan,
    *,
    controls: Sequence[Plan] = (),
    seed: int = 0,
    allow_other_model: bool = False,
    workers: Workers | None = None,
) -> AnswerComparison:
    """Returns the same for questions that are worded already. Parameters and errors as of `compare`."""
    plan.choose_forms(questions.model, allow_other_model=allow_other_model)  # before any question is answered
    answers = partial(questions.answers, allow_other_model=allow_other_model, workers=workers)
    base = answers(Plan(), stage="answering, unedited")
    edited = base if plan.is_empty else answers(plan, stage="answering, edited")
    drawn = [answers(control, stage=f"answering, control {place} of {len(controls)}") for place, control in enumerate(controls, start=1)]
    return AnswerComparison(questions, base, edited, tuple(drawn), seed)


def evaluate(
    model: LanguageModel,
    plan: Plan | None,
    task: Task,
    *,
    examples: Sequence[Example] | None = None,
    controls: Sequence[Plan] = (),
    metric: str | None = None,
    seed: int = 0,
    search_prompt: bool = False,
    allow_other_model: bool = False,
    workers: Workers | None = None,
) -> Comparison:
    """Returns what `plan` changes on the *test* split of `task`, paired, with intervals over groups.

    Parameters
    ----------
    plan : None measures the model as it is; the comparison's `edited` and `difference` are None then
    examples : default: the *test* split
    controls : random plans of the same size and kind (`resect.edits.controls.like(plan, model, seed)`); their mean is reported
    metric : a name of `resect.evaluation.metrics.METRICS` ("accuracy", "generation", "logloss", "top10", …); default: the one that the
        task is reported by
    seed : of the resampling behind intervals and tests
    search_prompt : whether a generated text is right too where the prompt holds the answer (see `Questions`)
    allow_other_model : let a plan pass that was made for another model of the same shape
    workers : engine, journal and progress; default: this process, in memory, silent

    The verdict weighs what is measured here: the answers, and neither perplexity nor other tasks.
    Raises EmptySplit, UnknownName, WrongModel, NotWritable, NotFinite, OutOfMemory.
    """
    if not isinstance(plan, Plan | None) or not isinstance(task, Task):
        raise InputError(f"evaluate takes a model, a Plan or None, and a Task, not {type(plan).__name__} and {type(task).__name__}.")
    compared = compare(
        model,
        plan or Plan(),
        task,
        examples=examples,
        controls=controls,
        metric=metric,
        seed=seed,
        search_prompt=search_prompt,
        allow_other_model=allow_other_model,
        workers=workers,
    )
    return judged(compared.comparison, plan) if plan is not None else without_plan(compared.comparison)


def judged(comparison: Comparison, plan: Plan, price: GuardLimits | None = None, damage: GuardLimits | None = None) -> Comparison:
    """Returns the comparison with the verdict on everything in it (see `resect.runs.verdict`, also for the limits)."""
    measured = ComparisonFile.model_validate(comparison.to_json())
    verdict = judge(measured, is_empty=plan.is_empty, price=price, damage=damage)
    return replace(comparison, verdict=verdict.model_dump(mode="json"))


def without_plan(comparison: Comparison) -> Comparison:
    """Returns the comparison of an unedited model: no edited answers, and no difference."""
    scores = None if comparison.bias_scores is None else {"base": comparison.bias_scores["base"]}
    others = {name: {**values, "edited": None, "difference": None} for name, values in comparison.other_metrics.items()}
    answers = comparison.answers and {name: _without_edited(part) for name, part in comparison.answers.items()}
    return replace(comparison, edited=None, difference=None, bias_scores=scores, other_metrics=others, answers=answers)


def _without_edited(part: Any) -> Any:
    """Returns a part of `answers` without what is of the edited model."""
    if not isinstance(part, dict) or "edited" not in part:
        return part
    return {**part, "edited": None, **({"is_certain": None} if "is_certain" in part else {})}


def _paraphrases(questions: Questions, base: Answers, edited: Sequence[Answers], seed: int) -> dict[str, Any] | None:
    """Compares facts that are correct in all of their wordings; None where there are no paraphrases, or no answer is right or wrong.

    A fact is a group of several examples with the field `fact`, of which one carries the tag "paraphrase"; its wordings are all of them.
    """
    with_fact = [example for example in questions.examples if "fact" in example.fields]
    sizes = Counter(example.group for example in with_fact)
    known = {example.group for example in with_fact if PARAPHRASE in example.tags and sizes[example.group] > 1}
    rows = [place for place, example in enumerate(questions.examples) if example.group in known]
    groups = [str(questions.examples[place].group) for place in rows]
    if not rows or questions.less_is_better:
        return None
    facts = list(dict.fromkeys(groups))
    before = all_correct(base.values[rows], groups)
    after = np.mean([all_correct(answers.values[rows], groups) for answers in edited], axis=0)
    return {
        "n_facts": len(facts),
        "per_fact": len(rows) / len(facts),
        "base": float(before.mean()),
        "edited": float(after.mean()),
        "difference": difference(before, after, facts, seed).to_json(),
    }


def _bias_scores(questions: Questions, base: Answers, edited: Sequence[Answers]) -> dict[str, Any] | None:
    """Returns a benchmark's own scores before and after; None where it has none.

    The answers of several trials are scored together, as those to further instructions are: numbers of answers add up, and an interval
    over groups is that of the score which it stands beside.
    """
    scores = questions.task.bias_scores
    if scores is None or questions.metric in TOP:  # the most probable token is none of the choices
        return None
    after = np.concatenate([answers.predictions for answers in edited], axis=1)
    return {"base": scores(questions.examples, base.predictions), "edited": scores(questions.examples, after)}
