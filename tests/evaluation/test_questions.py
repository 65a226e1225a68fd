"""Questions with choices and without: what can be asked, how it is judged, and what is said to have been answered."""

from dataclasses import replace

import numpy as np
import pytest

import pico
from resect.core.errors import BadTask, InputError, PromptTooLong, UnknownName
from resect.core.execution import MemoryJournal, Workers
from resect.data.tasks.task import Example, Task
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions
from resect.models.language_model import LanguageModel


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel.of(pico.build("llama"), pico.tokenizer("llama"))


def chosen() -> Task:
    examples = tuple(Example({"text": f"q{i}"}, ("yes", "no"), i % 2) for i in range(4))
    return Task("chosen", examples, ("Do it.", "Now you."), "{{ instruction }} {{ text }}")


def told(gold: str = "Paris", **settings: object) -> Task:
    examples = tuple(Example({"text": f"q{i} Paris"}, (), gold) for i in range(4))
    return Task("told", examples, ("",), "{{ text }} is", matching="contains", **settings)


def test_a_text_cannot_be_chosen_and_the_error_names_what_can_be_asked(model: LanguageModel) -> None:
    with pytest.raises(BadTask, match=r"two choices or more.*generation, logloss, top1, top5, top10"):
        Questions(model, told(), told().examples)
    with pytest.raises(UnknownName, match="Did you mean 'top10'"):
        Questions(model, told(), told().examples, "top100")
    mixed = (*chosen().examples[:1], *told().examples[1:])
    with pytest.raises(BadTask, match="two choices"):
        Questions(model, told(), mixed)
    assert Questions(model, told(), mixed, "logloss").free == (False, True, True, True)


def test_answers_that_are_asked_alike_are_shared(model: LanguageModel) -> None:
    by = {metric: Questions(model, chosen(), chosen().examples, metric) for metric in ("accuracy", "logloss", "generation", "top1", "top5")}
    assert by["accuracy"].asked_digest == by["logloss"].asked_digest
    assert by["top1"].asked_digest == by["top5"].asked_digest
    assert len({questions.asked_digest for questions in by.values()}) == 3
    assert len({questions.digest for questions in by.values()}) == 5
    tasks = [told(), told(answer_tokens=3), told(answer_tokens_by={"llama": 5}), told(answer_tokens_by={"gpt2": 5})]
    for name in ("asked_digest", "digest"):
        digests = [getattr(Questions(model, task, task.examples, "generation"), name) for task in tasks]
        assert len(set(digests)) == 3
        assert digests[0] == digests[3]
    searched = [Questions(model, told(), told().examples, "generation", search_prompt=flag) for flag in (False, True)]
    assert searched[0].digest != searched[1].digest
    assert searched[0].asked_digest == searched[1].asked_digest
    journal, stages = MemoryJournal(), []
    first = by["top1"].answers(Plan(), workers=Workers(journal=journal))
    again = by["top5"].answers(Plan(), workers=Workers(journal=journal, progress=lambda *each: stages.append(each)))
    assert stages == []
    assert (again.values >= first.values).all()


def test_an_answer_in_the_prompt_counts_only_where_that_is_asked_for(model: LanguageModel) -> None:
    plain = Questions(model, told(), told().examples, "generation")
    official = Questions(model, told(), told().examples, "generation", search_prompt=True)
    assert plain.answers(Plan()).mean == 0
    assert official.answers(Plan()).mean == 1
    assert official.by("logloss").by("generation").answers(Plan()).mean == 1
    assert official.bundle([0, 2]).values().tolist() == [1, 1]


def test_of_a_text_is_said_what_the_model_said(model: LanguageModel) -> None:
    task = told(answer_tokens=2)
    generated = Questions(model, task, task.examples, "generation")
    answers = generated.answers(Plan())
    assert [generated.said(answers, e, 0) for e in range(4)] == model.generate([generated.prompt(e, "") for e in task.examples], 2)
    assert answers.predictions.tolist() == [[-1]] * 4
    loss = Questions(model, task, task.examples, "logloss")
    assert loss.said(loss.answers(Plan()), 0, 0) == ""
    top = Questions(model, chosen(), chosen().examples, "top10")
    firsts = top.answers(Plan())
    assert firsts.texts is not None
    assert top.said(firsts, 1, 1) == firsts.texts[1][1]
    assert np.array_equal(firsts.predictions == top.gold[:, None], firsts.values == 1)


def test_what_cannot_be_asked_is_refused_by_the_check(model: LanguageModel) -> None:
    limit = model.context
    assert limit is not None
    room = replace(told(), template="a" * (limit - 10))
    for metric in ("logloss", "top1"):
        Questions(model, room, room.examples, metric).check()
    with pytest.raises(PromptTooLong, match="16 new tokens"):
        Questions(model, room, room.examples, "generation").check()
    with pytest.raises(InputError, match="no log-probabilities"):
        Questions(model, chosen(), chosen().examples, "top1").all_logprobs(Plan())


def test_answers_of_several_tokens_are_counted() -> None:
    model = LanguageModel.of(pico.build("t5"), pico.tokenizer("t5"))
    examples = tuple(Example({"text": f"q{i}"}, (), gold) for i, gold in enumerate(["x", "xy", "xyz"]))
    task = Task("told", examples, ("",), "{{ text }}")
    assert Questions(model, task, examples, "top5").longer == 2
    assert Questions(model, task, examples, "logloss").longer == 0
