"""Scripts and benchmarks, each started as its user starts it, in a process of its own, at a tiny size."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DEMO_DATA = ROOT / "src" / "resect" / "data" / "demo"
#: The smallest size at which a benchmark still does all that it does, and what its output must show.
TINY = {
    "benchmarks/decomposition.py": (("--shapes", "24x40", "--rounds", "1"), r"24 × 40, 8 ranks: gram .*falling: error gram \d\.\de-\d+"),
    "benchmarks/discovery.py": (("--one", "cohere, dense"), r'"covered": 1.0, "holds": true'),
    "benchmarks/export.py": (
        ("--layers", "2", "--d-model", "64", "--shard", "1MB", "--rounds", "1"),
        r"[2-9] files.*0\.1 %.*export .*check after writing.*lower rank.*export .*check after writing",
    ),
    "benchmarks/factored.py": (
        ("--layers", "1", "--d-model", "128", "--vocab", "300", "--rho", "0.1", "--tokens", "8", "--rounds", "1"),
        r"0\.1 .*\(0\.\d+\).*; 3 pairs of factors",
    ),
    "benchmarks/lape_recording.py": (("--exact",), "equal those of one window at a time: True"),
    "benchmarks/laser_search.py": (("--tiny",), r"4 candidates.*search, bound.*authors' code.*search against the plain loop"),
    "benchmarks/locate.py": (
        ("--rounds", "1", "--examples", "2", "--tokens", "32", "--layers", "1", "--d-model", "64"),
        r"decoder-only: locate .* ratio .*encoder-decoder: locate .* ratio",
    ),
    "benchmarks/memory.py": (
        ("--layers", "1", "--d-model", "64", "--examples", "2"),
        r"locate, 2 examples: peak \d+ MiB.*score, 2 examples: peak \d+ MiB",
    ),
    "benchmarks/scoring.py": (
        ("--rounds", "1", "--prompts", "1", "--tokens", "32", "--layers", "1", "--d-model", "64"),
        r"decoder-only: 3 choices .* ratio .*encoder-decoder: 3 choices .* ratio",
    ),
    "scripts/interval_calibration.py": (("--runs", "4", "--groups", "8"), r"8 groups.*halves +reported.*gain of 20"),
    "scripts/coverage.py": (("gpt2", "ibert"), r"1 of 2 types are covered; all laws hold in 1.*1 UnknownFamily"),
}
#: Those with a test of their own below; laser_workloads.py is started by laser_search.py.
OTHERS = {
    "benchmarks/laser_model.py",
    "benchmarks/laser_workloads.py",
    "scripts/ablation.py",
    "scripts/demo/generate.py",
    "scripts/demo/train.py",
    "scripts/ml7_task/make.py",
    "scripts/safeguards.py",
}
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process as Linux shows it")


def start(script: str, *arguments: str | Path) -> str:
    """Runs a script; returns what it prints. Fails with its error output where it fails."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_script_is_started_by_a_test():
    files = [path for folder in ("scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    started = {path.relative_to(ROOT).as_posix() for path in files if '__name__ == "__main__"' in path.read_text(encoding="utf-8")}
    assert started == {*TINY, *OTHERS}


@linux_only
@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(TINY))
def test_a_benchmark_measures(script: str):
    arguments, printed = TINY[script]
    assert re.search(printed, start(script, *arguments), re.DOTALL)


@pytest.mark.slow
def test_a_sample_of_the_types_of_transformers_is_covered():
    printed = start("scripts/coverage.py", "--sample", "40", "--seconds", "60")
    covered, hold, nearly = map(int, re.search(r"(\d+) of 40 types .* in (\d+), (\d+) of these with 95 %", printed).groups())
    assert covered >= 30, printed
    assert hold == covered, printed
    assert nearly >= 27, printed


@pytest.mark.slow
def test_an_output_of_the_coverage_is_continued(tmp_path: Path):
    output, page = tmp_path / "coverage.json", tmp_path / "coverage.md"
    start("scripts/coverage.py", "gpt2", "--output", output)
    first = json.loads(output.read_text(encoding="utf-8"))
    first["types"][0]["kind"] = "read from the file"
    output.write_text(json.dumps(first), encoding="utf-8")
    start("scripts/coverage.py", "gpt2", "bert", "--output", output, "--markdown", page)
    assert [found["type"] for found in json.loads(output.read_text(encoding="utf-8"))["types"]] == ["gpt2", "bert"]
    text = page.read_text(encoding="utf-8")
    assert "| gpt2 | read from the file | 100.0 % |" in text
    assert "| bert | masked | 100.0 % | encoder: q k v o up down act post |" in text
    start("scripts/coverage.py", "gpt2", "--output", output, "--fresh")
    assert json.loads(output.read_text(encoding="utf-8"))["types"][0]["kind"] == "causal"


@pytest.mark.slow
def test_safeguards_are_compared_on_the_same_examples(tmp_path: Path):
    task = (str(DEMO_DATA / "hill-and-river"), str(DEMO_DATA / "task.toml"), "--limit", "40", "--instructions", "1", "--protect", "clear")
    small = ("--largest", "3", "--laser", "--sites", "decoder.0.up", "--output", str(tmp_path))
    printed = start("scripts/safeguards.py", *task, *small)
    for row in ("unedited", "always the", "paper's rule", "guarded", "guarded, protected", "guarded, partial", "LASER, guarded"):
        assert re.search(rf"^ +{row}", printed, re.MULTILINE), row


@pytest.mark.slow
def test_the_model_of_the_laser_benchmark_is_trained_and_the_noise_planted(tmp_path: Path):
    start("benchmarks/laser_model.py", "--to", tmp_path / "model", "--steps", "1", "--examples", "2")
    facts = json.loads((tmp_path / "model" / "planted.json").read_text())
    assert facts["site"] == "decoder.9.down"
    assert facts["noise"] > 0
    assert (tmp_path / "model" / "model.safetensors").exists()


@pytest.mark.slow
def test_the_ablation_has_a_line_for_every_part_of_the_score(where: Path, tmp_path: Path):
    given = (where / "model", where / "task.toml", "--output", tmp_path, "--samples", "4", "--text", where / "text.txt", "--quiet")
    table = start("scripts/ablation.py", *given)
    for line in ("as it is", "full", "mean over tokens", "no confusion weight", "no skill term"):
        assert re.search(rf"{line} +\d+\.\d \(\d+\.\d to \d+\.\d\)", table), table
    assert "random neurons" in table
    recipes = {path.parent.name: path.read_text() for path in tmp_path.rglob("recipe.toml")}
    assert len(set(recipes.values())) == len(recipes) == 4


def test_the_demo_items_are_those_that_ship(tmp_path: Path):
    start("scripts/demo/generate.py", "--out", tmp_path)
    for name in ("items.jsonl", "task.toml"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (DEMO_DATA / name).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_demo_model_is_trained(tmp_path: Path):
    sizes = {"steps": 2, "batch": 2, "layers": 1, "width": 16, "inner": 16, "vocabulary": 400}
    given = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    printed = start("scripts/demo/train.py", "--out", tmp_path, *given)
    assert re.search(r"2 loss \d+\.\d+ seconds \d+ \{.*ambig", printed)
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.real
@pytest.mark.slow
def test_the_task_of_seven_languages_is_made(shared: Path, tmp_path: Path):
    printed = start("scripts/ml7_task/make.py", "--to", tmp_path, "--items", "3", "--text", shared / "data" / "multilingual_text")
    items = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(items) == 3 * len(printed.splitlines()) == 21
    assert all(len(set(item["continuations"])) == 3 for item in items)
