"""A recipe: one TOML file, one run. It joins the settings of the job, of what is read, and of the method.

Knows which settings change a result; the settings declare themselves (`job_settings`, and each method's). Knows no model, no task and no
run folder.

Relative paths mean what they mean on a command line: from the folder in which the command runs. `anchored` makes them absolute, and that is
what a run folder stores, so that its recipe works from everywhere.
"""

import difflib
import glob
import os
import tomllib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import tomli_w

from resect.core.errors import BadRecipe, InputError
from resect.core.files import read_text, write_text
from resect.data.corpus import parse_corpus_entries

from .chat_settings import chat_variables
from .declarations import Declaration, declarations, from_keys
from .job_settings import INPUT_SETTINGS, JobSettings
from .methods import MethodSettings, method_names, settings_class

SCHEMA = 1
CALIBRATIONS = ("cc", "dc", "none")
#: Settings that name text by language.
BY_LANGUAGE = ("corpus", "valid", "questions", "parallel")


class Recipe:
    """The settings of one job, as attributes by their keys. Frozen. Raises BadRecipe where they are impossible.

    Attributes
    ----------
    method : the method's name
    values : all settings by key
    settings : the method's own settings, as the value that its package defines

    >>> recipe = Recipe(method="crispr", model="models/tiny", task="bbq/age")
    >>> recipe.samples, recipe.settings.samples
    (20, 20)
    >>> Recipe.from_toml(recipe.to_toml()) == recipe
    True
    >>> recipe.default_output.as_posix()
    'runs/crispr-tiny-bbq-age'
    """

    method: str
    values: Mapping[str, Any]

    def __init__(self, method: str = "crispr", **given: Any) -> None:
        declared = declared_settings(method)
        for name in given:
            if name not in declared:
                _refuse(name, method, declared)
        # None means the default; and a default is a value like any other: one text where several may be given becomes a tuple.
        chosen = {key: declaration.default if given.get(key) is None else given[key] for key, declaration in declared.items()}
        values = {key: declared[key].checked(value) for key, value in chosen.items()}
        vars(self).update(method=method, values=values)
        self._check()

    def _check(self) -> None:
        values = self.values
        if not values["model"].strip():
            raise BadRecipe(f"model is missing. {self.help('model')}")
        self._check_without_effect()
        try:
            settings = self.settings
        except BadRecipe:
            raise
        except InputError as error:
            raise BadRecipe(str(error)) from error
        if "sites" in values and not getattr(settings, "sites", True):  # "*" and nothing are the same
            values["sites"] = ()  # type: ignore[index]
        settings.check_recipe(values)
        if "task" in values and settings.inputs is settings.reads and not values["task"].strip():
            raise BadRecipe(f"task is missing. {self.help('task')}")
        calibrate = values.get("calibrate", ())
        for kind in calibrate:
            if kind not in CALIBRATIONS or (kind == "none" and len(calibrate) > 1):
                raise BadRecipe(f"calibrate is {', '.join(calibrate)}; it is cc, dc, cc dc, or none.")
        if values.get("judge") is not None and values.get("judge_model") is None:
            raise BadRecipe(f"The judge at {values['judge']} needs the name of its model: --judge-model NAME.")
        chat_variables(values["chat_kwargs"])
        for key in BY_LANGUAGE:
            parse_corpus_entries(values.get(key, ()), f"--{key}")

    def _check_without_effect(self) -> None:
        """Raises BadRecipe for settings that would silently have no effect."""
        declared = self.declarations
        changed = {key for key, declaration in declared.items() if self.values[key] != declaration.checked(declaration.default)}
        for key in ("ray_address", "ray_workers"):
            if key in changed and self.values["engine"] != "ray":
                raise BadRecipe(f"{key} = {self.values[key]} is for the engine ray: set it (--engine ray), or leave {key} out.")
        for key in changed:
            needed = declared[key].needs
            if needed is not None and not self.values[needed]:
                raise BadRecipe(f"{key} = {self.values[key]} is for {needed} only, which is not set: set it, or leave {key} out.")
        for switch, overridden in settings_class(self.method).overrides.items():
            idle = [key for key in overridden if key in changed]
            if self.values[switch] and idle:
                raise BadRecipe(f"With {switch}, {', '.join(idle)} would change nothing: leave out {switch}, or those settings.")

    def __getattr__(self, key: str) -> Any:
        values = vars(self).get("values", {})
        if key in values:
            return values[key]
        raise AttributeError(f"A recipe of {vars(self).get('method')} has no setting {key!r}.")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"A recipe is frozen; make another one: recipe.with_settings({name}=…).")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and (self.method, self.values) == (other.method, other.values)

    def __hash__(self) -> int:
        return hash((self.method, tuple(self.values.items())))

    def __repr__(self) -> str:
        changed = [f"{key}={value!r}" for key, value in self.values.items() if value != self.declarations[key].default]
        return f"Recipe({', '.join([repr(self.method), *changed])})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Recipe.from_settings, ({"method": self.method, **self.values},)

    def get(self, key: str, default: Any = None) -> Any:
        """A setting, or `default` where this method has none of that key."""
        return self.values.get(key, default)

    @property
    def declarations(self) -> Mapping[str, Declaration]:
        """How each setting is declared."""
        return declared_settings(self.method)

    @cached_property
    def settings(self) -> MethodSettings:
        """The method's own settings."""
        made: MethodSettings = from_keys(settings_class(self.method), self.values)
        return made

    @property
    def compares(self) -> bool:
        """Whether the run compares plans, or only stores what was measured."""
        return self.settings.compares

    @property
    def default_output(self) -> Path:
        """The run folder where `output` names none: runs/<method>-<model>-<task>; languages, or "text", where there is no task."""
        model, task = Path(os.path.abspath(self.model)).name, self.get("task", "")
        subject = Path(task).stem if task.endswith(".toml") else task.strip("/").replace("/", "-")
        if "corpus" in self.values:
            subject = "-".join(parse_corpus_entries(self.corpus, "--corpus")) or "counts"
        return Path("runs") / f"{self.method}-{model}-{subject or 'text'}"

    @property
    def folder(self) -> Path:
        """The run folder: `output`, or the default."""
        return self.default_output if self.output is None else Path(self.output)

    def with_settings(self, **settings: Any) -> "Recipe":
        """The same recipe with some settings replaced. Raises BadRecipe."""
        return self.from_settings({"method": self.method, **self.values, **settings})

    def anchored(self) -> "Recipe":
        """The same recipe with every path that exists made absolute, and without `output`: a folder knows its place."""
        changes = {key: _anchor(self.values[key]) for key, declaration in self.declarations.items() if declaration.path}
        # A built-in name stays a name, whatever folder may have the same name.
        if "task" in self.values:
            changes["task"] = _anchor_file(self.task)
        if "beside" in self.values:
            changes["beside"] = tuple(map(_anchor_file, self.beside))
        if self.get("cache"):
            changes["cache"] = os.path.abspath(self.cache)  # created where it does not exist yet
        return self.with_settings(**{**changes, "output": None})

    def differs(self, other: "Recipe") -> tuple[str, ...]:
        """Keys of the settings that may change the result and are not the same in both.

        An automatic batch size agrees with every batch size: what a folder has found is used again.
        """
        mine, theirs = self.anchored(), other.anchored()
        if mine.method != theirs.method:
            return ("method",)
        return tuple(
            key
            for key, declaration in self.declarations.items()
            if declaration.changes_result
            and mine.values[key] != theirs.values[key]
            and not (key == "batch_size" and "auto" in (mine.batch_size, theirs.batch_size))
        )

    def to_words(self, shown: Callable[[str], str] = str) -> list[str]:
        """The command line that says the same, without the program's name; what may be a path is written as `shown` writes it.

        >>> Recipe(model="/models/tiny", task="bbq", generation=False, n=3).to_words(os.path.basename)
        ['crispr', 'tiny', 'bbq', '--no-generation', '--n', '3']
        """
        task = self.get("task", "")
        words = [self.method, shown(self.model), *([shown(task)] if task else [])]
        for key, declaration in self.declarations.items():
            value, flag = self.values[key], declaration.flag
            if key in ("model", "task") or value == declaration.checked(declaration.default):
                continue
            if isinstance(value, bool):
                words.append(flag if value else f"--no-{flag[2:]}")
            else:
                values = value if isinstance(value, tuple) else (value,)
                words += [flag, *(shown(str(each)) if declaration.path else str(each) for each in values)]
        return words

    def help(self, key: str) -> str:
        """What the setting `key` means, in one sentence."""
        return self.declarations[key].help

    def to_toml(self) -> str:
        """The recipe as TOML, every setting that is set, each under its sentence."""
        parts = [f"schema = {SCHEMA}\n", f"# The method.\n{tomli_w.dumps({'method': self.method})}"]
        for key, value in self.values.items():
            if value is not None:
                plain = list(value) if isinstance(value, tuple) else value
                parts.append(f"# {self.help(key)}\n{tomli_w.dumps({key: plain})}")
        return "\n".join(parts)

    @classmethod
    def from_toml(cls, text: str) -> "Recipe":
        """The recipe that TOML text holds. Raises BadRecipe."""
        try:
            settings = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BadRecipe(f"The recipe is no TOML, or is cut off: {error}.") from error
        schema = settings.pop("schema", SCHEMA)
        if schema != SCHEMA:
            raise BadRecipe(f"The recipe has schema {schema!r}; this version of resect reads schema {SCHEMA}.")
        return cls.from_settings(settings)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Recipe":
        """The recipe of plain values by key; what is not named has its default. Raises BadRecipe."""
        method = settings.get("method", "crispr")
        if not isinstance(method, str) or method not in method_names():
            raise BadRecipe(f"method is {method!r}; it must be one of {', '.join(method_names())}.")
        return cls(method, **{str(key): value for key, value in settings.items() if key != "method"})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe as a TOML file. Raises StorageFailure."""
        write_text(Path(path), self.to_toml())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Recipe":
        """Read a TOML file. Raises BadRecipe that names the file."""
        try:
            return cls.from_toml(read_text(Path(path), "recipe"))
        except InputError as error:
            raise BadRecipe(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def declared_settings(method: str) -> dict[str, Declaration]:
    """All settings of a recipe of this method, by key: of the job, of what is read, and the method's own. Raises UnknownName."""
    own = settings_class(method)
    job, reads = declarations(JobSettings), declarations(INPUT_SETTINGS[own.reads])
    by_key = [{declaration.key: declaration for declaration in part} for part in (job, reads, declarations(own))]
    # The model first, then what is read, the method, and how it runs.
    model = {"model": by_key[0]["model"]}
    return {**model, **by_key[1], **by_key[2], **by_key[0]}


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe file: one alternative for each method."""
    alternatives = []
    for method in method_names():
        properties = {"schema": {"const": SCHEMA}, "method": {"const": method, "description": settings_class(method).summary}}
        properties |= {key: declared.json_schema() for key, declared in declared_settings(method).items()}
        alternatives.append({"properties": properties, "required": ["method", "model"], "additionalProperties": False})
    return {"title": "resect recipe", "type": "object", "oneOf": alternatives}


def _refuse(name: str, method: str, known: Mapping[str, Declaration]) -> None:
    """Raises BadRecipe for a setting that this method has not: it is another's, or a name that does not exist."""
    others = [other for other in method_names() if other != method and name in declared_settings(other)]
    if others:
        raise BadRecipe(f"{name} is a setting of {' and '.join(others)}, not of {method}; leave it out.")
    near = difflib.get_close_matches(name.replace("-", "_"), known, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise BadRecipe(f"A recipe of {method} has no setting {name!r}.{guess} It has: {', '.join(('method', *known))}.")


def _anchor_file(task: str) -> Any:
    return _anchor(task) if task.endswith(".toml") else task


def _anchor(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_anchor(item) for item in value)
    if not isinstance(value, str):
        return value
    if value and (os.path.exists(value) or (_is_glob(value) and not value.startswith("hub:"))):
        return os.path.abspath(value)
    for name, equals, path in (value.partition("="), value.rpartition("=")):
        if equals and _anchor(path) != path:
            return f"{_anchor_file(name)}={_anchor(path)}"
    if "," in value:  # several files of one language
        return ",".join(map(_anchor, value.split(",")))
    return value


def _is_glob(value: str) -> bool:
    return "=" not in value and "," not in value and glob.has_magic(value)
