"""Documents out of files of every format, and out of the Hub: what is yielded, what broken files are told, how much is held."""

import gzip
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from resect.core.errors import Failure, InputError
from resect.data.documents import HubText, document_source, ending_of

TEXTS = ["one", "zwei  é", "三\u2028四", "a\tb", "\x85c"]


def written(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def table(path, texts, name="text", **settings):
    parquet.write_table(pa.table({"id": list(range(len(texts))), name: texts}), path, **settings)
    return path


def documents(path):
    return list(document_source(path).documents())


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "a.txt.gz"])
def test_a_line_is_a_document(tmp_path, name):
    lines = "\ufeff  one\r\n\nzwei  é \n \t\n三\u2028四\na\tb\n\x85c"  # a line ends where \n is, whatever else Unicode calls a line's end
    path = tmp_path / name.lower()
    written(path, lines.encode("utf-8")).rename(tmp_path / name)
    assert documents(tmp_path / name) == ["one", "zwei  é", "三\u2028四", "a\tb", "c"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz"])
def test_an_object_is_a_document(tmp_path, name):
    rows = [{"text": text, "n": 1} for text in (*TEXTS, "in two\n\nblocks", " ", None)]
    lines = "\ufeff" + "\n\n".join(map(json.dumps, rows))
    assert documents(written(tmp_path / name, lines.encode("utf-8"))) == [text.strip() for text in TEXTS] + ["in two\n\nblocks"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_a_row_is_a_document(tmp_path, kind):
    texts = [f" {text} {place}" for place in range(100) for text in TEXTS] + [None, " "]
    column = pa.array(texts, pa.string()).cast(kind)
    path = table(tmp_path / "a.parquet", column, row_group_size=70)
    assert documents(path) == [text.strip() for text in texts if text and text.strip()]


def test_endings():
    kinds = {"a.txt": ".txt", "A.TXT.GZ": ".txt", "b.jsonl.gz": ".jsonl", "b.ndjson": ".ndjson", "c.parquet": ".parquet"}
    assert {name: ending_of(Path(name)) for name in kinds} == kinds
    assert [ending_of(Path(name)) for name in ("c.parquet.gz", "a.json", "a.gz", "txt", "a.txt.zip", "a.csv")] == [None] * 6


def test_documents_begin_anew_and_know_how_much_was_read(tmp_path):
    text = "".join(f"line {place}\n" for place in range(1000)).encode()
    for path in (written(tmp_path / "a.txt", text), written(tmp_path / "a.txt.gz", text), table(tmp_path / "a.parquet", ["line"] * 1000)):
        source = document_source(path)
        shares = [source.read / source.size for _ in source.documents()]
        assert shares == sorted(shares) and shares[-1] == 1.0
        assert next(iter(source.documents())) == next(iter(source.documents()))
    assert shares[499] == 0.5 or path.suffix != ".parquet"


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz", "a.parquet"])
def test_memory_does_not_grow_with_the_text(tmp_path, name):
    def most_held(size):
        texts = [f"{place} is the number of this line" for place in range(size)]
        if name == "a.parquet":
            path = table(tmp_path / name, texts, row_group_size=500)
        else:
            rows = (json.dumps({"text": text}) if "json" in name else text for text in texts)
            path = written(tmp_path / name, "\n".join(rows).encode())
        del texts
        source, before = document_source(path), pa.total_allocated_bytes()
        tracemalloc.start()
        try:
            tables = max(pa.total_allocated_bytes() - before for _ in source.documents())
            return tracemalloc.get_traced_memory()[1] + tables
        finally:
            tracemalloc.stop()

    most_held(100)  # what is imported and cached the first time
    little, much = most_held(1000), most_held(12_000)
    assert much < little + 200_000


BROKEN = [
    ("a.txt", b"fine\n\nabcd\xff\n", r"line 3 is not UTF-8 \(byte 0xff at column 5\)"),
    ("a.txt", "wide".encode("utf-16"), "line 1 is not UTF-8 .*UTF-16"),
    ("a.txt.gz", b"fine\n\xe9t\xe9", r"line 2 is not UTF-8 \(byte 0xe9 at column 1\)"),
    ("a.jsonl", b'{"text": "fine"}\n{"text": "\xff"}', r"line 2 is not UTF-8 \(byte 0xff at column 11\)"),
    ("a.jsonl", b'{"text": "fine"}\n\n{"body": "x", "id": 1}\n', 'line 3 has no key "text"; the keys here: body, id'),
    ("a.jsonl", b"{}", "the keys here: none"),
    ("a.jsonl", b'{"text": ["x"]}', r"line 1: what stands under .text. is no text but \['x'\]"),
    ("a.jsonl", b'"text"\n', "line 1 is one JSON str"),
    ("a.jsonl", b'{"text": "x"\n{"text": "y"}\n', r"line 1 is no JSON: [^;]*\.$"),
    ("a.jsonl", b'{"text": "x"}\n{"tex', "line 2 is no JSON: .*breaks off there"),
    ("a.jsonl", b"[" * 100_000, "line 1 is no JSON"),
    ("a.jsonl", rb'{"text": "a\ud800b"}', "no Unicode: half of a surrogate pair stands at character 2"),
]


@pytest.mark.parametrize(("name", "content", "says"), BROKEN)
def test_broken_lines_are_named(tmp_path, name, content, says):
    with pytest.raises(InputError, match=says) as caught:
        documents(written(tmp_path / name, content))
    assert str(tmp_path / name) in str(caught.value)


def test_damaged_files_are_named(tmp_path):
    whole = gzip.compress(b"a line of text\n" * 10_000)
    for place, content in enumerate((whole[:-20], whole[:50] + b"\0" * 20 + whole[70:], b"no gzip at all", whole[:-8] + bytes(8))):
        path = tmp_path / f"{place}.txt.gz"
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{path.name} is damaged or cut off"):
            documents(path)
    cut = table(tmp_path / "cut.parquet", ["text"] * 10)
    cut.write_bytes(cut.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"cut\.parquet cannot be read as parquet"):
        document_source(cut)
    inside = table(tmp_path / "inside.parquet", [f"text {place}" for place in range(1000)], compression="gzip", use_dictionary=False)
    content = bytearray(inside.read_bytes())
    content[len(content) // 2 - 200 : len(content) // 2 + 200] = bytes(400)
    inside.write_bytes(content)
    with pytest.raises(InputError, match=r"inside\.parquet is damaged"):
        documents(inside)


def test_a_file_that_goes_away_is_named(tmp_path):
    source = document_source(written(tmp_path / "a.txt", b"text"))
    (tmp_path / "a.txt").unlink()
    with pytest.raises(InputError, match=r"a\.txt cannot be read: No such file"):
        list(source.documents())


def test_tables_without_text_are_named(tmp_path):
    with pytest.raises(InputError, match=r'body\.parquet has no column "text"; its columns: id, body'):
        document_source(table(tmp_path / "body.parquet", ["x"], name="body"))
    with pytest.raises(InputError, match=r"numbers\.parquet: row 1 is no text but 3"):
        documents(table(tmp_path / "numbers.parquet", [3]))


@pytest.mark.parametrize("package", ["pyarrow", "datasets"])
def test_extras_that_are_not_installed_are_named(tmp_path, monkeypatch, package):
    path = table(tmp_path / "a.parquet", ["x"])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}, which is not installed: pip install 'resect\[datasets\]'"):
        list((document_source(path) if package == "pyarrow" else HubText("hub:owner/name")).documents())


@pytest.mark.parametrize(
    "spec", ["hub:", "hub:name", "hub:owner/", "hub:owner/name/a/b", "hub:owner/name:", "hub:owner/name:a:b:c", "hub:a b/c"]
)
def test_what_names_no_data_set_is_told(spec):
    with pytest.raises(InputError, match="hub:owner/name"):
        HubText(spec)


def test_a_data_set_is_streamed_from_a_folder(tmp_path, monkeypatch):
    """`datasets` takes a folder of that name for the data set: the real package, without a network."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    datasets.Dataset.from_list([{"text": text, "body": place} for place, text in enumerate([*TEXTS, " ", None])]).to_parquet(
        folder / "train.parquet"
    )
    monkeypatch.chdir(tmp_path)
    source = HubText("hub:owner/name")
    assert list(source.documents()) == list(source.documents()) == [text.strip() for text in TEXTS]
    assert source.size is None
    for spec, says in (
        ("hub:owner/name:train:title", r"no column 'title'; the columns: text, body"),
        ("hub:owner/name:train:body", r"row 1 is no text but 0"),
        ("hub:owner/name:valid", r"hub:owner/name:valid cannot be streamed: .*valid"),
        ("hub:owner/other", r"hub:owner/other cannot be streamed: .*Files of it will do as well"),
    ):
        with pytest.raises(InputError, match=says):
            list(HubText(spec).documents())


STREAMING = """
import json, sys
from resect.data.documents import HubText
from resect.core.errors import ResectError
for spec in sys.argv[1:]:
    found = []
    try:
        found.extend(HubText(spec).documents())
    except ResectError as error:
        found.append([type(error).__name__, str(error)])
    print(json.dumps(found))
"""


def test_a_data_set_is_streamed_over_http(tmp_path):
    import small_hub

    def rows(name, count):
        return "".join(json.dumps({name: f" {name} {place} "}) + "\n" for place in range(count)).encode()

    files = {
        "README.md": small_hub.card({"default": {"train": "data/*.jsonl"}, "fr": {"test": "fr.jsonl"}}),
        "data/a.jsonl": rows("text", 4),
        "data/b.jsonl": None,  # listed, but gone: the Hub is lost on the way
        "fr.jsonl": rows("body", 3),
    }
    with small_hub.serving("owner/name", files) as environment:
        specs = ["hub:owner/name/fr:test:body", "hub:owner/name@main", "hub:owner/other"]
        command = [sys.executable, "-W", "error", "-c", STREAMING, *specs]
        done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    french, lost, missing = map(json.loads, done.stdout.splitlines())
    assert french == ["body 0", "body 1", "body 2"]
    assert lost[:-1] == ["text 0", "text 1", "text 2", "text 3"]
    assert lost[-1][0] == Failure.__name__ and "hub:owner/name@main was lost after row 4" in lost[-1][1]
    assert missing[0][0] == InputError.__name__ and "hub:owner/other cannot be streamed" in missing[0][1]
