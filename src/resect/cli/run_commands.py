"""The commands that run a job, or continue from a run folder: demo, the methods, run, repeat, analyse, export."""

import os
from argparse import Namespace
from pathlib import Path

from resect.core.errors import Failure, InputError
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

from .output import emit, plan_path, run_of
from .parsing import given_settings
from .progress import show_progress


def run_demo(options: Namespace) -> None:
    """Run the main job on the model and the task inside the package."""
    # So small a model is no faster on several threads, and on a busy machine far slower: they wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from resect.jobs import run

    with show_progress(options.quiet) as progress:
        outcome = run.demo(progress, output=options.output)
    _show_run(outcome.folder, options)


def run_method(options: Namespace) -> None:
    """Run the job of the method that the command names."""
    _run_job(Recipe.from_settings({"method": options.command, **given_settings(options)}), options)


def run_recipe(options: Namespace) -> None:
    """Run the job of a recipe file. A run folder, or the unchanged recipe in it, continues in that folder."""
    path = Path(options.recipe)
    recipe = Run.load(path).recipe.with_settings(output=str(path)) if path.is_dir() else Recipe.load(path)
    if recipe.output is None and Run.is_run(path.parent) and Run.load(path.parent).recipe == recipe:
        recipe = recipe.with_settings(output=str(path.parent))
    _run_job(recipe.with_settings(**given_settings(options)), options)


def repeat_run(options: Namespace) -> None:
    """Run a finished run once more, and print which files agree. Raises Failure where the plan does not."""
    run = Run.load(options.run)

    from resect.jobs.repeat import repeat
    from resect.report.terminal import command_output

    with show_progress(options.quiet) as progress:
        repeated = repeat(run, options.output, progress)
    value = repeated.to_json()
    emit(options, value, lambda: command_output.agreement(value))
    if not repeated.agrees:
        raise Failure("The plan came out differently; see above what was not the same around the two runs.")


def analyse_run(options: Namespace) -> None:
    """Analyse a finished run, store the results in its folder, and write its report again."""
    run = Run.load(options.run)

    from resect.jobs.analyse import analyse
    from resect.report.page.html import write
    from resect.report.terminal import command_output

    # The flags --counts and --corpus of this command are not the settings of these names.
    given = {key: value for key, value in given_settings(options).items() if key not in ("counts", "corpus")}
    with show_progress(options.quiet) as progress:
        results = analyse(run, options.what, counts=options.counts, corpus=options.corpus, progress=progress, **given)
    page = write(run)
    notes = [f"{exhibit.title}: {exhibit.note}" for exhibit in run.exhibits() if exhibit.note]
    files = f"The numbers are in {run.folder / 'analyses.json'}, the plots in {page}."
    emit(options, {"run": str(run.folder), "analyses": results}, lambda: command_output.lines([*notes, files]))


def export_plan(options: Namespace) -> None:
    """Write the model with a plan applied as a checkpoint."""
    path, run = plan_path(options.plan), run_of(options.plan)
    source = options.model or (run.recipe.model if run is not None else None)
    if source is None:
        raise InputError("A plan by itself does not say which model it edits; give --model MODEL.")

    from resect.edits.plan import Plan
    from resect.export.export import export
    from resect.report.terminal import command_output

    given = {key: value for key, value in given_settings(options).items() if key in ("revision", "device", "trust_remote_code")}
    if run is not None and options.model is None and run.recipe.revision is not None:
        given.setdefault("revision", run.recipe.revision)
    with show_progress(options.quiet) as progress:
        exported = export(
            Plan.load(path),
            source,
            options.to,
            run=run,
            base_model=options.base_model,
            as_format=options.format,
            verify=options.verify,
            allow_other_model=options.allow_other_model,
            anyway=options.anyway,
            progress=progress,
            **given,
        )
    emit(options, exported.to_json(), lambda: command_output.lines(exported.sentences()))


def _run_job(recipe: Recipe, options: Namespace) -> None:
    from resect.jobs import run
    from resect.jobs.dry_run import describe

    if options.dry_run:
        sentences = describe(recipe)
        emit(options, {"run": str(recipe.folder), "dry_run": sentences}, lambda: "\n".join(sentences))
        return
    with show_progress(options.quiet) as progress:
        outcome = run.job(recipe, progress, fresh=options.fresh)
    _show_run(outcome.folder, options)


def _show_run(folder: Path, options: Namespace) -> None:
    """Write the report into the run folder, and print the summary."""
    from resect.report.page.html import write
    from resect.report.terminal.summary import summary

    run = Run.load(folder)
    write(run)
    results = {"plan": run.plan_json(), "comparison": run.comparison()} if run.recipe.compares else {"counts": str(run.counts_path)}
    emit(options, {"run": str(folder), **results}, lambda: summary(run))
