"""A recipe: one TOML file, one run. Every setting has a sentence, which the command line and the file itself show.

Knows what may be set, and which settings change a result. Knows no model, no task and no run folder.

Relative paths mean what they mean on a command line: from the folder in which the command runs. `anchored` makes them
absolute, and that is what a run folder keeps, so that its recipe works from everywhere.
"""

import dataclasses
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w

from .errors import BadRecipe, InputError
from .files import read_text, write_text
from .settings import check_bounds, check_names, checked, setting

SCHEMA = 1
METHODS = ("crispr",)
CALIBRATIONS = ("cc", "dc", "none")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of one job. Raises BadRecipe where they are impossible.

    >>> recipe = Recipe(method="crispr", model="models/tiny", task="bbq/age")
    >>> Recipe.from_toml(recipe.to_toml()) == recipe
    True
    >>> recipe.default_output.as_posix()
    'runs/crispr-tiny-bbq-age'
    """

    method: Literal["crispr"] = setting("crispr", "What is done: crispr finds bias neurons and cuts them.")
    model: str = setting("", "A Hub id, or a folder that holds a model.", path=True, metavar="MODEL")
    task: str = setting("", "A built-in task (see `resect list tasks`), or the path of a task file.", metavar="TASK")

    revision: str | None = setting(None, "Branch, tag or commit of a model from the Hub.", metavar="NAME")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto", "Number type the model is loaded in; auto takes the one it was saved in."
    )
    device: str | None = setting(
        None,
        "Where to compute (cpu, cuda, cuda:1, mps); by default the best there is.",
        changes_result=False,
        metavar="NAME",
    )
    device_map: str | None = setting(
        None,
        "How accelerate spreads a model over devices (auto, balanced, …).",
        changes_result=False,
        metavar="NAME",
    )
    trust_remote_code: bool = setting(
        False,
        "DANGEROUS: run Python code that comes with the model. Only for models whose code you have read.",
        changes_result=False,
    )
    batch_size: Literal["auto"] | int = setting(
        "auto", "Sequences a batch; auto finds what fits, and a folder keeps what was found.", least=1, metavar="auto|N"
    )

    data: tuple[str, ...] = setting(
        (),
        "Local files for the task instead of the Hub; TASK=PATH where there are several tasks.",
        path=True,
        metavar="[TASK=]PATH",
    )
    template: tuple[str, ...] = setting(
        (), "File with the prompt's wording (Jinja2); TASK=FILE where there are several tasks.", path=True, metavar="[TASK=]FILE"
    )
    instructions: tuple[str, ...] = setting(
        (), "File with the instructions, one a line; TASK=FILE where there are several tasks.", path=True, metavar="[TASK=]FILE"
    )
    split_by: str | None = setting(None, "What may not be torn apart by the splits, e.g. template for BBQ.", metavar="GROUP")
    chat_template: bool = setting(False, "Wrap every prompt in the tokenizer's own chat template.")
    limit: int | None = setting(None, "Use at most so many examples in all; the splits keep their shares.", least=1, metavar="N")
    seed: int = setting(0, "Seed of every random draw.", least=0, metavar="N")

    samples: int = setting(20, "Examples of the locate split that find the neurons.", least=1, metavar="N")
    locate_on: tuple[str, ...] = setting((), "Look only at examples that carry every one of these tags, e.g. ambig.", metavar="TAG")
    variant: Literal["paper", "official"] = setting("paper", "Compute as the paper writes it, or as its authors' code does it.")
    sites: tuple[str, ...] = setting(("*",), "Where to look for neurons: globs like decoder.*.up or '*.{q,k}'.", metavar="GLOB")
    tokens: Literal["max", "mean"] = setting("max", "How a neuron's scores at the tokens of one example are combined.")
    confusion_weight: bool = setting(True, "Weigh each example by the probability of its wrong answer.")
    skill: float = setting(1.0, "How much of a neuron's use for the right answer is taken off its score.", least=0.0, metavar="λ")
    gradient: Literal["probability", "log-probability"] | None = setting(
        None, "What is differentiated: the answer's probability (paper) or its logarithm (official)."
    )
    pooling: Literal["joint", "apart"] | None = setting(
        None,
        "Combine tokens after the skill is taken off (joint, paper), or for both answers before (apart, official).",
    )
    skill_batch: int | None = setting(
        None, "Sum skill over so many examples before it is clamped (0 in the paper, 4 official).", least=0, metavar="N"
    )
    metric: Literal["accuracy", "generation"] | None = setting(
        None, "What chooses n and is compared: the most probable choice (paper), or generated text (official)."
    )
    authors_task: bool | None = setting(
        None, "Ask built-in tasks with the prompt and the split of the authors' code (official), whose splits overlap."
    )
    largest: int | None = setting(
        None,
        "Largest number of neurons that is tried (500 official); by default see max_fraction.",
        least=0,
        metavar="N",
    )
    n: int | None = setting(None, "Cut exactly so many neurons; nothing is searched.", least=0, metavar="N")
    fraction: float | None = setting(
        None, "Cut this share of all neurons (0.001 is 0.1 %); nothing is searched.", least=0.0, most=1.0, metavar="F"
    )
    choose: Literal["golden", "grid", "first-drop"] = setting(
        "golden",
        "How many neurons are cut: by golden section on the select split, every number, or up to the first drop.",
    )
    max_fraction: float | None = setting(
        None,
        "Largest share of all neurons that is tried; by default 0.001, but at least 50 neurons.",
        least=0.0,
        most=1.0,
        metavar="F",
    )
    trials: int = setting(1, "Repeat with other samples, each trial with its own cut.", least=1, metavar="N")

    calibrate: tuple[str, ...] = setting(
        ("cc", "dc"),
        "Baselines beside the cut: contextual (cc) and domain-context (dc) calibration of the model as it is, or none.",
        metavar="cc|dc|none",
    )
    generation: bool = setting(True, "Compare by generated text too, beside the most probable choice.")
    text: tuple[str, ...] = setting(
        (), "Plain text for the perplexity before and after; by default a little text that ships with resect.", path=True, metavar="FILE"
    )
    beside: tuple[str, ...] = setting(
        (), "Other tasks on which the cut's side effects are measured; their data is TASK=PATH.", metavar="TASK"
    )

    output: str | None = setting(
        None, "The run folder; by default runs/<method>-<model>-<task>.", changes_result=False, path=True, metavar="DIR"
    )
    engine: Literal["local"] = setting(
        "local",
        "Where the work is done: local is this process (other engines are for a later version).",
        changes_result=False,
    )

    def __post_init__(self) -> None:
        for name, value in checked(Recipe, dict(vars(self))).items():  # one text where several may stand becomes a tuple
            object.__setattr__(self, name, value)
        check_bounds(self)
        for name in ("model", "task"):
            if not getattr(self, name).strip():
                raise BadRecipe(f"{name} is missing. {self.sentence(name)}")
        if self.n is not None and self.fraction is not None:
            raise BadRecipe(f"n = {self.n} and fraction = {self.fraction} both say how many neurons are cut; give one of them.")
        for kind in self.calibrate:
            if kind not in CALIBRATIONS or (kind == "none" and len(self.calibrate) > 1):
                raise BadRecipe(f"calibrate is {', '.join(self.calibrate)}; it is cc, dc, both, or none alone.")
        if not self.sites:
            raise BadRecipe('sites is empty, so there is nowhere to look; sites = ["*"] looks everywhere.')

    @property
    def default_output(self) -> Path:
        """The run folder where `output` names none: runs/<method>-<model>-<task>."""
        model = Path(os.path.abspath(self.model)).name
        task = Path(self.task).stem if self.task.endswith(".toml") else self.task.strip("/").replace("/", "-")
        return Path("runs") / f"{self.method}-{model}-{task}"

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
        words = [self.method, shown(self.model), shown(self.task)]
        for field in dataclasses.fields(self):
            value, flag = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
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
            if value is not None:
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
    name, equals, path = value.rpartition("=")
    if equals and not os.path.exists(value):
        return f"{_anchor_file(name)}={_anchor(path)}"
    return os.path.abspath(value) if value and os.path.exists(value) else value
