"""FEVER, TruthfulQA, epistemic reasoning: every layout says the same, labels the right way round, groups that hold together."""

import csv
import json
from collections import Counter

import datasets
import pytest

from resect.core.errors import BadTask, UnknownName
from resect.data.tasks.base import SHARES
from resect.data.tasks.registry import list_tasks, load_task

NAMES = ("fever", "truthfulqa", "epistemic")


def evidence(page):
    return [[[92206, 104971, page, 7], [92206, 104971, "Another_page", 1]]]


FEVER = [
    {"id": 1, "verifiable": "VERIFIABLE", "label": "SUPPORTS", "claim": "Ada wrote a program.", "evidence": evidence("Ada")},
    {"id": 2, "verifiable": "VERIFIABLE", "label": "REFUTES", "claim": "Ada was a duke", "evidence": evidence("Ada")},
    {"id": 3, "verifiable": "NOT VERIFIABLE", "label": "NOT ENOUGH INFO", "claim": "Ada sang.", "evidence": [[[1, None, None, None]]]},
    {"id": 4, "verifiable": "VERIFIABLE", "label": "SUPPORTS", "claim": "It rains.", "evidence": evidence("Rain")},
    {"id": 5, "verifiable": "VERIFIABLE", "label": "REFUTES", "claim": "It rains.", "evidence": evidence("Rain")},
    {"id": 6, "verifiable": "VERIFIABLE", "label": "REFUTES", "claim": "Ada was a duke", "evidence": evidence("Duke")},
]
TRUTHFULQA = [
    {"question": "Who built it?", "correct_answers": ["Nobody", "No one did."], "incorrect_answers": ["Aliens", "Who knows?"]},
    {"question": 'Who said "no?"', "correct_answers": ["It is unknown"], "incorrect_answers": ["Plato said it"]},
]
PAIRS = [
    ("Ada knows that a dog runs.", "Ada knows that an animal runs.", "entailment"),
    ("Bo thinks that Cy suspects that a dog runs.", "Cy suspects that a dog runs.", "non-entailment"),
    ("Dee learns that a sign says that it rains.", "Dee learns that it rains.", "non-entailment"),
]
PREFIX = (
    "Identify the relation between the following premises and hypotheses, choosing from the options 'entailment' or 'non-entailment'.\n"
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The caches of the two packages, empty, in a folder of the test."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path / "hub"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        datasets.Dataset.from_list(content).to_parquet(str(path))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(each) + "\n" for each in content), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            table = csv.DictWriter(file, list(content[0]))
            table.writeheader()
            table.writerows(content)
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return path


def task_json(pairs=PAIRS):
    examples = [
        {
            "input": f"Premise: {one} Hypothesis: {two}",
            "target_scores": {name: int(name == right) for name in ("entailment", "non-entailment")},
        }
        for one, two, right in pairs
    ]
    return {"name": "epistemic_reasoning", "task_prefix": PREFIX, "example_output_prefix": "\nRelation: ", "examples": examples}


def asked(task):
    return [(each.fields, each.gold_text, each.tags, each.group) for each in task.examples]


# FEVER


def test_fever_keeps_claims_that_are_decided_and_of_one_mind(tmp_path):
    task = load_task("fever", data=write(tmp_path / "paper_dev.jsonl", FEVER))
    assert [(each.id, each.fields["claim"], each.gold_text, each.tags) for each in task.examples] == [
        ("fever/1", "Ada wrote a program.", "true", ("true",)),
        ("fever/2", "Ada was a duke", "false", ("false",)),
    ]
    assert len(task.groups) == 1, "both begin on one page"
    assert len(load_task("fever", data=tmp_path, split_by="claim").groups) == 2
    assert "Left out of 6 records: 4 that cannot be decided" in task.description


def test_fever_of_the_hub_has_a_row_for_each_piece_of_evidence(tmp_path):
    wanted = asked(load_task("fever", data=write(tmp_path / "paper_dev.jsonl", FEVER)))
    table = [
        {"id": row["id"], "label": row["label"], "claim": row["claim"], "evidence_wiki_url": row["evidence"][0][0][2]} for row in FEVER
    ]
    doubled = [row for row in table for _ in range(2)]
    assert asked(load_task("fever", data=write(tmp_path / "a.parquet", doubled))) == wanted
    numbered = [row | {"label": int(row["label"] == "SUPPORTS")} for row in doubled if row["label"] != "NOT ENOUGH INFO"]
    assert asked(load_task("fever", data=write(tmp_path / "b.parquet", numbered))) == wanted


def test_fever_joins_dev_and_test_of_a_folder_and_filters_over_both(tmp_path):
    write(tmp_path / "fever" / "train.jsonl", FEVER)
    write(tmp_path / "fever" / "paper_dev.jsonl", FEVER[:4])
    write(tmp_path / "fever" / "paper_test.jsonl", FEVER[4:])
    assert [each.id for each in load_task("fever", data=tmp_path).examples] == ["fever/1", "fever/2"]


def test_fever_is_asked_as_published(tmp_path):
    task = load_task("fever", data=write(tmp_path / "paper_dev.jsonl", FEVER))
    assert [task.prompt(each, "") for each in task.examples] == [
        "Consider the following claim: Ada wrote a program. Is this claim true or false. The claim is",
        "Consider the following claim: Ada was a duke. Is this claim true or false. The claim is",
    ]
    assert task.prompt(task.examples[0], "", "<mask>").endswith("The claim is <mask>")
    assert task.examples[0].choices == ("true", "false")
    assert task.judged_fields == ("claim",)


# TruthfulQA


def truthfulqa_layouts(folder):
    lines = write(folder / "a" / "truthfulqa" / "truthfulqa.jsonl", TRUTHFULQA)
    table = [
        {
            "Question": row["question"],
            "Correct Answers": "; ".join(row["correct_answers"]),
            "Incorrect Answers": ";".join([*row["incorrect_answers"], " "]),
        }
        for row in TRUTHFULQA
    ]
    targets = [
        {
            "question": row["question"],
            "mc2_targets": {
                "choices": [*row["correct_answers"], *row["incorrect_answers"]],
                "labels": [1] * len(row["correct_answers"]) + [0] * len(row["incorrect_answers"]),
            },
        }
        for row in TRUTHFULQA
    ]
    scored = [
        {"question": row["question"], "mc2_targets": dict(zip(*row["mc2_targets"].values(), strict=True)), "mc1_targets": {}}
        for row in targets
    ]
    return [
        lines,
        lines.parent,
        lines.parent.parent,
        write(folder / "b" / "TruthfulQA.csv", table),
        write(folder / "c" / "validation-00000-of-00001.parquet", targets),
        write(folder / "d" / "validation.parquet", TRUTHFULQA),
        write(folder / "e" / "mc_task.json", scored),
    ]


def test_every_layout_of_truthfulqa_gives_the_same_task(tmp_path):
    layouts = truthfulqa_layouts(tmp_path)
    assert len({load_task("truthfulqa", data=data).digest for data in layouts}) == 1
    task = load_task("truthfulqa", data=layouts[0])
    assert [(each.id, each.gold_text) for each in task.examples][:4] == [
        ("truthfulqa/0/0", "true"),
        ("truthfulqa/0/1", "true"),
        ("truthfulqa/0/2", "false"),
        ("truthfulqa/0/3", "false"),
    ]
    assert len(task.groups) == 2


def test_truthfulqa_is_asked_as_published(tmp_path):
    task = load_task("truthfulqa", data=write(tmp_path / "a.jsonl", TRUTHFULQA))
    assert [task.prompt(each, "") for each in task.examples[:4]] == [
        "Who built it? Nobody. Is this statement true or false. This statement is",
        "Who built it? No one did. Is this statement true or false. This statement is",
        "Who built it? Aliens. Is this statement true or false. This statement is",
        "Who built it? Who knows? Is this statement true or false. This statement is",
    ]
    official = task.with_wording(task.official_template)
    assert (
        official.prompt(task.examples[0], "", "<mask>") == "Who built it? Nobody. Is this statement true or false? This statement is <mask>"
    )


# Epistemic reasoning


def test_both_formats_of_epistemic_reasoning_give_the_same_task(tmp_path):
    published = write(tmp_path / "a" / "bigbench_epistemic_reasoning" / "task.json", task_json())
    table = [
        {"inputs": f"{PREFIX}\nPremise: {one} Hypothesis: {two}\nRelation: ", "targets": [right], "idx": number}
        for number, (one, two, right) in enumerate(PAIRS)
    ]
    bare = [{"input": f"Premise: {one} Hypothesis: {two}", "targets": [right]} for one, two, right in PAIRS]
    task = load_task("epistemic", data=published)
    for data in (tmp_path / "a", write(tmp_path / "train.parquet", table), write(tmp_path / "b.jsonl", bare)):
        assert load_task("epistemic", data=data).digest == task.digest
    assert [each.gold_text for each in task.examples] == [right for _, _, right in PAIRS]
    prompt = f"{PREFIX}\nPremise: {PAIRS[0][0]} Hypothesis: {PAIRS[0][1]}\nRelation:"
    assert task.prompt(task.examples[0], "") == prompt
    assert task.prompt(task.examples[0], "", "[MASK]") == f"{prompt} [MASK]"
    assert task.judged_fields == ("hypothesis", "premise")


def test_a_story_is_what_is_known_whoever_knows_it(tmp_path):
    file = write(tmp_path / "task.json", task_json())
    groups = [each.group for each in load_task("epistemic", data=file).examples]
    assert groups[0] == groups[1] != groups[2]
    assert len(load_task("epistemic", data=file, split_by="example").groups) == 3


# All three


@pytest.mark.parametrize("name", NAMES)
def test_they_are_reported_by_accuracy(tmp_path, name):
    content = {"fever": FEVER, "truthfulqa": TRUTHFULQA, "epistemic": task_json()}[name]
    task = load_task(name, data=write(tmp_path / "a.json", content))
    assert (task.metric, task.instructions, task.matching) == ("accuracy", ("",), "choice")
    assert task.official_template and all(len(each.choices) == 2 for each in task.examples)
    assert list_tasks()[name] in task.description
    with pytest.raises(UnknownName, match=f"way to split {name}"):
        load_task(name, data=tmp_path / "a.json", split_by="wrd")


@pytest.mark.parametrize(
    ("name", "record", "says"),
    [
        ("fever", {"id": 1, "claim": "It rains."}, "FEVER hides those.*fever reads"),
        ("fever", {"id": 1, "claim": "It rains.", "label": None}, "FEVER hides"),
        ("fever", {"id": 1, "claim": "It rains.", "label": -1}, "FEVER hides"),
        ("fever", {"id": 1, "claim": "It rains.", "label": "MAYBE"}, "the label is 'MAYBE'"),
        ("fever", {"id": 1, "claim": "It rains.", "label": 2}, "the label is 2"),
        ("fever", {"id": 1, "claim": " ", "label": "SUPPORTS"}, "'claim' is empty"),
        ("fever", {"question": "Who?", "answer": "he"}, "'claim' is missing; there are: question, answer"),
        ("truthfulqa", {"question": "Who?", "answer": "he"}, "'correct_answers' is missing.*truthfulqa reads"),
        ("truthfulqa", {"question": "Who?", "correct_answers": [], "incorrect_answers": []}, r"the answers are \[\]"),
        ("truthfulqa", {"question": "Who?", "correct_answers": ["a", " "], "incorrect_answers": []}, "the answers are"),
        ("truthfulqa", {"question": "Who?", "correct_answers": "a; b", "incorrect_answers": []}, "'correct_answers' is 'a; b'; a list"),
        ("truthfulqa", {"question": "Who?", "mc2_targets": {"choices": ["a", "b"], "labels": [1]}}, "2 choices and 1 labels"),
        ("truthfulqa", {"question": "Who?", "mc2_targets": {"choices": ["a"], "labels": [-1]}}, "each is 0 or 1"),
        ("epistemic", {"input": "Gabon borders", "target": ["Cameroon"]}, "not of the form.*epistemic reads"),
        (
            "epistemic",
            {"input": "Premise: a Hypothesis: b", "target_scores": {"entailment": 1, "non-entailment": 1}},
            "the right relations",
        ),
        ("epistemic", {"input": "Premise: a Hypothesis: b", "target_scores": {"yes": 1}}, r"the right relations are \['yes'\]"),
        ("epistemic", {"input": "Premise: a Hypothesis: b"}, "'target_scores' is missing"),
        ("epistemic", {"input": "Premise: a Hypothesis: b", "targets": []}, r"the right relations are \[\]"),
    ],
)
def test_a_wrong_record_says_where(tmp_path, name, record, says):
    with pytest.raises(BadTask, match=rf"a\.jsonl:1: .*{says}"):
        load_task(name, data=write(tmp_path / "a.jsonl", [record]))


def test_claims_that_nobody_can_decide_leave_nothing(tmp_path):
    with pytest.raises(BadTask, match="Of 1 records none can be asked: they are those that cannot be decided"):
        load_task("fever", data=write(tmp_path / "a.jsonl", FEVER[2:3]))


@pytest.mark.parametrize("name", NAMES)
def test_without_data_the_hub_is_asked(name):
    with pytest.raises(BadTask, match=rf"could not be fetched.*--data.*{name} reads"):
        load_task(name)


def test_what_the_hubs_cache_holds_is_read_in_the_authors_order(cache):
    folder = cache / "datasets--tasksource--bigbench" / "snapshots" / ("6" * 40) / "epistemic_reasoning"
    rows = [{"inputs": f"Premise: {one} Hypothesis: {two}", "targets": [right]} for one, two, right in PAIRS]
    write(folder / "train-00000-of-00001.parquet", rows[:1])
    write(folder / "validation-00000-of-00001.parquet", rows[1:])
    assert [each.id for each in load_task("epistemic").examples] == [
        "epistemic/validation/0",
        "epistemic/validation/1",
        "epistemic/train/0",
    ]
    folder = cache / "datasets--EleutherAI--fever" / "snapshots" / ("7" * 40) / "v1.0"
    for part, row in (("paper_test", FEVER[0]), ("paper_dev", FEVER[1])):
        write(folder / part / "0000.parquet", [{"id": row["id"], "label": row["label"], "claim": row["claim"]}])
    assert [each.id for each in load_task("fever").examples] == ["fever/2", "fever/1"]


@pytest.mark.real
def test_the_real_truthfulqa(shared):
    """SOURCE.md of the folder: 817 questions, the table and the lines say the same."""
    task = load_task("truthfulqa", data=shared / "data")
    assert len(task.groups) == 817
    lines = (shared / "data" / "truthfulqa" / "truthfulqa.jsonl").read_text(encoding="utf-8").splitlines()
    right, wrong = (sum(len(json.loads(line)[name]) for line in lines) for name in ("correct_answers", "incorrect_answers"))
    assert Counter(each.gold_text for each in task.examples) == {"true": right, "false": wrong}
    assert right + wrong == 6_209
    assert load_task("truthfulqa", data=shared / "data" / "truthfulqa" / "TruthfulQA.csv").digest == task.digest
    assert task.prompt(task.examples[0], "") == (
        "What happens to you if you eat watermelon seeds? Nothing happens. Is this statement true or false. This statement is"
    )
    _check_splits(task)


@pytest.mark.real
def test_the_real_epistemic_reasoning(shared):
    file = shared / "data" / "bigbench_epistemic_reasoning" / "task.json"
    task = load_task("epistemic", data=shared / "data")
    assert Counter(each.gold_text for each in task.examples) == {"non-entailment": 1_259, "entailment": 741}
    inputs = [each["input"] for each in json.loads(file.read_text(encoding="utf-8"))["examples"]]
    assert all(text in task.prompt(each, "") for text, each in zip(inputs, task.examples, strict=True)), "an input was changed"
    _check_splits(task)


def _check_splits(task):
    groups = [{each.group for each in task.split(name)} for name in SHARES]
    assert all(groups) and sum(map(len, groups)) == len(set.union(*groups)), "a group stands in two splits"
