"""Kinds of answers are counted where they are wrong; a collapse is told from a gain."""

import numpy as np
import pytest

import pico
from resect.data.tasks.task import Example, Task
from resect.evaluation.answer_kinds import UNKNOWN, answer_summary, collapse, is_certain_loss, kinds_of, most_frequent
from resect.evaluation.questions import Answers, Questions
from resect.models.language_model import LanguageModel

MODEL = LanguageModel.of(pico.build("llama"), pico.tokenizer("llama"))


def questions(groups=20):
    """Of each group an ambiguous item, whose right answer is the unknown option, and a clear one; three choices, unknown at any place."""
    examples = []
    for number in range(groups):
        place = number % 3
        choices = [f"person {number}", f"other {number}"]
        choices.insert(place, "unknown")
        fields = {"text": f"question {number}", "unknown": place}
        named = [index for index in range(3) if index != place][number % 2]
        examples.append(Example(fields, choices, place, group=str(number), tags=("ambig",), id=f"a{number}"))
        examples.append(Example(fields, choices, named, group=str(number), tags=("disambig",), id=f"d{number}"))
    task = Task("kinds", tuple(examples), ("Say it.", "Answer:"), "{{ instruction }} {{ text }}")
    return Questions(MODEL, task, task.examples)


def answers_of(asked, choose):
    """Answers by a function of example and instruction."""
    predictions = np.array([[choose(e, example, i) for i in range(2)] for e, example in enumerate(asked.examples)])
    return Answers(predictions, (predictions == asked.gold[:, None]).astype(float))


def right(e, example, i):
    return example.gold


def unknown(e, example, i):
    return example.fields["unknown"]


def wrong_person(e, example, i):
    return next(index for index in range(3) if index not in (example.gold, example.fields["unknown"]))


def test_a_kind_is_counted_where_it_is_wrong():
    asked = questions()
    kinds = {kind.label: kind for kind in kinds_of(asked, answers_of(asked, right))}
    assert (kinds[UNKNOWN].share, kinds[UNKNOWN].wrong_share, kinds[UNKNOWN].score) == (0.5, 0.0, 0.5)
    always = {kind.label: kind for kind in kinds_of(asked, answers_of(asked, unknown))}
    assert (always[UNKNOWN].share, always[UNKNOWN].wrong_share) == (1.0, 1.0)
    assert most_frequent(kinds_of(asked, answers_of(asked, unknown))).label == UNKNOWN


def test_answering_unknown_where_that_is_right_is_no_collapse():
    asked = questions()
    biased = answers_of(asked, lambda e, example, i: wrong_person(e, example, i) if "ambig" in example.tags else example.gold)
    better = answers_of(asked, right)
    constant = answers_of(asked, unknown)
    assert collapse(asked, biased, better).rise <= 0
    found = collapse(asked, biased, constant)
    assert (found.label, found.after, found.is_certain) == (UNKNOWN, 1.0, True)
    assert found.rise > 0.5


@pytest.mark.parametrize("place", range(3))
def test_always_one_position_is_a_collapse(place):
    asked = questions()
    found = collapse(asked, answers_of(asked, right), answers_of(asked, lambda e, example, i: place))
    assert found.label == f"the {('first', 'second', 'third')[place]} option"
    assert found.rise == 1.0


def test_one_text_for_everything_is_a_collapse():
    examples = tuple(Example({"text": f"q{n}"}, (), f"answer {n}", group=str(n)) for n in range(12))
    asked = Questions(
        MODEL, Task("free", examples, ("Say.",), "{{ text }}", metric="generation", matching="contains"), examples, "generation"
    )
    texts = lambda words: tuple((word,) for word in words)
    good = Answers(np.zeros((12, 1), int), np.ones((12, 1)), texts(f"answer {n}" for n in range(12)))
    same = Answers(np.full((12, 1), -1), np.zeros((12, 1)), texts(["the same."] * 12))
    found = collapse(asked, good, same)
    assert (found.label, found.after, found.is_certain) == ("“the same”", 1.0, True)


def test_the_summary_names_chance_the_best_constant_answer_and_positions():
    asked = questions(12)
    summary = answer_summary(asked, answers_of(asked, wrong_person), [answers_of(asked, right)])
    assert summary["chance"] == pytest.approx(1 / 3)
    assert summary["constant"] == {"label": UNKNOWN, "score": 0.5}
    assert summary["positions"]["edited"] == pytest.approx(summary["positions"]["right"])
    assert sum(summary["positions"]["base"]) == pytest.approx(1)
    assert summary["balanced"]["edited"] == 1.0
    assert answer_summary(asked, answers_of(asked, right), [])["most_frequent"]["edited"] is None


def test_balanced_accuracy_weighs_tags_alike():
    examples = [Example({"text": str(n)}, ("a", "b"), 0, tags=("rare",) if n < 2 else ("often",)) for n in range(20)]
    task = Task("tags", tuple(examples), ("Say.", "Now."), "{{ text }}")
    asked = Questions(MODEL, task, task.examples)
    only_often = answers_of(asked, lambda e, example, i: 0 if "often" in example.tags else 1)
    assert only_often.mean == 0.9
    assert answer_summary(asked, only_often, [])["balanced"]["base"] == 0.5


def test_a_loss_is_certain_by_a_one_sided_test_over_groups():
    ones = np.ones((8, 2))
    zeros = np.zeros((8, 2))
    groups = [str(n) for n in range(8)]
    assert is_certain_loss(ones, zeros, groups)
    assert not is_certain_loss(zeros, ones, groups)
    assert not is_certain_loss(ones, ones, groups)
    mixed = np.array([0.0, 1, 1, 1, 1, 1, 1, 1])[:, None]
    assert not is_certain_loss(np.ones((8, 1)), mixed, groups), "one of eight groups lost may be chance"
    assert is_certain_loss(ones[:3], zeros[:3], groups[:3]), "with fewer than four groups the mean decides"
