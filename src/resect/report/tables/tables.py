"""The tables of a report, from what could be read of a run. Knows no page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from resect.core.number_format import DASH, BROKEN_PERPLEXITY, PAGE, MetricFormat, plural
from resect.report.charts.estimates_and_curves import shift
from resect.report.readers.denoising import Denoised
from resect.report.readers.plan_summary import Surgery
from resect.report.readers.run_reader import Reading
from resect.report.readers.tolerant import Cut, Object, difference_of, estimate_of, number_of, object_of, whole_of
from resect.report.text.advice import has_spread, turned
from resect.runs.run_files import PART

CC, DC = "CC, contextual calibration", "DC, domain-context calibration"


@dataclass(frozen=True)
class Table:
    """A table for people. The first cell of each row names it; a row whose number is in `strong` stands out.

    What follows a line break in a cell is said more quietly. `is_text`: its cells are texts, not numbers.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: tuple[int, ...] = ()
    is_text: bool = False


def figures_of(comparison: Object | None) -> MetricFormat:
    """How a page writes the values of a comparison's metric; of accuracy where there is none."""
    return MetricFormat(comparison["metric"] if comparison else "accuracy", PAGE)


def estimates(comparison: Object, surgery: Surgery) -> list[tuple[str, str, Object]]:
    """What was measured: kind, label, estimate."""
    baselines, control = comparison["baselines"], "control: other matrices" if surgery.is_of_matrices else "control: random cuts"
    found = [
        *(("before", "before", comparison["base"]), ("after", f"after the {surgery.noun}", comparison["edited"])),
        *(("control", control, comparison["control"]), ("cc", CC, baselines["cc"]), ("dc", DC, baselines["dc"])),
    ]
    return [(kind, label, estimate) for kind, label, estimate in found if estimate is not None]


def result_table(comparison: Object, surgery: Surgery, figures: MetricFormat) -> Table:
    """The estimates as numbers; over one instruction alone there is no spread."""
    spreads = has_spread(comparison)
    rows = []
    for _, label, found in estimates(comparison, surgery):
        spread = (figures.value(found["std_over_instructions"]),) if spreads else ()
        rows.append((label, figures.value(found["mean"]), figures.interval(found["interval"]), *spread))
    strong = tuple(number for number, (kind, _, _) in enumerate(estimates(comparison, surgery)) if kind == "after")
    head = ("", comparison["metric"], "95 % interval", *(("± instructions",) if spreads else ()))
    return Table(f"{comparison['metric']} on the test split", head, tuple(rows), strong)


def both_ways(comparison: Object, surgery: Surgery) -> Table | None:
    """The main metric and the other one side by side: by scoring, by generation."""
    mine, other = comparison["metric"], "generation" if comparison["metric"] == "accuracy" else "accuracy"
    found = object_of(comparison["other_metrics"].get(other))
    base = estimate_of(found.get("base"))
    if base is None or not MetricFormat(mine).is_share:
        return None
    theirs: Object = {"base": base, "edited": estimate_of(found.get("edited")), "difference": difference_of(found.get("difference"))}
    unmatched = object_of((found if other == "generation" else object_of(comparison["other_metrics"].get(mine))).get("unmatched"))
    sides: list[Any] = [comparison, theirs] if mine == "accuracy" else [theirs, comparison]
    figures = MetricFormat(style=PAGE)
    rows = [
        ("before", *(_with_interval(figures, side["base"]) for side in sides)),
        (f"after the {surgery.noun}", *(_with_interval(figures, side["edited"]) for side in sides)),
        ("change, in points", *(_change_cell(figures, side["difference"]) for side in sides)),
        ("fixed / broken", *(_fixed_cell(side["difference"]) for side in sides)),
    ]
    calibrated = object_of(object_of(comparison["other_metrics"].get("accuracy")).get("baselines"))
    for name, label in (("cc", CC), ("dc", DC)):
        held = estimate_of(calibrated.get(name))
        if held is not None:
            rows.append((label, _with_interval(figures, held), DASH))
    for name, label in (("base", "no choice matched, before"), ("edited", "no choice matched, after")):
        if number_of(unmatched.get(name)) is not None:
            rows.append((label, DASH, figures.value(number_of(unmatched[name]))))
    return Table("Accuracy, asked in two ways", ("", "by scoring", "by generation"), tuple(rows), (1,))


def other_table(comparison: Object) -> Table | None:
    """Metrics beside the main one that are not its other way of answering: top-1, top-5, log loss."""
    pair = {"accuracy", "generation"} if comparison["metric"] in ("accuracy", "generation") else set()
    rows = []
    for name, held in comparison["other_metrics"].items():
        found = object_of(held)
        base = estimate_of(found.get("base"))
        if base is None or name in pair:
            continue
        figures, edited = MetricFormat(name, PAGE), estimate_of(found.get("edited"))
        change = difference_of(found.get("difference"))
        told = f"{name} (less is better)" if figures.gain(1.0) < 0 else name
        cells = [_with_interval(figures, base), _with_interval(figures, edited), _change_cell(figures, change)]
        rows.append((told, *cells))
    return Table("Other metrics on the test split", ("metric", "before", "after", "change"), tuple(rows)) if rows else None


def change_in_words(comparison: Object, figures: MetricFormat) -> tuple[str, tuple[str, ...]] | None:
    """The paired difference, and what there is to say about it."""
    change = comparison["difference"]
    if change is None:
        return None
    lines = [
        f"95 % interval {figures.change_interval(change['interval'])}",
        PAGE.p_value(change["p_value"]) + (f", {change['test']}" if change["test"] else ""),
    ]
    if change["fixed"] is not None and change["broken"] is not None and Denoised.of(comparison) is None:
        lines.append(turned(comparison, figures))
    return figures.change(change["mean"], unit=True), tuple(lines)


def tag_table(comparison: Object, figures: MetricFormat) -> Table | None:
    """Before, after, the change, control and baselines for each tag, with a small drawing of the change."""
    before, after = comparison["base"]["by_tag"], (comparison["edited"] or {"by_tag": {}})["by_tag"]
    others = {"control": comparison["control"], **{name.upper(): each for name, each in comparison["baselines"].items()}}
    beside = {name: each["by_tag"] for name, each in others.items() if each}
    if not before:
        return None
    rows = []
    for tag, mean in before.items():
        then = after.get(tag)
        drawn = shift(mean, then) if then is not None and figures.is_share else ""
        change = figures.change(None if then is None else then - mean)
        told = (figures.value(means.get(tag)) for means in beside.values())
        rows.append((tag, figures.value(mean), figures.value(then), change, *told, Markup(drawn)))
    return Table(f"{comparison['metric']} by tag", ("tag", "before", "after", "change", *beside, "0 to 100 %"), tuple(rows))


def search_table(reading: Reading, figures: MetricFormat) -> Table | None:
    """The candidates as numbers."""
    sizes = [trial for trial in reading.trials if "size" in trial]
    if not sizes:
        return None
    ordered = sorted(sizes, key=lambda trial: trial["size"])
    rows = [
        (
            PAGE.number(trial["size"]),
            figures.value(trial["score"]),
            PAGE.number(trial["examples"]),
            "yes" if trial["complete"] else "no",
            PAGE.number(trial["seconds"]),
        )
        for trial in ordered
    ]
    strong = tuple(place for place, trial in enumerate(ordered) if trial["size"] == reading.chosen)
    return Table("Candidates", ("n", f"{figures.metric} (select)", "answers", "complete", "seconds"), tuple(rows), strong)


def units_table(cut: Cut, most: int = 2000) -> Table:
    """Every unit that is cut, by address."""
    rows, left = [], most
    for site, units in cut.units.items():
        told = ", ".join(map(str, units[:left]))
        rows.append((str(site), f"{len(units):,}", told if len(units) <= left else f"{told} … (all of them in plan.json)"))
        left = max(0, left - len(units))
    return Table("Units that are cut, counted from 0", ("address", "units", "which"), tuple(rows))


def bias_table(comparison: Object) -> Table | None:
    """BBQ's bias scores, before and after, all and by category."""
    before, after = comparison["bias_scores"]["base"], comparison["bias_scores"]["edited"]
    rows = []
    for label, here, then in [("all", before, after), *_categories(before, after)]:
        for name in ("ambig", "disambig"):
            first, last = number_of(here.get(name)), number_of(then.get(name))
            if first is not None or last is not None:
                rows.append((f"{label}, {'ambiguous' if name == 'ambig' else 'clear'}", PAGE.signed(first), PAGE.signed(last)))
    return Table("BBQ's bias scores", ("items", "before", "after"), tuple(rows)) if rows else None


def side_table(comparison: Object) -> Table | None:
    """Perplexity and other tasks, before and after."""
    rows = []
    for name, found in comparison["side_effects"].items():
        base, edited = number_of(found.get("base")), number_of(found.get("edited"))
        if base is None:
            continue
        if "perplexity" in name:
            tokens, text = whole_of(found.get("tokens")), str(found.get("text") or "plain text")
            what = f"{found.get('kind') or name} of {text}" + ("" if tokens is None else f" ({tokens:,} tokens)")
            rows.append(
                (
                    what,
                    PAGE.number(base),
                    PAGE.number(edited),
                    DASH if edited is None else f"{PAGE.signed(100 * (edited / base - 1), 1)}{PAGE.blank}%" if base else DASH,
                )
            )
        else:
            metric = str(found.get("metric") or "accuracy")
            figures, change = MetricFormat(metric, PAGE), difference_of(found.get("difference"))
            gain = _change_cell(figures, change) if change else figures.change(None if edited is None else edited - base)
            rows.append((f"{name}, {metric}", figures.value(base), figures.value(edited), gain))
    return Table("Side effects", ("what", "before", "after", "change"), tuple(rows)) if rows else None


def has_no_hold(comparison: Object) -> bool:
    """Whether the model was lost on plain text before anything was cut, so that its perplexity says nothing."""
    found = number_of(object_of(comparison["side_effects"].get("perplexity")).get("base"))
    return found is not None and found > BROKEN_PERPLEXITY


def trial_table(reading: Reading) -> Table | None:
    """The trials of a job, one a row."""
    rows = []
    for part in reading.parts:
        comparison, cut = part.comparison, part.cut
        figures = figures_of(comparison)
        found: Object = comparison or {"edited": None, "control": None, "difference": None}
        cells = [
            _with_interval(figures, found["edited"]),
            _change_cell(figures, found["difference"]),
            _mean_cell(figures, found["control"]),
        ]
        name = f"{part.run.folder.name.removeprefix(PART)} (seed{PAGE.blank}{part.run.recipe.seed})"
        rows.append((name, DASH if cut is None else f"{cut.total:,}" if not cut.surgery.reductions else cut.surgery.brief(), *cells))
    of_matrices = any(part.surgery.is_of_matrices for part in reading.parts)
    head = ("trial", "reduced" if of_matrices else "cut", "after", "change", "control")
    own = "its own reduction" if of_matrices else "its own cut"
    return Table(f"Each trial with its own samples and {own}", head, tuple(rows)) if rows else None


def spread_in_words(trials: Mapping[str, Any], figures: MetricFormat) -> str:
    """How far the trials lie apart."""
    means = [number_of(mean) for mean in trials.get("edited") or ()]
    told = ", ".join(figures.value(mean) for mean in means if mean is not None)
    return f"After it: {told}; standard deviation {figures.value(number_of(trials.get('std')))}." if told else ""


def shared_units(parts: Sequence[Reading]) -> str:
    """How far the trials agree about what to cut, in a sentence."""
    cuts = [part.cut.units for part in parts if part.cut is not None]
    if len(cuts) < 2 or any(part.surgery.is_of_matrices for part in parts):
        return ""
    common, every = cuts[0], cuts[0]
    for units in cuts[1:]:
        common, every = common & units, every | units
    return f"{plural(common.count, 'neurons')} of the {every.count:,} that any trial cuts are cut by all of them."


def _categories(before: Object, after: Object) -> list[tuple[str, Any, Any]]:
    first, last = object_of(before.get("by_category")), object_of(after.get("by_category"))
    return [(str(name), object_of(found), object_of(last.get(name))) for name, found in first.items()]


def _mean_cell(figures: MetricFormat, found: Object | None) -> str:
    return figures.value(None if found is None else found["mean"])


def _with_interval(figures: MetricFormat, found: Object | None) -> str:
    return DASH if found is None else f"{figures.value(found['mean'])}\n{figures.interval(found['interval'])}"


def _change_cell(figures: MetricFormat, change: Object | None) -> str:
    if change is None:
        return DASH
    return f"{figures.change(change['mean'])}\n{figures.change_interval(change['interval'])}\n{PAGE.p_value(change['p_value'])}"


def _fixed_cell(change: Object | None) -> str:
    return DASH if change is None or change["fixed"] is None or change["broken"] is None else f"{change['fixed']:,} / {change['broken']:,}"
