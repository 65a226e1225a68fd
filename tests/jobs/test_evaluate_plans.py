"""Evaluation outside a run: its results, that a journal folder saves work, and what is refused before any question is answered."""

from pathlib import Path

import pytest
import torch

import pico
import planted_bias
from resect.core.address import Neurons
from resect.core.errors import BadTask, InputError, UnknownName, WrongModel
from resect.data.tasks.registry import load_task
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.calibration import calibrated
from resect.evaluation.compare import evaluate
from resect.evaluation.questions import Questions
from resect.jobs.evaluate_plans import TransferredPlan, evaluate_tasks, evaluate_transfer, try_prompts
from resect.models.language_model import LanguageModel
from resect.models.loading import load_model

SETTINGS = {"generation": False}
PLAN = Plan((Scale(Neurons({"decoder.1.up": planted_bias.BIAS_UNITS}), 0.0),))


@pytest.fixture(scope="module")
def model(where: Path) -> LanguageModel:
    return load_model(str(where / "model"))


@pytest.fixture
def second(where: Path, tmp_path: Path) -> str:
    """Another task file, of the same items in other words."""
    text = planted_bias.TASK_FILE.replace('"planted"', '"second"').replace('"items.jsonl"', f'"{where / "items.jsonl"}"')
    (tmp_path / "second.toml").write_text(text.replace("Say it.", "Tell me."))
    return str(tmp_path / "second.toml")


def test_a_task_is_evaluated_with_and_without_a_plan(model: LanguageModel, where: Path) -> None:
    task = str(where / "task.toml")
    (alone,) = evaluate_tasks(model, None, [task], SETTINGS).values()
    (both,) = evaluate_tasks(model, PLAN, [task], SETTINGS).values()
    expected = evaluate(model, PLAN, load_task(task))
    assert alone.edited is None
    assert alone.base == both.base == expected.base
    assert both.edited == expected.edited
    assert alone.side_effects["perplexity"]["edited"] is None
    assert both.side_effects["perplexity"]["edited"] > 1


def test_the_unedited_model_is_calibrated(model: LanguageModel, where: Path) -> None:
    path = str(where / "task.toml")
    (comparison,) = evaluate_tasks(model, PLAN, [path], {**SETTINGS, "calibrate": ["cc"]}).values()
    task = load_task(path)
    assert comparison.baselines["cc"].mean == pytest.approx(calibrated(Questions(model, task, task.split("test")), "cc").mean)
    assert comparison.baselines["dc"] is None


def test_of_several_tasks_the_last_is_refused_before_the_first_is_evaluated(model: LanguageModel, where: Path) -> None:
    task, stages = str(where / "task.toml"), []
    with pytest.raises(InputError, match="nowhere"):
        evaluate_tasks(model, None, [task, "nowhere.toml"], {}, lambda *report: stages.append(report))
    with pytest.raises(InputError, match="task in front of a path"):
        evaluate_tasks(model, None, [task], {"data": [f"bbq={task}"]}, lambda *report: stages.append(report))
    with pytest.raises(InputError, match="give each once"):
        evaluate_tasks(model, None, [task, task], {}, lambda *report: stages.append(report))
    assert stages == []


def test_transfer_compares_every_plan_on_every_task(model: LanguageModel, where: Path, second: str) -> None:
    first = str(where / "task.toml")
    plans = [TransferredPlan("cut", PLAN, "planted"), TransferredPlan("nothing", Plan())]
    result = evaluate_transfer(model, plans, [first, second], SETTINGS)
    assert result["tasks"] == ["planted", "second"]
    assert result["plans"] == [{"name": "cut", "found_on": "planted", "cut": 3}, {"name": "nothing", "found_on": None, "cut": 0}]
    for column, task in enumerate((first, second)):
        expected = evaluate(model, PLAN, load_task(task)).to_json()
        assert result["base"][load_task(task).name] == expected["base"]
        assert result["results"][0][column] == {"edited": expected["edited"], "difference": expected["difference"]}
        assert result["results"][1][column]["difference"]["mean"] == 0


def test_a_plan_for_another_model_is_refused_before_any_question_is_answered(model: LanguageModel, where: Path) -> None:
    other, _, _ = planted_bias.model("llama", seed=1)
    foreign, stages = PLAN.for_model(other), []
    with pytest.raises(WrongModel):
        evaluate_transfer(
            model,
            [TransferredPlan("mine", PLAN), TransferredPlan("foreign", foreign)],
            [str(where / "task.toml")],
            {},
            lambda *report: stages.append(report),
        )
    assert stages == []
    evaluate_transfer(model, [TransferredPlan("foreign", foreign)], [str(where / "task.toml")], {}, allow_other_model=True)


def test_answers_in_a_journal_folder_are_reused_but_never_for_another_model(model: LanguageModel, where: Path, tmp_path: Path) -> None:
    task = str(where / "task.toml")

    def new_entries(of: LanguageModel) -> int:
        before = len(list((tmp_path / "journal").glob("*"))) if (tmp_path / "journal").exists() else 0
        evaluate_transfer(of, [TransferredPlan("cut", PLAN)], [task], SETTINGS, journal_folder=tmp_path)
        return len(list((tmp_path / "journal").glob("*"))) - before

    assert new_entries(model) == 4  # two instructions, with and without the plan
    assert new_entries(model) == 0
    with Plan((Scale(Neurons({"decoder.0.up": [1]}), 0.5),)).applied(model):
        assert new_entries(model) == 4


def test_topk_is_top10_with_top1_and_top5_in_addition(model: LanguageModel, where: Path) -> None:
    path = str(where / "task.toml")
    with pytest.warns(UserWarning, match="first token"):
        (comparison,) = evaluate_tasks(model, PLAN, [path], {**SETTINGS, "metric": "topk"}).values()
    assert comparison.metric == "top10"
    assert comparison.base == evaluate(model, None, load_task(path), metric="top10").base
    assert set(comparison.other_metrics) == {"top1", "top5", "accuracy"}
    result = evaluate_transfer(model, [TransferredPlan("cut", PLAN)], [path], {**SETTINGS, "metric": "topk"})
    assert (result["metric"], result["metrics"]) == ("top10", {"planted": "top10"})


def test_a_task_that_cannot_be_calibrated_is_refused_before_any_question_is_answered(
    model: LanguageModel, where: Path, tmp_path: Path
) -> None:
    words = planted_bias.TASK_FILE.replace("{{ text }}", "").replace('"items.jsonl"', f'"{where / "items.jsonl"}"')
    (tmp_path / "bare.toml").write_text(words.replace('"planted"', '"bare"'))
    tasks, stages = [str(where / "task.toml"), str(tmp_path / "bare.toml")], []
    with pytest.raises(BadTask, match="no text field"):
        evaluate_tasks(model, None, tasks, {**SETTINGS, "calibrate": ["dc"]}, lambda *report: stages.append(report))
    assert stages == []


def test_a_perplexity_that_is_not_finite_is_a_warning_and_the_accuracies_are_kept(where: Path) -> None:
    broken, path = LanguageModel.of(pico.build("gptj"), pico.tokenizer("gptj")), str(where / "task.toml")
    with torch.no_grad():  # a letter of the text, and of no choice, becomes impossible
        broken.model.lm_head.bias[broken.tokenizer("l")["input_ids"]] = -torch.inf
    with pytest.warns(UserWarning, match="planted: The perplexity could not be measured"):
        (comparison,) = evaluate_tasks(broken, None, [path], {**SETTINGS, "text": [str(where / "text.txt")]}).values()
    assert comparison.base == evaluate(broken, None, load_task(path)).base
    assert comparison.side_effects["perplexity"] is None


def test_prompts_are_answered_before_and_after_a_plan(model: LanguageModel) -> None:
    ((prompt, before, after),) = try_prompts(model, PLAN, ["Say it. question 3:"], max_new_tokens=2)
    assert prompt == "Say it. question 3:"
    assert before != after
    with pytest.raises(UnknownName):
        try_prompts(model, Plan((Scale(Neurons({"decoder.7.up": [1]}), 0.0),)), ["a"])
