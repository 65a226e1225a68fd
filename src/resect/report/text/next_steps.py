"""What to type next, as pairs of a reason and a command. Knows recipes and results; no terminal, no page, no method."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resect.report.readers.language_matrix import LanguageMatrix
from resect.report.readers.looks_at_test import LooksAtTest
from resect.report.readers.plan_summary import PlanSummary
from resect.report.readers.shell_commands import near, program
from resect.runs.recipe import Recipe
from resect.runs.run_files import ANALYSES, COUNTS, PLAN, PLANS
from resect.runs.schemas.comparison import ComparisonFile

from .verdict import has_helped

Steps = list[tuple[str, str]]


def next_commands(recipe: Recipe, folder: Path, comparison: ComparisonFile, plan: PlanSummary, prompt: str = "…") -> Steps:
    """What to do with an edit that helps, or what the method would try where it does not.

    prompt : one whose answer the edit changed, to be tried
    """
    if plan.total and has_helped(comparison, plan):
        return _use(recipe, folder, plan, prompt)
    return _alternatives(recipe, folder, comparison.model_dump(mode="json", by_alias=True), is_empty=plan.total == 0)


def caution(recipe: Recipe, comparison: ComparisonFile, plan: PlanSummary, looks: LooksAtTest | None) -> str:
    """What is to be said before alternatives are tried: each looks at *test* again. Empty where none are proposed, or there is no task."""
    if (plan.total and has_helped(comparison, plan)) or comparison.is_plain_text or not recipe.get("task"):
        return ""
    number = "" if looks is None else f" (look number {looks.number + 1:,} with this model)"
    return (
        f"Each of these looks at the test split again{number}: choose among settings by their values on select (trials.jsonl), not by "
        "those on test, or report on fresh items."
    )


def next_commands_by_language(recipe: Recipe, folder: Path, matrix: LanguageMatrix | None) -> Steps:
    """What to do with the units of the language whose own text suffers most, and what the method would try."""
    if matrix is None:
        return []
    changes = zip(matrix.own, matrix.languages, strict=True)
    clear = [(change, name) for change, name in changes if change is not None and name in matrix.with_units]
    steps = _use_language(recipe, folder, max(clear)[1]) if clear else []
    return [*steps, *_alternatives(recipe, folder, {}, is_empty=not matrix.with_units)]


def command(recipe: Recipe, folder: Path, **changes: Any) -> str:
    """The command line of a recipe with some settings changed, which writes into a folder next to `folder`."""
    folder = folder.resolve()  # "." has no name
    name = "-".join((folder.name, *changes)).replace("_", "-")
    return shlex.join([program(), *recipe.with_settings(**changes, output=near(str(folder.with_name(name)))).to_words(near)])


def _use(recipe: Recipe, folder: Path, plan: PlanSummary, prompt: str) -> Steps:
    model, path = shlex.quote(near(recipe.model)), shlex.quote(near(str(folder / PLAN)))
    run, name = shlex.quote(near(str(folder))), f"{Path(recipe.model).name}-{recipe.method}"
    onto = "--model FULL-MODEL " if _is_quantised(recipe.model) else ""
    export = f"{program()} export {run} {onto}--to"
    steps = [
        ("ask the model before and after:", f"{program()} try {model} --plan {path} --prompt {shlex.quote(prompt)}"),
        (f"write the {plan.past} model as a checkpoint:", f"{export} {shlex.quote(name)}"),
    ]
    if any(not reduction.site.is_routed for reduction in plan.reductions):  # matrices of experts are not stored as factors
        smaller = f"{export} {shlex.quote(f'{name}-factored')} --format factored"
        steps.append(("write it smaller, as two thin factors for each reduced matrix:", smaller))
    if plan.reductions and not (folder / ANALYSES).exists():
        steps.append(("look closer (loss of every reduction, spectra, small components):", f"{program()} analyse {run}"))
    return steps


def _is_quantised(model: str) -> bool:
    """Whether a model is a GGUF file, or a folder with quantised weights, of which no edited copy can be written."""
    if model.lower().endswith(".gguf"):
        return True
    try:
        return '"quantization_config"' in (Path(model) / "config.json").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _use_language(recipe: Recipe, folder: Path, language: str) -> Steps:
    model, run = shlex.quote(near(recipe.model)), shlex.quote(near(str(folder)))
    base = "FULL-MODEL" if _is_quantised(recipe.model) else model
    plan, to = shlex.quote(near(str(folder / PLANS / f"{language}.json"))), shlex.quote(f"{Path(recipe.model).name}-without-{language}")
    steer = f"{program()} steer {model} --run {run} --to {language} --prompts your-prompts.txt"
    return [
        (f"make it answer in {language} (one prompt a line):", steer),
        (f"ask it with the units of {language} deactivated:", f"{program()} try {model} --plan {plan} --prompt {shlex.quote('…')}"),
        (f"write the model without the units of {language} as a checkpoint:", f"{program()} export {plan} --model {base} --to {to}"),
    ]


def _alternatives(recipe: Recipe, folder: Path, comparison: Mapping[str, Any], *, is_empty: bool) -> Steps:
    """What the method would try with other settings."""
    recipe = _from_counts(recipe, folder)
    tries = recipe.settings.alternatives(recipe.values, comparison, is_empty)
    return [(reason, command(recipe, folder, **changes)) for reason, changes in tries]


def _from_counts(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe that counts nothing anew, where there are counts, and held-out text has files of its own."""
    if not recipe.get("valid") or not (folder / COUNTS).exists():
        return recipe
    recorded = {"corpus": (), "corpus_tokens": None, "purity": False, "until_stable": False, "counts": (str(folder / COUNTS),)}
    return recipe.with_settings(**{key: value for key, value in recorded.items() if key in recipe.values})
