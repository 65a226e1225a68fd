"""CounterFact: both layouts say the same facts, paraphrases stay with their fact, wording and masks as LASER has them."""

import pytest

from record_files import write
from resect.core.errors import BadTask, UnknownName
from resect.data.tasks.registry import list_tasks, load_task
from resect.data.tasks.task import SHARES

REDUCED = [
    {
        "case_id": 0,
        "prompt": "The mother tongue of Danielle Darrieux is",
        "target_new": "English",
        "subject": "Danielle Darrieux",
        "ground_truth": "French",
        "rephrase_prompt": "Where Danielle Darrieux is from, people speak the language of",
        "locality_prompt": "Michel Rocard is a native speaker of",
        "locality_ground_truth": "French",
    },
    {"case_id": 7, "prompt": "{x} plays the", "subject": "{x}", "ground_truth": "piano", "rephrase_prompt": ["{x} is good at the"]},
]
ROME = [
    {
        "case_id": 0,
        "pararel_idx": 2796,
        "requested_rewrite": {
            "prompt": "The mother tongue of {} is",
            "relation_id": "P103",
            "target_new": {"str": "English", "id": "Q1860"},
            "target_true": {"str": "French", "id": "Q150"},
            "subject": "Danielle Darrieux",
        },
        "paraphrase_prompts": ["Where Danielle Darrieux is from, people speak the language of"],
        "neighborhood_prompts": ["The mother tongue of Léon Blum is"],
        "attribute_prompts": [],
        "generation_prompts": [],
    },
    {
        "case_id": 7,
        "requested_rewrite": {"prompt": "{} plays the", "target_true": {"str": "piano"}, "subject": "{x}"},
        "paraphrase_prompts": ["{x} is good at the"],
    },
]


def test_every_layout_gives_the_same_task(tmp_path):
    files = [
        write(tmp_path / "a" / "counterfact.json", ROME),
        write(tmp_path / "b" / "counterfact-edit.json", REDUCED),
        write(tmp_path / "c" / "counterfact" / "edit.jsonl", REDUCED),
    ]
    assert len({load_task(" CounterFact", data=data).digest for file in files for data in (file, file.parent)}) == 1
    assert load_task("counterfact", data=tmp_path / "c").digest == load_task("counterfact", data=files[0]).digest
    assert "counterfact" in list_tasks()


def test_a_prompt_and_its_paraphrases_are_examples_of_one_fact(tmp_path):
    task = load_task("counterfact", data=write(tmp_path / "counterfact.json", ROME))
    assert [example.id for example in task.examples] == [
        "counterfact/0",
        "counterfact/0/paraphrase-1",
        "counterfact/7",
        "counterfact/7/paraphrase-1",
    ]
    assert [example.tags for example in task.examples] == [(), ("paraphrase",)] * 2
    first, second, third, fourth = task.examples
    assert first.group == second.group != third.group == fourth.group
    assert (first.choices, first.gold_text, first.fields["fact"]) == ((), "French", "Danielle Darrieux: French")
    assert second.fields["subject"] == "Danielle Darrieux"
    assert task.prompt(third, "") == "{x} plays the", "a subject with braces is no pattern"


def test_the_prompts_are_the_published_ones(tmp_path):
    task = load_task("counterfact", data=write(tmp_path / "edit.jsonl", REDUCED))
    assert task.instructions == ("",)
    assert task.prompt(task.examples[0], "") == "The mother tongue of Danielle Darrieux is"
    assert task.prompt(task.examples[0], "", "<mask>") == "The mother tongue of Danielle Darrieux is <mask>."
    assert (task.metric, task.matching) == ("generation", "contains")
    assert [task.tokens_for(family) for family in ("gptj", "roberta", "llama")] == [1, 1, 10]


def test_one_fact_in_two_cases_is_one_group_and_a_subject_may_be(tmp_path):
    other = REDUCED[0] | {"case_id": 3, "prompt": "Danielle Darrieux, a native"}
    citizen = REDUCED[0] | {"case_id": 4, "prompt": "Danielle Darrieux is a citizen of", "ground_truth": "France"}
    file = write(tmp_path / "a.jsonl", [*REDUCED, other, citizen])
    task = load_task("counterfact", data=file)
    assert len(task.examples) == 8 and len(task.groups) == 3
    assert len(load_task("counterfact", data=file, split_by="subject").groups) == 2
    with pytest.raises(UnknownName, match=r"'story'.*fact, subject"):
        load_task("counterfact", data=file, split_by="story")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"ground_truth": " "}, "'ground_truth' is empty"),
        ({"prompt": None}, "'prompt' is None"),
        ({"rephrase_prompt": ""}, "the paraphrases are"),
        ({"rephrase_prompt": [3]}, "the paraphrases are"),
        ({"case_id": 0}, "the id 'counterfact/0' is at"),
        ({"requested_rewrite": {"prompt": "who?", "subject": "x", "target_true": {"str": "y"}}}, r"'who\?' has no \{\}"),
        ({"requested_rewrite": {"prompt": "{}", "subject": "x", "target_true": {}}}, "'str' is missing"),
        ({"requested_rewrite": "x"}, "'requested_rewrite' is 'x'; an object"),
    ],
)
def test_a_wrong_record_is_refused_with_its_place(tmp_path, changed, says):
    with pytest.raises(BadTask, match=rf"edit\.jsonl:2: .*{says}"):
        load_task("counterfact", data=write(tmp_path / "edit.jsonl", [REDUCED[0], REDUCED[1] | changed]))


def test_another_benchmarks_file_is_refused(tmp_path):
    file = write(tmp_path / "dev.jsonl", [{"question": "Who?", "answer": "he"}])
    with pytest.raises(BadTask, match=r"dev\.jsonl:1: the field 'rephrase_prompt' is missing.*counterfact reads.*ROME"):
        load_task("counterfact", data=file)


@pytest.mark.slow
@pytest.mark.real
def test_the_real_files(shared):
    """SOURCE.md of the folder: 10,000 + 10,000 + 1,919 cases with one paraphrase example."""
    task = load_task("counterfact", data=shared / "data")
    assert len(task.examples) == 2 * 21_919
    assert sum("paraphrase" in example.tags for example in task.examples) == 21_919
    assert len({example.id for example in task.examples}) == len(task.examples)
    splits = {name: {example.group for example in task.split(name)} for name in SHARES}
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == len(task.groups), "a fact is in two splits"
    assert all(task.prompt(example, "") == example.fields["prompt"] for example in task.examples[:100])
    assert len(load_task("counterfact", data=shared / "data" / "counterfact" / "val.jsonl").examples) == 2 * 1_919
