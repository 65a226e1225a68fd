"""What scores are read against: every number of comparison.json is shown once, under its name, and left out where it was not measured."""

import io

import pytest

from report.run_folder import ANSWERS, COMPARISON, finished, guarded_comparison, shown
from resect.core.number_format import DASH, PAGE, PLAIN, MetricFormat
from resect.report.readers.plan_summary import PlanSummary
from resect.report.tables.kind_tables import positions_table, tag_interval_table, tag_table
from resect.report.tables.run_tables import figures_of, result_table
from resect.report.terminal.summary import console, show, summary
from resect.runs.reference_scores import balanced_note, frequent_sentence, positions_sentence, reference_note, reference_scores
from resect.runs.schemas.comparison import ComparisonFile


def read(**more):
    return ComparisonFile.model_validate(guarded_comparison(**more))


def printed(run, width=100):
    out = io.StringIO()
    show(summary(run), console(file=out, width=width))
    return " ".join(out.getvalue().split())


def rows_of(table):
    return {row[0]: list(row[1:]) for row in table.rows}


def test_chance_and_one_constant_answer_are_rows_without_intervals():
    comparison = read()
    rows = rows_of(result_table(comparison, PlanSummary(), MetricFormat()))
    assert rows["chance"][:2] == ["33.3 %", DASH] and rows["always the unknown option"][:2] == ["50.0 %", DASH]
    assert list(rows)[-2:] == ["chance", "always the unknown option"]
    assert "no other constant answer scores more" in reference_note(comparison)


@pytest.mark.parametrize("metric", ["logloss", "top5"])
def test_what_counts_right_answers_is_no_reference_for_other_metrics(metric):
    comparison = read(metric=metric)
    assert reference_scores(comparison) == [] and reference_note(comparison) == ""


def test_a_mean_over_tags_is_a_column_where_it_differs_and_a_sentence_where_it_does_not():
    table = result_table(read(), PlanSummary(), MetricFormat())
    assert table.columns[-1] == "balanced" and [row[-1] for row in table.rows][:3] == ["58.1 %", "80.0 %", DASH]
    same = read(answers=ANSWERS | {"balanced": {"base": 0.6072, "edited": 0.816}})
    assert result_table(same, PlanSummary(), MetricFormat()).columns[-1] == "± instructions" and "the same" in balanced_note(same)
    assert balanced_note(read(answers=None)) == balanced_note(read(answers=ANSWERS | {"balanced": {"base": None, "edited": None}})) == ""


def test_each_tag_has_an_interval():
    comparison, figures = read(), MetricFormat()
    rows = rows_of(tag_table(comparison, figures, is_drawn=False))
    assert rows["ambig"][:4] == ["50.7 %", "71.6 %", "+20.9", "+10.0 to +30.0"]
    assert rows_of(tag_interval_table(comparison, figures))["clear"] == ["70.7 %", "12.0 to 29.0 %", "91.6 %", "12.0 to 29.0 %"]
    older = ComparisonFile.model_validate(COMPARISON)
    assert "95 % interval" not in tag_table(older, figures).columns and tag_interval_table(older, figures) is None


def test_one_group_has_no_interval_anywhere(tmp_path):
    run = finished(tmp_path / "one", guarded_comparison(n_groups=1, side_effects={}))
    for text in (shown(run).text, printed(run)):
        assert "With one group there is no interval" in text
        assert not any(
            ends in text for ends in ("79.0 to 84.0", "(79.0 to", "+18.0 to +24.0", "+10.0 to +30.0", "12.0 to 29.0", "+0.400 to")
        )
    comparison = read(n_groups=1)
    assert {row[2] for row in result_table(comparison, PlanSummary(), figures_of(comparison)).rows} == {DASH}


def test_options_are_counted_and_what_is_none_of_them_too():
    table = positions_table(read())
    assert table.columns == ("", "first", "second", "third", "none of these")
    whole = ANSWERS | {"positions": {"right": [0.5, 0.5], "base": [0.25, 0.75], "edited": None}}
    table = positions_table(read(answers=whole), PLAIN)
    assert table.columns == ("", "first", "second") and rows_of(table) == {"right answers": ["50.0 %"] * 2, "before": ["25.0 %", "75.0 %"]}
    assert (
        positions_sentence(read(answers=whole))
        == "Answers by option, from the first on: right answers 50.0 %, 50.0 %; before 25.0 %, 75.0 %."
    )
    for nothing in (None, ANSWERS | {"positions": None}):
        assert positions_table(read(answers=nothing)) is None and positions_sentence(read(answers=nothing)) == ""


@pytest.mark.parametrize(
    ("after", "is_certain", "says"),
    [(0.42, True, "The rise is beyond chance"), (0.42, False, "The rise may be chance"), (0.3, False, "of all).")],
)
def test_the_most_frequent_answer_is_told_and_how_sure_its_rise_is(after, is_certain, says):
    frequent = ANSWERS["most_frequent"]
    changed = frequent | {"edited": frequent["edited"] | {"wrong_share": after}, "is_certain": is_certain}
    sentence = frequent_sentence(read(answers=ANSWERS | {"most_frequent": changed}))
    assert "where it is wrong: the first option (31.0 % of the questions to which another answer is right; 50.0 % of all)" in sentence
    assert "; after the edit, the unknown option" in sentence
    assert says in sentence and ("rise" in sentence) == (after > 0.31)
    alone = ANSWERS | {"most_frequent": frequent | {"edited": None}}
    assert frequent_sentence(read(answers=alone)).endswith("50.0 % of all).")
    assert frequent_sentence(read(answers=None)) == ""


def test_page_and_terminal_show_all_of_it(tmp_path):
    run = finished(tmp_path / "run", guarded_comparison())
    page, terminal = shown(run).text, printed(run)
    for text in (page, terminal):
        for expected in (
            "always the unknown option",
            "Balanced: the mean of the tags",
            "How answers spread over the options",
            "58.1 %",
            "The rise is beyond",
        ):
            assert expected in text, expected
    assert "chance 33.3 %" in page and "The dotted line is chance" in page and "Before and after with 95 % intervals" in page
    assert (
        positions_table(ComparisonFile.model_validate(COMPARISON), PAGE) is None
        and "By option" not in shown(finished(tmp_path / "older")).text
    )
