"""FEVER: every layout gives the same task, the labels are the right way round, claims of one article are a group."""

import pytest

from record_files import write
from resect.core.errors import BadTask, UnknownName
from resect.data.tasks.registry import list_tasks, load_task


def evidence(page):
    return [[[92206, 104971, page, 7], [92206, 104971, "Another_page", 1]]]


ROWS = [
    {"id": 1, "verifiable": "VERIFIABLE", "label": "SUPPORTS", "claim": "Ada wrote a program.", "evidence": evidence("Ada")},
    {"id": 2, "verifiable": "VERIFIABLE", "label": "REFUTES", "claim": "Ada was a duke", "evidence": evidence("Ada")},
    {"id": 3, "verifiable": "NOT VERIFIABLE", "label": "NOT ENOUGH INFO", "claim": "Ada sang.", "evidence": [[[1, None, None, None]]]},
    {"id": 4, "verifiable": "VERIFIABLE", "label": "SUPPORTS", "claim": "It rains.", "evidence": evidence("Rain")},
    {"id": 5, "verifiable": "VERIFIABLE", "label": "REFUTES", "claim": "It rains.", "evidence": evidence("Rain")},
    {"id": 6, "verifiable": "VERIFIABLE", "label": "REFUTES", "claim": "Ada was a duke", "evidence": evidence("Duke")},
]


def content(task):
    return [(example.fields, example.gold_text, example.tags, example.group) for example in task.examples]


def test_undecided_contradictory_and_repeated_claims_are_left_out(tmp_path):
    task = load_task("fever", data=write(tmp_path / "paper_dev.jsonl", ROWS))
    assert [(example.id, example.fields["claim"], example.gold_text, example.tags) for example in task.examples] == [
        ("fever/1", "Ada wrote a program.", "true", ("true",)),
        ("fever/2", "Ada was a duke", "false", ("false",)),
    ]
    assert len(task.groups) == 1, "the evidence of both begins on one page"
    assert len(load_task("fever", data=tmp_path, split_by="claim").groups) == 2
    assert "Left out of 6 records: 4 that cannot be decided" in task.description


def test_a_claim_with_a_row_for_each_piece_of_evidence_is_one_example(tmp_path):
    expected = content(load_task("fever", data=write(tmp_path / "paper_dev.jsonl", ROWS)))
    table = [{"id": row["id"], "label": row["label"], "claim": row["claim"], "evidence_wiki_url": row["evidence"][0][0][2]} for row in ROWS]
    doubled = [row for row in table for _ in range(2)]
    assert content(load_task("fever", data=write(tmp_path / "a.parquet", doubled))) == expected
    numbered = [row | {"label": int(row["label"] == "SUPPORTS")} for row in doubled if row["label"] != "NOT ENOUGH INFO"]
    assert content(load_task("fever", data=write(tmp_path / "b.parquet", numbered))) == expected


def test_dev_and_test_of_a_folder_are_joined_and_filtered_together(tmp_path):
    write(tmp_path / "fever" / "train.jsonl", ROWS)
    write(tmp_path / "fever" / "paper_dev.jsonl", ROWS[:4])
    write(tmp_path / "fever" / "paper_test.jsonl", ROWS[4:])
    assert [example.id for example in load_task("fever", data=tmp_path).examples] == ["fever/1", "fever/2"]


def test_the_prompt_is_the_published_one(tmp_path):
    task = load_task("fever", data=write(tmp_path / "paper_dev.jsonl", ROWS))
    assert [task.prompt(example, "") for example in task.examples] == [
        "Consider the following claim: Ada wrote a program. Is this claim true or false. The claim is",
        "Consider the following claim: Ada was a duke. Is this claim true or false. The claim is",
    ]
    assert task.prompt(task.examples[0], "", "<mask>").endswith("The claim is <mask>")
    assert task.judged_fields == ("claim",)


def test_it_is_reported_by_accuracy(tmp_path):
    task = load_task("fever", data=write(tmp_path / "a.json", ROWS))
    assert (task.metric, task.instructions, task.matching) == ("accuracy", ("",), "choice")
    assert task.official_template and all(example.choices == ("true", "false") for example in task.examples)
    assert list_tasks()["fever"] in task.description
    with pytest.raises(UnknownName, match="way to split fever"):
        load_task("fever", data=tmp_path / "a.json", split_by="wrd")


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"id": 1, "claim": "It rains."}, "FEVER hides those.*fever reads"),
        ({"id": 1, "claim": "It rains.", "label": None}, "FEVER hides"),
        ({"id": 1, "claim": "It rains.", "label": -1}, "FEVER hides"),
        ({"id": 1, "claim": "It rains.", "label": "MAYBE"}, "the label is 'MAYBE'"),
        ({"id": 1, "claim": "It rains.", "label": 2}, "the label is 2"),
        ({"id": 1, "claim": " ", "label": "SUPPORTS"}, "'claim' is empty"),
        ({"question": "Who?", "answer": "he"}, "'claim' is missing; there are: question, answer"),
    ],
)
def test_a_wrong_record_is_refused_with_its_place(tmp_path, record, says):
    with pytest.raises(BadTask, match=rf"a\.jsonl:1: .*{says}"):
        load_task("fever", data=write(tmp_path / "a.jsonl", [record]))


def test_data_without_a_decided_claim_is_refused(tmp_path):
    with pytest.raises(BadTask, match="Of 1 records none can be used: they are those that cannot be decided"):
        load_task("fever", data=write(tmp_path / "a.jsonl", ROWS[2:3]))


def test_without_data_the_hub_is_read_dev_first(hub_cache):
    with pytest.raises(BadTask, match=r"could not be fetched.*--data.*fever reads"):
        load_task("fever")
    folder = hub_cache / "datasets--EleutherAI--fever" / "snapshots" / ("7" * 40) / "v1.0"
    for part, row in (("paper_test", ROWS[0]), ("paper_dev", ROWS[1])):
        write(folder / part / "0000.parquet", [{"id": row["id"], "label": row["label"], "claim": row["claim"]}])
    assert [example.id for example in load_task("fever").examples] == ["fever/2", "fever/1"]
