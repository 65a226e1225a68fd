"""Documents in files of every format and on the Hub: what is yielded, refusals of damaged files, memory."""

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
from resect.data.documents import HubDataset, document_source, text_format

TEXTS = ["one", "zwei  é", "三\u2028四", "a\tb", "\x85c"]


def write(path, content):
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
    write(path, lines.encode("utf-8")).rename(tmp_path / name)
    assert documents(tmp_path / name) == ["one", "zwei  é", "三\u2028四", "a\tb", "c"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz"])
def test_an_object_is_a_document(tmp_path, name):
    rows = [{"text": text, "n": 1} for text in (*TEXTS, "in two\n\nblocks", " ", None)]
    lines = "\ufeff" + "\n\n".join(map(json.dumps, rows))
    assert documents(write(tmp_path / name, lines.encode("utf-8"))) == [text.strip() for text in TEXTS] + ["in two\n\nblocks"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_a_row_is_a_document(tmp_path, kind):
    texts = [f" {text} {place}" for place in range(100) for text in TEXTS] + [None, " "]
    column = pa.array(texts, pa.string()).cast(kind)
    path = table(tmp_path / "a.parquet", column, row_group_size=70)
    assert documents(path) == [text.strip() for text in texts if text and text.strip()]


def test_endings():
    kinds = {"a.txt": ".txt", "A.TXT.GZ": ".txt", "b.jsonl.gz": ".jsonl", "b.ndjson": ".ndjson", "c.parquet": ".parquet"}
    assert {name: text_format(Path(name)) for name in kinds} == kinds
    assert [text_format(Path(name)) for name in ("c.parquet.gz", "a.json", "a.gz", "txt", "a.txt.zip", "a.csv")] == [None] * 6


def test_documents_can_be_read_again_and_progress_is_known(tmp_path):
    text = "".join(f"line {place}\n" for place in range(1000)).encode()
    for path in (write(tmp_path / "a.txt", text), write(tmp_path / "a.txt.gz", text), table(tmp_path / "a.parquet", ["line"] * 1000)):
        source = document_source(path)
        shares = [source.bytes_read / source.size for _ in source.documents()]
        assert shares == sorted(shares) and shares[-1] == 1.0
        assert next(iter(source.documents())) == next(iter(source.documents()))
    assert shares[499] == 0.5 or path.suffix != ".parquet"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz", "a.parquet"])
def test_memory_does_not_grow_with_the_text(tmp_path, name):
    def peak_memory(size):
        texts = [f"{place} is the number of this line" for place in range(size)]
        if name == "a.parquet":
            path = table(tmp_path / name, texts, row_group_size=500)
        else:
            rows = (json.dumps({"text": text}) if "json" in name else text for text in texts)
            path = write(tmp_path / name, "\n".join(rows).encode())
        del texts
        source, before = document_source(path), pa.total_allocated_bytes()
        tracemalloc.start()
        try:
            tables = max(pa.total_allocated_bytes() - before for _ in source.documents())
            return tracemalloc.get_traced_memory()[1] + tables
        finally:
            tracemalloc.stop()

    peak_memory(100)  # what is imported and cached the first time
    little, much = peak_memory(1000), peak_memory(12_000)
    assert much < little + 200_000


DAMAGED = [
    ("a.txt", b"fine\n\nabcd\xff\n", r"a\.txt:3: not UTF-8 \(byte 0xff at column 5\)"),
    ("a.txt", "wide".encode("utf-16"), r"a\.txt:1: not UTF-8 .*UTF-16"),
    ("a.txt.gz", b"fine\n\xe9t\xe9", r"a\.txt\.gz:2: not UTF-8 \(byte 0xe9 at column 1\)"),
    ("a.jsonl", b'{"text": "fine"}\n{"text": "\xff"}', r"a\.jsonl:2: not UTF-8 \(byte 0xff at column 11\)"),
    ("a.jsonl", b'{"text": "fine"}\n\n{"body": "x", "id": 1}\n', r'a\.jsonl:3: there is no key "text"; the keys here: body, id'),
    ("a.jsonl", b"{}", "the keys here: none"),
    ("a.jsonl", b'{"text": ["x"]}', r"a\.jsonl:1: the value of .text. is no text but \['x'\]"),
    ("a.jsonl", b'"text"\n', r"a\.jsonl:1: .*one JSON object, not str"),
    ("a.jsonl", b'{"text": "x"\n{"text": "y"}\n', r"a\.jsonl:1: no JSON: [^;]*\.$"),
    ("a.jsonl", b'{"text": "x"}\n{"tex', r"a\.jsonl:2: .*breaks off"),
    ("a.jsonl", b"[" * 100_000 + b"\n", r"a\.jsonl:1: no JSON"),
    ("a.jsonl", rb'{"text": "a\ud800b"}', r"a\.jsonl:1: .*character 2 is half of a surrogate pair"),
]


@pytest.mark.parametrize(("name", "content", "says"), DAMAGED)
def test_damaged_lines_are_refused_with_file_and_line(tmp_path, name, content, says):
    with pytest.raises(InputError, match=says) as caught:
        documents(write(tmp_path / name, content))
    assert str(tmp_path / name) in str(caught.value)


def test_damaged_files_are_refused(tmp_path):
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


def test_a_file_that_disappears_is_named(tmp_path):
    source = document_source(write(tmp_path / "a.txt", b"text"))
    (tmp_path / "a.txt").unlink()
    with pytest.raises(InputError, match=r"a\.txt cannot be read: No such file"):
        list(source.documents())


def test_tables_without_text_are_refused(tmp_path):
    with pytest.raises(InputError, match=r'body\.parquet has no column "text"; its columns: id, body'):
        document_source(table(tmp_path / "body.parquet", ["x"], name="body"))
    with pytest.raises(InputError, match=r"numbers\.parquet: row 1 is no text but 3"):
        documents(table(tmp_path / "numbers.parquet", [3]))


@pytest.mark.parametrize("package", ["pyarrow", "datasets"])
def test_extras_that_are_not_installed_are_named(tmp_path, monkeypatch, package):
    path = table(tmp_path / "a.parquet", ["x"])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}, which is not installed: pip install 'resect\[datasets\]'"):
        list((document_source(path) if package == "pyarrow" else HubDataset("hub:owner/name")).documents())


@pytest.mark.parametrize(
    "spec", ["hub:", "hub:name", "hub:owner/", "hub:owner/name/a/b", "hub:owner/name:", "hub:owner/name:a:b:c", "hub:a b/c"]
)
def test_a_spec_that_names_no_data_set_is_refused(spec):
    with pytest.raises(InputError, match="hub:owner/name"):
        HubDataset(spec)


def test_a_data_set_is_streamed_from_a_folder(tmp_path, monkeypatch):
    """`datasets` takes a folder of that name for the data set: the real package, without a network."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    datasets.Dataset.from_list([{"text": text, "body": place} for place, text in enumerate([*TEXTS, " ", None])]).to_parquet(
        folder / "train.parquet"
    )
    monkeypatch.chdir(tmp_path)
    source = HubDataset("hub:owner/name")
    assert list(source.documents()) == list(source.documents()) == [text.strip() for text in TEXTS]
    assert source.size is None
    for spec, says in (
        ("hub:owner/name:train:title", r"no column 'title'; the columns: text, body"),
        ("hub:owner/name:train:body", r"row 1 is no text but 0"),
        ("hub:owner/name:valid", r"hub:owner/name:valid cannot be streamed: .*valid"),
        ("hub:owner/other", r"hub:owner/other cannot be streamed: .*Files of it will do as well"),
    ):
        with pytest.raises(InputError, match=says):
            list(HubDataset(spec).documents())


STREAMING = """
import json, sys
from resect.data.documents import HubDataset
from resect.core.errors import ResectError
for spec in sys.argv[1:]:
    documents = []
    try:
        documents.extend(HubDataset(spec).documents())
    except ResectError as error:
        documents.append([type(error).__name__, str(error)])
    print(json.dumps(documents))
"""


@pytest.mark.slow
def test_a_data_set_is_streamed_over_http(tmp_path):
    import local_hub

    def rows(name, count):
        return "".join(json.dumps({name: f" {name} {place} "}) + "\n" for place in range(count)).encode()

    files = {
        "README.md": local_hub.card({"default": {"train": "data/*.jsonl"}, "fr": {"test": "fr.jsonl"}}),
        "data/a.jsonl": rows("text", 4),
        "data/b.jsonl": None,  # listed, but gone: the Hub is lost on the way
        "fr.jsonl": rows("body", 3),
    }
    with local_hub.serving("owner/name", files) as environment:
        specs = ["hub:owner/name/fr:test:body", "hub:owner/name@main", "hub:owner/other"]
        command = [sys.executable, "-W", "error", "-c", STREAMING, *specs]
        done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    french, lost, missing = map(json.loads, done.stdout.splitlines())
    assert french == ["body 0", "body 1", "body 2"]
    assert lost[:-1] == ["text 0", "text 1", "text 2", "text 3"]
    assert lost[-1][0] == Failure.__name__ and "hub:owner/name@main was lost after row 4" in lost[-1][1]
    assert missing[0][0] == InputError.__name__ and "hub:owner/other cannot be streamed" in missing[0][1]
