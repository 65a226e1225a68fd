"""Counts: how often each unit fired on the text of each language, and the sum of its values. A value that adds up.

Knows sites and languages; knows no text, no way of counting and no selection.
"""

import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from resect.core.address import Neurons, Site
from resect.core.errors import BadAddress, BadPlan, InputError, NotFinite, UnknownName, WrongModel
from resect.core.files import read_arrays, write_arrays
from resect.models.fingerprint import ModelIdentity, anatomy_of

_ACTIVE, _SUM, _TOKENS = "active/", "sum/", "tokens"
#: The largest whole number of 64 bits.
_MOST = 2**63 - 1


class Counts:
    """Activations of feed-forward units, by language: whole numbers, so that they can be kept, merged and gone on with.

    Parameters
    ----------
    languages : codes, each once
    tokens : for each language at how many positions every unit was looked at
    active : by site (`act`) at how many of them each unit's activation was above 0, integers [languages, units]
    sums : by site the sum of each unit's activation over them, [languages, units]; None where that was not recorded
    model : the identity of the model; None: the counts fit wherever their shapes fit

    `a + b` adds what both have of a language and unites languages; sums stay only where both have them.

    Raises InputError, BadAddress, NotFinite. Source: METHODS.md, section 2; Tang et al. 2024 (arXiv:2402.16438), section 2.2.

    >>> one = Counts(("en",), (4,), {"decoder.0.act": np.array([[4, 1]])})
    >>> two = Counts(("fr", "en"), (2, 4), {"decoder.0.act": np.array([[0, 2], [1, 1]])})
    >>> (one + two).tokens, (one + two).active["decoder.0.act"].tolist()
    ((8, 2), [[5, 2], [0, 2]])
    """

    def __init__(
        self,
        languages: Sequence[str],
        tokens: Sequence[int],
        active: Mapping[Any, Any],
        sums: Mapping[Any, Any] | None = None,
        model: ModelIdentity | None = None,
    ) -> None:
        self.languages, self.model = tuple(map(str, languages)), model
        twice = sorted({name for name in self.languages if self.languages.count(name) > 1})
        if not self.languages or twice:
            raise InputError(f"Counts are of languages, each named once; {', '.join(twice) or 'none at all'} is given.")
        self.tokens = tuple(int(number) for number in tokens)
        if len(self.tokens) != len(self.languages) or min(self.tokens) < 0 or max(self.tokens) > _MOST:
            raise InputError(
                f"Counts of {len(self.languages)} languages need as many numbers of tokens, from 0 to 2^63 − 1, not {self.tokens}."
            )
        self.active = _Arrays({Site.of(site): self._judged(site, array) for site, array in active.items()})
        if not self.active:
            raise InputError("Counts need at least one site.")
        self.sums = None if sums is None else _Arrays({Site.of(site): self._finite(site, array) for site, array in sums.items()})
        if self.sums is not None and tuple(self.sums) != self.sites:
            raise InputError("The sums of activations are of other sites than the counts.")

    def _judged(self, site: Any, array: Any) -> Int64[np.ndarray, "languages units"]:
        held = np.array(array)
        if Site.of(site).role != "act":
            raise BadAddress(f"Counts are of units at act, not at {site}.")
        if held.ndim != 2 or len(held) != len(self.languages) or not np.issubdtype(held.dtype, np.integer):
            raise InputError(
                f"The counts at {site} are {held.dtype} of the shape {held.shape}; integers [languages, units] of "
                f"{len(self.languages)} languages are wanted."
            )
        limit = np.array(self.tokens, dtype=np.int64)[:, None]
        if ((held < 0) | (held > limit)).any():
            raise InputError(f"At {site} a unit is active at fewer than 0 tokens, or at more than there are; these counts are damaged.")
        return held.astype(np.int64)

    def _finite(self, site: Any, array: Any) -> Float64[np.ndarray, "languages units"]:
        held = np.array(array, dtype=np.float64)
        if Site.of(site) not in self.active or held.shape != self.active[site].shape:
            raise InputError(f"The sums at {site} do not fit the counts there.")
        if not np.isfinite(held).all():
            raise NotFinite(f"{int((~np.isfinite(held)).sum())} sums of activations at {site} are NaN or infinite. Try --dtype float32.")
        return held

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {number:,}" for name, number in zip(self.languages, self.tokens, strict=True))
        return f"Counts({self.units} units at {len(self.sites)} sites; tokens: {told})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counts):
            return NotImplemented
        names = (self.languages, self.tokens, self.model) == (other.languages, other.tokens, other.model)
        return names and self.active == other.active and self.sums == other.sums

    __hash__ = None  # type: ignore[assignment]

    # What is in them.

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where was counted, in the order of the model: encoder before decoder, by layer."""
        return tuple(self.active)

    @property
    def units(self) -> int:
        """How many units there are, over all sites."""
        return sum(array.shape[1] for array in self.active.values())

    def at(self, language: str) -> int:
        """The row of a language. Raises UnknownName."""
        if language not in self.languages:
            raise UnknownName("language of these counts", language, self.languages)
        return self.languages.index(language)

    def of(self, languages: Sequence[str]) -> "Counts":
        """The same counts of some languages only, in this order. Raises UnknownName."""
        rows = [self.at(language) for language in languages]
        active = {site: array[rows] for site, array in self.active.items()}
        sums = None if self.sums is None else {site: array[rows] for site, array in self.sums.items()}
        return Counts(tuple(languages), [self.tokens[row] for row in rows], active, sums, self.model)

    def probabilities(self) -> Float64[np.ndarray, "languages units"]:
        """The share of each language's tokens at which each unit is active, the units of all sites in a row. Raises InputError."""
        return self._each_token(self.active)

    def means(self) -> Float64[np.ndarray, "languages units"]:
        """Each unit's mean activation over each language's tokens. Raises InputError where no sums were recorded."""
        return self._each_token(self._sums())

    def mean_values(self, site: Site | str) -> Float64[np.ndarray, "languages units"]:
        """Mean activations at one site. Raises InputError, KeyError."""
        return np.asarray(self._sums()[site] / self._tokens()[:, None])

    def _each_token(self, arrays: Mapping[Site, np.ndarray]) -> Float64[np.ndarray, "languages units"]:
        return np.asarray(np.concatenate(list(arrays.values()), axis=1) / self._tokens()[:, None])

    def _sums(self) -> "_Arrays":
        if self.sums is None:
            raise InputError(
                "These counts hold no sums of activations (published counts have none), and mean values need them: record anew with "
                "`resect lape MODEL --corpus …`."
            )
        return self.sums

    def _tokens(self) -> Float64[np.ndarray, " languages"]:
        empty = [name for name, number in zip(self.languages, self.tokens, strict=True) if not number]
        if empty:
            raise InputError(f"No token of {', '.join(empty)} was counted, so there is no share of them.")
        return np.array(self.tokens, dtype=np.float64)

    def neurons(self, units: Iterable[int]) -> Neurons:
        """The units at these places of `probabilities`."""
        starts = np.cumsum([0, *(array.shape[1] for array in self.active.values())])
        chosen: dict[Site | str, list[int]] = {}
        for place in units:
            where = int(np.searchsorted(starts, place, side="right")) - 1
            chosen.setdefault(self.sites[where], []).append(int(place) - int(starts[where]))
        return Neurons(chosen)

    # Whose they are, and adding.

    def check(self, model: Any) -> None:
        """Raises WrongModel where they are not of `model` (LanguageModel, Hugging Face model, Anatomy), or not of all its units."""
        anatomy = anatomy_of(model)
        sites = tuple(site for site in anatomy.moments if site.role == "act")
        widths = {site: array.shape[1] for site, array in self.active.items()}
        if set(widths) != set(sites) or any(anatomy.width(site) != width for site, width in widths.items()):
            here = f"{len(sites)} layers of {anatomy.d_ff} units"
            raise WrongModel(
                f"These counts have {len(widths)} layers of {', '.join(sorted({str(width) for width in widths.values()}))} units, and this "
                f"{anatomy.family} has {here}. Counts are of one model: take those of this one."
            )
        if self.model is not None:
            try:
                self.model.check(anatomy)
            except WrongModel as error:
                told = str(error).replace("This plan was", "These counts were").replace("that it touches", "that they are of")
                raise WrongModel(f"{told.partition(' Load the plan')[0]} Counts are of one model: take those of this one.") from error

    def __add__(self, other: "Counts") -> "Counts":
        """The counts of both. Raises WrongModel where they are of two models."""
        if not isinstance(other, Counts):
            return NotImplemented
        shapes = [{site: array.shape[1] for site, array in each.active.items()} for each in (self, other)]
        if shapes[0] != shapes[1]:
            raise WrongModel("These counts are of two models: they have other layers, or other numbers of units. They cannot be added.")
        try:
            model = self.model | other.model if self.model and other.model else self.model or other.model
        except WrongModel as error:
            raise WrongModel(f"These counts are of two models and cannot be added. {error}") from error
        languages = tuple(dict.fromkeys((*self.languages, *other.languages)))
        tokens = [sum(each.tokens[each.at(name)] for each in (self, other) if name in each.languages) for name in languages]
        if (self.sums is None) != (other.sums is None):
            warnings.warn("Some of these counts hold no sums of activations, so that the added ones hold none.", stacklevel=2)
        both = self.sums is not None and other.sums is not None
        return Counts(
            languages,
            tokens,
            {site: self._added(other, languages, self.active[site], other.active[site]) for site in self.sites},
            {s: self._added(other, languages, self.sums[s], other.sums[s]) for s in self.sites} if both else None,  # type: ignore[index]
            model,
        )

    def _added(self, other: "Counts", languages: Sequence[str], mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        found = np.zeros((len(languages), mine.shape[1]), dtype=mine.dtype)
        for each, array in ((self, mine), (other, theirs)):
            found[[languages.index(name) for name in each.languages]] += array
        return found

    # Files.

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file: active/<address>, sum/<address>, tokens; languages and model in its metadata. Raises StorageFailure."""
        arrays: dict[str, np.ndarray] = {_TOKENS: np.array(self.tokens, dtype=np.int64)}
        arrays |= {f"{_ACTIVE}{site}": array for site, array in self.active.items()}
        arrays |= {f"{_SUM}{site}": array for site, array in (self.sums or {}).items()}
        model = None if self.model is None else self.model.to_json()
        write_arrays(Path(path), arrays, {"languages": json.dumps(self.languages), "model": json.dumps(model, sort_keys=True)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Counts":
        """Read what `save` wrote. Raises InputError that names the file."""
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder. Counts are a file; those of a run are its counts.safetensors.")
        arrays, metadata = read_arrays(Path(path))
        try:
            languages, model = json.loads(metadata["languages"]), json.loads(metadata.get("model", "null"))
            active = {name.removeprefix(_ACTIVE): array for name, array in arrays.items() if name.startswith(_ACTIVE)}
            sums = {name.removeprefix(_SUM): array for name, array in arrays.items() if name.startswith(_SUM)}
            identity = None if model is None else ModelIdentity.from_json(model)
            if not isinstance(languages, list) or not all(isinstance(name, str) for name in languages):
                raise InputError(f"its languages are no list of codes but {languages!r:.60}.")
            return cls(languages, arrays[_TOKENS].tolist(), active, sums or None, identity)
        except KeyError as error:
            raise InputError(f"{path} holds no counts: {error} is missing.") from error
        except NotFinite as error:
            raise InputError(f"{path} holds damaged counts: there are NaN or infinite sums of activations in it. Record anew.") from error
        except (InputError, BadPlan, ValueError, TypeError) as error:
            raise InputError(f"{path} holds damaged counts: {error}") from error


class _Arrays(Mapping[Site, np.ndarray]):
    """Frozen arrays by site, in the order of the model; may be asked for by a site's text."""

    def __init__(self, arrays: Mapping[Site, np.ndarray]) -> None:
        first: dict[Site | str, list[int]] = {site: [0] for site in arrays}
        self._held = {site: arrays[site] for site in Neurons(first)}  # which stand in the order of the model
        for array in self._held.values():
            array.flags.writeable = False

    def __getitem__(self, site: Site | str) -> np.ndarray:
        return self._held[Site.of(site)]

    def __iter__(self) -> Any:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Arrays):
            return NotImplemented
        return tuple(self) == tuple(other) and all(np.array_equal(array, other[site]) for site, array in self._held.items())

    __hash__ = None  # type: ignore[assignment]
