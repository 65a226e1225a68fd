"""Properties of the selected units of languages: where they are, what languages share, how well the selection agrees with another.

Knows sets of units by language; does not know models, text or selectors. Each function returns plain JSON: a part of `analyses.json`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from resect.core.address import Neurons, Site
from resect.core.errors import InputError

#: The units of each language.
Units = Mapping[str, Neurons]


def units_by_layer(units: Units, sites: Sequence[Site | str], widths: Sequence[int]) -> dict[str, Any]:
    """Returns the number of units of each language at each site: `{"sites": [address], "width": [units], "units": {language: [units]}}`.

    Parameters
    ----------
    units : of each language, all of them at `sites`
    sites : one for each layer, in the order of the model
    widths : the number of units of each site

    Raises InputError for another number of widths than of sites, and for units at other sites.

    >>> units_by_layer({"en": Neurons({"decoder.1.act": [3, 7]})}, ["decoder.0.act", "decoder.1.act"], [8, 8])["units"]
    {'en': [0, 2]}
    """
    known = [Site.of(site) for site in sites]
    if len(known) != len(widths):
        raise InputError(f"There are {len(known)} sites and {len(widths)} widths; each site needs one.")
    for language, neurons in units.items():
        unknown = [str(site) for site in neurons if site not in known]
        if unknown:
            raise InputError(f"Units of {language} are at {unknown[0]}, which is none of the {len(known)} sites of these layers.")
    numbers = {language: [len(neurons.get(site, ())) for site in known] for language, neurons in units.items()}
    return {"sites": [str(site) for site in known], "width": [int(width) for width in widths], "units": numbers}


def unit_overlap(units: Units) -> dict[str, Any]:
    """Returns the number of units that each two languages share, and their Jaccard index (0.0 where neither has any).

    As `{"languages": […], "shared": [[int]], "jaccard": [[float]]}`: both symmetric, with a language's own number on the diagonal.

    >>> unit_overlap({"en": Neurons({"decoder.0.act": [1]}), "fr": Neurons({"decoder.0.act": [1, 2]})})["jaccard"]
    [[1.0, 0.5], [0.5, 1.0]]
    """
    sets = list(units.values())
    shared = [[(one & other).count for other in sets] for one in sets]
    union = [[(one | other).count for other in sets] for one in sets]
    indices = [[common / every if every else 0.0 for common, every in zip(*rows, strict=True)] for rows in zip(shared, union, strict=True)]
    return {"languages": list(units), "shared": shared, "jaccard": indices}


def jaccard(first: Units, second: Units) -> float:
    """Returns |A ∩ B| / |A ∪ B| of two selections, as sets of (language, site, unit), in [0, 1]; 1.0 where both are empty.

    >>> jaccard({"en": Neurons({"decoder.0.act": [1, 2]})}, {"en": Neurons({"decoder.0.act": [2]}), "fr": Neurons()})
    0.5
    """
    pairs = [(first.get(language, Neurons()), second.get(language, Neurons())) for language in {**first, **second}]
    union = sum((one | other).count for one, other in pairs)
    return sum((one & other).count for one, other in pairs) / union if union else 1.0


def stability(
    steps: Sequence[Mapping[str, Any]],
    halves: tuple[Units, Units] | None = None,
    tokens: tuple[Sequence[int], Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Returns how stable a selection is: as text is added, and between two halves of the text.

    As `{"steps": […], "halves": {"jaccard": x, "by_language": {language: x or None}, "tokens": [[…], […]] or None} or None}`; None for a
    language of which neither half has a unit.

    Parameters
    ----------
    steps : of the recording (`Recording.steps`): `{"tokens": […], "units": n, "jaccard": x or None}` each
    halves : the units that each half of the text selects by itself; None where the text has no two halves
    tokens : the number of tokens of each language in each half
    """
    rows = [{"tokens": list(step["tokens"]), "units": step["units"], "jaccard": step["jaccard"]} for step in steps]
    return {"steps": rows, "halves": None if halves is None else _agreement(*halves, tokens)}


def _agreement(first: Units, second: Units, tokens: tuple[Sequence[int], Sequence[int]] | None) -> dict[str, Any]:
    by_language: dict[str, float | None] = {}
    for language in {**first, **second}:
        one, other = ({language: half.get(language, Neurons())} for half in (first, second))
        by_language[language] = jaccard(one, other) if one[language].count or other[language].count else None
    numbers = None if tokens is None else [[int(number) for number in half] for half in tokens]
    return {"jaccard": jaccard(first, second), "by_language": by_language, "tokens": numbers}
