"""What a report says in words: the verdict, the numbers at the top, what was asked, how, and how to do it again. Knows no page."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resect.core.errors import InputError
from resect.core.number_format import DASH, PAGE, MetricFormat, before_after, few_groups_note, plural
from resect.report.readers.denoising import Denoised
from resect.report.readers.laser_search import Sought
from resect.report.readers.plan_summary import OF_MATRICES, Surgery
from resect.report.readers.run_reader import Reading
from resect.report.readers.shell_commands import near, program
from resect.report.readers.tolerant import Object, number_of, object_of
from resect.report.tables import tables
from resect.report.text.advice import change_to, command, has_price, helped, next_commands, of_all, verdict
from resect.report.text.changed_answers import examples_shown
from resect.report.text.words import answered, duration, method
from resect.runs.recipe import Recipe
from resect.runs.run_files import RECIPE

#: What a variant presets, and a run keeps beside its scores.
PRESET = ("tokens", "confusion_weight", "skill", "choose", "largest")


@dataclass(frozen=True)
class Fact:
    """A name and what there is to say about it."""

    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Tile:
    """A number of the summary, with what it is and what belongs to it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Status:
    """The verdict: a word for the badge, a sign and a tone (good, bad, open), the sentence, and what is said below it."""

    word: str
    sign: str
    tone: str
    sentence: str
    details: tuple[str, ...] = ()


def status(reading: Reading) -> Status:
    """What the numbers say, or that there are none yet."""
    comparison, cut = reading.comparison, reading.cut
    if comparison is None:
        kept = plural(reading.run.journal.count, "finished work items")
        return Status("Not finished", "…", "open", f"There is no comparison yet; {kept} are kept, and the job goes on from there.")
    change = comparison["difference"]
    if cut is None:
        lost = f"What was {reading.surgery.past} is not known: the plan is missing. The numbers are what was measured."
        return Status("Plan missing", "…", "open", lost)
    says = verdict(comparison, cut.surgery, PAGE)
    if cut.total == 0:
        return Status(f"Nothing was {cut.surgery.past}", "–", "open", says)
    if change is None:
        return Status("Not compared", "…", "open", says)
    denoised = Denoised.of(comparison)
    if denoised is not None:
        if denoised.is_lost:
            return Status("Text beyond the model", "≈", "open", says)
        return Status(*(("As allowed", "✓", "good") if denoised.is_within else ("Costs more than allowed", "✕", "bad")), says)
    if helped(comparison) and has_price(comparison):
        return Status("Helps, at a price", "≈", "open", says)
    if helped(comparison):
        return Status("Helps", "✓", "good", says)
    told = MetricFormat(comparison["metric"]).verdict(change["interval"])
    if told == "improved":
        rivals = "other matrices" if cut.surgery.is_of_matrices else "random cuts"
        return Status(f"No better than {rivals}", "≈", "open", says)
    if told == "worsened":
        return Status("Does harm", "✕", "bad", says)
    return Status("No reliable change", "≈", "open", says)


def tiles(reading: Reading, figures: MetricFormat) -> list[Tile]:
    """The numbers that stand beside the verdict."""
    comparison, cut, found = reading.comparison, reading.cut, []
    if cut is not None and cut.surgery.is_of_matrices:
        found += _reductions(reading)
    elif cut is not None:
        looked_at = reading.scores.count if reading.scores is not None else 0
        note = f"of {looked_at:,} looked at ({100 * cut.total / looked_at:.2g}{PAGE.blank}%)" if looked_at else ""
        found.append(Tile("neurons cut", f"{cut.total:,}", note))
    if comparison is None:
        return found
    change, control = comparison["difference"], comparison["control"]
    if change is not None and change["fixed"] is not None and change["broken"] is not None and Denoised.of(comparison) is None:
        label = "answers fixed / broken" if figures.is_share else "right answers more / less probable"
        found.append(Tile(label, f"{change['fixed']:,} / {change['broken']:,}", of_all(comparison)))
    if control is not None:
        found.append(Tile(reading.surgery.control_label, figures.change(change_to(comparison, control), unit=True)))
    bias = [number_of(comparison["bias_scores"][name].get("ambig")) for name in ("base", "edited")]
    if None not in bias:
        found.append(Tile("bias score, ambiguous items", before_after(lambda score: PAGE.signed(score, 2), *bias), "0 is none"))
    plain = object_of(comparison["side_effects"].get("perplexity"))
    ends = [number_of(plain.get(name)) for name in ("base", "edited")]
    if None not in ends and not tables.has_no_hold(comparison):
        found.append(Tile("perplexity of plain text", before_after(PAGE.number, *ends)))
    return found


def _reductions(reading: Reading) -> list[Tile]:
    """The numbers of a reduction: what was reduced, and what was looked at."""
    surgery, sought = reading.surgery, Sought.of(reading.trials, reading.comparison)
    found = []
    if len(surgery.reductions) == 1:
        only = surgery.reductions[0]
        found.append(Tile("matrix reduced", str(only.site), f"{only.setting}: {only.ranks(PAGE)}"))
    else:
        found.append(Tile("matrices reduced", f"{len(surgery.reductions):,}"))
    denoised = Denoised.of(reading.comparison, reading.trials)
    if denoised is not None:
        found.append(Tile("matrices looked at", f"{len(denoised.looked_at):,}"))
    elif sought is not None and sought.candidates:
        asked = f"of {len(sought.sites):,} matri{'x' if len(sought.sites) == 1 else 'ces'}"
        found.append(Tile("reductions tried", f"{len(sought.candidates):,}", asked))
    if sought is not None and sought.base is not None and surgery.reductions:
        figures = sought.figures(PAGE)
        found.append(Tile(f"{sought.metric}, select split", figures.pair(sought.base, sought.chosen), "this chose it: it flatters"))
    return found


def what_was_asked(reading: Reading) -> list[Fact]:
    """Model, task, examples, wording, method and metric, in words."""
    recipe, comparison = reading.run.recipe, reading.comparison
    family = "" if reading.cut is None or reading.cut.family is None else f"Family: {reading.cut.family}."
    dtype = reading.environment.get("dtype")
    model = [recipe.model, *([f"Revision {recipe.revision}."] if recipe.revision else []), family]
    task = [comparison["task"] if comparison else "", recipe.task if recipe.task != (comparison or {}).get("task") else ""]
    wording = "in the words of its template" if not recipe.template else f"in the words of {_told(recipe.template)}"
    given = f"The instructions are those of {_told(recipe.instructions)}." if recipe.instructions else ""
    known = comparison["n_instructions"] if comparison else None
    asked_under = "its instructions" if known is None else plural(known, "instructions")
    chat = "Wrapped in the tokenizer's chat template." if recipe.chat_template else ""
    metric = comparison["metric"] if comparison else recipe.metric or "accuracy"
    facts = {
        "Model": [*model, f"Computed in {dtype}." if dtype else ""],
        "Task": [*task, *(f"Data: {path}" for path in recipe.data)],
        "Examples": _splits(reading),
        "Wording": [f"Under {asked_under}, {wording}.", given, chat],
        "Answers": [f"Taken {answered(metric)}."],
        "Method": method(_in_force(reading)),
    }
    if Denoised.of(comparison) is not None:
        facts |= {"Wording": [], "Answers": ["None: plain text is read, and the log loss of its tokens measured; less is better."]}
    if reading.recipe is None:  # of its settings only the names of model and task could be saved
        facts |= {"Examples": _tested(reading), "Wording": [], "Method": ["Not known: the recipe is damaged."]}
    return [Fact(name, tuple(line for line in lines if line)) for name, lines in facts.items() if any(lines)]


def _splits(reading: Reading) -> list[str]:
    """How many examples each split gave, as far as the run tells."""
    recipe, comparison = reading.run.recipe, reading.comparison
    if recipe.method in OF_MATRICES:
        sought = Sought.of(reading.trials, comparison)
        known = sought is not None and sought.n_examples is not None
        chose = [f"select: {plural(sought.n_examples, 'examples')} chose what is reduced."] if sought is not None and known else []
        return [*chose, *_tested(reading), _limited(recipe)]
    drawn = reading.scores.provenance.get("examples") if reading.scores is not None else None
    looked_at = len(drawn[0]) if isinstance(drawn, list) and drawn and isinstance(drawn[0], list) else recipe.samples
    tagged = f" with the tag {' and '.join(recipe.locate_on)}" if recipe.locate_on else ""
    told = [f"locate: {plural(looked_at, 'examples')}{tagged} found the neurons (seed {recipe.seed})."]
    instructions = comparison["n_instructions"] if comparison else None
    pairs = max((trial["examples"] or 0 for trial in reading.trials), default=0.0)
    if pairs:
        size = plural(int(pairs), "answers") if not instructions else plural(int(pairs) // instructions, "examples")
        told.append(f"select: {size} chose how many are cut.")
    return [*told, *_tested(reading), _limited(recipe)]


def _tested(reading: Reading) -> list[str]:
    """How many examples the numbers are of."""
    comparison = reading.comparison
    if comparison is None:
        return []
    if Denoised.of(comparison) is not None:
        return [f"{plural(comparison['n_examples'], 'passages')} of plain text are what is reported; the search never saw them."]
    groups = plural(comparison["n_groups"], "groups")
    told = f"test: {plural(comparison['n_examples'], 'examples')} in {groups} are what is reported; the search never saw them."
    return [told, few_groups_note(comparison["n_groups"])]


def _limited(recipe: Recipe) -> str:
    return f"At most {recipe.limit:,} examples in all." if recipe.limit is not None else ""


def _in_force(reading: Reading) -> Recipe:
    """The recipe with what its variant presets filled in, as the run kept it beside its scores."""
    recipe, kept = reading.run.recipe, reading.scores.provenance.get("settings") if reading.scores is not None else None
    preset = {name: value for name, value in object_of(kept).items() if name in PRESET and value is not None}
    try:
        return recipe.with_settings(**preset)
    except InputError:
        return recipe


def environment(found: Object) -> list[Fact]:
    """On what the work was done, and how long it took."""
    versions, batches, effect = (object_of(found.get(name)) for name in ("versions", "batch_sizes", "effect"))
    lines: dict[str, list[str]] = {
        "Platform": [_told(found.get("platform"))],
        "Device": [_told(found.get("device"))],
        "Number type": [_told(found.get("dtype"))],
        "Threads": [_told(found.get("threads"))],
        "Time": [duration(number_of(found["seconds"]))] if "seconds" in found else [],
        "Batch sizes": [f"{name}: {_told(size)}" for name, size in batches.items()],
        "Versions": [", ".join(f"{name} {_told(version)}" for name, version in versions.items())],
        "Effect": _effect(effect),
    }
    return [Fact(name, tuple(line for line in held if line)) for name, held in lines.items() if any(held)] if found else []


def _effect(found: Mapping[str, Any]) -> list[str]:
    """What was verified of the plan before it was compared."""
    touched, fired, change = (number_of(found.get(name)) for name in ("units_touched", "units_fired", "max_change"))
    if touched is None:
        return []
    told = f"{PAGE.number(touched)} units touched, {PAGE.number(fired)} of them active on the probe: texts read to see that it acts"
    moved = f"The log-probability that moved most there moved by {PAGE.number(change)}: the plan acts; how well, the results say."
    return [f"{told}.", *([] if change is None else [moved])]


def limits(surgery: Surgery) -> list[tuple[str, str]]:
    """What the numbers do not say: the heart of it, and the rest of the sentence."""
    if surgery.is_of_matrices:
        first = "A gain on this set is no gain everywhere."
        other = "other tasks, other languages and other uses were looked at only as far as this page shows."
        size = "As a plain checkpoint the model is no smaller and no faster: the matrix keeps its shape. The export called factored stores "
        size += "thin factors instead."
    else:
        first = "A gain on this set is not an unbiased model."
        other = "other kinds of bias, other languages and other uses were not looked at."
        size = "Cutting makes the model no smaller and no faster: a few neurons are set to zero."
    return [
        (first, f"It is a change on these examples, in this wording; {other}"),
        ("", "The intervals say how sure the numbers are for examples like these. They say nothing about examples that are unlike them."),
        ("", size),
        ("", "This page quotes data of the task and names of files. The data's licence may forbid passing it on."),
    ]


def commands(reading: Reading, following: Sequence[tuple[str, str]] | None = None) -> list[tuple[str, str]]:
    """Reasons and command lines: the same job again, and what comes next: `following`, or what follows from a comparison."""
    recipe, cut, place = reading.run.recipe, reading.cut, reading.run.folder.resolve()
    if reading.recipe is None:
        return []
    folder, recipe_file = (shlex.quote(near(str(path))) for path in (place, place / RECIPE))
    told = [
        ("Run the recorded recipe once more, and see which digests agree:", f"{program()} repeat {folder}"),
        ("The same job from its recipe (in this folder it goes on where it stopped):", f"{program()} run {recipe_file}"),
        ("The same job as one command:", command(recipe, place)),
    ]
    if following is not None:
        return [*told, *((f"What to do next: {reason}", line) for reason, line in following)]
    if reading.comparison is None or cut is None:
        return told
    shown = examples_shown(reading.examples)
    prompt = shown[0]["prompt"] if shown else "…"
    short = bool(reading.environment.get("notes"))
    following = next_commands(recipe, place, reading.comparison, cut.surgery, " ".join(prompt.split()), short=short)
    return [*told, *((f"What to do next: {reason}", line) for reason, line in following)]


def _told(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or DASH
    return DASH if value is None else str(value).lower() if isinstance(value, bool) else str(value)
