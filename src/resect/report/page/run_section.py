"""A run itself as sections of a page: its inputs and method, how to repeat it, its environment and recipe, its limits. Knows no file."""

import shlex
from collections.abc import Mapping, Sequence

from resect.core.number_format import DASH, PAGE, MetricFormat, few_groups_note, plural
from resect.report.readers.looks_at_test import LooksAtTest
from resect.report.readers.rank_search import RankSearch
from resect.report.readers.run_contents import RunContents
from resect.report.readers.shell_commands import near, program
from resect.report.text.changed_answers import examples_shown
from resect.report.text.language_sentences import held_out_text, text_read
from resect.report.text.next_steps import caution, command, next_commands, next_commands_by_language
from resect.report.text.words import answered, duration
from resect.runs.chat_settings import reading_sentences
from resect.runs.guarded_search import GuardedSearch
from resect.runs.recipe import Recipe
from resect.runs.run_files import RECIPE

from .blocks import Block, Commands, Facts, Fold, Heading, Listing, Paragraph, Section, Source


def setup_section(contents: RunContents) -> Section:
    """Returns what was run: model, task or text, examples, wording, method."""
    recipe, is_known = contents.run.recipe, contents.recipe is not None
    facts: dict[str, Sequence[str]] = {"Model": _model(contents)}
    if contents.languages is not None:
        facts |= {"Languages": [", ".join(contents.languages.languages)], **_texts(contents)}
    else:
        facts |= _task(contents)
    facts["Method"] = recipe.settings.describe() if is_known else ["Not known: the recipe is damaged."]
    blocks: list[Block] = [Facts(_known(facts))]
    guarded = GuardedSearch.of(contents.comparison) if contents.trials else None  # its sentence is in the section on the search
    blocks += [Paragraph(note, "note") for note in contents.environment.notes if guarded is None or not guarded.says_the_same(note)]
    blocks.append(Paragraph("Every setting, with a sentence on each, is in the recipe below.", "note"))
    return Section("setup", "Setup", "Setup", (), blocks)


def _model(contents: RunContents) -> list[str]:
    recipe, dtype = contents.run.recipe, contents.environment.dtype
    family = "" if contents.plan is None else contents.plan.family
    lines = [recipe.model, f"Revision {recipe.get('revision')}." if recipe.get("revision") else ""]
    return [*lines, f"Family: {family}." if family else "", f"Computed in {dtype}." if dtype else ""]


def _texts(contents: RunContents) -> dict[str, list[str]]:
    """The text of each language, and what else is by language."""
    recipe, matrix = contents.run.recipe, None if contents.languages is None else contents.languages.matrix
    more = {"Questions": recipe.get("questions", ()), "Parallel sentences": recipe.get("parallel", ())}
    return {
        "Text": text_read(recipe),
        "Held-out text": held_out_text(recipe, matrix),
        **{name: [entry.replace("=", ": ", 1) for entry in entries] for name, entries in more.items()},
        "Wording": reading_sentences(recipe.values) if recipe.get("questions") or recipe.get("parse_special") else [],
    }


def _task(contents: RunContents) -> dict[str, list[str]]:
    """The task, how much of it was used for what, its wording, and how answers are taken."""
    recipe, comparison = contents.run.recipe, contents.comparison
    name = recipe.get("task", "")
    reported = comparison.task if comparison is not None else ""
    facts = {"Task": [reported, name if name != reported else "", *(f"Data: {path}" for path in recipe.get("data", ()))]}
    facts["Examples"] = [*_search_splits(contents), *_test_split(contents)]
    if recipe.get("limit") is not None:
        facts["Examples"].append(f"At most {recipe.limit:,} examples in all.")
    if contents.recipe is None:
        return facts
    if comparison is not None and comparison.is_plain_text:
        answers = ["None: plain text is read, and the log loss of its tokens measured; less is better."]
        return {**facts, "Wording": reading_sentences(recipe.values), "Answers": answers}
    number = None if comparison is None else comparison.n_instructions
    under = "its instructions" if number is None else plural(number, "instructions")
    wording = f"in the words of {_shown(recipe.get('template'))}" if recipe.get("template") else "in the words of its template"
    facts["Wording"] = [f"Under {under}, {wording}."]
    facts["Wording"] += [f"The instructions are those of {_shown(recipe.get('instructions'))}."] if recipe.get("instructions") else []
    facts["Wording"] += reading_sentences(recipe.values)
    facts["Answers"] = [f"Taken {answered(comparison.metric if comparison is not None else 'accuracy')}."]
    return facts


def _search_splits(contents: RunContents) -> list[str]:
    """How many examples of locate and select the search used, as far as the run tells."""
    comparison, scores = contents.comparison, contents.scores
    search, lines = RankSearch.of(contents.trials, comparison), list[str]()
    if search is not None and search.n_examples is not None:
        lines.append(f"select: {plural(search.n_examples, 'examples')} chose what is reduced.")
    drawn = None if scores is None else scores.provenance.get("examples")
    if isinstance(drawn, list) and drawn and isinstance(drawn[0], list):
        tags = contents.run.recipe.get("locate_on", ())
        tagged = f" with the tag {' and '.join(tags)}" if tags else ""
        seed = contents.run.recipe.get("seed")
        seeded = "" if seed is None else f" (seed {seed})"
        lines.append(f"locate: {plural(len(drawn[0]), 'examples')}{tagged} located the units{seeded}.")
    pairs = max((trial.examples or 0 for trial in contents.trials if trial.size is not None), default=0)
    instructions = None if comparison is None else comparison.n_instructions
    if pairs:
        size = plural(pairs // instructions, "examples") if instructions else plural(pairs, "answers")
        lines.append(f"select: {size} chose how many are cut.")
    return lines


def _test_split(contents: RunContents) -> list[str]:
    comparison = contents.comparison
    if comparison is None:
        return []
    if comparison.is_plain_text:
        return [f"{plural(comparison.n_examples, 'passages')} of plain text are what is reported; the search never saw them."]
    groups = plural(comparison.n_groups, "groups")
    line = f"test: {plural(comparison.n_examples, 'examples')} in {groups} are what is reported; the search never saw them."
    looks = LooksAtTest.of(contents.run, contents.environment)
    note = few_groups_note(comparison.n_groups, MetricFormat(comparison.metric).is_share)
    return [line, note, "" if looks is None else looks.sentence()]


def repeat_section(contents: RunContents, recipe_text: str) -> Section:
    """Returns the commands that repeat the run or continue from it, its environment and its recipe."""
    blocks: list[Block] = [Commands(_commands(contents))]
    warned = _caution(contents)
    blocks += [Paragraph(warned, "note")] if warned else []
    if contents.recipe is None:
        blocks = [Paragraph("No command can be given: the recipe is damaged. It is below as it is.", "note")]
    facts = _environment(contents)
    blocks += [Heading("Environment"), Facts(facts) if facts else Paragraph("Not known.", "note")]
    blocks += [Heading("Recipe", "recipe"), Fold("Every setting, as a file", (Source(recipe_text),), is_printed=True)]
    about = "The same settings on the same kind of device, with as many threads, give the same plan, byte by byte."
    return Section("repeat", "Repeat", "Repeat this run", (about,), blocks)


def _commands(contents: RunContents) -> list[tuple[str, str]]:
    recipe, folder = contents.recipe, contents.run.folder.resolve()
    if recipe is None:
        return []
    run, file = (shlex.quote(near(str(path))) for path in (folder, folder / RECIPE))
    commands = [
        ("Run the recorded recipe once more, and see which digests agree:", f"{program()} repeat {run}"),
        ("The same job from its recipe (in this folder it continues where it stopped):", f"{program()} run {file}"),
        ("The same job as one command:", command(recipe, folder)),
    ]
    return [*commands, *((f"What to do next: {reason}", line) for reason, line in _next(contents, recipe))]


def _next(contents: RunContents, recipe: Recipe) -> list[tuple[str, str]]:
    folder = contents.run.folder.resolve()
    if contents.languages is not None:
        return next_commands_by_language(recipe, folder, contents.languages.matrix)
    if contents.comparison is None or contents.plan is None:
        return []
    shown = examples_shown(contents.examples)
    prompt = " ".join(shown[0].prompt.split()) if shown else "…"
    return next_commands(recipe, folder, contents.comparison, contents.plan, prompt)


def _caution(contents: RunContents) -> str:
    """What is to be said of the commands that come next; empty for nothing."""
    if contents.recipe is None or contents.languages is not None or contents.comparison is None or contents.plan is None:
        return ""
    looks = LooksAtTest.of(contents.run, contents.environment)
    text = caution(contents.recipe, contents.comparison, contents.plan, looks) if _next(contents, contents.recipe) else ""
    return text.replace("Each of these", "Each of the commands under “What to do next”", 1)


def _environment(contents: RunContents) -> list[tuple[str, Sequence[str]]]:
    environment = contents.environment
    facts: Mapping[str, Sequence[str]] = {
        "Platform": [environment.platform or ""],
        "Device": [environment.device or ""],
        "Number type": [environment.dtype or ""],
        "Threads": [] if environment.threads is None else [str(environment.threads)],
        "Time": [] if environment.seconds is None else [duration(environment.seconds)],
        "Batch sizes": [f"{name}: {size:,}" for name, size in environment.batch_sizes.items()],
        "Versions": [", ".join(f"{name} {version or DASH}" for name, version in environment.versions.items())],
        "Effect": _effect(contents),
    }
    return _known(facts)


def _known(facts: Mapping[str, Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    """The facts with lines that are not empty."""
    lines = [(name, [line for line in fact if line]) for name, fact in facts.items()]
    return [(name, fact) for name, fact in lines if fact]


def _effect(contents: RunContents) -> list[str]:
    """What was verified of the plan before it was compared."""
    effect = contents.environment.effect
    if effect is None or effect.units_touched is None:
        return []
    fired = PAGE.number(effect.units_fired)
    lines = [f"{PAGE.number(effect.units_touched)} units touched, {fired} of them active on the texts that probe whether the plan acts."]
    if effect.max_change is not None:
        lines.append(f"The log-probability that changed most there changed by {PAGE.number(effect.max_change)}: the plan acts.")
    return lines


def limits_section(contents: RunContents) -> Section:
    """Returns what the numbers do not say."""
    plan, comparison = contents.plan_or_kind, contents.comparison
    if contents.languages is not None:
        lines = [
            (
                "Perplexity on plain text is not what the model can do.",
                "A language whose text became less probable may still be understood, and one whose text did not may be answered worse.",
            ),
            (
                "“Units of a language” is a name for what was counted:",
                "units that are active more often on text of one language than of others. Other differences between the texts count too.",
            ),
            ("The intervals say how sure the numbers are for text like this. They say nothing about other text in the same language.", ""),
            ("The matrix covers the languages of this run. What became of any other language was not measured.", ""),
        ]
    else:
        is_biased = comparison is not None and comparison.bias_scores is not None
        first = "A gain on this set is not an unbiased model." if is_biased else "A gain on this set is no gain everywhere."
        what = "multiplied by a factor" if plan.factor else "set to zero"
        size = f"This makes the model no smaller and no faster: a few neurons are {what}."
        if plan.is_of_matrices:
            size = "As a plain checkpoint the model is no smaller and no faster: the matrix keeps its shape. The export called factored "
            size += "stores thin factors instead."
        scope = "other tasks, other languages and other uses were measured only as far as this page shows."
        lines = [
            (first, f"It is a change on these examples, in this wording; {scope}"),
            (
                "The intervals say how sure the numbers are for examples like these. They say nothing about other examples.",
                "",
            ),
            (size, ""),
        ]
    lines.append(("This page quotes data, answers and names of files. The data's licence may forbid passing it on.", ""))
    return Section("limits", "Limits", "Limits", (), (Listing(lines),))


def missing_blocks(contents: RunContents) -> list[Block]:
    """Returns what is missing or damaged, and how to get it."""
    gaps = contents.gaps
    if not gaps:
        return []
    blocks: list[Block] = [Paragraph("This run is incomplete. What could be read of it is shown below; this could not:")]
    blocks.append(Listing([(f"{gap.what}.", gap.why) for gap in gaps]))
    commands = dict.fromkeys(gap.how for gap in gaps if gap.how)
    if commands:
        blocks.append(Paragraph("How to get it: the job continues from what is finished, and writes the rest again."))
        blocks.append(Commands([("", line) for line in commands]))
    return blocks


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
