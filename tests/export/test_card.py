"""The card says what was edited, what changed and what that does not show; texts from data and models are escaped."""

import copy
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from report.run_folder import BIAS_SCORES
from resect.edits.plan import Plan
from resect.export.card import Results, card, command, front_matter
from resect.export.markdown import escaped, fenced, without_folders
from resect.runs.recipe import Recipe
from resect.runs.schemas.comparison import ComparisonFile
from resect.runs.schemas.plan import PlanFile

PLAN = {
    "schema": 1,
    "model": None,
    "edits": [
        {"kind": "scale", "factor": 0.0, "neurons": {"decoder.3.up": [5, 17], "encoder.0.q": [1], "decoder.3.post": [2, 3, 4]}},
        {"kind": "scale", "factor": 0.5, "neurons": {"decoder.0.up": [5]}},
        {"kind": "clamp", "values": 0.0, "neurons": {"decoder.0.act": [5, 6]}},
        {"kind": "reduce_rank", "site": "decoder.3.up", "rho": 0.01, "keep": "largest"},
        {"kind": "prune_weights", "site": "decoder.2.o", "fraction": 0.9, "select": "smallest"},
    ],
}
RECIPE = Recipe(
    model="/home/user/models/tiny",
    task="bbq/age",
    data=("bbq/age=/home/user/data/Age.jsonl",),
    locate_on=("ambig",),
    generation=False,
)
ENVIRONMENT = {
    "versions": {"resect": "0.1.0", "torch": "2.13", "numpy": "2"},
    "dtype": "float32",
    "device": "cpu",
    "platform": "elsewhere",
}


def measured(mean, low, high):
    tags = {"ambig": mean - 0.1, "clear": mean + 0.1}
    return {"mean": mean, "interval": [low, high], "std_over_instructions": 0.0123, "by_tag": tags}


def change(mean, low, high):
    return {"mean": mean, "interval": [low, high], "p_value": 0.0001, "test": "sign flip", "fixed": 1300, "broken": 4, "by_tag": {}}


COMPARISON = {
    "schema": 1,
    "task": "bbq/age",
    "metric": "accuracy",
    "n_examples": 1200,
    "n_instructions": 2,
    "n_groups": 300,
    "base": measured(0.607, 0.58, 0.63),
    "edited": measured(0.816, 0.79, 0.84),
    "control": measured(0.611, 0.584, 0.64),
    "baselines": {"cc": measured(0.571, 0.54, 0.6), "dc": None},
    "difference": change(0.209, 0.18, 0.24),
    "side_effects": {
        "perplexity": {"base": 12.345, "edited": 12.5, "kind": "pseudo-perplexity", "text": "/home/user/own.txt", "tokens": 15012},
        "glue/mrpc": {"base": 0.5012, "edited": 0.4987, "difference": change(-0.0025, -0.01, 0.005)},
    },
    "other_metrics": {
        "generation": {"base": measured(0.593, 0.57, 0.62), "edited": measured(0.784, 0.76, 0.81), "difference": change(0.191, 0.17, 0.22)},
        "trials": {"edited": [0.816, 0.8], "std": 0.008, "sizes": [8, 9]},
    },
    "bias_scores": BIAS_SCORES,
}


def written(plan=PLAN, comparison=COMPARISON, **settings):
    defaults = {"base_model": "someone/tiny", "recipe": RECIPE, "environment": ENVIRONMENT}
    return card(PlanFile.model_validate(plan), results=Results(ComparisonFile.model_validate(comparison)), **(defaults | settings))


def card_of(plan, base_model="tiny"):
    return card(PlanFile.model_validate(plan), base_model=base_model)


def head(text):
    return yaml.safe_load(text.split("---\n")[1])


def rendered(text):
    return MarkdownIt("commonmark").enable("table").render(text)


def seen(text):
    """What a reader sees of Markdown, on one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", rendered(text)).split())


def test_it_says_what_was_edited():
    text = seen(written())
    assert "6 neurons at 3 sites removed (multiplied by 0)" in text
    assert "1 neuron at 1 site multiplied by 0.5" in text
    assert "decoder.3.up reduced to its largest singular components, 0.01 of its rank" in text
    assert "the smallest 90 % of the weights of decoder.2.o set to 0" in text
    assert "layer q up act post encoder 0 1 · · · decoder 0 · 1 2 · decoder 3 · 2 · 3" in text


def test_it_says_what_changed_with_intervals_control_and_baselines():
    text = seen(written())
    assert "1,200 examples, 300 groups, 2 instructions" in text
    assert "before 60.7 % 58.0 to 63.0 % 1.2 %" in text
    assert "after 81.6 % 79.0 to 84.0 %" in text
    assert "random edits of the same kind and size (mean of three) 61.1 % 58.4 to 64.0 %" in text
    assert "(CC) 57.1 %" in text
    assert "(DC)" not in text  # not measured
    assert "Change: +20.9 points (95 % interval +18.0 to +24.0; p &lt; 0.001, sign flip): improved. 1,300 answers" in text
    assert "ambig 50.7 % 71.6 % +20.9 51.1 %" in text


def test_it_says_the_side_effects_and_other_measures():
    text = seen(written())
    assert "pseudo-perplexity of own.txt, 15,012 tokens: 12.35 → 12.5 (less is better)" in text
    assert "glue/mrpc: 50.1 % → 49.9 % (change -0.2 points, 95 % interval -1.0 to +0.5)" in text
    assert "generation: 59.3 % → 78.4 % (change +19.1 points" in text
    assert "2 trials with other samples: 81.6 %, 80.0 % after" in text
    before, after = "+0.481 (95 % interval +0.400 to +0.550, 588 answers)", "+0.052 (95 % interval +0.010 to +0.090, 60 answers)"
    assert f"ambiguous questions: {before} → {after}" in text
    assert "12 of 1,200 items have no known target and are left out." in text
    assert "clear questions" not in text


def test_bias_scores_of_an_older_run_have_no_interval_and_of_no_item_with_a_target_no_score():
    text = seen(written(comparison=COMPARISON | {"bias_scores": {"base": {"ambig": 0.4}, "edited": {"ambig": 0.0, "n_ambig": 0}}}))
    assert "ambiguous questions: +0.400 → 0.000 (no answer names a person)" in text
    assert "target" not in text
    nothing = {"ambig": None, "disambig": None, "n_ambig": 0, "n_disambig": 0, "n_without_target": 80, "n_items": 80}
    text = seen(written(comparison=COMPARISON | {"bias_scores": {"base": nothing, "edited": nothing}}))
    assert "80 of 80 items have no known target and are left out." in text
    assert "ambiguous questions" not in text


def test_it_says_what_a_search_over_matrices_adds():
    others = {
        "generation": {"base": measured(0.5, 0.4, 0.6), "edited": measured(0.6, 0.5, 0.7), "unmatched": {"base": 0.2, "edited": 0.1}},
        "select": {"metric": "logloss", "base": 1.25, "chosen": 1.125, "n_examples": 40, "n_instructions": 1},
        "paraphrases": {"n_facts": 1200, "per_fact": 3.0, "base": 0.4, "edited": 0.5, "difference": change(0.1, 0.05, 0.15)},
        "composition": [
            {"site": None, "rho": None, "rank": None, "select": 0.5, "test": 0.4},
            {"site": "decoder.3.up", "rho": 0.01, "rank": 10, "select": 0.6, "test": 0.45},
        ],
    }
    text = seen(written(comparison=COMPARISON | {"other_metrics": others}))
    assert "texts that match none of the choices: 20.0 % → 10.0 %" in text
    assert "logloss on the examples by which the plan was chosen: 1.25 → 1.125" in text
    assert "in all wordings (1,200 facts, 3 wordings each): 40.0 % → 50.0 % (change +10.0 points" in text
    assert "none (base) 50.0 % 40.0 % decoder.3.up 0.01 10 60.0 % 45.0 %" in text


def test_it_says_how_factors_are_loaded_and_what_they_saved():
    matrix = {"site": "decoder.3.up", "module": "model.layers.3.mlp.up_proj", "shape": [11008, 4096], "rank": 40}
    sizes = {"matrices": {"before": 90_177_536, "after": 1_208_320}, "weights": {"before": 13_476_839_424, "after": 13_387_870_208}}
    factored = {"matrices": [matrix], "dense": ["decoder.3.down stays dense: *so*"], "bytes": sizes}
    markdown = written(factored=factored, base_front_matter={"library_name": "transformers"})
    text = seen(markdown)
    assert head(markdown)["library_name"] == "resect"
    assert "plain transformers cannot load it" in text
    assert "resect.load_model(" in text
    assert "these matrices take 1.21 MB instead of 90.2 MB, and all weights 13.4 GB instead of 13.5 GB" in text
    assert "decoder.3.up 11,008 × 4,096 40" in text
    assert "decoder.3.down stays dense" in text
    assert "loaded as the base is" in seen(written())
    assert "loaded as the base is" not in text


def test_the_authors_approximation_is_named():
    edit = {"kind": "reduce_rank", "site": "decoder.3.up", "rho": 0.01, "variant": "official", "seed": 3}
    assert "0.01 of its rank, by the approximation of the authors' code" in seen(card_of({"edits": [edit]}))


def test_it_says_what_that_does_not_show():
    text = seen(written())
    assert "does not mean that the model is unbiased" in text
    assert "functions of the edited neurons" in text and "functions of the components that were removed" in text
    neurons, matrices = (seen(written(plan=PLAN | {"edits": edits})) for edits in (PLAN["edits"][:3], PLAN["edits"][3:]))
    assert "edited neurons" in neurons and "components that were removed" not in neurons
    assert "edited neurons" not in matrices and "components that were removed" in matrices


def test_it_says_how_to_find_it_again_without_paths():
    text = written()
    line = next(line for line in text.splitlines() if line.startswith("resect crispr tiny bbq/age "))
    assert all(flags in line for flags in ("--data bbq/age=Age.jsonl", "--locate-on ambig", "--no-generation"))
    assert "resect 0.1.0, torch 2.13, dtype float32, device cpu" in text
    assert "/home" not in text
    assert "elsewhere" not in text


def test_a_plan_without_a_run_has_no_numbers_and_says_so():
    text = seen(card_of(PLAN))
    assert "Nothing was measured with this plan" in text
    assert "How the plan was found is not recorded" in text
    assert "None" not in text


@pytest.mark.parametrize("plan", [Plan().to_json(), Plan.from_json({"edits": [{"kind": "scale", "factor": 0.0, "neurons": {}}]}).to_json()])
def test_an_empty_plan(plan):
    assert "Nothing: the plan is empty" in card_of(plan)


@pytest.mark.parametrize(
    ("low", "high", "metric", "verdict"),
    [
        (0.1, 0.2, "accuracy", "improved"),
        (-0.2, -0.1, "accuracy", "worsened"),
        (-0.1, 0.2, "accuracy", "no clear change"),
        (-0.2, -0.1, "logloss", "improved"),
        (0.1, 0.2, "logloss", "worsened"),
    ],
)
def test_the_verdict_follows_the_interval(low, high, metric, verdict):
    answers = "golden answers" if metric == "logloss" else "answers"
    comparison = COMPARISON | {"metric": metric, "difference": change((low + high) / 2, low, high)}
    assert f"): {verdict}. 1,300 {answers} " in seen(written(comparison=comparison))


def test_too_few_groups_are_named_and_one_group_has_no_interval():
    assert "told from chance" not in written()
    assert "With fewer than six groups no change can be told from chance" in written(comparison=COMPARISON | {"n_groups": 5})
    text = seen(written(comparison=COMPARISON | {"n_groups": 1, "side_effects": {}, "other_metrics": {}}))
    assert "With one group there is no interval" in text
    assert "79.0 to 84.0" not in text and "+18.0 to +24.0" not in text and "(95 % interval –;" in text


ANSWERS = {
    "chance": 1 / 3,
    "constant": {"label": "the unknown option", "score": 0.5},
    "positions": {"right": [0.4, 0.3, 0.3], "base": [0.6, 0.2, 0.2], "edited": [0.35, 0.35, 0.3]},
    "most_frequent": {
        "base": {"label": "“yes*”", "share": 0.5, "wrong_share": 0.25},
        "edited": {"label": "the first option", "share": 0.6, "wrong_share": 0.4},
        "is_certain": True,
    },
    "balanced": {"base": 0.58, "edited": 0.8},
}


def test_it_says_what_the_numbers_are_read_against():
    markdown = written(comparison=COMPARISON | {"answers": ANSWERS})
    text = seen(markdown)
    assert "chance 33.3 % – –" in text and "always the unknown option 50.0 % – –" in text
    assert "Balanced over tags, each counted alike: 58.0 % → 80.0 %." in text
    assert "right answers 40.0 %, 30.0 %, 30.0 %; before 60.0 %, 20.0 %, 20.0 %; after 35.0 %, 35.0 %, 30.0 %." in text
    assert "most often given where it is wrong: “yes*” (25.0 % of the questions" in text and "The rise is beyond chance" in text
    assert "yes\\*" in markdown
    losses = COMPARISON | {"metric": "logloss", "answers": ANSWERS | {"balanced": {}}}
    assert "chance 33.3" not in seen(written(comparison=losses))  # a share is no loss


def test_it_says_what_guards_changed():
    refused = {"name": "a cut of 8 neurons", "score": 0.76, "broken": [{"guard": "clear", "sentence": "clear 80.0 % → 50.0 %"}]}
    guards = {"limits": {"tags": 0.03}, "refused": refused, "chosen": None}
    text = seen(written(comparison=COMPARISON | {"other_metrics": {"guards": guards}}))
    assert "a candidate cannot win where a tag loses more than 3 points." in text
    assert "a cut of 8 neurons (76.0 %). It breaks: clear 80.0 % → 50.0 %. Chosen instead: nothing." in " ".join(text.split())
    assert "How it was chosen" not in seen(written())


def test_changes_by_tag_have_intervals():
    paired = COMPARISON["difference"] | {"by_tag": {"ambig": 0.209}, "interval_by_tag": {"ambig": [0.1, 0.3]}}
    text = seen(written(comparison=COMPARISON | {"difference": paired}))
    assert "before after change 95 % interval random edits ambig 50.7 % 71.6 % +20.9 +10.0 to +30.0 51.1 %" in text
    assert "clear 70.7 % 91.6 % +20.9 – 71.1 %" in text


def test_what_was_not_measured_is_left_out():
    bare = {name: COMPARISON[name] for name in ("schema", "task", "metric", "n_examples", "n_instructions", "n_groups")}
    bare |= {"base": measured(0.6, 0.5, 0.7) | {"by_tag": {}}, "edited": None, "control": None, "difference": None}
    bare |= {"baselines": {"cc": None, "dc": None}, "side_effects": {"perplexity": None}, "other_metrics": {}, "bias_scores": None}
    text = seen(written(comparison=bare))
    assert "before 60.0 %" in text
    assert "Side effects were not measured." in text
    assert not any(word in text for word in ("after 6", "Change:", "bias scores", "None"))


# -- front matter --------------------------------------------------------------------------------------------------------


def test_the_front_matter_keeps_licence_languages_and_task_of_the_base_and_nothing_else():
    base = {
        "license": "other",
        "license_name": "gemma",
        "license_link": "LICENSE",
        "language": ["en", "de"],
        "pipeline_tag": "text-generation",
        "library_name": "peft",
    }
    base |= {"tags": ["chat"], "model-index": [{"results": []}], "extra_gated_prompt": "Agree?"}
    text = written(base_front_matter=base)
    kept = {name: base[name] for name in ("library_name", "license", "license_name", "license_link", "language", "pipeline_tag")}
    assert head(text) == {"base_model": "someone/tiny", "tags": ["resect", "model-surgery"]} | kept
    assert head(written())["library_name"] == "transformers"
    assert "licence applies to this one too: gemma." in seen(text)


def test_a_base_that_states_no_licence_gives_no_licence_line():
    text = written()
    assert "license" not in head(text)
    assert "licence applies to this one too. It is not stated" in seen(text)


@pytest.mark.parametrize("value", ["no", "yes: [1", "# none", "'\" --- license: mit", "1e3", "ü"])
def test_values_are_quoted_where_yaml_would_read_something_else(value):
    text = written(base_front_matter={"license": value, "language": [value]}, base_model="org/1e3")
    assert (head(text)["license"], head(text)["language"], head(text)["base_model"]) == (value, [value], "org/1e3")


@pytest.mark.parametrize("value", [False, 3, None, {"a": 1}, [], [1], "mit\n---\n# Not the base's card", ["a\x1b"]])
def test_values_that_are_no_line_of_text_are_left_out(value):
    assert "license" not in head(written(base_front_matter={"license": value}))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("---\nlicense: mit\n---\n# A model\n", {"license": "mit"}),
        ("---\r\nlicense: mit\r\n---\r\ntext", {"license": "mit"}),
        ("# A model\n---\nlicense: mit\n---\n", {}),
        ("---\nlicense: [mit\n---\n", {}),
        ("---\n- a\n---\n", {}),
        ("", {}),
    ],
)
def test_front_matter_is_read_where_there_is_any(tmp_path, content, found):
    (tmp_path / "README.md").write_bytes(content.encode())
    assert front_matter(tmp_path / "README.md") == found


def test_a_readme_that_is_missing_or_no_text_has_no_front_matter(tmp_path):
    assert front_matter(tmp_path / "README.md") == {}
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert front_matter(tmp_path / "README.md") == {}


# -- texts from data and models ---------------------------------------------------------------------------------------------

NASTY = "<script>alert(1)</script> [x](javascript:1) **b** | `c` \n\n# d\n---\n![y](http://z) &lt; $x$ ~~e~~ \\"


def test_texts_from_data_and_models_stay_texts():
    comparison = copy.deepcopy(COMPARISON)
    comparison["task"] = comparison["difference"]["test"] = NASTY
    comparison["base"]["by_tag"] = {NASTY: 0.5}
    comparison["side_effects"] = {
        NASTY: {"base": 0.1, "edited": None},
        "perplexity": {"base": 1.0, "kind": NASTY, "text": NASTY, "tokens": 3},
    }
    comparison["other_metrics"] = {NASTY: {"base": measured(0.5, 0.4, 0.6)}}
    text = written(
        comparison=comparison,
        base_model=NASTY,
        base_front_matter={"license": NASTY.replace("\n", " ")},
        environment={"versions": {"torch": NASTY}, "device": NASTY},
        recipe=RECIPE.with_settings(revision=NASTY),
    )
    body = text.split("---\n", 2)[2]
    page = rendered(body)
    assert "<script" not in page
    assert "<img" not in page
    assert re.findall(r'href="([^"]*)"', page) == ["plan.json"]
    assert rendered(written().split("---\n", 2)[2]).count("<h") == page.count("<h")
    assert head(text)["license"] == NASTY.replace("\n", " ")


@given(st.text())
def test_an_escaped_text_is_seen_as_it_is(text):
    words = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    # In a table's cell, as most texts from data are: what opens a block (a dash, a number) cannot do so there.
    page = rendered(f"| a |\n| --- |\n| x{escaped(text)}x |\n")
    cell = re.search(r"<td>x(.*)x</td>", page).group(1)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        cell = cell.replace(entity, character)
    assert cell == words


@given(st.text())
def test_code_stays_one_block(text):
    page = rendered(fenced(text))
    assert page.startswith("<pre><code>")
    assert page.count("<pre>") == 1
    assert page.endswith("</code></pre>\n")


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("google/flan-t5-base", "google/flan-t5-base"),
        ("bbq/age", "bbq/age"),
        ("./models/mine", "mine"),
        ("C:\\models\\mine", "mine"),
        ("a/b/c/", "c"),
        ("tasks/mine.toml", "mine.toml"),
        ("mine", "mine"),
    ],
)
def test_names_lose_their_folders(name, short):
    assert without_folders(name) == short


def test_the_command_of_a_recipe_is_one_that_a_shell_reads():
    text = command(RECIPE.with_settings(sites=("*.{q,k}", "decoder.*"), n=12, trust_remote_code=True))
    assert "--sites '*.{q,k}' 'decoder.*'" in text
    assert "--n 12" in text
    assert "--trust-remote-code" in text


def test_the_card_says_how_prompts_were_read():
    assert "How prompts and texts were read" not in card(PlanFile.model_validate(PLAN), base_model="tiny", recipe=RECIPE)
    recipe = RECIPE.with_settings(chat_template=True, chat_kwargs=("enable_thinking=false",), system="Be brief.")
    text = card(PlanFile.model_validate(PLAN), base_model="tiny", recipe=recipe)
    assert "--chat-template --chat-kwargs enable_thinking=false --system 'Be brief.'" in text
    assert "How prompts and texts were read: Wrapped in the tokenizer's chat template, with enable\\_thinking = false and" in text
