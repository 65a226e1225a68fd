"""The card of a model without one language's units: its row of the matrix, and nothing that was not measured."""

import json

import pytest

import planted_languages
from resect.core.errors import RunMismatch
from resect.edits.plan import Plan
from resect.export.card_results import language_section
from resect.export.export import export
from resect.jobs import run as jobs
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run
from resect.runs.schemas.languages import MatrixFile


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tongues")
    planted_languages.write(folder)
    corpus = tuple(f"{language}={folder / language}.txt" for language in planted_languages.LETTERS)
    settings = {"window": 16, "fraction": 0.08, "draws": 1}
    recipe = Recipe(method="lape", model=str(folder / "model"), corpus=corpus, output=str(folder / "run"), **settings)
    return Run.load(jobs.job(recipe).folder)


def test_the_row_has_every_language_and_marks_its_own(finished):
    matrix = finished.matrix()
    section = "\n".join(language_section(MatrixFile.model_validate(matrix), "bb"))
    assert "**bb**" in section and "**aa**" not in section and "suffers most" in section
    assert f"{matrix['neg_logprob']['change'][1][0]:+.3f}" in section and f"{matrix['neg_logprob']['change'][1][1]:+.3f}" in section
    bare = matrix | {"control": None, "diagonal": {"is_maximum": {"aa": None}}}
    bare = "\n".join(language_section(MatrixFile.model_validate(bare), "aa"))
    assert "no units to deactivate" in bare and "–" in bare


def test_the_card_of_a_language_holds_its_row_and_that_of_all_together_none(finished, tmp_path):
    one = Plan.from_json(finished.plans()["aa"])
    export(one, finished.recipe.model, tmp_path / "one", run=finished, verify=False)
    card = (tmp_path / "one/README.md").read_text(encoding="utf-8")
    assert "with the units of aa deactivated" in card and "resect lape model" in card and str(finished.folder.parent) not in card
    export(Plan.from_json(finished.plan_json()), finished.recipe.model, tmp_path / "all", run=finished, verify=False)
    assert "Nothing was measured with this plan." in (tmp_path / "all/README.md").read_text(encoding="utf-8")


def test_a_damaged_matrix_is_named_before_anything_is_written(finished, tmp_path):
    path, intact = finished.folder / "matrix.json", finished.matrix()
    for damaged in ({**intact, "languages": ["aa"]}, {**intact, "neg_logprob": {}}, {**intact, "kind": None, "control": 3}):
        path.write_text(json.dumps(damaged))
        with pytest.raises(RunMismatch, match=r"matrix\.json"):
            export(Plan.from_json(finished.plans()["bb"]), finished.recipe.model, tmp_path / "cut", run=finished, verify=False)
    path.write_text(json.dumps(intact))
    assert not (tmp_path / "cut").exists()
