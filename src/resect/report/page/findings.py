"""What was analysed of a run, as sections of a page: how each is read, and what it does not show. Knows no file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from resect.core.number_format import DASH, BROKEN_PERPLEXITY, PAGE, MetricFormat, plural
from resect.report.charts.estimates_and_curves import Bar, bars, curve
from resect.report.charts.lines_and_bars import Series, columns
from resect.report.readers.analyses import Analyses, Components, Frequency, Growth, Paraphrases, Perplexity, Temperature
from resect.report.readers.plan_summary import Surgery
from resect.report.tables.tables import Table
from resect.report.text.analysis_sentences import at_the_end, calibrated
from resect.report.text.printable import shortened

from .sections import Figure, Fold, Section
from .spectra_section import levels, losses, short, spectra

#: Answers that are quoted.
QUOTED = 8
SHARES = MetricFormat("accuracy", PAGE)


def sections(found: Analyses, surgery: Surgery, changed: Sequence[Mapping[str, Any]] = ()) -> list[Section]:
    """One section for each thing that was analysed, called after it. `changed`: the sound rows of examples.jsonl."""
    made = [
        None if found.loss is None else losses(found.loss, surgery),
        spectra(found.spectra, surgery) if found.spectra else None,
        levels(found.reduction, surgery) if found.reduction else None,
        _components(found.components, {row["prompt"]: row for row in changed}) if found.components else None,
        _growth(found.growth) if found.growth else None,
        None if found.paraphrases is None else _paraphrases(found.paraphrases),
        None if found.frequency is None else _frequency(found.frequency),
        None if found.perplexity is None else _perplexity(found.perplexity),
        None if found.temperature is None else _temperature(found.temperature, surgery.noun),
    ]
    return [_limited(section, found.limits.get(section.anchor)) for section in made if section is not None]


def _limited(section: Section, limit: int | None) -> Section:
    """A section with what is to be said of an analysis that was not made on all examples."""
    told = () if limit is None else (f"Asked on at most {plural(limit, 'examples')} of the task.",)
    return replace(section, words=(*section.words, *told))


def _components(found: Sequence[Components], rows: Mapping[str, Mapping[str, Any]]) -> Section:
    """What the smallest components answer, and how near that is to the right answer."""
    first, several = found[0], len(found) > 1
    drawn = [figure for figure in (_cosine(each, named=several) for each in found) if figure is not None]
    tables = {each.site: _answers(each, rows, named=several) for each in found if each.answers}
    folds = tuple(Fold(f"The answers of {each.site}", table=tables[each.site]) for each in found[1:] if each.site in tables)
    shares = [
        f"of {each.site} {PAGE.percent(each.share)}" if several else PAGE.percent(each.share) for each in found if each.share is not None
    ]
    part = f" (those that the reduction removes: {', '.join(shares)})" if shares else ""
    how = (
        f"{_named(found)} with nothing but its smallest components{part}: what does the model answer then? The curve: how near that answer "
        "comes to the right one as more of them are kept, as a cosine of the two: of the mean input embeddings of their tokens."
    )
    but = "Only examples that were wrong before and right after the reduction; they show what the removed components said there, no more."
    words = ("No answer was fixed, so that there is nothing to show.",) if first.n_examples == 0 else ()
    title = "What the smallest components say"
    return Section("components", "Smallest components", title, how, but, words, tuple(drawn), tables.get(first.site), folds)


def _cosine(found: Components, named: bool) -> Figure | None:
    points = [(kept, value) for kept, value in zip(found.kept, found.cosine, strict=True) if value is not None]
    if len(points) < 2:
        return None
    of = "" if found.n_examples is None else f", mean over {found.n_examples:,} answers"
    chart = curve(
        points,
        title=f"Cosine as more components of {found.site} are kept",
        share=False,
        logarithmic=False,
        across="share of the components kept, the smallest first",
        upwards=f"cosine with the right answer{of}",
    )
    return Figure(Markup(chart), "Cosine", heading=str(found.site) if named else "")


def _answers(found: Components, rows: Mapping[str, Mapping[str, Any]], named: bool) -> Table:
    """Answers to different questions: each example once, whatever number of instructions it was asked under."""
    known: Mapping[str, Any] = {}
    different = {rows.get(each["prompt"], known).get("id", each["prompt"]): each for each in reversed(found.answers)}
    quoted = list(reversed(different.values()))[:QUOTED]
    cells = []
    for each in quoted:
        instruction = str(rows.get(each["prompt"], known).get("instruction", ""))
        cells.append((shortened(each["prompt"], instruction), *(each[name] for name in ("gold", "base", "edited", "smallest"))))
    more = f"; all {len(found.answers):,} are in the run folder" if len(found.answers) > len(quoted) else ""
    head = ("prompt", "right", "before", "reduced", "smallest components alone")
    what = f"What is answered, {found.site}" if named else "What is answered"
    each_once = ", each question once" if len(different) < len(found.answers) else ""
    return Table(f"{what}{each_once}{more}", head, tuple(cells), is_text=True)


def _growth(found: Sequence[Growth]) -> Section:
    """Whether the right answers only grow in number as a matrix is reduced."""
    first, drawn = found[0], []
    for each in found:
        names = [*map(short, each.rhos)]
        series = [Series("became right", each.gained), Series("became wrong", each.lost, "second")]
        chart = columns(
            names,
            series,
            title=f"Answers gained and lost as {each.site} shrinks",
            share=False,
            mirrored=True,
            across="ρ, from the gentlest on",
            upwards="answers, against the step before",
        )
        drawn.append(Figure(Markup(chart), f"Growth of {each.site}", heading=str(each.site) if len(found) > 1 else ""))
    numbers = zip(first.rhos, first.right, first.gained, first.lost, strict=True)
    rows = [(f"{rho:g}", PAGE.number(right), PAGE.number(gained), PAGE.number(lost)) for rho, right, gained, lost in numbers]
    rows = [("full matrix", PAGE.number(first.before), DASH, DASH), *rows] if first.before is not None else rows
    table = Table(f"Right answers at each step, {first.site}", ("ρ", "right", "gained", "lost"), tuple(rows))
    lost_any = sum(value or 0 for each in found for value in each.lost)
    says = "Nothing that was right is ever lost." if not lost_any else f"{PAGE.number(lost_any)} times a right answer is lost on the way."
    how = (
        f"Each column is a step, on answers{first.asked.on}: {_named(found)} at one ρ against the one before. Above the line: answers that "
        "became right; below: wrong."
    )
    but = "If the right set only grew, there would be nothing below the line."
    return Section("growth", "Gained and lost", "Does the right set only grow?", how, but, (says,), tuple(drawn), table)


def _paraphrases(found: Paraphrases) -> Section:
    """The share of facts that are right in all their wordings."""
    rows = [Bar("before", found.base, kind="before")]
    rows += [] if found.edited is None else [Bar("after", found.edited, kind="after")]
    drawn = bars(rows, title="Facts that are right in every paraphrase", reference=found.base)
    of = "" if found.n_facts is None else f"{found.n_facts:,} facts"
    each = "" if found.per_fact is None else f", {PAGE.number(found.per_fact)} paraphrases each on average"
    words = [f"{of}{each}."] if of else []
    if found.difference is not None:
        change = found.difference
        sure = f"95 % interval {SHARES.change_interval(change['interval'])}; {PAGE.p_value(change['p_value'])}"
        words.append(f"Change {SHARES.change(change['mean'], unit=True)} ({sure}).")
    how = "A fact counts only if every one of its paraphrases is answered right."
    but = "It is stricter than accuracy, so it is lower; a gain here says that an answer holds in other words too."
    figure = (Figure(Markup(drawn), "Paraphrases"),)
    return Section("paraphrases", "All paraphrases", "Right in every paraphrase", how, but, tuple(words), figure)


def _frequency(found: Frequency) -> Section:
    """Accuracy by how often a fact occurs in a corpus."""
    metric, figures = found.asked.metric, MetricFormat(found.asked.metric, PAGE)
    series = [Series("before", found.base, "base"), Series("after", found.edited)]
    series = [one for one in series if any(value is not None for value in one.values)]
    drawn = (
        columns(found.bins, series, title="Accuracy by how often a fact occurs", across="how often the fact occurs", upwards=metric)
        if series
        else ""
    )
    numbers = zip(found.bins, found.n, found.base, found.edited, strict=True)
    rows = [
        (name, PAGE.number(n), figures.value(base), figures.value(edited), figures.change(_apart(base, edited)))
        for name, n, base, edited in numbers
    ]
    table = Table(f"{metric} by frequency, changes in points", ("occurrences", "examples", "before", "after", "change"), tuple(rows))
    source = f" Counted in {found.source}." if found.source else ""
    how = f"Examples by how often subject and answer stand in one text of a corpus.{source}"
    but = "Where a bin holds few examples, its columns say little: look at their number."
    but += f" Of {found.unknown:,} examples it is not known how often they occur." if found.unknown else ""
    figure = (Figure(Markup(drawn), "Frequency"),) if drawn else ()
    return Section("frequency", "By frequency", "Rare and frequent facts", how, but, (), figure, table)


def _perplexity(found: Perplexity) -> Section:
    """Perplexity with a sliding window."""
    change = DASH if found.edited is None or not found.base else f"{PAGE.signed(100 * (found.edited / found.base - 1), 1)}{PAGE.blank}%"
    row = (found.text, PAGE.number(found.base), PAGE.number(found.edited), change)
    table = Table(f"{found.kind.capitalize()}, less is better", ("text", "before", "after", "change"), (row,))
    sizes = [("windows of", found.window), ("a stride of", found.stride)]
    told = " and ".join(f"{name} {size:,}" for name, size in sizes if size is not None)
    tokens = "" if found.tokens is None else f" over {found.tokens:,} tokens"
    how = f"{found.kind.capitalize()} of plain text{tokens}" + (f", with {told} tokens. " if told else ". ") + found.how
    but = "One text is no proof for others."
    words = ("This text is beyond the model: its perplexity says nothing.",) if found.base > BROKEN_PERPLEXITY else ()
    return Section("perplexity", "Perplexity", "Plain text, window by window", how, but, words, (), table)


def _temperature(found: Temperature, noun: str) -> Section:
    """A temperature that repairs the calibration."""
    rows = []
    for name, held in ((f"before the {noun}", found.base), (f"after the {noun}", found.edited)):
        if held:
            best = f"{PAGE.number(held.get('temperature'))}{at_the_end(held.get('temperature'))}"
            rows.append((name, best, *(PAGE.number(held.get(key)) for key in ("before", "after"))))
    head = ("model", "temperature", "log loss without it", "log loss with it")
    table = Table("Temperature, found on select; log loss on test, less is better", head, tuple(rows))
    how = "Log loss punishes an answer that is too sure. A temperature above 1 makes answers less sure; it changes no ranking."
    but = f"If the loss after the {noun} falls to that before once a temperature is set, the {noun} hurt the calibration only."
    said = calibrated(found.base, found.edited, noun)
    return Section("temperature", "Temperature", "Calibration by temperature", how, but, (said,) if said else (), (), table)


def _named(found: Sequence[Components] | Sequence[Growth]) -> str:
    """Which matrices a section is about."""
    return str(found[0].site) if len(found) == 1 else f"Each of {len(found):,} matrices by itself"


def _apart(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
