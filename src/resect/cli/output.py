"""What several commands share: they print a result, and open the model, plan or run that their options name. Knows no tensor."""

import json
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resect.core.errors import InputError
from resect.core.files import write_text
from resect.runs.chat_settings import reading_arguments
from resect.runs.run_folder import Run

from .command_arguments import MODEL_KEYS, READING_KEYS
from .parsing import given_settings


def emit(options: Namespace, value: Any, renderable: Callable[[], Any]) -> None:
    """Print the value as one JSON object with --json, else the renderable, which is made only then."""
    if options.json:
        json.dump(value, sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        from resect.report.terminal.summary import show

        show(renderable())


def emit_grid(options: Namespace, value: Any, grid: Any) -> None:
    """Print a table in the format of --format, and draw it into the file of --picture."""
    if options.format == "text" or options.json:
        emit(options, value, grid.text)
    else:
        sys.stdout.write(grid.csv() if options.format == "csv" else grid.latex())
    if options.picture:  # last, so that the numbers are printed where the picture cannot be written
        sys.stdout.flush()
        write_text(Path(options.picture), grid.picture())


def check_picture(options: Namespace) -> None:
    """Raises InputError for a picture that is no .svg file, before any work."""
    if options.picture and not options.picture.lower().endswith(".svg"):
        raise InputError(f"The picture {options.picture} must be an .svg file; browsers show it, and Inkscape or rsvg-convert convert it.")


def load_model_of(options: Namespace) -> Any:
    """Returns the LanguageModel that the options name; a discovered anatomy is verified once."""
    from resect.edits.verified import warn_where_laws_fail
    from resect.models.loading import load_model

    given = {key: value for key, value in given_settings(options).items() if key in MODEL_KEYS}
    reading = reading_arguments(given)
    model = load_model(options.model, **{key: value for key, value in given.items() if key not in READING_KEYS}, **reading)
    warn_where_laws_fail(model.model)
    return model


def warn_of_reading(model: Any) -> None:
    """Warns once of what a user should know of how the model's texts were read; what concerns its files, loading has said."""
    for note in model.encoder.notes():
        warnings.warn(note, stacklevel=2)


def plan_path(text: str) -> Path:
    """Returns the plan file of a path, which names it or its run folder. Raises InputError."""
    path = Path(text)
    if path.is_dir():
        run = Run.load(path)
        names = run.plans()
        if names:
            plans = [str(path / "plans" / f"{name}.json") for name in names]
            raise InputError(f"The run in {path} has several plans: name one of {', '.join(plans)}, or {run.plan_path} for all together.")
        path = run.plan_path
    if not path.exists():
        raise InputError(f"The plan {path} does not exist. A plan is the plan.json of a run folder, or a file written by Plan.save.")
    return path


def run_of(text: str) -> Run | None:
    """Returns the run of a path, which names its folder or a plan in it; None for any other plan."""
    path = Path(text)
    if path.is_dir():
        return Run.load(path)
    for folder in (path.parent, path.parent.parent):
        run = Run.load(folder) if Run.is_run(folder) else None
        if run is not None and path.exists() and any(plan.exists() and os.path.samefile(plan, path) for plan in run.plan_paths(path.name)):
            return run
    return None
