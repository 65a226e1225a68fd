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
EVERY_MODULE = """
import importlib, pkgutil
import resect.{0}
for module in pkgutil.walk_packages(resect.{0}.__path__, "resect.{0}."):
    importlib.import_module(module.name)
"""
HELP = """
from resect.cli.main import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(None):
    main(["--help"])
"""


def loaded_after(statement: str, packages: tuple[str, ...]) -> set[str]:
    """Which of some packages are loaded after `statement`, in a fresh interpreter."""
    code = f"import contextlib, sys\n{statement}\nprint(*[name for name in {packages!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import resect; resect.__version__; dir(resect)",
        "import resect; resect.Site, resect.Neurons, resect.Scores, resect.Comparison",
        "import resect; resect.Recipe, resect.Run, resect.ResectError",
        "import resect; resect.load_task, resect.Task",
        "import resect.cli.main",
        EVERY_MODULE.format("core"),
        EVERY_MODULE.format("runs"),
        EVERY_MODULE.format("report"),
    ],
)
def test_light_names_load_nothing_heavy(statement):
    assert loaded_after(statement, HEAVY) == set()


@pytest.mark.parametrize("statement", ["import resect; resect.__version__; dir(resect)", HELP], ids=["import", "help"])
def test_neither_the_import_nor_the_help_loads_pydantic_or_anything_heavy(statement):
    assert loaded_after(statement, (*HEAVY, "pydantic")) == set()


def test_the_checks_above_can_fail():
    assert "torch" in loaded_after("import resect; resect.Anatomy", HEAVY)
    assert "pydantic" in loaded_after("import pydantic", ("pydantic",))


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
