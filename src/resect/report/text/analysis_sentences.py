"""What an analysis found, in a sentence for a terminal. Knows plain JSON values; the whole of it is on the page of the report."""

from collections.abc import Callable, Mapping
from typing import Any

from resect.core import number_format

Found = Mapping[str, Any]
#: Matrices that a sentence names.
NAMED = 3
#: The temperatures between which `temperature.best_temperature` looks; tested to be the same, since words need no torch.
LOWEST, HIGHEST = 1e-3, 1e3
#: A rise of a loss by no more than this share, or this much, is none.
ROUNDING, FAINT = 0.005, 0.0005


def sentences(analyses: Mapping[str, Found], plan: Found | None = None) -> list[str]:
    """A sentence for each analysis of analyses.json; `plan`: the object of plan.json, to say what was chosen."""
    found = {name: _SAYS[name](each) for name, each in analyses.items() if name in _SAYS}
    if "loss" in found:
        found["loss"] = _loss(analyses["loss"], plan)
    if "temperature" in found:
        found["temperature"] = _temperature(analyses["temperature"], _noun(plan))
    return [f"{name}: {told}{_limited(analyses[name])}" for name, told in found.items()]


def chosen_losses(found: Found, plan: Found | None) -> list[tuple[str, float, float]]:
    """The log losses of what a plan reduces, each matrix by itself: matrix, ρ, loss; what is no cell of the map is left out."""
    sites, rhos = list(map(str, found["sites"])), list(found["rhos"])
    cells = []
    for edit in (plan or {}).get("edits") or ():
        site, rho = str(edit.get("site")), edit.get("rho")
        if site in sites and rho in rhos:
            row = found["loss"][sites.index(site)]
            value = None if row is None else row[rhos.index(rho)]
            cells += [] if value is None else [(site, float(rho), float(value))]
    return cells


def against(value: float, base: float) -> str:
    """What a log loss is beside that of the model as it is.

    >>> against(0.977, 0.72), against(0.5, 0.72), against(0.72, 0.72)
    ('worse than the model as it is (0.72)', 'better than the model as it is (0.72)', 'the same as the model as it is (0.72)')
    """
    if _number(value) == _number(base):
        return f"the same as the model as it is ({_number(base)})"
    return f"{'worse' if value > base else 'better'} than the model as it is ({_number(base)})"


def chosen(found: Found, plan: Found | None) -> str:
    """What was chosen beside the model as it is, as a sentence; nothing where neither is known."""
    cells, base = chosen_losses(found, plan), (found.get("base") or {}).get("loss")
    if not cells or base is None:
        return ""
    if len(cells) == 1:
        return f"Chosen: {_number(cells[0][2])}, {against(cells[0][2], base)}."
    told = ", ".join(f"{site} at ρ = {rho:g} {_number(value)} ({against(value, base).split()[0]})" for site, rho, value in cells)
    return f"Chosen, each by itself beside {_number(base)} of the model as it is: {told}."


def calibrated(base: Found, edited: Found, noun: str = "reduction") -> str:
    """Whether a reduction (`noun`) costs more than calibration, as a sentence; nothing where it is not known."""
    ends = [[each[name] for each in (base, edited) if each.get(name) is not None] for name in ("before", "after")]
    if any(len(pair) < 2 for pair in ends):
        return ""
    plain, best = ends
    told = f"Log loss {_number(plain[0])} → {_number(plain[1])} after the {noun}"
    told += f"; with the best temperature {_number(best[0])} → {_number(best[1])}"
    if _rises(*plain):
        told += ", so not only the calibration suffers" if _rises(*best) else ", so that only the calibration suffers"
    elif _rises(*best):
        told += ", so that the gain is one of calibration"
    return f"{told}."


def at_the_end(temperature: float | None) -> str:
    """That a temperature is an end of the range, as the end of a phrase; nothing where it lies inside, or is not known."""
    if temperature is None or LOWEST < temperature < HIGHEST:
        return ""
    return " (the lower end of the search)" if temperature <= LOWEST else " (the upper end of the search)"


def _noun(plan: Found | None) -> str:
    """What people call what a plan does."""
    edits = (plan or {}).get("edits") or ()
    return "cut" if edits and not any("site" in edit for edit in edits) else "reduction"


def _limited(found: Found) -> str:
    """On how many examples at most, as a sentence of its own."""
    limit = found.get("limit")
    return f" Asked on at most {limit:,} examples of the task." if isinstance(limit, int) and not isinstance(limit, bool) else ""


def _rises(before: float, after: float) -> bool:
    """Whether a loss rises by more than rounding."""
    return after > before * (1 + ROUNDING) and after - before > FAINT


def _loss(found: Found, plan: Found | None = None) -> str:
    rows = zip(found["sites"], found["loss"], strict=True)
    cells = [(value, site, rho) for site, row in rows for rho, value in zip(found["rhos"], row or (), strict=False) if value is not None]
    least = "" if not cells else "; the least is {:.4g}, with {} at ρ = {:g}".format(*min(cells))
    asked = f"{number_format.plural(len(cells), 'reductions')}, {number_format.plural(found['n_pairs'], 'answers')}"
    told = f"log loss {_number(found['base']['loss'])} as the model is{least} ({asked})."
    said = chosen(found, plan)
    return f"{told} {said}" if said else told


def _spectra(found: Found) -> str:
    matrices = {site: each for site, each in found.items() if isinstance(each, Mapping)}
    told = [
        f"{site} from effective rank {_number(each['effective_rank']['before'])} to {_number(each['effective_rank']['after'])}"
        for site, each in matrices.items()
        if each["rank"]["after"] is not None
    ]
    more = f", and {len(told) - NAMED:,} more" if len(told) > NAMED else ""
    return f"{len(matrices):,} matri{'x' if len(matrices) == 1 else 'ces'}; {', '.join(told[:NAMED]) or 'none of them reduced'}{more}."


def _reduction(found: Found) -> str:
    kept = [(value, rho) for rho, value in zip(found["rhos"], found["loss"], strict=True) if value is not None]
    least = "" if not kept else "least at ρ = {1:g} ({0:.4f}), ".format(*min(kept))
    ends = f"{_number(found['loss'][0])} at 1, {_number(found['loss'][-1])} at 0"
    without = f"{_number(found['without_block']['loss'])} without its block, {_number(found['without_layer']['loss'])} without its layer"
    return f"log loss of {found['site']}{_of_several(found)}: {least}{ends}, {without}."


def _growth(found: Found) -> str:
    right = f"{found['base']} of {found['n_pairs']} right at first, {found['right'][-1]} at ρ = {found['rhos'][-1]:g}"
    return f"{found['site']}{_of_several(found)}: {right}; on the way {sum(found['gained'])} gained, {sum(found['lost'])} lost."


def _of_several(found: Found) -> str:
    """That a matrix is not the only one of its plan."""
    others = found.get("others") or ()
    return f" (the first of {len(others) + 1})" if others else ""


def _components(found: Found) -> str:
    if not found["n_examples"]:
        return "no answer was fixed, so that there is nothing to look at."
    ends = f"{_number(found['cosine'][0])} with the smallest alone, {_number(found['cosine'][-1])} with all of them"
    what = "cosine of the mean input embeddings of right and given answer"
    return f"{found['site']}{_of_several(found)}: {found['n_examples']} answers were fixed; {what} {ends}."


def _paraphrases(found: Found) -> str:
    return f"{found['base']:.1%} of {found['n_facts']} facts right in all wordings before, {found['edited']:.1%} after."


def _frequency(found: Found) -> str:
    rows = zip(found["bins"], found["n"], found["base"], found["edited"], strict=True)
    told = [f"{name} {base:.1%} → {edited:.1%} (n = {n})" for name, n, base, edited in rows if n]
    return f"accuracy by occurrences in {found['source']}: {', '.join(told)}."


def _perplexity(found: Found) -> str:
    step = "" if found["stride"] is None else f", windows of {found['window']} by steps of {found['stride']}"
    told = f"{found['kind']} {_number(found['base'])} before, {_number(found['edited'])} after ({found['tokens']} tokens{step})."
    return f"{told} This text is beyond the model: it says nothing." if found["base"] > number_format.BROKEN_PERPLEXITY else told


def _temperature(found: Found, noun: str = "reduction") -> str:
    best = ", ".join(f"{name} {each['temperature']:.4g}{at_the_end(each['temperature'])}" for name, each in _ends(found))
    return f"{best}. {calibrated(found['base'], found['edited'], noun)}"


def _ends(found: Found) -> list[tuple[str, Found]]:
    return [(name, found[name]) for name in ("base", "edited")]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


_SAYS: Mapping[str, Callable[[Found], str]] = {
    "loss": _loss,
    "spectra": _spectra,
    "reduction": _reduction,
    "growth": _growth,
    "components": _components,
    "paraphrases": _paraphrases,
    "frequency": _frequency,
    "perplexity": _perplexity,
    "temperature": _temperature,
}
