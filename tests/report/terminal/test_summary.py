"""The summary on a terminal: it says what the numbers say, whatever they are; text of others is never markup."""

import copy
import io
from pathlib import Path

import pytest

from resect.core.address import Neurons
from resect.report.readers.plan_summary import PlanSummary
from resect.report.readers.shell_commands import near
from resect.report.terminal.plan_view import cut_neurons
from resect.report.terminal.summary import console, show, summary
from resect.report.text.next_steps import next_commands
from resect.report.text.printable import plain, shortened
from resect.report.text.verdict import has_helped, verdict
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run
from resect.runs.schemas.comparison import ComparisonFile
from resect.runs.schemas.plan import PlanFile

RECIPE = Recipe(method="crispr", model="models/tiny", task="bbq/age")
PLAN = {
    "schema": 1,
    "model": None,
    "edits": [{"kind": "scale", "factor": 0.0, "neurons": {"decoder.3.up": [5, 17], "encoder.0.q": [1]}}],
}


def measured(mean, low, high):
    return {
        "mean": mean,
        "interval": [low, high],
        "std_over_instructions": 0.01,
        "by_tag": {"ambig": mean - 0.1, "clear": mean + 0.1},
    }


COMPARISON = {
    "schema": 1,
    "task": "bbq/age",
    "metric": "accuracy",
    "n_examples": 1200,
    "n_instructions": 10,
    "n_groups": 300,
    "base": measured(0.607, 0.58, 0.63),
    "edited": measured(0.816, 0.79, 0.84),
    "control": measured(0.61, 0.58, 0.64),
    "baselines": {"cc": None, "dc": None},
    "difference": {
        "mean": 0.209,
        "interval": [0.18, 0.24],
        "p_value": 0.0001,
        "test": "sign flip over groups",
        "fixed": 3000,
        "broken": 492,
        "by_tag": {},
    },
    "side_effects": {"perplexity": {"base": 12.345, "edited": 12.5}},
    "other_metrics": {},
    "bias_scores": {
        "base": {"ambig": 0.4, "disambig": None, "n_ambig": 588, "interval_ambig": [0.35, 0.45], "n_without_target": 12, "n_items": 1200},
        "edited": {"ambig": 0.05, "disambig": 0.1, "n_ambig": 60, "interval_ambig": [0.01, 0.09], "n_without_target": 12, "n_items": 1200},
    },
}
EXAMPLES = [
    {
        "id": f"{number}",
        "instruction": "Choose one.",
        "prompt": f"Choose one. Context {number}: [bold]an old[/bold] man\x1b[31m and a boy. " + "word " * 200 + "Who?",
        "gold": "[red]nobody",
        "base": "the man" if number else "[red]nobody",
        "edited": "[red]nobody" if number else "the boy",
        "tags": ["ambig"],
    }
    for number in range(5)
]


THREE = PlanSummary(Neurons({"decoder.3.up": [5, 17], "encoder.0.q": [1]}))


class Plain:
    def __init__(self, text):
        self.text = text

    def save(self, path):
        path.write_text(self.text)


def folder(tmp_path, comparison=COMPARISON, plan=PLAN, examples=EXAMPLES, recipe=RECIPE):
    import json

    with Run.open(tmp_path / "run", recipe) as run:
        run.keep_comparison(comparison)
        run.keep_plan(Plain(json.dumps(plan)))
        run.keep_examples(examples)
    return Run.load(tmp_path / "run")


def shown(run, width=100):
    out = io.StringIO()
    show(summary(run), console(file=out, width=width))
    return out.getvalue()


def with_change(mean, low, high, control=0.61):
    changed = copy.deepcopy(COMPARISON)
    changed["difference"] |= {"mean": mean, "interval": [low, high]}
    changed["edited"]["mean"] = changed["base"]["mean"] + mean
    changed["control"]["mean"] = control
    return changed


def test_a_summary_says_what_changed_and_what_to_type(tmp_path):
    text = shown(folder(tmp_path))
    for expected in (
        *("60.7 %", "81.6 %", "61.0 %", "18.0", "24.0", "p < 0.001", "3,000 answers fixed, 492 broken"),
        *("before", "after", "control", "ambig", "clear", "perplexity", "12.35", "12.5", "+0.400", "+0.050"),
        *("+0.350 to +0.450", "588 answers", "+0.010 to +0.090", "60 answers", "12 of 1,200 items have no known target and are left out"),
        *("decoder.3", "encoder.0", "Cutting 3 neurons helps", "resect try models/tiny --plan", "plan.json"),
        *("fixed: the man → [red]nobody", "broken: [red]nobody → the boy", "1,200 examples"),
    ):
        assert expected in text, expected
    assert text.count("right:") == 3


def test_notes_of_the_work_are_told(tmp_path):
    run = folder(tmp_path)
    run.note(notes=["Only 6 examples were there."])
    assert "Only 6 examples were there." in shown(run)


def test_each_trial_is_told(tmp_path):
    trials = {"edited": [0.8, 0.7], "std": 0.05, "sizes": [3, 4]}
    text = shown(folder(tmp_path, COMPARISON | {"other_metrics": {"trials": trials}}))
    assert "trials: 80.0 %, 70.0 % (spread 5.0 %)" in text


def test_text_from_data_is_neither_markup_nor_escape_codes(tmp_path):
    text = shown(folder(tmp_path))
    assert "\x1b" not in text
    assert "[bold]an old[/bold]" in text
    assert plain("a\x1b]0;title\x07b\r\x9b2J") == "a ]0;title b  2J"


@pytest.mark.parametrize("width", [40, 60, 200])
def test_any_width_will_do(tmp_path, width):
    text = shown(folder(tmp_path), width)
    commands = [line for line in text.splitlines() if "resect try" in line or "resect export" in line]
    assert len(commands) == 2  # a command is never broken over lines: it is there to be copied
    assert all(len(line) <= width for line in text.splitlines() if "resect " not in line and "Everything is in" not in line)


def test_a_cut_that_found_nothing_says_so_and_what_to_try(tmp_path):
    nothing = with_change(0.0, 0.0, 0.0) | {"control": None}
    text = shown(folder(tmp_path, nothing, {"schema": 1, "model": None, "edits": []}, []))
    says = "No reliable change: nothing was changed, since on the select split no candidate was better than no edit."
    assert says in " ".join(text.split())
    assert "--samples 60" in text
    assert "--sites '*.{gate,up,down}'" in text
    assert text.count("--output") == 2
    assert "resect try" not in text


@pytest.mark.parametrize(
    ("change", "says", "good"),
    [
        ((0.2, 0.1, 0.3), "helps", True),
        ((0.2, 0.1, 0.3, 0.79), "no reliable change", False),
        ((0.02, -0.01, 0.05), "no reliable change", False),
        ((0.02, 0.0, 0.05), "no reliable change", False),
        ((-0.2, -0.3, -0.1), "damages the model", False),
    ],
)
def test_the_verdict_follows_the_interval_and_the_control(change, says, good):
    comparison = ComparisonFile.model_validate(with_change(*change))
    assert says in verdict(comparison, THREE)
    assert has_helped(comparison, THREE) == good


def test_less_loss_helps_and_more_does_harm():
    less, more = (ComparisonFile.model_validate({**with_change(mean, mean - 0.1, mean + 0.1), "metric": "logloss"}) for mean in (-0.2, 0.2))
    assert "helps: logloss 0.607 → 0.407: -0.200" in verdict(less, THREE) and has_helped(less, THREE)
    assert "damages the model" in verdict(more, THREE) and not has_helped(more, THREE)


def test_too_few_groups_for_an_interval_are_told(tmp_path):
    assert "fewer than six groups" not in shown(folder(tmp_path / "many"))
    assert "fewer than six groups" in shown(folder(tmp_path / "few", COMPARISON | {"n_groups": 5}))


def test_the_commands_that_are_proposed_can_be_typed(tmp_path, monkeypatch):
    import shlex

    from resect.cli.parsing import given_settings, parse

    monkeypatch.chdir(tmp_path)
    (tmp_path / "my model").mkdir()
    recipe = RECIPE.with_settings(
        model="my model",
        data=["a b", "bbq=c"],
        sites=["decoder.{0-2}.*"],
        confusion_weight=False,
        seed=4,
        max_fraction=0.01,
    ).anchored()
    for _, command in next_commands(recipe, tmp_path / "runs" / "x", ComparisonFile.model_validate(with_change(0, 0, 0)), PlanSummary()):
        words = shlex.split(command)
        assert Path(words[0]).name == "resect"
        typed = Recipe.from_settings({"method": words[1], **given_settings(parse(words[1:]))})
        assert len(recipe.differs(typed)) == 1
        assert typed.output is not None and typed.output.startswith("runs/x-")


def test_neurons_are_counted_by_layer_and_role():
    summaries = [
        PlanSummary.of(PlanFile.model_validate(plan))
        for plan in (PLAN, {"edits": []}, {"edits": [{"kind": "reduce_rank", "site": "decoder.3.up", "rho": 0.01, "keep": "largest"}]})
    ]
    assert [plan.total for plan in summaries] == [3, 0, 1] and cut_neurons(summaries[1]) is None
    out = io.StringIO()
    show(cut_neurons(summaries[0]), console(file=out, width=80))
    header, *rows = out.getvalue().split("\n")
    assert header.split() == ["q", "up"]
    assert [row.split() for row in rows[:2]] == [["encoder.0", "1", "·"], ["decoder.3", "·", "2"]]


def test_a_long_prompt_keeps_its_beginning_and_its_end():
    text = shortened("Do it. " + "begin " + "x " * 1000 + "end?", "Do it.")
    assert text.startswith("begin") and text.endswith("end?") and " … " in text
    assert len(text) < 400


def test_a_path_is_shown_from_where_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert near(str(tmp_path / "a" / "b")) == "a/b"
    assert near(f"bbq={tmp_path}/a") == "bbq=a"
    assert near("google/flan-t5-base") == "google/flan-t5-base"
