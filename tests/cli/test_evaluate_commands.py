"""`resect steer` on a command line: which prompts it takes for which language, what it refuses, and what it says of what it kept."""

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
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the planted model, a run of LAPE on it, and prompts."""
    folder, planted = tmp_path_factory.mktemp("steering"), bilingual.model()
    model = LanguageModel.of(planted.model.float(), planted.tokenizer)
    model.model.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    for language in bilingual.WORDS:
        (folder / f"{language}.txt").write_text("\n".join(f"{line} :" for line in bilingual.texts(language, 3)))
    (folder / "x=en.txt").write_text("the house :\n")
    corpus = tuple(f"{language}={folder / language}.txt" for language in bilingual.WORDS)
    with Run.open(folder / "run", Recipe(method="lape", model=str(folder / "model"), corpus=corpus)) as run:
        run.keep_counts(bilingual.counts(model))
        run.keep_plans({language: Plan((Scale(units, 0.0),)).for_model(model) for language, units in bilingual.UNITS.items()})
    return folder


def steer(place: Path, *more: str) -> int:
    """The command, in the folder's own words."""
    given = ["steer", str(place / "model"), "--run", str(place / "run"), "--quiet", *more]
    return main([each.replace("HERE", str(place)) for each in given])


def refused(place: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """What the command says when it refuses."""
    assert steer(place, *more) == 2
    return capsys.readouterr().err


def test_prompts_of_a_language_in_which_nothing_is_asked_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(place, capsys, "--to", "en", "--prompts", "fr=HERE/fr.txt")
    assert re.search(r"names fr, which is neither in --to \(en\) nor --from \(not given\). Prompts of en", told)
    told = refused(place, capsys, "--to", "fr", "--from", "en", "--prompts", "de=HERE/fr.txt")
    assert "names de, which is neither in --to (fr) nor --from (en). Prompts of en" in told
    told = refused(place, capsys, "--to", "fr", "--from", "en", "--prompts", "fr=HERE/fr.txt")
    assert "names fr, but with --from en the prompts are in en: give them as en=FILE, or leave --from out" in told
    told = refused(place, capsys, "--to", "fr", "--prompts", "fr=HERE/nowhere.txt")
    assert "nowhere.txt cannot be read: No such file" in told
    told = refused(place, capsys, "--to", "fr", "--prompts", "HERE/a=b.txt")
    assert "a=b.txt cannot be read" in told


@pytest.mark.slow
def test_where_answers_are_is_told_and_is_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lingua")
    asking = ("--to", "fr", "--from", "en", "--new-tokens", "10", "--prompts")
    assert steer(place, *asking, "en=HERE/en.txt") == 0
    shown = capsys.readouterr().out
    assert f"The answers are in {place / 'run' / 'steered' / 'fr-from-en-set.json'}." in shown
    assert f"The report is {place / 'run' / 'report.html'}." in shown
    assert steer(place, *asking, "HERE/x=en.txt", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["saved"] == [str(place / "run" / "steered" / "fr-from-en-set-2.json")]
    assert json.loads(Path(found["saved"][0]).read_text()) == found["steered"][0]
    assert [answer["prompt"] for answer in found["steered"][0]["answers"]] == ["the house :"]
    assert Path(found["report"]).exists()


@pytest.mark.filterwarnings("default:Answers end after")
def test_the_usual_length_fits_or_what_fits_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lingua")
    asking = ("--to", "fr", "--from", "en", "--prompts", "HERE/x=en.txt")
    assert steer(place, *asking) == 0
    assert "Answers end after 125 tokens at the latest, not 128" in capsys.readouterr().err
    assert "--new-tokens 125 fits" in refused(place, capsys, *asking, "--new-tokens", "126")
