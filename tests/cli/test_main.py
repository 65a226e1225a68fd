"""The command line: what it refuses, the message, and the exit code. What the commands compute is tested elsewhere."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from resect.cli.command_arguments import STEERING_MODES
from resect.cli.commands import commands
from resect.cli.main import main
from resect.cli.parsing import build_parsers, given_settings, kebab_case, parse
from resect.methods.lape.steering import MODES
from resect.runs.methods import method_names, settings_class
from resect.runs.recipe import Recipe, declared_settings
from resect.runs.schemas.catalogue import NAMES

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
    """Runs the command in a process of its own."""
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


def test_without_a_command_the_help_is_printed(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 0
    assert "transfer" in capsys.readouterr().out


def test_help_is_quick() -> None:
    resect("--help")
    before = os.times()
    done = resect("crispr", "--help")
    after = os.times()
    assert done.returncode == 0
    # Processor time: wall time would measure what else the machine does.
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1.5


def test_every_argument_has_a_help_sentence():
    for name, command in build_parsers()[1].items():
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
        (["schema", "compare"], "Did you mean 'comparison'? Known: analyses, answers, comparison"),
        (["steer", "m", "--run", "nowhere", "--to", "fr", "--prompts", "p"], "nowhere"),
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
        (["crispr", "m", "t", "--calibrate", "ec"], "it is cc, dc, cc dc, or none"),
        (["crispr", "m", "t", "--calibrate", "cc", "none"], "it is cc, dc, cc dc, or none"),
    ],
)
def test_wrong_usage_gives_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("resect: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert list(tmp_path.iterdir()) == []


def test_flags_may_be_in_kebab_case_or_snake_case():
    kebab = parse(["crispr", "m", "t", "--batch-size", "8", "--locate-on=ambig", "--max-fraction", "0.1"])
    snake = parse(["crispr", "m", "t", "--batch_size", "8", "--locate_on=ambig", "--max_fraction", "0.1"])
    assert given_settings(kebab) == given_settings(snake)
    assert kebab_case(["--data=a_b", "--", "--x_y"]) == ["--data=a_b", "--", "--x_y"]


def test_repeated_flags_add_up_and_take_several_values():
    flags = "--sites a b --sites c --locate-on x,y z --data d --data t=e"
    given = given_settings(parse(["crispr", "m", "t", *flags.split()]))
    assert given["sites"] == ["a", "b", "c"]
    assert given["locate_on"] == ["x", "y", "z"]
    assert given["data"] == ["d", "t=e"]


def test_flags_that_are_not_given_leave_the_default_of_the_recipe():
    assert Recipe.from_settings(given_settings(parse(["crispr", "m", "t"]))) == Recipe(model="m", task="t")
    given = given_settings(parse(["crispr", "m", "t", "--no-confusion-weight", "--skill", "0", "--chat-template"]))
    recipe = Recipe.from_settings(given)
    assert (recipe.confusion_weight, recipe.skill, recipe.chat_template) == (False, 0.0, True)


@pytest.mark.parametrize("method", method_names())
def test_a_method_has_a_flag_for_each_of_its_settings_and_for_no_other(method):
    flags = {action.dest for action in build_parsers()[1][method]._actions}
    settings = set(declared_settings(method))
    other_settings = {key for name in method_names() for key in declared_settings(name)} - settings
    assert settings <= flags
    assert not other_settings & flags


def test_anatomy_needs_the_configuration_alone(flan_t5_base, capsys):
    assert main(["anatomy", str(flan_t5_base), "--json"]) == 0
    anatomy = json.loads(capsys.readouterr().out)
    assert anatomy["family"] == "t5"
    assert anatomy["kind"] == "encoder-decoder"
    assert anatomy["neurons"]["total"] == sum(anatomy["neurons"]["by_role"].values()) == 227_328
    assert anatomy["sites"]["decoder.3.up"] == [2048, 768]
    assert anatomy["parameters"] > 200_000_000
    assert main(["anatomy", str(flan_t5_base)]) == 0
    shown = capsys.readouterr().out
    assert "227,328" in shown and "t5 (encoder-decoder)" in shown


@pytest.mark.parametrize(("family", "message"), [("vit", "no class for text"), ("lama", "'lama' is not known. Did you mean 'llama'?")])
def test_an_unknown_family_is_refused_whether_transformers_knows_it_or_not(family, message, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    assert main(["anatomy", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_anatomy_verifies_on_a_tiny_model(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RESECT_CACHE", str(tmp_path / "cache"))
    sizes = {"model_type": "gemma", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 40, "head_dim": 8}
    heads = {"num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps(sizes | heads))
    assert main(["anatomy", str(tmp_path)]) == 0
    assert "not verified yet" in capsys.readouterr().out
    assert main(["anatomy", str(tmp_path), "--verify", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    verified = shown["verification"]
    assert shown["discovered"] and verified["holds"] and verified["covered"] == 1
    assert verified["roles"] == {"decoder": ["q", "k", "v", "o", "gate", "up", "down", "act", "post"]}
    assert all(law["checked"] and not law["failed"] for law in verified["laws"].values())
    assert main(["anatomy", str(tmp_path), "--verify"]) == 0
    assert "100.0 %" in capsys.readouterr().out
    assert main(["anatomy", str(tmp_path)]) == 0
    assert "all laws hold" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["tasks", "methods", "families"])
def test_list_prints_every_name(what, capsys):
    assert main(["list", what, "--json"]) == 0
    names = json.loads(capsys.readouterr().out)
    assert {"tasks": "bbq/age", "methods": "crispr", "families": "llama"}[what] in names
    assert main(["list", what]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)


def test_list_methods_prints_summary_and_source(capsys):
    assert main(["list", "methods"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in method_names():
        assert settings_class(name).summary in shown
        assert settings_class(name).source in shown


@pytest.mark.parametrize("name", NAMES)
def test_schema_prints_a_json_schema(name, capsys):
    assert main(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].startswith("https://json-schema.org/")


def test_a_reader_that_closes_standard_output_is_no_error():
    process = subprocess.run(
        f"{sys.executable} -m resect list tasks | true",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.stderr == ""


@pytest.mark.slow
def test_without_a_terminal_nothing_is_coloured(flan_t5_base):
    process = resect("anatomy", flan_t5_base)
    assert process.returncode == 0
    assert "\x1b" not in process.stdout


def test_an_interrupt_gives_exit_code_130_and_says_that_work_is_kept(flan_t5_base):
    """The process is interrupted while it waits at a pipe from which it reads its recipe."""
    recipe = flan_t5_base / "recipe.toml"
    os.mkfifo(recipe)
    with subprocess.Popen([sys.executable, "-m", "resect", "run", str(recipe)], stderr=subprocess.PIPE, text=True) as process:
        try:
            writing_end = wait_for_reader(recipe)
            process.send_signal(signal.SIGINT)
            _, message = process.communicate(timeout=60)
            os.close(writing_end)
        finally:
            process.kill()
    assert process.returncode == 130
    assert re.fullmatch(r"resect: interrupted\. .*kept.*\n", message)


def wait_for_reader(pipe, seconds=60):
    """Returns the writing end of a named pipe, as soon as another process has opened the pipe to read, however busy the machine is."""
    for _ in range(20 * seconds):
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        time.sleep(0.05)
    raise TimeoutError(f"no process reads {pipe}")


def test_the_steering_modes_of_the_command_are_those_of_the_plan():
    assert STEERING_MODES == MODES
