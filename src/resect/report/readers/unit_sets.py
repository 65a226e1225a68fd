"""Analyses of sets of units, made sound part by part: by layer, overlap, similarity of sentences, stability. Knows no page, no drawing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resect.core.address import Site
from resect.core.errors import InputError

from .tolerant import number_of, numbers_of, object_of, parts_of, whole_of

Numbers = tuple[float | None, ...]
MOST_LAYERS = 2000


@dataclass(frozen=True)
class Layers:
    """How many units each language has at each site, and how many units there are (None: not known)."""

    sites: tuple[Site, ...]
    width: tuple[int | None, ...]
    units: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Overlap:
    """How many units each two languages share, and that as a part of what either has (Jaccard)."""

    languages: tuple[str, ...]
    shared: tuple[Numbers, ...]
    jaccard: tuple[Numbers, ...]


@dataclass(frozen=True)
class Similarity:
    """Mean cosine of parallel sentences at each depth (0: embeddings), of unrelated ones, and by pair of languages."""

    stack: str
    layers: tuple[int, ...]
    mean: Numbers
    unrelated: Numbers
    pairs: Mapping[str, Numbers]
    n_sentences: int | None
    languages: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """The chosen set after so many tokens (the fewest of any language): its size, and how like the set before it is."""

    tokens: int
    units: int | None
    jaccard: float | None


@dataclass(frozen=True)
class Halves:
    """How like the sets from two halves of the text are: all languages together, and one by one. `tokens`: the fewest of a half."""

    jaccard: float
    by_language: Mapping[str, float]
    tokens: int | None


@dataclass(frozen=True)
class Stability:
    """How the set moves as there is more text, and between two halves of it."""

    steps: tuple[Step, ...]
    halves: Halves | None


@dataclass(frozen=True)
class Sets:
    """What was analysed; what was not is None."""

    layers: Layers | None = None
    overlap: Overlap | None = None
    similarity: Similarity | None = None
    stability: Stability | None = None


def sets_of(found: Mapping[str, Any]) -> tuple[Sets, list[tuple[str, str]]]:
    """What the object of analyses.json holds, and of each part that is damaged its name and why."""
    parts, odd = parts_of(found, _READ)
    return Sets(**parts), odd


def _layers(found: Mapping[str, Any]) -> Layers:
    sites = tuple(Site.parse(str(site)) for site in _list(found, "sites"))
    held = object_of(found["units"])
    if not sites or not held or len(sites) > MOST_LAYERS:
        raise InputError("It is damaged: it holds no site, or no language.")
    units = {str(name): tuple(_whole(value, f"units of {name}") for value in _sized(row, len(sites), name)) for name, row in held.items()}
    return Layers(sites, tuple(whole_of(size) for size in _sized(found.get("width"), len(sites), "width")), units)


def _overlap(found: Mapping[str, Any]) -> Overlap:
    languages = _names(found)
    return Overlap(languages, *(_square(found.get(name), len(languages), name) for name in ("shared", "jaccard")))


def _similarity(found: Mapping[str, Any]) -> Similarity:
    layers = tuple(_whole(layer, "layers") for layer in _list(found, "layers"))
    if not layers:
        raise InputError("It is damaged: it holds no layer.")
    mean = _numbers(found["mean"], len(layers), "mean")
    unrelated = _numbers(found["unrelated"], len(layers), "unrelated") if found.get("unrelated") is not None else (None,) * len(layers)
    if all(value is None for value in mean):
        raise InputError("It is damaged: mean holds no number.")
    pairs = {str(name): _numbers(row, len(layers), str(name)) for name, row in object_of(found.get("pairs")).items()}
    named = found.get("languages")
    return Similarity(
        str(found.get("stack") or ""),
        layers,
        mean,
        unrelated,
        pairs,
        whole_of(found.get("n_sentences")),
        tuple(map(str, named)) if isinstance(named, list) else (),
    )


def _stability(found: Mapping[str, Any]) -> Stability:
    steps = tuple(_step(object_of(row)) for row in found.get("steps") or ())
    halves = object_of(found.get("halves"))
    jaccard = number_of(halves.get("jaccard"))
    if not steps and jaccard is None:
        raise InputError("It is damaged: it holds neither a step nor two halves.")
    return Stability(
        steps, None if jaccard is None else Halves(jaccard, numbers_of(halves.get("by_language")), _fewest(halves.get("tokens")))
    )


def _step(row: Mapping[str, Any]) -> Step:
    tokens = _fewest(row.get("tokens"))
    if tokens is None:
        raise InputError("It is damaged: of a step it is not said after how many tokens it was taken.")
    return Step(tokens, whole_of(row.get("units")), number_of(row.get("jaccard")))


def _fewest(found: object) -> int | None:
    """The smallest of whole numbers, in lists of whatever depth; None where there is none."""
    if isinstance(found, list):
        return min((value for inner in found if (value := _fewest(inner)) is not None), default=None)
    value = whole_of(found)
    return value if value is not None and value >= 0 else None


def _names(found: Mapping[str, Any]) -> tuple[str, ...]:
    languages = tuple(map(str, _list(found, "languages")))
    if not languages:
        raise InputError("It is damaged: it holds no language.")
    return languages


def _list(found: Mapping[str, Any], name: str) -> list[Any]:
    if not isinstance(found[name], list):
        raise InputError(f"It is damaged: {name} is no list.")
    return list(found[name])


def _sized(held: object, size: int, name: str) -> Sequence[Any]:
    if not isinstance(held, list) or len(held) != size:
        raise InputError(f"It is damaged: {name} is no list of {size} numbers.")
    return held


def _whole(value: object, name: str) -> int:
    found = whole_of(value)
    if found is None or found < 0:
        raise InputError(f"It is damaged: {name} holds {value!r}, which is no count.")
    return found


def _numbers(held: object, size: int, name: str) -> Numbers:
    return tuple(map(number_of, _sized(held, size, name)))


def _square(held: object, size: int, name: str) -> tuple[Numbers, ...]:
    return tuple(_numbers(row, size, name) for row in _sized(held, size, name))


_READ: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "layers": _layers,
    "overlap": _overlap,
    "similarity": _similarity,
    "stability": _stability,
}
