"""Exhibits as blocks of a page: notes, charts side by side, tables; and the exhibits of a run as one section each. Knows no run."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from resect.core.exhibits import SHARE, Curve, Exhibit, HeatMap, Table, by_section
from resect.report.charts.curve_chart import curve_chart
from resect.report.charts.heat_map import heat_map

from .blocks import Block, Figure, Figures, Fold, Legend, Paragraph, Section, folded

#: A heat map with more rows is folded.
DEEP = 40


def exhibit_sections(exhibits: Iterable[Exhibit]) -> list[Section]:
    """Returns a section for each section of the exhibits."""
    grouped = by_section(exhibits).items()
    return [Section(f"exhibit-{number}", name, name, (), exhibit_blocks(group)) for number, (name, group) in enumerate(grouped, start=1)]


def exhibit_blocks(exhibits: Sequence[Exhibit], *, headings: bool = True) -> list[Block]:
    """Returns the blocks of exhibits: consecutive charts of one kind are side by side. `headings`: their titles are shown."""
    blocks, legend = list[Block](), None
    for exhibit in exhibits:
        if exhibit.note:
            blocks.append(Paragraph(exhibit.note))
        if isinstance(exhibit, Table):
            blocks.append(folded(exhibit))
            continue
        if isinstance(exhibit, HeatMap) and exhibit.legend and exhibit.legend != legend:
            legend = exhibit.legend
            blocks.append(Legend(tuple(legend.items())))
        figure = _figure(exhibit, headings)
        last = blocks[-1] if blocks else None
        if isinstance(exhibit, HeatMap) and len(exhibit.row_labels) > DEEP:
            blocks.append(Fold(exhibit.title, (Figures((figure,)),)))
        elif isinstance(last, Figures) and last.figures[0].scrolls == figure.scrolls:
            blocks[-1] = Figures((*last.figures, figure))
        else:
            blocks.append(Figures((figure,)))
    return blocks


def _figure(exhibit: Curve | HeatMap, has_heading: bool) -> Figure:
    if isinstance(exhibit, Curve):
        return Figure(Markup(curve_chart(exhibit)), exhibit.title, exhibit.title if has_heading else "")
    unit = {"": "", SHARE: " (%)"}.get(exhibit.unit, f" ({exhibit.unit})")
    return Figure(Markup(heat_map(exhibit)), exhibit.title, f"{exhibit.title}{unit}" if has_heading else "", scrolls=True)
