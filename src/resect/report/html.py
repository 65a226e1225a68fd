"""A run as one HTML file: no script, nothing from outside, readable on a phone, in print, in light and in dark.

Puts together what reading.py, tables.py, pictures.py and quoted.py make of the folder; the template says where it stands.
A run that is not finished, or is damaged, is shown as far as it goes. Text of data and models is escaped, all of it.
"""

import base64
import dataclasses
import hashlib
import shlex
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ..errors import InputError
from ..files import write_text
from ..recipe import Recipe
from ..store import RECIPE, REPORT, Run
from . import charts, pictures, quoted, tables
from .advice import command, helped, near, next_commands, program, verdict
from .drawing import legible
from .reading import Object, Reading, object_of
from .terminal import examples_shown
from .words import Figures, asked, count, duration, method, model_name, number, signed

#: Tags that stand open; the others are folded.
TAGS = 16
#: What a variant presets, and a run keeps beside its scores.
PRESET = ("tokens", "confusion_weight", "skill", "choose", "largest")
KINDS = {"fixed": "Fixed", "broken": "Broken", "other": "Wrong before and after"}


@dataclasses.dataclass(frozen=True)
class Fact:
    """A name and what there is to say about it."""

    name: str
    lines: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Tile:
    """A number of the summary, with what it is and what belongs to it."""

    label: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Status:
    """The verdict: a word for the badge, a sign and a tone (good, bad, open), and the sentence."""

    word: str
    sign: str
    tone: str
    sentence: str


def status(reading: Reading) -> Status:
    """What the numbers say, or that there are none yet."""
    comparison, cut = reading.comparison, reading.cut
    if comparison is None:
        kept = count(reading.run.journal.count, "finished work items")
        return Status("Not finished", "…", "open", f"There is no comparison yet; {kept} are kept, and the job goes on from there.")
    change = comparison["difference"]
    if cut is None:
        return Status("Plan missing", "…", "open", "What was cut is not known, since the plan is not there; the numbers below are what was measured.")
    says = verdict(comparison, cut.total)
    if cut.total == 0:
        return Status("Nothing was cut", "–", "open", says)
    if change is None:
        return Status("Not compared", "…", "open", says)
    if helped(comparison):
        return Status("Helps", "✓", "good", says)
    if change["interval"][0] > 0:
        return Status("No better than chance cuts", "≈", "open", says)
    if change["interval"][1] < 0:
        return Status("Does harm", "✕", "bad", says)
    return Status("No reliable change", "≈", "open", says)


def page(run: Run) -> str:
    """The whole page. What the run does not hold, or holds damaged, is named in it. Raises nothing for that."""
    rendered = _template().render(_content(Reading.of(run)))
    return rendered.encode("utf-8", "replace").decode("utf-8")


def write(run: Run, to: Path | None = None) -> Path:
    """Write the page, whole or not at all, and say where: by default report.html in the run folder. Raises StorageFailure."""
    path = run.folder / REPORT if to is None else to
    write_text(path, page(run))
    return path


@cache
def _template() -> jinja2.Template:
    """The template; what it inserts is legible and escaped."""
    files = resources.files(__package__)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_seen
    )
    style = charts.style() + (files / "page.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)
    environment.globals["style_hash"] = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return environment.from_string((files / "page.html.jinja").read_text(encoding="utf-8"))


def _seen(value: Any) -> Any:
    return legible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _content(reading: Reading) -> dict[str, Any]:
    """Everything that the template speaks of."""
    run, comparison = reading.run, reading.comparison
    figures = Figures(comparison["metric"] if comparison else "accuracy")
    task = (comparison["task"] if comparison else "") or run.recipe.task
    found: dict[str, Any] = {
        "title": f"{model_name(run.recipe)} on {task}: resect report",
        "model": model_name(run.recipe),
        "task": task,
        "recipe": run.recipe,
        "folder": near(str(run.folder)),
        "gaps": reading.gaps,
        "status": status(reading),
        "headline": _headline(comparison, figures),
        "tiles": _tiles(reading, figures),
        "asked": _asked(reading),
        "notes": [str(note) for note in reading.environment.get("notes") or ()],
        "settings": _settings(run.recipe),
        "several": bool(reading.parts),
        "environment": _environment(reading.environment),
        "commands": _commands(reading),
        "recipe_text": run.recipe.to_toml(),
        "kind_names": KINDS,
        **_measured(comparison, figures),
        **_quoted(reading),
        "search": _search(reading, figures),
        "where": _where(reading),
        "trials": _trials(reading),
    }
    return {**found, "contents": _contents(found)}
