"""Sources of benchmarks: which files of a folder are read, in which formats, and errors that say what is accepted."""

import json

import pytest

import record_files
from resect.core.errors import BadTask, UnknownName
from resect.data.records import read_records
from resect.data.tasks.benchmark_source import BenchmarkSource, check_split_by, words_hash
from resect.data.tasks.task import Example

SOURCE = BenchmarkSource(
    task="riddles",
    accepts="riddles reads files of riddles.",
    hub_id="someone/riddles",
    hub_files={"train": "data/train-*.parquet", "dev": "data/dev-*.parquet"},
    file_names=(("riddles",), ("dev", "test")),
    folder_names=("riddles", "riddles_set"),
    hub_limits={"train": 2},
)
ROWS = [{"text": "a", "n": 0}, {"text": "b", "n": 1}, {"text": "c", "n": 2}]


def write(path, rows=ROWS):
    return record_files.write(path, rows)


def texts(data):
    return [record.values["text"] for record in SOURCE.records(data)]


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_texts(tmp_path, kind):
    file = write(tmp_path / f"mine.{kind}")
    assert texts(file) == ["a", "b", "c"]
    assert [record.key for record in SOURCE.records(file)] == ["0", "1", "2"]


def test_a_json_file_is_a_list_or_a_benchs_examples_or_one_object_or_lines(tmp_path):
    file = tmp_path / "a.json"
    for content in (ROWS, {"name": "riddles", "examples": ROWS}):
        file.write_text("\ufeff" + json.dumps(content, indent=1), encoding="utf-8")
        assert texts(file) == ["a", "b", "c"]
    file.write_text(json.dumps(ROWS[0]), encoding="utf-8")
    assert texts(file) == ["a"]
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    assert texts(file) == ["a", "b", "c"]
    assert [record.where for record in read_records(file)][2] == f"{file}:3"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"text": "a"}, {"tex', r"a\.json: no JSON: .*breaks off"),
        ('{\n "examples": [\n {"text"', r"a\.json: no JSON: .*breaks off"),
        ('{"text": "a"}\n{"text": \n', r"a\.json:2: no JSON"),
        ("", r"a\.json: no JSON"),
        ("3", "a list of objects is needed, not int"),
        ('[{"text": "a"}, 7]', r"entry 2 is 7"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_a_damaged_json_file_is_refused_with_its_place(tmp_path, text, says):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadTask, match=rf"(?s){says}.*riddles reads files"):
        texts(tmp_path / "a.json")


def test_of_a_folder_the_named_files_are_read_in_one_format(tmp_path):
    write(tmp_path / "riddles_set" / "dev.json", ROWS[:1])
    assert texts(tmp_path / "riddles_set") == texts(tmp_path) == ["a"], "the only one there is"
    write(tmp_path / "riddles_set" / "other.json")
    write(tmp_path / "riddles_set" / "test-1.jsonl", ROWS[1:])
    write(tmp_path / "riddles_set" / "dev_ids.json")
    assert texts(tmp_path) == ["a", "b", "c"]
    assert [record.key for record in SOURCE.records(tmp_path)] == ["dev/0", "test-1/0", "test-1/1"]
    write(tmp_path / "riddles_set" / "Riddles.csv", ROWS[2:])
    write(tmp_path / "riddles_set" / "riddles.parquet", ROWS[:2])
    assert texts(tmp_path) == ["c"], "one table in two formats, and it comes before dev and test"


def test_nothing_is_guessed(tmp_path):
    write(tmp_path / "x.json")
    write(tmp_path / "y.json")
    with pytest.raises(BadTask, match=r"holds x\.json, y\.json: name the one.*riddles reads"):
        texts(tmp_path)
    assert texts([tmp_path / "y.json", tmp_path / "x.json"]) == ["a", "b", "c"] * 2
    with pytest.raises(BadTask, match=r"two have one name.*riddles reads"):
        texts([tmp_path / "x.json", write(tmp_path / "more" / "x.json")])
    for data in (tmp_path / "nowhere", tmp_path / "more" / "x.txt"):
        with pytest.raises(BadTask, match=r"no data file.*riddles reads"):
            texts(data)
    (tmp_path / "x.txt").write_text("a", encoding="utf-8")
    with pytest.raises(BadTask, match=r"ends in none of \.jsonl, \.json.*riddles reads"):
        texts(tmp_path / "x.txt")


def test_without_data_the_parts_of_the_hub_are_read_in_order(hub_cache):
    with pytest.raises(BadTask, match=r"could not be fetched.*--data.*riddles reads"):
        texts(None)
    kept = hub_cache / "datasets--someone--riddles" / "snapshots" / ("5" * 40) / "data"
    write(kept / "dev-00000-of-00001-abcdef.parquet")
    write(kept / "train-00000-of-00002-abcdef.parquet", ROWS[1:])
    write(kept / "train-00001-of-00002-123456.parquet")
    assert texts(None) == ["b", "c", "a", "b", "c"], "of train the first two"
    assert [record.key for record in SOURCE.records(None)][1:3] == ["train/1", "dev/0"]


def test_records_without_an_example_are_counted(tmp_path):
    file = write(tmp_path / "a.json")

    def made(kept):
        return SOURCE.examples(
            SOURCE.records(file),
            lambda record: [Example(record.values, (), record.values["text"])] * (record.values["n"] in kept),
            "too dull",
        )

    assert made({0, 1, 2})[1] == ""
    examples, note = made({1})
    assert [example.gold for example in examples] == ["b"] and note == " Left out of 3 records: 2 too dull."
    with pytest.raises(BadTask, match=r"Of 3 records none can be used: they are those too dull\. riddles reads"):
        made(set())
    file.write_text("[]", encoding="utf-8")
    with pytest.raises(BadTask, match=r"holds no record\. riddles reads"):
        made({0})


def test_ways_to_group():
    assert check_split_by("riddles", None, ("text", "author")) == "text"
    assert check_split_by("riddles", "author", ("text", "author")) == "author"
    with pytest.raises(UnknownName, match=r"way to split riddles 'txt'.*Did you mean 'text'"):
        check_split_by("riddles", "txt", ("text", "author"))


def test_copies_of_a_text_have_one_hash():
    assert words_hash("It is  late, he said.") == words_hash('"it IS late" he said') != words_hash("It is later, he said.")
    assert words_hash("…") != words_hash("!")
