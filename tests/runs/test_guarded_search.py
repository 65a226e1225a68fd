"""What guards held in a search is told once in each report: the limits, what the metric alone would have chosen, and what was chosen."""

import io

import pytest

from report.matrix_folder import COMPARISON as REDUCED
from report.matrix_folder import TRIALS as REDUCTIONS
from report.matrix_folder import reduced
from report.run_folder import COLLAPSED, COMPARISON, GUARD_NOTE, GUARDED_TRIALS, GUARDS, PLAN, finished, guarded_comparison, shown
from resect.evaluation.guards import guard_sentence
from resect.report.terminal.summary import console, show, summary
from resect.runs.guarded_search import GuardedSearch
from resect.runs.schemas.comparison import ComparisonFile


def guarded(guards=GUARDS):
    return GuardedSearch.of(ComparisonFile.model_validate(guarded_comparison(guards)))


def printed(run, width=100):
    out = io.StringIO()
    show(summary(run), console(file=out, width=width))
    return " ".join(out.getvalue().split())


def test_limits_are_one_sentence():
    assert guarded().limits() == (
        "Guards: a candidate cannot win where a tag loses more than 3 points (ambig: no limit; pos: 1 point), the perplexity of plain text "
        "rises by more than 5 %, or the most frequent kind of answer is given in 10 points more of the cases where it is wrong."
    )


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"perplexity": 0.05, "collapse": None}, "where the perplexity of plain text rises by more than 5 %."),
        ({"tags": None, "pos": 0.02, "perplexity": None, "collapse": None}, "where the tag pos loses more than 2 points."),
        ({"tags": 0.03, "perplexity": 0.05}, "where a tag loses more than 3 points or the perplexity of plain text rises"),
    ],
)
def test_what_has_no_limit_is_not_named(limits, says):
    assert says in guarded(GUARDS | {"limits": limits}).limits()


def test_nothing_guarded_nothing_told():
    assert GuardedSearch.of(None) is None and GuardedSearch.of(ComparisonFile.model_validate(COMPARISON)) is None
    none = {"limits": {"perplexity": None, "collapse": None}, "refused": None, "chosen": None}
    assert guarded(none).sentences() == ["No guards: the metric alone chose."]


def test_the_note_of_the_search_is_known_again():
    note = guard_sentence({"refused": GUARDS["refused"], "chosen": GUARDS["chosen"]}, "accuracy")
    assert note == GUARD_NOTE and guarded().says_the_same(note)
    assert not guarded().says_the_same("Only 6 examples were there.")
    assert not guarded(GUARDS | {"refused": None}).says_the_same(note)


def test_what_the_guards_changed_is_told_once(tmp_path):
    run = finished(tmp_path / "run", guarded_comparison(), trials=GUARDED_TRIALS)
    run.note(notes=[GUARD_NOTE])
    page, terminal = shown(run).text, printed(run)
    assert "By accuracy on the select split alone: a cut of 8 neurons (76.0 %). It breaks: disambig 80.0 % → 50.0 %; " in terminal
    assert "Chosen instead: 3 neurons times 0.5 (69.0 %)." in terminal
    assert f"by accuracy alone: a cut of 8 neurons 76.0 % disambig 80.0 % → 50.0 %; {COLLAPSED}" in page
    assert "chosen: 3 neurons times 0.5 69.0 % nothing" in page
    assert "would have been chosen" not in page and "would have been chosen" not in terminal
    assert terminal.count("disambig 80.0 %") == 1
    assert page.count("disambig 80.0 %") == 2  # in the table of candidates too


@pytest.mark.parametrize(
    ("chosen", "says"), [(None, ("Chosen instead: nothing.", "chosen: nothing – –")), (GUARDS["chosen"], ("3 neurons times 0.5 (69.0 %)",))]
)
def test_nothing_may_be_what_is_chosen_instead(tmp_path, chosen, says):
    plan = PLAN if chosen else {"schema": 1, "model": None, "edits": []}
    run = finished(tmp_path / "run", guarded_comparison(GUARDS | {"chosen": chosen}), plan)
    text = shown(run).text + printed(run)
    assert all(expected in text for expected in says)


def test_guards_that_change_nothing_say_so(tmp_path):
    run = finished(tmp_path / "run", guarded_comparison(GUARDS | {"refused": None}))
    for text in (shown(run).text, printed(run)):
        assert "They did not change the choice." in text
    limits, test = guarded(GUARDS | {"refused": None, "chosen": None}).sentences()
    assert limits == guarded().limits() and "beyond chance" in test


def test_candidates_with_factors_have_a_line_each_and_the_chosen_one_stands_out(tmp_path):
    from resect.report.readers.run_contents import RunContents
    from resect.report.tables.run_tables import figures_of
    from resect.report.tables.search_tables import sizes_table

    run = finished(tmp_path / "run", guarded_comparison(), trials=GUARDED_TRIALS)
    contents = RunContents.of(run)
    table = sizes_table(contents, figures_of(contents.comparison))
    assert table.columns == ("n", "factor", "accuracy (select)", "answers", "complete", "seconds", "breaks")
    assert [table.rows[row][:2] for row in table.strong] == [("3", "0.5")]
    assert {row[-1] for row in table.rows if row[:2] != ("8", "0")} == {"–"}
    text = shown(run).text
    assert "times 0.5" in text and "How many, and by which factor" in text


def test_matrices_that_break_a_guard_are_marked_in_their_table(tmp_path):
    broken = [row | ({"broken": ["clear 80.0 % → 70.0 %"]} if number == 5 else {}) for number, row in enumerate(REDUCTIONS)]
    assert "breaks" not in shown(reduced(tmp_path / "none", trials=REDUCTIONS)).text
    guards = {**REDUCED["other_metrics"], "guards": GUARDS | {"refused": None, "chosen": None}}
    text = shown(reduced(tmp_path / "some", {**REDUCED, "other_metrics": guards}, trials=broken)).text
    assert "breaks" in text and "clear 80.0 % → 70.0 %" in text and "Guards: a candidate cannot win" in text
