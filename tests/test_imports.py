"""The public names, and what importing them costs."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import resect

HEAVY = ("torch", "transformers", "datasets", "pandas", "scipy")


def heavy_after(statement: str) -> set[str]:
    """Which heavy packages are loaded after `statement`, in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "import resect; resect.__version__; dir(resect)",
        "import resect; resect.Site, resect.Neurons, resect.Scores, resect.Comparison",
        "import resect; resect.Recipe, resect.Run, resect.ResectError",
        "import resect; resect.load_task, resect.Task",
        "import resect.cli.main",
        "import resect.report, resect.report.terminal.summary, resect.report.page.html, resect.report.tables.comparison_grid",
    ],
)
def test_light_names_load_nothing_heavy(statement):
    assert heavy_after(statement) == set()


@pytest.mark.slow
def test_the_check_above_can_fail():
    assert "torch" in heavy_after("import resect; resect.Anatomy")


def test_every_public_name_is_there_and_none_is_a_submodule():
    submodules = {module.name for module in pkgutil.iter_modules(resect.__path__)} - {"__main__"}
    assert submodules.isdisjoint(resect.__all__)
    for module in pkgutil.walk_packages(resect.__path__, "resect."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in resect.__all__:
        value = getattr(resect, name)
        assert callable(value), f"resect.{name} is {value!r}"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no_such_name"):
        resect.no_such_name  # noqa: B018


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(resect.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: statement.module for statement in guarded.body if isinstance(statement, ast.ImportFrom) for alias in statement.names
    }
    assert seen == resect._HOME
    assert sorted(seen) == resect.__all__


def test_all_errors_are_public():
    import resect.core.errors

    tree = {name for name, value in vars(resect.core.errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert tree <= set(resect.__all__)
