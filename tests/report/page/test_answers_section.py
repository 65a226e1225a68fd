"""What a model wrote in a run of LAPE, on the page: whose answers stand beside which, in which language they are, what is not known."""

from report.language_folder import COMPARISON, QUESTIONS, answers, spoken, steered, whole
from report.run_folder import shown
from resect.report.page.answers_section import code
from resect.report.readers.open_answers import answer_of, asked, questions_of, same
from resect.report.readers.steering import steered_of


def test_empty_answers_are_counted_where_nobody_told(tmp_path):
    rows = [{**row, "answer": " "} if row["language"] == "fr" and row["deactivated"] == "fr" else row for row in answers()]
    told = {**COMPARISON, "other_metrics": {"open_questions": {**QUESTIONS, "empty": None}}}
    text = shown(spoken(tmp_path / "run", comparison=told, asked=rows)).text
    assert "30.0 % 6 empty" in text and text.count(" empty ") == 1


def test_answers_are_put_beside_each_other_by_their_question():
    rows = [answer_of(row) for row in answers(2)]
    found = asked(rows)
    assert len(found) == 14 and all(set(each.answers) == {"", each.language, "random"} for each in found)
    assert sum(len(each.answers) for each in found) == len(rows)


def test_text_says_which_language_it_is_in(tmp_path):
    elements = shown(whole(tmp_path / "run")).elements
    assert {attributes["lang"] for tag, attributes in elements if tag == "dd" and "lang" in attributes} >= {"en", "zh", "fr", "ja"}
    assert (code("zh_CN"), code("x"), code("../x"), code("")) == ("zh-CN", "", "", "")
    assert same("zh-CN", "zh") and same("EN", "en") and not same("id", "ja")


def test_what_was_not_measured_of_the_answers_is_said(tmp_path):
    told = {**COMPARISON, "other_metrics": {"open_questions": {**QUESTIONS, "language_accuracy": None, "quality": None}}}
    text = shown(spoken(tmp_path / "run", comparison=told, asked=answers(1))).text
    assert "was not identified" in text and "were not judged" in text
    assert questions_of({"other_metrics": {}}) is None
    bare = steered_of({**steered(), "language_accuracy": None, "quality": None})
    assert bare.accuracy is None and bare.quality is None
