"""Answers are those of the naive way, comparisons are paired, and nothing is asked twice."""

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import pico
import planted_bias
from naive import naive_logprob
from resect.core.address import Neurons
from resect.core.errors import BadTask, EmptySplit, UnknownName, WrongModel
from resect.core.execution import MemoryJournal, Workers
from resect.data.tasks.task import Example, Task
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.compare import compare, comparison_of_answers, evaluate
from resect.evaluation.questions import Questions
from resect.models.language_model import LanguageModel

KINDS = ["t5-gated", "llama", "bert"]


def uneven() -> Task:
    """Examples with two, three and four choices of unequal lengths."""
    choices = [("yes", "no"), ("a b c", "d", "e f"), ("red", "green", "blue or so", "x")]
    examples = tuple(Example({"text": f"q{i}"}, choices[i % 3], i % 2, group=str(i // 2), tags=(f"t{i % 2}",)) for i in range(24))
    return Task("uneven", examples, ("Do it.", "Now you."), "{{ instruction }} {{ text }} {{ answer }}")


@pytest.mark.parametrize("name", KINDS)
def test_answers_equal_those_of_one_choice_at_a_time(name: str) -> None:
    model = LanguageModel.of(pico.build(name), pico.tokenizer(name))
    task = uneven()
    answers = Questions(model, task, task.examples).answers(Plan())
    for e, example in enumerate(task.examples[:6]):
        for i, instruction in enumerate(task.instructions):
            prompt = task.prompt(example, instruction, model.mask_token)
            with torch.no_grad():
                naive = [float(naive_logprob(model, model.tokens(prompt, choice))) for choice in example.choices]
            assert answers.predictions[e, i] == int(np.argmax(naive))
            assert answers.values[e, i] == (int(np.argmax(naive)) == example.gold)


def test_log_loss_is_that_of_the_golden_choice() -> None:
    model = LanguageModel.of(pico.build("llama"), pico.tokenizer("llama"))
    task = uneven()
    questions = Questions(model, task, task.examples, "logloss")
    rows = questions.logprobs(0)
    wanted = [-row[example.gold] for row, example in zip(rows, task.examples, strict=True)]
    assert np.allclose(questions.answers(Plan()).values[:, 0], wanted)


def test_generation_counts_a_text_that_is_no_choice_as_wrong() -> None:
    model = LanguageModel.of(pico.build("llama"), pico.tokenizer("llama"))
    task = uneven()
    answers = Questions(model, task, task.examples[:4], "generation").answers(Plan())
    assert (answers.predictions == -1).all()
    assert answers.mean == 0.0
    assert answers.texts is not None
    assert len(answers.texts) == 4


@pytest.mark.slow
def test_a_comparison_counts_what_changed_and_lists_it() -> None:
    model, bias, _ = planted_bias.model("llama")
    task = planted_bias.task()
    plan = Plan((Scale(bias, 0.0),))
    result = compare(model, plan, task)
    change = result.comparison.difference
    assert change is not None
    assert change.fixed + change.broken == len(result.changed)
    assert change.mean == pytest.approx(result.edited.mean - result.base.mean)
    assert {row["gold"] for row in result.changed} == {"g"}
    assert all(row["base"] != row["edited"] and row["prompt"].endswith(": ") for row in result.changed)
    assert {row["id"] for row in result.changed} <= {example.id for example in task.split("test")}
    assert set(result.comparison.base.by_tag) == {"odd", "even"}
    json.dumps(result.changed)


def test_the_empty_plan_changes_nothing() -> None:
    model, _, _ = planted_bias.model("llama")
    comparison = evaluate(model, Plan(), planted_bias.task())
    assert comparison.base == comparison.edited
    assert comparison.difference is not None
    assert (comparison.difference.fixed, comparison.difference.broken) == (0, 0)
    assert comparison.difference.interval == (0.0, 0.0)


@pytest.mark.slow
def test_what_the_journal_holds_is_not_computed_again_and_the_model_is_not_touched() -> None:
    model, bias, _ = planted_bias.model("llama")
    task, journal, plan = planted_bias.task(), MemoryJournal(), Plan((Scale(bias, 0.0),))
    first = compare(model, plan, task, workers=Workers(journal=journal))
    with torch.no_grad():
        for weight in model.model.parameters():
            weight.zero_()
    again = compare(model, plan, task, workers=Workers(journal=journal))
    assert np.array_equal(first.edited.values, again.edited.values)


@pytest.mark.slow
def test_a_plan_for_another_model_is_refused_and_can_be_let_through() -> None:
    model, bias, _ = planted_bias.model("llama")
    other, _, _ = planted_bias.model("llama", seed=1)
    plan = Plan((Scale(bias, 0.0),)).for_model(model)
    with pytest.raises(WrongModel):
        evaluate(other, plan, planted_bias.task())
    evaluate(other, plan, planted_bias.task(), allow_other_model=True)


@pytest.mark.slow
def test_bias_scores_are_reported_before_and_after() -> None:
    model, bias, _ = planted_bias.model("llama")
    task = planted_bias.task()

    def wrong(examples: tuple[Example, ...], predictions: np.ndarray) -> dict[str, float]:
        return {"wrong": float((predictions != np.array([[example.gold] for example in examples])).mean())}

    scored = Task(task.name, task.examples, task.instructions, task.template, bias_scores=wrong)
    comparison = evaluate(model, Plan((Scale(bias, 0.0),)), scored)
    assert comparison.bias_scores == {
        "base": {"wrong": pytest.approx(1 - comparison.base.mean)},
        "edited": {"wrong": pytest.approx(1 - comparison.edited.mean)},
    }


def test_what_cannot_be_answered_is_refused() -> None:
    model, _, _ = planted_bias.model("llama")
    task = planted_bias.task()
    with pytest.raises(UnknownName, match="Did you mean 'accuracy'"):
        Questions(model, task, task.examples, "acuracy")
    free = Task("free", (Example({"text": "x"}, (), "paris"),), ("Say.",), "{{ text }}")
    with pytest.raises(BadTask, match="two choices"):
        Questions(model, free, free.examples)
    few = Task("few", task.examples[:1], task.instructions, task.template)
    missing = next(split for split in ("test", "select") if split != _split_of(few))
    with pytest.raises(EmptySplit):
        evaluate(model, Plan((Scale(Neurons({"decoder.0.q": [0]}), 0.0),)), few, examples=few.split(missing))


def _split_of(task: Task) -> str:
    for name in ("locate", "select", "test"):
        try:
            task.split(name)
        except EmptySplit:
            continue
        return name
    raise AssertionError("a task has examples")


@pytest.mark.slow
def test_bias_scores_of_several_trials_are_of_all_their_answers() -> None:
    model, bias, skill = planted_bias.model("llama")
    task = replace(
        planted_bias.task(), bias_scores=lambda examples, taken: {"share": float((np.asarray(taken) == 0).mean()), "n": taken.size}
    )
    both = [Questions(model, task, task.split("test")).answers(Plan((Scale(each, 0.0),))) for each in (bias, skill)]
    questions = Questions(model, task, task.split("test"))
    found = comparison_of_answers(questions, questions.answers(Plan()), both, [], 0).bias_scores
    shares = [float((answers.predictions == 0).mean()) for answers in both]
    assert found["edited"] == {"share": pytest.approx(sum(shares) / 2), "n": 2 * found["base"]["n"]}


@functools.cache
def planted_once() -> tuple[LanguageModel, Neurons]:
    """A planted model that nobody changes for good."""
    model, bias, _ = planted_bias.model("llama")
    return model, bias


def free_text_task(n: int = 24) -> Task:
    """The planted questions without choices; as it is the model says "n", and once its bias is cut something else."""
    task = planted_bias.task(n)
    examples = [replace(example, choices=(), gold="n" if place % 3 else "q") for place, example in enumerate(task.examples)]
    return replace(task, examples=tuple(examples), matching="contains", answer_tokens=2, metric="generation")


def test_a_task_is_compared_by_its_own_metric_and_texts_that_changed_are_listed() -> None:
    model, bias = planted_once()
    plan, task = Plan((Scale(bias, 0.0),)), free_text_task()
    result = compare(model, plan, task)
    comparison, change = result.comparison, result.comparison.difference
    assert comparison.metric == "generation"
    assert change is not None
    assert (change.fixed, change.broken) == (0, round(comparison.base.mean * 2 * comparison.n_examples))
    assert len(result.changed) == 2 * comparison.n_examples  # those that were wrong before and after said another text
    for row in result.changed:
        assert row["base"] != row["edited"]
        assert row["right"] == {"base": row["gold"] in row["base"], "edited": False}
    assert sum(row["right"]["base"] for row in result.changed) == change.broken
    assert compare(model, Plan(), task).changed == ()
    json.dumps(result.changed)


def test_a_log_loss_that_fell_is_fixed_and_no_text_changed() -> None:
    model, bias = planted_once()
    result = compare(model, Plan((Scale(bias, 0.0),)), free_text_task(), metric="logloss")
    change = result.comparison.difference
    assert change is not None
    assert change.fixed == int((result.edited.values < result.base.values).sum())
    assert change.broken == int((result.edited.values > result.base.values).sum())
    assert change.fixed + change.broken > 0
    assert result.changed == ()


def test_of_top_k_the_most_probable_token_is_listed_and_no_bias_score_is_made_of_it() -> None:
    model, bias = planted_once()
    task = replace(planted_bias.task(), bias_scores=lambda examples, taken: {"share": 0.5})
    result = compare(model, Plan((Scale(bias, 0.0),)), task, metric="top1")
    assert result.comparison.bias_scores is None
    assert result.base.texts is not None
    assert {row["base"] for row in result.changed} <= {text for row in result.base.texts for text in row}
    assert any(row["base"] == "n" for row in result.changed)
    assert all(row["right"] == {"base": False, "edited": False} for row in result.changed)


@pytest.mark.slow
@pytest.mark.parametrize("wordings", [2, 3])
def test_facts_are_right_where_all_of_their_wordings_are(wordings: int) -> None:
    model, bias = planted_once()
    task = free_text_task(24)
    examples = [
        replace(
            each, fields={**each.fields, "fact": str(i // wordings)}, group=str(i // wordings), tags=("paraphrase",) * (i % wordings > 0)
        )
        for i, each in enumerate(task.examples)
    ]
    asked = replace(task, examples=tuple(examples))
    found = evaluate(model, Plan((Scale(bias, 0.0),)), asked, examples=asked.examples).other_metrics["paraphrases"]
    facts = [examples[start : start + wordings] for start in range(0, 24, wordings)]
    assert found["n_facts"] == len(facts)
    assert found["per_fact"] == wordings
    said = np.array(Questions(model, asked, asked.examples, "generation").answers(Plan()).values)
    by_fact = said.reshape(len(facts), wordings, 2).min(axis=1)
    assert found["base"] == pytest.approx(by_fact.mean())
    assert found["edited"] == 0
    assert found["difference"]["broken"] == round(found["base"] * len(facts) * 2)
    alone = evaluate(model, None, asked, examples=asked.examples).other_metrics["paraphrases"]
    assert alone == {**found, "edited": None, "difference": None}
    assert "paraphrases" not in evaluate(model, None, asked, examples=asked.examples, metric="logloss").other_metrics
