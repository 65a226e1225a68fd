"""The commands that work in run folders, or make something of one: demo, crispr, run, repeat, export."""

import os
from argparse import Namespace
from pathlib import Path

from resect.core.errors import InputError
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

from .arguments import settings_of
from .output import emit, plan_path, run_of
from .progress import progress_bar


def demo(options: Namespace) -> None:
    """The main job on what the package holds."""
    # So small a model is no faster on several threads, and on a busy machine far slower: they wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from resect.jobs import run

    with progress_bar(options.quiet) as progress:
        outcome = run.demo(progress, output=options.output)
    _show_run(outcome.folder, options)


def job(options: Namespace) -> None:
    """The whole job of a method: locate, search, compare."""
    _job(Recipe.from_settings({"method": options.command, **settings_of(options)}), options)


def from_recipe(options: Namespace) -> None:
    """The job of a recipe file. A recipe in a run folder, which says nothing else, means that folder; so does the folder itself."""
    path = Path(options.recipe)
    recipe = Run.load(path).recipe.with_settings(output=str(path)) if path.is_dir() else Recipe.load(path)
    if recipe.output is None and Run.is_run(path.parent) and Run.load(path.parent).recipe == recipe:
        recipe = recipe.with_settings(output=str(path.parent))
    _job(recipe.with_settings(**settings_of(options)), options)


def repeat(options: Namespace) -> None:
    """A finished run once more. Raises Repeated-run disagreement as a Failure, after it was printed."""
    run = Run.load(options.run)

    from resect.core.errors import Failure
    from resect.jobs.repeat import repeat as again
    from resect.report.terminal import command_output

    with progress_bar(options.quiet) as progress:
        repeated = again(run, options.output, progress)
    found = repeated.to_json()
    emit(options, found, lambda: command_output.agreement(found))
    if not repeated.agrees:
        raise Failure("The plan came out differently; see above what was not the same around the two runs.")


def analyse(options: Namespace) -> None:
    """Analyses of a finished run, into its folder, and its report anew."""
    run = Run.load(options.run)

    from resect.jobs.analyse import analyse as look
    from resect.report.page.html import write
    from resect.report.terminal import command_output

    given = {name: value for name, value in settings_of(options).items() if name not in ("counts", "corpus")}  # which mean others here
    with progress_bar(options.quiet) as progress:
        found = look(run, options.what, counts=options.counts, corpus=options.corpus, progress=progress, **given)
    path = write(run)
    notes = [f"{exhibit.title}: {exhibit.note}" for exhibit in run.exhibits() if exhibit.note]
    where = f"The numbers are in {run.folder / 'analyses.json'}, the plots in {path}."
    emit(options, {"run": str(run.folder), "analyses": found}, lambda: command_output.lines([*notes, where]))


def export(options: Namespace) -> None:
    """A plan written into a checkpoint."""
    path, run = plan_path(options.plan), run_of(options.plan)
    source = options.model or (run.recipe.model if run is not None else None)
    if source is None:
        raise InputError("Which model is to be cut? A plan by itself does not say: --model MODEL.")

    from resect.edits.plan import Plan
    from resect.export.export import export as write
    from resect.report.terminal import command_output

    given = {name: value for name, value in settings_of(options).items() if name in ("revision", "device", "trust_remote_code")}
    if run is not None and options.model is None and run.recipe.revision is not None:
        given.setdefault("revision", run.recipe.revision)
    with progress_bar(options.quiet) as progress:
        exported = write(
            Plan.load(path),
            source,
            options.to,
            run=run,
            base_model=options.base_model,
            as_format=options.format,
            verify=options.verify,
            allow_other_model=options.allow_other_model,
            progress=progress,
            **given,
        )
    emit(options, exported.to_json(), lambda: command_output.lines(exported.sentences()))


def _job(recipe: Recipe, options: Namespace) -> None:
    from resect.jobs import run
    from resect.jobs.dry_run import describe

    if options.dry_run:
        sentences = describe(recipe)
        emit(options, {"run": str(recipe.folder), "dry_run": sentences}, lambda: "\n".join(sentences))
        return
    with progress_bar(options.quiet) as progress:
        outcome = run.job(recipe, progress, fresh=options.fresh)
    _show_run(outcome.folder, options)


def _show_run(folder: Path, options: Namespace) -> None:
    """The report into the folder, and the summary onto the terminal."""
    from resect.report.page.html import write
    from resect.report.terminal.summary import summary

    run = Run.load(folder)
    write(run)
    made = {"plan": run.plan_json(), "comparison": run.comparison()} if run.recipe.compares else {"counts": str(run.counts_path)}
    emit(options, {"run": str(folder), **made}, lambda: summary(run))
