"""Answers on the page: they are grouped by question, say their language, and what is not known of them."""

from report.language_folder import COMPARISON, QUESTIONS, answers, spoken, whole
from report.run_folder import shown
from resect.report.page.answers_section import language_code


def test_empty_answers_are_counted_where_the_comparison_does_not(tmp_path):
    rows = [{**row, "answer": " "} if row["language"] == "fr" and row["deactivated"] == "fr" else row for row in answers()]
    told = {**COMPARISON, "other_metrics": {"open_questions": {**QUESTIONS, "empty": None}}}
    text = shown(spoken(tmp_path / "run", comparison=told, asked=rows)).text
    assert "30.0 % 6 empty" in text and text.count(" empty ") == 1


def test_text_says_which_language_it_is_in(tmp_path):
    elements = shown(whole(tmp_path / "run")).elements
    assert {attributes["lang"] for tag, attributes in elements if tag == "dd" and "lang" in attributes} >= {"en", "zh", "fr", "ja"}
    assert [language_code(name) for name in ("zh_CN", "x", "../x", "")] == ["zh-CN", "", "", ""]


def test_what_was_not_measured_of_the_answers_is_said(tmp_path):
    told = {**COMPARISON, "other_metrics": {"open_questions": {**QUESTIONS, "language_accuracy": None, "quality": None}}}
    text = shown(spoken(tmp_path / "run", comparison=told, asked=answers(1))).text
    assert "was not identified" in text and "were not rated" in text
