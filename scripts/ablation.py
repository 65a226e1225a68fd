"""CRISPR's ablation table: what each part of the score contributes (Yang et al. 2024, table of ablations).

    python scripts/ablation.py MODEL TASK… [--output DIR] [any flag of `resect crispr`, such as --data, --locate-on or --trials]

Every line leaves one part out: the maximum over tokens (their mean instead), the confusion weight, the skill term; the last line removes
random neurons, as many per layer and role as the full method (mean of three draws, and over the trials). Numbers: accuracy on the test
split in per cent with its 95 % interval, and how many neurons were removed. Every line is a run folder under --output; repeating the
command continues where it stopped. This script knows the command line and the run folder, and nothing of the method.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from resect.cli.main import main as resect

VARIANTS: Mapping[str, Sequence[str]] = {
    "full": (),
    "mean over tokens": ("--tokens", "mean"),
    "no confusion weight": ("--no-confusion-weight",),
    "no skill term": ("--skill", "0"),
}
LINES = ("as it is", *VARIANTS, "random neurons")
#: Left out: what the table does not show and what takes time.
BARE = ("--calibrate", "none", "--no-generation")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every line for every task, and print the table."""
    options, flags = parse(arguments)
    table = Table("", *map(short_name, options.tasks), box=box.SIMPLE_HEAD)
    columns = [column(options.model, task, flags, options.output) for task in options.tasks]
    for line in LINES:
        table.add_row(line, *(cells[line] for cells in columns))
    Console(markup=False, highlight=False).print(short_name(options.model), table, crop=False)


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Returns the script's own options, and the flags that go to `resect crispr`."""
    parser = argparse.ArgumentParser(
        description=__doc__, usage="%(prog)s MODEL TASK… [--output DIR] …", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("tasks", metavar="TASK", nargs="+")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"), metavar="DIR", help="where the run folders go")
    return parser.parse_known_args(arguments)


def column(model: str, task: str, flags: Sequence[str], output: Path) -> dict[str, str]:
    """Returns a task's cells, by line."""
    cells = {}
    for variant, settings in VARIANTS.items():
        folder = output / f"{short_name(model)}-{short_name(task)}" / variant.replace(" ", "-")
        status = resect(["crispr", model, task, *flags, *settings, *BARE, "--output", str(folder)])
        if status:
            raise SystemExit(status)
        comparison = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
        cells[variant] = f"{accuracy(comparison['edited'])}, n = {', '.join(map(str, sizes(folder, comparison)))}"
        if variant == "full":
            cells["as it is"] = accuracy(comparison["base"])
            cells["random neurons"] = "– (nothing was removed)" if comparison["control"] is None else accuracy(comparison["control"])
    return cells


def short_name(path: str) -> str:
    """Returns the last part of a model's or a task's name, without the ending of a task file."""
    return Path(path).absolute().name.removesuffix(".toml")


def accuracy(estimate: Mapping[str, Any]) -> str:
    """Returns a mean and its interval in per cent."""
    low, high = estimate["interval"]
    return f"{100 * estimate['mean']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def sizes(folder: Path, comparison: Mapping[str, Any]) -> list[int]:
    """Returns how many neurons the plan of each trial removes."""
    trials = comparison["other_metrics"].get("trials") or {}
    if "sizes" in trials:
        return list(trials["sizes"])
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    return [sum(len(units) for edit in plan["edits"] for units in edit["neurons"].values())]


if __name__ == "__main__":
    main()
