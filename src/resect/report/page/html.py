"""Renders a run folder as one HTML file: no script, nothing external, readable on a phone, in print, in light and in dark.

An unfinished or damaged run is shown as far as it goes. Text of data and models is escaped, all of it.
"""

import base64
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from resect.core.errors import InputError
from resect.core.exhibits import Cell
from resect.core.files import read_text, write_text
from resect.core.number_format import PAGE
from resect.report.charts.svg import legible, stylesheet
from resect.report.readers.run_contents import RunContents
from resect.report.text import changed_answers
from resect.report.text.language_sentences import subject
from resect.report.text.words import model_name
from resect.runs.run_files import RECIPE, REPORT
from resect.runs.run_folder import Run

from .answers_section import changed_section, questions_section, steering_section
from .blocks import Section
from .comparison_section import comparison_sections, side_effects_section, trials_section
from .exhibit_section import exhibit_sections
from .matrix_section import matrix_section
from .plan_section import plan_section, ranking_section
from .run_section import limits_section, missing_blocks, repeat_section, setup_section
from .search_section import search_sections
from .status import status


def page(run: Run) -> str:
    """Returns the page. What the run does not hold, or holds damaged, is named in it; nothing is raised for that."""
    contents = RunContents.of(run)
    rendered = _template().render(
        **_header(contents), status=status(contents), missing=missing_blocks(contents), sections=_sections(contents)
    )
    return rendered.encode("utf-8", "replace").decode("utf-8")


def write(run: Run, to: Path | None = None) -> Path:
    """Writes the page and returns its path: by default report.html in the run folder.

    Raises InputError for a file of another kind, which would be lost, and StorageFailure.
    """
    path = run.folder / REPORT if to is None else to
    if path.suffix.lower() not in (".html", ".htm") or (path.exists() and not path.is_file()):
        raise InputError(f"The report cannot be written to {path}; give a file whose name ends in .html.")
    write_text(path, page(run))
    return path


def _header(contents: RunContents) -> dict[str, Any]:
    """Title and heading."""
    run, languages, comparison = contents.run, contents.languages, contents.comparison
    task = (comparison.task if comparison is not None else "") or run.recipe.get("task", "")
    about, preposition = (task, "on") if languages is None else (subject(languages.languages), "in")
    model = model_name(run.recipe)
    return {
        "title": f"{model} {preposition} {about}" if about else model,
        "model": model,
        "subject": about,
        "preposition": preposition,
        "method": run.recipe.method if contents.recipe is not None else "",
        "folder": run.folder.resolve().name,
    }


def _sections(contents: RunContents) -> list[Section]:
    """Everything that the run holds, a section each."""
    comparison, plan, languages = contents.comparison, contents.plan_or_kind, contents.languages
    sections = [setup_section(contents)]
    if comparison is not None and languages is None:
        sections += comparison_sections(comparison, plan)
    sections += search_sections(contents)
    if languages is not None:
        sections += [] if languages.matrix is None else [matrix_section(languages.matrix)]
        sections += [questions_section(languages.questions, languages.answers)] if languages.questions or languages.answers else []
        sections += [steering_section(languages.steered)] if languages.steered else []
    units = {} if languages is None else languages.units
    if contents.plan is not None:
        file_digest = hashlib.sha256(contents.run.plan_path.read_bytes()).hexdigest()
        sections.append(plan_section(contents.plan, contents.scores, units, file_digest))
    ranking = None if contents.scores is None or languages is not None else ranking_section(contents.scores, contents.plan)
    sections += [] if ranking is None else [ranking]
    if comparison is not None and languages is None:
        sections.append(side_effects_section(comparison, plan))
    sections += exhibit_sections(contents.exhibits)
    sections += trials_section(contents)
    sections += _changed(contents)
    return [*sections, repeat_section(contents, _recipe_text(contents)), limits_section(contents)]


def _changed(contents: RunContents) -> list[Section]:
    """The changed answers, or that they could not be read."""
    is_lost = not contents.examples and contents.comparison is not None and any("changed answers" in gap.what for gap in contents.gaps)
    if not contents.examples and not is_lost:
        return []
    number = None if contents.comparison is None else contents.comparison.n_instructions
    kinds, instructions = changed_answers.kinds(contents.examples, number), changed_answers.instructions(contents.examples)
    return [changed_section(kinds, instructions, contents.plan_or_kind, is_lost=is_lost, has_trials=bool(contents.parts))]


def _recipe_text(contents: RunContents) -> str:
    """The recipe; a damaged one as it is."""
    if contents.recipe is not None:
        return contents.recipe.to_toml()
    try:
        return read_text(contents.run.folder / RECIPE, "recipe")
    except InputError as error:
        return str(error)


@cache
def _template() -> jinja2.Template:
    """The template; what it inserts is legible and escaped, and the only style that the page allows is its own."""
    files = resources.files(__package__)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_legible
    )
    style = stylesheet() + (files / "page.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)
    environment.globals["style_hash"] = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    environment.globals["kind_of"] = lambda block: type(block).__name__
    environment.globals["cell"] = _cell
    return environment.from_string((files / "page.html.jinja").read_text(encoding="utf-8"))


def _cell(value: Cell) -> str:
    return value if isinstance(value, str) else PAGE.number(value)


def _legible(value: Any) -> Any:
    return legible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
