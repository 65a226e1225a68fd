"""What an analysis found, in a sentence for a terminal. Knows plain JSON values; the whole of it is on the page of the report."""

from collections.abc import Callable, Mapping
from typing import Any

Found = Mapping[str, Any]


def sentences(analyses: Mapping[str, Found]) -> list[str]:
    """A sentence for each analysis of analyses.json."""
    return [f"{name}: {_SAYS[name](found)}" for name, found in analyses.items() if name in _SAYS]


def _loss(found: Found) -> str:
    rows = zip(found["sites"], found["loss"], strict=True)
    cells = [(value, site, rho) for site, row in rows for rho, value in zip(found["rhos"], row, strict=True) if value is not None]
    least = "" if not cells else "; the least is {:.4f}, with {} at ρ = {:g}".format(*min(cells))
    return f"log loss {_number(found['base']['loss'])} as the model is{least} ({len(cells)} reductions, {found['n_pairs']} answers)."


def _spectra(found: Found) -> str:
    reduced = [(site, each) for site, each in found.items() if each["rank"]["after"] is not None]
    told = [
        f"{site} from effective rank {_number(each['effective_rank']['before'])} to {_number(each['effective_rank']['after'])}"
        for site, each in reduced
    ]
    return f"{len(found)} matrices; {', '.join(told) or 'none of them reduced'}."


def _reduction(found: Found) -> str:
    kept = [(value, rho) for rho, value in zip(found["rhos"], found["loss"], strict=True) if value is not None]
    least = "" if not kept else "least at ρ = {1:g} ({0:.4f}), ".format(*min(kept))
    ends = f"{_number(found['loss'][0])} at 1, {_number(found['loss'][-1])} at 0"
    without = f"{_number(found['without_block']['loss'])} without its block, {_number(found['without_layer']['loss'])} without its layer"
    return f"log loss of {found['site']}: {least}{ends}, {without}."


def _growth(found: Found) -> str:
    right = f"{found['base']} of {found['n_pairs']} right at first, {found['right'][-1]} at ρ = {found['rhos'][-1]:g}"
    return f"{found['site']}: {right}; on the way {sum(found['gained'])} gained, {sum(found['lost'])} lost."


def _components(found: Found) -> str:
    if not found["n_examples"]:
        return "no answer was mended, so that there is nothing to look at."
    ends = f"{_number(found['cosine'][0])} with the smallest alone, {_number(found['cosine'][-1])} with all of them"
    return f"{found['n_examples']} answers were mended; cosine of right and given answer {ends}."


def _paraphrases(found: Found) -> str:
    return f"{found['base']:.1%} of {found['n_facts']} facts right in all wordings before, {found['edited']:.1%} after."


def _frequency(found: Found) -> str:
    rows = zip(found["bins"], found["n"], found["base"], found["edited"], strict=True)
    told = [f"{name} {base:.1%} → {edited:.1%} (n = {n})" for name, n, base, edited in rows if n]
    return f"accuracy by occurrences in {found['source']}: {', '.join(told)}."


def _perplexity(found: Found) -> str:
    step = "" if found["stride"] is None else f", windows of {found['window']} by steps of {found['stride']}"
    return f"{found['kind']} {_number(found['base'])} before, {_number(found['edited'])} after ({found['tokens']} tokens{step})."


def _temperature(found: Found) -> str:
    told = [f"{name} {each['temperature']:.3g} (log loss {each['before']:.4f} → {each['after']:.4f})" for name, each in _ends(found)]
    return f"{', '.join(told)}."


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
