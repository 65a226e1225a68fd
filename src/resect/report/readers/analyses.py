"""What analyses.json holds, made sound part by part: a part that is damaged is left out, and it is said why. Knows no page, no drawing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from resect.core.address import Site
from resect.core.errors import InputError

from .tolerant import Object, difference_of, number_of, numbers_of, object_of, parts_of, whole_of

T = TypeVar("T")
Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class Losses:
    """Loss (and accuracy) of the model with one matrix reduced: rows are `sites`, columns `rhos`."""

    sites: tuple[Site, ...]
    rhos: tuple[float, ...]
    loss: tuple[Numbers, ...]
    accuracy: tuple[Numbers, ...] | None
    base: Mapping[str, float]
    n_pairs: int | None
    asked: "Asked"


@dataclass(frozen=True)
class Asked:
    """By which metric answers are right, and of which split."""

    metric: str
    split: str

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Asked":
        """As a part of analyses.json tells it."""
        return cls(str(found.get("metric") or "accuracy"), str(found.get("split") or ""))

    @property
    def on(self) -> str:
        """The split in a sentence."""
        return f" of the {self.split} split" if self.split else ""


@dataclass(frozen=True)
class Spectrum:
    """The singular values of a matrix, falling; effective rank before and after; full and kept rank; the noise edge."""

    site: Site
    values: tuple[float, ...]
    effective: tuple[float | None, float | None]
    full: int | None
    kept: int | None
    edge: float | None


@dataclass(frozen=True)
class Levels:
    """One matrix reduced further and further; `without`: the values where its whole block, or layer, is taken out."""

    site: Site
    rhos: tuple[float, ...]
    loss: Numbers
    accuracy: Numbers | None
    without: Mapping[str, Mapping[str, float]]
    asked: Asked


@dataclass(frozen=True)
class Components:
    """What the smallest components of a matrix hold: cosines as more of them are kept, and what they answer."""

    site: Site
    kept: tuple[float, ...]
    cosine: Numbers
    n_examples: int | None
    answers: tuple[Object, ...]
    share: float | None


@dataclass(frozen=True)
class Growth:
    """How the set of right answers changes with each further reduction: gained and lost against the step before."""

    site: Site
    rhos: tuple[float, ...]
    right: Numbers
    gained: Numbers
    lost: Numbers
    before: int | None
    asked: Asked


@dataclass(frozen=True)
class Paraphrases:
    """The share of facts of which every paraphrase is answered right."""

    n_facts: int | None
    per_fact: float | None
    base: float
    edited: float | None
    difference: Object | None


@dataclass(frozen=True)
class Frequency:
    """Accuracy by how often a fact occurs in a corpus: one entry a bin."""

    bins: tuple[str, ...]
    n: Numbers
    base: Numbers
    edited: Numbers
    source: str
    unknown: int | None
    asked: Asked


@dataclass(frozen=True)
class Perplexity:
    """Perplexity on plain text with a sliding window."""

    base: float
    edited: float | None
    window: int | None
    stride: int | None
    tokens: int | None
    text: str
    kind: str
    how: str


@dataclass(frozen=True)
class Temperature:
    """The temperature that fits best, and the log loss before and after it: of the model as it was, and of the edited one."""

    base: Mapping[str, float]
    edited: Mapping[str, float]


@dataclass(frozen=True)
class Analyses:
    """What was analysed; what was not is None, or empty. `limits`: of an analysis, on how many examples at most it was made."""

    loss: Losses | None = None
    spectra: tuple[Spectrum, ...] = ()
    reduction: tuple[Levels, ...] = ()
    components: tuple[Components, ...] = ()
    growth: tuple[Growth, ...] = ()
    paraphrases: Paraphrases | None = None
    frequency: Frequency | None = None
    perplexity: Perplexity | None = None
    temperature: Temperature | None = None
    limits: Mapping[str, int] = field(default_factory=dict)


def analyses_of(found: Mapping[str, Any]) -> tuple[Analyses, list[tuple[str, str]]]:
    """What the object of analyses.json holds, and of each part that is damaged its name and why."""
    limits = {name: limit for name in _READ if (limit := whole_of(object_of(found.get(name)).get("limit"))) is not None}
    parts, odd = parts_of(found, _READ)
    return Analyses(**parts, limits=limits), odd


def _losses(found: Mapping[str, Any]) -> Losses:
    sites, rhos = tuple(Site.parse(str(site)) for site in found["sites"]), _shares(found, "rhos")
    accuracy = found.get("accuracy")
    shares = accuracy if isinstance(accuracy, list) and any(row is not None for row in accuracy) else None
    return Losses(
        sites,
        rhos,
        _table(found["loss"], len(sites), len(rhos)),
        None if shares is None else _table(shares, len(sites), len(rhos)),
        numbers_of(found.get("base")),
        whole_of(found.get("n_pairs")),
        Asked.of(found),
    )


def _spectra(found: Mapping[str, Any]) -> tuple[Spectrum, ...]:
    return tuple(_spectrum(Site.parse(str(site)), object_of(held)) for site, held in found.items() if site != "limit")


def _spectrum(site: Site, found: Mapping[str, Any]) -> Spectrum:
    effective, rank = object_of(found.get("effective_rank")), object_of(found.get("rank"))
    values = tuple(value for value in _numbers(found, "values") if value is not None and value >= 0)
    ends = number_of(effective.get("before")), number_of(effective.get("after"))
    return Spectrum(site, values, ends, whole_of(rank.get("full")), whole_of(rank.get("after")), number_of(found.get("noise_edge")))


def _levels(found: Mapping[str, Any]) -> Levels:
    rhos = _shares(found, "rhos")
    accuracy = None if found.get("accuracy") is None else _numbers(found, "accuracy", len(rhos))
    without = {name: numbers_of(found.get(f"without_{name}")) for name in ("block", "layer")}
    return Levels(Site.parse(str(found["site"])), rhos, _numbers(found, "loss", len(rhos)), accuracy, without, Asked.of(found))


def _components(found: Mapping[str, Any]) -> Components:
    kept = _shares(found, "kept")
    rows = [object_of(row) for row in found.get("answers") or ()]
    answers = tuple({name: str(row.get(name, "")) for name in ("prompt", "gold", "base", "edited", "smallest")} for row in rows if row)
    cosine = _numbers(found, "cosine", len(kept))
    return Components(
        Site.parse(str(found["site"])), kept, cosine, whole_of(found.get("n_examples")), answers, number_of(found.get("smallest"))
    )


def _growth(found: Mapping[str, Any]) -> Growth:
    rhos = _shares(found, "rhos")
    right, gained, lost = (_numbers(found, name, len(rhos)) for name in ("right", "gained", "lost"))
    return Growth(Site.parse(str(found["site"])), rhos, right, gained, lost, whole_of(found.get("base")), Asked.of(found))


def _paraphrases(found: Mapping[str, Any]) -> Paraphrases:
    ends = whole_of(found.get("n_facts")), number_of(found.get("per_fact"))
    return Paraphrases(*ends, _number(found, "base"), number_of(found.get("edited")), difference_of(found.get("difference")))


def _frequency(found: Mapping[str, Any]) -> Frequency:
    bins = tuple(map(str, found["bins"]))
    n, base, edited = (_numbers(found, name, len(bins)) for name in ("n", "base", "edited"))
    return Frequency(bins, n, base, edited, str(found.get("source") or ""), whole_of(found.get("unknown")), Asked.of(found))


def _perplexity(found: Mapping[str, Any]) -> Perplexity:
    window, stride, tokens = (whole_of(found.get(name)) for name in ("window", "stride", "tokens"))
    base, edited = _number(found, "base"), number_of(found.get("edited"))
    text, kind, how = (str(found.get(name) or default) for name, default in (("text", "plain text"), ("kind", "perplexity"), ("how", "")))
    return Perplexity(base, edited, window, stride, tokens, text, kind, how)


def _temperature(found: Mapping[str, Any]) -> Temperature:
    ends = [numbers_of(found.get(name)) for name in ("base", "edited")]
    if not {"temperature", "before", "after"} <= ends[0].keys():
        raise InputError("It is damaged: the temperature of the model as it was, or a loss of it, is missing.")
    return Temperature(*ends)


def _each(read: Callable[[Mapping[str, Any]], T]) -> Callable[[Mapping[str, Any]], tuple[T, ...]]:
    """Of a composition the first matrix is the object itself, and the others lie inside it."""
    return lambda found: tuple(read(object_of(part)) for part in (found, *(found.get("others") or ())))


_READ: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "loss": _losses,
    "spectra": _spectra,
    "reduction": _each(_levels),
    "components": _each(_components),
    "growth": _each(_growth),
    "paraphrases": _paraphrases,
    "frequency": _frequency,
    "perplexity": _perplexity,
    "temperature": _temperature,
}


def _number(found: Mapping[str, Any], name: str) -> float:
    value = number_of(found[name])
    if value is None:
        raise InputError(f"It is damaged: {name} is {found[name]!r}, which is no number.")
    return value


def _numbers(found: Mapping[str, Any], name: str, wanted: int | None = None) -> Numbers:
    held = found[name]
    if not isinstance(held, list) or (wanted is not None and len(held) != wanted):
        size = f", {wanted} of them" if wanted is not None else ""
        raise InputError(f"It is damaged: {name} is no list of numbers{size}.")
    return tuple(map(number_of, held))


def _shares(found: Mapping[str, Any], name: str) -> tuple[float, ...]:
    held = tuple(value for value in _numbers(found, name) if value is not None and 0 <= value <= 1)
    if not held or len(held) != len(found[name]):
        raise InputError(f"It is damaged: {name} are shares from 0 to 1, and {found[name]!r} holds something else.")
    return held


def _table(held: Sequence[Any], rows: int, columns: int) -> tuple[Numbers, ...]:
    if not isinstance(held, list) or len(held) != rows:
        raise InputError(f"It is damaged: there are {rows} matrices, and not as many rows of numbers.")
    return tuple((None,) * columns if row is None else _numbers({"a row": row}, "a row", columns) for row in held)
