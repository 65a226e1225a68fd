"""The report: it says what the run says, whole by itself; text of others stays text."""

import base64
import hashlib
import itertools
import json
import re
import subprocess
import sys

import pytest

from report.run_folder import COMPARISON, HOSTILE, PLAN, RECIPE, Page, changed, example, finished, measured, shown
from resect.report.charts.heat_map import STRONGEST
from resect.report.charts.svg import stylesheet
from resect.report.page.html import page, write
from resect.report.page.status import status
from resect.report.readers.run_contents import RunContents
from resect.runs.run_folder import Run


def test_a_report_says_what_the_run_says(tmp_path):
    text = shown(finished(tmp_path / "run")).text
    for expected in (
        *("tiny on bbq/age", "Helps", "60.7 %", "81.6 %", "+20.9 points", "+18.0 to +24.0", "p < 0.001", "sign flip over groups"),
        *(
            "61.1 %",
            "57.1 %",
            "55.2 %",
            "contextual calibration",
            "domain-context calibration",
            "79.0 to 84.0 %",
            "30 answers fixed, 4 broken",
        ),
        *("by scoring", "by generation", "59.3 %", "78.4 %", "1.9 %", "ambig", "clear", "50.7 %"),
        *("20 examples with the tag ambig", "100 examples chose how many are cut", "1,200 examples in 300 groups", "2 instructions"),
        *("golden section", "select split", "n = 3: 66.0 %", "encoder", "decoder", "3 in all", "of 144 scored (2.1 %)"),
        *("Fixed: 30 answers to 15 examples", "Broken: 4 answers to 4 examples", "Wrong before and after: 1 answer to 1 example"),
        *("+0.400 to +0.550", "588 answers", "1 answer", "12 of 1,200 items have no known target and are left out", "+0.01 to +0.09"),
        *("+0.481", "+0.052", "12.35", "12.5", "15,012 tokens", "glue/mrpc", "50.1 %", "49.9 %", "−0.2"),
        *("torch", "float32", "Threads", "23 seconds", "answers: 32", "Only 6 examples were there."),
        *("repeat", "recipe.toml", "resect", "--locate-on ambig", "seed = 0", "licence may forbid passing it on", "not an unbiased model"),
    ):
        assert expected in text, expected
    assert "What is missing" not in text


def test_the_same_run_gives_the_same_page(tmp_path):
    run = finished(tmp_path / "run")
    path = write(run)
    assert path == tmp_path / "run" / "report.html"
    assert path.read_text(encoding="utf-8") == page(run)
    other = write(run, tmp_path / "elsewhere" / "page.html")
    assert other.read_bytes() == path.read_bytes()


def test_a_run_can_be_told_from_inside_its_folder(tmp_path, monkeypatch):
    folder = finished(tmp_path / "run").folder
    monkeypatch.chdir(folder)
    text = shown(Run.load(".")).text
    assert "repeat ." in text and "run recipe.toml" in text and "--output ." in text


def test_text_of_others_is_text_wherever_it_stands(tmp_path):
    hostile = [example(1, HOSTILE, "nobody", prompt=f"Choose one. {HOSTILE}"), example(2, "nobody", HOSTILE, instruction=HOSTILE)]
    hostile = [row | {"id": HOSTILE, "tags": [HOSTILE]} for row in hostile]
    told = {**measured(0.6, 0.5, 0.7), "by_tag": {HOSTILE: 0.5}}
    comparison = {**COMPARISON, "task": HOSTILE, "base": told, "edited": told, "side_effects": {HOSTILE: {"base": 0.5, "edited": 0.4}}}
    comparison["difference"] = {**changed(0.1, 0.05, 0.2), "test": HOSTILE, "fixed": 1, "broken": 1}
    recipe = RECIPE.with_settings(model=f"models/{HOSTILE.replace('/', '')}".replace("\x00", ""), locate_on=[HOSTILE.replace("\x00", "")])
    run = finished(tmp_path / "run", comparison, {**PLAN, "model": {"family": HOSTILE}}, hostile, recipe=recipe)
    run.note(notes=[HOSTILE], device=HOSTILE, platform=HOSTILE)
    text = page(run)
    clean = finished(tmp_path / "clean", comparison | {"task": "x"})
    assert {tag for tag, _ in Page(text).elements} <= {tag for tag, _ in shown(clean).elements} | {"ol"}
    found = Page(text)
    assert found.all("script") == []
    assert "<script>alert(1)</script>" in found.text and "{{ 7*7 }}" in found.text and "49" not in found.all("title")[0]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "␛[31m␀" in text and "[U+202E]" in text and "\u200f" in text
    handlers = [name for _, attributes in found.elements for name in attributes if name.startswith("on") or name == "style"]
    assert handlers == []


def test_lone_surrogates_do_not_stop_the_page(tmp_path):
    run = finished(tmp_path / "run")
    with (run.folder / "examples.jsonl").open("a") as file:
        file.write(json.dumps(example(99, "\ud800", prompt="\udcff")) + "\n")
    assert write(run).read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_the_page_is_whole_by_itself(tmp_path):
    text = page(finished(tmp_path / "run"))
    found = Page(text)
    policy = next(meta["content"] for meta in found.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    assert "url(" not in style and "@import" not in style
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in found.elements:
        assert not {"src", "srcset", "action", "data", "poster"} & attributes.keys()
        place = attributes.get("href", "#limits")
        assert place.startswith("data:") or place.removeprefix("#") in ids
        assert attributes.get("aria-labelledby", ids[0]) in ids


def test_headings_tables_and_drawings_are_marked_up_for_those_who_do_not_see_them(tmp_path):
    found = shown(finished(tmp_path / "run"))
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert found.all("th") and all(cell.get("scope") in ("row", "col") for cell in found.all("th"))
    assert len(found.all("caption")) == len(found.all("table"))
    drawings = [(number, attributes) for number, (tag, attributes) in enumerate(found.elements) if tag == "svg"]
    for number, attributes in drawings:
        if "aria-hidden" not in attributes:
            assert attributes["role"] == "img" and [tag for tag, _ in found.elements[number + 1 : number + 3]] == ["title", "desc"]
    assert sum("role" in attributes for _, attributes in drawings) == 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_from_what_they_stand_on(scheme):
    blocks = re.findall(r":root \{(.*?)\}", stylesheet(), re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[0]))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[1]))
    values = {name: [int(code[place : place + 2], 16) / 255 for place in (1, 3, 5)] for name, code in colours.items()}
    for name in ("accent", "bad"):  # the strongest cell of a heat map
        values[f"{name} cell"] = [
            STRONGEST * top + (1 - STRONGEST) * under for top, under in zip(values[name], values["paper"], strict=True)
        ]

    def light(colour):
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = [("ink", on) for on in ("paper", "panel", "accent-soft", "bad-soft", "accent cell", "bad cell")]
    pairs += [("muted", "paper"), ("muted", "panel"), ("accent", "paper"), ("accent", "panel"), ("accent", "accent-soft")]
    for one, other in [*pairs, ("bad", "paper"), ("bad", "panel"), ("bad", "bad-soft")]:
        dark, bright = sorted((light(values[one]), light(values[other])))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (one, other)


def test_a_deep_model_is_drawn_by_where_it_is_cut(tmp_path):
    plan = {**PLAN, "edits": [{"kind": "scale", "factor": 0.0, "neurons": {"decoder.7.up": [1], "decoder.1000000000.up": [2]}}]}
    found = shown(finished(tmp_path / "run", plan=plan)).text
    assert "in the layers that have any" in found and "7: up 1; 1000000000: up 1" in found


def test_an_empty_plan_is_an_honest_report(tmp_path):
    same = {**COMPARISON, "edited": COMPARISON["base"], "control": None, "difference": changed(0.0, 0.0, 0.0, 0, 0)}
    text = shown(finished(tmp_path / "run", same, {"schema": 1, "model": None, "edits": []}, [])).text
    assert "No reliable change" in text and "nothing was changed, since on the select split" in text and "Nothing is cut." in text
    assert "What is missing" not in text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (changed(0.2, 0.1, 0.3), "Helps"),
        (changed(-0.2, -0.3, -0.1), "Damages"),
        (changed(0.01, -0.1, 0.1), "No reliable change"),
        (changed(0.002, 0.001, 0.003), "No reliable change"),
    ],
)
def test_the_badge_follows_the_verdict(tmp_path, change, word):
    found = shown(finished(tmp_path / "run", {**COMPARISON, "difference": change}))
    assert f"{word} before 60.7 %" in found.text


def test_what_was_not_measured_is_not_made_up(tmp_path):
    bare = {
        **COMPARISON,
        "baselines": {"cc": None, "dc": None},
        "control": None,
        "other_metrics": {},
        "side_effects": {},
        "bias_scores": None,
    }
    text = shown(finished(tmp_path / "run", bare)).text
    for expected in (
        "CC and DC were not measured",
        "only one was measured: by scoring",
        "No side effects were measured",
        "No bias scores",
    ):
        assert expected in text, expected


def test_where_no_item_has_a_target_the_page_says_so(tmp_path):
    nothing = {"ambig": None, "disambig": None, "n_ambig": 0, "n_disambig": 0, "n_without_target": 80, "n_items": 80}
    text = shown(finished(tmp_path / "run", {**COMPARISON, "bias_scores": {"base": nothing, "edited": nothing}})).text
    assert "No bias scores: no answer could be counted. 80 of 80 items have no known target and are left out." in text


def test_a_perplexity_that_says_nothing_is_not_at_the_top(tmp_path):
    lost = {**COMPARISON, "side_effects": {"perplexity": {"base": 45950056.7, "edited": 1775740.6}}}
    known, unknown = finished(tmp_path / "known"), finished(tmp_path / "unknown", lost)
    tops = [[label for label, _, _ in status(RunContents.of(run)).tiles] for run in (known, unknown)]
    assert ["perplexity of plain text" in top for top in tops] == [True, False]
    text = shown(unknown).text
    assert "says nothing about the cut" in text and "45,950,057" in text


def test_a_loss_is_written_as_it_is(tmp_path):
    loss = {**COMPARISON, "metric": "logloss", "base": measured(1.25, 1.2, 1.3), "edited": measured(0.75, 0.7, 0.8), "control": None}
    text = shown(finished(tmp_path / "run", {**loss, "baselines": {}, "difference": changed(-0.5, -0.6, -0.4)})).text
    assert "1.25" in text and "0.7 to 0.8" in text and "−0.500" in text and "125" not in text


def test_generation_as_the_main_metric_stands_on_its_own_side(tmp_path):
    other = {"accuracy": {"base": measured(0.711, 0.7, 0.72), "edited": measured(0.722, 0.7, 0.74), "difference": None}}
    text = shown(finished(tmp_path / "run", {**COMPARISON, "metric": "generation", "other_metrics": other})).text
    side = text[text.index("Accuracy by scoring and by generation") :]
    assert side.index("71.1 %") < side.index("60.7 %")


def test_a_report_loads_no_torch():
    code = "import sys, resect.report.page.html; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False", "False"]


def test_the_page_says_how_prompts_were_read(tmp_path):
    recipe = RECIPE.with_settings(chat_template=True, chat_kwargs=("enable_thinking=false",), system="Be brief.", parse_special=True)
    text = shown(finished(tmp_path / "run", recipe=recipe)).text
    assert "Wrapped in the tokenizer's chat template, with enable_thinking = false and the system text “Be brief.”." in text
    assert "Special tokens that data spell are read as these tokens." in text
