"""What the commands share: printing a result, loading what their options name. Knows no tensor."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resect.core.errors import InputError
from resect.core.files import write_text
from resect.runs.run_folder import Run

from .arguments import settings_of


def emit(options: Namespace, value: Any, for_people: Callable[[], Any]) -> None:
    """Print the value as one JSON object, or what is for people."""
    if options.json:
        json.dump(value, sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        from resect.report.terminal.summary import show

        show(for_people())


def emit_grid(options: Namespace, value: Any, grid: Any) -> None:
    """Print a table in the form that the options say, and draw it where they name a file."""
    if options.format == "text" or options.json:
        emit(options, value, grid.text)
    else:
        sys.stdout.write(grid.csv() if options.format == "csv" else grid.latex())
    if options.picture:  # last: a picture that cannot be written takes no number away
        sys.stdout.flush()
        write_text(Path(options.picture), grid.picture())


def check_picture(options: Namespace) -> None:
    """Refuse a picture of another kind before any work. Raises InputError."""
    if options.picture and not options.picture.lower().endswith(".svg"):
        raise InputError(f"The picture {options.picture} must be an .svg file; browsers show it, and Inkscape or rsvg-convert convert it.")


def model_named(options: Namespace) -> Any:
    """The LanguageModel that the options name."""
    from resect.models.loading import load_model

    names = ("dtype", "device", "device_map", "revision", "trust_remote_code", "batch_size", "chat_template")
    given = {name: value for name, value in settings_of(options).items() if name in names}
    if "chat_template" in given:
        given["chat"] = given.pop("chat_template")
    return load_model(options.model, **given)


def plan_path(text: str) -> Path:
    """The plan file that a path names: itself, or that of a run folder. Raises InputError."""
    path = Path(text)
    if path.is_dir():
        run = Run.load(path)
        names = run.plans()
        if names:
            plans = [str(path / "plans" / f"{name}.json") for name in names]
            raise InputError(
                f"The run in {path} has several plans: name one of {', '.join(plans)} ({run.plan_path} is all of them together)."
            )
        path = run.plan_path
    if not path.exists():
        raise InputError(f"The plan {path} does not exist. A plan is the plan.json of a run folder, or made by Plan.save.")
    return path


def run_of(text: str) -> Run | None:
    """The run that a path names: a run folder, or a plan in one; None for a plan by itself."""
    path = Path(text)
    if path.is_dir():
        return Run.load(path)
    for folder in (path.parent, path.parent.parent):
        run = Run.load(folder) if Run.is_run(folder) else None
        if run is not None and path.exists() and any(held.exists() and os.path.samefile(held, path) for held in run.plan_paths(path.name)):
            return run
    return None
