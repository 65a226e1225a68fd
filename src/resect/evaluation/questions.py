"""Questions: examples of a task, worded for one model under every instruction, and the answers to them under any plan.

Knows tasks, metrics and plans; knows no method, no split, and nothing of comparing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from jaxtyping import Float64, Int64

from resect.core.comparison import rows_by_tag
from resect.core.errors import BadTask, InputError, UnknownName
from resect.core.execution import Entry, Workers, journal_key, json_digest
from resect.data.tasks.task import Example, Task
from resect.edits.plan import Plan, WorkWithPlan
from resect.models.language_model import LanguageModel

from . import metrics
from .answer_modes import RankFirstToken, ScoreChoices, answer_pairs, logprobs_by_pair, prompt_choice_pairs
from .question_batch import AnswerCriterion, QuestionBatch


@dataclass(frozen=True)
class Answers:
    """The answers of a model: every example under every instruction.

    `predictions` [examples, instructions]: index of the choice, −1 for a text that is no choice; where the answer is free text 0 for a
    right one, −1 else. `values`, same shape: the metric. `texts[e][i]`: what was generated (metric "generation"), or the most probable
    first token (top-k).
    """

    predictions: Int64[np.ndarray, "examples instructions"]
    values: Float64[np.ndarray, "examples instructions"]
    texts: tuple[tuple[str, ...], ...] | None = None

    @property
    def mean(self) -> float:
        """The metric's mean over all pairs of example and instruction."""
        return float(self.values.mean())


class Questions:
    """Examples of a task, worded for one model under every instruction, to be answered under any number of plans.

    Parameters
    ----------
    examples : with choices and an index as gold, or a gold text; for the accuracy each with two choices or more
    metric : a name of `metrics.METRICS`
    search_prompt : whether a generated text is right too where the prompt contains the answer (LASER's authors do so for GPT-J and
        Llama); for tasks with the matching "contains"

    `free[e]`: whether the answer to example e is free text; `choices[e]` is then the golden text alone.
    Raises BadTask for an example that has no answer under the metric, UnknownName for a metric that does not exist.
    """

    def __init__(
        self, model: LanguageModel, task: Task, examples: Sequence[Example], metric: str = "accuracy", *, search_prompt: bool = False
    ) -> None:
        if metric not in metrics.METRICS:
            raise UnknownName("metric", metric, metrics.METRICS)
        self.model, self.task, self.examples, self.metric = model, task, tuple(examples), metric
        self.choices = [choices_of(example, metric) for example in self.examples]
        self.free = tuple(isinstance(example.gold, str) for example in self.examples)
        self.gold = np.array([example.gold if isinstance(example.gold, int) else 0 for example in self.examples], dtype=np.int64)
        self.criterion = AnswerCriterion(metric, task.matching, task.tokens_for(model.anatomy.family), search_prompt)
        self.encoded_choices, self._under, self._lengths = cache(self._encode_choices), cache(self._all_under), cache(self._lengths_under)

    @cached_property
    def groups(self) -> list[str]:
        """The group of each example, which intervals resample; an example without one is its own."""
        return [example.group or str(example.id) for example in self.examples]

    @cached_property
    def rows_by_tag(self) -> dict[str, list[int]]:
        """The rows of each tag that tells examples apart: that some of them have, and not all; sorted by tag."""
        rows = rows_by_tag([example.tags for example in self.examples], len(self.examples))
        return {tag: part for tag, part in rows.items() if len(part) < len(self.examples)}

    @property
    def digest(self) -> str:
        """A short hash of all that the values depend on, apart from the model and the plan."""
        return self._hash(repr(self.criterion))

    @property
    def answers_digest(self) -> str:
        """A short hash of all that the answers depend on, apart from the model and the plan; metrics of one mode of answering share it."""
        return self._hash(self.criterion.mode_name)

    def _hash(self, criterion: str) -> str:
        wording = self.model.encoder.wording
        content = [self.task.digest, criterion, [example.id for example in self.examples]]
        return json_digest([*content, wording] if wording else content)

    def answers(
        self,
        plan: Plan,
        *,
        allow_other_model: bool = False,
        stage: str = "answering",
        workers: Workers | None = None,
        instructions: int | None = None,
    ) -> Answers:
        """Returns all answers under `plan`, or those under the first `instructions`; an item an instruction.

        Raises NotFinite, OutOfMemory, PromptTooLong, as `Plan.applied`.
        """
        entries = self._entries(plan, allow_other_model, stage, workers, instructions)
        columns = [self._under(place).graded(entry) for place, entry in enumerate(entries)]
        texts = [column.texts for column in columns if column.texts is not None]
        return Answers(
            np.stack([column.predictions for column in columns], axis=1),
            np.stack([column.values for column in columns], axis=1),
            tuple(zip(*texts, strict=True)) if texts else None,
        )

    def all_logprobs(
        self, plan: Plan, *, stage: str = "answering", workers: Workers | None = None
    ) -> list[list[Float64[np.ndarray, " _"]]]:
        """Returns log-probabilities of the choices under `plan`, by instruction and example; the work items are those of `answers`.

        Raises InputError for questions that are not answered by scoring; else as `answers`.
        """
        if metrics.answer_mode(self.metric) != "scoring":
            raise InputError(f"Answers by {self.metric} have no log-probabilities of choices; take the metric accuracy or logloss.")
        return [logprobs_by_pair(entry, self.choices) for entry in self._entries(plan, False, stage, workers)]

    def by(self, metric: str) -> "Questions":
        """Returns the same questions under another metric; metrics of one mode of answering share stored answers. Raises as the class."""
        if metric == self.metric:
            return self
        return Questions(self.model, self.task, self.examples, metric, search_prompt=self.criterion.search_prompt)

    def part(self, start: int, stop: int) -> "Questions":
        """Returns the examples from `start` up to `stop`, as questions; all of them have the stored answers of these very questions."""
        return Questions(self.model, self.task, self.examples[start:stop], self.metric, search_prompt=self.criterion.search_prompt)

    def _entries(
        self, plan: Plan, allow_other_model: bool, stage: str, workers: Workers | None, instructions: int | None = None
    ) -> list[Entry]:
        places = range(len(self.task.instructions))[:instructions]
        keys = [journal_key("answers", self.answers_digest, plan.digest, place) for place in places]
        work = WorkWithPlan(plan, self.model, answer_pairs, allow_other_model)
        return list((workers or Workers()).map(work, (self._under(place).mode for place in places), keys, stage=stage))

    # Batches of pairs, for searches.

    @property
    def pairs(self) -> int:
        """How many pairs of example and instruction there are; pair p is example p // instructions under instruction p % instructions."""
        return len(self.examples) * len(self.task.instructions)

    @property
    def less_is_better(self) -> bool:
        """Whether a smaller value of the metric is the better one."""
        return self.metric in metrics.LESS_IS_BETTER

    @property
    def best_value(self) -> float | None:
        """The best value that a pair can have."""
        return 0.0 if self.less_is_better else 1.0

    @property
    def replayable(self) -> bool:
        """Whether a pair is answered in a fixed sequence of forward calls; generating several tokens one by one is none."""
        return self.metric != "generation" or self.model.kind == "masked" or self.criterion.new_tokens == 1

    @property
    def multi_token_answers(self) -> int:
        """How many golden answers have more tokens than the first, which is the one that top-k ranks (0 for other metrics)."""
        modes = [self._under(place).mode for place in range(len(self.task.instructions))]
        return max(mode.multi_token_answers if isinstance(mode, RankFirstToken) else 0 for mode in modes)

    def length(self, pair: int) -> int:
        """Returns tokens of a pair's prompt. Raises as `check`."""
        e, place = divmod(pair, len(self.task.instructions))
        return self._lengths(place)[e]

    def batch(self, pairs: Sequence[int]) -> QuestionBatch:
        """Returns these pairs, worded and encoded once, to be evaluated at once any number of times with the model as it is then.

        Raises InputError for a pair that does not exist, and as `check`.
        """
        outside = [pair for pair in pairs if not 0 <= pair < self.pairs]
        if outside or not pairs:
            raise InputError(f"A batch has one pair or more of 0 to {self.pairs - 1}, not {outside or 'none'}.")
        where = [divmod(pair, len(self.task.instructions)) for pair in pairs]
        prompts = tuple(self.prompt(self.examples[e], self.task.instructions[place]) for e, place in where)
        choices, gold = tuple(self.choices[e] for e, _ in where), self.gold[[e for e, _ in where]]
        mode = self.criterion.encode(self.model, prompts, choices, gold.tolist())
        return QuestionBatch(tuple(pairs), prompts, choices, gold, self.criterion, lambda: mode)

    # Choices, scored with the model as it is now, whatever the metric. `encoded_choices(instruction)`: encoded once.

    def logprobs(self, place: int) -> list[Float64[np.ndarray, " _"]]:
        """Returns log-probabilities of each example's choices under one instruction, with the model as it is now."""
        return logprobs_by_pair(self.encoded_choices(place).answer(), self.choices)

    def _encode_choices(self, place: int) -> ScoreChoices:
        """Returns the choices of all examples under one instruction. Raises InputError, PromptTooLong."""
        mode = self._under(place).mode if metrics.answer_mode(self.metric) == "scoring" else None
        return mode if isinstance(mode, ScoreChoices) else ScoreChoices.of(self.model, self._prompts(place), self.choices)

    # Prompts and answers as text.

    def prompt(self, example: Example, instruction: str) -> str:
        """Returns the prompt of an example under an instruction; special tokens that the example spells are marked as data."""
        return self.task.prompt(example, instruction, self.model.mask_token, self.model.encoder.special.spellings)

    def answer_text(self, answers: Answers, e: int, i: int) -> str:
        """Returns the answer to example e under instruction i as text; empty where there is none (the log-loss of a text)."""
        index = int(answers.predictions[e, i])
        if answers.texts is not None and (index < 0 or self.is_generated(e)):
            return answers.texts[e][i]
        return "" if self.free[e] else self.choices[e][index]

    def is_generated(self, e: int) -> bool:
        """Returns whether the answer to example e is a text of the model's own, not one of the choices."""
        return self.free[e] or self.metric in metrics.TOP

    def check(self) -> None:
        """Words and encodes everything, and runs nothing: what cannot be answered is refused before any work.

        Raises BadTask, InputError for a choice that becomes no token, PromptTooLong with the number of pairs that do not fit.
        """
        places = range(len(self.task.instructions))
        if metrics.answer_mode(self.metric) == "generation":
            self.model.encode_prompts([prompt for place in places for prompt in self._prompts(place)], self.criterion.new_tokens)
            return
        pairs = [prompt_choice_pairs(self._prompts(place), self.choices) for place in places]
        self.model.check_lengths([length for prompts, choices in pairs for length in self.model.pair_lengths(prompts, choices)])

    def _prompts(self, place: int) -> tuple[str, ...]:
        return tuple(self.prompt(example, self.task.instructions[place]) for example in self.examples)

    def _all_under(self, place: int) -> QuestionBatch:
        """Returns all examples under one instruction."""
        pairs = tuple(range(place, self.pairs, len(self.task.instructions)))
        prompts, choices = self._prompts(place), tuple(self.choices)
        mode = cache(lambda: self.criterion.encode(self.model, prompts, choices, self.gold.tolist()))
        return QuestionBatch(pairs, prompts, choices, self.gold, self.criterion, mode)

    def _lengths_under(self, place: int) -> list[int]:
        return self._under(place).mode.prompt_lengths


def choices_of(example: Example, metric: str = "accuracy") -> tuple[str, ...]:
    """Returns an example's choices; the golden text alone where it has none. Raises BadTask where the metric needs two choices or more."""
    if isinstance(example.gold, str):
        if metric != "accuracy":
            return (example.gold,)
    elif len(example.choices) > 1:
        return tuple(example.choices)
    raise BadTask(
        f"The example {example.id} has {len(example.choices)} choices and gold {example.gold!r}; to choose, a model needs two "
        "choices or more and the index of the right one. Answers that are free text can be measured by the metrics "
        f"{', '.join(name for name in metrics.METRICS if name != 'accuracy')}."
    )
