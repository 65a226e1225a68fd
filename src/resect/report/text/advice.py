"""What a comparison says in one sentence, and what to type next. Knows numbers and recipes, no terminal."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resect.core.number_format import PLAIN, MetricFormat, NumberStyle, plural
from resect.report.readers.denoising import Denoised
from resect.report.readers.plan_summary import OF_MATRICES, Surgery
from resect.report.readers.shell_commands import near, program
from resect.report.readers.tolerant import whole_of
from resect.runs.recipe import Recipe
from resect.runs.run_files import ANALYSES

from .generated_answers import Written

#: A loss of a kind of examples, as a share or in log loss, from which on the verdict names it.
WORTH_SAYING = 0.02
#: Where and how far else to reduce, where the search found nothing: globs, and ρ between those that are searched by default.
ATTENTION, FINER = ("*.{q,k,v,o}",), (0.95, 0.85, 0.7, 0.5, 0.3)


def helped(comparison: Mapping[str, Any]) -> bool:
    """Whether the metric improved beyond chance, and random cuts of the same size did not do as well.

    Of a reduction without a task, which is to cost little: whether it cost no more than was allowed.
    """
    denoised = Denoised.of(comparison)
    if denoised is not None:
        return denoised.is_within
    figures, change, control = MetricFormat(comparison["metric"]), comparison.get("difference"), comparison.get("control")
    if change is None or figures.verdict(change["interval"]) != "improved":
        return False
    return control is None or figures.gain(change_to(comparison, control)) < min(map(figures.gain, change["interval"]))


def verdict(comparison: Mapping[str, Any], surgery: Surgery, face: NumberStyle = PLAIN) -> str:
    """One sentence (or two) on what the numbers say, for those who read it on `style`."""
    figures, change, control = MetricFormat(comparison["metric"], face), comparison.get("difference"), comparison.get("control")
    noun, denoised = surgery.noun, Denoised.of(comparison)
    if denoised is not None:
        return denoised.verdict(comparison, surgery, face)
    if surgery.total == 0:
        return f"Nothing was {surgery.past}: on the select split, no {noun} was better than none. The model stays as it is."
    if change is None:
        return "Nothing was compared."
    random = ""
    if control is not None:
        random = f" {surgery.random}: {figures.change(change_to(comparison, control), unit=True)}."
    told = f"{figures.change(change['mean'], unit=True)} on examples that the search never saw"
    says, written = figures.verdict(change["interval"]), Written.of(comparison)
    told += f" (95 % interval {figures.change_interval(change['interval'])}).{written.sentence(says == 'improved', face)}{random}"
    if says == "improved" and not helped(comparison):
        told += f" So {'others' if surgery.is_of_matrices else 'random cuts'} may do as well: {surgery.these} not special."
    told += _costs(comparison, figures) + harm_elsewhere(comparison, face) + _against_calibration(comparison, figures, noun)
    helps = "helps when the choices are scored" if written.is_other and written.has_doubt else "helps"
    words = {"improved": helps, "worsened": "does harm", "no clear change": "shows no reliable change"}
    return f"{surgery.doing(face)} {words[says]}: {told}"


def change_to(comparison: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The change from the model as it was to another measurement of the same comparison."""
    return float(other["mean"] - comparison["base"]["mean"])


def _costs(comparison: Mapping[str, Any], figures: MetricFormat) -> str:
    """Which kinds of examples got clearly worse, whatever became of all together; a sentence, or nothing."""
    changes = (comparison.get("difference") or {}).get("by_tag") or {}
    worse = [f"{tag} ({figures.change(change)})" for tag, change in changes.items() if figures.gain(change) <= -WORTH_SAYING]
    return f" It has a price: {', '.join(worse)}." if worse else ""


def has_price(comparison: Mapping[str, Any]) -> bool:
    """Whether what improved did so at a price: it got worse under another metric, or written answers do not show the gain."""
    return Written.of(comparison).has_doubt or bool(harm_elsewhere(comparison))


def harm_elsewhere(comparison: Mapping[str, Any], face: NumberStyle = PLAIN) -> str:
    """Under which other metrics it clearly got worse, as generated text may while the most probable choice gets better; or nothing."""
    worse, main = [], comparison.get("difference")
    scored = comparison["metric"] == "accuracy" and main is not None and MetricFormat().verdict(main["interval"]) == "improved"
    for name, found in (comparison.get("other_metrics") or {}).items():
        if scored and name == "generation":  # said beside the gain (`Written`)
            continue
        held = found if isinstance(found, Mapping) else {}
        change, figures = held.get("difference"), MetricFormat(name, face)
        ends = [end["mean"] if isinstance(end, Mapping) else end for end in (held.get("base"), held.get("edited"))]
        if isinstance(change, Mapping) and change.get("interval") and figures.verdict(change["interval"]) == "worsened":
            worse += [f"{name} {figures.pair(*ends)}"] if figures.gain(change["mean"]) <= -WORTH_SAYING else []
    return f" Asked in another way it does harm: {', '.join(worse)}." if worse else ""


def _against_calibration(comparison: Mapping[str, Any], figures: MetricFormat, noun: str) -> str:
    """What calibrating the model as it is does; a sentence, or nothing where it was not measured. Baselines are accuracies."""
    found = {name.upper(): each["mean"] for name, each in (comparison.get("baselines") or {}).items() if each is not None}
    if not found or comparison.get("edited") is None or comparison["metric"] != "accuracy":
        return ""
    better = {name: mean for name, mean in found.items() if mean >= comparison["edited"]["mean"]}
    if better:
        named = ", ".join(f"{name} {figures.value(mean)}" for name, mean in better.items())
        return f" Calibration of the model as it is does as well, or better, without a {noun}: {named}."
    changes = {name: mean - comparison["base"]["mean"] for name, mean in found.items()}
    named = ", ".join(f"{name} {figures.change(change)}" for name, change in changes.items())
    told = "does not help"
    if max(changes.values()) >= WORTH_SAYING:
        told = f"instead of a {noun} does less"
    elif max(changes.values()) <= -WORTH_SAYING:
        told = "does harm"
    return f" Calibration {told}: {named}{figures.style.blank}points."


def has_spread(comparison: Mapping[str, Any]) -> bool:
    """Whether there are several instructions, over whose means there is a spread."""
    return comparison.get("n_instructions") != 1


def turned(comparison: Mapping[str, Any], figures: MetricFormat) -> str:
    """How many answers became better and worse, and of how many."""
    told, of = figures.answer_changes(comparison["difference"]), of_all(comparison)
    return f"{told}, {of}" if of else told


def of_all(comparison: Mapping[str, Any]) -> str:
    """Of how many answers some changed: each example is asked under each instruction; nothing where that is not known."""
    examples, instructions = (whole_of(comparison.get(f"n_{what}")) for what in ("examples", "instructions"))
    moved = sum(comparison["difference"][name] or 0 for name in ("fixed", "broken"))
    if examples is None or instructions is None or moved > examples * instructions:  # several trials are counted together
        return ""
    product = f" ({plural(examples, 'examples')} × {plural(instructions, 'instructions')})" if instructions > 1 else ""
    return f"of {examples * instructions:,}{product}"


def next_commands(
    recipe: Recipe, folder: Path, comparison: Mapping[str, Any], surgery: Surgery, prompt: str = "…", short: bool = False
) -> list[tuple[str, str]]:
    """What to do now: pairs of a reason and a command.

    `prompt`: one whose answer the edit changed, to be tried. `short`: all the examples that there are were looked at.
    """
    if surgery.total and helped(comparison):
        return _use(recipe, folder, surgery, prompt)
    if recipe.method in OF_MATRICES:
        tries = _of_matrices(recipe, comparison, is_empty=surgery.total == 0)
    else:
        tries = _of_neurons(recipe, comparison, short)
    return [(reason, command(recipe, folder, **changes)) for reason, changes in tries]


def _use(recipe: Recipe, folder: Path, surgery: Surgery, prompt: str) -> list[tuple[str, str]]:
    """What to do with an edit that helps."""
    model, plan = shlex.quote(near(recipe.model)), shlex.quote(near(str(folder / "plan.json")))
    run, name = shlex.quote(near(str(folder))), f"{Path(recipe.model).name}-{recipe.method}"
    export = f"{program()} export {run} --to"
    found = [
        ("ask the model before and after:", f"{program()} try {model} --plan {plan} --prompt {shlex.quote(prompt)}"),
        (f"write the {surgery.past} model as a checkpoint:", f"{export} {shlex.quote(name)}"),
    ]
    if surgery.reductions:
        smaller = f"{export} {shlex.quote(f'{name}-factored')} --format factored"
        found.append(("write it smaller, as two thin factors for each reduced matrix:", smaller))
    if surgery.reductions and not (folder / ANALYSES).exists():
        found.append(("look closer (loss of every reduction, spectra, small components):", f"{program()} analyse {run}"))
    return found


Tries = list[tuple[str, dict[str, Any]]]


def _of_neurons(recipe: Recipe, comparison: Mapping[str, Any], short: bool) -> Tries:
    """What to change where cutting neurons did not help."""
    tags = list(comparison["base"].get("by_tag") or {})
    tries: Tries = []
    if tags and not recipe.locate_on:
        first = "ambig" if "ambig" in tags else tags[0]
        tries.append((f"look only at examples tagged {first}:", {"locate_on": (first,)}))
    if not short:
        tries.append(("look at more examples:", {"samples": 3 * recipe.samples}))
    elif recipe.limit is not None:
        tries.append(("look at more examples, without the limit:", {"limit": None}))
    if recipe.sites in ((), ("*",)):
        tries.append(("look in the feed-forward blocks only:", {"sites": ("*.{gate,up,down}",)}))
    else:
        tries.append(("look everywhere:", {"sites": ()}))
    return tries


def _of_matrices(recipe: Recipe, comparison: Mapping[str, Any], is_empty: bool) -> Tries:
    """What to change where reducing matrices did not help. `is_empty`: nothing was reduced, since no candidate gained."""
    if recipe.published:
        return [("search, instead of taking the published choice:", {"published": False})]
    tries: Tries = []
    if recipe.screen is not None:
        tries.append(("search every matrix, without the screening:", {"screen": None}))
    denoised = Denoised.of(comparison)
    if denoised is not None and denoised.is_lost:
        return [("choose by text that the model knows:", {"text": ("your-text.txt",)})]
    if recipe.task_free:
        return [("allow the text to become a little less probable:", {"rise": 5 * recipe.rise or 0.01})]
    if not recipe.compose and not is_empty:  # a composition begins with the same candidates, and needs one that gains
        tries.append(("reduce several matrices, one after the other:", {"compose": True}))
    if recipe.limit is not None:
        tries.append(("choose on more examples, without the limit:", {"limit": None}))
    if recipe.sites != ATTENTION:
        tries.append(("look at the attention's matrices instead:", {"sites": ATTENTION}))
    if is_empty and comparison["metric"] != "logloss" and recipe.metric != "logloss":
        tries.append(("choose by log loss, which moves before an answer does:", {"metric": "logloss"}))
    if not set(FINER) & set(recipe.rho):
        tries.append(("try other steps of ρ:", {"rho": FINER}))
    return tries


def command(recipe: Recipe, folder: Path, **changes: Any) -> str:
    """The command line of a recipe with some settings changed, which writes into a folder beside `folder`."""
    folder = folder.resolve()  # "." has no name
    name = "-".join((folder.name, *changes)).replace("_", "-")
    wanted = recipe.with_settings(**changes, output=near(str(folder.with_name(name))))
    return shlex.join([program(), *wanted.to_words(near)])
