"""Runs that reduce matrices, on a terminal and on a page: what was searched, what is only a bound, what was chosen, what came of it."""

import copy
import io
import json
import xml.etree.ElementTree as ET

import pytest

from report.matrix_folder import COMPARISON, EXAMPLES, PLAN, RECIPE, SELECT, STEPS, TRIALS, analyses, composed, reduced
from report.run_folder import changed, measured, shown
from resect.core.number_format import PLAIN, MetricFormat
from resect.report.page.html import page
from resect.report.readers.plan_summary import PlanSummary
from resect.report.readers.rank_search import RankSearch, score, short_score
from resect.report.terminal.summary import console, show, summary
from resect.report.text.next_steps import next_commands
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run
from resect.runs.schemas.comparison import ComparisonFile
from resect.runs.schemas.parts import read_tolerantly
from resect.runs.schemas.rows import TrialLine

SVG = "{http://www.w3.org/2000/svg}"
NOTHING = {
    **COMPARISON,
    "edited": COMPARISON["base"],
    "control": None,
    "difference": changed(0.0, 0.0, 0.0, 0, 0),
    "other_metrics": {"select": {**SELECT, "chosen": SELECT["base"]}},
}


def printed(run, width=100):
    out = io.StringIO()
    show(summary(run), console(file=out, width=width))
    return out.getvalue()


def sought(trials=TRIALS, comparison=COMPARISON):
    return RankSearch.of(map(TrialLine.model_validate, trials), read_tolerantly(ComparisonFile, comparison, "comparison.json")[0])


def test_a_summary_says_what_was_searched_and_chosen_and_what_to_type(tmp_path):
    text = printed(reduced(tmp_path / "run"))
    for expected in (
        *("24 matrices × 8 ρ = 192 candidates, on 128 examples of the select split", "16 evaluated completely; 176 were stopped early"),
        *("Chosen: decoder.10.gate, ρ 0.05: rank 12 of 256; accuracy on select 61.0 % → 68.2 %", "60.5 %", "66.8 %", "60.1 %"),
        "Reducing decoder.10.gate to rank 12 of 256 helps: accuracy 60.5 % → 66.8 %: +6.3 points",
        "Other matrices of that role, reduced as far: -0.4 points",
        *("rank left", "--format factored", "analyse", "fixed: London → Paris", "broken: Paris → Rome"),
    ):
        assert expected in text, expected
    assert "neurons" not in text


def test_a_composition_shows_its_steps_on_select_and_on_test(tmp_path):
    run = composed(tmp_path / "run")
    text = printed(run)
    for expected in ("Kept: 3 reductions", "the model as it is", "64.0 %  62.2 %", "rank 0: the matrix is zeroed", "69.1 %  65.5 %"):
        assert expected in text, expected
    on_page = shown(run).text
    for expected in ("Composition", "0 the model as it is", "65.5 %", "framed ones were kept", "3 decoder.7.down"):
        assert expected in on_page, expected


def test_no_gain_is_said_and_what_to_try(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = {**NOTHING, "other_metrics": {"select": {**NOTHING["other_metrics"]["select"], "n_examples": 12, "n_instructions": 1}}}
    lower = [{**row, "score": row["score"] - 0.11} for row in TRIALS]
    run = reduced(tmp_path / "run", few, {"schema": 1, "model": None, "edits": []}, [], lower)
    text = printed(run)
    for expected in (
        "No reliable change: nothing was changed, since on the select split no candidate was better than no edit.",
        "Only 12 examples chose among 192 candidates",
        *(
            "The best complete candidate: decoder.10.gate, ρ 0.05, with 57.2 % on select",
            "--metric logloss",
            "--sites '*.{q,k,v,o}'",
            "--rho 0.95",
        ),
    ):
        assert expected in text.replace("\n", " "), expected
    found = shown(run)
    assert "No reliable change before 60.5 %" in found.text and "Nothing is reduced." in found.text and "What is missing" not in found.text


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"compose": True}, {"sites", "metric", "rho"}),
        ({"published": True}, {"published"}),
        ({"screen": "gradient"}, {"screen", "sites", "metric", "rho"}),
        ({"sites": ("*.{q,k,v,o}",), "limit": 100}, {"limit", "metric", "rho"}),
        ({"rho": (0.95, 0.5)}, {"sites", "metric"}),
        ({"metric": "logloss"}, {"sites", "rho"}),
    ],
)
def test_what_is_proposed_changes_one_setting_and_can_be_typed(tmp_path, settings, says):
    import shlex

    from resect.cli.parsing import given_settings, parse

    recipe = RECIPE.with_settings(**settings)
    changes = set()
    for _, command in next_commands(recipe, tmp_path / "x", ComparisonFile.model_validate(NOTHING), PlanSummary(is_of_matrices=True)):
        words = shlex.split(command)
        typed = Recipe.from_settings({"method": words[1], **given_settings(parse(words[1:]))})
        (name,) = recipe.differs(typed)
        changes.add(name)
    assert changes == says


def drawn(run):
    """The maps of the search: for each, its cells' texts and classes."""
    text = page(run)
    start = text.index('id="search"')
    section = text[start : text.index("</section>", start)]
    parts = [part[part.index("<svg") :].partition("</svg>")[0] for part in section.split('<div class="figure scroll natural"')[1:]]
    return [ET.fromstring(f"{part}</svg>") for part in parts]


def test_a_map_shows_every_candidate_and_no_bound_as_a_score(tmp_path):
    maps = drawn(reduced(tmp_path / "run"))
    assert len(maps) == 2  # gate, down
    said = [[each.text for each in found.iter(f"{SVG}text")] for found in maps]
    boxes = [[each.get("class") for each in found.iter(f"{SVG}rect")] for found in maps]
    bounds = sum(kinds.count("cell bound") for kinds in boxes)
    assert bounds == sum(not row["complete"] for row in TRIALS) == sum(text.startswith("≤") for texts in said for text in texts)
    assert sum(kinds.count("cell up") + kinds.count("cell down") for kinds in boxes) == sum(row["complete"] for row in TRIALS)
    assert [kinds.count("cell framed") for kinds in boxes] == [1, 0]
    assert "68.2" in said[0]


@pytest.mark.parametrize(
    ("metric", "value", "brief", "exact"),
    [("accuracy", 0.6712, "≤68", "≤ 67.1 %"), ("accuracy", 0.67, "≤67", "≤ 67.0 %"), ("logloss", 1.238, "≥1.23", "≥ 1.238")],
)
def test_a_bound_stays_a_bound_when_it_is_rounded(metric, value, brief, exact):
    (candidate,) = sought([{**TRIALS[0], "score": value, "complete": False}]).candidates
    figures = MetricFormat(metric, PLAIN)
    assert short_score(candidate, figures) == brief and score(candidate, figures) == exact


def test_less_loss_is_better_on_the_map_too(tmp_path):
    loss = {**COMPARISON, "metric": "logloss", "base": measured(1.2, 1.1, 1.3), "edited": measured(1.0, 0.9, 1.1), "control": None}
    loss |= {
        "difference": changed(-0.2, -0.3, -0.1),
        "other_metrics": {"select": {**SELECT, "metric": "logloss", "base": 1.2, "chosen": 1.0}},
    }
    trials = [{**row, "score": 1.0 if (row["site"], row["rho"]) == ("decoder.10.gate", 0.05) else 1.4} for row in TRIALS]
    run = reduced(tmp_path / "run", loss, trials=trials)
    maps = drawn(run)
    assert sum(each.get("class") == "cell up" for each in maps[0].iter(f"{SVG}rect")) == 1
    assert "less is better" in shown(run).text and "at least this, a bound" in shown(run).text
    assert "helps: logloss" in printed(run)


def test_matrices_of_encoder_and_decoder_and_of_experts_have_their_places():
    rows = [{**TRIALS[0], "site": site, "rho": 0.5} for site in ("encoder.0.up", "decoder.1.up", "decoder.0.expert3.down")]
    found = sought(rows)
    assert [str(site) for site in found.sites] == ["encoder.0.up", "decoder.1.up", "decoder.0.expert3.down"]
    assert found.sentences()[0].startswith("3 matrices × 1 ρ = 3 candidates")


def test_a_published_choice_was_not_searched(tmp_path):
    one = {**COMPARISON, "other_metrics": {"select": SELECT}}
    run = reduced(tmp_path / "run", one, trials=[{**TRIALS[0], "complete": True}], recipe=RECIPE.with_settings(published=True))
    assert "Nothing was searched" in printed(run) and "1 candidate" not in printed(run)


def test_answers_are_right_where_the_row_says_so(tmp_path):
    told = {**EXAMPLES[0], "edited": " Paris, the city", "right": {"base": False, "edited": True}}
    run = reduced(tmp_path / "run", examples=[told])
    assert "fixed: London →  Paris, the city" in printed(run)
    assert "Fixed: 1 answer to 1 example" in shown(run).text


def test_other_metrics_and_paraphrases_of_a_comparison_are_told(tmp_path):
    facts = {"n_facts": 20, "per_fact": 2.0, "base": 0.3, "edited": 0.4, "difference": changed(0.1, 0.02, 0.2)}
    others = {"top1": {"base": measured(0.2, 0.1, 0.3), "edited": measured(0.25, 0.2, 0.3), "difference": changed(0.05, -0.1, 0.1)}}
    others["logloss"] = {"base": measured(2.5, 2.4, 2.6), "edited": measured(2.25, 2.2, 2.3), "difference": None}
    comparison = {**COMPARISON, "metric": "top10", "other_metrics": {"select": SELECT, "paraphrases": facts, **others}}
    run = reduced(tmp_path / "run", comparison)
    text = printed(run, 140)
    for expected in (
        *("top1", "20.0 %", "25.0 %", "logloss (less is better)", "2.5", "2.25"),
        *("right in every paraphrase (20 facts, 2 paraphrases each)", "30.0 %", "40.0 %"),
    ):
        assert expected in text, expected
    on_page = shown(run).text
    for expected in (
        "Other metrics on the test split",
        "logloss (less is better)",
        "20 facts, 2 paraphrases each",
        "+10.0",
        "top-10 accuracy",
    ):
        assert expected in on_page, expected


def test_a_plan_of_the_same_matrix_twice_is_told_twice(tmp_path):
    twice = {**PLAN, "edits": [PLAN["edits"][0], {**PLAN["edits"][0], "rho": 0.01}]}
    text = printed(reduced(tmp_path / "run", plan=twice), 140).partition("What was reduced")[2].partition("\n\n")[0]
    assert [line.split()[1:] for line in text.splitlines()[2:]] == [["ρ", "0.05", "12", "256"], ["ρ", "0.01", "2", "256"]]


def test_without_its_select_numbers_a_search_is_still_shown(tmp_path):
    bare = copy.deepcopy(COMPARISON) | {"other_metrics": {}}
    run = reduced(tmp_path / "run", bare)
    assert "Chosen: decoder.10.gate, ρ 0.05: rank 12 of 256." in printed(run) and "The candidates as numbers" in shown(run).text
    (run.folder / "comparison.json").unlink()
    (run.folder / "plan.json").write_text(json.dumps({"edits": [{"kind": "reduce_rank", "site": "decoder.1.gate", "rho": "x"}]}))
    text = shown(run).text
    assert "The comparison." in text and "The plan." in text and "192 candidates" in text


def test_steps_that_are_no_steps_are_left_out():
    others = {"select": SELECT, "composition": [*STEPS, {"site": "nowhere"}, "x", None]}
    assert len(sought(comparison={**COMPARISON, "other_metrics": others}).steps) == len(STEPS)


def test_everything_is_on_one_page(tmp_path):
    text = shown(reduced(tmp_path / "run", analysed=analyses())).text
    assert "What is missing" not in text and "no gain everywhere" in text and "unbiased" not in text


def of_text(folder, before=12.0, after=12.06, edits=2, allowed=0.01):
    """A run without a task: what stands above noise stays."""
    looked_at = [("decoder.1.down", 0.2, 12.03, True), ("decoder.1.gate", None, None, False), ("decoder.0.down", 0.1, None, False)]
    looked_at.append(("decoder.0.gate", 0.3, after, True))
    trials = [
        {
            "site": site,
            "rank": 19,
            "noise_edge": 3.5,
            "rho": rho,
            "score": score,
            "examples": 9,
            "complete": score is not None,
            "kept": kept,
        }
        for site, rho, score, kept in looked_at
    ]
    kept = [{"kind": "reduce_rank", "site": site, "rho": rho, "keep": "largest"} for site, rho, _, kept in looked_at if kept][:edits]
    text = {"base": before, "edited": after, "tokens": 3768, "kind": "perplexity", "text": "a text that ships with resect"}
    comparison = {
        **COMPARISON,
        "task": "plain text",
        "metric": "logloss",
        "base": measured(2.48, 2.4, 2.5),
        "edited": measured(2.49, 2.4, 2.5),
    }
    comparison |= {"control": measured(2.9, 2.8, 3.0), "difference": changed(0.005, 0.001, 0.01, 4, 9), "other_metrics": {"rise": allowed}}
    plan = {"schema": 1, "model": None, "edits": kept}
    recipe = RECIPE.with_settings(task="", task_free=True, rise=allowed)
    return reduced(folder, {**comparison, "side_effects": {"perplexity": text}}, plan, [], trials, recipe)


@pytest.mark.parametrize(
    ("changes", "badge", "says"),
    [
        ({}, "No reliable change", "12 → 12.06 (+0.5 %; 1 % was allowed)"),
        ({"after": 13.0}, "Damages", "That is more than was allowed."),
        ({"edits": 0}, "No reliable change", "without raising the perplexity by more than 1 %"),
        ({"before": 4e7, "after": 2e6}, "No reliable change", "choose and judge by text that it knows"),
    ],
)
def test_without_a_task_the_price_is_what_counts(tmp_path, changes, badge, says):
    run = of_text(tmp_path / "run", **changes)
    text = " ".join(printed(run).split())
    assert says in text and "2 of 4 matrices were reduced to the components above the noise edge" in text
    assert "1 was left" in text and "in 1 nothing is below the edge" in text and "answers" not in text
    found = shown(run).text
    assert f"{badge} before 2.48 → after 2.49" in found and says in found and "What is missing" not in found
    assert "undone: the text became too improbable" in found and "512 passages of plain text" in found


def with_writing(run, own, repetition, broken=()):
    """The run, with what its model writes before and after, and candidates that were refused for it."""
    path = run.folder / "comparison.json"
    comparison = json.loads(path.read_text())
    base, edited = own
    effect = {"base": base, "edited": edited, "kind": "perplexity", "text": "text of the model's own writing", "tokens": 900}
    comparison["side_effects"]["own text"] = effect
    before, after = repetition
    texts = [{"prompt": "A town", "base": " is a <b>place</b>", "edited": " is is is is"}, {"prompt": "x", "base": "", "edited": "y"}]
    limits = {"perplexity": 0.05, "repetition": 0.1}
    comparison["other_metrics"]["samples"] = {"n": 2, "repetition": {"base": before, "edited": after}, "limits": limits, "texts": texts}
    path.write_text(json.dumps(comparison))
    lines = [json.loads(line) for line in (run.folder / "trials.jsonl").read_text().splitlines()]
    lines[2] |= {"broken": list(broken)} if broken else {}
    (run.folder / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Run.load(run.folder)


@pytest.mark.parametrize(
    ("text", "own", "repetition", "badge", "says"),
    [
        (12.0, (8.0, 8.1), (0.12, 0.15), "No reliable change", "own writing: 8 → 8.1 (+1.2 %; 5 % was allowed)."),
        (12.0, (8.0, 8.1), (0.12, 0.15), "No reliable change", "occurred before): 12.0 % → 15.0 % (+3.0 points; 10 were allowed)."),
        (12.0, (8.0, 9.0), (0.12, 0.15), "Damages", "That is more than was allowed."),
        (12.0, (8.0, 8.0), (0.12, 0.30), "Damages", "That is more than was allowed."),
        (900.0, (8.0, 8.0), (0.12, 0.12), "No reliable change", "its perplexity was 900, that of the model's own text 8. Choose"),
        (90.0, (8.0, 8.0), (0.12, 0.12), "No reliable change", "90 → 90.45"),  # above 10 times, and below the floor
        (120.0, (20.0, 20.0), (0.12, 0.12), "No reliable change", "120 → 120.6"),  # above the floor, and below 10 times
    ],
)
def test_without_a_task_what_the_model_writes_counts_too(tmp_path, text, own, repetition, badge, says):
    run = with_writing(of_text(tmp_path / "run", text, 1.005 * text), own, repetition)
    printed_text, page = " ".join(printed(run).split()), shown(run).text
    assert says in printed_text
    assert says in page
    assert badge in page
    assert ("foreign to the model" in printed_text) == (text == 900.0)
    assert "perplexity of text of the model's own writing (900 tokens)" in page


def test_refused_steps_and_samples_are_on_the_page(tmp_path):
    run = with_writing(of_text(tmp_path / "run"), (8.0, 8.1), (0.12, 0.15), ["own text +12.3 %"])
    text, page = " ".join(printed(run).split()), shown(run).text
    assert "1 was left, since the model then wrote worse" in text
    assert "too improbable; " not in text
    assert "that of the model's own text by 5 %, the repetition of its samples by 10 points" in text
    assert "own text +12.3 %" in page and "or the model wrote worse" in page
    assert "What the model writes, before and after" in page and "is is is is" in page and "(nothing)" in page
    empty = with_writing(of_text(tmp_path / "empty", 900.0, 900.0, edits=0), (8.0, 8.0), (0.1, 0.1))
    says = " ".join(printed(empty).split())
    assert "by more than 1 %, or writing worse. The model stays as it is. This text is foreign to the model" in says


def test_harm_under_another_metric_is_said(tmp_path):
    generated = {"base": measured(0.6, 0.5, 0.7), "edited": measured(0.3, 0.2, 0.4), "difference": changed(-0.3, -0.4, -0.2)}
    run = reduced(tmp_path / "run", {**COMPARISON, "other_metrics": {"select": SELECT, "generation": generated}})
    says = "generated answers 60.0 % → 30.0 %: -30.0 points (95 % interval -40.0 to -20.0)"
    assert says in " ".join(printed(run).split())
    assert "✕ Damages" in shown(run).text


@pytest.mark.parametrize(
    ("change", "after", "says"),
    [
        (
            changed(0.037, -0.072, 0.145),
            0.283,
            "not shown when the model writes its answer: +3.7 points (95 % interval -7.2 to +14.5)",
        ),
        (changed(0.037, 0.0, 0.145), 0.06, "not shown when the model writes its answer: +3.7 points (95 % interval 0.0 to +14.5)"),
        (changed(0.1, 0.05, 0.15), 0.283, "generated texts that match no choice 1.9 % → 28.3 %"),
    ],
)
def test_a_gain_that_written_answers_do_not_show_is_none_without_a_price(tmp_path, change, after, says):
    generated = {"base": measured(0.5, 0.4, 0.6), "edited": measured(0.537, 0.4, 0.6), "difference": change}
    generated["unmatched"] = {"base": 0.019, "edited": after}
    run = reduced(tmp_path / "run", {**COMPARISON, "other_metrics": {"select": SELECT, "generation": generated}})
    text = " ".join(printed(run).split())
    assert "helps, at a price: accuracy 60.5 % → 66.8 %: +6.3 points" in text and says in text
    found = shown(run).text
    assert "Helps, at a price" in found and says in found


def test_a_gain_that_written_answers_show_helps(tmp_path):
    generated = {"base": measured(0.5, 0.4, 0.6), "edited": measured(0.6, 0.5, 0.7), "difference": changed(0.1, 0.05, 0.15)}
    generated["unmatched"] = {"base": 0.019, "edited": 0.06}
    run = reduced(tmp_path / "run", {**COMPARISON, "other_metrics": {"select": SELECT, "generation": generated}})
    assert "of 256 helps: accuracy 60.5 % → 66.8 %: +6.3 points" in " ".join(printed(run).split())
    assert "✓ Helps" in shown(run).text and "at a price" not in shown(run).text


@pytest.mark.parametrize(
    ("means", "says"),
    [
        ((0.52, 0.607), "Calibration does not help: CC -8.5, DC +0.2 points."),
        ((0.52, 0.58), "Calibration does harm: CC -8.5, DC -2.5 points."),
        ((0.64, 0.607), "Calibration instead of a reduction does less: CC +3.5, DC +0.2 points."),
        ((0.7, 0.5), "Calibration of the model as it is does as well, or better, without a reduction: CC 70.0 %."),
    ],
)
def test_calibration_is_judged_by_its_own_change(tmp_path, means, says):
    baselines = {name: measured(mean, 0.4, 0.8) for name, mean in zip(("cc", "dc"), means, strict=True)}
    assert says in " ".join(printed(reduced(tmp_path / "run", {**COMPARISON, "baselines": baselines})).split())


def test_answers_are_counted_among_all_that_were_asked(tmp_path):
    text = printed(reduced(tmp_path / "run", {**COMPARISON, "n_instructions": 3}))
    assert "48 answers fixed, 16 broken, of 1,536 (512 examples × 3 instructions)" in text and "± instructions" in text
    text = printed(reduced(tmp_path / "one"))
    assert "48 answers fixed, 16 broken, of 512\n" in text and "± instructions" not in text
    assert "± instructions" not in shown(reduced(tmp_path / "one")).text


def test_what_a_map_leaves_open_is_said_beside_it(tmp_path):
    plain = shown(reduced(tmp_path / "run")).text
    assert "Most candidates were stopped early; “resect analyse RUN loss” draws the complete map" in plain and "(blank)" not in plain
    assert "larger ones are not tried (blank)" in shown(composed(tmp_path / "composed")).text
    whole = [{**row, "complete": True} for row in TRIALS]
    assert "analyse RUN loss" not in shown(reduced(tmp_path / "whole", trials=whole)).text


def test_a_control_of_several_roles_says_so(tmp_path):
    assert "Other matrices of those roles, reduced as far" in " ".join(printed(composed(tmp_path / "run")).split())


def test_a_map_with_many_experts_leaves_out_rows_that_tell_nothing(tmp_path):
    rows = [
        {**TRIALS[0], "site": f"decoder.{layer}.expert{expert}.gate", "complete": expert == 3} for layer in range(20) for expert in range(8)
    ]
    run = reduced(tmp_path / "run", trials=rows)
    (drawing,) = drawn(run)
    assert sum(each.get("class") == "cell bound" for each in drawing.iter(f"{SVG}rect")) == 0
    assert "140 rows with nothing but bounds are left out" in shown(run).text and "160 matrices × 1 ρ" in shown(run).text


def test_calibration_stands_beside_the_accuracy_where_another_metric_is_compared(tmp_path):
    calibrated = {"cc": measured(0.571, 0.5, 0.6), "dc": None}
    accuracy = {"base": measured(0.5, 0.4, 0.6), "edited": measured(0.55, 0.4, 0.6), "difference": None, "baselines": calibrated}
    comparison = {**COMPARISON, "metric": "generation", "other_metrics": {"select": SELECT, "accuracy": accuracy}}
    run = reduced(tmp_path / "run", comparison)
    (line,) = [line for line in printed(run).splitlines() if line.startswith("CC")]
    assert line.split()[-4:] == ["–", "–", "57.1", "%"]
    assert "CC, contextual calibration 57.1 %" in shown(run).text
