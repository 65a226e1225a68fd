"""The commands that only show what is there: anatomy, list, table, report."""

import warnings
from argparse import Namespace
from pathlib import Path

from resect.core.errors import InputError
from resect.runs.methods import method_names, settings_class
from resect.runs.run_folder import Run

from .arguments import settings_of
from .output import check_picture, emit, emit_grid


def anatomy(options: Namespace) -> None:
    """What a model is made of, from its configuration."""
    from resect.models.anatomy import Anatomy
    from resect.models.loading import load_config
    from resect.report.terminal import command_output

    given = settings_of(options)
    config = load_config(options.model, revision=given.get("revision"), trust_remote_code=given.get("trust_remote_code", False))
    body = Anatomy.of_config(config)
    found = {
        "model": options.model,
        "family": body.family,
        "kind": body.kind,
        "parameters": body.parameters,
        "layers": body.layers,
        "d_model": body.d_model,
        "d_ff": body.d_ff,
        "gated": body.gated,
        "neurons": body.neurons.to_json(),
        "sites": {str(site): list(body.shape(site)) for site in body.sites},
        "moments": {str(site): body.width(site) for site in body.moments},
        "cannot": list(body.cannot),
    }
    emit(options, found, lambda: command_output.body(found))


def list_names(options: Namespace) -> None:
    """Tasks, methods or families."""
    if options.what == "tasks":
        from resect.data.tasks.registry import list_tasks

        found = list_tasks()
    elif options.what == "families":
        from resect.models.families import FAMILIES, families

        found = {name: FAMILIES[name].kind for name in families()}
    else:
        methods = map(settings_class, method_names())
        found = {each.name: f"{each.summary} ({each.source})" for each in methods}

    from resect.report.terminal import command_output

    emit(options, found, lambda: command_output.listing(found))


def table(options: Namespace) -> None:
    """Finished runs side by side."""
    check_picture(options)
    other = [folder for folder in options.runs if not Run.is_run(folder)]
    if len(other) == len(options.runs):
        Run.load(other[0])  # says what is wrong with it
    for folder in other:  # `runs/*` takes in what lies beside the runs
        warnings.warn(f"{folder} is no run folder, and was left out.", stacklevel=1)
    runs = [Run.load(folder) for folder in options.runs if folder not in other]
    bare = [run for run in runs if not run.recipe.compares]
    for run in bare:
        warnings.warn(f"{run.folder} only recorded counts, which a table cannot show, and was left out.", stacklevel=1)
    runs = [run for run in runs if run not in bare]
    if not runs:
        raise InputError("No run is left that measured something: give finished run folders.")

    from resect.report.tables.comparison_grid import table as grid_of

    grid = grid_of(runs)
    emit_grid(options, grid.to_json(), grid)


def schema(options: Namespace) -> None:
    """The JSON schema of a file of the run folder, for editors and other programs."""
    import json
    import sys

    from resect.runs.schemas.catalogue import json_schema

    json.dump(json_schema(options.what), sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def report(options: Namespace) -> None:
    """A run as one HTML file."""
    from resect.report.page.html import write
    from resect.report.readers.run_reader import opened

    run = opened(options.run)

    path = write(run, None if options.to is None else Path(options.to))
    emit(options, {"report": str(path)}, lambda: f"{path} opens in a browser, without a network.")
