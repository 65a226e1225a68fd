"""The charts: they are sound XML, say their numbers, keep their order, and stay inside their frame."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resect.core.exhibits import SHARE, Curve, HeatMap
from resect.report.charts.curve_chart import curve_chart
from resect.report.charts.heat_map import heat_map
from resect.report.charts.interval_chart import IntervalRow, change_arrow, interval_chart
from resect.report.charts.svg import legible, shortened, standalone, text_width, ticks, wrapped

SVG = "{http://www.w3.org/2000/svg}"
ROLES = ("q", "k", "v", "o", "cross_q", "cross_k", "cross_v", "cross_o", "gate", "up", "down")
LABELS = ("crispr-bbq-llama-bbq-disability", "crispr-bbq-t5-bbq-age", "bbq/religion & <all others>", "glue/mrpc", "glue/rte", "glue/qnli")
HOSTILE = "<script>alert(1)</script> \"'& \x00\x1b\u202e\ud800"
shares = st.floats(0, 1)
numbers = st.floats(-1e6, 1e6)


def parsed(svg):
    return ET.fromstring(svg)


def said(svg):
    return [" ".join("".join(text.itertext()).split()) for text in parsed(svg).iter(f"{SVG}text")]


def marks(svg, kind):
    return [mark for mark in parsed(svg).iter() if mark.get("class") == kind]


def curve(points, **fields):
    return curve_chart(Curve("title", "across", "up", {"series": points}, **fields))


def heat(rows, columns, values, **fields):
    return heat_map(HeatMap("title", rows, columns, values, **fields))


def everything(label="label"):
    return (
        interval_chart([IntervalRow(label, 0.5, (0.4, 0.6), "before"), IntervalRow(label, 0.7, None, "control")], title=label),
        curve_chart(Curve(label, label, label, {label: [(0, 0.5), (10, 0.7)], label * 2: [(0, 0.5)]}, marked=(label, 10.0), x_log=True)),
        curve_chart(Curve(label, label, label, {label: [(0, 0.5), (1, 0.7)]}, x_names=[label, label], bars=True)),
        heat_map(HeatMap(label, [label], [label], [[0.5]], texts=[[label]], corner=label)),
    )


def test_every_drawing_is_an_image_with_words_and_can_stand_alone():
    for svg in everything():
        root = parsed(svg)
        assert root.get("role") == "img" and [child.tag for child in root[:2]] == [f"{SVG}title", f"{SVG}desc"]
        assert root[0].text == "label" and root[1].text
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\(|style=", svg)
        alone = parsed(standalone(svg))
        assert alone[0].tag == f"{SVG}style" and "prefers-color-scheme: dark" in alone[0].text
        assert float(alone.get("width")) > 0 and float(alone.get("height")) > 0


def test_labels_are_text_whatever_they_hold():
    for svg in (*everything(HOSTILE), standalone(everything(HOSTILE)[0])):
        assert parsed(svg).findall(f".//{SVG}script") == []
        assert "<script" not in svg
        parsed(standalone(svg) if not svg.startswith("<?xml") else svg).find(f"{SVG}title")
        assert "\x00" not in svg and "\u202e" not in svg


def test_measurements_have_label_value_and_interval_in_order():
    rows = [
        IntervalRow("before", 0.608, (0.58, 0.63), "before"),
        IntervalRow("after", 0.806, (0.78, 0.83), "after"),
        IntervalRow("random", 0.609, None, "control"),
    ]
    svg = interval_chart(rows, title="t", reference=0.608)
    assert said(svg)[-6:] == ["before", "60.8 % (58.0 to 63.0)", "after", "80.6 % (78.0 to 83.0)", "random", "60.9 %"]
    assert float(marks(svg, "mark before")[0].get("cx")) < float(marks(svg, "mark after")[0].get("cx"))
    whiskers = [line for line in parsed(svg).iter(f"{SVG}line") if "whisker" in line.get("class")]
    assert len(whiskers) == 2
    for line, mark in zip(whiskers, (marks(svg, "mark before")[0], marks(svg, "mark after")[0]), strict=True):
        assert float(line.get("x1")) <= float(mark.get("cx")) <= float(line.get("x2"))
    assert "after: 80.6\N{NO-BREAK SPACE}%" in parsed(svg)[1].text


@given(shares, shares)
def test_a_named_value_has_a_line_through_all_rows_and_its_name_above_them(chance, score):
    rows = [IntervalRow("before", 0.608, (0.58, 0.63), "before"), IntervalRow("always one answer", score, kind="constant")]
    svg = interval_chart(rows, title="t", reference=0.608, named=("chance", chance))
    plain = interval_chart(rows, title="t", reference=0.608)
    lines = [line for line in marks(svg, "reference dotted") if line.tag == f"{SVG}line"]
    (name,) = [text for text in parsed(svg).iter(f"{SVG}text") if (text.text or "").startswith("chance")]
    assert len(lines) == len(rows) + 1 and len({line.get("x1") for line in lines}) == 1
    assert all(0 <= float(line.get("x1")) <= float(parsed(svg).get("width")) for line in lines)
    half = text_width(name.text) / 2
    assert half <= float(name.get("x")) <= float(parsed(svg).get("width")) - half
    assert float(name.get("y")) < min(float(line.get("y1")) for line in lines)
    assert float(parsed(svg).get("height")) > float(parsed(plain).get("height")) and marks(plain, "reference dotted") == []
    assert f"chance {100 * chance:.1f}\N{NO-BREAK SPACE}%" in parsed(svg)[1].text and len(marks(svg, "mark constant")) == 1


def test_a_label_that_is_too_long_gives_way_to_the_numbers():
    assert said(interval_chart([IntervalRow("x" * 300, 0.5, (0.4, 0.6))], title="t"))[-2].endswith("…")


def test_a_curve_marks_what_was_chosen():
    svg = curve([(10, 0.78), (0, 0.6), (3, 0.62), (27, 0.7)], marked=("n", 10.0), unit=SHARE, x_log=True)
    (chosen,) = marks(svg, "mark after")
    dots = marks(svg, "dot main")
    assert "n = 10: 78.0 %" in said(svg) and "60.0 %" in said(svg)
    assert [float(mark.get("cx")) for mark in dots] == sorted(float(mark.get("cx")) for mark in dots)
    assert all(float(chosen.get("cy")) <= float(mark.get("cy")) for mark in dots)
    assert marks(curve([(0, 0.5), (2, 0.6)]), "mark after") == []


@pytest.mark.parametrize("points", [[], [(0, 0.5)], [(0, 0.5), (1, 0.5)], [(n, 1 / (1 + n)) for n in range(3000)]])
def test_any_number_of_points_will_do(points):
    svg = curve(points, marked=("n", 0.0))
    assert len(marks(svg, "dot main")) <= 40
    parsed(svg)


def test_a_heat_map_has_a_cell_for_everything_and_says_it():
    cells = [[float((row * column) % 7) for column in range(11)] for row in range(32)]
    svg = heat([str(row) for row in range(32)], ROLES, cells)
    assert len(list(parsed(svg).iter(f"{SVG}rect"))) == 32 * 11
    words = said(svg)
    assert sum(word in ("cross_q", "cross_k", "cross_v", "cross_o") for word in words) == 4
    assert sum(word == "6" for word in words) >= sum(cell == 6 for row in cells for cell in row)
    assert float(parsed(svg).get("width")) < 700


def test_a_matrix_of_long_labels_stays_readable():
    cells = [[0.01 * (row - column) for column in range(6)] for row in range(6)]
    svg = heat(LABELS, LABELS, cells, texts=[[f"{100 * value:+.1f}" for value in row] for row in cells])
    classes = [rect.get("class") for rect in parsed(svg).iter(f"{SVG}rect")]
    assert [classes.count(f"cell {kind}") for kind in ("up", "down", "empty")] == [15, 15, 6]
    names = [title.text for title in parsed(svg).iter(f"{SVG}title")]
    assert all(names.count(label) == 2 for label in LABELS)
    assert float(parsed(svg).get("width")) < 900


def test_strength_follows_the_value_and_nothing_is_no_zero():
    svg = heat(["row"], ["a", "b", "c", "d"], [[1.0, 2.0, None, 0.0]])
    strong = [rect.get("fill-opacity") for rect in parsed(svg).iter(f"{SVG}rect")]
    assert float(strong[0]) < float(strong[1]) and strong[2:] == [None, None]
    assert said(svg)[-3:] == ["1", "2", "0"]
    assert said(heat(["row"], ["a"], [[0.7]], center=0.7))[-1] == "0.7"


def test_colours_follow_what_is_better():
    for lower_is_better, kinds in ((False, ["cell up", "cell down"]), (True, ["cell down", "cell up"])):
        svg = heat(["row"], ["a", "b"], [[0.6, 0.4]], center=0.5, lower_is_better=lower_is_better)
        assert [rect.get("class") for rect in parsed(svg).iter(f"{SVG}rect")] == kinds


def test_values_are_written_by_their_unit():
    assert said(heat(["row"], ["a", "b"], [[0.5, 0.123]], unit=SHARE))[-2:] == ["50.0", "12.3"]
    assert said(heat(["row"], ["a", "b"], [[0.5, -0.123]], digits=2))[-2:] == ["0.50", "−0.12"]


def test_bounds_are_hatched_and_have_no_colour():
    svg = heat(["row"], ["a", "b", "c"], [[0.2, 0.1, -0.1]], texts=[["70", "≤60", "40"]], bounds=[(0, 1)], framed=[(0, 0)])
    assert [rect.get("class") for rect in parsed(svg).iter(f"{SVG}rect")] == ["cell up", "cell framed", "cell bound", "cell down"]
    (hatch,) = [path for path in parsed(svg).iter(f"{SVG}path") if path.get("class") == "hatch"]
    left, right = 0.0, float(parsed(svg).get("width"))
    points = [tuple(map(float, point.split())) for point in re.split("[ML]", hatch.get("d")) if point]
    assert len(points) % 2 == 0 and all(left < x < right and 0 < y < float(parsed(svg).get("height")) for x, y in points)


def test_maps_that_share_a_scale_can_be_compared():
    (alone,), (shared,) = (
        [rect.get("fill-opacity") for rect in parsed(svg).iter(f"{SVG}rect")]
        for svg in (heat(["row"], ["a"], [[0.1]]), heat(["row"], ["a"], [[0.1]], full=0.5))
    )
    assert float(shared) < float(alone)


def test_lines_have_a_mark_for_each_value_and_none_for_a_hole():
    series = {"select": [(0, 0.5), (1, None), (2, 0.7)], "test": [(0, 0.5), (1, 0.6), (2, 0.6)]}
    svg = curve_chart(Curve("t", "a", "u", series, unit=SHARE, x_names=["0", "1", "2"], tones={"select": "muted", "test": "main"}))
    dots = [mark.get("class") for mark in parsed(svg).iter(f"{SVG}circle")]
    assert (dots.count("dot muted"), dots.count("dot main")) == (2, 3)
    assert {"select", "test", "50.0", "70.0"} <= set(said(svg))
    assert "select: 0 50.0" in parsed(svg)[1].text


def test_many_series_can_be_told_apart():
    svg = curve_chart(Curve("t", "a", "u", {f"series {n}": [(0, n), (1, n)] for n in range(7)}))
    kinds = [line.get("class") for line in parsed(svg).iter(f"{SVG}polyline")]
    assert len(set(kinds[:6])) == 6
    assert all(f"series {n}" in " ".join(said(svg)) for n in range(7))
    assert float(parsed(svg).get("height")) > float(parsed(curve([(0, 1)])).get("height"))


def test_bars_grow_from_0_and_negative_ones_downwards():
    series = {"gained": [(0, 2), (1, 1)], "lost": [(0, 0), (1, -4)]}
    svg = curve_chart(Curve("t", "a", "u", series, x_names=["a", "b"], bars=True, tones={"gained": "main", "lost": "bad"}))
    (axis,) = [line for line in parsed(svg).iter(f"{SVG}line") if line.get("class") == "axis"]
    zero = float(axis.get("y1"))
    drawn = [rect for rect in parsed(svg).iter(f"{SVG}rect") if rect.get("width") != "12"]  # that of the legend
    assert len(drawn) == 4
    for rect in drawn:
        top, tall = float(rect.get("y")), float(rect.get("height"))
        assert (top if "bad" in rect.get("class") else top + tall) == pytest.approx(zero, abs=0.6)


@example(values=[5e-324], unit="")
@given(values=st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=60), unit=st.sampled_from(["", SHARE]))
def test_any_values_can_be_drawn_over_categories(values, unit):
    names = [str(number) for number in range(len(values))]
    for bars in (False, True):
        root = parsed(curve(list(enumerate(values)), x_names=names, unit=unit, bars=bars))
        for mark in root.iter():
            x, y = mark.get("cx") or mark.get("x"), mark.get("cy") or mark.get("y")
            assert x is None or -1 <= float(x) <= 400
            assert y is None or -1 <= float(y) <= float(root.get("height"))


def test_a_logarithmic_axis_has_round_numbers():
    svg = curve([(n, 100 / (1 + n)) for n in range(100)], y_log=True, reference=("edge", 5.0))
    assert {"1", "10", "100", "edge"} <= set(said(svg)) or {"3", "10", "30"} <= set(said(svg))


def test_an_arrow_goes_the_way_of_the_values():
    better, worse = parsed(change_arrow(0.2, 0.9)), parsed(change_arrow(0.9, 0.2))
    assert [line.get("class") for line in better.iter(f"{SVG}line")] == ["grid", "way"]
    assert [line.get("class") for line in worse.iter(f"{SVG}line")] == ["grid", "way down"]


@given(values=st.lists(st.tuples(shares, shares, shares).map(sorted), min_size=1, max_size=5))
def test_what_is_drawn_stays_inside_the_frame(values):
    svg = interval_chart([IntervalRow("label", mean, (low, high), "after") for low, mean, high in values], title="t")
    root = parsed(svg)
    for line in root.iter(f"{SVG}line"):
        assert 0 <= float(line.get("x1")) <= 400 and 0 <= float(line.get("x2")) <= 400
    for mark in root.iter(f"{SVG}circle"):
        assert 6 <= float(mark.get("cx")) <= 394


@given(low=numbers, high=numbers)
def test_ticks_are_few_in_order_and_inside(low, high):
    low, high = sorted((low, high))
    found = ticks(low, high)
    assert found == sorted(set(found)) and 1 <= len(found) <= 5
    room = 1e-6 * (high - low) + 1e-9 * max(abs(low), abs(high))
    assert all(low - room <= tick <= high + room for tick in found)


@given(text=st.text(max_size=80), room=st.floats(30, 300), most=st.integers(1, 4))
def test_text_is_made_to_fit(text, room, most):
    assert text_width(shortened(text, room)) <= room
    lines = wrapped(text, room, most)
    assert 1 <= len(lines) <= most
    assert all(text_width(line) <= room for line in lines)
    if all(not line.endswith("…") for line in lines):
        assert "".join("".join(lines).split()) == "".join(legible(text).split())
