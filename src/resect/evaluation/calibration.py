"""CC and DC, the calibrations that are baselines of an edit: the model stays as it is, and its preferences are divided out of its answers.

CC    contextual calibration, Zhao et al. 2021, "Calibrate Before Use" (arXiv:2102.09690): how probable are the choices after inputs that
      have no content ("N/A", "", "[MASK]")?
DC    domain-context calibration, Fei et al. 2023, "Mitigating Label Biases for In-context Learning" (arXiv:2305.19148): the same, after
      20 texts of words drawn at random from the task's own.

Knows questions and their answers; knows no method and no plan but the empty one.

How the authors of CRISPR worded content-free questions where choices differ from example to example (BBQ) is unpublished. Here an example
keeps its own choices in the prompt, and the fields that are judged (`Task.judged_fields`) are replaced.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64

from resect.core.errors import BadTask, NotFinite, UnknownName
from resect.core.execution import Workers
from resect.data.tasks.task import Example, Task, split_of
from resect.edits.plan import Plan

from . import metrics
from .questions import Answers, Questions

CalibrationKind = Literal["cc", "dc"]
CALIBRATIONS: Mapping[CalibrationKind, str] = {"cc": "contextual calibration", "dc": "domain-context calibration"}
#: The inputs of CC, in the place of the fields that are judged.
CONTENT_FREE = ("N/A", "", "[MASK]")
#: The number of random texts that DC draws.
RANDOM_TEXTS = 20


def calibrated(
    questions: Questions,
    kind: CalibrationKind,
    *,
    seed: int = 0,
    workers: Workers | None = None,
) -> Answers:
    """Returns the answers of the unedited model after calibration; `values` is the accuracy.

    An example's choice probabilities, normalised, are multiplied by diag(p_cf)^-1, and the greatest is taken; p_cf: the choices'
    probabilities after content-free inputs, averaged and normalised, once for each distinct instruction and choices.

    Parameters
    ----------
    questions : of any metric; the choices are scored
    seed : of DC's draws; its words come from the *locate* and *select* examples of the task

    Raises BadTask where the task shows no text that could be replaced, or DC has no examples to take words from; NotFinite where a choice
    has probability 0 after every content-free input; and as scoring does.

    Differs from the source in: CC and DC are published for choices that are the same for all examples; see the head of this module. DC's
    words come from examples that are not tested on (its paper took the test texts). Masked models leave out the input that is their own
    mask token: it would be a second place to answer.
    """
    scored = questions.by("accuracy")
    mask = scored.model.mask_token
    fillings = [filling for filling in content_free(kind, scored.task, seed) if not mask or mask not in "".join(filling.values())]
    blank = _ContentFree.of(scored, fillings)
    without_content = Questions(scored.model, blank.task, blank.task.examples)
    stage = f"answering without content ({kind.upper()})"
    priors = blank.priors(without_content.all_logprobs(Plan(), stage=stage, workers=workers))
    logprobs_under = scored.all_logprobs(Plan(), stage="answering, unedited", workers=workers)
    chosen = [
        metrics.most_probable([logprobs - prior[case] for logprobs, case in zip(rows, blank.case_of, strict=True)])
        for rows, prior in zip(logprobs_under, priors, strict=True)
    ]
    predictions = np.stack(chosen, axis=1)
    return Answers(predictions, metrics.correct(predictions, scored.gold))


def content_free_count(questions: Questions, kind: CalibrationKind) -> int:
    """Returns the number of questions without content under each instruction. Raises as `content_free`."""
    fillings = content_free(kind, questions.task)
    return len(_ContentFree.of(questions, fillings).task.examples)


def content_free(kind: str, task: Task, seed: int = 0) -> tuple[dict[str, str], ...]:
    """Returns the texts that replace the fields that are judged: for each content-free input one for every such field.

    DC: floor(mean number of words) + 1 words, drawn one by one, with their frequency, from all lower-cased words of that field in *locate*
    and *select*, joined by blanks, and " ." at the end; each field has its own words and its own length.

    Raises UnknownName, BadTask.
    """
    if kind not in CALIBRATIONS:
        raise UnknownName("calibration", str(kind), CALIBRATIONS)
    fields = task.judged_fields
    if not fields:
        raise BadTask(
            f"The task {task.name!r} shows no text field that could be replaced by one without content, so it cannot be calibrated. "
            "Name the fields that are judged: `judged = [...]` in a task file."
        )
    if kind == "cc":
        return tuple(dict.fromkeys(fields, text) for text in CONTENT_FREE)
    unlabelled = [example for example in task.examples if split_of(example) != "test"]
    if not unlabelled:
        raise BadTask(f"DC takes its words from the splits locate and select, and the task {task.name!r} has no example there.")
    random = np.random.default_rng([seed, 0xDC])
    drawn = {name: _random_texts([str(example.fields[name]) for example in unlabelled], random) for name in fields}
    return tuple({name: texts[place] for name, texts in drawn.items()} for place in range(RANDOM_TEXTS))


def _random_texts(texts: Sequence[str], random: np.random.Generator) -> list[str]:
    by_text = [text.lower().split() for text in texts]
    pool = [word for words in by_text for word in words]
    length = len(pool) // len(texts) + 1
    if not pool:  # a field that is always empty has no words to draw
        return [" ."] * RANDOM_TEXTS
    return [" ".join(pool[place] for place in random.integers(len(pool), size=length)) + " ." for _ in range(RANDOM_TEXTS)]


@dataclass(frozen=True)
class _ContentFree:
    """The questions without content: a task of cases × fillings, and which case each example is.

    Two examples are one case where they have the same choices and the same text in all fields that are not judged.
    """

    task: Task
    choices: tuple[tuple[str, ...], ...]
    case_of: tuple[int, ...]

    @classmethod
    def of(cls, questions: Questions, fillings: Sequence[Mapping[str, str]]) -> "_ContentFree":
        task = questions.task
        kept = [name for name in task.shown_fields if name not in task.judged_fields]
        cases: dict[str, int] = {}
        examples: list[Example] = []
        case_of = []
        for example, choices in zip(questions.examples, questions.choices, strict=True):
            key = json.dumps([choices, [example.fields.get(name) for name in kept]], sort_keys=True, default=str)
            if key not in cases:
                examples += [_filled(example, filling, f"{len(cases)}/{n}") for n, filling in enumerate(fillings)]
            case_of.append(cases.setdefault(key, len(cases)))
        choices_of = tuple(tuple(example.choices) for example in examples[:: len(fillings)])
        return cls(replace(task, name=f"{task.name} without content", examples=tuple(examples)), choices_of, tuple(case_of))

    def priors(self, by_instruction: Sequence[Sequence[Float64[np.ndarray, " _"]]]) -> list[list[Float64[np.ndarray, " _"]]]:
        """Returns log p_cf of each case's choices, by instruction. Raises NotFinite where one of them is 0."""
        fillings = len(self.task.examples) // len(self.choices)
        priors = []
        for rows in by_instruction:
            parts = [np.stack(rows[start : start + fillings]) for start in range(0, len(rows), fillings)]
            priors.append([_log_mean(part, choices) for part, choices in zip(parts, self.choices, strict=True)])
        return priors


def _filled(example: Example, filling: Mapping[str, str], name: str) -> Example:
    return replace(example, fields={**example.fields, **filling}, id=name, group=name, split=None)


def _log_mean(logprobs: Float64[np.ndarray, "fillings choices"], choices: Sequence[str]) -> Float64[np.ndarray, " choices"]:
    """Returns the log of the mean probability over the fillings, normalised over the choices."""
    with np.errstate(divide="ignore"):
        means = np.logaddexp.reduce(logprobs, axis=0)
    impossible = [choice for choice, value in zip(choices, means, strict=True) if not np.isfinite(value)]
    if impossible:
        raise NotFinite(
            f"After every content-free input the choice {impossible[0]!r} has probability 0, so nothing can be divided by it: these "
            "answers cannot be calibrated. Try --dtype float32, or shorter choices."
        )
    return np.asarray(means - np.logaddexp.reduce(means), dtype=np.float64)
