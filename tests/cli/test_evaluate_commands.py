"""`resect steer` on a command line: which prompts belong to which language, what it refuses, and where it says the answers are."""

import json
import re
from pathlib import Path

import pytest

import bilingual
from resect.cli.main import main
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.models.language_model import LanguageModel
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the planted model, a run of LAPE on it, and prompts."""
    path, planted = tmp_path_factory.mktemp("steering"), bilingual.model()
    model = LanguageModel.of(planted.model.float(), planted.tokenizer)
    model.model.save_pretrained(path / "model")
    model.tokenizer.save_pretrained(path / "model")
    for language in bilingual.WORDS:
        (path / f"{language}.txt").write_text("\n".join(f"{line} :" for line in bilingual.texts(language, 3)))
    (path / "x=en.txt").write_text("the house :\n")
    corpus = tuple(f"{language}={path / language}.txt" for language in bilingual.WORDS)
    with Run.open(path / "run", Recipe(method="lape", model=str(path / "model"), corpus=corpus)) as run:
        bilingual.counts(model).save(run.folder / "counts.safetensors")
        run.keep_plans({language: Plan((Scale(units, 0.0),)).for_model(model) for language, units in bilingual.UNITS.items()})
    return path


def steer(folder: Path, *arguments: str) -> int:
    """Runs the command in the folder, and returns its exit code; HERE in the arguments stands for the folder."""
    command = ["steer", str(folder / "model"), "--run", str(folder / "run"), "--quiet", *arguments]
    return main([argument.replace("HERE", str(folder)) for argument in command])


def refusal(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Returns the message with which the command refuses the arguments."""
    assert steer(folder, *arguments) == 2
    return capsys.readouterr().err


def test_prompts_in_a_language_that_is_not_needed_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(folder, capsys, "--to", "en", "--prompts", "fr=HERE/fr.txt")
    assert re.search(r"names fr, which is neither in --to \(en\) nor --from \(not given\). Prompts of en", message)
    message = refusal(folder, capsys, "--to", "fr", "--from", "en", "--prompts", "de=HERE/fr.txt")
    assert "names de, which is neither in --to (fr) nor --from (en). Prompts of en" in message
    message = refusal(folder, capsys, "--to", "fr", "--from", "en", "--prompts", "fr=HERE/fr.txt")
    assert "names fr, but with --from en the prompts are in en: give them as en=FILE, or leave --from out" in message
    message = refusal(folder, capsys, "--to", "fr", "--prompts", "fr=HERE/nowhere.txt")
    assert "nowhere.txt cannot be read: No such file" in message
    message = refusal(folder, capsys, "--to", "fr", "--prompts", "HERE/a=b.txt")
    assert "a=b.txt cannot be read" in message


def test_a_limit_below_one_prompt_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for limit in ("0", "-1"):
        message = refusal(folder, capsys, "--to", "fr", "--prompts", "HERE/fr.txt", "--limit", limit)
        assert f"--limit is {limit}; it must be at least 1" in message


@pytest.mark.slow
def test_the_answers_are_where_the_command_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lingua")
    arguments = ("--to", "fr", "--from", "en", "--new-tokens", "10", "--prompts")
    assert steer(folder, *arguments, "en=HERE/en.txt") == 0
    shown = capsys.readouterr().out
    assert f"The answers are in {folder / 'run' / 'steered' / 'fr-from-en-set.json'}." in shown
    assert f"The report is {folder / 'run' / 'report.html'}." in shown
    assert steer(folder, *arguments, "HERE/x=en.txt", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["saved"] == [str(folder / "run" / "steered" / "fr-from-en-set-2.json")]
    assert json.loads(Path(result["saved"][0]).read_text()) == result["steered"][0]
    assert [answer["prompt"] for answer in result["steered"][0]["answers"]] == ["the house :"]
    assert Path(result["report"]).exists()


@pytest.mark.filterwarnings("default:Answers end after")
def test_answers_are_as_long_as_usual_or_a_warning_says_how_long(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lingua")
    arguments = ("--to", "fr", "--from", "en", "--prompts", "HERE/x=en.txt")
    assert steer(folder, *arguments) == 0
    assert "Answers end after 125 tokens at the latest, not 128" in capsys.readouterr().err
    assert "--new-tokens 125 fits" in refusal(folder, capsys, *arguments, "--new-tokens", "126")


@pytest.mark.slow
def test_of_several_strengths_one_is_chosen_and_a_table_says_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lingua")
    (folder / "twelve.txt").write_text("\n".join(f"{line} :" for line in bilingual.texts("en", 12)))
    arguments = ("--to", "fr", "--from", "en", "--prompts", "en=HERE/twelve.txt", "--new-tokens", "10")
    assert steer(folder, *arguments, "--strength", "0.5", "2", "1e9", "--guard", "none", "--json") == 0
    (result,) = json.loads(capsys.readouterr().out)["steered"]
    assert (result["strength"], result["choice"]["limit"]) == (0.5, None), "any strength will do, so the smallest is taken"
    assert result["n"] + result["choice"]["n"] == 12
    assert steer(folder, *arguments, "--strength", "10", "1e9") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for expected in (
        "no strength that keeps the guards is better than no steering",
        "by language accuracy alone, strength 10 would have been chosen (100.0 %); it breaks guards: same answer",
        "Strengths that were tried on",
        "guards broken",
    ):
        assert expected in shown, expected
    assert "Strengths that were tried on" in (folder / "run" / "report.html").read_text()
    assert steer(folder, *arguments, "--strength", "10", "--new-tokens", "9") == 0
    assert "the strength was requested, so it is applied" in " ".join(capsys.readouterr().out.split())


def test_other_guards_than_those_of_written_answers_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(folder, capsys, "--to", "en", "--prompts", "HERE/en.txt", "--guard", "ambig=3")
    assert "'ambig=3' is no limit for written answers" in message
    assert "Tags do not exist here" in message
