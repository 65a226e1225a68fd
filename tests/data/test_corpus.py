"""Corpora: what a spec names, streaming, the held-out tenth, and refusals of specs that name nothing."""

import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resect.core.errors import InputError
from resect.data.corpus import MAX_CHARACTERS, check_language_code, is_held_out, open_corpus, parse_corpus_entries


@pytest.fixture
def texts(tmp_path):
    """Files in several formats, next to files of other kinds."""
    folder = tmp_path / "texts"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "b.txt").write_text("b1\nb2\n", encoding="utf-8")
    (folder / "a.jsonl").write_text('{"text": "a1"}\n', encoding="utf-8")
    (folder / "c.txt.gz").write_bytes(gzip.compress(b"c1\nc2\nc3\n"))
    for other in ("README.md", ".hidden.txt", "empty.txt", "c.zip"):
        (folder / other).write_bytes(b"" if other == "empty.txt" else b"another thing\n")
    (folder / "deep" / "d.txt").write_text("d1\n", encoding="utf-8")
    (folder / "deep" / "deeper" / "e.txt").write_text("e1\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{}/b.txt", "b1 b2"),
        ("{}", "a1 b1 b2 c1 c2 c3"),
        ("{}/", "a1 b1 b2 c1 c2 c3"),
        ("{}/*.txt", "b1 b2"),
        ("{}/*", "a1 b1 b2 c1 c2 c3"),
        ("{}/[bc].txt*", "b1 b2 c1 c2 c3"),
        ("{}/**/*.txt", "b1 b2 d1 e1"),
        ("{0}/c.txt.gz,{0}/a.jsonl", "c1 c2 c3 a1"),
        (" {0}/b.txt , {0}/deep ,", "b1 b2 d1"),
        ("{0}/b.txt,{0},{0}/b.txt", "b1 b2 a1 c1 c2 c3"),
        ("{0}/b.txt" + ",{0}/deep/d.txt" * 60, "b1 b2 d1"),
    ],
)
def test_what_a_spec_names(texts, spec, says):
    corpus = open_corpus(spec.format(texts))
    assert list(corpus) == says.split()
    assert corpus.name == spec.format(texts)


def test_an_existing_name_is_that_file_whatever_its_signs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a, b.txt", "[ab].txt", "a.txt", "hub:owner"):
        (tmp_path / name).write_text(name, encoding="utf-8") if name.endswith("txt") else (tmp_path / name).mkdir()
    (tmp_path / "hub:owner" / "x.txt").write_text("no hub", encoding="utf-8")
    assert [list(open_corpus(spec)) for spec in ("a, b.txt", "[ab].txt", "~/a.txt")] == [["a, b.txt"], ["[ab].txt"], ["a.txt"]]
    assert list(open_corpus("hub:owner")) == ["no hub"]


def test_a_corpus_can_be_read_again_and_its_progress_is_known(texts):
    corpus = open_corpus(f"{texts}/b.txt,{texts}/deep/d.txt")
    assert (corpus.share(), corpus.documents_read) == (0.0, 0)
    stream = iter(corpus)
    assert next(stream) == "b1" and (corpus.share(), corpus.documents_read) == (3 / 9, 1)
    assert [(document, corpus.share()) for document in stream] == [("b2", 6 / 9), ("d1", 1.0)]
    assert (corpus.share(), corpus.documents_read) == (1.0, 3)
    assert next(iter(corpus)) == "b1" and (corpus.share(), corpus.documents_read) == (3 / 9, 1)
    assert list(corpus) == list(corpus) == ["b1", "b2", "d1"]


def test_the_hub_is_read_when_its_turn_comes_and_not_before(texts):
    corpus = open_corpus(f"{texts}/b.txt,hub:owner/name/config:test:body")
    assert corpus.share() is None
    stream = iter(corpus)
    assert [next(stream), next(stream)] == ["b1", "b2"]
    with pytest.raises(InputError, match="hub:owner/name/config:test:body cannot be streamed"):
        next(stream)


def test_a_tenth_is_held_out(tmp_path):
    lines = [f"line {place} of this text" for place in range(5000)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    # The same documents in another format and order, each twice: they are in the same part.
    rows = "\n".join(json.dumps({"text": f" {line}\n"}) for line in (*reversed(lines), *lines))
    (tmp_path / "b.jsonl").write_text(rows, encoding="utf-8")
    everything, train, held_out = (list(open_corpus(str(tmp_path / "a.txt"), part=part)) for part in ("all", "train", "held-out"))
    assert everything == lines
    assert [line for line in lines if line in set(held_out)] == held_out and [line for line in lines if line in set(train)] == train
    assert not set(train) & set(held_out) and len(train) + len(held_out) == len(lines)
    assert abs(len(held_out) / len(lines) - 0.1) < 0.02
    again = open_corpus(str(tmp_path / "b.jsonl"), part="held-out")
    assert sorted(again) == sorted(held_out * 2) and again.documents_read == 2 * len(held_out) and again.share() == 1.0
    assert all(map(is_held_out, held_out)) and not any(map(is_held_out, train))


def test_which_tenth_never_changes():
    # Another choice would let a run measure on what another recorded.
    assert [place for place in range(100) if is_held_out(f"line {place}")] == [8, 13, 20, 25, 26, 28, 29, 44, 55, 76, 89, 99]


def test_a_document_that_is_too_long_for_a_tokenizer_is_split(tmp_path):
    path = tmp_path / "one-line.txt"
    words = " ".join(f"word{number}" for number in range(300_000))
    path.write_text(f"short\n{words}\n{'x' * (MAX_CHARACTERS + 5)}\n", encoding="utf-8")
    first, *pieces, end, rest = list(open_corpus(str(path)))
    assert first == "short" and len(pieces) > 2 and " ".join(pieces) == words
    assert max(map(len, pieces)) <= MAX_CHARACTERS and (len(end), rest) == (MAX_CHARACTERS, "xxxxx")


def test_text_that_is_only_blank_is_refused_when_it_is_read(tmp_path):
    (tmp_path / "blank.txt").write_text(" \n\t\n\n", encoding="utf-8")
    for part in ("all", "train", "held-out"):
        with pytest.raises(InputError, match=r"blank\.txt holds no text"):
            list(open_corpus(str(tmp_path / "blank.txt"), part=part))
    (tmp_path / "one.txt").write_text("one line", encoding="utf-8")
    assert len(list(open_corpus(str(tmp_path), part="train"))) + len(list(open_corpus(str(tmp_path), part="held-out"))) == 1


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{}/bb.txt", r"There is no .*bb\.txt\. Did you mean .*texts/b\.txt\?"),
        ("{}/nowhere/b.txt", r"There is no .*nowhere/b\.txt \(there is no .*nowhere\)\."),
        ("{}/depe/d.txt", r"\(there is no .*depe\)\. Did you mean .*texts/deep\?"),
        ("{}/b.txt,c.txt", r"There is no c\.txt"),
        ("{}/README.md", r"README\.md is no file of text by its name.*\.txt, \.jsonl, \.ndjson, \.parquet"),
        ("{}/empty.txt", r"empty\.txt is empty"),
        ("{}/empty*", r"empty\*: the one file of text in it is empty"),
        ("{}/*.zip", "holds no file of text"),
        ("{}/dee*", r"dee\* holds no file of text\. It holds folders; .*\*\*/\*\.txt"),
        ("x" * 300 + ".txt", "cannot be read: File name too long"),
        ("~nobody-of-that-name/a.txt", r"There is no ~nobody-of-that-name/a\.txt"),
        ("", "names nothing"),
        (" , ", "names nothing"),
        ("hub:name", "names no data set; give hub:owner/name"),
    ],
)
def test_specs_that_name_no_text_are_refused(texts, spec, says):
    with pytest.raises(InputError, match=says):
        open_corpus(spec.format(texts))


def test_folders_without_text_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no file of text\. A corpus is a file, a folder"):
        open_corpus(str(tmp_path))
    (tmp_path / "inside").mkdir()
    with pytest.raises(InputError, match="It holds folders"):
        open_corpus(str(tmp_path))
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="all 2 files of text in it are empty"):
        open_corpus(str(tmp_path))


def test_entries_name_a_path_for_each_language():
    entries = ["en=a.txt,b.txt", " zh-CN = c d/*.txt", "x_1=hub:owner/name:train", "fr=a=b.txt"]
    assert parse_corpus_entries(entries, "--corpus") == {
        "en": "a.txt,b.txt",
        "zh-CN": "c d/*.txt",
        "x_1": "hub:owner/name:train",
        "fr": "a=b.txt",
    }
    assert list(parse_corpus_entries(entries, "--corpus")) == ["en", "zh-CN", "x_1", "fr"]
    assert parse_corpus_entries([], "--valid") == {}


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (["en.txt"], r"--corpus 'en\.txt': it must be LANG=PATH, such as --corpus en=english\.txt"),
        (["en="], "must be LANG=PATH"),
        (["=a.txt"], "must be LANG=PATH"),
        (["../en=a.txt"], "'../en' is no code of a language"),
        (["Random=a.txt"], "what results call random units"),
        (["en=a.txt", "en=b.txt"], r"--corpus names en twice\. .*--corpus en=a\.txt,b\.txt, or a folder"),
        (["en=a.txt", "fr=c.txt", "EN=b.txt"], "names en and EN, which are one language"),
    ],
)
def test_wrong_entries_are_refused(entries, says):
    with pytest.raises(InputError, match=says):
        parse_corpus_entries(entries, "--corpus")


@pytest.mark.slow
@given(st.text(max_size=40) | st.from_regex(r"\A[A-Za-z0-9_-]{1,34}\Z"))
def test_a_code_can_be_the_name_of_a_file(code):
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,31}", code) and code.lower() != "random":
        assert check_language_code(code) == code
    else:
        with pytest.raises(InputError, match=r"no code of a language|random units"):
            check_language_code(code)


@pytest.mark.real
def test_real_text(shared):
    corpus = open_corpus(str(shared / "data" / "multilingual_text" / "*" / "valid.txt"))
    lines = [
        line for path in sorted(shared.glob("data/multilingual_text/*/valid.txt")) for line in path.read_text(encoding="utf-8").split("\n")
    ]
    assert list(corpus) == [line.strip() for line in lines if line.strip()]
    assert corpus.documents_read > 10_000 and corpus.share() == 1.0
