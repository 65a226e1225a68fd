"""A recipe: one TOML file, one run. Every setting has a sentence, which the command line and the file itself show.

Knows what may be set, and which settings change a result. Knows no model, no task and no run folder.

Relative paths mean what they mean on a command line: from the folder in which the command runs. `anchored` makes them
absolute, and that is what a run folder keeps, so that its recipe works from everywhere.
"""

import dataclasses
import glob
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from resect.data.corpus import by_language
from resect.core.errors import BadRecipe, InputError
from resect.core.files import read_text, write_text
from .settings import TASKS, Options
from .setting_fields import check_bounds, check_names, checked, flag_of, is_of

SCHEMA = 1
METHODS = ("crispr", "laser", "lape")
CALIBRATIONS = ("cc", "dc", "none")
#: A setting that decides by itself, and those that it would silently pass over.
WITHOUT_EFFECT: Mapping[str, tuple[str, ...]] = {
    "task_free": (
        *("rho", "keep", "compose", "published", "screen", "screened", "variant", "metric"),
        *("decomposition", "authors_task", "search_prompt"),
    ),
    "published": ("rho", "sites", "keep", "compose", "screen", "screened"),
    "record_only": (
        *("valid_tokens", "selector", "quantile", "fraction", "checkpoint", "draws", "questions", "suffix", "new_tokens"),
        *("parallel", "judge", "judge_model", "until_stable"),
    ),
}
#: Settings, and what each says nothing without.
NEEDS: Mapping[str, str] = {
    "screened": "screen",
    "rise": "task_free",
    "suffix": "questions",
    "new_tokens": "questions",
    "judge": "questions",
    "judge_model": "judge",
}


@dataclass(frozen=True, kw_only=True)
class Recipe(Options):
    """The settings of one job. Raises BadRecipe where they are impossible.

    >>> recipe = Recipe(method="crispr", model="models/tiny", task="bbq/age")
    >>> Recipe.from_toml(recipe.to_toml()) == recipe
    True
    >>> recipe.default_output.as_posix()
    'runs/crispr-tiny-bbq-age'
    """

    def __post_init__(self) -> None:
        for name, value in checked(Recipe, dict(vars(self))).items():  # one text where several may stand becomes a tuple
            object.__setattr__(self, name, value)
        check_bounds(self)
        if self.method == "crispr" and self.sites == ("*",):
            object.__setattr__(self, "sites", ())
        for name in ("model", "task") if self.needs_task else ("model",):
            if not getattr(self, name).strip():
                raise BadRecipe(f"{name} is missing. {self.sentence(name)}")
        self._check_together()

    def _check_together(self) -> None:
        """Raises BadRecipe for settings that another method has, or that exclude each other."""
        for field in dataclasses.fields(self):
            if not is_of(field, self.method) and getattr(self, field.name) != field.default:
                raise BadRecipe(f"{field.name} is a setting of {' and '.join(field.metadata['of'])}, not of {self.method}; leave it out.")
        if self.task_free and self.task:
            raise BadRecipe(
                f"With task_free nothing is chosen by a task: leave {self.task!r} out, or measure it beside (--beside {self.task})."
            )
        self._check_idle()
        if self.method == "lape":
            self._check_languages()
        if self.method == "crispr" and self.metric not in (None, "accuracy", "generation"):
            raise BadRecipe(f"crispr chooses by accuracy or generation, not by {self.metric}; `resect evaluate` measures {self.metric}.")
        if self.n is not None and self.fraction is not None:
            raise BadRecipe(f"n = {self.n} and fraction = {self.fraction} both say how many neurons are cut; give one of them.")
        for kind in self.calibrate:
            if kind not in CALIBRATIONS or (kind == "none" and len(self.calibrate) > 1):
                raise BadRecipe(f"calibrate is {', '.join(self.calibrate)}; it is cc, dc, both, or none alone.")

    def _check_idle(self) -> None:
        """Raises BadRecipe for settings that would silently do nothing."""
        for name in ("ray_address", "ray_workers"):
            if getattr(self, name) is not None and self.engine != "ray":
                raise BadRecipe(f"{name} = {getattr(self, name)} is for the engine ray: set it (--engine ray), or leave {name} out.")
        for name, needed in NEEDS.items():
            if getattr(self, name) != getattr(type(self), name) and not getattr(self, needed):
                raise BadRecipe(f"{name} = {getattr(self, name)} is for {needed} only, which is not set: set it, or leave {name} out.")
        for name, without in WITHOUT_EFFECT.items():
            idle = [each for each in without if getattr(self, each) != getattr(type(self), each)]
            if getattr(self, name) and idle:
                raise BadRecipe(f"With {name}, {', '.join(idle)} would change nothing: leave out {name}, or what it passes over.")

    def _check_languages(self) -> None:
        """Raises BadRecipe for what LAPE cannot be done with, whatever the texts hold."""
        if not self.corpus and not self.counts:
            raise BadRecipe(
                "lape reads text of several languages: give it by --corpus en=PATH fr=PATH …, or counts of it by --counts FILE."
            )
        if (self.selector == "pv") != bool(self.checkpoint):
            raise BadRecipe("The selector pv goes by a checkpoint for each language (--checkpoint LANG=PATH); give both, or neither.")
        if self.judge is not None and self.judge_model is None:
            raise BadRecipe(f"Which model at {self.judge} judges? Name it: --judge-model NAME.")
        for name in ("corpus", "valid", "checkpoint", "questions", "parallel"):
            by_language(getattr(self, name), f"--{name}")

    @property
    def needs_task(self) -> bool:
        """Whether a task is asked."""
        return self.method in TASKS and not self.task_free

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the corpora, as they were given."""
        return tuple(by_language(self.corpus, "--corpus"))

    @property
    def default_output(self) -> Path:
        """The run folder where `output` names none: runs/<method>-<model>-<task>; languages, or "text", where there is no task."""
        model = Path(os.path.abspath(self.model)).name
        task = Path(self.task).stem if self.task.endswith(".toml") else self.task.strip("/").replace("/", "-")
        if self.method == "lape":
            task = "-".join(self.languages) or "counts"
        return Path("runs") / f"{self.method}-{model}-{task or 'text'}"

    @property
    def folder(self) -> Path:
        """The run folder: `output`, or the default."""
        return self.default_output if self.output is None else Path(self.output)

    def with_settings(self, **settings: Any) -> "Recipe":
        """The same recipe with some settings replaced. Raises BadRecipe."""
        return self.from_settings({**vars(self), **settings})

    def anchored(self) -> "Recipe":
        """The same recipe with every path that exists made absolute, and without `output`: a folder knows its place."""
        settings = {f.name: _anchor(getattr(self, f.name)) for f in dataclasses.fields(self) if f.metadata["path"]}
        # A built-in name stays a name, whatever folder may be called the same.
        settings |= {"task": _anchor_file(self.task), "beside": tuple(map(_anchor_file, self.beside))}
        settings["cache"] = self.cache and os.path.abspath(self.cache)  # made where it is not there yet
        return dataclasses.replace(self, **{**settings, "output": None})

    def differs(self, other: "Recipe") -> tuple[str, ...]:
        """Names of the settings that may change the result and are not the same in both.

        An automatic batch size agrees with every batch size: what a folder has found is used again.
        """
        mine, theirs = self.anchored(), other.anchored()
        return tuple(
            field.name
            for field in dataclasses.fields(self)
            if field.metadata["changes_result"]
            and getattr(mine, field.name) != getattr(theirs, field.name)
            and not (field.name == "batch_size" and "auto" in (mine.batch_size, theirs.batch_size))
        )

    def to_words(self, shown: Callable[[str], str] = str) -> list[str]:
        """The command line that says the same, without the program's name; what may be a path is written as `shown` writes it.

        >>> Recipe(model="/models/tiny", task="bbq", generation=False, n=3).to_words(os.path.basename)
        ['crispr', 'tiny', 'bbq', '--n', '3', '--no-generation']
        """
        words = [self.method, shown(self.model), *([shown(self.task)] if self.task else [])]
        for field in dataclasses.fields(self):
            value, flag = getattr(self, field.name), flag_of(field)
            if field.name in ("method", "model", "task") or value == field.default:
                continue
            if isinstance(value, bool):
                words.append(flag if value else f"--no-{flag[2:]}")
            else:
                values = value if isinstance(value, tuple) else (value,)
                words += [flag, *(shown(str(each)) if field.metadata["path"] else str(each) for each in values)]
        return words

    @classmethod
    def sentence(cls, name: str) -> str:
        """What the setting `name` means, in one sentence."""
        return next(str(f.metadata["sentence"]) for f in dataclasses.fields(cls) if f.name == name)

    def to_toml(self) -> str:
        """The recipe as TOML, every setting that is set, each under its sentence."""
        parts = [f"schema = {SCHEMA}\n"]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and is_of(field, self.method):
                plain = list(value) if isinstance(value, tuple) else value
                parts.append(f"# {field.metadata['sentence']}\n{tomli_w.dumps({field.name: plain})}")
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
        """The recipe of plain values by name; what is not named keeps its default. Raises BadRecipe."""
        check_names(cls, settings)
        return cls(**checked(cls, settings))

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
