"""Plain texts: what a document is, and the refusal of files without one."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from resect.core.errors import InputError
from resect.data.texts import packaged_texts, read_texts


def write(tmp_path, text, name="a.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def test_the_packaged_text_is_prose_in_documents():
    documents = packaged_texts()
    words = [len(document.split()) for document in documents]
    assert sum(words) == 2776  # its docstring says so; perplexities of other versions would not compare
    assert len(set(documents)) == len(documents) == 26
    assert min(words) >= 80 and max(words) <= 130
    assert all(document == document.strip() and "\n" not in document and "  " not in document for document in documents)
    assert all(character.isprintable() for document in documents for character in document)


def test_the_packaged_text_is_package_data():
    project = Path(__file__).parents[2] / "pyproject.toml"
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    assert any("plain_text" in place for places in (*declared.values(), declared) for place in places)


def test_documents_are_separated_by_blank_lines(tmp_path):
    path = write(tmp_path, "\ufeffOne,\ngoes on.\r\n\r\n \t \nTwo.\n\n\n")
    assert read_texts([path]) == ("One,\ngoes on.", "Two.")


def test_without_blank_lines_each_line_is_a_document(tmp_path):
    path = write(tmp_path, "\n\n One. \nTwo.\n")
    assert read_texts([str(path)]) == ("One.", "Two.")
    assert read_texts([write(tmp_path, "alone")]) == ("alone",)


def test_json_lines_and_several_files_in_order(tmp_path):
    rows = [{"text": "a\n\nb", "id": 1}, {"text": "  "}, {"text": "c"}]
    records = write(tmp_path, "\n".join(map(json.dumps, rows)) + "\n", "b.JSONL")
    plain = write(tmp_path, "z")
    assert read_texts([plain, records]) == ("z", "a\n\nb", "c")
    assert read_texts([]) == ()


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("", "a.txt", "no text"),
        (" \n\t\n", "a.txt", "no text"),
        (b"\xff\xfe", "a.txt", "not UTF-8"),
        ("", "a.jsonl", "no text"),
        ('{"text": "x"}\n{"body": "y"}', "a.jsonl", r'a\.jsonl:2.*"text".*body'),
        ('{"text": 3}', "a.jsonl", "no text but 3"),
        ("{}", "a.jsonl", "keys here: none"),
        ('{"text": \n{"text": "x"}', "a.jsonl", r"a\.jsonl:1: no JSON"),
        ('["text"]', "a.jsonl", "one JSON object"),
    ],
)
def test_files_without_text_are_refused(tmp_path, text, name, says):
    with pytest.raises(InputError, match=says) as caught:
        read_texts([write(tmp_path, "fine", "fine.txt"), write(tmp_path, text, name)])
    assert name in str(caught.value)
    assert caught.value.exit_code == 2


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(InputError, match=path.name):
            read_texts([path])


def test_texts_need_no_torch():
    code = "import sys, resect\nassert 'resect.data.texts' not in sys.modules\nimport resect.data.texts\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"
