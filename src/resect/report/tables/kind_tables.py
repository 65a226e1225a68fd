"""The tables of a comparison by kind: of examples by their tags, of answers by the option that they take. Knows no page."""

from markupsafe import Markup

from resect.core.exhibits import Table
from resect.core.number_format import DASH, ORDINALS, PAGE, MetricFormat, NumberStyle
from resect.report.charts.interval_chart import change_arrow
from resect.runs.reference_scores import ALIKE, positions
from resect.runs.schemas.comparison import ComparisonFile


def tag_table(comparison: ComparisonFile, figures: MetricFormat, *, is_drawn: bool = True) -> Table | None:
    """Before, after, the change with its interval, control and baselines for each tag, with a small drawing of the change.

    A tag that all examples carry has no row, since its row would be that of the total; None without tags.
    """
    after = {} if comparison.edited is None else comparison.edited.by_tag
    ends = {} if comparison.difference is None else comparison.difference.interval_by_tag
    others = {"control": comparison.control, **{name.upper(): measured for name, measured in comparison.baselines.items()}}
    columns = {name: measured.by_tag for name, measured in others.items() if measured is not None}
    rows = []
    for tag, mean in _tag_means(comparison).items():
        then = after.get(tag)
        arrow = change_arrow(mean, then) if is_drawn and then is not None and figures.is_share else ""
        change = figures.change(None if then is None else then - mean)
        cells = (figures.value(means.get(tag)) for means in columns.values())
        interval = (figures.change_interval(ends.get(tag)),) if ends else ()
        rows.append((tag, figures.value(mean), figures.value(then), change, *interval, *cells, *([Markup(arrow)] if is_drawn else [])))
    head = ("tag", "before", "after", "change", *(("95 % interval",) if ends else ()), *columns, *(["0 to 100 %"] if is_drawn else []))
    return Table(f"{comparison.metric} by tag", head, rows) if rows else None


def tag_interval_table(comparison: ComparisonFile, figures: MetricFormat) -> Table | None:
    """Before and after for each tag with their intervals; None where there are none."""
    before, after = comparison.base, comparison.edited
    if not before.interval_by_tag:
        return None
    rows = []
    for tag, mean in _tag_means(comparison).items():
        then = (None, None) if after is None else (after.by_tag.get(tag), after.interval_by_tag.get(tag))
        ends = before.interval_by_tag.get(tag)
        rows.append((tag, figures.value(mean), figures.interval(ends), figures.value(then[0]), figures.interval(then[1])))
    title = f"{comparison.metric} by tag, before and after with 95 % intervals"
    return Table(title, ("tag", "before", "95 % interval", "after", "95 % interval"), rows) if rows else None


def _tag_means(comparison: ComparisonFile) -> dict[str, float]:
    """The means before, by tag; empty where the only tag is that of all examples."""
    before, after, edited = comparison.base.by_tag, {} if comparison.edited is None else comparison.edited.by_tag, comparison.edited
    total = [tag for tag, mean in before.items() if (mean, after.get(tag)) == (comparison.base.mean, edited and edited.mean)]
    return {tag: mean for tag, mean in before.items() if total != [tag]}


def positions_table(comparison: ComparisonFile, style: NumberStyle = PAGE) -> Table | None:
    """How right and given answers spread over the first, second, third option; None where answers are no choices."""
    rows = positions(comparison)
    if not rows:
        return None
    number = max(map(len, rows.values()))
    rest = {label: 1 - sum(shares) for label, shares in rows.items()}
    has_rest = any(share >= ALIKE for share in rest.values())
    cells = [
        (label, *(style.percent(share) for share in shares), *[DASH] * (number - len(shares)))
        + ((style.percent(max(rest[label], 0.0)),) if has_rest else ())
        for label, shares in rows.items()
    ]
    columns = ("", *ORDINALS[:number], *(("none of these",) if has_rest else ()))
    return Table("How answers spread over the options", columns, cells)
