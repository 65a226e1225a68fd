"""What a comparison says in one sentence, and what to type next. Knows numbers and recipes, no terminal."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..recipe import Recipe

#: A loss of a kind of examples, as a share, from which on the verdict names it.
WORTH_SAYING = 0.02


def helped(comparison: Mapping[str, Any]) -> bool:
    """Whether the metric improved beyond chance, and random cuts of the same size did not do as well."""
    change, control = comparison.get("difference"), comparison.get("control")
    if change is None or change["interval"][0] <= 0:
        return False
    return control is None or _gain_of(comparison, control) < change["interval"][0]


def verdict(comparison: Mapping[str, Any], cut: int) -> str:
    """One sentence (or two) on what the numbers say."""
    change, control = comparison.get("difference"), comparison.get("control")
    if cut == 0:
        return "Nothing was cut: on the select split, no cut was better than none. The model stays as it is."
    if change is None:
        return "Nothing was compared."
    low, high = change["interval"]
    random = "" if control is None else f" Random cuts of the same size: {_gain(_gain_of(comparison, control))} points."
    interval = f"95 % interval {_gain(low)} to {_gain(high)}"
    told = f"{_gain(change['mean'])} points on examples that the search never saw ({interval})."
    neurons = f"{cut:,} neuron{'s' if cut != 1 else ''}"
    if low > 0 and not helped(comparison):
        return f"Cutting {neurons} helps: {told}{random} So random cuts may do as well: these neurons are not special."
    if low > 0:
        return f"Cutting {neurons} helps: {told}{random}{_costs(comparison)}"
    if high < 0:
        return f"Cutting {neurons} does harm: {told}{random}"
    return f"Cutting {neurons} shows no reliable change: {told}{random}"


def _costs(comparison: Mapping[str, Any]) -> str:
    """Which kinds of examples got clearly worse while all together got better; a sentence, or nothing."""
    changes = (comparison.get("difference") or {}).get("by_tag") or {}
    worse = [f"{tag} ({_gain(change)})" for tag, change in changes.items() if change <= -WORTH_SAYING]
    return f" It has a price: {', '.join(worse)}." if worse else ""


def next_commands(
    recipe: Recipe, folder: Path, comparison: Mapping[str, Any], cut: int, prompt: str = "…", short: bool = False
) -> list[tuple[str, str]]:
    """What to do now: pairs of a reason and a command.

    `prompt`: one whose answer the cut changed, to be tried. `short`: all the examples that there are were looked at.
    """
    plan = shlex.quote(near(str(folder / "plan.json")))
    if cut and helped(comparison):
        model = shlex.quote(near(recipe.model))
        run, name = shlex.quote(near(str(folder))), shlex.quote(f"{Path(recipe.model).name}-{recipe.method}")
        return [
            ("ask the model before and after:", f"{program()} try {model} --plan {plan} --prompt {shlex.quote(prompt)}"),
            ("write the cut model as a checkpoint:", f"{program()} export {run} --to {name}"),
        ]
    tags = list(comparison["base"].get("by_tag") or {})
    tries: list[tuple[str, dict[str, Any]]] = []
    if tags and not recipe.locate_on:
        first = "ambig" if "ambig" in tags else tags[0]
        tries.append((f"look only at examples tagged {first}:", {"locate_on": (first,)}))
    if not short:
        tries.append(("look at more examples:", {"samples": 3 * recipe.samples}))
    elif recipe.limit is not None:
        tries.append(("look at more examples, without the limit:", {"limit": None}))
    if recipe.sites == ("*",):
        tries.append(("look in the feed-forward blocks only:", {"sites": ("*.{gate,up,down}",)}))
    else:
        tries.append(("look everywhere:", {"sites": ("*",)}))
    return [(reason, command(recipe, folder, **changes)) for reason, changes in tries]


def command(recipe: Recipe, folder: Path, **changes: Any) -> str:
    """The command line of a recipe with some settings changed, which writes into a folder beside `folder`."""
    folder = folder.resolve()  # "." has no name
    name = "-".join((folder.name, *changes)).replace("_", "-")
    wanted = recipe.with_settings(**changes, output=near(str(folder.with_name(name))))
    return shlex.join([program(), *wanted.to_words(near)])


def program() -> str:
    """How this command is called here: by its name where the shell finds it, else by its path beside the interpreter."""
    beside = Path(sys.executable).with_name("resect")
    return "resect" if shutil.which("resect") or not beside.exists() else near(str(beside))


def near(path: str) -> str:
    """An absolute path as seen from the working folder, where that is shorter; anything else as it is."""
    name, equals, place = path.rpartition("=")
    if not os.path.isabs(place):
        return path
    relative = os.path.relpath(place)
    return f"{name}{equals}{relative}" if len(relative) < len(place) else path


def _gain_of(comparison: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    return float(other["mean"] - comparison["base"]["mean"])


def _gain(value: float) -> str:
    return f"{100 * value:+.1f}"
