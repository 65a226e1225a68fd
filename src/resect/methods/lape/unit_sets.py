"""What can be said of language units once they are chosen: where they lie, what languages share, how well the choice holds.

Knows sets of units by language; knows no model, no text and no way of choosing. Each gives plain JSON: a part of `analyses.json`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from resect.core.address import Neurons, Site
from resect.core.errors import InputError

#: The units of each language.
Units = Mapping[str, Neurons]


def units_by_layer(units: Units, sites: Sequence[Site | str], widths: Sequence[int]) -> dict[str, Any]:
    """How many units of each language lie in each layer.

    Parameters
    ----------
    units : of each language, all of them at `sites`
    sites : the layers, in the order of the model
    widths : how many units each of them has in all

    Returns `{"sites": [address], "width": [units], "units": {language: [units at each site]}}`.
    Raises InputError for as many widths as there are no sites, and for units that lie elsewhere.

    >>> layers({"en": Neurons({"decoder.1.act": [3, 7]})}, ["decoder.0.act", "decoder.1.act"], [8, 8])["units"]
    {'en': [0, 2]}
    """
    known = [Site.of(site) for site in sites]
    if len(known) != len(widths):
        raise InputError(f"There are {len(known)} sites and {len(widths)} widths; one for each is wanted.")
    for language, chosen in units.items():
        elsewhere = [str(site) for site in chosen if site not in known]
        if elsewhere:
            raise InputError(f"Units of {language} lie at {elsewhere[0]}, which is none of the {len(known)} sites of these layers.")
    counted = {language: [len(chosen.get(site, ())) for site in known] for language, chosen in units.items()}
    return {"sites": [str(site) for site in known], "width": [int(width) for width in widths], "units": counted}


def unit_overlap(units: Units) -> dict[str, Any]:
    """How many units each two languages share, and which share of what either has (Jaccard; 0.0 where neither has any).

    Returns `{"languages": […], "shared": [[int]], "jaccard": [[float]]}`, both symmetric, a language's own number on the diagonal.

    >>> overlap({"en": Neurons({"decoder.0.act": [1]}), "fr": Neurons({"decoder.0.act": [1, 2]})})["jaccard"]
    [[1.0, 0.5], [0.5, 1.0]]
    """
    chosen = list(units.values())
    shared = [[(one & other).count for other in chosen] for one in chosen]
    either = [[(one | other).count for other in chosen] for one in chosen]
    shares = [
        [both / all_of_them if all_of_them else 0.0 for both, all_of_them in zip(*rows, strict=True)]
        for rows in zip(shared, either, strict=True)
    ]
    return {"languages": list(units), "shared": shared, "jaccard": shares}


def jaccard(first: Units, second: Units) -> float:
    """|A ∩ B| / |A ∪ B| of two choices, as sets of (language, site, unit): in [0, 1]; 1.0 where both are empty, and so the same.

    >>> jaccard({"en": Neurons({"decoder.0.act": [1, 2]})}, {"en": Neurons({"decoder.0.act": [2]}), "fr": Neurons()})
    0.5
    """
    pairs = [(first.get(language, Neurons()), second.get(language, Neurons())) for language in {**first, **second}]
    either = sum((one | other).count for one, other in pairs)
    return sum((one & other).count for one, other in pairs) / either if either else 1.0


def stability(
    steps: Sequence[Mapping[str, Any]],
    halves: tuple[Units, Units] | None = None,
    tokens: tuple[Sequence[int], Sequence[int]] | None = None,
) -> dict[str, Any]:
    """How well a choice holds: against the amount of text, and between two halves of it.

    Parameters
    ----------
    steps : of the recording (`Recording.steps`): `{"tokens": […], "units": n, "jaccard": x or None}` each
    halves : the units that each half of the text gives by itself; None where the text has no two halves
    tokens : how many tokens of each language each half has

    Returns `{"steps": […], "halves": {"jaccard": x, "by_language": {language: x or None}, "tokens": [[…], […]] or None} or None}`; None for
    a language of which neither half has a unit.
    """
    told = [{"tokens": list(step["tokens"]), "units": step["units"], "jaccard": step["jaccard"]} for step in steps]
    return {"steps": told, "halves": None if halves is None else _agreement(*halves, tokens)}


def _agreement(first: Units, second: Units, tokens: tuple[Sequence[int], Sequence[int]] | None) -> dict[str, Any]:
    alone: dict[str, float | None] = {}
    for language in {**first, **second}:
        one, other = ({language: half.get(language, Neurons())} for half in (first, second))
        alone[language] = jaccard(one, other) if one[language].count or other[language].count else None
    held = None if tokens is None else [[int(number) for number in half] for half in tokens]
    return {"jaccard": jaccard(first, second), "by_language": alone, "tokens": held}
