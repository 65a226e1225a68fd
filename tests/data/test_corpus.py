"""Corpora: what a spec names, that they stream and begin anew, which tenth is held out, and what is said of specs that name nothing."""

import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resect.core.errors import InputError
from resect.data.corpus import LONGEST, by_language, check_language, corpus_of, is_held


@pytest.fixture
def texts(tmp_path):
    """Files of several kinds, with others beside them."""
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
    corpus = corpus_of(spec.format(texts))
    assert list(corpus) == says.split()
    assert corpus.name == spec.format(texts)


def test_what_exists_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a, b.txt", "[ab].txt", "a.txt", "hub:owner"):
        (tmp_path / name).write_text(name, encoding="utf-8") if name.endswith("txt") else (tmp_path / name).mkdir()
    (tmp_path / "hub:owner" / "x.txt").write_text("no hub", encoding="utf-8")
    assert [list(corpus_of(spec)) for spec in ("a, b.txt", "[ab].txt", "~/a.txt")] == [["a, b.txt"], ["[ab].txt"], ["a.txt"]]
    assert list(corpus_of("hub:owner")) == ["no hub"]


def test_a_corpus_begins_anew_and_says_how_much_was_read(texts):
    corpus = corpus_of(f"{texts}/b.txt,{texts}/deep/d.txt")
    assert (corpus.share(), corpus.documents_read) == (0.0, 0)
    stream = iter(corpus)
    assert next(stream) == "b1" and (corpus.share(), corpus.documents_read) == (3 / 9, 1)
    assert [(document, corpus.share()) for document in stream] == [("b2", 6 / 9), ("d1", 1.0)]
    assert (corpus.share(), corpus.documents_read) == (1.0, 3)
    assert next(iter(corpus)) == "b1" and (corpus.share(), corpus.documents_read) == (3 / 9, 1)
    assert list(corpus) == list(corpus) == ["b1", "b2", "d1"]


def test_the_hub_is_asked_when_it_is_read_and_not_before(texts):
    corpus = corpus_of(f"{texts}/b.txt,hub:owner/name/config:test:body")
    assert corpus.share() is None
    stream = iter(corpus)
    assert [next(stream), next(stream)] == ["b1", "b2"]
    with pytest.raises(InputError, match="hub:owner/name/config:test:body cannot be streamed"):
        next(stream)


def test_a_tenth_is_held_out(tmp_path):
    lines = [f"line {place} of this text" for place in range(5000)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    # The same documents in another format and order, each twice: they fall on the same side.
    rows = "\n".join(json.dumps({"text": f" {line}\n"}) for line in (*reversed(lines), *lines))
    (tmp_path / "b.jsonl").write_text(rows, encoding="utf-8")
    everything, kept, held = (list(corpus_of(str(tmp_path / "a.txt"), held_out=part)) for part in ("all", "kept", "held"))
    assert everything == lines
    assert [line for line in lines if line in set(held)] == held and [line for line in lines if line in set(kept)] == kept
    assert not set(kept) & set(held) and len(kept) + len(held) == len(lines)
    assert abs(len(held) / len(lines) - 0.1) < 0.02
    again = corpus_of(str(tmp_path / "b.jsonl"), held_out="held")
    assert sorted(again) == sorted(held * 2) and again.documents_read == 2 * len(held) and again.share() == 1.0
    assert all(map(is_held, held)) and not any(map(is_held, kept))


def test_which_tenth_never_changes():
    # Another choice would let a run measure on what another recorded.
    assert [place for place in range(100) if is_held(f"line {place}")] == [8, 13, 20, 25, 26, 28, 29, 44, 55, 76, 89, 99]


def test_a_document_longer_than_a_tokenizer_should_be_given_is_several(tmp_path):
    path = tmp_path / "one-line.txt"
    words = " ".join(f"word{number}" for number in range(300_000))
    path.write_text(f"short\n{words}\n{'x' * (LONGEST + 5)}\n", encoding="utf-8")
    first, *pieces, end, rest = list(corpus_of(str(path)))
    assert first == "short" and len(pieces) > 2 and " ".join(pieces) == words
    assert max(map(len, pieces)) <= LONGEST and (len(end), rest) == (LONGEST, "xxxxx")


def test_text_that_is_only_blank_is_told_when_it_is_read(tmp_path):
    (tmp_path / "blank.txt").write_text(" \n\t\n\n", encoding="utf-8")
    for part in ("all", "kept", "held"):
        with pytest.raises(InputError, match=r"blank\.txt holds no text"):
            list(corpus_of(str(tmp_path / "blank.txt"), held_out=part))
    (tmp_path / "one.txt").write_text("one line", encoding="utf-8")
    assert len(list(corpus_of(str(tmp_path), held_out="kept"))) + len(list(corpus_of(str(tmp_path), held_out="held"))) == 1


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
        ("hub:name", "names no data set: hub:owner/name"),
    ],
)
def test_specs_that_name_no_text_are_told(texts, spec, says):
    with pytest.raises(InputError, match=says):
        corpus_of(spec.format(texts))


def test_folders_without_text_are_told(tmp_path):
    with pytest.raises(InputError, match=r"holds no file of text\. A corpus is a file, a folder"):
        corpus_of(str(tmp_path))
    (tmp_path / "inside").mkdir()
    with pytest.raises(InputError, match="It holds folders"):
        corpus_of(str(tmp_path))
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="all 2 files of text in it are empty"):
        corpus_of(str(tmp_path))


def test_languages_and_their_text():
    entries = ["en=a.txt,b.txt", " zh-CN = c d/*.txt", "x_1=hub:owner/name:train", "fr=a=b.txt"]
    assert by_language(entries, "--corpus") == {"en": "a.txt,b.txt", "zh-CN": "c d/*.txt", "x_1": "hub:owner/name:train", "fr": "a=b.txt"}
    assert list(by_language(entries, "--corpus")) == ["en", "zh-CN", "x_1", "fr"]
    assert by_language([], "--valid") == {}


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (["en.txt"], r"--corpus 'en\.txt': LANG=PATH is wanted, such as --corpus en=english\.txt"),
        (["en="], "LANG=PATH is wanted"),
        (["=a.txt"], "LANG=PATH is wanted"),
        (["../en=a.txt"], "'../en' is no code of a language"),
        (["Random=a.txt"], "what results call random units"),
        (["en=a.txt", "en=b.txt"], r"--corpus names en twice\. .*--corpus en=a\.txt,b\.txt, or a folder"),
        (["en=a.txt", "fr=c.txt", "EN=b.txt"], "names en and EN, which are one language"),
    ],
)
def test_entries_that_are_wrong_are_told(entries, says):
    with pytest.raises(InputError, match=says):
        by_language(entries, "--corpus")


@given(st.text(max_size=40) | st.from_regex(r"\A[A-Za-z0-9_-]{1,34}\Z"))
def test_a_code_can_be_the_name_of_a_file(code):
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,31}", code) and code.lower() != "random":
        assert check_language(code) == code
    else:
        with pytest.raises(InputError, match=r"no code of a language|random units"):
            check_language(code)


@pytest.mark.real
def test_real_text(shared):
    corpus = corpus_of(str(shared / "data" / "multilingual_text" / "*" / "valid.txt"))
    lines = [
        line for path in sorted(shared.glob("data/multilingual_text/*/valid.txt")) for line in path.read_text(encoding="utf-8").split("\n")
    ]
    assert list(corpus) == [line.strip() for line in lines if line.strip()]
    assert corpus.documents_read > 10_000 and corpus.share() == 1.0
