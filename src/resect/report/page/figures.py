"""The drawings of a report, from what could be read of a run. Knows no page."""

from dataclasses import dataclass

from markupsafe import Markup

from resect.core.address import ROLES, STACKS, Site
from resect.core.number_format import MetricFormat
from resect.core.scores import Scores
from resect.report.charts.estimates_and_curves import Bar, bars, curve
from resect.report.charts.heatmap import heat
from resect.report.readers.plan_summary import Surgery
from resect.report.readers.run_reader import Reading
from resect.report.readers.tolerant import Cut, Object
from resect.report.tables.tables import estimates

#: From so many layers on, layers in which nothing is cut are drawn together.
LAYERS = 32
#: Neurons of a ranking that are drawn: three times as many as are cut, within these bounds.
RANKS = (50, 400)
#: Up to so many roles a map of the cut is readable at the width of a phone.
SNUG = 7


def result_chart(comparison: Object, surgery: Surgery, figures: MetricFormat) -> Markup:
    """All estimates on one axis."""
    rows = []
    for kind, label, estimate in estimates(comparison, surgery):
        low, high = estimate["interval"] or (None, None)
        rows.append(Bar(label, estimate["mean"], low, high, kind))
    title = f"{comparison['metric']} with 95 % intervals"
    return Markup(bars(rows, title=title, share=figures.is_share, reference=comparison["base"]["mean"]))


def search_curve(reading: Reading, figures: MetricFormat) -> Markup | None:
    """The score on the select split against n."""
    points = [(trial["size"], trial["score"]) for trial in reading.trials if "size" in trial]
    if len(points) < 3:
        return None
    upwards = f"{figures.metric}, select split"
    return Markup(curve(points, reading.chosen, title=f"{upwards}, against n", upwards=upwards, share=figures.is_share))


def ranking(scores: Scores | None, cut: Cut | None) -> Markup | None:
    """The highest scores in their order, with the place up to which was cut."""
    if scores is None or scores.count < 3:
        return None
    wanted = 0 if cut is None else cut.units.count
    top = scores.top(min(scores.count, max(RANKS[0], min(3 * wanted, RANKS[1]))))
    values = sorted((float(scores[site][unit]) for site, units in top.items() for unit in units), reverse=True)
    points = [(float(place), value) for place, value in enumerate(values, start=1)]
    return Markup(
        curve(
            points,
            float(wanted) if wanted else None,
            share=False,
            logarithmic=False,
            title="The highest scores of all neurons",
            across="rank",
            upwards="score",
        )
    )


@dataclass(frozen=True)
class Map:
    """Where in a stack was cut. A snug one may be scaled to the width of a phone, another has to scroll."""

    stack: str
    drawing: Markup
    is_snug: bool


def cut_maps(reading: Reading) -> list[Map]:
    """For each stack that is cut, how many neurons of each layer and role."""
    if reading.cut is None or not reading.cut.counts:
        return []
    counts, looked_at = reading.cut.counts, tuple(reading.scores or ())
    maps = []
    for stack in STACKS:
        here = {site: number for site, number in counts.items() if site.stack == stack}
        if not here:
            continue
        known = {*here, *(site for site in looked_at if site.stack == stack)}
        roles = [role for role in ROLES if any(site.role == role for site in known)]
        groups = _layers(max(site.layer for site in known) + 1, {site.layer for site in here})
        cells = [[_sum_at(here, layers, role) for role in roles] for layers in groups]
        texts = [[f"{value:,.0f}" if value else "·" for value in row] for row in cells]
        names = [str(layers[0]) if len(layers) == 1 else f"{layers[0]}–{layers[-1]}" for layers in groups]
        title = f"Neurons cut in the {stack}, by layer and role"
        maps.append(Map(stack, Markup(heat(names, roles, cells, texts, title=title, corner="layer")), len(roles) <= SNUG))
    return maps


def _layers(depth: int, cut: set[int]) -> list[range]:
    """The layers one by one; in a deep model, neighbours in which nothing is cut together."""
    if depth <= LAYERS:
        return [range(layer, layer + 1) for layer in range(depth)]
    groups, done = [], 0
    for layer in (*sorted(cut), depth):
        groups += [range(done, layer)] if layer > done else []
        groups += [range(layer, layer + 1)] if layer < depth else []
        done = layer + 1
    return groups


def _sum_at(counts: dict[Site, int], layers: range, role: str) -> float:
    return float(sum(number for site, number in counts.items() if site.layer in layers and site.role == role))
