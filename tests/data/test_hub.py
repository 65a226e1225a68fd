"""Data sets of the Hub, read with the real `datasets`, offline: from folders, and from what the Hub's cache holds."""

import json
import sys

import datasets
import pytest

from resect.core.errors import BadTask
from resect.data.hub import hub_records, published_records
from resect.data.records import read_records
from resect.data.tasks.bbq import HUB_ID
from resect.data.tasks.registry import load_task

INSTEAD = "Do without."
#: What a table would not give back as it is: other keys in each record, null, nested objects of unlike kinds, odd line ends in texts.
RECORDS = [
    {"a": 1, "nested": {"x": None, "list": [["p", "q"], []]}},
    {"b": "é\u2028\r\n", "nested": {"y": {"z": 1}}, "a": None},
    {"a": "text where a number was"},
]


def write(path, records=RECORDS, opening=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = opening + "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def cached(hub_cache, revision, name="data/a.jsonl", **content):
    """A file in the Hub's cache, laid out as huggingface_hub leaves it."""
    repository = hub_cache / f"datasets--{HUB_ID.replace('/', '--')}"
    blob = write(repository / "blobs" / f"{revision}-{name.replace('/', '-')}", **content)
    link = repository / "snapshots" / revision / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(blob)


@pytest.mark.parametrize("opening", ["", "\ufeff"])
def test_records_are_those_of_a_local_file(tmp_path, opening):
    file = write(tmp_path / "data" / "a.jsonl", opening=opening)
    records = list(published_records(str(tmp_path), ["data/a.jsonl"]))
    assert records == list(read_records(file))
    assert [record.values for record in records] == RECORDS
    assert records[1].where == f"{file}:2"


def test_files_come_in_the_requested_order(tmp_path):
    for name in ("b", "a"):
        write(tmp_path / f"{name}.jsonl", [{"is": name}])
    assert [record.values["is"] for record in published_records(str(tmp_path), ["b.jsonl", "a.jsonl"])] == ["b", "a"]


TABLE = [{"text": 'a "quote', "label": 1, "idx": 0}, {"text": "é\u2028\r\n", "label": 0, "idx": 1}, {"text": "", "label": -1, "idx": 2}]


def table(path, rows=TABLE):
    """A table as the Hub's are: the label is the number of a named class, -1 where it is hidden."""
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"]), "idx": datasets.Value("int32")}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(path))
    return path


@pytest.mark.parametrize("name", ["runs [1]", "a*", "what?"])
def test_a_path_is_no_pattern(tmp_path, name):
    write(tmp_path / "a decoy" / "a.jsonl", [{"is": "another's"}])
    write(tmp_path / name / "a.jsonl")
    table(tmp_path / name / "a.parquet")
    assert [record.values for record in published_records(str(tmp_path / name), ["a.jsonl"])] == RECORDS
    assert [record.values for record in published_records(str(tmp_path / name), ["a.parquet"])] == TABLE


def test_tables_come_row_by_row_as_they_are_stored(tmp_path):
    for name, rows in (("b", TABLE[:1]), ("a", TABLE)):
        table(tmp_path / "data" / f"{name}.parquet", rows)
    records = list(published_records(str(tmp_path), ["data/b.parquet", "data/a.parquet"]))
    assert [record.values for record in records] == TABLE[:1] + TABLE
    assert [record.where for record in records[:3]] == [
        f"{tmp_path}/data/{place}" for place in ("b.parquet:1", "a.parquet:1", "a.parquet:2")
    ]


def test_a_damaged_table_is_refused_before_the_first_record(tmp_path):
    (tmp_path / "a.parquet").write_bytes(table(tmp_path / "b.parquet").read_bytes()[:-20])
    for name in ("a.parquet", "missing.parquet"):
        with pytest.raises(BadTask, match=r"could not be read: .*"):
            published_records(str(tmp_path), [name])


def test_offline_a_cached_table_is_read(hub_cache):
    table(hub_cache / f"datasets--{HUB_ID.replace('/', '--')}" / "snapshots" / ("4" * 40) / "data" / "a.parquet")
    assert [record.values for record in hub_records(HUB_ID, ["data/a.parquet"], INSTEAD)] == TABLE


def test_offline_the_newest_complete_cached_copy_is_read(hub_cache):
    cached(hub_cache, "1" * 40, records=[{"is": "whole"}])
    assert [record.values for record in hub_records(HUB_ID, ["data/a.jsonl"], INSTEAD)] == [{"is": "whole"}]
    with pytest.raises(BadTask, match=r"offline.*Do without"):
        hub_records(HUB_ID, ["data/a.jsonl", "data/b.jsonl"], INSTEAD)


def test_without_a_cached_copy_the_error_says_how_to_go_on():
    with pytest.raises(BadTask, match=r"could not be fetched.*offline.*Do without"):
        hub_records(HUB_ID, ["data/a.jsonl"], INSTEAD)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadTask, match=r"pip install 'resect\[datasets\]'.*--data"):
        load_task("bbq/age")


@pytest.mark.real
def test_bbq_of_the_hub_is_bbq_of_local_files(shared, hub_cache):
    for name in ("Age", "Religion"):
        content = (shared / "data" / "bbq_unseen" / f"{name}.jsonl").read_text(encoding="utf-8")
        cached(hub_cache, "2" * 40, f"data/{name}.jsonl", records=map(json.loads, content.splitlines()))
    for name in ("bbq/age", "bbq/religion"):
        assert load_task(name).digest == load_task(name, data=shared / "data" / "bbq_unseen").digest
