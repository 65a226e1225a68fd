"""The commands that run no model: anatomy, list, table, schema, report."""

import json
import sys
import warnings
from argparse import Namespace
from pathlib import Path

from resect.core.errors import Failure, InputError
from resect.runs.looks import LOOKS
from resect.runs.methods import method_names, settings_class
from resect.runs.run_folder import Run

from .output import check_picture, emit, emit_grid
from .parsing import given_settings


def show_anatomy(options: Namespace) -> None:
    """Print what a model consists of, as its configuration says."""
    from resect.edits.verified import kept_verification, verify_again
    from resect.models.anatomy import Anatomy
    from resect.models.loading import load_config
    from resect.report.terminal import command_output

    given = given_settings(options)
    config = load_config(options.model, revision=given.get("revision"), trust_remote_code=given.get("trust_remote_code", False))
    anatomy = Anatomy.of_config(config)
    value = {
        "model": options.model,
        "family": anatomy.family,
        "kind": anatomy.kind,
        "parameters": anatomy.parameters,
        "layers": anatomy.layers,
        "experts": anatomy.experts,
        "d_model": anatomy.d_model,
        "d_ff": anatomy.d_ff,
        "gated": anatomy.gated,
        "neurons": anatomy.neurons.to_json(),
        "sites": {str(site): list(anatomy.shape(site)) for site in anatomy.sites},
        "moments": {str(site): anatomy.width(site) for site in anatomy.moments},
        "discovered": not anatomy.is_listed,
        "cannot": list(anatomy.not_covered),
    }
    if options.verify:
        value["verification"] = verify_again(config).to_json()
    elif not anatomy.is_listed:
        kept = kept_verification(config)
        value["laws"] = "not verified" if kept is None else "hold" if kept.holds else "fail"
    emit(options, value, lambda: command_output.anatomy(value))
    if options.verify and not value["verification"]["holds"]:
        raise Failure(f"Laws do not hold on a tiny model of {options.model}: this anatomy is not to be trusted.")


def list_names(options: Namespace) -> None:
    """Print the names of tasks, methods or families, each with a sentence."""
    if options.what == "tasks":
        from resect.data.tasks.registry import list_tasks

        names = list_tasks()
    elif options.what == "families":
        from resect.models.families import FAMILIES, covered_families

        names = {name: FAMILIES[name].kind for name in covered_families()}
    else:
        methods = {name: settings_class(name) for name in method_names()}
        names = {name: f"{method.summary} ({method.source})" for name, method in methods.items()}

    from resect.report.terminal import command_output

    more = "Other model types are found by themselves: resect anatomy MODEL tells what of it." if options.what == "families" else ""
    emit(options, names, lambda: command_output.listing(names, more))


def show_table(options: Namespace) -> None:
    """Print finished runs side by side."""
    check_picture(options)
    others = [folder for folder in options.runs if not Run.is_run(folder)]
    if len(others) == len(options.runs):
        Run.load(others[0])  # raises, and says why
    for folder in (folder for folder in others if Path(folder).name != LOOKS):  # `runs/*` may match other files
        warnings.warn(f"{folder} is no run folder, and was left out.", stacklevel=1)
    runs = []
    for run in (Run.load(folder) for folder in options.runs if folder not in others):
        if run.recipe.compares:
            runs.append(run)
        else:
            warnings.warn(f"{run.folder} only recorded counts, which a table cannot show, and was left out.", stacklevel=1)
    if not runs:
        raise InputError("None of these runs measured anything; give finished run folders.")

    from resect.report.tables.comparison_grid import table

    grid = table(runs)
    emit_grid(options, grid.to_json(), grid)


def print_schema(options: Namespace) -> None:
    """Print the JSON schema of a file of the run folder, for editors and other programs."""
    from resect.runs.schemas.catalogue import json_schema

    json.dump(json_schema(options.what), sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def write_report(options: Namespace) -> None:
    """Write a run as one HTML file."""
    from resect.report.page.html import write
    from resect.report.readers.run_contents import opened

    path = write(opened(options.run), None if options.to is None else Path(options.to))
    emit(options, {"report": str(path)}, lambda: f"{path} opens in a browser, without a network.")
