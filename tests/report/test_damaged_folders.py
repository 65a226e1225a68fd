"""Every file of a run folder, damaged in turn: page and terminal show the rest, and name what is damaged and how to get it back."""

import io
import json

import pytest

from report import language_folder, matrix_folder, run_folder
from report.run_folder import shown
from resect.core.exhibits import Table
from resect.report.readers.run_contents import opened
from resect.report.terminal.summary import console, show, summary

EXHIBITS = [Table("A table of the method", ("name", "value"), (("a row", 0.123),))]
#: What each file adds to the page and to the terminal.
WITH_SIZES = {
    "comparison.json": ("81.6 %", "81.6 %"),
    "plan.json": ("Where the edits are", "Where the cut is"),
    "trials.jsonl": ("The candidates as numbers", ""),
    "examples.jsonl": ("Fixed: 30 answers", "fixed: the man → nobody"),
    "environment.json": ("Only 6 examples were there.", "Only 6 examples were there."),
    "scores.safetensors": ("The highest scores", ""),
    "exhibits.json": ("A table of the method", "A table of the method"),
    "recipe.toml": ("samples = 20", "Next:"),
}
WITH_RANKS = {
    "comparison.json": ("66.8 %", "66.8 %"),
    "plan.json": ("Matrices that are reduced", "What was reduced"),
    "trials.jsonl": ("The candidates as numbers", ""),
    "examples.jsonl": ("Fixed: 48 answers", "fixed: London → Paris"),
    "environment.json": ("23 seconds", ""),
    "exhibits.json": ("Accuracy by frequency of the fact", "Accuracy by frequency of the fact"),
}
BY_LANGUAGE = {
    "comparison.json": ("2 answers got no rating", "questions in"),
    "matrix.json": ("next most", "* the largest of its row"),
    "plan.json": ("", ""),
    "plans/fr.json": ("fr decoder.0.act", "fr  decoder.0"),
    "answers.jsonl": ("Un bon ami vous écoute", ""),
    "steered/fr-from-en-set.json": ("to fr, away from en (set)", "to fr, away from en (set)"),
    "environment.json": ("3 tokens of zh are left over.", "3 tokens of zh are left over."),
    "scores.safetensors": ("of 3,072 scored", ""),
    "exhibits.json": ("Units that languages share", "Units that languages share"),
}


def with_sizes(folder):
    run = run_folder.finished(folder)
    run.keep_exhibits(EXHIBITS)
    return run


FOLDERS = {
    "sizes": (with_sizes, WITH_SIZES),
    "ranks": (lambda folder: matrix_folder.reduced(folder, analysed=matrix_folder.analyses()), WITH_RANKS),
    "languages": (language_folder.whole, BY_LANGUAGE),
}
#: What comes of the first file is not shown without the second: what to type next needs a result, units stand with the plan of all.
TOGETHER = {
    ("recipe.toml", "comparison.json"),
    ("recipe.toml", "plan.json"),
    ("plans/fr.json", "plan.json"),
    ("scores.safetensors", "plan.json"),
}
#: Files that a run need not have; without a recipe, a folder is no run.
NOT_IN_EVERY_RUN = ("recipe.toml", "exhibits.json", "answers.jsonl", "plans/fr.json", "steered/fr-from-en-set.json")
CASES = [(kind, name) for kind, (_, files) in FOLDERS.items() for name in files]


def faces(folder):
    """The page and the terminal of a folder, as text."""
    out, run = io.StringIO(), opened(folder)
    show(summary(run), console(file=out, width=160))
    return shown(run).text, out.getvalue()


def assert_is_named(folder, name, files, subject):
    """The damage is named on both, with a command, and all that is in other files is there."""
    page, terminal = faces(folder)
    stem = name.rpartition("/")[2]
    for text in (page, terminal):
        assert "What is missing" in text and stem in text.partition("What is missing")[2], (name, text[-800:])
        assert subject in text
    assert name.startswith("steered/") or "resect" in terminal.partition("What is missing")[2].partition("Everything is in")[0]
    for other, (on_page, on_terminal) in files.items():
        if other != name and (other, name) not in TOGETHER:
            assert on_page in page, (name, other, on_page)
            assert on_terminal in terminal, (name, other, on_terminal)


@pytest.mark.parametrize("kind", list(FOLDERS))
def test_a_sound_folder_lacks_nothing_and_shows_everything(tmp_path, kind):
    make, files = FOLDERS[kind]
    page, terminal = faces(make(tmp_path / "run").folder)
    assert "What is missing" not in page and "What is missing" not in terminal
    for on_page, on_terminal in files.values():
        assert on_page in page and on_terminal in terminal, (on_page, on_terminal)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name", "damage"),
    [
        *((kind, name, damage) for kind, name in CASES for damage in ("truncated", "of another type")),
        *((kind, name, "deleted") for kind, name in CASES if name not in NOT_IN_EVERY_RUN),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(tmp_path, kind, name, damage):
    make, files = FOLDERS[kind]
    folder = make(tmp_path / "run").folder
    path = folder / name
    if damage == "deleted":
        path.unlink()
    elif damage == "truncated":
        content = path.read_bytes()
        path.write_bytes(content[:30] + b"\n" + content[:30])
    else:
        path.write_bytes(b'["nothing", 5]\n["like it"]\n')
    assert_is_named(folder, name, files, "tiny" if name != "recipe.toml" and kind != "languages" else "")


def values(path):
    """The objects of a JSON file, or of the first line of a file of lines; and how to write another one in the place of the first."""
    if path.suffix == ".jsonl":
        first, *lines = path.read_text(encoding="utf-8").splitlines()
        return json.loads(first), lambda value: path.write_text("\n".join([json.dumps(value), *lines]) + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8")), lambda value: path.write_text(json.dumps(value), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [case for case in CASES if case[1].endswith((".json", ".jsonl")) and case[1] != "exhibits.json"])
def test_a_wrong_value_of_any_key_is_named(tmp_path, kind, name):
    make, _ = FOLDERS[kind]
    folder = make(tmp_path / "run").folder
    value, write = values(folder / name)
    for key, sound in value.items():
        write(value | {key: 3.5 if isinstance(sound, str) or sound is None else "junk"})
        page, terminal = faces(folder)
        for text in (page, terminal):
            named = text.partition("What is missing")[2]
            assert key in named and name.rpartition("/")[2] in named, (name, key, named[:300])
    write(value)
    assert "What is missing" not in faces(folder)[0]
