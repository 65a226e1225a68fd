#!/usr/bin/env python3
"""What guards, protection and partial cuts change: CRISPR and LASER by the papers' rule and guarded, on the same examples.

    python scripts/safeguards.py MODEL TASK… --data PATH… [--limit N] [--instructions FILE|N] [--chat-template] [--laser] [--output DIR]

For each task one table: accuracy on the test split and by tag, perplexity of plain text, how often the most frequent kind of answer is
given where it is wrong, what was changed, and the verdict. All variants share one journal under --output, so that nothing is asked twice,
and the command continues where it stopped. Neither calibration nor generated answers are measured here.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from resect import Crispr, LanguageModel, Laser, Plan, Task, load_model, load_task
from resect.core.comparison import Comparison
from resect.core.execution import Workers
from resect.core.number_format import PLAIN
from resect.data.texts import PACKAGED_NAME, packaged_texts
from resect.edits import controls
from resect.evaluation.compare import compare, judged, without_plan
from resect.evaluation.side_effects import SideEffects
from resect.jobs.session import journal_for
from resect.methods.base import Found, Method, TaskInputs
from resect.runs.guard_limits import GuardLimits
from resect.runs.journal import FolderJournal

#: Of CRISPR: what the variants are called, their settings, and whether guards are on.
CRISPR: Mapping[str, tuple[Mapping[str, Any], bool]] = {
    "paper's rule": ({"protect": "none"}, False),
    "guarded": ({"protect": "none"}, True),
    "guarded, protected": ({}, True),
    "guarded, partial": ({"protect": "none", "factor": "search"}, True),
}
LASER = {"LASER, paper's rule": False, "LASER, guarded": True}


def variants(given: argparse.Namespace) -> Iterator[tuple[str, Method, GuardLimits]]:
    """The name of each variant, the method with its settings, and the guards."""
    for name, (settings, is_guarded) in CRISPR.items():
        crispr = Crispr(**{"locate_on": tuple(given.locate_on), "largest": given.largest, "protect": tuple(given.protect), **settings})
        yield name, crispr, GuardLimits() if is_guarded else GuardLimits.none()
    if given.laser:
        sites = tuple(given.sites)
        for name, is_guarded in LASER.items():
            laser = Laser(sites=sites, screen="gradient" if given.screened else None, screened=given.screened or 8)
            yield name, laser, GuardLimits() if is_guarded else GuardLimits.none()


def measured(model: LanguageModel, task: Task, found: Found, draws: int, workers: Workers) -> Comparison:
    """The comparison on the test split, with the perplexity of plain text, and so many random controls."""
    plan = found.plan
    drawn = controls.like(plan, model, 0, draws=draws) if plan.edits and draws else ()
    answers = compare(model, plan, task, controls=drawn, workers=workers)
    effects = SideEffects(texts=packaged_texts(), text_name=PACKAGED_NAME)
    comparison, _ = effects.measure(answers.comparison, answers.questions, [plan], workers=workers)
    return judged(replace(comparison, other_metrics={**comparison.other_metrics, **found.facts}), plan)


def row(name: str, comparison: Comparison, changed: str) -> list[str]:
    """The cells of a variant; of the unedited model where there is no verdict."""
    outcome = comparison.edited or comparison.base
    side = "edited" if comparison.edited is not None else "base"
    perplexity = comparison.side_effects["perplexity"][side]
    frequent = ((comparison.answers or {}).get("most_frequent") or {}).get(side)
    tags = [PLAIN.percent(outcome.by_tag.get(tag), unit=False) for tag in ("ambig", "disambig")]
    often = "–" if frequent is None else f"{PLAIN.percent(frequent['wrong_share'], unit=False)} ({frequent['label']})"
    word = "" if comparison.verdict is None else str(comparison.verdict["word"])
    return [name, PLAIN.percent(outcome.mean, unit=False), *tags, PLAIN.number(perplexity), often, changed, word]


def what(plan: Plan) -> str:
    """What a plan changes, in few words."""
    edits = plan.to_json()["edits"]
    if not edits:
        return "nothing"
    if "site" in edits[0]:
        return ", ".join(f"{edit['site']} ρ {edit['rho']:g}" for edit in edits)
    number = sum(len(units) for edit in edits for units in edit["neurons"].values())
    factor = f" × {edits[0]['factor']:g}" if edits[0].get("factor") else ""
    return f"{number} neurons{factor}"


def table_of(model: LanguageModel, task: Task, given: argparse.Namespace, workers: Workers) -> Table:
    """All variants on one task."""
    table = Table("variant", "accuracy", "ambig", "disambig", "perplexity", "same answer, wrong", "changed", "verdict", box=box.SIMPLE_HEAD)
    table.title = (
        f"{given.model} on {task.name}: {len(task.split('test'))} test examples, {len(task.instructions)} instructions, in per cent"
    )
    base = measured(model, task, Found.one(Plan()), 0, workers)
    table.add_row(*row("unedited", replace(without_plan(base), verdict=None), ""))
    constant = (base.answers or {}).get("constant")
    if constant is not None:
        table.add_row(f"always {constant['label']}", PLAIN.percent(constant["score"], unit=False), "", "", "", "", "", "")
    for name, method, guards in variants(given):
        found = method.search(model, TaskInputs(task, guards=guards), workers)
        comparison = measured(model, task, found, given.controls, workers)
        table.add_row(*row(name, comparison, what(found.plan)))
        print(json.dumps({"task": task.name, "variant": name, "verdict": comparison.verdict, "notes": found.notes}), flush=True)
    return table


def main() -> None:
    """Run every variant on every task, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--data", nargs="+", default=None)
    parser.add_argument("--template")
    parser.add_argument("--instructions", help="a file, or how many of the task's own")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--chat-template", action="store_true")
    parser.add_argument("--locate-on", nargs="*", default=["ambig"])
    parser.add_argument("--protect", nargs="*", default=["disambig"], help="the tags that are protected where protection is on")
    parser.add_argument("--largest", type=int, help="the most neurons that CRISPR tries")
    parser.add_argument("--controls", type=int, default=1, help="random edits beside each variant (default: 1)")
    parser.add_argument("--laser", action="store_true", help="LASER too")
    parser.add_argument("--sites", nargs="*", default=[], help="matrices that LASER searches")
    parser.add_argument("--screened", type=int, help="search only so many of them, by the gradient")
    parser.add_argument("--output", default="runs/safeguards", help="the folder of finished work")
    given = parser.parse_args()
    model = load_model(given.model, chat=given.chat_template)
    console = Console(width=170)
    for name in given.tasks:
        number = int(given.instructions) if (given.instructions or "").isdecimal() else None
        file = None if number is not None else given.instructions
        task = load_task(name, data=given.data, template=given.template, instructions=file)
        task = task.with_wording(instructions=task.instructions[:number]) if number else task
        task = task.limited(given.limit) if given.limit else task
        journal = journal_for(model, FolderJournal(Path(given.output) / name.replace("/", "-")))
        progress = lambda stage, done, total: None
        console.print(table_of(model, task, given, Workers(journal=journal, progress=progress)))


if __name__ == "__main__":
    main()
