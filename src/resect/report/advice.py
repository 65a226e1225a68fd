"""What a comparison says in one sentence, and what to type next. Knows numbers and recipes, no terminal."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..figures import PLAIN, Face, Figures, count
from ..recipe import Recipe

#: A loss of a kind of examples, as a share or in log loss, from which on the verdict names it.
WORTH_SAYING = 0.02


def helped(comparison: Mapping[str, Any]) -> bool:
    """Whether the metric improved beyond chance, and random cuts of the same size did not do as well."""
    figures, change, control = Figures(comparison["metric"]), comparison.get("difference"), comparison.get("control")
    if change is None or figures.verdict(change["interval"]) != "improved":
        return False
    return control is None or figures.gain(change_to(comparison, control)) < min(map(figures.gain, change["interval"]))


def verdict(comparison: Mapping[str, Any], cut: int, face: Face = PLAIN) -> str:
    """One sentence (or two) on what the numbers say, for those who read it on `face`."""
    figures, change, control = Figures(comparison["metric"], face), comparison.get("difference"), comparison.get("control")
    if cut == 0:
        return "Nothing was cut: on the select split, no cut was better than none. The model stays as it is."
    if change is None:
        return "Nothing was compared."
    random = ""
    if control is not None:
        random = f" Random cuts of the same size: {figures.change(change_to(comparison, control), unit=True)}."
    told = f"{figures.change(change['mean'], unit=True)} on examples that the search never saw"
    told += f" (95 % interval {figures.changes(change['interval'])}).{random}"
    neurons, says = count(cut, "neurons"), figures.verdict(change["interval"])
    if says == "improved" and not helped(comparison):
        told += " So random cuts may do as well: these neurons are not special."
    told += _costs(comparison, figures) + _against_calibration(comparison, figures)
    words = {"improved": "helps", "worsened": "does harm", "no clear change": "shows no reliable change"}
    return f"Cutting {neurons} {words[says]}: {told}"


def change_to(comparison: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The change from the model as it was to another measurement of the same comparison."""
    return float(other["mean"] - comparison["base"]["mean"])


def _costs(comparison: Mapping[str, Any], figures: Figures) -> str:
    """Which kinds of examples got clearly worse, whatever became of all together; a sentence, or nothing."""
    changes = (comparison.get("difference") or {}).get("by_tag") or {}
    worse = [f"{tag} ({figures.change(change)})" for tag, change in changes.items() if figures.gain(change) <= -WORTH_SAYING]
    return f" It has a price: {', '.join(worse)}." if worse else ""


def _against_calibration(comparison: Mapping[str, Any], figures: Figures) -> str:
    """Whether calibrating the model as it is does as well; a sentence, or nothing where it was not measured. Baselines are accuracies."""
    found = {name.upper(): each["mean"] for name, each in (comparison.get("baselines") or {}).items() if each is not None}
    if not found or comparison.get("edited") is None or comparison["metric"] != "accuracy":
        return ""
    better = {name: mean for name, mean in found.items() if mean >= comparison["edited"]["mean"]}
    named = ", ".join(f"{name} {figures.value(mean)}" for name, mean in (better or found).items())
    if better:
        return f" Calibration of the model as it is does as well, or better, without a cut: {named}."
    return f" Calibration instead of a cut does less: {named}."


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
