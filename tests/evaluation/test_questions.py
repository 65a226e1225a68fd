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


def free_text_task(gold: str = "Paris", **settings: object) -> Task:
    examples = tuple(Example({"text": f"q{i} Paris"}, (), gold) for i in range(4))
    return Task("free text", examples, ("",), "{{ text }} is", matching="contains", **settings)


def test_free_text_has_no_accuracy_and_the_error_names_the_metrics_that_it_has(model: LanguageModel) -> None:
    with pytest.raises(BadTask, match=r"two choices or more.*generation, logloss, top1, top5, top10"):
        Questions(model, free_text_task(), free_text_task().examples)
    with pytest.raises(UnknownName, match="Did you mean 'top10'"):
        Questions(model, free_text_task(), free_text_task().examples, "top100")
    mixed = (*chosen().examples[:1], *free_text_task().examples[1:])
    with pytest.raises(BadTask, match="two choices"):
        Questions(model, free_text_task(), mixed)
    assert Questions(model, free_text_task(), mixed, "logloss").free == (False, True, True, True)


def test_metrics_of_one_mode_of_answering_share_answers(model: LanguageModel) -> None:
    by = {metric: Questions(model, chosen(), chosen().examples, metric) for metric in ("accuracy", "logloss", "generation", "top1", "top5")}
    assert by["accuracy"].answers_digest == by["logloss"].answers_digest
    assert by["top1"].answers_digest == by["top5"].answers_digest
    assert len({questions.answers_digest for questions in by.values()}) == 3
    assert len({questions.digest for questions in by.values()}) == 5
    tasks = [
        free_text_task(),
        free_text_task(answer_tokens=3),
        free_text_task(answer_tokens_by={"llama": 5}),
        free_text_task(answer_tokens_by={"gpt2": 5}),
    ]
    for name in ("answers_digest", "digest"):
        digests = [getattr(Questions(model, task, task.examples, "generation"), name) for task in tasks]
        assert len(set(digests)) == 3
        assert digests[0] == digests[3]
    searched = [Questions(model, free_text_task(), free_text_task().examples, "generation", search_prompt=flag) for flag in (False, True)]
    assert searched[0].digest != searched[1].digest
    assert searched[0].answers_digest == searched[1].answers_digest
    journal, stages = MemoryJournal(), []
    first = by["top1"].answers(Plan(), workers=Workers(journal=journal))
    again = by["top5"].answers(Plan(), workers=Workers(journal=journal, progress=lambda *each: stages.append(each)))
    assert stages == []
    assert (again.values >= first.values).all()


def test_an_answer_in_the_prompt_counts_only_with_search_prompt(model: LanguageModel) -> None:
    plain = Questions(model, free_text_task(), free_text_task().examples, "generation")
    official = Questions(model, free_text_task(), free_text_task().examples, "generation", search_prompt=True)
    assert plain.answers(Plan()).mean == 0
    assert official.answers(Plan()).mean == 1
    assert official.by("logloss").by("generation").answers(Plan()).mean == 1
    assert official.batch([0, 2]).evaluate()[0].tolist() == [1, 1]


def test_the_text_of_an_answer_is_what_the_model_generated(model: LanguageModel) -> None:
    task = free_text_task(answer_tokens=2)
    generated = Questions(model, task, task.examples, "generation")
    answers = generated.answers(Plan())
    assert [generated.answer_text(answers, e, 0) for e in range(4)] == model.generate([generated.prompt(e, "") for e in task.examples], 2)
    assert answers.predictions.tolist() == [[-1]] * 4
    loss = Questions(model, task, task.examples, "logloss")
    assert loss.answer_text(loss.answers(Plan()), 0, 0) == ""
    top = Questions(model, chosen(), chosen().examples, "top10")
    firsts = top.answers(Plan())
    assert firsts.texts is not None
    assert top.answer_text(firsts, 1, 1) == firsts.texts[1][1]
    assert np.array_equal(firsts.predictions == top.gold[:, None], firsts.values == 1)


def test_check_refuses_what_cannot_be_answered(model: LanguageModel) -> None:
    limit = model.context
    assert limit is not None
    room = replace(free_text_task(), template="a" * (limit - 10))
    for metric in ("logloss", "top1"):
        Questions(model, room, room.examples, metric).check()
    with pytest.raises(PromptTooLong, match="16 new tokens"):
        Questions(model, room, room.examples, "generation").check()
    with pytest.raises(InputError, match="no log-probabilities"):
        Questions(model, chosen(), chosen().examples, "top1").all_logprobs(Plan())


def test_answers_of_several_tokens_are_counted() -> None:
    model = LanguageModel.of(pico.build("t5"), pico.tokenizer("t5"))
    examples = tuple(Example({"text": f"q{i}"}, (), gold) for i, gold in enumerate(["x", "xy", "xyz"]))
    task = Task("free text", examples, ("",), "{{ text }}")
    assert Questions(model, task, examples, "top5").multi_token_answers == 2
    assert Questions(model, task, examples, "logloss").multi_token_answers == 0
