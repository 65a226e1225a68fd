"""CC and DC equal what one computes by hand, one prompt at a time; content-free inputs are what the papers say."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import pico
from resect.core.errors import BadTask, NotFinite, UnknownName
from resect.core.execution import MemoryJournal, Workers
from resect.data.tasks.splits import SHARES
from resect.data.tasks.task import Example, Task
from resect.edits.plan import Plan
from resect.evaluation.calibration import CONTENT_FREE, RANDOM_TEXTS, calibrated, content_free
from resect.evaluation.questions import Questions
from resect.models.language_model import LanguageModel

KINDS = ["t5-gated", "llama", "bert"]
TEMPLATE = "{{ instruction }} {{ story }} {{ question }} {{ place }} {{ choices | join(', ') }} {{ answer }}"


def some(groups: int = 40) -> Task:
    """Two judged fields, one field that repeats a choice, one number; choices differ from example to example."""
    choices = [("yes", "no"), ("red", "green", "blue")]
    examples = [
        Example(
            {"story": f"Once Upon {n} a time", "question": "who is it", "place": n % 3, "first": choices[n % 2][0]},
            choices[n % 2],
            n % 2,
            group=str(n),
        )
        for n in range(groups)
    ]
    return Task("some", tuple(examples), ("Do it.", "Now you."), TEMPLATE)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", ["cc", "dc"])
def test_answers_are_those_of_the_formula_computed_by_hand(name: str, kind: str) -> None:
    model = LanguageModel.of(pico.build(name, dtype=torch.float64), pico.tokenizer(name))
    task = some()
    examples = task.split("test")[:2]
    answers = calibrated(Questions(model, task, examples), kind, seed=3)
    fillings = [each for each in content_free(kind, task, 3) if not model.mask_token or model.mask_token not in each["story"]]
    for e, example in enumerate(examples):
        for i, instruction in enumerate(task.instructions):
            ask = lambda fields, example=example, instruction=instruction: np.exp(
                [
                    model.logprobs([task.prompt(replace(example, fields=fields), instruction, model.mask_token)], [choice])[0]
                    for choice in example.choices
                ]
            )
            free = np.mean([ask({**example.fields, **filling}) for filling in fillings], axis=0)
            own = ask(example.fields)
            scores = own / own.sum() / (free / free.sum())
            assert answers.predictions[e, i] == int(np.argmax(scores))
            assert answers.values[e, i] == (int(np.argmax(scores)) == example.gold)


def test_a_preference_that_has_nothing_to_do_with_the_question_is_divided_out() -> None:
    """A bias of the output layer towards one letter decides every answer; calibrated, it decides none."""
    model = LanguageModel.of(pico.build("gptj", dtype=torch.float64), pico.tokenizer("gptj"))
    examples = tuple(Example({"text": f"thing {n}"}, ("x", "y"), n % 2, group=str(n)) for n in range(60))
    task = Task("letters", examples, ("Say.",), "{{ instruction }} {{ text }}:")
    favoured = model.tokens("a:", "x").label_ids[-1]
    questions = lambda: Questions(model, task, task.split("test"))
    before = calibrated(questions(), "cc")
    with torch.no_grad():
        model.model.lm_head.bias[favoured] += 8.0
    assert set(questions().answers(Plan()).predictions.ravel().tolist()) == {0}
    assert (calibrated(questions(), "cc").predictions == before.predictions).mean() > 0.9


def test_each_distinct_instruction_and_choices_is_answered_once() -> None:
    model, task, journal = LanguageModel.of(pico.build("llama"), pico.tokenizer("llama")), some(), MemoryJournal()
    examples = task.split("test")
    calibrated(Questions(model, task, examples), "cc", workers=Workers(journal=journal))
    shapes = Counter(np.shape(entry["logprobs"]) for entry in journal._entries.values())
    cases = {(example.choices, example.fields["place"]) for example in examples}
    blank = len(CONTENT_FREE) * sum(len(choices) for choices, _ in cases)
    assert shapes == {(blank,): 2, (sum(len(example.choices) for example in examples),): 2}


def test_what_has_no_content_replaces_what_is_judged_and_nothing_else() -> None:
    task = some()
    assert task.judged_fields == ("question", "story")
    assert content_free("cc", task) == tuple({"question": text, "story": text} for text in ("N/A", "", "[MASK]"))
    assert replace(task, template="{{ instruction }} {{ first }} {{ story }}").judged_fields == ("story",)
    assert replace(task, judged=("story",)).judged_fields == ("story",)


def test_random_texts_are_of_the_domain_s_words_and_length() -> None:
    task = some(200)
    drawn = content_free("dc", task, seed=1)
    assert len(drawn) == RANDOM_TEXTS
    seen = [example for name in ("locate", "select") for example in task.split(name)]
    words = {word for example in seen for word in example.fields["story"].lower().split()}
    lengths = [len(example.fields["story"].split()) for example in seen]
    for texts in drawn:
        assert texts["story"].endswith(" .")
        *said, _ = texts["story"].split()
        assert set(said) <= words
        assert len(said) == int(np.mean(lengths)) + 1
        assert set(texts["question"].split()) <= {"who", "is", "it", "."}
    assert drawn == content_free("dc", task, seed=1) != content_free("dc", task, seed=2)


def test_the_words_never_come_from_the_examples_that_are_tested_on() -> None:
    task = some(100)
    marked = replace(
        task,
        examples=tuple(
            replace(example, fields={**example.fields, "story": "secret"}) if example in task.split("test") else example
            for example in task.examples
        ),
    )
    assert all("secret" not in texts["story"] for texts in content_free("dc", marked))


def test_choices_of_zero_probability_are_refused_in_words() -> None:
    model = LanguageModel.of(pico.build("gptj", dtype=torch.float64), pico.tokenizer("gptj"))
    with torch.no_grad():
        model.model.lm_head.bias[model.tokens("a:", "yes").label_ids[-1]] = -torch.inf
    with pytest.raises(NotFinite, match="cannot be calibrated"):
        calibrated(Questions(model, some(), some().split("test")), "cc")


def test_what_cannot_be_calibrated_is_refused() -> None:
    task = some()
    with pytest.raises(UnknownName, match="calibration"):
        content_free("ec", task)
    with pytest.raises(BadTask, match="no text field"):
        content_free("cc", replace(task, template="{{ instruction }} {{ first }}"))
    only = replace(task, examples=tuple(replace(example, split="test") for example in task.examples))
    with pytest.raises(BadTask, match="locate and select"):
        content_free("dc", only)
    with pytest.raises(BadTask, match="not every example has"):
        replace(task, judged=("nothing",))
    assert sum(SHARES.values()) == pytest.approx(1)
