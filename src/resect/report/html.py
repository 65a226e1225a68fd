"""A run as one HTML file: no script, nothing from outside, readable on a phone, in print, in light and in dark.

Puts together what reading.py, facts.py, tables.py, pictures.py and quoted.py make of the folder; the template says where it
stands. A run that is not finished, or is damaged, is shown as far as it goes. Text of data and models is escaped, all of it.
"""

import base64
import dataclasses
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ..errors import InputError
from ..figures import PAGE, Figures
from ..files import write_text
from ..store import REPORT, Run
from . import charts, facts, pictures, quoted, tables
from .drawing import legible
from .reading import Object, Reading, object_of
from .words import answered, chosen, model_name

#: Tags that stand open; the others are folded.
TAGS = 16
KINDS = {"fixed": "Fixed", "broken": "Broken", "other": "Wrong before and after"}
#: What may stand in the list of contents: the key that must hold something, the anchor, the name.
CONTENTS = (
    *(("result", "result", "Before and after"), ("tags", "tags", "By kind"), ("search", "search", "How many"), ("where", "where", "Where")),
    *(("result", "beside", "Beside that"), ("trials", "trials", "Trials"), ("examples", "examples", "Changed answers")),
)


def page(run: Run) -> str:
    """The whole page. What the run does not hold, or holds damaged, is named in it; nothing is raised for that."""
    rendered = _template().render(_content(Reading.of(run)))
    return rendered.encode("utf-8", "replace").decode("utf-8")


def write(run: Run, to: Path | None = None) -> Path:
    """Write the page, whole or not at all, and say where: by default report.html in the run folder.

    Raises InputError for a file of another kind, which would be lost, and StorageFailure.
    """
    path = run.folder / REPORT if to is None else to
    if path.suffix.lower() not in (".html", ".htm") or (path.exists() and not path.is_file()):
        raise InputError(f"The report cannot be written to {path}; give a file whose name ends in .html.")
    write_text(path, page(run))
    return path


@cache
def _template() -> jinja2.Template:
    """The template; what it inserts is legible and escaped, and the one style that the page may have is its own."""
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
    figures = tables.figures_of(comparison)
    task = (comparison["task"] if comparison else "") or run.recipe.task
    notes = reading.environment.get("notes")
    found: dict[str, Any] = {
        "title": f"{model_name(run.recipe)} on {task} – resect report",
        "model": model_name(run.recipe),
        "task": task,
        "recipe": run.recipe,
        "folder": run.folder.resolve().name,
        "gaps": reading.gaps,
        "status": facts.status(reading),
        "tiles": facts.tiles(reading, figures),
        "asked": facts.what_was_asked(reading),
        "notes": [str(note) for note in notes] if isinstance(notes, list) else [],
        "several": bool(reading.parts),
        "environment": facts.environment(reading.environment),
        "commands": facts.commands(reading),
        "recipe_text": run.recipe.to_toml(),
        "kind_names": KINDS,
        **_measured(comparison, figures),
        **_changed(reading),
        "search": _search(reading, figures),
        "where": _where(reading),
        "trials": _trials(reading),
    }
    named = [(anchor, name) for key, anchor, name in CONTENTS if found[key]]
    return {**found, "contents": [("asked", "What was asked"), *named, ("again", "To do it again"), ("limits", "Limits")]}


def _measured(comparison: Object | None, figures: Figures) -> dict[str, Any]:
    """What stands in comparison.json."""
    if comparison is None:
        return dict.fromkeys(("headline", "result", "tags", "more_tags", "bias", "sides", "no_hold"))
    edited, tags = comparison["edited"], tables.tag_table(comparison, figures)
    few = tags and dataclasses.replace(tags, rows=tags.rows[:TAGS])
    more = tags and len(tags.rows) > TAGS and dataclasses.replace(tags, caption="More tags", rows=tags.rows[TAGS:])
    result = {
        "chart": pictures.result_chart(comparison, figures),
        "table": tables.result_table(comparison, figures),
        "change": tables.change_in_words(comparison, figures),
        "both": tables.both_ways(comparison),
        "asked": answered(comparison["metric"]).partition(":")[0],
        "has_baselines": any(comparison["baselines"].values()),
    }
    headline = {
        "before": figures.value(comparison["base"]["mean"]),
        "after": edited and figures.value(edited["mean"]),
        "unit": f"{comparison['metric']} on held-out examples",
    }
    return {
        "headline": headline,
        "result": result,
        "tags": few,
        "more_tags": more,
        "bias": tables.bias_table(comparison),
        "sides": tables.side_table(comparison),
        "no_hold": tables.has_no_hold(comparison),
    }


def _changed(reading: Reading) -> dict[str, Any]:
    """The changed answers, quoted."""
    instructions = reading.comparison["n_instructions"] if reading.comparison else None
    lost = not reading.examples and any("changed answers" in gap.what for gap in reading.gaps)
    return {
        "examples": quoted.kinds(reading.examples, instructions),
        "instructions": quoted.instructions(reading.examples),
        "examples_missing": lost and reading.comparison is not None,
    }


def _search(reading: Reading, figures: Figures) -> dict[str, Any] | None:
    """How n was chosen."""
    curve, ranking = pictures.search_curve(reading, figures), pictures.ranking(reading.scores, reading.cut)
    table = tables.search_table(reading, figures)
    if table is None and ranking is None:
        return None
    words = chosen(reading.run.recipe)
    if table is not None:
        words += f" The {figures.metric} drawn here is that on the select split, which chose n: it flatters, and is not the result."
    meaning = reading.scores.meaning.removeprefix("high: ") if reading.scores is not None else ""
    return {"words": words, "curve": curve, "table": table, "ranking": ranking, "meaning": meaning}


def _where(reading: Reading) -> dict[str, Any] | None:
    """Which neurons are cut."""
    cut = reading.cut
    if cut is None:
        return None
    maps = pictures.cut_maps(reading)
    words = (
        "Nothing is cut."
        if not maps
        else f"{PAGE.number(cut.total)} in all, counted by layer (from 0) and role: the matrix whose rows are cut."
    )
    return {"words": words, "maps": maps, "units": tables.units_table(cut) if maps else None, "digest": cut.digest}


def _trials(reading: Reading) -> dict[str, Any] | None:
    """The trials of a job that had several."""
    table = tables.trial_table(reading)
    if table is None:
        return None
    told = object_of(reading.comparison["other_metrics"].get("trials")) if reading.comparison else {}
    figures = tables.figures_of(reading.comparison)
    spread = tables.spread_in_words(told, figures)
    return {"table": table, "words": [line for line in (spread, tables.shared_units(reading.parts)) if line]}
