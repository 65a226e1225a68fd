"""What a page says of a run of LAPE where other runs have a before and an after: title, verdict, numbers, sections, limits."""

import hashlib
from typing import Any

from resect.core.number_format import PAGE, before_after, plural
from resect.report.readers.deactivation import Effects
from resect.report.readers.lape_run import Held
from resect.report.readers.run_reader import Reading
from resect.report.text import lape_sentences, lape_verdict
from resect.report.text.words import model_name
from resect.runs.run_files import PLAN

from .answers_section import open_questions, steered_section
from .deactivation_section import matrix
from .facts import Fact, Status, Tile, commands
from .sections import Section
from .unit_sections import layers, overlap, similarity, stability

LIMITS = (
    (
        "Perplexity on plain text is not what the model can do.",
        "A language whose text has become less probable may still be understood, and one whose text has not may be answered worse.",
    ),
    (
        "“Units of a language” is a name for what was counted:",
        "units that are active more often in one language than in others. Whatever else differs between the texts counts too.",
    ),
    ("", "The intervals say how sure the numbers are for text like this one. They say nothing about other text in the same language."),
    ("", "The matrix covers the languages of this run. What becomes of any other language was not looked at."),
    ("", "This page may quote prompts, answers and names of files. The data's licence may forbid passing it on."),
)


def content(reading: Reading, held: Held) -> dict[str, Any]:
    """What the template speaks of, for a run of languages."""
    names = held.languages or lape_sentences.languages_of(reading.run.recipe)
    name, effects = model_name(reading.run.recipe), held.effects
    subject = lape_sentences.subject(names) if names else ""
    return {
        "title": f"{name}{f' in {subject}' if subject else ''} – resect report",
        "joint": "in",
        "task": subject,
        "status": _status(reading, held),
        "headline": None if effects is None else _headline(effects),
        "caution": "What is counted is not what a language is",
        "tiles": _tiles(reading, effects),
        "asked": _asked(reading, held),
        "commands": commands(reading, lape_sentences.next_commands(reading.run.recipe, reading.run.folder.resolve(), effects)),
        "sought": [] if effects is None else [matrix(effects)],
        "analysed": _sections(reading, held),
        "limits": LIMITS,
    }


def _status(reading: Reading, held: Held) -> Status:
    recipe, effects = reading.run.recipe, held.effects
    if not recipe.compares:
        return Status("Recorded", "✓", "open", "Only counts were recorded, as asked. Merged with others (--counts), they select units.")
    if effects is None:
        kept = plural(reading.run.journal.count, "finished work items")
        return Status("Not finished", "…", "open", f"There is no matrix yet; {kept} are kept, and the job goes on from there.")
    says = lape_verdict.verdict(effects, PAGE)
    steady = lape_verdict.steadiness(held.sets.stability)
    details = tuple(line for line in (steady, " ".join(says.says[1:])) if line)
    sentence = " ".join((*says.doubts, says.says[0]))
    return Status(says.word, "✓" if says.is_clear else "≈", "good" if says.is_clear else "open", sentence, details)


def _headline(effects: Effects) -> dict[str, Any] | None:
    if not effects.with_units:
        return None
    numbers = [("own text suffers most", f"{len(effects.specific)} of {len(effects.with_units)}", "after")]
    return {
        "numbers": numbers,
        "unit": f"languages, each with its own units off; clearly so for {len(effects.sure)}; "
        f"by chance {lape_verdict.chance(effects)} each",
    }


def _tiles(reading: Reading, effects: Effects | None) -> list[Tile]:
    """The numbers that stand beside the verdict."""
    found = []
    if reading.cut is not None:
        units, looked_at = reading.cut.units.count, reading.scores.count if reading.scores is not None else 0
        note = f"of {looked_at:,} looked at ({100 * units / looked_at:.2g}{PAGE.blank}%)" if looked_at else ""
        found.append(Tile("units of languages", f"{units:,}", note))
    if effects is None:
        return found
    own = [(change, place) for place, change in enumerate(effects.own) if change is not None and effects.units[place] != 0]
    random = [change for change, units in zip(effects.random, effects.units, strict=True) if change is not None and units != 0]
    means = (
        ("own text, mean", [change for change, _ in own], "nats a token"),
        ("other languages' text, mean", [change for _, _, change in effects.others], ""),
        ("own text, random units, mean", random, ""),
    )
    found += [Tile(label, PAGE.signed(sum(changes) / len(changes)), note) for label, changes, note in means if changes]
    if own:
        change, place = max(own)
        pair = before_after(
            lambda value: lape_sentences.perplexity(value, PAGE), effects.perplexity.base[place], effects.perplexity.after[place][place]
        )
        note = (
            f"{effects.languages[place]}; {effects.kind} {pair}" if effects.perplexity.base[place] is not None else effects.languages[place]
        )
        found.append(Tile("own text, strongest", f"{PAGE.signed(change)} nats", f"{note} ({lape_sentences.rise(change, PAGE)})"))
    return found


def _asked(reading: Reading, held: Held) -> list[Fact]:
    """Model, languages, text and method, in words."""
    recipe = reading.run.recipe
    family = "" if reading.cut is None or reading.cut.family is None else f"Family: {reading.cut.family}."
    dtype = reading.environment.get("dtype")
    names = held.languages or tuple(lape_sentences.languages_of(recipe))
    facts = {
        "Model": [
            recipe.model,
            f"Revision {recipe.revision}." if recipe.revision else "",
            family,
            f"Computed in {dtype}." if dtype else "",
        ],
        "Languages": [", ".join(names)],
        "Text": lape_sentences.read_from(recipe),
        "Held-out text": lape_sentences.held_out(recipe, held.effects),
        "Method": lape_sentences.method(recipe, PAGE),
        "Questions": [entry.replace("=", ": ", 1) for entry in recipe.questions],
        "Parallel text": [entry.replace("=", ": ", 1) for entry in recipe.parallel],
        "Plan": [] if reading.cut is None else [f"{reading.cut.units.count:,} units in all. {_digest(reading)}"],
    }
    if reading.recipe is None:
        facts |= {"Text": [], "Held-out text": [], "Method": ["Not known: the recipe is damaged."]}
    return [Fact(name, tuple(line for line in lines if line)) for name, lines in facts.items() if any(lines)]


def _digest(reading: Reading) -> str:
    """The digest of the file, as `resect repeat` and sha256sum print it."""
    try:
        content = (reading.run.folder / PLAN).read_bytes()
    except OSError:
        return ""
    return f"SHA-256 of plan.json: {hashlib.sha256(content).hexdigest()}"


def _sections(reading: Reading, held: Held) -> list[Section]:
    """What was analysed, what was asked, what was steered: each where it is."""
    sets = held.sets
    made = [
        open_questions(held.questions, held.answers),
        steered_section(held.steered),
        layers(sets.layers, held.units),
        None if sets.overlap is None else overlap(sets.overlap),
        None if sets.similarity is None else similarity(sets.similarity),
        None if sets.stability is None else stability(sets.stability),
    ]
    return [section for section in made if section is not None]
