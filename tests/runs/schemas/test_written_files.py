"""What jobs write is what the schemas say, key by key, on runs of tiny models: writer and schema cannot drift apart."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bilingual
import planted_languages
from resect.core.errors import UnknownName
from resect.edits.matrices import PruneWeights, ReduceRank
from resect.edits.neurons import Clamp, Scale, Shift
from resect.edits.plan import Plan
from resect.jobs import run
from resect.jobs.analyse import analyse
from resect.jobs.steer_answers import steer
from resect.models.language_model import LanguageModel
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run
from resect.runs.schemas.catalogue import NAMES, json_schema
from resect.runs.schemas.comparison import ComparisonFile
from resect.runs.schemas.languages import MatrixFile, SteeringFile
from resect.runs.schemas.plan import PlanFile
from resect.runs.schemas.reading import read_exhibits_file
from resect.runs.schemas.rows import AnswerLine, ExampleLine, TrialLine
from resect.runs.schemas.work import AnalysesFile, EnvironmentFile

FILES = {
    "plan.json": ("plan", PlanFile),
    "comparison.json": ("comparison", ComparisonFile),
    "matrix.json": ("matrix", MatrixFile),
    "environment.json": ("environment", EnvironmentFile),
    "analyses.json": ("analyses", AnalysesFile),
    "trials.jsonl": ("trials", TrialLine),
    "examples.jsonl": ("examples", ExampleLine),
    "answers.jsonl": ("answers", AnswerLine),
}


def written(folder: Path) -> list[tuple[str, Any, Any, str]]:
    """Every object that is in the files of a folder: the schema's name, the schema, the object, where it is."""
    found = []
    for path in (folder / name for name in FILES):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        values = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)] if text else []
        found += [(*FILES[path.name], value, path.name) for value in values]
    found += [("plan", PlanFile, json.loads(path.read_text()), str(path)) for path in folder.glob("plans/*.json")]
    return found


def assert_is_declared(folder: Path, *names: str) -> None:
    """Nothing is lost where a schema reads a file and writes it again; so no key is unknown to it. `names`: files that must be there."""
    found = written(folder)
    assert {"plan.json", "comparison.json", "environment.json", *names} <= {where for *_, where in found}
    validate = pytest.importorskip("jsonschema").Draft202012Validator
    for name, schema, value, where in found:
        again = schema.model_validate(value).model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert again == value, where
        validate(json_schema(name)).validate(value)


def quick(where: Path, output: Path, **settings: object) -> Recipe:
    """A job on the planted model."""
    given = {"model": str(where / "model"), "task": str(where / "task.toml"), "text": (str(where / "text.txt"),), "output": str(output)}
    return Recipe(**(given | settings))


def test_a_search_among_sizes(where: Path, tmp_path: Path) -> None:
    run.job(quick(where, tmp_path / "run", sites=("*.up",), samples=5, trials=2))
    assert_is_declared(tmp_path / "run", "trials.jsonl", "examples.jsonl")
    assert_is_declared(tmp_path / "run" / "trial-1", "trials.jsonl")


@pytest.mark.slow
def test_a_search_among_ranks(where: Path, tmp_path: Path) -> None:
    given = {"method": "laser", "rho": (0.5, 0.01), "cache_size": 0.0, "compose": True}
    run.job(quick(where, tmp_path / "run", **given))
    analyse(Run.load(tmp_path / "run"), ("spectra", "loss"))
    assert_is_declared(tmp_path / "run", "trials.jsonl", "analyses.json")
    exhibits, damages = read_exhibits_file(tmp_path / "run" / "exhibits.json")
    assert exhibits and not damages


@pytest.mark.slow
def test_a_search_on_plain_text(where: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("".join(f"line {number} of a text that was not written\n" for number in range(12)))
    text = {"text": (str(tmp_path / "text.txt"),), "task": "", "rise": 0.05, "beside": (str(where / "task.toml"),)}
    run.job(quick(where, tmp_path / "run", method="laser", task_free=True, cache_size=0.0, **text))
    assert_is_declared(tmp_path / "run", "trials.jsonl")


@pytest.mark.slow
def test_a_run_on_corpora_by_language(tmp_path: Path) -> None:
    planted_languages.write(tmp_path)
    (tmp_path / "questions.txt").write_text("abc\nuvw\n")
    given = {
        name: tuple(f"{language}={tmp_path / language}.txt" for language in planted_languages.LETTERS) for name in ("corpus", "parallel")
    }
    given["questions"] = tuple(f"{language}={tmp_path / 'questions.txt'}" for language in planted_languages.LETTERS)
    settings = {"window": 16, "fraction": 0.08, "draws": 1, "new_tokens": 4, "limit": 60, "output": str(tmp_path / "run")}
    run.job(Recipe(method="lape", model=str(tmp_path / "model"), **given, **settings))
    assert_is_declared(tmp_path / "run", "matrix.json", "answers.jsonl", "analyses.json")


def test_a_result_of_steering(tmp_path: Path) -> None:
    model: LanguageModel = bilingual.model()
    corpus = tuple(f"{language}={tmp_path / language}.txt" for language in bilingual.WORDS)
    with Run.open(tmp_path / "run", Recipe(method="lape", model="bilingual", corpus=corpus)) as opened:
        bilingual.counts(model).save(opened.folder / "counts.safetensors")
        opened.keep_plans({language: Plan((Scale(units, 0.0),)).for_model(model) for language, units in bilingual.UNITS.items()})
    prompts = {"en": tuple(f"{line} :" for line in bilingual.texts("en", 3))}
    steer(model, Run.load(tmp_path / "run"), ["fr"], "en", prompts=prompts, new_tokens=5, identifier=None)
    (path,) = Run.load(tmp_path / "run").steered_paths()
    value = json.loads(path.read_text())
    assert SteeringFile.model_validate(value).model_dump(mode="json", by_alias=True, exclude_unset=True) == value


def test_every_kind_of_edit() -> None:
    neurons = {"decoder.0.post": [1, 5]}
    plan = Plan(
        (
            Scale(neurons, 0.5),
            Clamp(neurons, 0.25),
            Clamp(neurons, {"decoder.0.post": [0.5, 0.25]}),
            Shift({"decoder.1.post": [3]}, 0.125),
            ReduceRank("decoder.0.up", 0.5, "smallest"),
            ReduceRank("decoder.1.up", 0.5, variant="official", seed=3),
            PruneWeights("decoder.0.up", 0.5),
            PruneWeights("decoder.0.up", 0.5, "random", 3),
        )
    )
    value = json.loads(json.dumps(plan.to_json()))
    assert PlanFile.model_validate(value).model_dump(mode="json", by_alias=True, exclude_unset=True) == value


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_one_and_explains_its_keys(name: str) -> None:
    schema = json_schema(name)
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(schema)
    parts = [schema, *schema.get("$defs", {}).values()]
    for part in parts:
        for key, described in part.get("properties", {}).items():
            assert "description" in described or "const" in described, (name, key)


def test_a_name_that_is_no_schema_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"schema 'plans'.*plan"):
        json_schema("plans")


@pytest.mark.parametrize("words", [["-c", "import resect, sys; print(*sys.modules)"], ["-X", "importtime", "-m", "resect", "--help"]])
def test_nothing_loads_schemas_before_a_file_is_read(words: list[str]) -> None:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, timeout=120)
    assert "pydantic" not in done.stdout + done.stderr


def test_schemas_load_no_torch() -> None:
    code = "import sys, resect.runs.schemas.catalogue, resect.report.terminal.summary; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False"]
