"""The commands that ask a model and make no run: try, evaluate, transfer, steer."""

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.console import Group

from resect.core.errors import InputError
from resect.core.files import read_lines
from resect.runs.run_files import STEERED
from resect.runs.run_folder import Run

from .arguments import settings_of
from .output import check_picture, emit, emit_grid, model_named, plan_path, run_of
from .progress import progress_bar

#: What can be the code of a language; anything else before an equals sign belongs to the name of a file.
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


def try_plan(options: Namespace) -> None:
    """Answers before and after a plan."""
    path = plan_path(options.plan)

    from resect.edits.plan import Plan
    from resect.jobs import evaluate as asking
    from resect.report.terminal import command_output

    plan = Plan.load(path)
    model = model_named(options)
    given = {"allow_other_model": options.allow_other_model, "max_new_tokens": options.max_new_tokens}
    answers = asking.try_plan(model, plan, options.prompt, **given)
    rows = [{"prompt": prompt, "before": before, "after": after} for prompt, before, after in answers]
    emit(options, {"answers": rows}, lambda: command_output.side_by_side(rows))


def evaluate(options: Namespace) -> None:
    """Tasks with and without a plan."""
    path = None if options.plan is None else plan_path(options.plan)

    from resect.edits.plan import Plan
    from resect.jobs import evaluate as asking
    from resect.report.terminal import command_output

    plan = None if path is None else Plan.load(path)
    model = model_named(options)
    with progress_bar(options.quiet) as progress:
        comparisons = asking.evaluate(
            model,
            plan,
            options.tasks,
            settings_of(options),
            progress,
            allow_other_model=options.allow_other_model,
            keep=options.output,
        )
    found: dict[str, Any] = {name: comparison.to_json() for name, comparison in comparisons.items()}
    result = {"plan": None if plan is None else plan.to_json(), "comparisons": found}
    if len(found) == 1:
        result["comparison"] = next(iter(found.values()))
    emit(options, result, lambda: command_output.comparisons(found, model=model.name, plan=options.plan))


def transfer(options: Namespace) -> None:
    """Plans carried over to other tasks."""
    check_picture(options)
    named = [(text, plan_path(text), run_of(text)) for text in options.plans]

    from resect.edits.plan import Plan
    from resect.jobs import evaluate as asking
    from resect.report.tables.comparison_grid import transferred

    plans = [asking.TransferredPlan(text, Plan.load(path), None if run is None else _found_on(run)) for text, path, run in named]
    model = model_named(options)
    with progress_bar(options.quiet) as progress:
        found = asking.transfer(
            model,
            plans,
            options.on,
            settings_of(options),
            progress,
            allow_other_model=options.allow_other_model,
            keep=options.output,
        )
    emit_grid(options, found, transferred(found))


def steer(options: Namespace) -> None:
    """Answers in another language, by the units that a run of lape found."""
    run = Run.load(options.run)
    prompts = _prompts(options)

    from resect.evaluation.llm_judge import LLMJudge
    from resect.jobs.steer import steer as answers_of
    from resect.report.page.html import write
    from resect.report.terminal import command_output

    if (options.judge is None) != (options.judge_model is None):
        raise InputError("A judge is an address and the name of a model there: give both --judge and --judge-model.")
    judge = None if options.judge is None else LLMJudge(options.judge, options.judge_model)
    model = model_named(options)
    with progress_bar(options.quiet) as progress:
        found = answers_of(
            model,
            run,
            options.to,
            options.source,
            options.mode,
            options.strength,
            prompts,
            new_tokens=options.new_tokens,
            template=None if options.template is None else options.template.replace("\\n", "\n"),
            judge=judge,
            allow_other_model=options.allow_other_model,
            progress=progress,
        )
    report = write(run)
    saved = [str(run.folder / STEERED / f"{each['name']}.json") for each in found]
    where = [f"The answers are in {', '.join(saved)}.", f"The report is {report}."]
    value = {"run": str(run.folder), "steered": found, "saved": saved, "report": str(report)}
    emit(options, value, lambda: Group(command_output.steered(found), command_output.lines(where)))


def _prompts(options: Namespace) -> dict[str, tuple[str, ...]]:
    """The prompts of each language that is named in front of a file; those of no language in particular under ""."""
    limit, found = settings_of(options).get("limit"), dict[str, tuple[str, ...]]()
    for entry in options.prompts:
        language, path = _language_of(entry, options)
        found[language] = (*found.get(language, ()), *read_lines(Path(path), "file of prompts"))
    return {language: prompts[:limit] for language, prompts in found.items()}


def _language_of(entry: str, options: Namespace) -> tuple[str, str]:
    """The language in front of a file, and the file; "" where the name of the file merely has an equals sign in it.

    Raises InputError for a language in which nothing is asked.
    """
    name, equals, path = entry.partition("=")
    asked = [options.source] if options.source else options.to
    if equals and name in asked:
        return name, path
    if not equals or not _LANGUAGE.fullmatch(name) or Path(entry).exists():
        return "", entry
    if name in options.to:
        raise InputError(
            f"--prompts {entry} names {name}, but with --from {options.source} the prompts are in {options.source}: give them as "
            f"{options.source}=FILE, or leave --from out."
        )
    known = f"--to ({', '.join(options.to)}) nor --from ({options.source or 'not given'})"
    raise InputError(f"--prompts {entry} names {name}, which is neither in {known}. Prompts of {' and '.join(asked)} are needed.")


def _found_on(run: Run) -> str:
    """The name of the task that a run looked at; of one that is not finished, what its recipe says."""
    return str(run.comparison()["task"]) if run.is_finished else run.recipe.task
