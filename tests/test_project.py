"""The project's own files agree with each other: make targets, versions, extras, and the map of the modules."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
#: Tools that check the code and run at one version only, that of constraints.txt.
CHECKERS = {"import-linter", "mypy", "pytest-cov", "ruff"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", text("Makefile"), re.MULTILINE))


def make_commands(text: str) -> set[str]:
    """The targets that a text calls at the beginning of a line or behind a back-quote."""
    return set(re.findall(r"(?:^|[`\n])make ([a-z][a-z-]*)", text))


def requirements() -> dict[str, Requirement]:
    """Everything that the project or one of its extras needs, by name."""
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    return {canonicalize_name(need.name): need for need in map(Requirement, lines) if need.name != PROJECT["name"]}


def pinned(name: str) -> dict[str, Version]:
    lines = [line for line in text(name).splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


def lower_bound(need: Requirement) -> Version:
    (bound,) = need.specifier
    assert bound.operator == ">="
    return Version(bound.version)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_every_make_command_of_a_text_is_a_target(name: str):
    commands = make_commands(text(name))
    assert commands
    assert commands <= targets()


def test_hooks_and_workflow_call_targets_and_nothing_else_checks():
    hooks = {hook["entry"] for repository in HOOKS["repos"] for hook in repository["hooks"]}
    steps = {step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "name" not in step and "run" in step}
    for command in hooks | steps:
        assert command.startswith("make ") and command.split()[1] in targets(), command
    assert {"make check PYTHON=python", "make test PYTHON=python", "make test-lowest PYTHON=python"} <= steps


def test_ci_runs_the_test_command_of_the_readme():
    command = text(".ci/run").splitlines()[-1]
    assert re.search(rf"^{command}\b", text("README.md"), re.MULTILINE)


def test_python_versions_agree():
    prefix = "Programming Language :: Python :: 3."
    classified = ["3." + line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert WORKFLOW["jobs"]["check"]["strategy"]["matrix"]["python"] == classified
    assert PROJECT["requires-python"] == f">={classified[0]}"


def test_lower_bounds_are_those_that_test_lowest_installs():
    lowest = pinned("constraints-lowest.txt")
    bounds = {name: lower_bound(need) for name, need in requirements().items() if name not in CHECKERS}
    assert lowest == bounds


def test_constraints_pin_what_make_setup_installs_within_the_bounds():
    pins = pinned("constraints.txt")
    (extras,) = re.findall(r"^EXTRAS := (.*)$", text("Makefile"), re.MULTILINE)
    not_installed = set(PROJECT["optional-dependencies"]) - {*extras.split(","), "test"}
    absent = {Requirement(line).name for extra in not_installed for line in PROJECT["optional-dependencies"][extra]}
    for name, need in requirements().items():
        assert name in pins or name in absent, f"{name} has no version in constraints.txt"
        assert name not in pins or pins[name] in need.specifier


def test_the_readme_names_every_extra():
    (line,) = re.findall(r"^Extras: (.*?)\n\n", text("README.md"), re.MULTILINE | re.DOTALL)
    assert set(PROJECT["optional-dependencies"]) <= set(re.findall(r"`([a-z]+)`", line))


def mapped() -> set[str]:
    """The packages and modules that the map of CONTRIBUTING.md names, as paths below src/resect."""
    section = text("CONTRIBUTING.md").split("\n## The tree\n")[1].split("\n## ")[0]
    paths, package = set(), ""
    for heading, module in re.findall(r"^### `([a-z_/]+/)`|^- `([a-z_0-9]+\.py)`: \S", section, re.MULTILINE):
        package = heading or package
        paths.add(heading or package + module)
    return paths


def test_the_map_of_the_modules_is_the_tree():
    source = ROOT / "src" / "resect"
    modules = {path for path in source.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")}
    packages = {path.parent for path in source.rglob("__init__.py")} - {source}
    tree = {path.relative_to(source).as_posix() for path in modules} | {f"{path.relative_to(source).as_posix()}/" for path in packages}
    assert mapped() == tree
