"""BIG-bench's epistemic_reasoning and qa_wikidata: both formats give the same task, stories are groups, several answers are left out."""

import json
from collections import Counter

import pytest

from record_files import assert_no_group_is_in_two_splits, write
from resect.core.errors import BadTask, UnknownName
from resect.data.tasks.registry import list_tasks, load_task

PAIRS = [
    ("Ada knows that a dog runs.", "Ada knows that an animal runs.", "entailment"),
    ("Bo thinks that Cy suspects that a dog runs.", "Cy suspects that a dog runs.", "non-entailment"),
    ("Dee learns that a sign says that it rains.", "Dee learns that it rains.", "non-entailment"),
]
PREFIX = (
    "Identify the relation between the following premises and hypotheses, choosing from the options 'entailment' or 'non-entailment'.\n"
)
EPISTEMIC = {
    "name": "epistemic_reasoning",
    "task_prefix": PREFIX,
    "example_output_prefix": "\nRelation: ",
    "examples": [
        {
            "input": f"Premise: {one} Hypothesis: {two}",
            "target_scores": {name: int(name == right) for name in ("entailment", "non-entailment")},
        }
        for one, two, right in PAIRS
    ],
}
WIKIDATA = {
    "name": "qa_wikidata",
    "metrics": ["exact_str_match"],
    "examples": [
        {"input": "Gabon shares a border with", "target": ["Cameroon", "Congo"]},
        {"input": "The capital of Gabon is ", "target": ["Libreville"]},
        {"input": "The language of Gabon is", "target": "French"},
    ],
}


def test_both_formats_of_epistemic_reasoning_give_the_same_task(tmp_path):
    published = write(tmp_path / "a" / "bigbench_epistemic_reasoning" / "task.json", EPISTEMIC)
    table = [
        {"inputs": f"{PREFIX}\nPremise: {one} Hypothesis: {two}\nRelation: ", "targets": [right], "idx": number}
        for number, (one, two, right) in enumerate(PAIRS)
    ]
    bare = [{"input": f"Premise: {one} Hypothesis: {two}", "targets": [right]} for one, two, right in PAIRS]
    task = load_task("epistemic", data=published)
    for data in (tmp_path / "a", write(tmp_path / "train.parquet", table), write(tmp_path / "b.jsonl", bare)):
        assert load_task("epistemic", data=data).digest == task.digest
    assert [example.gold_text for example in task.examples] == [right for _, _, right in PAIRS]
    prompt = f"{PREFIX}\nPremise: {PAIRS[0][0]} Hypothesis: {PAIRS[0][1]}\nRelation:"
    assert task.prompt(task.examples[0], "") == prompt
    assert task.prompt(task.examples[0], "", "[MASK]") == f"{prompt} [MASK]"
    assert task.judged_fields == ("hypothesis", "premise")


def test_a_story_is_what_is_known_whoever_knows_it(tmp_path):
    file = write(tmp_path / "task.json", EPISTEMIC)
    groups = [example.group for example in load_task("epistemic", data=file).examples]
    assert groups[0] == groups[1] != groups[2]
    assert len(load_task("epistemic", data=file, split_by="example").groups) == 3


def test_epistemic_reasoning_is_reported_by_accuracy(tmp_path):
    task = load_task("epistemic", data=write(tmp_path / "a.json", EPISTEMIC))
    assert (task.metric, task.instructions, task.matching) == ("accuracy", ("",), "choice")
    assert task.official_template and all(len(example.choices) == 2 for example in task.examples)
    assert list_tasks()["epistemic"] in task.description
    with pytest.raises(UnknownName, match="way to split epistemic"):
        load_task("epistemic", data=tmp_path / "a.json", split_by="wrd")


def test_both_formats_of_wikidata_give_the_same_task(tmp_path):
    published = write(tmp_path / "qa_wikidata" / "task.json", WIKIDATA)
    table = [
        {"inputs": row["input"], "targets": [row["target"]] if isinstance(row["target"], str) else row["target"], "idx": number}
        for number, row in enumerate(WIKIDATA["examples"])
    ]
    task = load_task("wikidata", data=published)
    for data in (tmp_path, write(tmp_path / "b" / "validation.parquet", table)):
        assert load_task("wikidata", data=data).digest == task.digest
    assert [(task.prompt(example, ""), example.gold) for example in task.examples] == [
        ("The capital of Gabon is", "Libreville"),
        ("The language of Gabon is", "French"),
    ]
    assert task.prompt(task.examples[0], "", "<mask>") == "The capital of Gabon is <mask>"
    assert "1 with several right answers" in task.description


def test_answers_of_wikidata_are_generated(tmp_path):
    task = load_task("wikidata", data=write(tmp_path / "task.json", WIKIDATA))
    assert (task.metric, task.matching, task.instructions) == ("generation", "contains", ("",))
    assert [task.tokens_for(family) for family in ("gptj", "llama", "roberta", "bert", "modernbert")] == [10, 10, 5, 5, 5]
    assert task.official_template == task.template
    with pytest.raises(UnknownName, match=r"'story'.*question"):
        load_task("wikidata", data=tmp_path / "task.json", split_by="story")


@pytest.mark.parametrize(
    ("name", "record", "says"),
    [
        ("epistemic", {"input": "Gabon borders", "target": ["Cameroon"]}, "not of the form.*epistemic reads"),
        (
            "epistemic",
            {"input": "Premise: a Hypothesis: b", "target_scores": {"entailment": 1, "non-entailment": 1}},
            "the right relations",
        ),
        ("epistemic", {"input": "Premise: a Hypothesis: b", "target_scores": {"yes": 1}}, r"the right relations are \['yes'\]"),
        ("epistemic", {"input": "Premise: a Hypothesis: b"}, "'target_scores' is missing"),
        ("epistemic", {"input": "Premise: a Hypothesis: b", "targets": []}, r"the right relations are \[\]"),
        ("wikidata", {"input": "Premise: a Hypothesis: b", "target_scores": {"entailment": 1}}, "'target' is missing.*wikidata reads"),
        ("wikidata", {"input": "a", "target": []}, "the right answers are"),
        ("wikidata", {"input": "a", "target": [" "]}, "the right answers are"),
        ("wikidata", {"input": "", "target": ["b"]}, "'input' is empty"),
    ],
)
def test_a_wrong_record_is_refused_with_its_place(tmp_path, name, record, says):
    with pytest.raises(BadTask, match=rf"task\.json: entry 1: .*{says}"):
        load_task(name, data=write(tmp_path / "task.json", [record]))


def test_data_without_a_usable_record_is_refused(tmp_path):
    with pytest.raises(BadTask, match="Of 1 records none can be used: they are those with several right answers"):
        load_task("wikidata", data=write(tmp_path / "task.json", WIKIDATA["examples"][:1]))


def test_without_data_the_hub_is_read_in_the_authors_order(hub_cache):
    with pytest.raises(BadTask, match=r"could not be fetched.*--data.*epistemic reads"):
        load_task("epistemic")
    folder = hub_cache / "datasets--tasksource--bigbench" / "snapshots" / ("6" * 40) / "epistemic_reasoning"
    rows = [{"inputs": f"Premise: {one} Hypothesis: {two}", "targets": [right]} for one, two, right in PAIRS]
    write(folder / "train-00000-of-00001.parquet", rows[:1])
    write(folder / "validation-00000-of-00001.parquet", rows[1:])
    assert [example.id for example in load_task("epistemic").examples] == [
        "epistemic/validation/0",
        "epistemic/validation/1",
        "epistemic/train/0",
    ]


@pytest.mark.real
def test_the_real_epistemic_reasoning(shared):
    file = shared / "data" / "bigbench_epistemic_reasoning" / "task.json"
    task = load_task("epistemic", data=shared / "data")
    assert Counter(example.gold_text for example in task.examples) == {"non-entailment": 1_259, "entailment": 741}
    inputs = [row["input"] for row in json.loads(file.read_text(encoding="utf-8"))["examples"]]
    prompts = [task.prompt(example, "") for example in task.examples]
    assert all(text in prompt for text, prompt in zip(inputs, prompts, strict=True)), "an input was changed"
    assert_no_group_is_in_two_splits(task)
