"""Several strengths of a steering: the result is that of a plain loop which applies each, measures, and applies the guards."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import bilingual
from evaluation.test_open_ended import ByWords, Counting
from resect.core.errors import BadRecipe, InputError
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.degeneration import Degeneration
from resect.evaluation.open_ended import generate_answers
from resect.evaluation.strength_choice import choosing_prompts
from resect.jobs.steer_answers import steer
from resect.methods.lape.steering import steering_plan, strengths_of
from resect.models.language_model import LanguageModel
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run
from resect.runs.schemas.languages import SteeringFile

PROMPTS = tuple(f"{line} :" for line in bilingual.texts("en", 8))
CHOOSING = [prompt for prompt, chooses in zip(PROMPTS, choosing_prompts(PROMPTS), strict=True) if chooses]
REPORTED = [prompt for prompt in PROMPTS if prompt not in CHOOSING]
#: Nothing happens, all goes well, answers become alike, one answer to every prompt.
STRENGTHS = (0.5, 1.0, 2.0, 10.0)
SETTINGS: dict[str, Any] = {"prompts": {"": PROMPTS}, "new_tokens": 24, "identifier": ByWords()}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return bilingual.model()


@pytest.fixture(scope="module")
def folder(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of LAPE on the planted model: its counts and plans, and a journal that all tests here share."""
    path = tmp_path_factory.mktemp("strengths")
    corpus = tuple(f"{language}={path / language}.txt" for language in bilingual.WORDS)
    with Run.open(path / "run", Recipe(method="lape", model="bilingual", corpus=corpus)) as opened:
        bilingual.counts(model).save(opened.folder / "counts.safetensors")
        opened.keep_plans({language: Plan((Scale(units, 0.0),)).for_model(model) for language, units in bilingual.UNITS.items()})
    return path / "run"


@pytest.fixture
def run(folder: Path) -> Run:
    """The run, in which nothing is steered yet."""
    shutil.rmtree(folder / "steered", ignore_errors=True)
    return Run.load(folder)


@cache
def measured(strength: float | None) -> tuple[float, tuple[float, float, float]]:
    """The share of French answers under a strength (None: no steering), and the three shares that are guarded."""
    model = bilingual.model()
    plan = Plan() if strength is None else steering_plan(bilingual.counts(model), bilingual.UNITS, "fr", None, "set", strength)
    texts = generate_answers(model, plan, CHOOSING, new_tokens=24)
    french = sum(code == "fr" for code in ByWords().identify(texts)) / len(texts)
    found = Degeneration.of(model, texts)
    return french, (found.repetition, found.most_frequent, found.empty_share)


def by_loop(strengths: tuple[float, ...], limit: float | None) -> float | None:
    """The strength that one finds by applying each: the most answers in French, no share risen beyond the limit."""
    most, before = measured(None)
    best = None
    for strength in sorted(strengths):
        accuracy, after = measured(strength)
        is_kept = limit is None or all(now - then <= limit for then, now in zip(before, after, strict=True))
        if is_kept and accuracy > most:
            best, most = strength, accuracy
    return best


@pytest.mark.slow
@pytest.mark.parametrize("strengths", [STRENGTHS, (10.0, 2.0, 0.5), (10.0, 100.0), (0.5, 0.7)])
@pytest.mark.parametrize("guard", [(), ("collapse=0.5",), ("none",)])
def test_the_choice_is_that_of_a_loop(model: LanguageModel, run: Run, strengths: tuple[float, ...], guard: tuple[str, ...]) -> None:
    limit = {(): 0.1, ("collapse=0.5",): 0.5, ("none",): None}[guard]
    (result,) = steer(model, run, ["fr"], strength=strengths, guard=guard, **SETTINGS)
    best = by_loop(strengths, limit)
    assert result["strength"] == result["choice"]["chosen"] == best
    assert result["choice"]["by_accuracy"] == by_loop(strengths, None)
    assert [tried["strength"] for tried in result["choice"]["tried"]] == sorted(strengths)
    assert (result["choice"]["n"], result["n"]) == (len(CHOOSING), len(REPORTED))
    assert [answer["prompt"] for answer in result["answers"]] == REPORTED
    plan = Plan() if best is None else steering_plan(bilingual.counts(model), bilingual.UNITS, "fr", None, "set", best)
    assert [answer["after"] for answer in result["answers"]] == generate_answers(model, plan, REPORTED, new_tokens=24)
    stored = json.loads((run.folder / "steered" / f"{result['name']}.json").read_text())
    assert stored == result
    assert SteeringFile.model_validate(stored).model_dump(mode="json", by_alias=True, exclude_unset=True) == stored


def test_a_strength_that_degenerates_is_refused_and_the_smallest_of_equals_taken(model: LanguageModel, run: Run) -> None:
    (result,) = steer(model, run, ["fr"], strength=(*STRENGTHS, 1e160), **SETTINGS)
    assert result["strength"] == 1.0
    assert result["name"] == "fr-set"
    breaks = {tried["strength"]: tried["breaks"] for tried in result["choice"]["tried"]}
    assert breaks[0.5] == breaks[1.0] == []
    assert breaks[10.0] == [f"same answer {100 / len(CHOOSING):.1f} % → 100.0 %"]
    assert breaks[1e160] == ["no answer: numbers are not finite"]
    (alone,) = steer(model, run, ["fr"], strength=(1.0, 2.0), guard=["none"], **SETTINGS)
    assert alone["strength"] == 1.0, "as many answers in French"


def test_where_no_strength_is_better_than_none_no_plan_is_written(model: LanguageModel, run: Run) -> None:
    (result,) = steer(model, run, ["fr"], strength=(10.0, 100.0), **SETTINGS)
    assert (result["name"], result["strength"], result["choice"]["chosen"]) == ("fr-set-strength-none", None, None)
    assert result["choice"]["by_accuracy"] == 10.0
    assert "plan" not in result
    assert "breaks" not in result
    assert all(answer["before"] == answer["after"] for answer in result["answers"])
    assert [path.name for path in (run.folder / "steered").iterdir()] == ["fr-set-strength-none.json"]
    (other,) = steer(model, run, ["fr"], strength=(0.5, 0.7), **SETTINGS)
    assert other["name"] == "fr-set-strength-none-2", "it says of other strengths"
    assert steer(model, run, ["fr"], strength=(0.7, 0.5), **SETTINGS) == [other]


def test_one_strength_is_applied_to_all_prompts_and_what_it_breaks_is_said(model: LanguageModel, run: Run) -> None:
    (named,) = steer(model, run, ["fr"], strength=1.0, **SETTINGS)
    for same in (None, [1.0], (1, 1.0)):
        (result,) = steer(model, run, ["fr"], strength=same, **SETTINGS)
        assert list(result.items()) == list(named.items())
    assert list(named)[-1] == "answers"
    assert named["n"] == len(PROMPTS)
    (broken,) = steer(model, run, ["fr"], strength=[10.0], **SETTINGS)
    assert broken.pop("breaks")[0].startswith("same answer 12.5 %")
    (free,) = steer(model, run, ["fr"], strength=10.0, guard=["none"], **SETTINGS)
    assert broken == free
    assert Plan.from_json(free["plan"]) == steering_plan(bilingual.counts(model), bilingual.UNITS, "fr", None, "set", 10.0)


def test_an_interrupted_choice_continues_and_asks_nothing_twice(model: LanguageModel, run: Run) -> None:
    stages: list[str] = []

    def stop_after_each(stage: str, done: int, total: int) -> None:
        if done:
            stages.append(stage)
            raise KeyboardInterrupt

    request: dict[str, Any] = {"strength": (*STRENGTHS, 1e160), **SETTINGS}
    run.journal.clear()
    for _ in range(2 + len(STRENGTHS)):
        with pytest.raises(KeyboardInterrupt):
            steer(model, run, ["fr"], progress=stop_after_each, **request)
        assert not (run.folder / "steered").exists()
    with pytest.raises(KeyboardInterrupt):
        steer(model, run, ["fr"], progress=stop_after_each, **request)
    (continued,) = steer(model, run, ["fr"], progress=stop_after_each, **request)
    assert len(set(stages)) == len(stages) == 1 + len(STRENGTHS) + 2, "each was answered once"
    run.journal.clear()
    assert steer(model, run, ["fr"], **request) == [continued]


def test_what_cannot_choose_is_refused_before_any_prompt_is_answered(model: LanguageModel, run: Run) -> None:
    reports: list[Any] = []
    settings = {**SETTINGS, "progress": lambda *report: reports.append(report)}
    with pytest.raises(InputError, match="is chosen by the share of the answers in the wanted language"):
        steer(model, run, ["fr"], strength=(1, 2), **{**settings, "identifier": None})
    with pytest.raises(InputError, match="two different prompts or more"):
        steer(model, run, ["fr"], strength=(1, 2), **{**settings, "prompts": {"": PROMPTS[:1]}})
    with pytest.raises(BadRecipe, match="Tags do not exist here"):
        steer(model, run, ["fr"], guard=["ambig=3"], **settings)
    with pytest.raises(InputError, match="leaves every activation as it is"):
        steer(model, run, ["fr"], mode="add", strength=(0, 1), **settings)
    with pytest.raises(InputError, match="No strength"):
        steer(model, run, ["fr"], strength=(), **settings)
    assert reports == []
    assert not (run.folder / "steered").exists()


def test_a_judge_rates_only_what_is_reported(model: LanguageModel, run: Run) -> None:
    judge = Counting()
    (result,) = steer(model, run, ["fr"], strength=STRENGTHS, judge=judge, **SETTINGS)
    assert {question for question, _, _ in judge.asked} == set(REPORTED)
    assert result["quality"]["after"] == 5.0


def test_strengths_are_ordered_by_how_much_they_change() -> None:
    assert strengths_of("set", [4, 1, -2, 1.0]) == (1.0, -2.0, 4.0)
    assert strengths_of("multiply", [4, 0, 0.5]) == (0.5, 0.0, 4.0)
    assert [strengths_of(mode) for mode in ("set", "multiply")] == [(1.0,), (2.0,)]
