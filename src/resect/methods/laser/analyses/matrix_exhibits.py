"""The exhibits of the analyses of matrices: loss of every reduction, spectra, reduction to nothing, components, answers gained and lost.

Each function takes one part of analyses.json and the share of its rank that the plan keeps of each matrix, by address. A note gives
the result, how to read the exhibit, and what it does not show. No torch.
"""

from collections.abc import Mapping, Sequence

from resect.core.address import Site
from resect.core.exhibits import SHARE, Curve, Exhibit, Table
from resect.core.number_format import PLAIN, MetricFormat, plural
from resect.core.site_maps import Cell, site_maps
from resect.methods.analyses.analysis import Result

#: Spectra that are drawn, points of one, answers that are quoted, characters of a quoted prompt, matrices named in a sentence.
DRAWN, POINTS, QUOTED, PROMPT, NAMED = 6, 240, 8, 260, 3
#: Singular values below this share of the largest are drawn at it: a logarithmic axis has no place for 0.
FAINTEST = 1e-6
LOSS, SHARES = MetricFormat("logloss"), MetricFormat("accuracy")


def describe_loss(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """Returns the log loss and the accuracy of every reduction, as heat maps."""
    columns, metric = [f"{rho:g}" for rho in result["rhos"]], result.get("metric", "accuracy")
    selected = {(Site.parse(site), f"{rho:g}") for site, rho in plan.items()}
    exhibits = list[Exhibit]()
    for key, title, figures in (("loss", "Log loss", LOSS), ("accuracy", metric.capitalize(), SHARES)):
        if result[key] is None:
            continue
        rows = [(Site.parse(site), row or [None] * len(columns)) for site, row in zip(result["sites"], result[key], strict=True)]
        values = {(site, column): value for site, row in rows for column, value in zip(columns, row, strict=True)}
        base = result["base"].get(key)
        exhibits += site_maps(
            title,
            values,
            columns,
            framed=selected,
            note=_loss_note(result, values, selected) if key == "loss" else f"The model without a reduction: {figures.value(base)}.",
            unit="" if key == "loss" else SHARE,
            digits=3,
            center=base or 0.0,
            lower_is_better=key == "loss",
            legend={"up": "better than without a reduction", "down": "worse"} | ({"framed": "selected"} if plan else {}),
        )
    return exhibits


def _loss_note(result: Result, values: Mapping[Cell, float | None], selected: set[Cell]) -> str:
    base = result["base"].get("loss")
    note = f"Log loss {LOSS.value(base)} without a reduction, on {plural(result['n_pairs'], 'answers')}{in_split(result)}"
    known = [(value, site, rho) for (site, rho), value in values.items() if value is not None]
    if known:
        value, site, rho = min(known)
        note += f"; the lowest of {plural(len(known), 'reductions')} is {LOSS.value(value)}, of {site} at ρ = {rho}"
    chosen = [(site, rho, loss) for site, rho in sorted(selected, key=str) if (loss := values.get((site, rho))) is not None]
    if chosen and base is not None:
        losses = ", ".join(f"{site} at ρ = {rho} {LOSS.value(value)} ({compared(value, base)})" for site, rho, value in chosen)
        note += f". Selected, each matrix by itself: {losses}"
    reading = "A row is a layer, a column a share ρ of the rank; less is better, and every cell is a complete score."
    return f"{note}. {reading} Some of many cells look better by chance: the test split decides."


def compared(value: float, base: float) -> str:
    """Returns what a log loss is, compared with that of the model without a reduction.

    >>> compared(0.977, 0.72), compared(0.5, 0.72), compared(0.72, 0.72)
    ('worse', 'better', 'the same')
    """
    return "the same" if LOSS.value(value) == LOSS.value(base) else "worse" if value > base else "better"


def describe_spectra(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """Returns a table of ranks, and the singular values of the first matrices: those that the plan reduces, then the others."""
    matrices = {site: part for site, part in result.items() if isinstance(part, Mapping)}
    ordered = sorted(matrices, key=lambda site: site not in plan)
    rows = []
    for site in ordered:
        ranks, effective, edge = matrices[site]["rank"], matrices[site]["effective_rank"], matrices[site]["noise_edge"]
        above = None if edge is None else sum(value > edge for value in matrices[site]["values"])
        rows.append((site, ranks.get("full"), ranks.get("after"), effective.get("before"), effective.get("after"), edge, above))
    reduced = [f"{row[0]} from effective rank {PLAIN.number(row[3])} to {PLAIN.number(row[4])}" for row in rows if row[2] is not None]
    more = f", and {len(reduced) - NAMED:,} more" if len(reduced) > NAMED else ""
    note = (
        f"{len(matrices):,} matri{'x' if len(matrices) == 1 else 'ces'}; {', '.join(reduced[:NAMED]) or 'no matrix reduced'}{more}. "
        "Effective rank: the exponential of the entropy of the singular values (Roy and Vetterli 2007). Noise edge: the largest singular "
        "value of a matrix of noise alone (Marchenko and Pastur); a value below it need not be useless."
    )
    columns = ("matrix", "rank", "kept", "effective rank before", "after", "noise edge", "values above it")
    curves = [_spectrum(site, matrices[site]) for site in ordered[:DRAWN] if len(matrices[site]["values"]) > 2]
    return [Table("Ranks of the matrices", columns, rows, note), *curves]


def _spectrum(site: str, part: Result) -> Curve:
    values, kept, edge = part["values"], part["rank"].get("after"), part["noise_edge"]
    least = values[0] * FAINTEST if values[0] > 0 else 1.0
    ranks = {*range(1, len(values) + 1, max(1, len(values) // POINTS)), len(values), *([kept] if kept else [])}
    points = [(float(rank), max(float(values[rank - 1]), least)) for rank in sorted(ranks)]
    marked, reference = ("rank", float(kept)) if kept else None, ("noise edge", float(edge)) if edge else None
    series = {"singular value": points}
    return Curve(f"Singular values of {site}", "component", "singular value", series, y_log=True, marked=marked, reference=reference)


def describe_reduction(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """Returns loss and accuracy of each matrix of the plan as its rank falls to 0, and without its block and its layer."""
    exhibits = list[Exhibit]()
    for part in matrices_of(result):
        least = min(((value, rho) for rho, value in zip(part["rhos"], part["loss"], strict=True) if value is not None), default=None)
        lowest = "" if least is None else f"lowest at ρ = {least[1]:g} ({LOSS.value(least[0])}), "
        without = [f"{LOSS.value(_without(part, name, 'loss'))} without its {name}" for name in ("block", "layer")]
        ends = f"{LOSS.value(part['loss'][0])} at 1, {LOSS.value(part['loss'][-1])} at 0"
        note = f"{lowest}{ends}, {', '.join(without)}{in_split(part)}.".capitalize()
        note += " Where the loss stays level down to 0, this task does not need the matrix; another one may."
        exhibits.append(_reduction_curve(part, "loss", "log loss", plan, note))
        if part["accuracy"] is not None:
            exhibits.append(_reduction_curve(part, "accuracy", part.get("metric", "accuracy"), plan))
    return exhibits


def _reduction_curve(part: Result, key: str, label: str, plan: Mapping[str, float], note: str = "") -> Curve:
    rhos, selected = part["rhos"], plan.get(part["site"])
    names = [*map(short, rhos), "", "block", "", "layer"]  # the blanks give the two words room
    series = {
        "reduced": [(float(place), value) for place, value in enumerate(part[key])],
        "without its block": [(len(rhos) + 1.0, _without(part, "block", key))],
        "without its layer": [(len(rhos) + 3.0, _without(part, "layer", key))],
    }
    return Curve(
        f"{label.capitalize()} as {part['site']} is reduced",
        "share ρ of the rank that is kept",
        label,
        series,
        note,
        unit="" if key == "loss" else SHARE,
        x_names=names,
        marked=("", float(rhos.index(selected))) if selected in rhos else None,
        reference=None if part[key][0] is None else ("full matrix", part[key][0]),
        tones=dict(zip(series, ("main", "muted", "bad"), strict=True)),
    )


def _without(part: Result, name: str, key: str) -> float | None:
    value: float | None = (part.get(f"without_{name}") or {}).get(key)
    return value


def describe_components(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """Returns what the smallest components of each matrix answer, and how similar that is to the right answer as more are kept."""
    exhibits = list[Exhibit]()
    columns = ("prompt", "right", "before", "reduced", "smallest components alone")
    for part in matrices_of(result):
        site, count, removed = part["site"], part["n_examples"], part.get("smallest")
        answers = part["answers"][:: max(1, -(-len(part["answers"]) // QUOTED))]  # spread, for different questions
        rows = [(_shortened(row["prompt"]), *(str(row[name]) for name in ("gold", "base", "edited", "smallest"))) for row in answers]
        only = "" if removed is None else f", {PLAIN.percent(removed)} of them, which the reduction removes"
        note = (
            f"{plural(count, 'answers')} were fixed by the reduction; here the model answers those questions with nothing but the "
            f"smallest components of the matrix{only}. They show what the removed components answered there, no more."
        )
        note = note if count else "No answer was fixed, so that there is nothing to look at."
        of = f", {len(rows)} of {count:,}" if count and len(rows) < count else ""
        exhibits.append(Table(f"Answers with the smallest components of {site}{of}", columns, rows, note, is_text=True))
        points = [(kept, value) for kept, value in zip(part["kept"], part["cosine"], strict=True) if value is not None]
        if len(points) > 1:
            ends = f"{PLAIN.number(points[0][1])} with the smallest alone, {PLAIN.number(points[-1][1])} with all of them"
            note = f"Cosine of the mean input embeddings of right and given answer: {ends}."
            title = f"Similarity to the right answer as more components of {site} are kept"
            exhibits.append(Curve(title, "share of the components kept, the smallest first", "cosine", {"cosine": points}, note))
    return exhibits


def describe_growth(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """Returns the right answers that each step of the reduction gains and loses, as bars and as a table."""
    exhibits = list[Exhibit]()
    for part in matrices_of(result):
        site, rhos, base, lost = part["site"], part["rhos"], part.get("base"), sum(part["lost"])
        first = "" if base is None else f"{base} of {part['n_pairs']} right without a reduction, "
        note = f"{first}{part['right'][-1]} at ρ = {rhos[-1]:g}; {sum(part['gained'])} gained and {lost} lost on the way"
        note += f"{in_split(part)}. " + ("A set that only grew would lose none." if lost else "Nothing that was right is lost.")
        bars = {"became right": part["gained"], "became wrong": [-number for number in part["lost"]]}
        exhibits.append(
            Curve(
                f"Answers gained and lost as {site} is reduced",
                "ρ, from the gentlest reduction on",
                "answers, compared with the step before",
                {name: [(float(place), float(value)) for place, value in enumerate(values)] for name, values in bars.items()},
                note,
                x_names=list(map(short, rhos)),
                bars=True,
                tones={"became right": "main", "became wrong": "bad"},
            )
        )
        rows = [(f"{rho:g}", *numbers) for rho, *numbers in zip(rhos, part["right"], part["gained"], part["lost"], strict=True)]
        rows = rows if base is None else [("full matrix", base, None, None), *rows]
        exhibits.append(Table(f"Right answers at each step, {site}", ("ρ", "right", "gained", "lost"), rows))
    return exhibits


def matrices_of(result: Result) -> Sequence[Result]:
    """Returns one part for each matrix: of a composition the first is the result itself, and the others are inside it."""
    return (result, *(result.get("others") or ()))


def in_split(result: Result) -> str:
    """Returns the split that an analysis was made on, in parentheses; empty where it is not known."""
    return f" ({result['split']} split)" if result.get("split") else ""


def short(rho: float) -> str:
    """Returns a share as the paper writes it, short enough for an axis.

    >>> short(0.05), short(1.0), short(0.0)
    ('.05', '1', '0')
    """
    return f"{rho:g}".replace("0.", ".")


def _shortened(prompt: str) -> str:
    """A prompt on one line, its middle left out where it is long."""
    line, half = " ".join(prompt.split()), PROMPT // 2
    return line if len(line) <= PROMPT else f"{line[:half].rstrip()} … {line[-half:].lstrip()}"
