"""Steering: the planted model changes its language, and the run stores the answers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import bilingual
import pico
from evaluation.test_open_ended import ByWords, Counting
from resect.core.errors import InputError, PromptTooLong, UnknownName, WrongModel
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.open_ended import generate_answers
from resect.jobs.steer_answers import MIN_PROMPTS, _failed_answers, steer
from resect.methods.lape.steering import MODES, steering_plan
from resect.models.language_model import LanguageModel
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

PROMPTS = {language: tuple(f"{line} :" for line in bilingual.texts(language, 8)) for language in bilingual.WORDS}
#: As many as an interval needs.
MANY = tuple(f"{line} :" for line in bilingual.texts("en", MIN_PROMPTS))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return bilingual.model()


@pytest.fixture
def run(model: LanguageModel, tmp_path: Path) -> Run:
    """A run of LAPE on the planted model: its counts and plans."""
    for language in bilingual.WORDS:
        (tmp_path / f"{language}.txt").write_text("\n".join(bilingual.texts(language, 5)))
    corpus = tuple(f"{language}={tmp_path / language}.txt" for language in bilingual.WORDS)
    opened = Run.open(tmp_path / "run", Recipe(method="lape", model="bilingual", corpus=corpus))
    bilingual.counts(model).save(opened.folder / "counts.safetensors")
    opened.keep_plans({language: Plan((Scale(units, 0.0),)).for_model(model) for language, units in bilingual.UNITS.items()})
    opened.close()
    return Run.load(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["set", "add", "difference"])
def test_steering_to_another_language_raises_the_accuracy_by_the_real_identifier(model: LanguageModel, run: Run, mode: str) -> None:
    pytest.importorskip("lingua")
    (result,) = steer(model, run, ["fr"], "en", mode, prompts={"en": MANY}, new_tokens=10)
    accuracy = result["language_accuracy"]
    assert (accuracy["before"], accuracy["after"]) == (0.0, 1.0)
    assert (accuracy["gained"], accuracy["lost"]) == (MIN_PROMPTS, 0)
    assert result["empty"] == result["untold"] == {"before": 0, "after": 0}
    assert accuracy["interval"][0] > 0
    assert accuracy["p_value"] < 0.05


def test_the_stored_result_is_the_returned_one_with_the_answers_of_the_model(model: LanguageModel, run: Run) -> None:
    judge = Counting()
    (result,) = steer(model, run, ["fr"], "en", prompts=PROMPTS, new_tokens=3, identifier=ByWords(), judge=judge)
    stored = json.loads((run.folder / "steered" / "fr-from-en-set.json").read_text())
    assert stored == result
    assert [result[name] for name in ("to", "from", "mode", "strength", "n")] == ["fr", "en", "set", 1.0, 8]
    plan = Plan.from_json(result["plan"])
    assert plan == steering_plan(bilingual.counts(model), bilingual.UNITS, "fr", "en")
    assert plan.model is not None
    assert result["quality"] == {"before": 3.0, "after": 3.0}
    before, after = generate_answers(model, Plan(), PROMPTS["en"], new_tokens=3), generate_answers(model, plan, PROMPTS["en"], new_tokens=3)
    for index, answer in enumerate(result["answers"]):
        assert answer == {
            "prompt": PROMPTS["en"][index],
            "before": before[index],
            "after": after[index],
            "identified": {"before": "en", "after": "fr"},
            "quality": {"before": 3, "after": 3},
        }
        assert (PROMPTS["en"][index], after[index], "en") in judge.asked


def test_without_a_source_prompts_in_the_target_language_are_answered(model: LanguageModel, run: Run) -> None:
    results = steer(model, run, ["en", "fr"], strength=2, prompts=PROMPTS, new_tokens=3, identifier=ByWords())
    assert [(result["to"], result["from"], result["n"], result["quality"]) for result in results] == [
        ("en", None, 8, None),
        ("fr", None, 8, None),
    ]
    assert [result["answers"][0]["prompt"] for result in results] == [PROMPTS["en"][0], PROMPTS["fr"][0]]
    assert [result["language_accuracy"]["after"] for result in results] == [1.0, 1.0]
    assert list(run.steered()) == ["en-set-strength-2", "fr-set-strength-2"]
    assert all(len(Plan.from_json(result["plan"]).edits) == 1 for result in results)


def test_prompts_for_any_language_are_worded_by_the_template(model: LanguageModel, run: Run) -> None:
    template = "Q: {prompt}\nA:"
    results = steer(model, run, ["fr", "en"], prompts={"": ["the water", "eau"]}, new_tokens=2, template=template, identifier=None)
    assert [result["answers"][1]["prompt"] for result in results] == ["Q: eau\nA:"] * 2
    assert results[0]["language_accuracy"] is None
    assert results[0]["answers"][0]["identified"] == {"before": None, "after": None}


def test_finished_work_is_not_computed_again(model: LanguageModel, run: Run) -> None:
    settings: dict[str, Any] = {"prompts": PROMPTS, "new_tokens": 3, "identifier": ByWords()}
    first = steer(model, run, ["fr"], "en", **settings)
    entries = run.journal.count
    reports: list[Any] = []
    again = steer(model, run, ["fr"], "en", progress=lambda *report: reports.append(report), **settings)
    assert again == first
    assert reports == []
    assert run.journal.count == entries == 2
    steer(model, run, ["fr"], "en", "add", **settings)
    assert run.journal.count == 3, "the answers of the unedited model were stored"


def test_few_prompts_or_unchanged_answers_have_no_interval(model: LanguageModel, run: Run) -> None:
    few: dict[str, Any] = {"new_tokens": 3, "identifier": ByWords()}
    (result,) = steer(model, run, ["fr"], "en", prompts={"en": MANY[1:]}, **few)
    assert result["language_accuracy"] == {
        "before": 0.0,
        "after": 1.0,
        "gained": MIN_PROMPTS - 1,
        "lost": 0,
        "interval": None,
        "p_value": None,
    }
    (result,) = steer(model, run, ["en"], None, "add", 1e-9, prompts={"en": MANY}, **few)
    assert result["language_accuracy"] == {"before": 1.0, "after": 1.0, "gained": 0, "lost": 0, "interval": None, "p_value": None}


def test_other_answers_have_a_file_of_their_own_and_the_same_ones_replace_theirs(model: LanguageModel, run: Run) -> None:
    settings: dict[str, Any] = {"new_tokens": 3, "identifier": ByWords()}
    requests = [
        {"prompts": {"en": MANY[:2]}},
        {"prompts": {"en": MANY[:3]}},
        {"prompts": {"en": MANY[:2]}, "new_tokens": 4},
        {"prompts": {"en": MANY[:2]}, "template": "1 {prompt}"},
    ]
    for _ in range(2):  # the second time each replaces its own
        results = [steer(model, run, ["fr"], "en", **{**settings, **request})[0] for request in requests]
        assert [result["name"] for result in results] == ["fr-from-en-set", *(f"fr-from-en-set-{number}" for number in (2, 3, 4))]
        assert run.steered() == {result["name"]: result for result in results}
    assert [(result["n"], result["new_tokens"]) for result in results] == [(2, 3), (3, 3), (2, 4), (2, 3)]
    assert len({result["prompts_digest"] for result in results}) == 3
    (judged,) = steer(model, run, ["fr"], "en", judge=Counting(), **{**settings, **requests[1]})
    assert run.steered()["fr-from-en-set-2"] == judged, "the same answers, now with ratings"
    other = bilingual.model(seed=1)
    (result,) = steer(other, run, ["fr"], "en", allow_other_model=True, **{**settings, **requests[0]})
    assert result["name"] == "fr-from-en-set-5"
    (run.folder / "steered" / "fr-from-en-set.json").write_text("{")
    assert steer(model, run, ["fr"], "en", **{**settings, **requests[0]})[0]["name"] == "fr-from-en-set-6"


def test_without_a_given_length_answers_are_as_long_as_fits(model: LanguageModel, run: Run) -> None:
    with pytest.warns(UserWarning, match="end after 121 tokens at the latest, not 128: .* context of 128"):
        (result,) = steer(model, run, ["fr"], "en", prompts={"en": [MANY[0], MANY[2]]}, identifier=ByWords())
    assert result["new_tokens"] == 121
    with pytest.raises(PromptTooLong, match="--new-tokens 121 fits"):
        steer(model, run, ["fr"], "en", prompts={"en": [MANY[2]]}, new_tokens=122, identifier=ByWords())


def test_empty_answers_are_counted_with_a_warning_that_says_what_to_try(model: LanguageModel, run: Run) -> None:
    with pytest.warns(UserWarning, match=r"multiply: most answers are empty \(0 of 2 before, 2 after\).*another --strength \(it was 2\)"):
        (result,) = steer(model, run, ["fr"], "en", "multiply", prompts={"": MANY[:2]}, new_tokens=3, identifier=ByWords())
    assert (result["empty"], result["untold"]) == ({"before": 0, "after": 2}, {"before": 0, "after": 0})
    counted: dict[str, Any] = {"n": 4, "strength": 1.0, "empty": {"before": 3, "after": 0}, "untold": None}
    for template, advice in ((None, r"--template 'Q: {prompt}\nA:'"), ("Q: {prompt}", "Try another --template.")):
        (sentence,) = _failed_answers(counted, template)
        assert sentence.startswith("most answers are empty (3 of 4 before, 0 after)")
        assert advice in sentence
    assert _failed_answers({**counted, "empty": {"before": 2, "after": 0}}, None) == []
    (sentence,) = _failed_answers({**counted, "empty": {"before": 0, "after": 0}, "untold": {"before": 0, "after": 1}}, None)
    assert "0 of 4 answers before and of 1 after" in sentence


def test_wrong_requests_are_refused_before_any_prompt_is_answered(model: LanguageModel, run: Run) -> None:
    reports: list[Any] = []
    settings: dict[str, Any] = {"new_tokens": 3, "identifier": None, "progress": lambda *report: reports.append(report)}
    with pytest.raises(InputError, match="No language to steer to"):
        steer(model, run, [], prompts=PROMPTS, **settings)
    with pytest.raises(InputError, match=r"no prompts in en \(languages that have some: fr\)"):
        steer(model, run, ["fr"], "en", prompts={"fr": PROMPTS["fr"]}, **settings)
    with pytest.raises(UnknownName, match="'de'"):
        steer(model, run, ["fr", "de"], prompts=PROMPTS, **settings)
    with pytest.raises(UnknownName, match="mode of steering"):
        steer(model, run, ["fr"], mode="push", prompts=PROMPTS, **settings)
    with pytest.raises(InputError, match="no place for the prompt"):
        steer(model, run, ["fr"], prompts=PROMPTS, template="Q:", **settings)
    with pytest.raises(PromptTooLong):
        steer(model, run, ["fr", "en"], prompts={"fr": PROMPTS["fr"], "en": ["the " * 130]}, **settings)
    assert reports == []
    assert not (run.folder / "steered").exists()


def test_the_units_of_another_model_are_refused_unless_that_is_allowed(run: Run) -> None:
    other = bilingual.model(seed=1)
    settings: dict[str, Any] = {"prompts": PROMPTS, "new_tokens": 3, "identifier": ByWords()}
    with pytest.raises(WrongModel, match="counts"):
        steer(other, run, ["fr"], "en", **settings)
    (result,) = steer(other, run, ["fr"], "en", allow_other_model=True, **settings)
    assert result["language_accuracy"]["after"] == 1.0
    assert Plan.from_json(result["plan"]).check(other) == []
    with pytest.raises(WrongModel, match="layers"):
        steer(LanguageModel.of(pico.build("llama"), pico.tokenizer("llama")), run, ["fr"], allow_other_model=True, **settings)


def test_a_run_without_units_is_refused(model: LanguageModel, run: Run, tmp_path: Path) -> None:
    run.keep_plans({})
    with pytest.raises(InputError, match="no plans of languages"):
        steer(model, run, ["fr"], prompts=PROMPTS)
    with Run.open(tmp_path / "other", Recipe(method="laser", model="bilingual", task_free=True)) as other:
        pass
    with pytest.raises(InputError, match="is of laser"):
        steer(model, other, ["fr"], prompts=PROMPTS)


@pytest.mark.filterwarnings("ignore:.*most answers are empty")
def test_every_mode_leaves_the_model_unchanged(model: LanguageModel, run: Run) -> None:
    state = {name: value.clone() for name, value in model.model.state_dict().items()}
    for mode in MODES:
        steer(model, run, ["fr"], "en", mode, prompts=PROMPTS, new_tokens=2, identifier=None)
    assert all(torch.equal(value, state[name]) for name, value in model.model.state_dict().items())


def test_a_language_that_cannot_be_identified_is_a_warning(model: LanguageModel, run: Run) -> None:
    pytest.importorskip("lingua")
    run.keep_plans({"xx": Plan((Scale(bilingual.UNITS["fr"], 0.0),)), "en": Plan((Scale(bilingual.UNITS["en"], 0.0),))})
    with pytest.warns(UserWarning, match="accuracy of xx is not measured"):
        (result,) = steer(model, run, ["xx"], mode="multiply", prompts={"": PROMPTS["en"]}, new_tokens=2)
    assert result["language_accuracy"] is None
