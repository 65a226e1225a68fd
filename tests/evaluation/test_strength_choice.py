"""The strength of a steering: the halves of the prompts are fixed, and the choice is what a plain loop over the strengths finds."""

import numpy as np
import pytest

import bilingual
from evaluation.test_open_ended import ByWords
from resect.core.errors import InputError
from resect.core.execution import MemoryJournal, Workers
from resect.evaluation.degeneration import Degeneration
from resect.evaluation.strength_choice import StrengthChoice, TriedStrength, choose_strength, choosing_prompts
from resect.methods.lape.steering import steering_plan

PROMPTS = [f"prompt {number}" for number in range(400)]


def test_a_prompt_is_in_the_same_half_whatever_the_others_are() -> None:
    whole = dict(zip(PROMPTS, choosing_prompts(PROMPTS), strict=True))
    assert 160 < sum(whole.values()) < 240
    for part in (PROMPTS[:40], PROMPTS[40:], PROMPTS[::-1], PROMPTS * 2):
        assert choosing_prompts(part) == [whole[prompt] for prompt in part]


def test_each_half_has_a_prompt() -> None:
    for first in range(0, 400, 2):
        assert sum(choosing_prompts(PROMPTS[first : first + 2])) == 1
    for few in ([], ["a"], ["a", "a"]):
        with pytest.raises(InputError, match="two different prompts or more"):
            choosing_prompts(few)


def test_the_choice_is_the_best_by_any_numbers() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        accuracies, broken = rng.integers(0, 4, 6) / 4, rng.integers(0, 2, 6)
        measured = Degeneration(4, 0.0, 0.0, 0)
        tried = tuple(
            TriedStrength(float(number + 1), float(accuracies[number + 1]), measured, ("bad",) * int(broken[number + 1]))
            for number in range(5)
        )
        choice = StrengthChoice(4, 0.1, TriedStrength(None, float(accuracies[0]), measured), tried)
        best, of = None, accuracies[0]
        for each in tried:
            assert each.accuracy is not None
            if not each.breaks and each.accuracy > of:
                best, of = each.strength, each.accuracy
        assert choice.chosen == best
        assert choice.by_accuracy == (None if accuracies[0] == max(accuracies) else float(np.argmax(accuracies)))


def test_numbers_that_are_not_finite_are_no_answers_and_are_not_asked_again() -> None:
    model, reports = bilingual.model(), list[str]()
    plans = {number: steering_plan(bilingual.counts(model), bilingual.UNITS, "fr", None, "set", number) for number in (2.0, 1e160)}
    workers = Workers(journal=MemoryJournal(), progress=lambda stage, done, total: reports.append(stage))
    prompts = [f"{line} :" for line in bilingual.texts("en", 4)]
    choose = lambda: choose_strength(model, plans, prompts, "fr", ByWords(), limit=None, new_tokens=3, workers=workers)
    choice = choose()
    assert choice.chosen == choice.by_accuracy == 2.0
    assert choice.tried[1] == TriedStrength(1e160, None, None, ("no answer: numbers are not finite",))
    reports.clear()
    assert choose() == choice
    assert reports == []
