"""The command line: what it refuses, how it says so, with what code it ends. What it computes is tested elsewhere."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from resect.cli.arguments import build, normalised, parse, settings_of
from resect.cli.commands import commands
from resect.cli.main import main
from resect.runs.methods import method_names
from resect.runs.recipe import Recipe, declared_settings

T5 = {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "d_model": 768,
    "d_ff": 2048,
    "d_kv": 64,
    "num_heads": 12,
    "num_layers": 12,
    "num_decoder_layers": 12,
    "feed_forward_proj": "gated-gelu",
    "vocab_size": 32128,
}


def resect(*arguments, **settings):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "resect", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **settings)


@pytest.fixture
def flan_t5_base(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(T5))
    return tmp_path


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: resect {command}")


def test_without_a_command_there_is_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 0
    assert "transfer" in capsys.readouterr().out


def test_help_is_quick():
    resect("--help")
    start = time.monotonic()
    done = resect("crispr", "--help")
    assert done.returncode == 0
    assert time.monotonic() - start < 1.5  # a second, and what a busy machine adds


def test_every_flag_has_a_sentence():
    for name, command in build()[1].items():
        for action in command._actions:
            assert action.help, f"resect {name} {action.option_strings}"
            assert action.help.endswith((".", ")", "exit", "%(default)s)")) or action.dest == "help", action.help


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crisp"], "Unknown command 'crisp'. Did you mean 'crispr'?"),
        (["crispr", "model"], "TASK"),
        (["crispr", "m", "t", "--sample", "3"], "Did you mean --samples?"),
        (["crispr", "m", "t", "--samples", "few"], "'few'"),
        (["crispr", "m", "t", "--samples", "0"], "samples is 0; it must be at least 1"),
        (["crispr", "m", "t", "--choose", "silver"], "'silver'"),
        (["crispr", "m", "t", "--batch-size", "big"], "neither auto nor a whole number"),
        (["crispr", "m", "t", "--n", "3", "--fraction", "0.1"], "both"),
        (["crispr", "m", "t", "--engine", "rays"], "rays"),
        (["crispr", "", "t"], "model is missing"),
        (["list", "model"], "Did you mean 'methods'?"),
        (["crispr", "m", "t", "--metric", "accurate"], "Did you mean 'accuracy'?"),
        (["--quiet", "crisp"], "Did you mean 'crispr'?"),
        (["run", "nowhere.toml"], "nowhere.toml"),
        (["try", "m", "--plan", "nowhere.json", "--prompt", "x"], "nowhere.json"),
        (["try", "m", "--prompt", "x"], "--plan"),
        (["anatomy", "./nowhere"], "nowhere"),
        (["list"], "tasks|methods|families"),
        (["table", "nowhere"], "nowhere"),
        (["table", "a", "--picture", "a.png"], "must be an .svg file"),
        (["transfer", "m", "nowhere"], "--on"),
        (["transfer", "m", "nowhere", "--on", "bbq"], "nowhere"),
        (["transfer", "m", "nowhere", "--on", "bbq", "--picture", "a.png"], "must be an .svg file"),
        (["export", "nowhere", "--model", "m", "--to", "d"], "nowhere"),
        (["export", "plan.json", "--model", "m"], "--to"),
        (["export", "p", "--model", "m", "--to", "d", "--format", "gguf"], "'gguf'"),
        (["report", "nowhere"], "nowhere"),
        (["repeat", "nowhere"], "nowhere"),
        (["evaluate", "m", "bbq", "--calibrate", "ec"], "'ec'"),
        (["crispr", "m", "t", "--calibrate", "ec"], "it is cc, dc, both, or none alone"),
        (["crispr", "m", "t", "--calibrate", "cc", "none"], "it is cc, dc, both, or none alone"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("resect: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert list(tmp_path.iterdir()) == []


def test_both_spellings_of_a_flag_are_accepted():
    kebab = parse(["crispr", "m", "t", "--batch-size", "8", "--locate-on=ambig", "--max-fraction", "0.1"])
    snake = parse(["crispr", "m", "t", "--batch_size", "8", "--locate_on=ambig", "--max_fraction", "0.1"])
    assert settings_of(kebab) == settings_of(snake)
    assert normalised(["--data=a_b", "--", "--x_y"]) == ["--data=a_b", "--", "--x_y"]


def test_flags_add_up_and_take_several_values():
    options = parse(
        [
            "crispr",
            "m",
            "t",
            "--sites",
            "a",
            "b",
            "--sites",
            "c",
            "--locate-on",
            "x,y",
            "z",
            "--data",
            "d",
            "--data",
            "t=e",
        ]
    )
    given = settings_of(options)
    assert given["sites"] == ["a", "b", "c"]
    assert given["locate_on"] == ["x", "y", "z"]
    assert given["data"] == ["d", "t=e"]


def test_what_is_not_given_keeps_the_default_of_the_recipe():
    assert Recipe.from_settings(settings_of(parse(["crispr", "m", "t"]))) == Recipe(model="m", task="t")
    given = settings_of(parse(["crispr", "m", "t", "--no-confusion-weight", "--skill", "0", "--chat-template"]))
    recipe = Recipe.from_settings(given)
    assert (recipe.confusion_weight, recipe.skill, recipe.chat_template) == (False, 0.0, True)


@pytest.mark.parametrize("method", method_names())
def test_every_setting_of_a_recipe_has_a_flag(method):
    flags = {action.dest for action in build()[1][method]._actions}
    own = set(declared_settings(method))
    others = {key for name in method_names() for key in declared_settings(name)} - own
    assert own <= flags
    assert not others & flags


def test_anatomy_of_a_configuration_alone(flan_t5_base, capsys):
    assert main(["anatomy", str(flan_t5_base), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["family"] == "t5"
    assert found["kind"] == "encoder-decoder"
    assert found["neurons"]["total"] == sum(found["neurons"]["by_role"].values()) == 227_328
    assert found["sites"]["decoder.3.up"] == [2048, 768]
    assert found["parameters"] > 200_000_000
    assert main(["anatomy", str(flan_t5_base)]) == 0
    shown = capsys.readouterr().out
    assert "227,328" in shown and "t5 (encoder-decoder)" in shown


@pytest.mark.parametrize(("family", "message"), [("mamba", "'mamba' is not known"), ("lama", "'lama' is not known. Did you mean 'llama'?")])
def test_an_unknown_family_is_code_2_whether_transformers_knows_it_or_not(family, message, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    assert main(["anatomy", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("what", ["tasks", "methods", "families"])
def test_list(what, capsys):
    assert main(["list", what, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"tasks": "bbq/age", "methods": "crispr", "families": "llama"}[what] in found
    assert main(["list", what]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in found)


def test_a_reader_that_goes_away_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m resect list tasks | true",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.slow
def test_no_colour_where_there_is_no_terminal(flan_t5_base):
    done = resect("anatomy", flan_t5_base)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


def test_an_interrupt_is_code_130_and_says_what_is_kept(flan_t5_base):
    """The child waits at a pipe that it reads its recipe from, and is interrupted there."""
    recipe = flan_t5_base / "recipe.toml"
    os.mkfifo(recipe)
    with subprocess.Popen([sys.executable, "-m", "resect", "run", str(recipe)], stderr=subprocess.PIPE, text=True) as child:
        try:
            end = opened_by_a_reader(recipe)
            child.send_signal(signal.SIGINT)
            _, told = child.communicate(timeout=60)
            os.close(end)
        finally:
            child.kill()
    assert child.returncode == 130
    assert re.fullmatch(r"resect: interrupted\. .*kept.*\n", told)


def opened_by_a_reader(pipe, seconds=60):
    """The writing end of a named pipe, once somebody has opened it to read: however busy the machine is, he is there then."""
    for _ in range(20 * seconds):
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        time.sleep(0.05)
    raise TimeoutError(f"nobody reads {pipe}")


def test_the_modes_of_steering_are_those_that_there_are():
    from resect.cli.command_arguments import STEERING  # which loads no torch
    from resect.methods.lape.steering import MODES

    assert STEERING == MODES
