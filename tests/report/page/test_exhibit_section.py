"""Exhibits on a page: grouped by section, notes before them, charts side by side, what is long folded, units named."""

from report.run_folder import HOSTILE, Page, finished, shown
from resect.core.exhibits import SHARE, Curve, HeatMap, Table
from resect.report.page.blocks import Figures, Fold, Legend, Paragraph
from resect.report.page.exhibit_section import exhibit_blocks, exhibit_sections
from resect.report.page.html import page


def heat(title, rows=2, **fields):
    labels = [f"row {n}" for n in range(rows)]
    return HeatMap(title, labels, ["a", "b"], [[0.1 * n, None] for n in range(rows)], **fields)


def curve(title, **fields):
    return Curve(title, "x", "y", {"first": [(0, 1.0), (1, 2.0)]}, **fields)


def kinds(blocks):
    return [type(block).__name__ for block in blocks]


def test_each_section_has_its_exhibits_in_their_order():
    exhibits = [curve("a", section="one"), Table("b", ["c"], [["d"]]), heat("e", section="one")]
    sections = exhibit_sections(exhibits)
    assert [section.title for section in sections] == ["one", "b"]
    assert len({section.anchor for section in sections}) == 2
    assert kinds(sections[0].blocks) == ["Figures", "Figures"]


def test_charts_of_one_kind_are_side_by_side_until_a_note():
    blocks = exhibit_blocks([heat("a"), heat("b"), curve("c"), curve("d", note="A note."), curve("e")])
    assert kinds(blocks) == ["Figures", "Figures", "Paragraph", "Figures"]
    assert [len(block.figures) for block in blocks if isinstance(block, Figures)] == [2, 1, 2]
    assert blocks[2] == Paragraph("A note.")


def test_a_legend_is_shown_once_for_maps_that_share_it():
    legend = {"up": "better", "bounds": "at most this"}
    blocks = exhibit_blocks([heat("a", legend=legend), heat("b", legend=legend)])
    assert [block for block in blocks if isinstance(block, Legend)] == [Legend((("up", "better"), ("bounds", "at most this")))]


def test_what_is_long_is_folded():
    table = Table("many", ["n"], [[n] for n in range(200)])
    blocks = exhibit_blocks([table, heat("deep", rows=80), heat("flat")])
    assert kinds(blocks) == ["Fold", "Fold", "Figures"] and [block.summary for block in blocks if isinstance(block, Fold)] == [
        "many",
        "deep",
    ]


def test_units_are_named():
    titles = [block.figures[0].heading for block in exhibit_blocks([heat("a", unit=SHARE)]) + exhibit_blocks([heat("b", unit="nats")])]
    assert titles == ["a (%)", "b (nats)"]
    (block,) = exhibit_blocks([curve("c", unit="seconds")])
    assert "y (seconds)" in block.figures[0].chart


def test_a_run_shows_what_its_method_returns(tmp_path):
    run = finished(tmp_path / "run")
    run.keep_exhibits(
        [curve("Loss by step", note="It falls.", section="Own numbers"), Table("Cells", ["a", "b"], [["x", 12345.678], ["y", None]])]
    )
    text = shown(run).text
    assert "Own numbers" in text and "It falls." in text and "12,346" in text and "–" in text


def test_text_of_an_exhibit_is_text(tmp_path):
    run = finished(tmp_path / "run")
    hostile = Curve(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: [(0, 1.0)]}, HOSTILE, HOSTILE, HOSTILE, [HOSTILE], reference=(HOSTILE, 1.0))
    run.keep_exhibits([hostile, heat(HOSTILE, note=HOSTILE, corner=HOSTILE), Table(HOSTILE, [HOSTILE], [[HOSTILE]], HOSTILE)])
    found = Page(page(run))
    assert found.all("script") == [] and "<script>alert(1)</script>" in found.text
