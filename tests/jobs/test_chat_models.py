"""A chat model in jobs and commands: the settings reach it, what was used is said, and that a template was left out is warned of once."""

import json
import shutil
from pathlib import Path

import pytest

from resect.cli.main import main
from resect.core.marked_text import MarkedText
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.jobs import run
from resect.jobs.dry_run import describe
from resect.jobs.inputs import model_of
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}</s>{% endfor %}{% if think is defined %}{{ think|tojson }}{% endif %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
CHAT = {"chat_template": True, "chat_kwargs": ("think=false",), "system": "Be brief."}


@pytest.fixture(scope="module")
def chat(where: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted model with a chat template, the task and the text; not to be changed."""
    folder = shutil.copytree(where, tmp_path_factory.mktemp("chat") / "planted")
    (folder / "model" / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def recipe_of(chat: Path, output: Path, **settings: object) -> Recipe:
    base = {"model": str(chat / "model"), "task": str(chat / "task.toml"), "output": str(output), "sites": ("*.up",), "samples": 5}
    quick = {"calibrate": ("none",), "generation": False, "text": (str(chat / "text.txt"),), "limit": 40, "anyway": True}
    return Recipe(**(base | quick | settings))


def test_the_settings_of_a_recipe_reach_the_model(chat: Path, tmp_path: Path) -> None:
    model = model_of(recipe_of(chat, tmp_path, **CHAT))
    assert model.encoder.chat is not None
    assert str(model.encoder.chat.wrapped(MarkedText("hi"))) == "system: Be brief.</s>user: hi</s>falseassistant: "
    assert model_of(recipe_of(chat, tmp_path, parse_special=True)).encoder.parse_special


@pytest.mark.slow
def test_a_dry_run_says_how_prompts_are_read(chat: Path, tmp_path: Path) -> None:
    assert "Wrapped in the tokenizer's chat template, with think = false and the system text “Be brief.”." in describe(
        recipe_of(chat, tmp_path / "run", **CHAT)
    )
    assert any("--chat-template" in sentence for sentence in describe(recipe_of(chat, tmp_path / "run")))


@pytest.mark.slow
def test_a_run_without_the_template_says_so_once_in_its_notes(chat: Path, tmp_path: Path) -> None:
    recipe = recipe_of(chat, tmp_path / "run")
    run.job(recipe)
    notes = Run.load(recipe.folder).environment()["notes"]
    assert sum("--chat-template" in note for note in notes) == 1


@pytest.mark.filterwarnings("always::UserWarning")
def test_try_warns_once_and_takes_the_flags(chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Plan((Scale({"decoder.0.up": [1]}, 0.0),)).save(tmp_path / "plan.json")
    command = [
        "try",
        str(chat / "model"),
        "--plan",
        str(tmp_path / "plan.json"),
        "--max-new-tokens",
        "2",
        "--json",
        "--prompt",
        "a</s>",
        "b",
    ]
    assert main(command) == 0
    plain = capsys.readouterr()
    assert plain.err.count("--chat-template") == 1
    assert "One text of the data spells special tokens of the tokenizer (</s> 1)" in plain.err
    assert main([*command, "--chat-template", "--chat-kwargs", "think=false", "--system", "Be brief.", "--parse-special"]) == 0
    in_chat = capsys.readouterr()
    assert "--chat-template" not in in_chat.err
    assert "This was read as these tokens" in in_chat.err
    assert [row["prompt"] for row in json.loads(in_chat.out)["answers"]] == ["a</s>", "b"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--system", "x"], "--system is for the chat template alone"),
        (["--chat-kwargs", "think=1"], "--chat-kwargs is for the chat template alone"),
        (["--chat-template", "--chat-kwargs", "think"], "must be K=V"),
        (["--chat-template", "--chat-kwargs", "thinks=1"], "Did you mean 'think'"),
    ],
)
def test_wrong_flags_are_refused(chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    Plan((Scale({"decoder.0.up": [1]}, 0.0),)).save(tmp_path / "plan.json")
    assert main(["try", str(chat / "model"), "--plan", str(tmp_path / "plan.json"), "--prompt", "a", *flags]) == 2
    assert message in capsys.readouterr().err
