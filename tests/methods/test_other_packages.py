"""A method of another package: ten lines and an entry point, and the whole job follows. No line of resect names it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from resect.core.errors import BadRecipe, UnknownName
from resect.runs.methods import settings_class

SOURCE = """
from dataclasses import dataclass
from resect import Curve, Found, Method, Neurons, Plan, Scale, setting

@dataclass(frozen=True)
class Toy(Method):
    name, summary, source = "toy", "Cut the first units of the first matrix.", "Nobody et al. 2026"
    units: int = setting(3, "How many units are cut.", least=0, metavar="N")

    def search(self, model, inputs, workers=None):
        site = next(site for site in model.anatomy.sites if site.role == "up")
        plans = [Plan((Scale(Neurons({site: range(n)}), 0.0),)) if n else Plan() for n in range(self.units + 1)]
        questions = self.questions(model, inputs.task, "select")
        scores = [questions.answers(plan, workers=workers).mean for plan in plans]
        lines = tuple({"size": n, "score": s, "examples": questions.pairs, "complete": True, "seconds": 0.0} for n, s in enumerate(scores))
        shown = Curve("Toy curve", "units", "accuracy", {"select": list(enumerate(scores))}, note="One unit after the other.")
        return Found.one(plans[-1].for_model(model), trials=lines, exhibits=(shown,))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package that adds the method toy, as pip leaves one."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "toy_method.py").write_text(SOURCE, encoding="utf-8")
    metadata = folder / "toy_method-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-method\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[resect.methods]\ntoy = toy_method:Toy\n")
    return folder


def resect(package: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command, in a process that sees the package."""
    paths = os.pathsep.join([str(package), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    command = [sys.executable, "-m", "resect", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


@pytest.mark.slow
def test_ten_lines_are_a_whole_method(package: Path, where: Path, tmp_path: Path) -> None:
    listed = resect(package, "list", "methods")
    assert "Cut the first units of the first matrix." in listed.stdout
    helped = resect(package, "toy", "--help")
    assert "--units N" in helped.stdout
    assert "How many units are cut. (default: 3)" in helped.stdout

    run = tmp_path / "run"
    job = ("toy", where / "model", where / "task.toml", "--units", "2", "--no-generation", "--calibrate", "none", "--output", run)
    dry = resect(package, *job, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not run.exists()
    done = resect(package, *job, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert sum(len(units) for edit in result["plan"]["edits"] for units in edit["neurons"].values()) == 2
    assert result["comparison"]["edited"] is not None
    assert result["comparison"]["control"] is not None
    assert [json.loads(line)["size"] for line in (run / "trials.jsonl").read_text().splitlines()] == [0, 1, 2]
    assert 'method = "toy"' in (run / "recipe.toml").read_text()

    page = (run / "report.html").read_text()
    assert "Toy curve" in page
    assert "One unit after the other." in page
    assert "What is missing" not in page
    for command in (
        ("report", run),
        ("table", run),
        ("run", run),
        ("try", where / "model", "--plan", run, "--prompt", "Who?"),
        ("export", run, "--to", tmp_path / "exported"),
        ("repeat", run),
    ):
        done = resect(package, *command)
        assert done.returncode == 0, (command, done.stderr)
    assert "TOY" in resect(package, "table", run).stdout
    assert (tmp_path / "exported" / "plan.json").exists()

    refused = resect(package, *job[:3], "--units", "-1")
    assert refused.returncode == 2
    assert "units is -1; it must be at least 0" in refused.stderr
    schemas = json.loads(resect(package, "schema", "recipe").stdout)["oneOf"]
    assert any(each["properties"]["method"]["const"] == "toy" and "units" in each["properties"] for each in schemas)


def test_no_line_of_resect_names_it() -> None:
    import resect as installed

    folder = Path(installed.__file__).parent
    assert not [path for path in folder.rglob("*.py") if "toy_method" in path.read_text(encoding="utf-8")]


def test_an_unknown_method_is_refused_with_the_way_to_add_one() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'crispr'.*resect\.methods"):
        settings_class("crisp")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('no torch')", "cannot be loaded: RuntimeError: no torch"),
        ("class Toy: name, summary, source = 'toy', 's', 's'", "subclass of resect.Method"),
        ("import resect\nclass Toy(resect.Method): name = 'toy'", "it lacks summary, source"),
    ],
)
def test_a_broken_method_is_refused_by_its_name(package: Path, tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "toy_method.py").write_text(source, encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), str(package), *sys.path])
    code = "from resect.runs.methods import settings_class; settings_class('toy')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": paths}
    )
    assert BadRecipe.__name__ in done.stderr
    assert message in done.stderr
    code = "from resect.cli.main import main; import sys; sys.exit(main(['list', 'methods']))"
    others = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": paths}
    )
    assert others.returncode == 0
    assert "crispr" in others.stdout
    assert "The method toy" in others.stderr
