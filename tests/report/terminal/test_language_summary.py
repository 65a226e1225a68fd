"""A run on corpora by language on a terminal, what `resect steer` prints, and such a run among others in a table."""

import io
import shlex
from pathlib import Path

import pytest

from report.language_folder import COMPARISON, LANGUAGES, QUESTIONS, RECIPE, analyses, choice, matrix, spoken, steered, whole
from report.run_folder import HOSTILE, finished
from resect.core.errors import InputError
from resect.report.page.html import write
from resect.report.readers.language_matrix import LanguageMatrix
from resect.report.tables.comparison_grid import table
from resect.report.terminal import command_output
from resect.report.terminal.summary import console, show, summary
from resect.report.text.language_sentences import scored_tokens
from resect.report.text.next_steps import next_commands_by_language
from resect.report.text.split_table import SplitTable
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run
from resect.runs.schemas.languages import MatrixFile


def effects_of(found):
    """The matrix of the object of matrix.json."""
    return LanguageMatrix.of(MatrixFile.model_validate(found))


def printed(found, width=100):
    out = io.StringIO()
    show(found, console(file=out, width=width))
    return out.getvalue()


def test_a_summary_says_what_came_out_and_what_to_type(tmp_path):
    text = printed(summary(whole(tmp_path / "lape-ml7")), 120)
    for expected in (
        *("lape · ml7 · en, zh, fr, es, vi, id, ja", "on held-out text: 12,000 tokens of each language, in windows of 128"),
        *("3 tokens of zh are left over.", "0.145*", "* the largest of its row", "+0.141 to +0.149", "+0.043", "+15.6 %"),
        *("questions in", "90.0 %", "30.0 %", "7 empty", "2.01", "to fr, away from en (set)", "+75.0", "too few to say", "75.0 %", "4.00"),
        *("for all 7 languages", "steer models/ml7 --run", "--to zh", "plans/zh.json --model models/ml7 --to ml7-without-zh"),
        *("try models/ml7 --plan", "--selector lave", "Everything is in", "For a page to read and to send", "next most"),
        *(
            "sets with a Jaccard index of 0.83",
            "200 sentences in 7 languages",
            "en  decoder.0: 0, 1, 2",
            "2 unclear",
        ),
    ):
        assert expected in text, expected
    assert text.count("*") == len(LANGUAGES) + 1
    assert "1 empty" in text and "Empty and unclear answers count as in no language." in text
    assert all(line == line.rstrip(" ") for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 60, 200])
def test_any_width_will_do(tmp_path, width):
    text = printed(summary(whole(tmp_path / "run")), width)
    lines = [line for line in text.splitlines() if "resect " not in line and "Everything is in" not in line]
    assert all(len(line) <= width for line in lines)
    for number in ("0.145*", "+0.141 to +0.149", "0.081*", "0.035", "2.01"):  # no number is cut off, however narrow
        assert number in text


def test_a_wide_table_goes_on_below():
    from rich.text import Text

    rows = [[Text(name), *(Text(f"{name}{number}") for number in range(9))] for name in ("a", "b")]
    text = printed(SplitTable(["", *map(str, range(9))], rows), 13)
    assert all(f"{name}{number}" in text for name in "ab" for number in range(9))
    assert max(map(len, text.splitlines())) <= 13


def test_very_many_languages_have_no_matrix_here(tmp_path):
    names = [f"l{number}" for number in range(30)]
    cells = [[0.1 if row == column else 0.01 for column in range(30)] for row in range(30)]
    many = {"languages": names, "units": [9] * 30, "neg_logprob": {"base": [3.0] * 30, "change": cells}}
    text = printed(summary(spoken(tmp_path / "run", found=many)))
    assert "lape · ml7 · 30 languages" in text and "l29" in text and "off" not in text.partition("own units off")[0]


def test_text_from_data_cannot_drive_the_terminal(tmp_path):
    found = {**matrix(), "languages": [HOSTILE, *LANGUAGES[1:]], "diagonal": None}
    told = {**COMPARISON, "other_metrics": {"open_questions": {**QUESTIONS, "n": {HOSTILE: 1}}}}
    hostile = {**steered(), "to": HOSTILE, "breaks": [HOSTILE], "choice": choice(2.0, 8.0)}
    hostile["choice"]["tried"][1]["breaks"] = [HOSTILE]
    run = spoken(tmp_path / "run", found=found, comparison=told, steerings=[("x", hostile)])
    assert "\x1b" not in printed(summary(run), 200)


def test_a_run_that_is_not_finished_says_what_is_missing_and_how_to_get_it(tmp_path):
    with Run.open(tmp_path / "run", RECIPE):
        pass
    text = printed(summary(Run.load(tmp_path / "run")), 200)
    for expected in (
        "What is missing",
        "The matrix: matrix.json is missing",
        "The plan: plan.json is missing",
        "resect run",
        "run/recipe.toml",
    ):
        assert expected in text, expected


def test_counts_alone_have_a_summary_and_a_way_on(tmp_path):
    with Run.open(tmp_path / "run", RECIPE.with_settings(record_only=True, fraction=None)):
        pass
    text = printed(summary(Run.load(tmp_path / "run")), 200)
    assert "nothing was selected" in text and "--counts" in text and "run/counts.safetensors" in text


def test_what_comes_next_follows_from_what_came_out(tmp_path):
    sure, weak = effects_of(matrix()), effects_of(matrix(units=(0, *matrix()["units"][1:])))
    small, other = RECIPE.with_settings(fraction=None), RECIPE.with_settings(selector="random")
    say = [
        [reason for reason, _ in next_commands_by_language(*of)]
        for of in ((RECIPE, tmp_path, sure), (small, tmp_path, weak), (other, tmp_path, sure))
    ]
    assert "select more units:" not in say[0] and "select more units:" in say[1] and say[2][-1] == "select by LAPE instead:"
    nothing = effects_of(matrix(units=(0,) * 7))
    assert [reason for reason, _ in next_commands_by_language(small, tmp_path, nothing)] == ["select more units:"]
    assert next_commands_by_language(RECIPE, tmp_path, None) == []
    assert scored_tokens(sure) == "12,000 tokens of each language, in windows of 128"


def test_what_is_recorded_is_not_recorded_again(tmp_path):
    (tmp_path / "counts.safetensors").write_bytes(b"")
    lines = dict(next_commands_by_language(RECIPE, tmp_path, effects_of(matrix())))
    line = lines["compare with units by their mean activation (LAVE):"]
    assert "counts.safetensors" in line and "--corpus" not in line and "--valid en=text/en/valid.txt" in line and "--tokens" not in line


@pytest.mark.parametrize("has_counts", [True, False])
def test_the_commands_that_are_proposed_can_be_typed(tmp_path, has_counts):
    from resect.cli.parsing import given_settings, parse

    if has_counts:
        (tmp_path / "counts.safetensors").write_bytes(b"")
    for _, line in next_commands_by_language(
        RECIPE.with_settings(fraction=None), tmp_path, effects_of(matrix(units=(0, *matrix()["units"][1:])))
    ):
        words = shlex.split(line)
        assert Path(words[0]).name == "resect"
        options = parse(words[1:])
        if words[1] == "lape":
            assert Recipe.from_settings({"method": "lape", **given_settings(options)}).model == "models/ml7"


def test_steered_answers_stand_side_by_side():
    text = printed(command_output.steered(steered()))
    for expected in (
        *("steered to fr, away from en (set)", "What makes a good friend? (1)", "before (en, 4 of 5)", "steered (fr, 3 of 5)"),
        *("Un bon ami vous écoute et garde vos secrets.", "(nothing)", "75.0 %", "3.00"),
    ):
        assert expected in text, expected
    several = printed(command_output.steered([steered(), steered("ja", None)]))
    assert "to fr, away from en (set)" in several and "to ja (set)" in several and "[" not in several


def test_a_summary_names_the_page_that_is_there(tmp_path):
    run = spoken(tmp_path / "run")
    assert f"To read and to send: {write(run)}" in printed(summary(run), 200)


def test_nothing_is_printed_for_what_was_not_measured():
    found = [{**steered(to, "en", 24), "quality": None} for to in ("zh", "fr")]
    text = printed(command_output.steered(found), 80)
    assert "quality" not in text and "too few to say" not in text and "+75.0\n" in text and "+40.0 to +90.0" in text
    assert text.count("prompts") == 1  # one table, not two halves of one
    assert all(line == line.rstrip(" ") for line in text.splitlines())


def test_runs_with_as_many_units_are_told_apart_in_a_table(tmp_path):
    runs = [spoken(tmp_path / name, recipe=RECIPE.with_settings(fraction=share)) for name, share in (("one", 0.01), ("five", 0.05))]
    text = " ".join(printed(table(runs).text(), 200).split())
    assert "one: 214 neurons" in text and "five: 214 neurons" in text
    assert "Bold" not in text and "Random cut" not in text and "Random units: for each language" in text
    assert any("random units · five" in line for line in printed(table(runs).text(), 60).splitlines())


def test_steered_answers_without_measures_say_so():
    bare = {**steered("zh", None, 2), "language_accuracy": None, "quality": None, "strength": 2.0, "mode": "add"}
    bare["answers"] = [{"prompt": f"[bold]{HOSTILE}", "before": HOSTILE, "after": "好", "identified": None, "quality": None}]
    text = printed(command_output.steered(bare), 60)
    assert "to zh (add, strength 2)" in text and "was not identified" in text and "[bold]" in text and "\x1b" not in text
    with pytest.raises(InputError, match="damaged"):
        command_output.steered({"to": "fr"})


def test_a_run_of_languages_may_stand_in_a_table(tmp_path):
    crispr, lape = finished(tmp_path / "crispr"), spoken(tmp_path / "lape", analysed=analyses())
    grid = table([crispr, lape])
    text = printed(grid.text(), 200)
    for expected in (
        "own text, own units off (logloss)",
        "LAPE",
        "random units, as LAPE",
        "214 neurons",
    ):
        assert expected in text, expected
    assert "More log loss is what is looked for: none of them is bold" in " ".join(text.split())
    assert "214 neurons; the own text suffers most for 7 of 7 languages (clearly so for 7, by chance 1 in 7)" in " ".join(text.split())
    other = spoken(tmp_path / "lave", recipe=RECIPE.with_settings(selector="lave"), found={"damaged": 1})
    assert "random units, as LAVE" in printed(table([lape, other]).text(), 200)
    column = next(place for place, each in enumerate(grid.columns) if each.metric == "logloss")
    assert not any(row.cells[column].best for row in grid.rows if row.cells[column] is not None)
    assert any(cell.best for row in grid.rows for cell in row.cells if cell is not None)
    assert "LAPE" not in printed(table([crispr]).text(), 200)
    assert (
        "own text, own units off" in grid.csv()
        and "own text, own units off" in grid.latex()
        and "own text, own units off" in grid.picture()
    )
