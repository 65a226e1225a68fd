"""The changed answers: grouped by example, folded where there are many, cut where a page would burst."""

import html
import re

import pytest

from report.run_folder import COMPARISON, PLAN, changed, finished, shown
from report.run_folder import example as row
from resect.report.page.html import page
from resect.report.text import changed_answers
from resect.runs.schemas.rows import ExampleLine


def example(*given, **more):
    """A row of examples.jsonl, read."""
    return ExampleLine.model_validate(row(*given, **more))


def test_examples_are_grouped_folded_and_told_by_number(tmp_path):
    rows = [row(number, instruction=said) for number in range(40) for said in ("Choose one.", "Answer.") if number or said == "Answer."]
    (kind,) = changed_answers.kinds([ExampleLine.model_validate(each) for each in rows], 2)
    assert (kind.name, kind.pairs, kind.total, len(kind.open)) == ("fixed", 79, 40, changed_answers.OPEN)
    assert kind.open[0].answers[0].under == "under instruction 1" and kind.open[1].answers[0].under == "under all 2 instructions"
    assert kind.open[1].prompt.whole == "Context 1: an old man and a boy. Who?"
    text = shown(finished(tmp_path / "run", examples=rows)).text
    assert all(f"Context {number}:" in text for number in range(40)) and "Show 30 more" in text


def test_a_long_text_is_folded_and_a_huge_one_is_cut():
    (kind,) = changed_answers.kinds([example(1, prompt="Choose one. begin " + "x " * 500 + "end?")])
    assert kind.open[0].prompt.teaser.startswith("begin") and kind.open[0].prompt.teaser.endswith("end?")
    (kind,) = changed_answers.kinds([example(1, prompt="word " * 10_000)])
    assert len(kind.open[0].prompt.whole) < 11_000 and "more in examples.jsonl" in kind.open[0].prompt.whole


@pytest.mark.slow
def test_a_big_run_makes_no_big_page(tmp_path):
    rows = [row(number, *(("the man", "nobody") if number % 3 else ("nobody", "the man"))) for number in range(5000)]
    rows = [each | {"prompt": f"Context {each['id']}: {'word ' * 120}"} for each in rows]
    neurons = {f"decoder.{layer}.{role}": list(range(0, 300, 3)) for layer in range(0, 96, 2) for role in ("q", "k", "up", "down")}
    plan = {**PLAN, "edits": [{"kind": "scale", "factor": 0.0, "neurons": neurons}]}
    run = finished(tmp_path / "run", {**COMPARISON, "difference": changed(0.2, 0.1, 0.3, 3000, 1000)}, plan, rows)
    text = page(run)
    assert len(text) < 3_500_000
    left = re.findall(r"([\d,]+) more are left out", text)
    assert len(left) == 2
    assert text.count('class="meta"') // 2 + sum(int(number.replace(",", "")) for number in left) == 5000
    assert html.escape("19,200") in text
