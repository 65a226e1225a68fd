"""A run on corpora by language on the page: it says what the files say, nothing of tasks, and names what is missing or damaged."""

import copy
import hashlib
import json
import math
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from report.damage import JUNK, paths, put
from report.language_folder import (
    COMPARISON,
    LANGUAGES,
    QUESTIONS,
    RECIPE,
    UNITS,
    analyses,
    answers,
    choice,
    matrix,
    spoken,
    steered,
    whole,
)
from report.run_folder import HOSTILE, Page, shown
from resect.core.exhibits import to_json
from resect.methods.lape.exhibits import exhibits
from resect.report.page.html import page
from resect.report.readers.run_contents import opened
from resect.runs.run_folder import Run

SAYS = {
    "layers": ("Units by layer and language", "most in layer", "of 3,072"),
    "overlap": ("Units that languages share", "Most alike", "fr and es (3, 0.07)"),
    "similarity": ("Similarity of parallel sentences", "200 sentences in 7 languages", "0.802 against 0.551, 0.251 more", "en-zh"),
    "stability": ("Stability of the selection", "Jaccard index of 0.83", "at least 50,000 tokens", "65.5k", "0.88"),
}
#: What pages on a task speak of.
FOREIGN = (
    "Before and after",
    "golden section",
    "select split",
    "changed answers",
    "Answers that changed",
    "CC and DC",
    "bias score",
    "logloss",
)


def test_a_page_says_what_the_run_says(tmp_path):
    text = shown(whole(tmp_path / "run")).text
    for expected in (
        *(
            "ml7 in en, zh, fr, es, vi, id, ja",
            "Specific",
            "7 of 7",
            "for all 7 languages",
            "+0.020 (id; perplexity +2.0 %) to +0.145 (zh; perplexity +15.6 %)",
        ),
        *(
            "+0.043 (zh's units, ja's text)",
            f"{math.exp(4.663):.2f} → {math.exp(4.808):.2f}",
            "214",
            "of 3,072 scored",
            "zh → ja +0.043",
            "+0.141 to +0.149",
            "By chance it would be 1 in 7 each",
            "clearly for 7; by chance 1 in 7 each",
            "Jaccard index of 0.83; the last doubling of the text left 0.88",
        ),
        *(
            "Random units deactivated (mean of 3 draws)",
            "en: text/en/train.txt",
            "At most 100,000 tokens",
            "12,000 tokens of each language",
        ),
        *("windows of 128", "the 5 % of all units", "Tang et al., ACL 2024", "Computed in float32", "Family: llama", "74 seconds"),
        *(
            "70 questions in 7 languages",
            "90.0 %",
            "30.0 %",
            "2.01",
            "2 answers got no rating",
            "Qu'est-ce qu'un bon ami",
            "✕ en, quality 2",
        ),
        *(
            "to fr, away from en (set)",
            "+75.0",
            "too few to say",
            "30.0 % 7 empty",
            "75.0 % 1 empty",
            "count as in no language.",
            "(nothing)",
            "Un bon ami vous écoute",
        ),
        *("steer models/ml7 --run", "plans/zh.json", "--selector lave", "repeat", "fraction = 0.05", "3 tokens of zh are left over."),
        "Activity on text of a language is not the language",
        *(told for parts in SAYS.values() for told in parts),
    ):
        assert expected in text, expected
    for foreign in (*FOREIGN, "What is missing"):
        assert foreign not in text, foreign


def test_what_was_not_asked_for_is_not_missing(tmp_path):
    text = shown(spoken(tmp_path / "run")).text
    assert "What is missing" not in text and "7 of 7" in text and "Each language without its units" in text
    for absent in (*FOREIGN, *(title for title, *_ in SAYS.values()), "Answers to open questions", "Steered into a language"):
        assert absent not in text, absent


@pytest.mark.parametrize("name", list(SAYS))
def test_an_analysis_that_is_alone_stands_alone(tmp_path, name):
    text = shown(spoken(tmp_path / "run", analysed={name: analyses()[name]})).text
    assert SAYS[name][0] in text and not any(told[0] in text for other, told in SAYS.items() if other != name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "told", "kept"),
    [
        ("matrix.json", "The matrix.", ("Not finished", "There is no matrix yet", "Answers to open questions", "Units by layer", "214")),
        ("comparison.json", "The comparison.", ("7 of 7", "Units by layer", "Un bon ami vous écoute")),
        ("plan.json", "The plan.", ("7 of 7", "Units by layer")),
        ("scores.safetensors", "The scores.", ("7 of 7", "214")),
        ("environment.json", "The environment.", ("7 of 7", "Not known.")),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "cut off", "something else"])
def test_what_is_missing_or_damaged_is_named_and_the_rest_is_shown(tmp_path, name, told, kept, damage):
    run = whole(tmp_path / "run")
    path = run.folder / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:40] if damage == "cut off" else b'["nothing", 5]')
    text = shown(Run.load(run.folder)).text
    for expected in ("What is missing", told, "run/recipe.toml", "ml7 in en", *kept):
        assert expected in text, expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exhibits.json", "answers.jsonl", "steered/ja-set.json"])
@pytest.mark.parametrize("content", ["{", "[[]]", '{"to": 3}', '"x"'])
def test_damage_in_what_need_not_be_there_is_named_too(tmp_path, name, content):
    run = whole(tmp_path / "run")
    (run.folder / name).write_text(content + "\n" + content + "\n")
    text = shown(run).text
    assert "What is missing" in text and "7 of 7" in text


def test_a_damaged_exhibit_leaves_the_others(tmp_path):
    run = whole(tmp_path / "run")
    path = run.folder / "exhibits.json"
    held = json.loads(path.read_text())
    held[0]["rows"] = 7
    path.write_text(json.dumps(held))
    text = shown(run).text
    assert "What is missing" in text and held[0]["title"] in text and "Units that languages share" in text


def test_a_damaged_recipe_leaves_the_rest(tmp_path):
    run = whole(tmp_path / "run")
    (run.folder / "recipe.toml").write_text('method = "lape"\nmodel = "models/ml7"\ncorpus = [')
    text = shown(opened(run.folder)).text
    for expected in ("The recipe.", "ml7 in en", "7 of 7", "Not known: the recipe is damaged.", "No command can be given"):
        assert expected in text, expected
    assert "unknown counts" not in text


def test_counts_alone_are_a_whole_run(tmp_path):
    recipe = RECIPE.with_settings(record_only=True, fraction=None)
    with Run.open(tmp_path / "run", recipe) as run:
        run.note(device="cpu", dtype="float32")
    text = shown(Run.load(tmp_path / "run")).text
    assert "Recorded" in text and "Only counts were recorded" in text and "What is missing" not in text
    assert "ml7 in en, zh, fr" in text and "nothing was selected" in text


def test_a_run_that_has_just_begun_is_shown(tmp_path):
    with Run.open(tmp_path / "run", RECIPE) as run:
        run.journal.keep("recording/en", {"x": 1})
    text = shown(Run.load(tmp_path / "run")).text
    for expected in ("Not finished", "1 finished work item", "The matrix.", "The plan.", "ml7 in en, zh, fr, es, vi, id, ja"):
        assert expected in text, expected


def test_a_language_without_units_says_so_on_the_page(tmp_path):
    text = shown(spoken(tmp_path / "run", found=matrix(units=(0, *UNITS[1:])))).text
    assert "6 of 6" in text and "Without units, nothing is deactivated: en." in text and "own text suffers most" in text
    none = shown(spoken(tmp_path / "none", found=matrix(units=(0,) * 7))).text
    assert "No units" in none and "0 of 0" not in none


def test_the_plans_say_which_units(tmp_path):
    run = spoken(tmp_path / "run", analysed={"layers": analyses()["layers"]})
    text = shown(run).text
    assert (
        "Every unit that is edited" in text
        and "in the plans of 7 languages" in text
        and "Nothing is" not in text
        and "en decoder.0.act" in text
    )
    for path in (run.folder / "plans").glob("*.json"):
        for address, units in json.loads(path.read_text())["edits"][0]["neurons"].items():
            assert f"{path.stem} {address} {len(units)} {', '.join(map(str, units))}".strip() in text
    (run.folder / "plans" / "fr.json").write_text('{"edits": [{"neurons": {"decoder.0.act": "x"}}]}')
    damaged = shown(run).text
    assert "The plan of fr" in damaged and "7 of 7" in damaged


def test_the_digest_is_that_of_the_file(tmp_path):
    run = spoken(tmp_path / "run")
    assert hashlib.sha256((run.folder / "plan.json").read_bytes()).hexdigest() in shown(run).text


def test_holes_in_the_matrix_are_dashes(tmp_path):
    found = matrix()
    found["neg_logprob"]["change"][2] = [None] * 7
    found["neg_logprob"]["deactivated"][2] = [None] * 7
    del found["perplexity"], found["units"]
    text = shown(spoken(tmp_path / "run", found=found)).text
    assert "–" in text and "+0.145" in text and "What is missing" not in text


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_inside_a_file_stops_the_page(tmp_path, data):
    run = Run.load(tmp_path / "run") if (tmp_path / "run").exists() else whole(tmp_path / "run")
    small = {"similarity": {**analyses()["similarity"], "pairs": {"en-zh": [0.5] * 7}}}
    files = {
        "matrix.json": matrix(),
        "exhibits.json": list(map(to_json, exhibits(small))),
        "answers.jsonl": answers()[0],
        "steered/ja-set.json": {**steered("ja", None, 1), "choice": choice(2.0, 8.0), "breaks": ["same answer"]},
        "comparison.json": {**COMPARISON, "other_metrics": {"open_questions": QUESTIONS}},
        "plan.json": json.loads((run.folder / "plan.json").read_text()),
    }
    name = data.draw(st.sampled_from(list(files)))
    path = run.folder / name
    before = path.read_bytes()
    damaged = put(files[name], data.draw(st.sampled_from(list(paths(files[name])))), data.draw(JUNK))
    path.write_text(json.dumps(damaged) + "\n")
    try:
        assert "ml7 in " in shown(run).text
    finally:
        path.write_bytes(before)


def test_the_strengths_that_were_tried_are_a_table_with_the_chosen_one_in_it(tmp_path):
    held = {**steered(number=24), "strength": 2.0, "choice": choice(2.0, 8.0)}
    seen = shown(spoken(tmp_path / "run", steerings=[("fr-from-en-set-strength-2", held)]))
    for expected in (
        "strength 2 was chosen, on 5 prompts; what is reported is of the 24 others.",
        "by language accuracy alone, strength 8 would have been chosen (75.0 %); it breaks guards: repetition is high.",
        "Strengths that were tried on 5 prompts: to fr, away from en (set, strength 2)",
        "guards broken",
    ):
        assert expected in seen.text, expected


def test_text_of_others_is_text_wherever_it_stands(tmp_path):
    names = (HOSTILE, *LANGUAGES[1:])
    found = {**matrix(), "languages": list(names), "selector": HOSTILE, "kind": HOSTILE}
    found["diagonal"] = None
    held = copy.deepcopy(analyses())
    held["layers"]["units"] = {HOSTILE: held["layers"]["units"]["en"]}
    held["overlap"]["languages"][0] = HOSTILE
    held["similarity"]["pairs"] = {HOSTILE: held["similarity"]["mean"]}
    rows = [
        {"id": HOSTILE, "language": HOSTILE, "deactivated": off, "prompt": HOSTILE, "answer": HOSTILE, "identified": HOSTILE, "quality": 2}
        for off in (None, HOSTILE, "random", "fr")
    ]
    result = {**steered(), "to": HOSTILE, "from": HOSTILE, "mode": HOSTILE, "breaks": [HOSTILE], "choice": choice(2.0, 8.0)}
    result["choice"]["tried"][1]["breaks"] = [HOSTILE]
    result["answers"] = [{"prompt": HOSTILE, "before": HOSTILE, "after": HOSTILE, "identified": {"before": HOSTILE, "after": HOSTILE}}]
    told = {**COMPARISON, "other_metrics": {"open_questions": {**QUESTIONS, "n": {HOSTILE: 3}}}}
    run = spoken(tmp_path / "run", found=found, comparison=told, analysed=held, asked=rows, steerings=[("x", result)])
    text = page(run)
    seen = Page(text)
    assert seen.all("script") == [] and "<script>alert(1)</script>" in seen.text and "{{ 7*7 }}" in seen.text
    assert {tag for tag, _ in seen.elements} <= {tag for tag, _ in shown(whole(tmp_path / "clean")).elements}
    assert not any(name.startswith("on") or name == "style" for _, attributes in seen.elements for name in attributes)
    assert all(attributes["lang"] in ("en", "fr") for _, attributes in seen.elements if "lang" in attributes)


@pytest.mark.slow
def test_a_deep_model_with_two_stacks_and_many_languages(tmp_path):
    names = [f"l{number}" for number in range(30)]
    held = analyses()
    sites = [f"{stack}.{layer}.act" for stack in ("encoder", "decoder") for layer in range(60)]
    held["layers"] = {"sites": sites, "width": [4096] * 120, "units": {name: [place % 7 for place in range(120)] for name in names}}
    table = [[0.1 if row == column else 0.01 for column in range(30)] for row in range(30)]
    many = {"languages": names, "units": [9] * 30, "neg_logprob": {"base": [3.0] * 30, "change": table}, "tokens": [7] * 30}
    found = shown(spoken(tmp_path / "run", found=many, analysed=held))
    assert "ml7 in 30 languages" in found.text and "for all 30 languages" in found.text
    assert "Units by layer and language, encoder" in found.text and "Units by layer and language, decoder" in found.text


def test_a_page_of_languages_loads_no_torch():
    code = "import sys, resect.report.page.html, resect.report.terminal.summary; print('torch' in sys.modules, 'lingua' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False", "False"]
