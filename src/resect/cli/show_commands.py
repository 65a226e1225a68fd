"""The commands that only show what is there: anatomy, list, table, report."""

import warnings
from argparse import Namespace
from pathlib import Path

from resect.core.errors import InputError
from resect.runs.recipe import METHODS
from resect.runs.run_folder import Run

from .arguments import settings_of
from .output import check_picture, emit, emit_grid

METHOD_SENTENCES = {
    "crispr": "Bias neurons (Yang et al. 2024, arXiv:2311.09627): found by attribution, set to 0.",
    "laser": "Layer-selective rank reduction (Sharma et al. 2024, arXiv:2312.13558): one matrix, or several, replaced by low-rank ones.",
    "lape": "Units that carry a language (Tang et al. 2024, arXiv:2402.16438): found by how often each language activates them, set to 0.",
}


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


def what_there_is(options: Namespace) -> None:
    """Tasks, methods or families."""
    if options.what == "tasks":
        from resect.data.tasks.registry import list_tasks

        found = list_tasks()
    elif options.what == "families":
        from resect.models.families import FAMILIES, families

        found = {name: FAMILIES[name].kind for name in families()}
    else:
        found = {name: METHOD_SENTENCES[name] for name in METHODS}

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
    bare = [run for run in runs if run.recipe.record_only]
    for run in bare:
        warnings.warn(f"{run.folder} only recorded counts, which a table cannot show, and was left out.", stacklevel=1)
    runs = [run for run in runs if run not in bare]
    if not runs:
        raise InputError("No run is left that measured something: give run folders of crispr, laser or lape.")

    from resect.report.tables.comparison_grid import table as grid_of

    grid = grid_of(runs)
    emit_grid(options, grid.to_json(), grid)


def report(options: Namespace) -> None:
    """A run as one HTML file."""
    from resect.report.page.html import write
    from resect.report.readers.run_reader import opened

    run = opened(options.run)

    path = write(run, None if options.to is None else Path(options.to))
    emit(options, {"report": str(path)}, lambda: f"{path} opens in a browser, without a network.")
