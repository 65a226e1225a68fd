"""HotpotQA: both formats give the same task, questions end in a mark, long answers are left out and counted."""

import pytest

from record_files import write
from resect.core.errors import BadTask, UnknownName
from resect.data.tasks.hotpotqa import load_hotpotqa
from resect.data.tasks.registry import list_tasks, load_task

ROWS = [
    {
        "_id": "5a8b",
        "answer": "yes",
        "question": "Were both men American?",
        "type": "comparison",
        "level": "hard",
        "context": [["A", ["b"]]],
    },
    {"_id": "5a8c", "answer": "Chief of Protocol", "question": "Name the office", "type": "bridge", "level": "hard", "context": []},
    {"_id": "5a8d", "answer": "a b c d e f g h i j k", "question": "Who were they?", "type": "bridge", "level": "easy", "context": []},
]


def test_both_formats_give_the_same_task(tmp_path):
    published = write(tmp_path / "hotpotqa" / "hotpot_dev_fullwiki_v1.json", ROWS)
    write(tmp_path / "hotpotqa" / "hotpot_test_fullwiki_v1.json", [{"_id": "1", "question": "Who?"}])
    table = [{"id": row["_id"]} | {name: row[name] for name in ("question", "answer", "type", "level")} for row in ROWS]
    task = load_task("hotpotqa", data=published)
    for data in (published.parent, tmp_path, write(tmp_path / "b" / "validation-00000-of-00001.parquet", table)):
        assert load_task("hotpotqa", data=data).digest == task.digest
    assert [(example.id, example.gold, example.tags) for example in task.examples] == [
        ("hotpotqa/5a8b", "yes", ("comparison", "hard")),
        ("hotpotqa/5a8c", "Chief of Protocol", ("bridge", "hard")),
    ]
    assert "Left out of 3 records: 1 with an answer of more than 10 words" in task.description
    assert list_tasks()["hotpotqa"] in task.description


def test_a_question_mark_is_added_where_there_is_neither_mark_nor_full_stop(tmp_path):
    texts = ("Who is it?", "Who is it", "Name him.", "Name him!")
    rows = [ROWS[0] | {"_id": str(number), "question": text} for number, text in enumerate(texts)]
    task = load_task("hotpotqa", data=write(tmp_path / "a.json", rows))
    assert [task.prompt(example, "") for example in task.examples] == [
        "Who is it? The answer is",
        "Who is it? The answer is",
        "Name him. The answer is",
        "Name him!? The answer is",
    ]
    assert task.prompt(task.examples[0], "", "[MASK]") == "Who is it? The answer is [MASK]"
    assert len(task.groups) == 2, "with and without a mark it is the same question"


def test_a_tokenizer_counts_tokens_where_one_is_given(tmp_path):
    file = write(tmp_path / "a.json", ROWS)
    counts = {"yes": 2, "Chief of Protocol": 16, "a b c d e f g h i j k": 15}
    task = load_hotpotqa(file, count_tokens=counts.__getitem__)
    assert [example.gold for example in task.examples] == ["yes", "a b c d e f g h i j k"]
    assert "more than 15 tokens" in task.description


def test_answers_are_generated(tmp_path):
    task = load_task("hotpotqa", data=write(tmp_path / "task.json", ROWS))
    assert (task.metric, task.matching, task.instructions) == ("generation", "contains", ("",))
    assert [task.tokens_for(family) for family in ("gptj", "llama", "roberta", "bert", "modernbert")] == [15, 15, 5, 5, 5]
    assert task.official_template == task.template
    with pytest.raises(UnknownName, match=r"'story'.*question"):
        load_task("hotpotqa", data=tmp_path / "task.json", split_by="story")


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"question": "Who?"}, "HotpotQA hides those of its test files.*hotpotqa reads"),
        ({"question": "Who?", "answer": None}, "HotpotQA hides"),
        ({"question": "Who?", "answer": " "}, "'answer' is empty"),
        ({"question": "Who?", "answer": ["a"]}, "'answer' is .*a text is needed"),
        ({"claim": "x", "label": "SUPPORTS"}, "'question' is missing; there are: claim, label"),
    ],
)
def test_a_wrong_record_is_refused_with_its_place(tmp_path, record, says):
    with pytest.raises(BadTask, match=rf"task\.json: entry 1: .*{says}"):
        load_task("hotpotqa", data=write(tmp_path / "task.json", [record]))
