"""Asks the unedited model before a search, and says where the job would be in vain: a cause with its numbers, and the way out.

Three causes: it answers nothing right, it answers at the level of chance, or there is nothing for the method to find. It is asked on
*select* or *locate*, never on *test*, and that takes seconds. Answers are stored where the job goes on; a refused job leaves nothing.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
from jaxtyping import Float64

from resect.core.errors import EmptySplit, NotWorthwhile
from resect.core.execution import Entry, Journal, Workers
from resect.core.intervals import LEVEL, bounded_interval
from resect.core.number_format import PLAIN, MetricFormat, plural
from resect.data.tasks.example import Example
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions
from resect.methods.base import Method, TaskInputs
from resect.models.language_model import LanguageModel
from resect.runs.recipe import Recipe

#: Examples that are asked first, and the fewest answers from which anything is concluded.
PROBE, LEAST_ANSWERS = 60, 30
#: Where the first answers do not differ from chance, more are asked, up to this many.
MOST = 240
#: A share of right answers that is farther from chance is not called chance, however wide its interval: that is too few answers to tell.
NEAR_CHANCE = 0.10
#: From more distinct right answers on, they are no kinds of examples.
KINDS_OF_ANSWERS = 10
STAGE = "asking the unedited model first"

Values = Float64[np.ndarray, " examples"]


def objections(method: Method, model: LanguageModel, inputs: TaskInputs, recipe: Recipe, workers: Workers) -> tuple[str, ...]:
    """Returns why the search would be in vain, where `anyway` is set: sentences for the notes of the run; mostly none.

    Raises NotWorthwhile with the same sentences where `anyway` is not set; what answering raises.
    """
    journal = _HeldJournal(workers.journal)
    asking = replace(workers, journal=journal)
    found = method.nothing_to_find(model, inputs, asking) or _weakness(method, model, inputs, recipe, asking)
    if found is not None and not recipe.anyway:
        raise NotWorthwhile(f"{found} --anyway goes on.")
    journal.release()
    return () if found is None else (found,)


@dataclass
class _HeldJournal:
    """A journal that holds what is kept until `release`: a job that is refused leaves no folder, and so refuses no other settings."""

    inner: Journal
    held: dict[str, Entry] = field(default_factory=dict)

    def recall(self, key: str) -> Entry | None:
        """The entry under `key`, or None."""
        return self.held[key] if key in self.held else self.inner.recall(key)

    def keep(self, key: str, entry: Entry) -> None:
        """Hold `entry` under `key`."""
        self.held[key] = entry

    def release(self) -> None:
        """Store what is held. Raises StorageFailure."""
        for key, entry in self.held.items():
            self.inner.keep(key, entry)
        self.held.clear()


def _weakness(method: Method, model: LanguageModel, inputs: TaskInputs, recipe: Recipe, workers: Workers) -> str | None:
    """Returns that the model answers nothing right, or at the level of chance; None where neither is shown."""
    try:
        questions = method.questions(model, inputs.task, "select")
    except EmptySplit:  # a method that searches nothing needs none
        return None
    if questions.less_is_better:
        return None
    for number, (examples, values) in enumerate(_answers(questions, workers)):
        if len(values) < LEAST_ANSWERS:
            return None
        if number == 0 and not values.any():
            return _nothing_right(questions, len(values), recipe)
        if questions.metric != "accuracy" or not is_at_chance(examples, values):
            return None
    return _by_chance(questions, examples, values, recipe)


def _answers(questions: Questions, workers: Workers) -> Iterator[tuple[Sequence[Example], Values]]:
    """Yields the first examples and the values of their answers under the first instruction; each time about twice as many."""
    values, asked = np.zeros(0), 0
    while asked < min(len(questions.examples), MOST):
        part = questions.part(asked, min(max(PROBE, 2 * asked), MOST))
        values = np.concatenate([values, part.answers(Plan(), stage=STAGE, workers=workers, instructions=1).values[:, 0]])
        asked = len(values)
        yield questions.examples[:asked], values


def is_at_chance(examples: Sequence[Example], values: Values) -> bool:
    """Returns whether right answers to choices are as frequent as by chance: all together, and those of every kind of example.

    Kinds are tags that some examples have and others lack, right answers, and their places among the choices: a model that prefers some
    answers is not at chance. By the 95 % interval of all, and by intervals of the kinds that are 95 % together.
    """
    chances = np.array([1 / len(example.choices) for example in examples])
    if not _covers_chance(examples, values, chances, LEVEL) or abs(values.mean() - chances.mean()) > NEAR_CHANCE:
        return False
    kinds = [rows for rows in _kinds(examples) if 0 < len(rows) < len(examples)]
    level = LEVEL / max(1, len(kinds))
    return all(_covers_chance([examples[row] for row in rows], values[rows], chances[rows], level) for rows in kinds)


def _covers_chance(examples: Sequence[Example], values: Values, chances: Values, level: float) -> bool:
    low, high = _interval(examples, values, level)
    return bool(low <= chances.mean() <= high)


def _interval(examples: Sequence[Example], values: Values, level: float = LEVEL) -> tuple[float, float]:
    """Returns the interval of the share of right answers over groups."""
    _, places = np.unique([example.group or "" for example in examples], return_inverse=True)
    low, high = bounded_interval(np.bincount(places, weights=values), np.bincount(places).astype(float), 0.0, 1.0, level=level)
    return low, high


def _kinds(examples: Sequence[Example]) -> list[list[int]]:
    """Returns the positions of the examples of each kind."""
    answers = [example.choices[example.gold] if isinstance(example.gold, int) else example.gold for example in examples]
    labels = [{("tag", tag) for tag in example.tags} | {("place", str(example.gold))} for example in examples]
    if len(Counter(answers)) <= KINDS_OF_ANSWERS:
        labels = [{*label, ("answer", answer)} for label, answer in zip(labels, answers, strict=True)]
    kinds = sorted(set().union(*labels))
    return [[place for place, label in enumerate(labels) if kind in label] for kind in kinds]


def _nothing_right(questions: Questions, number: int, recipe: Recipe) -> str:
    ways, sentence = _ways_out(questions, recipe), ""
    is_written = questions.metric != "accuracy"
    if is_written and all(questions.free):
        ways = ["give each example choices in the task file", *_if_offered(recipe, "logloss", "measure the log loss of the answer"), *ways]
    elif is_written:
        offered = [*_if_offered(recipe, "accuracy", "take the most probable choice"), *_if_offered(recipe, "logloss", "take the log loss")]
        ways = [*offered, *ways]
    else:
        sentence = f", less than by chance ({PLAIN.percent(_chance(questions.examples[:number]))})"
        ways = ["see whether `gold` names the right choices", *ways]
    return (
        f"The unedited model answers none of the first {plural(number, 'examples')} of *select* right ({questions.metric}){sentence}: "
        f"there is no ability that an edit could be measured by. {_sentence(ways)}"
    )


def _by_chance(questions: Questions, examples: Sequence[Example], values: Values, recipe: Recipe) -> str:
    figures, interval = MetricFormat(), _interval(examples, values)
    return (
        f"The unedited model answers at the level of chance: {figures.value(float(values.mean()))} of the first "
        f"{plural(len(values), 'examples')} of *select* are right (95 % interval {figures.interval(interval)}; chance "
        f"{figures.value(_chance(examples))}), and no kind of example clearly more or less often. What is found by such answers is chance. "
        f"{_sentence([*_if_offered(recipe, 'logloss', 'measure the log loss of the answer'), *_ways_out(questions, recipe)])}"
    )


def _chance(examples: Sequence[Example]) -> float:
    return float(np.mean([1 / len(example.choices) for example in examples]))


def _ways_out(questions: Questions, recipe: Recipe) -> list[str]:
    """Returns what can be tried whatever the metric."""
    has_template = bool(getattr(questions.model.tokenizer, "chat_template", None))
    template = ["wrap the prompts in the model's own chat template (--chat-template)"] if has_template and not recipe.chat_template else []
    return [*template, "word the task in another way (--template)", "take a model that can do the task"]


def _if_offered(recipe: Recipe, metric: str, what: str) -> list[str]:
    """Returns the advice with its flag where the method has this metric."""
    declared = recipe.declarations.get("metric")
    names = [name for option in declared.types for name in get_args(option)] if declared is not None else []
    return [f"{what} (--metric {metric})"] if metric in names else []


def _sentence(ways: Sequence[str]) -> str:
    text = f"{', '.join(ways[:-1])}, or {ways[-1]}." if len(ways) > 1 else f"{ways[0]}."
    return text[:1].upper() + text[1:]
