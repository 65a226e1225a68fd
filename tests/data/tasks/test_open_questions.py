"""HotpotQA and Wikidata: published formats, question marks, long and several answers left out and said."""

import json

import datasets
import pytest

from resect.core.errors import BadTask, UnknownName
from resect.data.tasks.open_questions import load_hotpotqa
from resect.data.tasks.registry import list_tasks, load_task

HOTPOTQA = [
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
WIKIDATA = {
    "name": "qa_wikidata",
    "metrics": ["exact_str_match"],
    "examples": [
        {"input": "Gabon shares a border with", "target": ["Cameroon", "Congo"]},
        {"input": "The capital of Gabon is ", "target": ["Libreville"]},
        {"input": "The language of Gabon is", "target": "French"},
    ],
}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        datasets.Dataset.from_list(content).to_parquet(str(path))
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


def test_hotpotqa_in_both_formats(tmp_path):
    published = write(tmp_path / "hotpotqa" / "hotpot_dev_fullwiki_v1.json", HOTPOTQA)
    write(tmp_path / "hotpotqa" / "hotpot_test_fullwiki_v1.json", [{"_id": "1", "question": "Who?"}])
    table = [{"id": each["_id"]} | {name: each[name] for name in ("question", "answer", "type", "level")} for each in HOTPOTQA]
    task = load_task("hotpotqa", data=published)
    for data in (published.parent, tmp_path, write(tmp_path / "b" / "validation-00000-of-00001.parquet", table)):
        assert load_task("hotpotqa", data=data).digest == task.digest
    assert [(each.id, each.gold, each.tags) for each in task.examples] == [
        ("hotpotqa/5a8b", "yes", ("comparison", "hard")),
        ("hotpotqa/5a8c", "Chief of Protocol", ("bridge", "hard")),
    ]
    assert "Left out of 3 records: 1 with an answer of more than 10 words" in task.description
    assert list_tasks()["hotpotqa"] in task.description


def test_a_question_mark_is_added_where_none_and_no_full_stop_is(tmp_path):
    asked = [
        HOTPOTQA[0] | {"_id": str(n), "question": text} for n, text in enumerate(("Who is it?", "Who is it", "Name him.", "Name him!"))
    ]
    task = load_task("hotpotqa", data=write(tmp_path / "a.json", asked))
    assert [task.prompt(each, "") for each in task.examples] == [
        "Who is it? The answer is",
        "Who is it? The answer is",
        "Name him. The answer is",
        "Name him!? The answer is",
    ]
    assert task.prompt(task.examples[0], "", "[MASK]") == "Who is it? The answer is [MASK]"
    assert len(task.groups) == 2, "with and without a mark it is the same question"


def test_a_tokenizer_counts_tokens_where_one_is_given(tmp_path):
    file = write(tmp_path / "a.json", HOTPOTQA)
    counted = {"yes": 2, "Chief of Protocol": 16, "a b c d e f g h i j k": 15}
    task = load_hotpotqa(file, count_tokens=counted.__getitem__)
    assert [each.gold for each in task.examples] == ["yes", "a b c d e f g h i j k"]
    assert "more than 15 tokens" in task.description


def test_wikidata_in_both_formats(tmp_path):
    published = write(tmp_path / "qa_wikidata" / "task.json", WIKIDATA)
    table = [
        {"inputs": each["input"], "targets": [each["target"]] if isinstance(each["target"], str) else each["target"], "idx": number}
        for number, each in enumerate(WIKIDATA["examples"])
    ]
    task = load_task("wikidata", data=published)
    for data in (tmp_path, write(tmp_path / "b" / "validation.parquet", table)):
        assert load_task("wikidata", data=data).digest == task.digest
    assert [(task.prompt(each, ""), each.gold) for each in task.examples] == [
        ("The capital of Gabon is", "Libreville"),
        ("The language of Gabon is", "French"),
    ]
    assert task.prompt(task.examples[0], "", "<mask>") == "The capital of Gabon is <mask>"
    assert "1 with several right answers" in task.description


@pytest.mark.parametrize(("name", "content", "tokens"), [("hotpotqa", HOTPOTQA, 15), ("wikidata", WIKIDATA, 10)])
def test_answers_are_generated(tmp_path, name, content, tokens):
    task = load_task(name, data=write(tmp_path / "task.json", content))
    assert (task.metric, task.matching, task.instructions) == ("generation", "contains", ("",))
    assert [task.tokens_for(family) for family in ("gptj", "llama", "roberta", "bert", "modernbert")] == [tokens, tokens, 5, 5, 5]
    assert task.official_template == task.template
    with pytest.raises(UnknownName, match=r"'story'.*question"):
        load_task(name, data=tmp_path / "task.json", split_by="story")


@pytest.mark.parametrize(
    ("name", "record", "says"),
    [
        ("hotpotqa", {"question": "Who?"}, "HotpotQA hides those of its test files.*hotpotqa reads"),
        ("hotpotqa", {"question": "Who?", "answer": None}, "HotpotQA hides"),
        ("hotpotqa", {"question": "Who?", "answer": " "}, "'answer' is empty"),
        ("hotpotqa", {"question": "Who?", "answer": ["a"]}, "'answer' is .*a text is wanted"),
        ("hotpotqa", {"claim": "x", "label": "SUPPORTS"}, "'question' is missing; there are: claim, label"),
        ("wikidata", {"input": "Premise: a Hypothesis: b", "target_scores": {"entailment": 1}}, "'target' is missing.*wikidata reads"),
        ("wikidata", {"input": "a", "target": []}, "the right answers are"),
        ("wikidata", {"input": "a", "target": [" "]}, "the right answers are"),
        ("wikidata", {"input": "", "target": ["b"]}, "'input' is empty"),
    ],
)
def test_a_wrong_record_says_where(tmp_path, name, record, says):
    with pytest.raises(BadTask, match=rf"task\.json: entry 1: .*{says}"):
        load_task(name, data=write(tmp_path / "task.json", [record]))


def test_where_nothing_is_left_it_says_why(tmp_path):
    with pytest.raises(BadTask, match="Of 1 records none can be asked: they are those with several right answers"):
        load_task("wikidata", data=write(tmp_path / "task.json", WIKIDATA["examples"][:1]))
