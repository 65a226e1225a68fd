"""The job on corpora by language, from Python and the command line: its files, how it continues, what it refuses before any work."""

import json
import os
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

import planted_languages
from resect.cli.main import main
from resect.core.errors import BadRecipe, InputError, NotFinite, RunMismatch, WrongModel
from resect.edits.plan import Plan
from resect.jobs import run
from resect.jobs.dry_run import describe
from resect.methods.lape.counts import Counts
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tongues")
    planted_languages.write(path)
    return path


def recipe_of(folder, tmp_path, **settings):
    corpus = tuple(f"{language}={folder / language}.txt" for language in planted_languages.LETTERS)
    given = {"method": "lape", "model": str(folder / "model"), "corpus": corpus, "window": 16, "fraction": 0.08, "draws": 1}
    return Recipe(**(given | {"output": str(tmp_path / "run")} | settings))


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """A finished run. Not to be changed."""
    path = tmp_path_factory.mktemp("finished")
    run.job(recipe_of(folder, path))
    return Run.load(path / "run")


def test_the_plans_deactivate_the_planted_units(finished):
    plans = finished.plans()
    for language, units in planted_languages.UNITS.items():
        (edit,) = Plan.from_json(plans[language]).edits
        assert edit.neurons == units and edit.factor == 0
    assert finished.matrix()["diagonal"] == {"is_maximum": {"aa": True, "bb": True}, "count": 2, "of": 2}
    comparison = finished.comparison()
    assert comparison["difference"]["interval"][0] > 0
    assert abs(comparison["control"]["mean"] - comparison["base"]["mean"]) < 0.1 * comparison["difference"]["mean"]


def test_a_run_writes_every_file_of_the_contract(finished):
    assert finished.is_finished
    arrays = load_file(finished.counts_path)
    assert arrays["active/decoder.0.act"].shape == arrays["sum/decoder.0.act"].shape == (2, 40)
    assert arrays["active/decoder.0.act"].dtype == np.int64 and arrays["tokens"].shape == (2,)
    matrix = finished.matrix()
    for name in ("perplexity", "neg_logprob"):
        assert np.array(matrix[name]["base"]).shape == (2,) and np.array(matrix[name]["deactivated"]).shape == (2, 2)
    combined = Plan.from_json(finished.plan_json())
    assert combined.edits == tuple(edit for plan in finished.plans().values() for edit in Plan.from_json(plan).edits)
    assert set(finished.analyses()) == {"layers", "overlap", "stability"}
    assert finished.scores().top(6) == planted_languages.UNITS["aa"] | planted_languages.UNITS["bb"]
    text = "".join(path.read_text(encoding="utf-8") for path in [finished.plan_path, *finished.plans_folder.glob("*.json")])
    assert str(finished.folder.parent) not in text


def test_a_tenth_is_held_out_and_counted_nowhere(folder, finished, tmp_path):
    from resect.data.corpus import is_held_out

    model = planted_languages.model()
    counted = [line for line in (folder / "aa.txt").read_text().splitlines() if not is_held_out(line)]
    held_out = [line for line in (folder / "aa.txt").read_text().splitlines() if is_held_out(line)]
    tokens = [sum(len(ids) for ids in model.encoder.encode_documents(lines)) for lines in (counted, held_out)]
    counts, matrix = Counts.load(finished.counts_path), finished.matrix()
    assert counts.tokens[0] == tokens[0] // 16 * 16
    assert matrix["windows"][0] == tokens[1] // 16


def test_the_same_settings_give_the_same_bytes(folder, finished, tmp_path):
    again = Run.load(run.job(recipe_of(folder, tmp_path)).folder)
    for name in ("plan.json", "matrix.json", "comparison.json", "counts.safetensors", "scores.safetensors", "analyses.json"):
        assert (again.folder / name).read_bytes() == (finished.folder / name).read_bytes()


@pytest.mark.slow
def test_a_finished_run_is_read_and_not_computed_again(folder, tmp_path):
    recipe = recipe_of(folder, tmp_path)
    first = run.job(recipe).folder
    before = {path.name: path.stat().st_mtime_ns for path in (first / "journal").iterdir()}
    again = run.job(recipe).folder
    assert {path.name: path.stat().st_mtime_ns for path in (again / "journal").iterdir()} == before
    with pytest.raises(RunMismatch, match="fraction"):
        run.job(recipe_of(folder, tmp_path, fraction=0.05))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["corpus", "valid"])
def test_a_finished_run_refuses_other_text_under_the_same_paths(folder, tmp_path, which):
    for language in planted_languages.LETTERS:
        for name in ("corpus", "valid"):
            lines = planted_languages.documents(language, 40, seed=1 if name == "valid" else 0)
            (tmp_path / f"{name}-{language}.txt").write_text("".join(f"{line}\n" for line in lines))
    given = {
        name: tuple(f"{language}={tmp_path}/{name}-{language}.txt" for language in planted_languages.LETTERS)
        for name in ("corpus", "valid")
    }
    stored = Run.load(run.job(recipe_of(folder, tmp_path, **given)).folder)
    before = {path.name: path.read_bytes() for path in stored.folder.iterdir() if path.is_file()}
    with (tmp_path / f"{which}-bb.txt").open("a") as file:
        file.writelines(f"{line}\n" for line in planted_languages.documents("bb", 20, seed=9))
    with pytest.raises(RunMismatch, match=r"another (held-out )?text of bb"):
        run.job(recipe_of(folder, tmp_path, **given))
    assert {path.name: path.read_bytes() for path in stored.folder.iterdir() if path.is_file()} == before


class Stop(Exception):
    """Raised in place of a kill."""


@pytest.mark.slow
def test_an_interrupted_job_continues_where_it_stopped(folder, finished, tmp_path):
    recipe, calls = recipe_of(folder, tmp_path), []

    def stop_after(number):
        def progress(stage, done, total):
            calls.append((stage, done))
            if done and len(calls) >= number:
                raise Stop

        return progress

    for number in (3, 4, 6, 9):
        calls.clear()
        with pytest.raises(Stop):
            run.job(recipe, stop_after(number))
    assert not Run.load(recipe.folder).is_finished
    stored = Run.load(run.job(recipe).folder)
    for name in ("plan.json", "matrix.json", "comparison.json", "counts.safetensors"):
        assert (stored.folder / name).read_bytes() == (finished.folder / name).read_bytes()


@pytest.mark.slow
def test_counts_that_were_recorded_apart_are_merged(folder, finished, tmp_path):
    paths = []
    for language in planted_languages.LETTERS:
        corpus = (f"{language}={folder / language}.txt",)
        alone = run.job(
            recipe_of(folder, tmp_path, corpus=corpus, fraction=None, draws=3, record_only=True, output=str(tmp_path / language))
        )
        assert alone.comparison is None and not alone.plan.edits
        stored = Run.load(alone.folder)
        assert stored.is_finished
        paths.append(str(stored.counts_path))
    valid = tuple(f"{language}={folder / language}.txt" for language in planted_languages.LETTERS)
    stored = Run.load(run.job(recipe_of(folder, tmp_path, corpus=(), counts=tuple(paths), valid=valid)).folder)
    assert stored.counts_path.read_bytes() == finished.counts_path.read_bytes()  # recording alone holds out a tenth, too
    assert {name: Plan.from_json(plan).edits for name, plan in stored.plans().items()} == {
        name: Plan.from_json(plan).edits for name, plan in finished.plans().items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("selector", ["lap", "lave", "random"])
def test_the_other_selectors_run(folder, tmp_path, selector):
    stored = Run.load(run.job(recipe_of(folder, tmp_path, selector=selector, draws=0)).folder)
    assert stored.matrix()["selector"] == selector and stored.matrix()["control"] is None
    if selector == "random":
        assert stored.matrix()["units"] == [3, 3]


def test_pv_selects_by_tuned_checkpoints(folder, tmp_path):
    import torch

    for language, units in planted_languages.UNITS.items():
        tuned = planted_languages.model().model
        with torch.no_grad():
            for name, others in planted_languages.UNITS.items():
                for site, indices in (others if name != language else {}).items():
                    tuned.model.layers[site.layer].mlp.gate_proj.weight[list(indices)] += 1.0
        tuned.save_pretrained(tmp_path / f"tuned-{language}")
        assert units
    checkpoint = tuple(f"{language}={tmp_path / f'tuned-{language}'}" for language in planted_languages.LETTERS)
    stored = Run.load(run.job(recipe_of(folder, tmp_path, selector="pv", checkpoint=checkpoint, draws=0)).folder)
    assert {name: Plan.from_json(plan).edits[0].neurons for name, plan in stored.plans().items()} == planted_languages.UNITS
    with pytest.raises(InputError, match="those of aa"):
        run.job(recipe_of(folder, tmp_path, selector="pv", checkpoint=checkpoint[:1], output=str(tmp_path / "other")))


@pytest.mark.slow
def test_open_questions_are_answered_and_parallel_sentences_compared(folder, tmp_path):
    questions = []
    for language in planted_languages.LETTERS:
        path = tmp_path / f"q-{language}.txt"
        path.write_text("".join(f"{line}\n" for line in planted_languages.documents(language, 2)))
        questions.append(f"{language}={path}")
    parallel = tuple(f"{language}={folder / language}.txt" for language in planted_languages.LETTERS)
    stored = Run.load(run.job(recipe_of(folder, tmp_path, questions=tuple(questions), new_tokens=4, parallel=parallel)).folder)
    rows, summary = stored.answers(), stored.comparison()["other_metrics"]["open_questions"]
    assert {row["deactivated"] for row in rows} == {None, "random", "aa", "bb"}
    assert len(rows) == 4 * 4 and all(row["prompt"].startswith("Q: ") and row["prompt"].endswith("\nA:") for row in rows)
    assert summary["n"] == {"aa": 2, "bb": 2} and summary["quality"] is None
    assert stored.analyses()["similarity"]["n_sentences"] == 200


def test_the_plan_of_a_language_adds_to_other_plans(folder, finished):
    import torch

    from resect import ReduceRank, Scale
    from resect.models.loading import load_model

    model = load_model(folder / "model")
    cut = Plan.from_json(finished.plans()["aa"])
    other = Plan((Scale({"decoder.0.up": [3, 4]}, 0.0), ReduceRank("decoder.1.down", rho=0.5))).for_model(model)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    with (cut + other).applied(model) as forms:
        assert forms == ("weights",) * 3
        assert not model.model.state_dict()["model.layers.0.mlp.down_proj.weight"][:, [3, 11]].any()
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())


def test_a_note_names_languages_without_units(folder, tmp_path):
    stored = Run.load(run.job(recipe_of(folder, tmp_path, fraction=0.0)).folder)
    assert stored.matrix()["units"] == [0, 0]
    assert all(plan["edits"] == [] for plan in stored.plans().values())
    assert stored.matrix()["neg_logprob"]["deactivated"] == [stored.matrix()["neg_logprob"]["base"]] * 2
    assert any("No unit belongs to aa, bb" in note for note in stored.environment()["notes"])


REFUSED = {
    "one language": ({"corpus": ("aa={folder}/aa.txt",)}, InputError, "one language only"),
    "no text": ({"corpus": ("aa={folder}/aa.txt", "bb={tmp}/empty.txt")}, InputError, "empty"),
    "missing": ({"corpus": ("aa={folder}/aa.txt", "bb={tmp}/nothing.txt")}, InputError, "nothing.txt"),
    "short": ({"corpus": ("aa={folder}/aa.txt", "bb={tmp}/short.txt"), "window": 300}, InputError, r"bb .*(less|window)"),
    "broken": ({"corpus": ("aa={folder}/aa.txt", "bb={tmp}/broken.txt")}, InputError, r":3:"),
    "window": ({"window": 100_000}, InputError, "context"),
    "other counts": ({"counts": ("{tmp}/other.safetensors",)}, WrongModel, "2 layers of 7 units"),
    "no counts": ({"counts": ("{tmp}/short.txt",)}, InputError, "short.txt"),
    "valid without corpus": ({"valid": ("cc={folder}/aa.txt",)}, InputError, "--corpus cc=PATH"),
    "counts without valid": ({"counts": ("{tmp}/cc.safetensors",)}, InputError, "--valid cc=PATH"),
    "questions": ({"questions": ("cc={folder}/aa.txt",)}, InputError, "cc"),
    "parallel": ({"parallel": ("aa={folder}/aa.txt", "bb={tmp}/short.txt")}, InputError, "line by line"),
    "purity": ({"purity": True}, InputError, "aa"),
    "the name of controls as a language": ({"corpus": ("random={folder}/aa.txt", "bb={folder}/bb.txt")}, InputError, "random"),
    "a pipe": ({"corpus": ("aa={tmp}/pipe.txt", "bb={folder}/bb.txt")}, InputError, "pipe"),
    "all of it held out": ({"valid": ("aa={folder}/aa.txt",)}, InputError, "held-out text too"),
    "less than a window held out": ({"valid_tokens": 8}, InputError, "--valid-tokens"),
    "no sums": ({"counts": ("{tmp}/aa.safetensors",), "selector": "lave"}, InputError, "--selector"),
    "counts twice": ({"counts": ("{tmp}/aa.safetensors", "{tmp}/again.safetensors")}, InputError, "given twice"),
    "odd code in counts": (
        {"counts": ("{tmp}/odd.safetensors",), "record_only": True, "draws": 3, "fraction": None},
        InputError,
        "no code of",
    ),
    "the authors' counts": ({"counts": ("{tmp}/counts.pt",)}, InputError, r"--counts en=.*counts\.pt"),
    "one checkpoint for two": ({"selector": "pv", "checkpoint": ("aa={folder}/model", "bb={folder}/model")}, InputError, "the same"),
    "an untuned checkpoint": ({"selector": "pv", "checkpoint": ("aa={folder}/model", "bb={folder}")}, InputError, "nothing was tuned"),
    "one parallel sentence": ({"parallel": ("aa={tmp}/short.txt", "bb={tmp}/short.txt")}, InputError, "at least two"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_inputs_that_are_refused_leave_no_folder(folder, tmp_path, case):
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "short.txt").write_text("uvw\n")
    (tmp_path / "broken.txt").write_bytes(b"uvw xyz\nuu\nv\xffv\n" * 20)
    Counts(("aa", "bb"), (9, 9), {f"decoder.{layer}.act": np.zeros((2, 7), int) for layer in range(2)}).save(tmp_path / "other.safetensors")
    Counts(("cc",), (9,), {f"decoder.{layer}.act": np.zeros((1, 40), int) for layer in range(2)}).save(tmp_path / "cc.safetensors")
    counts = Counts(("aa", "bb"), (9, 9), {f"decoder.{layer}.act": np.zeros((2, 40), int) for layer in range(2)})
    for name in ("aa", "again"):
        counts.save(tmp_path / f"{name}.safetensors")
    Counts(("../x",), (9,), {f"decoder.{layer}.act": np.zeros((1, 40), int) for layer in range(2)}).save(tmp_path / "odd.safetensors")
    (tmp_path / "counts.pt").write_bytes(b"PK")
    os.mkfifo(tmp_path / "pipe.txt")
    settings, error, message = REFUSED[case]
    filled = {
        name: tuple(text.format(folder=folder, tmp=tmp_path) for text in value) if isinstance(value, tuple) else value
        for name, value in settings.items()
    }
    with pytest.raises(error, match=message):
        run.job(recipe_of(folder, tmp_path, **filled))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corpus": ()}, "--corpus en=PATH"),
        ({"corpus": ("aa=x", "AA=y")}, "AA"),
        ({"corpus": ("aa=x", "aa=y")}, "aa"),
        ({"corpus": ("x.txt",)}, "LANG=PATH"),
        ({"corpus": ("aa=x,bb=y",)}, "put a blank between"),
        ({"ray_workers": 2}, "--engine ray"),
        ({"task": "bbq"}, "task is a setting of crispr and laser"),
        ({"selector": "pv"}, "checkpoint"),
        ({"judge": "http://localhost:1", "questions": ("aa=x",)}, "--judge-model"),
        ({"suffix": ("x",)}, "questions"),
        ({"record_only": True}, "draws"),
        ({"quantile": 2.0}, "quantile"),
        ({"corpus_tokens": 0}, "corpus_tokens (--tokens) is 0"),
        ({"metric": "accuracy"}, "metric"),
    ],
)
def test_impossible_settings_are_refused(folder, tmp_path, settings, message):
    with pytest.raises((BadRecipe, InputError), match=re.escape(message)):
        recipe_of(folder, tmp_path, **settings)


def test_a_model_that_gives_nan_is_refused_before_anything_is_counted(folder, tmp_path):
    import torch

    broken = planted_languages.model()
    with torch.no_grad():
        broken.model.model.norm.weight[0] = float("nan")  # only the head reads it, and counting runs without the head
    broken.model.save_pretrained(tmp_path / "broken")
    broken.tokenizer.save_pretrained(tmp_path / "broken")
    with pytest.raises(NotFinite):
        run.job(recipe_of(folder, tmp_path, model=str(tmp_path / "broken")))
    assert not (tmp_path / "run").exists()


def test_reading_held_out_text_is_reported_as_progress(folder, tmp_path):
    reports = []
    run.job(recipe_of(folder, tmp_path, draws=0), lambda *report: reports.append(report))
    assert reports[:3] == [("reading held-out text", done, 2) for done in range(3)]


def test_a_note_names_languages_that_share_files(folder, tmp_path):
    both = (f"aa={folder}/aa.txt", f"bb={folder}/aa.txt")
    stored = Run.load(run.job(recipe_of(folder, tmp_path, corpus=both, draws=0)).folder)
    assert any("aa, bb do not all have text of their own" in note for note in stored.environment()["notes"])


@pytest.mark.slow
def test_the_command_runs_the_job_and_exports_the_plan_of_one_language(folder, tmp_path, capsys):
    corpus = [f"{language}={folder / language}.txt" for language in planted_languages.LETTERS]
    command = [
        "lape",
        str(folder / "model"),
        "--corpus",
        *corpus,
        "--window",
        "16",
        "--fraction",
        "0.08",
        "--tokens",
        "2000",
        "--draws",
        "0",
    ]
    assert main([*command, "--output", str(tmp_path / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"run", "plan", "comparison"}
    assert Run.load(tmp_path / "run").recipe.corpus_tokens == 2000
    assert Recipe.from_toml((tmp_path / "run/recipe.toml").read_text()).to_words()[0] == "lape"
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "cut")]) == 2
    assert "plans/aa.json" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "run/plans/aa.json"), "--to", str(tmp_path / "cut"), "--quiet"]) == 0
    assert (tmp_path / "cut/model.safetensors").exists()


def test_a_dry_run_says_what_would_be_done(folder, tmp_path):
    sentences = " ".join(describe(recipe_of(folder, tmp_path)))
    assert "aa" in sentences and "takes about" in sentences and not (tmp_path / "run").exists()
