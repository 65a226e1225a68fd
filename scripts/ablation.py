"""CRISPR's ablation table: what each piece of the score is good for (Yang et al. 2024, table of ablations; shared settings as there).

    python scripts/ablation.py MODEL TASK… --data PATH [--locate-on TAG] [--trials 3] …

Each line leaves one piece out: the maximum over tokens (their mean instead), the confusion weight, the skill term; the last cuts random
neurons, as many per layer and role as the full method (mean of three draws, and over the trials). Numbers are accuracies on the test
split, in per cent, with 95 % intervals, and how many neurons were cut. Every line is a run folder under --output: the same command
again goes on where it stopped.
"""

import argparse
import os
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from resect.cli.arguments import MODEL_FLAGS, TASK_FLAGS, settings_of
from resect.cli.flags import add_settings
from resect.cli.progress import progress_bar
from resect.edits.plan import Plan
from resect.jobs import run
from resect.runs.recipe import Recipe

VARIANTS = {
    "full": {},
    "mean over tokens": {"tokens": "mean"},
    "no confusion weight": {"confusion_weight": False},
    "no skill term": {"skill": 0.0},
}
#: What the ablation is not about, and what takes time.
BARE = {"calibrate": ("none",), "generation": False}


def main() -> None:
    options = parse()
    settings = settings_of(options)
    table = Table("", *(Path(task).stem if task.endswith(".toml") else task for task in options.tasks), box=box.SIMPLE_HEAD)
    columns = {task: column(options, task, settings) for task in options.tasks}
    for line in ("as it is", *VARIANTS, "random neurons"):
        table.add_row(line, *(columns[task][line] for task in options.tasks))
    Console(markup=False, highlight=False).print(f"{Path(os.path.abspath(options.model)).name}", table, crop=False)


def column(options: argparse.Namespace, task: str, settings: dict[str, object]) -> dict[str, str]:
    """A task's cells, by line."""
    cells = {}
    for name, changes in VARIANTS.items():
        folder = Path(options.output) / f"{Path(os.path.abspath(options.model)).name}-{Path(task).stem}" / name.replace(" ", "-")
        given = {**settings, **BARE, **changes, "model": options.model, "task": task, "output": str(folder)}
        with progress_bar(quiet=options.quiet) as progress:
            comparison = run.job(Recipe.from_settings(given), progress).comparison
        sizes = (comparison.other_metrics.get("trials") or {}).get("sizes") or [cut(folder)]
        cells[name] = f"{shown(comparison.edited)}, n = {', '.join(map(str, sizes))}"
        if name == "full":
            cells["as it is"] = shown(comparison.base)
            cells["random neurons"] = "– (nothing was cut)" if comparison.control is None else shown(comparison.control)
    return cells


def cut(folder: Path) -> int:
    """How many neurons the plan of a run cuts."""
    return sum(edit.neurons.count for edit in Plan.load(folder / "plan.json").edits)


def shown(estimate) -> str:
    low, high = estimate.interval
    return f"{100 * estimate.mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("tasks", metavar="TASK", nargs="+")
    add_settings(parser, ("samples", "locate_on", "sites", "choose", "max_fraction", "trials"))
    add_settings(parser, TASK_FLAGS)
    add_settings(parser, MODEL_FLAGS)
    parser.add_argument("--output", default="runs/ablation", metavar="DIR", help="Where the run folders go.")
    parser.add_argument("--quiet", action="store_true", help="No progress on standard error.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
