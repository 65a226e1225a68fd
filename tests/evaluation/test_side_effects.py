"""Side effects are what each measure gives by itself, for one plan, for several, and for none."""

import dataclasses
import functools
import math

import pytest
import torch

import pico
import planted_bias
from resect.core.address import Neurons
from resect.core.comparison import Comparison
from resect.core.errors import BadTask, InputError, PromptTooLong
from resect.core.execution import MemoryJournal, Workers
from resect.data.tasks.task import Task
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.calibration import calibrated
from resect.evaluation.compare import AnswerComparison, compare, evaluate
from resect.evaluation.perplexity import ITEM_TOKENS
from resect.evaluation.questions import Questions
from resect.evaluation.side_effects import SideEffects
from resect.models.language_model import LanguageModel

TEXTS = ("some plain text to read", "and another one, which is longer than that")


@functools.cache
def compared(kind: str) -> tuple[AnswerComparison, Plan]:
    model, bias, _ = planted_bias.model(kind)
    plan = Plan((Scale(bias, 0.0),))
    return compare(model, plan, planted_bias.task(24)), plan


def measured(found: AnswerComparison, plans: list[Plan], **wanted: object) -> Comparison:
    comparison, notes = SideEffects(**wanted).measure(found.comparison, found.questions, plans)
    assert notes == ()
    return comparison


@pytest.mark.slow
def test_baselines_are_the_calibrated_answers_of_the_model_as_it_is() -> None:
    found, plan = compared("llama")
    comparison = measured(found, [plan], calibrate=("cc", "dc"))
    for kind in ("cc", "dc"):
        assert comparison.baselines[kind].mean == pytest.approx(calibrated(found.questions, kind).mean)
    assert measured(found, [plan]).baselines == {"cc": None, "dc": None}


@pytest.mark.slow
def test_answers_by_generation_are_reported_with_those_by_scoring() -> None:
    found, plan = compared("llama")
    both = measured(found, [plan], generation=True).other_metrics["generation"]
    alone = evaluate(found.questions.model, plan, planted_bias.task(24), metric="generation")
    assert both["base"] == alone.base.to_json()
    assert both["edited"] == alone.edited.to_json()
    assert both["difference"] == alone.difference.to_json()
    assert all(0 <= share <= 1 for share in both["unmatched"].values())
    assert both["unmatched"]["base"] == pytest.approx(float((found.questions.by("generation").answers(Plan()).predictions < 0).mean()))


@pytest.mark.parametrize("kind", ["llama", "t5-gated", "bert"])
def test_perplexity_is_that_of_the_model_with_and_without_the_plan(kind: str) -> None:
    found, plan = compared(kind)
    said = measured(found, [plan], texts=TEXTS, text_name="mine").side_effects["perplexity"]
    model = found.questions.model
    assert said["base"] == pytest.approx(model.perplexity(TEXTS))
    with plan.applied(model):
        assert said["edited"] == pytest.approx(model.perplexity(TEXTS))
    assert said["base"] != said["edited"]
    assert said["kind"] == ("pseudo-perplexity" if kind == "bert" else "perplexity")
    assert said["text"] == "mine"
    assert said["tokens"] == model.text_logprob(TEXTS)[1]


def test_another_task_is_compared_on_its_own_test_split() -> None:
    found, plan = compared("llama")
    other = dataclasses.replace(planted_bias.task(20), name="other", instructions=("Name it:",))
    effect = measured(found, [plan], tasks=(other,)).side_effects["other"]
    alone = evaluate(found.questions.model, plan, other)
    assert (effect["base"], effect["edited"]) == (alone.base.mean, alone.edited.mean)
    assert effect["difference"] == alone.difference.to_json()


def test_of_several_plans_the_outcomes_are_averaged() -> None:
    found, plan = compared("llama")
    both = measured(found, [plan, Plan()], texts=TEXTS).side_effects["perplexity"]
    one = measured(found, [plan], texts=TEXTS).side_effects["perplexity"]
    assert both["edited"] == pytest.approx((one["edited"] + one["base"]) / 2)


def test_without_a_plan_nothing_is_reported_of_an_edited_model() -> None:
    found, _ = compared("llama")
    comparison = measured(found, [], texts=TEXTS, generation=True, tasks=(dataclasses.replace(planted_bias.task(), name="other"),))
    assert comparison.side_effects["perplexity"]["edited"] is None
    assert comparison.other_metrics["generation"]["edited"] is comparison.other_metrics["generation"]["difference"] is None
    assert comparison.side_effects["other"]["edited"] is None
    assert Comparison.from_json(comparison.to_json()) == comparison


def test_what_cannot_be_measured_is_a_note_and_the_rest_is_measured() -> None:
    model = LanguageModel.of(pico.build("gptj", dtype=torch.float64), pico.tokenizer("gptj"))
    with torch.no_grad():  # the content-free answer "b" becomes impossible
        model.model.lm_head.bias[model.tokens("a:", "b").label_ids[-1]] = -torch.inf
    found = compare(model, Plan(), planted_bias.task(24))
    effects = SideEffects(calibrate=("cc",), texts=("",))
    comparison, notes = effects.measure(found.comparison, found.questions, [Plan()])
    assert comparison.baselines["cc"] is None
    assert comparison.side_effects["perplexity"] is None or math.isfinite(comparison.side_effects["perplexity"]["base"])
    assert "probability 0" in notes[0]
    again, said = dataclasses.replace(effects, must=True).measure(found.comparison, found.questions, [Plan()])
    assert (again, said) == (comparison, notes)  # what is not finite costs nothing that was measured before


def test_prompts_that_leave_no_room_to_generate_are_noted() -> None:
    model, task = LanguageModel.of(pico.build("gpt2"), pico.tokenizer("gpt2")), planted_bias.task()
    spare = model.context - max(model.pair_lengths([task.prompt(each, task.instructions[0]) for each in task.examples], ["b"] * 60))
    long = dataclasses.replace(task, template="{{ instruction }}" + "a" * (spare - 4) + "{{ text }}:")
    found = compare(model, Plan(), long)
    comparison, notes = SideEffects(generation=True).measure(found.comparison, found.questions, [Plan()])
    assert comparison.other_metrics["generation"] is None
    assert "do not fit" in notes[0]
    with pytest.raises(PromptTooLong):
        SideEffects(generation=True, must=True).measure(found.comparison, found.questions, [Plan()])


def test_what_the_journal_holds_is_not_computed_again() -> None:
    found, plan = compared("llama")
    journal, stages = MemoryJournal(), []
    effects = SideEffects(calibrate=("cc", "dc"), generation=True, texts=TEXTS)
    first, _ = effects.measure(found.comparison, found.questions, [plan], workers=Workers(journal=journal))
    kept = len(journal._entries)
    again, _ = effects.measure(
        found.comparison, found.questions, [plan], workers=Workers(journal=journal, progress=lambda *reported: stages.append(reported))
    )
    assert again == first
    assert len(journal._entries) == kept


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_perplexity_that_is_not_finite_after_the_edit_is_noted_and_all_else_kept(kind: str) -> None:
    found, _ = compared(kind)
    model = found.questions.model
    site = model.anatomy.sites[-1]
    lost = Plan((Scale(Neurons({site: range(model.anatomy.shape(site)[0])}), 1e300),))
    comparison, notes = SideEffects(texts=TEXTS, must=True).measure(found.comparison, found.questions, [lost])
    effect = comparison.side_effects["perplexity"]
    assert effect["base"] == pytest.approx(model.perplexity(TEXTS))
    assert effect["edited"] is None
    assert len(notes) == 1
    assert "edited model" in notes[0]
    assert comparison.base == found.comparison.base


@pytest.mark.slow
def test_plain_text_is_scored_in_items_that_are_stored() -> None:
    found, _ = compared("bert")
    texts = ("some words, and some more of them " * 8,)  # of a masked model every token is a row of its own
    journal, reported = MemoryJournal(), []
    said, _ = SideEffects(texts=texts).measure(
        found.comparison, found.questions, [], workers=Workers(journal=journal, progress=lambda *each: reported.append(each))
    )
    parts = [key for key in journal._entries if key.startswith("text/")]
    assert len(parts) == math.ceil(said.side_effects["perplexity"]["tokens"] / (ITEM_TOKENS // 274)) == 2
    assert reported == [("reading plain text", done, 2) for done in range(3)]
    assert said.side_effects["perplexity"]["base"] == pytest.approx(found.questions.model.perplexity(texts))


def test_two_side_effects_of_one_name_are_refused() -> None:
    other = dataclasses.replace(planted_bias.task(20), name="other")
    with pytest.raises(InputError, match=r"'other'.*twice"):
        SideEffects(tasks=(other, other))
    with pytest.raises(InputError, match="'perplexity'"):
        SideEffects(tasks=(dataclasses.replace(other, name="perplexity"),))


@pytest.mark.slow
def test_baselines_are_reported_with_the_metric_that_they_are_of() -> None:
    scored, plan = compared("llama")
    found = compare(scored.questions.model, plan, planted_bias.task(24), metric="generation")
    comparison, notes = SideEffects(calibrate=("cc",)).measure(found.comparison, found.questions, [plan])
    assert comparison.baselines == {"cc": None, "dc": None}
    accuracy = comparison.other_metrics["accuracy"]
    assert accuracy["baselines"]["cc"]["mean"] == pytest.approx(calibrated(found.questions, "cc").mean)
    assert accuracy["base"]["mean"] == pytest.approx(found.questions.by("accuracy").answers(Plan()).mean)
    assert "by scoring" in notes[0]
    assert Comparison.from_json(comparison.to_json()) == comparison


def free(metric: str) -> Task:
    task = planted_bias.task(12)
    examples = tuple(dataclasses.replace(example, choices=(), gold="n or more") for example in task.examples)
    return dataclasses.replace(task, name="free text", examples=examples, metric=metric, matching="contains", answer_tokens=2)


def test_the_log_loss_of_generated_texts_is_reported_too() -> None:
    scored, plan = compared("llama")
    model = scored.questions.model
    found = compare(model, plan, free("generation"))
    comparison, notes = SideEffects(generation=True).measure(found.comparison, found.questions, [plan])
    assert set(comparison.other_metrics) == {"logloss"}
    assert comparison.other_metrics["logloss"]["base"] == evaluate(model, None, free("logloss")).base.to_json()
    assert notes == ()
    asked = SideEffects(calibrate=("cc",), must=True)
    with pytest.raises(BadTask, match="two choices"):
        asked.check(found.questions)
    lossy = compare(model, plan, free("logloss"))
    texts, _ = SideEffects(generation=True).measure(lossy.comparison, lossy.questions, [plan])
    assert "unmatched" not in texts.other_metrics["generation"]


def test_with_top_ten_top_one_and_five_are_reported_and_a_note_on_long_answers() -> None:
    scored, plan = compared("llama")
    found = compare(scored.questions.model, plan, free("top10"))
    comparison, notes = SideEffects().measure(found.comparison, found.questions, [plan])
    assert set(comparison.other_metrics) == {"top1", "top5", "logloss"}
    means = [comparison.other_metrics[metric]["base"]["mean"] for metric in ("top1", "top5")]
    assert means == sorted(means)
    assert means[-1] <= comparison.base.mean
    n = found.comparison.n_examples
    assert f"{n} of {n} golden answers" in notes[0]


def test_another_task_is_compared_by_its_own_metric() -> None:
    found, plan = compared("llama")
    effect = measured(found, [plan], tasks=(free("logloss"),)).side_effects["free text"]
    assert effect["metric"] == "logloss"
    assert effect["base"] == pytest.approx(evaluate(found.questions.model, None, free("logloss")).base.mean)


def test_side_effects_that_cannot_be_measured_are_refused_before_any_work() -> None:
    found, _ = compared("llama")
    bare = dataclasses.replace(found.questions.task, template="{{ instruction }}")
    questions = Questions(found.questions.model, bare, bare.examples)
    SideEffects(calibrate=("cc",)).check(questions)
    with pytest.raises(BadTask, match="no text field"):
        SideEffects(calibrate=("cc",), must=True).check(questions)


def test_a_plan_that_cannot_be_applied_is_never_hidden_in_a_note() -> None:
    found, _ = compared("llama")
    wrong = Plan((Scale(Neurons({"decoder.9.up": [0]}), 0.0),))
    with pytest.raises(Exception, match=r"decoder\.9"):
        SideEffects(texts=TEXTS, must=True).measure(found.comparison, found.questions, [wrong])
