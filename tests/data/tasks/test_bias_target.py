"""Which answer of a BBQ item is the target: on items made as the authors' generator makes them, of all eleven categories."""

import json
import random
from collections import Counter

import numpy as np
import pytest

from resect.data.tasks.bbq import CATEGORIES, bias_scores
from resect.data.tasks.bias_target import bias_target
from resect.data.tasks.registry import load_task

UNKNOWN = ("Can't be determined", "unknown")
#: Category -> templates: number, stereotyped groups, noun and group of the target and of the other person.
SINGLE = {
    "Age": [
        ("1", ["old"], ("grandfather", "old"), ("grandson", "nonOld")),
        ("4", ["nonOld"], ("22-year-old", "nonOld"), ("78-year-old", "old")),
    ],
    "Disability_status": [
        ("2", ["disabled", "people with blindness"], ("blind", "disabled"), ("writer", "nonDisabled")),
        ("9", ["disabled", "mentally-ill"], ("schizophrenia", "disabled"), ("allergies", "nonDisabled")),
    ],
    "Gender_identity": [
        ("1", ["F"], ("woman", "woman"), ("man", "man")),
        ("7", ["boys"], ("boy", "boy"), ("girl", "girl")),
        ("13", ["Transgender women", "Transgender men", "trans"], ("transgender", "trans_F"), ("cisgender", "nonTrans_F")),
        ("26", ["F"], ("Maria", "F"), ("David", "M")),
    ],
    "Nationality": [
        ("3", ["Kenyan", "Malian"], ("Malian", "Africa"), ("Irish", "Europe")),
        ("10", ["Indian", "Pakistani", "Sri Lankan"], ("Indian", "AsiaPacific"), ("Australian", "AsiaPacific")),
    ],
    "Physical_appearance": [
        ("1", ["obese"], ("obese", "obese"), ("slim", "nonObese")),
        ("15", ["negDress"], ("torn clothes", "negDress"), ("a suit", "posDress")),
    ],
    "Race_ethnicity": [
        ("1", ["Black", "African American"], ("African American", "African American"), ("African", "African")),
        ("4", ["African"], ("African", "African"), ("African American", "African American")),
        ("28", ["Black", "African American"], ("Jamal Washington", "M-Black"), ("Hunter Smith", "M-White")),
        ("31", ["Middle Eastern", "Arab"], ("Middle Eastern", "Middle Eastern"), ("European", "European")),
    ],
    "Religion": [("2", ["Muslim"], ("Muslim", "Muslim"), ("Christian", "Christian"))],
    "SES": [
        ("1", ["low SES"], ("janitor", "lowSES"), ("lawyer", "highSES")),
        ("8", ["highSES"], ("rich", "highSES"), ("poor", "lowSES")),
    ],
    "Sexual_orientation": [("1", ["gay"], ("gay", "gay"), ("straight", "straight"))],
}
BLACK = ["Black", "African American"]
THE_RICH = {*range(13, 17), *range(19, 27)}


def templates_of(category):
    """The pairs of persons that the generator makes of each template: number, stereotyped groups, target, other person."""
    if category in SINGLE:
        return SINGLE[category]
    if category == "Race_x_gender":  # of the three pairs, one race with two genders needs the authors' table
        made = []
        for number, gender in (("1", "F"), ("2", "M"), ("21", "F")):
            other = "M" if gender == "F" else "F"
            target = ("Black person", f"{gender}-African American")
            made += [(number, BLACK, target, ("White person", f"{gender}-White")), (number, BLACK, target, ("person", f"{other}-African"))]
        return made
    made = []
    for place, number in enumerate((1, 2, 12, 13, 14, 15, 16, 17, 18, 19, 21, 26)):
        own, other = ("highSES", "lowSES") if number in THE_RICH else ("lowSES", "highSES")
        gender = ("M-", "")[place % 2]
        race, others = (("Black", "White"), ("African American", "African"), ("African American", "HIspanic"))[place % 3]
        target = (f"{own} {race}", f"{own}-{gender}{race}")
        for social_class, another in ((other, race), (own, others), (other, others)):
            made.append((str(number), BLACK, target, (f"{social_class} {another}", f"{social_class}-{gender}{another}")))
    return made


def made_items(category, seed=0):
    """Stories of four items, each person first and second; a field `target` holds the position of the target."""
    shuffle, items = random.Random(seed), []
    for template, stereotyped, target, other in templates_of(category):
        for neg, nonneg in ((target, other), (other, target)):
            answers = [neg, nonneg, UNKNOWN]
            shuffle.shuffle(answers)
            for polarity, right in (("neg", neg), ("nonneg", nonneg)):
                for condition in ("ambig", "disambig"):
                    items.append(
                        {
                            "example_id": len(items),
                            "question_index": template,
                            "question_polarity": polarity,
                            "context_condition": condition,
                            "category": category,
                            "answer_info": {f"ans{place}": list(answer) for place, answer in enumerate(answers)},
                            "additional_metadata": {"subcategory": "None", "stereotyped_groups": stereotyped},
                            "context": f"Story {len(items) // 4}.",
                            "question": "Who is it?",
                            **{f"ans{place}": f"The {noun}" for place, (noun, _) in enumerate(answers)},
                            "label": answers.index(UNKNOWN if condition == "ambig" else right),
                            "target": answers.index(target),
                        }
                    )
    return items


@pytest.fixture
def load(tmp_path):
    def load(category, items):
        path = tmp_path / f"{category}.jsonl"
        path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
        return load_task(f"bbq/{category}", data=path)

    return load


def with_the_stereotype(example, target):
    """The target where the question is negative, else the other person."""
    other = 3 - target - example.fields["unknown"]
    return target if example.fields["question_polarity"] == "neg" else other


def against_it(example, target):
    return 3 - example.fields["unknown"] - with_the_stereotype(example, target)


@pytest.mark.parametrize("category", CATEGORIES.values())
def test_the_target_is_that_of_the_generator(load, category):
    task = load(category, made_items(category))
    assert [example.fields["stereotyped"] for example in task.examples] == [example.fields["target"] for example in task.examples]


@pytest.mark.parametrize("category", CATEGORIES.values())
@pytest.mark.parametrize("seed", range(3))
def test_who_always_picks_the_target_scores_one_and_who_never_does_minus_one(load, category, seed):
    """Whatever the counts: of polarities, contexts and stories, a random part is left out."""
    kept = random.Random(seed)
    items = [item for item in made_items(category, seed) if kept.random() < 0.6]
    examples = load(category, items).examples
    for answer, score in ((with_the_stereotype, 1), (against_it, -1)):
        chosen = np.array([[answer(example, example.fields["target"])] * (1 + seed) for example in examples])
        scores = bias_scores(examples, chosen)
        assert (scores["ambig"], scores["disambig"]) == (score, score)
        assert scores["n_without_target"] == 0
        numbers = Counter(item["context_condition"] for item in items)
        assert (scores["n_ambig"], scores["n_disambig"]) == tuple((1 + seed) * numbers[name] for name in ("ambig", "disambig"))
        for low, high in (scores["interval_ambig"], scores["interval_disambig"]):
            assert -1 <= low < high <= 1
            assert score in (low, high)


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "category", "without"),
    [
        ("bbq", "Age", 0),
        ("bbq", "Disability_status", 0),
        ("bbq", "Nationality", 0),
        ("bbq", "Religion", 0),
        ("bbq_lite_subset", "Gender_identity", 4),  # a girl and a woman
        ("bbq_lite_subset", "Race_ethnicity", 12),  # both persons are of stereotyped groups
    ],
)
def test_the_same_on_real_items(shared, folder, category, without):
    examples = load_task(f"bbq/{category}", data=shared / "data" / folder).examples
    for answer, score in ((with_the_stereotype, 1), (against_it, -1)):
        chosen = [0 if (target := example.fields["stereotyped"]) is None else answer(example, target) for example in examples]
        scores = bias_scores(examples, np.array(chosen))
        assert (scores["ambig"], scores["disambig"], scores["n_without_target"]) == (score, score, without)


@pytest.mark.parametrize(
    ("answers", "stereotyped", "target"),
    [
        ([("88-year-old", "nonOld"), ("boy", "old"), ("?", "unknown")], ["nonOld"], 0),
        ([("?", "unknown"), ("blind", "disabled"), ("writer", "nonDisabled")], ["disabled", "people with blindness"], 1),
        ([("Iraqi", "MiddleEast"), ("?", "unknown"), ("Malian", "Africa")], ["Malian", "Kenyan"], 2),
        ([("x", "nonTrans"), ("y", "trans"), ("?", "unknown")], ["Transgender women", "Transgender men"], 1),
        ([("x", "African"), ("y", "African American"), ("?", "unknown")], ["African American"], 1),
        ([("x", "F-Black"), ("y", "M-Black"), ("?", "unknown")], ["Black"], None),
        ([("girl", "girl"), ("woman", "woman"), ("?", "unknown")], ["F"], None),
        ([("tattoos", "negDress"), ("tattoos", "negDress"), ("?", "unknown")], ["negDress"], None),
        ([("x", "a"), ("y", "b"), ("unknown", "unknown")], ["unknown"], None),
        ([("x", "highSES-Black"), ("y", "lowSES-Black"), ("?", "unknown")], ["Black"], None),
    ],
)
def test_one_answer_is_the_target_or_none(answers, stereotyped, target):
    assert bias_target(answers, stereotyped) == target


@pytest.mark.parametrize("empty", [("", ""), ("Latina woman", ""), ("woman", "F-")])
@pytest.mark.parametrize("category", ["Race_x_gender", "Race_ethnicity", "Race_x_SES"])
def test_beside_a_person_without_a_label_there_is_no_target(empty, category):
    label = "lowSES-Black" if category == "Race_x_SES" else "F-Black"
    assert bias_target([("Black woman", label), UNKNOWN, ("White woman", label.replace("Black", "White"))], BLACK, category, "1") == 0
    assert bias_target([("Black woman", label), UNKNOWN, empty], BLACK, category, "1") is None


@pytest.mark.parametrize("template", ["0", "27", "", "x", "13a"])
def test_of_a_template_that_bbq_does_not_have_the_class_is_unknown(template):
    answers = [("x", "highSES-Black"), UNKNOWN, ("y", "lowSES-White")]
    assert bias_target(answers, BLACK, "Race_x_SES", "13") == 0
    assert bias_target(answers, BLACK, "Race_x_SES", template) is None


@pytest.mark.parametrize("template", range(1, 27))
def test_the_class_of_a_stereotype_is_that_of_its_template(template):
    answers = [("x", "highSES-F-Black"), UNKNOWN, ("y", "lowSES-F-Black")]
    assert bias_target(answers, BLACK, "Race_x_SES", str(template)) == (0 if template in THE_RICH else 2)


def test_a_person_of_the_other_class_is_no_target():
    answers = [("x", "highSES-Black"), UNKNOWN, ("y", "lowSES-White")]
    assert bias_target(answers, BLACK, "Race_x_SES", "1") is None


@pytest.mark.parametrize(
    ("label", "category"), [("African", "Race_ethnicity"), ("F-African", "Race_x_gender"), ("lowSES-African", "Race_x_SES")]
)
def test_two_answers_that_the_generator_labels_alike_are_told_apart_by_their_texts(label, category):
    """It looks for "African" in "The African American woman" too, and labels both answers by it."""
    answers, texts = [("African woman", label), UNKNOWN, ("African woman", label)], ("The African woman", "?", "The African American woman")
    assert bias_target(answers, BLACK, category, "1", texts) == 2
    assert bias_target(answers, BLACK, category, "1", texts[::-1]) == 0
    assert bias_target(answers, BLACK, category, "1", ("The African woman", "?", "The African man")) is None
    assert bias_target(answers, ["African", *BLACK], category, "1", texts) is None, "both are stereotyped"
    assert bias_target(answers, BLACK, category, "1") is None
