"""The commands that run a model outside a job: try, evaluate, transfer, steer."""

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.console import Group

from resect.core.errors import InputError
from resect.core.files import read_lines
from resect.runs.run_files import STEERED
from resect.runs.run_folder import Run

from .output import check_picture, emit, emit_grid, load_model_of, plan_path, run_of, warn_of_reading
from .parsing import given_settings
from .progress import show_progress

#: What may be the code of a language; anything else in front of an equals sign is part of a file's name.
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


def try_plan(options: Namespace) -> None:
    """Print the answers to prompts before and after a plan."""
    path = plan_path(options.plan)

    from resect.edits.plan import Plan
    from resect.jobs.evaluate_plans import try_prompts
    from resect.report.terminal import command_output

    plan = Plan.load(path)
    model = load_model_of(options)
    answers = try_prompts(model, plan, options.prompt, allow_other_model=options.allow_other_model, max_new_tokens=options.max_new_tokens)
    warn_of_reading(model)
    rows = [{"prompt": prompt, "before": before, "after": after} for prompt, before, after in answers]
    emit(options, {"answers": rows}, lambda: command_output.side_by_side(rows))


def evaluate_model(options: Namespace) -> None:
    """Print comparisons on tasks, with and without a plan."""
    path = None if options.plan is None else plan_path(options.plan)

    from resect.edits.plan import Plan
    from resect.jobs.evaluate_plans import evaluate_tasks
    from resect.report.terminal import command_output

    plan = None if path is None else Plan.load(path)
    model = load_model_of(options)
    with show_progress(options.quiet) as progress:
        comparisons = evaluate_tasks(
            model,
            plan,
            options.tasks,
            given_settings(options),
            progress,
            allow_other_model=options.allow_other_model,
            journal_folder=options.output,
        )
    warn_of_reading(model)
    by_task: dict[str, Any] = {name: comparison.to_json() for name, comparison in comparisons.items()}
    value = {"plan": None if plan is None else plan.to_json(), "comparisons": by_task}
    if len(by_task) == 1:
        value["comparison"] = next(iter(by_task.values()))
    emit(options, value, lambda: command_output.comparisons(by_task, model=model.name, plan=options.plan))


def transfer_plans(options: Namespace) -> None:
    """Print what plans change on other tasks."""
    check_picture(options)
    sources = [(text, plan_path(text), run_of(text)) for text in options.plans]

    from resect.edits.plan import Plan
    from resect.jobs.evaluate_plans import TransferredPlan, evaluate_transfer
    from resect.report.tables.comparison_grid import transferred

    plans = [TransferredPlan(text, Plan.load(path), None if run is None else _task_of(run)) for text, path, run in sources]
    model = load_model_of(options)
    with show_progress(options.quiet) as progress:
        result = evaluate_transfer(
            model,
            plans,
            options.on,
            given_settings(options),
            progress,
            allow_other_model=options.allow_other_model,
            journal_folder=options.output,
        )
    warn_of_reading(model)
    emit_grid(options, result, transferred(result))


def steer_model(options: Namespace) -> None:
    """Print answers in another language, given with the units that a run found, and store them in the run."""
    run = Run.load(options.run)
    prompts = _prompts(options)

    from resect.evaluation.llm_judge import LLMJudge
    from resect.jobs.steer_answers import steer
    from resect.report.page.html import write
    from resect.report.terminal import command_output

    if (options.judge is None) != (options.judge_model is None):
        raise InputError("A judge is an address and the name of a model there: give both --judge and --judge-model.")
    judge = None if options.judge is None else LLMJudge(options.judge, options.judge_model)
    model = load_model_of(options)
    with show_progress(options.quiet) as progress:
        results = steer(
            model,
            run,
            options.to,
            options.source,
            options.mode,
            options.strength,
            prompts,
            guard=options.guard,
            new_tokens=options.new_tokens,
            template=None if options.template is None else options.template.replace("\\n", "\n"),
            judge=judge,
            allow_other_model=options.allow_other_model,
            progress=progress,
        )
    warn_of_reading(model)
    report = write(run)
    saved = [str(run.folder / STEERED / f"{result['name']}.json") for result in results]
    sentences = [f"The answers are in {', '.join(saved)}.", f"The report is {report}."]
    value = {"run": str(run.folder), "steered": results, "saved": saved, "report": str(report)}
    emit(options, value, lambda: Group(command_output.steered(results), command_output.lines(sentences)))


def _prompts(options: Namespace) -> dict[str, tuple[str, ...]]:
    """Returns the prompts by the language in front of their file; those of files without a language under ""."""
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit is {options.limit}; it must be at least 1.")
    by_language: dict[str, tuple[str, ...]] = {}
    for entry in options.prompts:
        language, path = _language_and_file(entry, options)
        by_language[language] = (*by_language.get(language, ()), *read_lines(Path(path), "file of prompts"))
    return {language: prompts[: options.limit] for language, prompts in by_language.items()}


def _language_and_file(entry: str, options: Namespace) -> tuple[str, str]:
    """Returns the language in front of a file, and the file; the language is "" where only the file's name has an equals sign in it.

    Raises InputError for a language in which no prompt is answered.
    """
    name, equals, path = entry.partition("=")
    prompted = [options.source] if options.source else options.to
    if equals and name in prompted:
        return name, path
    if not equals or not _LANGUAGE.fullmatch(name) or Path(entry).exists():
        return "", entry
    if name in options.to:
        raise InputError(
            f"--prompts {entry} names {name}, but with --from {options.source} the prompts are in {options.source}: give them as "
            f"{options.source}=FILE, or leave --from out."
        )
    known = f"--to ({', '.join(options.to)}) nor --from ({options.source or 'not given'})"
    raise InputError(f"--prompts {entry} names {name}, which is neither in {known}. Prompts of {' and '.join(prompted)} are needed.")


def _task_of(run: Run) -> str:
    """Returns the name of the task that a run's plan was found on; before the run is finished, as its recipe gives it."""
    return str(run.comparison()["task"]) if run.is_finished else run.recipe.get("task", "")
