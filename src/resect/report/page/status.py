"""The summary at the top of a page: a verdict in a word and a sentence, and the numbers next to it. Knows no file."""

from collections.abc import Sequence
from dataclasses import dataclass

from resect.core.number_format import PAGE, MetricFormat, before_after, plural
from resect.report.readers.language_matrix import LanguageMatrix
from resect.report.readers.noise_search import NoiseSearch
from resect.report.readers.plan_summary import PlanSummary
from resect.report.readers.rank_search import RankSearch
from resect.report.readers.run_contents import RunContents
from resect.report.tables.run_tables import is_perplexity_broken
from resect.report.text import language_sentences
from resect.report.text.language_verdict import chance, language_verdict
from resect.report.text.verdict import change_to, number_of_answers, verdict, verdict_of
from resect.runs.schemas.comparison import ComparisonFile

#: A number with its label, and a remark ("" for none).
Tile = tuple[str, str, str]


#: The sign and the tone of each verdict.
SIGNS = {
    "helps": ("✓", "good"),
    "helps, at a price": ("≈", "open"),
    "no reliable change": ("≈", "open"),
    "damages": ("✕", "bad"),
    "replaces one constant answer by another": ("✕", "bad"),
}


@dataclass(frozen=True)
class Status:
    """The summary.

    Parameters
    ----------
    word, sign, tone : the badge; the tone is "good", "bad" or "open"
    sentence, details : the verdict, and sentences below it
    numbers, unit : what is in large letters: label, number, kind ("after" is coloured), and what they are
    caution : what the numbers are not
    tiles : further numbers
    """

    word: str
    sign: str
    tone: str
    sentence: str
    details: Sequence[str] = ()
    numbers: Sequence[tuple[str, str, str]] = ()
    unit: str = ""
    caution: str = "A gain on this set is no gain everywhere"
    tiles: Sequence[Tile] = ()


def status(contents: RunContents) -> Status:
    """Returns the summary of a run."""
    if contents.languages is not None:
        return _of_matrix(contents, contents.languages.matrix)
    badge = _badge(contents)
    numbers, unit = _headline(contents.comparison)
    return Status(*badge, numbers=numbers, unit=unit, tiles=[*_plan_tiles(contents), *_tiles(contents)])


def _unfinished(contents: RunContents, lacking: str) -> tuple[str, str, str, str]:
    stored = plural(contents.run.journal.count, "finished work items")
    return "Not finished", "…", "open", f"There is no {lacking} yet; {stored} are kept, and the job continues from there."


def _badge(contents: RunContents) -> tuple[str, str, str, str]:
    """Word, sign, tone and sentence of a comparison."""
    comparison, plan = contents.comparison, contents.plan
    if comparison is None:
        return _unfinished(contents, "comparison")
    if plan is None:
        return "Plan missing", "…", "open", "What was changed is not known: the plan is missing. The numbers are what was measured."
    sentence, word = verdict(comparison, plan, PAGE), verdict_of(comparison, plan).word
    if plan.total and comparison.difference is None:
        return "Not compared", "…", "open", sentence
    sign, tone = SIGNS[word]
    return f"{word[:1].upper()}{word[1:]}", sign, tone, sentence


def _headline(comparison: ComparisonFile | None) -> tuple[list[tuple[str, str, str]], str]:
    if comparison is None:
        return [], ""
    figures = MetricFormat(comparison.metric, PAGE)
    numbers = [("before", figures.value(comparison.base.mean), "")]
    numbers += [] if comparison.edited is None else [("after", figures.value(comparison.edited.mean), "after")]
    return numbers, "log loss of a token of held-out text" if comparison.is_plain_text else f"{comparison.metric} on held-out examples"


def _plan_tiles(contents: RunContents) -> list[Tile]:
    """What was changed, of how much that was examined."""
    plan = contents.plan
    if plan is None:
        return []
    if not plan.is_of_matrices:
        scored = 0 if contents.scores is None else contents.scores.count
        of = f"of {scored:,} scored ({100 * plan.neurons / scored:.2g}{PAGE.blank}%)" if scored else ""
        return [("units of languages" if contents.languages is not None else "neurons cut", f"{plan.neurons:,}", of)]
    return _reduction_tiles(contents, plan)


def _reduction_tiles(contents: RunContents, plan: PlanSummary) -> list[Tile]:
    tiles = [("matrices reduced", f"{len(plan.reductions):,}", "")]
    if len(plan.reductions) == 1:
        only = plan.reductions[0]
        tiles = [("matrix reduced", str(only.site), f"{only.setting}: {only.ranks(PAGE)}")]
    noise, search = NoiseSearch.of(contents.comparison, contents.trials), RankSearch.of(contents.trials, contents.comparison)
    if noise is not None:
        tiles.append(("matrices tried", f"{len(noise.candidates):,}", ""))
    elif search is not None and search.candidates:
        of = f"of {len(search.sites):,} matri{'x' if len(search.sites) == 1 else 'ces'}"
        tiles.append(("reductions tried", f"{len(search.candidates):,}", of))
    if noise is None and search is not None and search.base is not None and plan.reductions:
        pair = search.figures(PAGE).pair(search.base, search.chosen)
        tiles.append((f"{search.metric}, select split", pair, "optimistic: this split chose it"))
    return tiles


def _tiles(contents: RunContents) -> list[Tile]:
    """What changed besides the mean."""
    comparison, tiles = contents.comparison, list[Tile]()
    if comparison is None:
        return tiles
    figures, change = MetricFormat(comparison.metric, PAGE), comparison.difference
    if change is not None and change.fixed is not None and change.broken is not None and not comparison.is_plain_text:
        label = "answers fixed / broken" if figures.is_share else "right answers more / less probable"
        tiles.append((label, f"{change.fixed:,} / {change.broken:,}", number_of_answers(comparison)))
    if comparison.control is not None:
        label = contents.plan_or_kind.control_label
        tiles.append((label, figures.change(change_to(comparison, comparison.control), unit=True), ""))
    bias = comparison.bias_scores
    if bias is not None and bias.base is not None and bias.edited is not None and None not in (bias.base.ambig, bias.edited.ambig):
        pair = before_after(lambda score: PAGE.signed(score, 2), bias.base.ambig, bias.edited.ambig)
        ends, without = bias.edited.interval_ambig, bias.edited.without_target
        interval = "" if ends is None else f"95 % after: {PAGE.signed(ends[0], 2)} to {PAGE.signed(ends[1], 2)}"
        notes = ("0 is none", interval, f"{without} left out, without a target" if without else "")
        tiles.append(("bias score, ambiguous items", pair, "; ".join(filter(None, notes))))
    text = comparison.side_effects.get("perplexity")
    if text is not None and text.base is not None and text.edited is not None and not is_perplexity_broken(comparison):
        tiles.append(("perplexity of plain text", before_after(PAGE.number, text.base, text.edited), ""))
    return tiles


def _of_matrix(contents: RunContents, matrix: LanguageMatrix | None) -> Status:
    """The summary of a run that deactivated each language's units."""
    caution, tiles = "Activity on text of a language is not the language", _plan_tiles(contents)
    if not contents.run.recipe.compares:
        sentence = "Only counts were recorded, as requested. Merged with others (--counts), they select units."
        return Status("Recorded", "✓", "open", sentence, caution=caution, tiles=tiles)
    if matrix is None:
        return Status(*_unfinished(contents, "matrix"), caution=caution, tiles=tiles)
    outcome = language_verdict(matrix, PAGE)
    sign, tone = ("✓", "good") if outcome.is_clear else ("≈", "open")
    unit = f"languages, each with its own units deactivated; clearly for {len(matrix.sure)}; by chance {chance(matrix)} each"
    number = f"{len(matrix.specific)} of {len(matrix.with_units)}"
    return Status(
        outcome.word,
        sign,
        tone,
        " ".join((*outcome.doubts, outcome.findings[0])),
        [" ".join(outcome.findings[1:])] if outcome.findings[1:] else [],
        [("own text suffers most", number, "after")] if matrix.with_units else [],
        unit if matrix.with_units else "",
        caution,
        [*tiles, *_matrix_tiles(matrix)],
    )


def _matrix_tiles(matrix: LanguageMatrix) -> list[Tile]:
    own = [(change, place) for place, change in enumerate(matrix.own) if change is not None and matrix.units[place] != 0]
    random = [change for change, units in zip(matrix.random, matrix.units, strict=True) if change is not None and units != 0]
    means = (
        ("own text, mean", [change for change, _ in own], "nats per token"),
        ("other languages' text, mean", [change for _, _, change in matrix.others], ""),
        ("own text, random units, mean", random, ""),
    )
    tiles = [(label, PAGE.signed(sum(changes) / len(changes)), note) for label, changes, note in means if changes]
    if own:
        change, place = max(own)
        base, note = matrix.perplexity.base[place], matrix.languages[place]
        if base is not None:
            write = lambda value: language_sentences.perplexity(value, PAGE)
            note += f"; {matrix.kind} {before_after(write, base, matrix.perplexity.deactivated[place][place])}"
        tiles.append(("own text, strongest", f"{PAGE.signed(change)} nats", f"{note} ({language_sentences.rise(change, PAGE)})"))
    return tiles
