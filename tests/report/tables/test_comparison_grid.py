"""Side by side: every number of every run is in some cell, said of the right thing, in every form, whatever the names are."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report.matrix_folder import COMPARISON as REDUCED
from report.matrix_folder import RECIPE as LASER
from report.matrix_folder import reduced
from resect.core.errors import InputError
from resect.report.tables.comparison_grid import table, transferred
from resect.report.tables.grid_formats import Column, clean, escaped, told_apart
from resect.report.terminal.summary import console, show
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

NASTY = "a_b 100% & #1 $x^2~ \\cmd{y} [red]no[/red] <b>\x1b[31m -- ü\n|`"


def estimate(mean, half=0.02):
    return {"mean": mean, "interval": [mean - half, mean + half], "std_over_instructions": 0.01, "by_tag": {}}


def difference(mean, half=0.03):
    interval = [mean - half, mean + half]
    return {"mean": mean, "interval": interval, "p_value": 0.01, "test": "sign flip", "fixed": 5, "broken": 2, "by_tag": {}}


class Plan:
    def __init__(self, cut):
        neurons = {"decoder.0.up": list(range(cut))}
        self.text = json.dumps({"schema": 1, "model": None, "edits": [{"kind": "scale", "factor": 0.0, "neurons": neurons}]})

    def save(self, path):
        path.write_text(self.text)


def compared(task="bbq/age", metric="accuracy", base=0.5, edited=0.7, control=0.51, cc=None, dc=None, **more):
    return {
        "schema": 1,
        "task": task,
        "metric": metric,
        "n_examples": 100,
        "n_instructions": 10,
        "n_groups": 50,
        "base": estimate(base),
        "edited": estimate(edited),
        "control": None if control is None else estimate(control),
        "baselines": {name: None if mean is None else estimate(mean) for name, mean in (("cc", cc), ("dc", dc))},
        "difference": difference(edited - base),
        "side_effects": {},
        "other_metrics": {},
        "bias_scores": None,
        **more,
    }


def finished(folder, comparison, model="models/tiny", cut=3, **settings):
    recipe = Recipe(method="crispr", model=model, task=comparison["task"], **settings)
    with Run.open(folder, recipe) as run:
        run.keep_comparison(comparison)
        run.keep_plan(Plan(cut))
    return Run.load(folder)


def printed(grid, width=80):
    out = io.StringIO()
    show(grid.text(), console(file=out, width=width))
    return out.getvalue()


def records(grid):
    return list(csv.DictReader(io.StringIO(grid.csv())))


def cells(grid, label, block=None):
    (row,) = [row for row in grid.rows if row.label == label and block in (None, row.block)]
    return row.cells


def figures(grid, label, block=None):
    return [" ".join(filter(None, column.figures(cell))) for column, cell in zip(grid.columns, cells(grid, label, block), strict=True)]


# What the patent's FIG. 4 says of Flan-T5-base: original, CC, DC, CRISPR.
PUBLISHED = {"bbq/ses": (65.61, 43.95, 47.78, 71.68), "bbq/age": (43.60, 39.13, 40.03, 60.32), "glue/mrpc": (60.95, 65.83, 79.01, 73.27)}


@pytest.fixture
def patent(tmp_path):
    found = []
    for task, percents in PUBLISHED.items():
        base, cc, dc, edited = (value / 100 for value in percents)
        comparison = compared(task, base=base, edited=edited, control=base, cc=cc, dc=dc)
        found.append(finished(tmp_path / task.replace("/", "-"), comparison, "google/flan-t5-base"))
    return found


def test_a_table_is_what_the_patent_prints(patent):
    grid = table(patent)
    assert [column.label for column in grid.columns] == list(PUBLISHED)
    assert [(row.block, row.label) for row in grid.rows] == [
        ("flan-t5-base", label) for label in ("original", "CC", "DC", "CRISPR", "random cut")
    ]
    assert figures(grid, "original") == ["65.6", "43.6", "61.0"]
    assert figures(grid, "CC") == ["44.0 (-21.7)", "39.1 (-4.5)", "65.8 (+4.9)"]
    assert figures(grid, "CRISPR") == ["71.7 (+6.1)", "60.3 (+16.7)", "73.3 (+12.3)"]
    assert figures(grid, "random cut") == ["65.6 (0.0)", "43.6 (0.0)", "61.0 (0.0)"]
    best = [[cell.best for cell in row.cells] for row in grid.rows]
    assert best == [[False] * 3, [False] * 3, [False, False, True], [True, True, False], [False] * 3]


def test_what_was_not_measured_is_a_dash(patent, tmp_path):
    one = finished(tmp_path / "one", compared("bbq/age", base=0.3, edited=0.4, control=None), "other/flan-t5-base")
    grid = table([*patent, one])
    assert {row.block for row in grid.rows} == {"google/flan-t5-base", "other/flan-t5-base"}
    assert figures(grid, "CRISPR", "other/flan-t5-base") == ["–", "40.0 (+10.0)", "–"]
    assert [row.label for row in grid.rows if row.block.startswith("other")] == ["original", "CRISPR"]
    assert "not measured" in grid.caption and "not measured" not in table(patent).caption


def test_runs_with_other_settings_are_told_apart_and_none_is_lost(tmp_path):
    runs = [finished(tmp_path / f"seed-{seed}", compared(edited=0.7 + seed / 100), seed=seed) for seed in range(3)]
    runs.append(finished(tmp_path / "ses", compared("bbq/ses")))
    grid = table(runs)
    assert [row.label for row in grid.rows][:5] == ["original", "CRISPR", "CRISPR · seed-0", "CRISPR · seed-1", "CRISPR · seed-2"]
    assert figures(grid, "original") == ["50.0", "50.0"]
    assert figures(grid, "CRISPR") == ["–", "70.0 (+20.0)"]
    assert figures(grid, "CRISPR · seed-1") == ["71.0 (+21.0)", "–"]
    assert {record["run"] for record in records(grid)} == {str(run.folder) for run in runs}
    assert "seed" not in grid.caption  # the seed changes the cut, not the test examples


def test_the_same_once_more_is_one_row_and_two_lines_of_csv(tmp_path):
    runs = [finished(tmp_path / name / "run", compared()) for name in ("a", "b")]
    grid = table([*runs, runs[0], Run.load(tmp_path / "a" / ".." / "a" / "run")])
    assert [row.label for row in grid.rows] == ["original", "CRISPR", "random cut"]
    assert len(records(grid)) == 6
    other = finished(tmp_path / "c" / "run", compared(edited=0.8))
    labels = [row.label for row in table([*runs, other]).rows]
    assert "CRISPR · a/run, b/run" in labels and "CRISPR · c/run" in labels


def test_the_best_is_sought_among_numbers_of_the_same_examples(tmp_path):
    runs = [
        finished(tmp_path / "all", compared(base=0.5, edited=0.7)),
        finished(tmp_path / "few", compared(base=0.7, edited=0.9, n_examples=10), limit=20),
        finished(tmp_path / "none", compared("bbq/ses", base=0.5, edited=0.5, control=None)),
    ]
    grid = table(runs)
    best = {row.label: [cell is not None and cell.best for cell in row.cells] for row in grid.rows}
    assert {label for label, found in best.items() if any(found)} == {"CRISPR · all", "CRISPR · few"}
    assert {"original · all", "original · few"} <= best.keys()
    assert "differ in limit, number of examples" in grid.caption


def test_another_metric_has_a_column_of_its_own(tmp_path):
    shares = finished(tmp_path / "a", compared())
    losses = finished(tmp_path / "b", compared(metric="logloss", base=1.25, edited=1.0, control=1.3), metric=None)
    texts = finished(tmp_path / "c", compared(metric="generation"), metric="generation")
    grid = table([shares, losses, texts])
    assert [column.label for column in grid.columns] == ["bbq/age", "bbq/age (logloss)", "bbq/age (generation)"]
    assert figures(grid, "CRISPR") == ["70.0 (+20.0)", "1.000 (-0.250)", "70.0 (+20.0)"]
    assert [cell.best for cell in cells(grid, "CRISPR")] == [True] * 3
    assert {record["metric"] for record in records(grid)} == {"accuracy", "logloss", "generation"}
    only = ET.fromstring(table([losses]).picture())
    kinds = [each.get("class") for each in only.iter() if each.tag.endswith("rect")]
    assert "cell up" in kinds[1]  # less loss is a gain


def test_of_several_trials_the_mean_counts(tmp_path):
    trials = {"trials": {"edited": [0.8, 0.6], "std": 0.1, "sizes": [3, 6]}}
    grid = table([finished(tmp_path / "a", compared(other_metrics=trials))])
    cut = {record["measured"]: (record["n_cut"], record["trials"]) for record in records(grid)}
    assert cut == {"base": ("0", "2"), "edited": ("4.5", "2"), "control": ("4.5", "2")}
    assert "several trials" in grid.caption


def test_runs_that_are_not_finished_or_damaged_are_named(tmp_path):
    with Run.open(tmp_path / "begun", Recipe(method="crispr", model="m", task="t")):
        pass
    with pytest.raises(InputError, match=r"begun.*resect run"):
        table([Run.load(tmp_path / "begun")])
    run = finished(tmp_path / "torn", compared())
    (run.folder / "comparison.json").write_text('{"schema": 1, "task": "x"}')
    with pytest.raises(InputError, match=r"torn.*damaged.*base"):
        table([run])
    (run.folder / "comparison.json").write_text('{"schema": 1,')
    with pytest.raises(InputError, match="torn"):
        table([run])
    with pytest.raises(InputError, match="at least one"):
        table([])


def test_csv_holds_intervals_and_any_name(tmp_path):
    grid = table([finished(tmp_path / "a,b", compared(NASTY + ',"'), "models/x,y", cut=7)])
    base, edited, control = records(grid)
    assert edited["model"] == "x,y" and edited["run"] == str(tmp_path / "a,b")
    assert edited["task"] == clean(NASTY + ',"') and "\x1b" not in grid.csv()
    assert [float(edited[name]) for name in ("mean", "low", "high", "std_over_instructions")] == [0.7, 0.7 - 0.02, 0.7 + 0.02, 0.01]
    assert float(edited["change_low"]) == 0.7 - 0.5 - 0.03
    assert (base["change"], control["change_low"], edited["n_cut"], base["n_cut"]) == ("", "", "7", "0")
    assert [record["method"] for record in (base, edited, control)] == ["original", "CRISPR", "random cut"]


def test_csv_says_what_numbers_are_read_against_after_all_other_columns(tmp_path):
    answers = {"chance": 0.25, "constant": {"label": "the first option", "score": 0.375}, "balanced": {"base": 0.45, "edited": 0.65}}
    judged = compared(answers=answers, verdict={"word": "helps, at a price"})
    grid = table([finished(tmp_path / "a", judged), finished(tmp_path / "b", compared("bbq/ses"))])
    rows = records(grid)
    assert list(rows[0])[-5:] == ["run", "chance", "constant", "balanced", "verdict"]
    base, edited, control, *older = [[row[name] for name in ("chance", "constant", "balanced", "verdict")] for row in rows]
    assert (base, edited) == (["0.25", "0.375", "0.45", ""], ["0.25", "0.375", "0.65", "helps, at a price"])
    assert control == ["0.25", "0.375", "", ""] and older == [[""] * 4] * 3
    text = printed(grid)
    assert "verdict" in text and "helps, at a price" in text
    assert_is_latex(grid.latex())
    assert r"bbq/age & CRISPR & 3 neurons & helps, at a price \\" in grid.latex() and r"3 neurons & -- \\" in grid.latex()
    assert "verdict" not in printed(table([finished(tmp_path / "c", compared())]))


def rows_of(latex):
    body = latex[latex.index(r"\toprule") : latex.index(r"\bottomrule")]
    return [line for line in body.splitlines() if line.endswith(r"\\")]


def assert_is_latex(latex):
    bare = re.sub(r"\\[_%&#${}\\]", "", latex)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    assert not re.search(r"[#~]|(?<!^)%", bare, re.MULTILINE)
    for part in latex.split(r"\begin{tabular}")[1:]:
        layout = re.match(r"\{(.*)\}", part)[1]
        assert {re.sub(r"\\&", "", row).count("&") for row in rows_of(part)} == {len(layout) - 1}
    assert not any(row.lstrip().startswith(("[", "*")) for row in rows_of(latex))


def test_latex_escapes_names_and_keeps_its_columns(tmp_path, patent):
    grid = table([*patent, finished(tmp_path / "x", compared(NASTY), NASTY.replace("/", "|"))])
    latex = grid.latex()
    assert_is_latex(latex)
    assert r"a\_b 100\% \& \#1 \$x\textasciicircum{}2\textasciitilde{} \textbackslash{}cmd\{y\} {[}red]no" in latex
    assert r"\textbf{71.7 ($+$6.1)}" in latex and latex.count(r"\midrule") == 3
    assert_is_latex(transferred(found()).latex())


@given(st.text(max_size=60))
def test_escaped_text_means_nothing_to_latex(text):
    told = re.sub(r"\\(?:[_%&#${}]|(?:text[a-z]+|dag)\{\})|\$(?:-|\\cdot)\$|\{[\[*]\}|-\{\}", "", escaped(text))
    assert not set("\\_%&#${}^~<>|`[*\n\x1b") & set(told)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
def test_latex_compiles(tmp_path, patent):
    grid = table([*patent, finished(tmp_path / "x", compared(NASTY), NASTY.replace("/", "|"))])
    pages = "\n".join((grid.latex(), transferred(found()).latex()))
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{pages}\end{{document}}"
    (tmp_path / "a.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("width", [44, 60, 80, 200])
def test_text_fits_and_wraps_into_blocks(tmp_path, width):
    tasks = [f"bbq/a-rather-long-name-{number}" for number in range(7)]
    runs = [finished(tmp_path / f"run-{n}", compared(task, edited=0.6 + n / 100)) for n, task in enumerate(tasks)]
    text = printed(table(runs), width)
    assert max(map(len, text.splitlines())) <= width
    assert all(f"{60 + n}.0 (+{10 + n}.0)" in text for n in range(7))
    assert (text.count("original") > 2) == (width < 200)


def test_text_is_neither_markup_nor_escape_codes(tmp_path):
    run = finished(tmp_path / "[bold]x", compared(NASTY), NASTY.replace("/", "|"))
    other = finished(tmp_path / "y", compared(NASTY, edited=0.8), NASTY.replace("/", "|"), seed=2)
    text = printed(table([run, other]), 120)
    assert "\x1b" not in text
    assert "CRISPR · [bold]x" in text and "[red]no[" in text
    out = io.StringIO()
    show(table([run]).text(), console(file=out, width=100, force_terminal=True, color_system="standard"))
    assert "\x1b[1m" in out.getvalue()  # the best is bold


def test_a_picture_is_a_file_of_its_own(tmp_path):
    runs = [finished(tmp_path / "x", compared(NASTY)), finished(tmp_path / "y", compared("other"))]
    for grid in (table(runs), transferred(found())):
        picture = grid.picture()
        root = ET.fromstring(picture)
        texts = {"".join(each.itertext()) for each in root.iter() if each.tag.endswith("}text")}
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert {"50.0", "70.0 (+20.0)"} & texts
        assert "\x1b" not in picture and "<b>" not in picture
        addresses = set(re.findall(r"https?://[^\"' ]+", picture))
        assert addresses <= {"http://www.w3.org/2000/svg"}


def test_what_each_run_cut_is_listed_by_model_and_task(tmp_path):
    reductions = {"counterfact": ("decoder.27.gate", 0.01), "hotpotqa": ("decoder.26.down", 0.1), "fever": None}
    runs = [
        reduced(tmp_path / task, {**REDUCED, "task": task}, plan_of(found), recipe=LASER.with_settings(task=task))
        for task, found in reductions.items()
    ]
    runs.append(finished(tmp_path / "crispr", compared("bbq/age")))
    grid = table(runs)
    assert [(each.task, each.method, each.what) for each in grid.notes] == [
        ("counterfact", "LASER", "decoder.27.gate ρ 0.01"),
        ("hotpotqa", "LASER", "decoder.26.down ρ 0.1"),
        ("fever", "LASER", "nothing"),
        ("bbq/age", "CRISPR", "3 neurons"),
    ]
    assert {row.label for row in grid.rows} == {"original", "LASER", "CRISPR", "random cut, as CRISPR", "other matrices, as LASER"}
    text = printed(grid, 60)
    assert "what was changed" in text and "decoder.27.gate ρ 0.01" in text and "reduced as far" in " ".join(text.split())
    latex = grid.latex()
    assert_is_latex(latex)
    assert r"tiny & counterfact & LASER & decoder.27.gate ρ 0.01 \\" in latex
    assert {row["cut"] for row in records(grid)} >= {"decoder.26.down ρ 0.1", "3 neurons", ""}
    assert len(grid.to_json()["cuts"]) == 4


def plan_of(found):
    edits = [] if found is None else [{"kind": "reduce_rank", "site": found[0], "rho": found[1], "keep": "largest"}]
    return {"schema": 1, "model": None, "edits": edits}


def test_a_damaged_plan_is_named(tmp_path):
    run = finished(tmp_path / "torn", compared())
    (run.folder / "plan.json").write_text('{"edits": [{"kind": "reduce_rank", "site": "decoder.0.up", "rho": "x"}]}')
    with pytest.raises(InputError, match=r"torn.*damaged"):
        table([run])


def test_tasks_of_a_transfer_may_have_metrics_of_their_own():
    grid = transferred(found(metric=None, metrics={"bbq/age": "accuracy", "bbq/ses": "generation", "glue/mrpc": "top10"}))
    assert [column.label for column in grid.columns] == ["bbq/age", "bbq/ses (generation)", "glue/mrpc (top10)"]
    assert "heading says top" in grid.caption


def found(**changes):
    tasks = ["bbq/age", "bbq/ses", "glue/mrpc"]
    moves = [[0.2, 0.04, -0.1], [0.01, 0.15, 0.0], [0.0, 0.0, 0.0], [0.02, 0.0, -0.01]]
    plans = [
        {"name": "runs/one/age", "found_on": "bbq/age", "cut": 8},
        {"name": "runs/ses/plan.json", "found_on": "bbq/ses", "cut": 12},
        {"name": "runs/two/age/", "found_on": "bbq/age", "cut": 0},
        {"name": "plans/by-hand.json", "found_on": None, "cut": 1},
    ]
    results = [[{"edited": estimate(0.5 + move), "difference": difference(move)} for move in row] for row in moves]
    base = {task: estimate(0.5) for task in tasks}
    return {"tasks": tasks, "plans": plans, "metric": "accuracy", "base": base, "results": results} | changes


def test_a_transfer_marks_what_is_sure_and_what_is_its_own():
    grid = transferred(found())
    labels = [row.label for row in grid.rows]
    assert labels == ["as it is", "bbq/age · one/age", "bbq/ses", "bbq/age · two/age (nothing changed)", "by-hand.json"]
    assert figures(grid, "as it is") == ["50.0", "50.0", "50.0"]
    assert figures(grid, "bbq/age · one/age") == ["70.0 (+20.0) *†", "54.0 (+4.0) *", "40.0 (-10.0) *"]
    assert figures(grid, "bbq/ses") == ["51.0 (+1.0)", "65.0 (+15.0) *†", "50.0 (0.0)"]
    assert figures(grid, "by-hand.json") == ["52.0 (+2.0)", "50.0 (0.0)", "49.0 (-1.0)"]
    assert "* the 95 % interval of the change excludes 0" in grid.caption and "† the task" in grid.caption
    text = printed(grid)
    assert "70.0 (+20.0)*†" in text and "glue/mrpc" in text
    rows = records(grid)
    assert len(rows) == 3 * 5
    assert [row["measured"] for row in rows[:4]] == ["base"] * 3 + ["edited"]
    assert (rows[3]["plan"], rows[3]["n_cut"], float(rows[3]["change_high"])) == ("runs/one/age", "8", 0.2 + 0.03)


def test_a_transfer_without_plans_or_tasks():
    alone = transferred(found(plans=[], results=[]))
    assert [row.label for row in alone.rows] == ["as it is"]
    assert "50.0" in printed(alone)
    with pytest.raises(InputError, match="at least one"):
        transferred(found(tasks=[], results=[[]] * 4))


def test_json_is_plain(tmp_path):
    for grid in (table([finished(tmp_path / "a", compared())]), transferred(found())):
        value = json.loads(json.dumps(grid.to_json(), allow_nan=False))
        assert len(value["columns"]) == len(value["rows"][0]["cells"])
        assert len(value["records"]) == len(records(grid))
    assert value["rows"][1]["cells"][0] == {"mean": 0.7, "change": 0.2, "best": False, "sure": True, "own": True}


@given(st.lists(st.text("ab/", min_size=1, max_size=7), max_size=5))
def test_names_told_apart_are_apart(paths):
    names = told_apart(paths)
    absolute = {f"/{path.strip('/')}" for path in paths}
    assert names.keys() == set(paths)
    assert len(set(told_apart(absolute).values())) == len({re.sub("/+", "/", path) for path in absolute})


def test_nothing_is_written_as_minus_zero():
    from resect.report.tables.grid_formats import Cell

    assert Column("x").figures(Cell(0.5, -0.0001)) == ("50.0", "(0.0)", "")


def test_grids_load_no_torch():
    code = "import sys, resect.report.tables.comparison_grid\nprint('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False", "False"]
