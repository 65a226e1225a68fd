"""A run as one HTML file: no script, nothing from outside, readable on a phone, in print, in light and in dark.

Puts together what reading.py, facts.py, tables.py, pictures.py and quoted.py make of the folder; the template says where it
stands. A run that is not finished, or is damaged, is shown as far as it goes. Text of data and models is escaped, all of it.
"""

import base64
import dataclasses
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from resect.core.errors import InputError
from resect.core.files import read_text, write_text
from resect.core.number_format import PAGE, MetricFormat
from resect.report.charts import estimates_and_curves
from resect.report.charts.svg import legible
from resect.report.readers.analyses import Analyses, analyses_of
from resect.report.readers.denoising import Denoised
from resect.report.readers.laser_search import Sought
from resect.report.readers.plan_summary import Surgery
from resect.report.readers.run_reader import Reading
from resect.report.readers.tolerant import Object, object_of
from resect.report.tables import tables
from resect.report.text import changed_answers
from resect.report.text.advice import has_spread
from resect.report.text.words import answered, chosen, model_name
from resect.runs.run_files import RECIPE, REPORT
from resect.runs.run_folder import Run

from . import facts, findings
from . import figures as pictures
from . import lape_page as languages
from .laser_sections import composition_section, noise_section, reductions_table, search_section
from .sections import Section

#: Tags that stand open; the others are folded.
TAGS = 16
KINDS = {"fixed": "Fixed", "broken": "Broken", "other": "Wrong before and after"}
#: What may stand in the list of contents: the key that must hold something, the anchor, the name; "": sections with their own.
CONTENTS = (
    *(("result", "result", "Before and after"), ("tags", "tags", "By kind"), ("search", "search", "How many"), ("sought", "", "")),
    *(
        ("where", "where", "Where"),
        ("result", "beside", "Beside that"),
        ("analysed", "", ""),
        ("trials", "trials", "Trials"),
        ("examples", "examples", "Changed answers"),
    ),
)
#: What only a run with a task has.
OF_TASKS = (
    "result",
    "tags",
    "more_tags",
    "bias",
    "sides",
    "no_hold",
    "examples",
    "instructions",
    "examples_missing",
    "search",
    "where",
    "trials",
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
    style = estimates_and_curves.style() + (files / "page.css").read_text(encoding="utf-8")
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
    surgery = reading.surgery
    found: dict[str, Any] = {
        "model": model_name(run.recipe),
        "method": run.recipe.method if reading.recipe is not None else "",
        "surgery": surgery,
        "folder": run.folder.resolve().name,
        "gaps": reading.gaps,
        "notes": [str(note) for note in notes] if isinstance(notes, list) else [],
        "several": bool(reading.parts),
        "environment": facts.environment(reading.environment),
        "recipe_text": run.recipe.to_toml() if reading.recipe is not None else _raw(run),
        "kind_names": KINDS,
    }
    if reading.languages is not None:
        found |= {**dict.fromkeys(OF_TASKS), **languages.content(reading, reading.languages)}
        return {**found, "contents": _contents(found)}
    found |= {
        "title": f"{model_name(run.recipe)} on {task} – resect report",
        "joint": "on",
        "task": task,
        "status": facts.status(reading),
        "tiles": facts.tiles(reading, figures),
        "asked": facts.what_was_asked(reading),
        "commands": facts.commands(reading),
        **_measured(comparison, surgery, figures),
        **_changed(reading),
        "search": _search(reading, figures),
        "sought": _sought(reading),
        "where": _where(reading),
        "analysed": findings.sections(_analysed(reading), surgery, reading.examples),
        "trials": _trials(reading),
        "caution": f"A gain on this set is no{' gain everywhere' if surgery.is_of_matrices else 't an unbiased model'}",
        "limits": facts.limits(surgery),
    }
    return {**found, "contents": _contents(found)}


def _contents(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The list of contents, in the order of the page."""
    named: list[tuple[str, str]] = []
    for key, anchor, name in CONTENTS:
        held = found[key]
        named += [(each.anchor, each.name) for each in held] if anchor == "" else [(anchor, name)] if held else []
    return [("asked", "What was asked"), *named, ("again", "To do it again"), ("limits", "Limits")]


def _analysed(reading: Reading) -> Analyses:
    """What was analysed; of paraphrases, what the comparison itself tells."""
    told = (reading.comparison or {"other_metrics": {}})["other_metrics"].get("paraphrases")
    if reading.analyses.paraphrases is not None or told is None:
        return reading.analyses
    return dataclasses.replace(reading.analyses, paraphrases=analyses_of({"paraphrases": told})[0].paraphrases)


def _raw(run: Run) -> str:
    """A damaged recipe as it lies there."""
    try:
        return read_text(run.folder / RECIPE, "recipe")
    except InputError as error:
        return str(error)


def _sought(reading: Reading) -> list[Section]:
    """How a reduction was found."""
    denoised = Denoised.of(reading.comparison, reading.trials)
    if denoised is not None:
        return [noise_section(denoised)]
    sought = Sought.of(reading.trials, reading.comparison)
    if sought is None or reading.recipe is None:
        return []
    steps = composition_section(sought)
    return [search_section(reading.recipe, sought, reading.surgery), *([] if steps is None else [steps])]


def _measured(comparison: Object | None, surgery: Surgery, figures: MetricFormat) -> dict[str, Any]:
    """What stands in comparison.json."""
    if comparison is None:
        return dict.fromkeys(("headline", "result", "tags", "more_tags", "bias", "sides", "no_hold"))
    edited, tags = comparison["edited"], tables.tag_table(comparison, figures)
    few = tags and dataclasses.replace(tags, rows=tags.rows[:TAGS])
    more = tags and len(tags.rows) > TAGS and dataclasses.replace(tags, caption="More tags", rows=tags.rows[TAGS:])
    result = {
        "chart": pictures.result_chart(comparison, surgery, figures),
        "table": tables.result_table(comparison, surgery, figures),
        "change": tables.change_in_words(comparison, figures),
        "both": tables.both_ways(comparison, surgery),
        "others": tables.other_table(comparison),
        "asked": answered(comparison["metric"]).partition(":")[0],
        "is_answered": comparison["metric"] in ("accuracy", "generation"),
        "has_spread": has_spread(comparison),
        "has_baselines": any(comparison["baselines"].values()),
    }
    numbers = [("before", figures.value(comparison["base"]["mean"]), "")]
    numbers += [("after", figures.value(edited["mean"]), "after")] if edited else []
    headline = {
        "numbers": numbers,
        "unit": "log loss of a token of held-out text" if Denoised.of(comparison) else f"{comparison['metric']} on held-out examples",
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
        "examples": changed_answers.kinds(reading.examples, instructions),
        "instructions": changed_answers.instructions(reading.examples),
        "examples_missing": lost and reading.comparison is not None,
    }


def _search(reading: Reading, figures: MetricFormat) -> dict[str, Any] | None:
    """How n was chosen."""
    curve, ranking = pictures.search_curve(reading, figures), pictures.ranking(reading.scores, reading.cut)
    table = tables.search_table(reading, figures)
    if (table is None and ranking is None) or reading.surgery.is_of_matrices:
        return None
    words = chosen(reading.recipe) if reading.recipe is not None else ""
    if table is not None:
        words += f" The {figures.metric} drawn here is that on the select split, which chose n: it flatters, and is not the result."
    meaning = reading.scores.meaning.removeprefix("high: ") if reading.scores is not None else ""
    return {"words": words, "curve": curve, "table": table, "ranking": ranking, "meaning": meaning}


def _where(reading: Reading) -> dict[str, Any] | None:
    """Which neurons are cut."""
    cut = reading.cut
    if cut is None:
        return None
    surgery, maps = cut.surgery, pictures.cut_maps(reading)
    neurons = f"{PAGE.number(surgery.neurons)} in all, counted by layer (from 0) and role: the matrix whose rows are cut."
    reduced = "Whole matrices: of each, only the largest components stay, up to the rank that is left. Nothing else of the model changes."
    words = [neurons] if maps else []
    words += [reduced] if surgery.reductions else []
    return {
        "words": " ".join(words) or f"Nothing is {surgery.past}.",
        "maps": maps,
        "units": tables.units_table(cut) if maps else None,
        "reductions": reductions_table(surgery) if surgery.reductions else None,
        "digest": cut.digest,
    }


def _trials(reading: Reading) -> dict[str, Any] | None:
    """The trials of a job that had several."""
    table = tables.trial_table(reading)
    if table is None:
        return None
    told = object_of(reading.comparison["other_metrics"].get("trials")) if reading.comparison else {}
    figures = tables.figures_of(reading.comparison)
    spread = tables.spread_in_words(told, figures)
    return {"table": table, "words": [line for line in (spread, tables.shared_units(reading.parts)) if line]}
