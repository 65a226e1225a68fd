"""Counts: how often each unit is active on the text of each language, and the sum of its activations. Counts of two texts add up.

Knows sites and languages; does not know how activations are counted, nor what is selected by them.
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
from resect.models.anatomy import anatomy_of
from resect.models.fingerprint import ModelIdentity

_ACTIVE, _SUM, _REACHED, _TOKENS = "active/", "sum/", "reached/", "tokens"
#: The largest integer of 64 bits.
_LARGEST = 2**63 - 1


def activation_sites(model: Any) -> tuple[Site, ...]:
    """Where activations are counted: `act` of every block, encoder before decoder, by layer.

    `model`: LanguageModel, Hugging Face model or Anatomy.
    """
    return tuple(site for site in anatomy_of(model).moments if site.role == "act")


class Counts:
    """Activation counts of feed-forward units by language. They are integers, so that they can be stored, merged and continued exactly.

    Parameters
    ----------
    languages : codes, each once
    tokens : for each language the number of positions at which every unit was observed
    active : by site (`act`) the number of positions at which each unit's activation was above 0, integers [languages, units]
    sums : by site the sum of each unit's activation over the positions, [languages, units]; None where it was not recorded
    model : the identity of the model; None: the counts fit every model of their shapes
    reached : by site of an expert that a router chooses, the number of positions that reached it, integers [languages, 1]. Shares and means
        are over all of a language's tokens, also of those that do not reach an expert

    `a + b` adds the counts of a language that both have, and unites languages; it has sums only where both have them.

    Raises InputError, BadAddress, NotFinite. Source: Tang et al. 2024 (arXiv:2402.16438), section 2.2.

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
        reached: Mapping[Any, Any] | None = None,
    ) -> None:
        self.languages, self.model = tuple(map(str, languages)), model
        twice = sorted({name for name in self.languages if self.languages.count(name) > 1})
        if not self.languages:
            raise InputError("Counts need at least one language.")
        if twice:
            raise InputError(f"Counts name each language once; {', '.join(twice)} is named twice.")
        self.tokens = tuple(int(number) for number in tokens)
        if len(self.tokens) != len(self.languages) or min(self.tokens) < 0 or max(self.tokens) > _LARGEST:
            raise InputError(
                f"Counts of {len(self.languages)} languages need as many numbers of tokens, from 0 to 2^63 − 1, not {self.tokens}."
            )
        self.active = _ArraysBySite({Site.of(site): self._checked_counts(site, array) for site, array in active.items()})
        if not self.active:
            raise InputError("Counts need at least one site.")
        checked_sums = None if sums is None else {Site.of(site): self._checked_sums(site, array) for site, array in sums.items()}
        self.sums = None if checked_sums is None else _ArraysBySite(checked_sums)
        if self.sums is not None and tuple(self.sums) != self.sites:
            raise InputError("The sums of activations have other sites than the counts.")
        self.reached = _ArraysBySite({Site.of(site): self._checked_counts(site, array) for site, array in (reached or {}).items()})

    def _checked_counts(self, site: Any, array: Any) -> Int64[np.ndarray, "languages units"]:
        counts = np.array(array)
        if Site.of(site).role != "act":
            raise BadAddress(f"Counts are of units at act, not at {site}.")
        if counts.ndim != 2 or len(counts) != len(self.languages) or not np.issubdtype(counts.dtype, np.integer):
            raise InputError(
                f"The counts at {site} are {counts.dtype} of the shape {counts.shape}; integers [languages, units] of "
                f"{len(self.languages)} languages are wanted."
            )
        limit = np.array(self.tokens, dtype=np.int64)[:, None]
        if ((counts < 0) | (counts > limit)).any():
            raise InputError(f"At {site} a unit is active at fewer than 0 tokens, or at more than there are; these counts are damaged.")
        return counts.astype(np.int64)

    def _checked_sums(self, site: Any, array: Any) -> Float64[np.ndarray, "languages units"]:
        sums = np.array(array, dtype=np.float64)
        if Site.of(site) not in self.active or sums.shape != self.active[site].shape:
            raise InputError(f"The sums at {site} do not fit the counts there.")
        if not np.isfinite(sums).all():
            raise NotFinite(f"{int((~np.isfinite(sums)).sum())} sums of activations at {site} are NaN or infinite. Try --dtype float32.")
        return sums

    def __repr__(self) -> str:
        tokens = ", ".join(f"{name} {number:,}" for name, number in zip(self.languages, self.tokens, strict=True))
        return f"Counts({self.units} units at {len(self.sites)} sites; tokens: {tokens})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counts):
            return NotImplemented
        same = (self.languages, self.tokens, self.model) == (other.languages, other.tokens, other.model)
        return same and self.active == other.active and self.sums == other.sums and self.reached == other.reached

    __hash__ = None  # type: ignore[assignment]

    # -- content ----------------------------------------------------------------------------------------------------------

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites of the counts in model order: encoder before decoder, by layer."""
        return tuple(self.active)

    @property
    def units(self) -> int:
        """The number of units over all sites."""
        return sum(array.shape[1] for array in self.active.values())

    def row(self, language: str) -> int:
        """The row of a language in the arrays. Raises UnknownName."""
        if language not in self.languages:
            raise UnknownName("language of these counts", language, self.languages)
        return self.languages.index(language)

    def subset(self, languages: Sequence[str]) -> "Counts":
        """The counts of some of the languages, in the given order. Raises UnknownName."""
        rows = [self.row(language) for language in languages]
        active = {site: array[rows] for site, array in self.active.items()}
        sums = None if self.sums is None else {site: array[rows] for site, array in self.sums.items()}
        reached = {site: array[rows] for site, array in self.reached.items()}
        return Counts(tuple(languages), [self.tokens[row] for row in rows], active, sums, self.model, reached)

    def probabilities(self) -> Float64[np.ndarray, "languages units"]:
        """Activation probabilities in [0, 1]: the share of each language's tokens at which each unit, of all sites, is active.

        Raises InputError for a language without tokens.
        """
        return self._per_token(self.active)

    def means(self) -> Float64[np.ndarray, "languages units"]:
        """The mean activation of each unit, of all sites, over each language's tokens. Raises InputError where no sums were recorded."""
        return self._per_token(self._recorded_sums())

    def means_at(self, site: Site | str) -> Float64[np.ndarray, "languages units"]:
        """The mean activation of each unit of one site. Raises InputError, KeyError."""
        return np.asarray(self._recorded_sums()[site] / self._token_numbers()[:, None])

    def _per_token(self, arrays: Mapping[Site, np.ndarray]) -> Float64[np.ndarray, "languages units"]:
        return np.asarray(np.concatenate(list(arrays.values()), axis=1) / self._token_numbers()[:, None])

    def _recorded_sums(self) -> "_ArraysBySite":
        if self.sums is None:
            raise InputError(
                "These counts have no sums of activations (published counts have none), and mean values need them: record anew with "
                "`resect lape MODEL --corpus …`."
            )
        return self.sums

    def _token_numbers(self) -> Float64[np.ndarray, " languages"]:
        empty = [name for name, number in zip(self.languages, self.tokens, strict=True) if not number]
        if empty:
            raise InputError(f"No token of {', '.join(empty)} was counted, so that there are no activation probabilities.")
        return np.array(self.tokens, dtype=np.float64)

    def neurons(self, units: Iterable[int]) -> Neurons:
        """The units at these columns of `probabilities`."""
        starts = np.cumsum([0, *(array.shape[1] for array in self.active.values())])
        by_site: dict[Site | str, list[int]] = {}
        for unit in units:
            site = int(np.searchsorted(starts, unit, side="right")) - 1
            by_site.setdefault(self.sites[site], []).append(int(unit) - int(starts[site]))
        return Neurons(by_site)

    def reach(self) -> str:
        """Returns a sentence on the tokens that reach each expert; "" without experts. Raises InputError for a language without tokens."""
        if not self.reached:
            return ""
        shares = np.stack(list(self.reached.values()))[..., 0] / self._token_numbers()
        never = int((shares.max(axis=1) == 0).sum())
        return (
            f"Of the units of the {len(shares):,} experts, shares are of all tokens of a language, also of those that do not reach an "
            f"expert: {100 * shares.min():.2g} to {100 * shares.max():.2g} % of a language's tokens reach one"
            + (f", and {never:,} are reached by none." if never else ".")
        )

    # -- model and addition -----------------------------------------------------------------------------------------------

    def check(self, model: Any) -> None:
        """Raises WrongModel where they are of another model (LanguageModel, Hugging Face model, Anatomy), or not of all its units."""
        anatomy = anatomy_of(model)
        sites = activation_sites(anatomy)
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
                raise WrongModel(
                    f"These counts were made for {self.model.name or 'a model'} ({self.model.family}), and this {anatomy.family} has other "
                    "weights. Counts are of one model: take those of this one."
                ) from error

    def __add__(self, other: "Counts") -> "Counts":
        """The counts of both. Raises WrongModel where they are of two models."""
        if not isinstance(other, Counts):
            return NotImplemented
        shapes = [{site: array.shape[1] for site, array in counts.active.items()} for counts in (self, other)]
        if shapes[0] != shapes[1]:
            raise WrongModel("These counts are of two models, with other layers or other numbers of units, and cannot be added.")
        try:
            model = self.model | other.model if self.model and other.model else self.model or other.model
        except WrongModel as error:
            raise WrongModel(f"These counts are of two models and cannot be added. {error}") from error
        languages = tuple(dict.fromkeys((*self.languages, *other.languages)))
        tokens = [sum(counts.tokens[counts.row(name)] for counts in (self, other) if name in counts.languages) for name in languages]
        if (self.sums is None) != (other.sums is None):
            warnings.warn("Some of these counts have no sums of activations, so that the result has none.", stacklevel=2)

        def added(first: Mapping[Site, np.ndarray], second: Mapping[Site, np.ndarray]) -> dict[Site, np.ndarray]:
            totals = {site: np.zeros((len(languages), array.shape[1]), dtype=array.dtype) for site, array in first.items()}
            for counts, arrays in ((self, first), (other, second)):
                rows = [languages.index(name) for name in counts.languages]
                for site, total in totals.items():
                    total[rows] += arrays[site]
            return totals

        sums = None if self.sums is None or other.sums is None else added(self.sums, other.sums)
        reached = added(self.reached, other.reached) if set(self.reached) == set(other.reached) else {}
        return Counts(languages, tokens, added(self.active, other.active), sums, model, reached)

    # -- files ------------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file: active/<address>, sum/<address>, reached/<address>, tokens; languages and model in its metadata.

        Raises StorageFailure.
        """
        arrays: dict[str, np.ndarray] = {_TOKENS: np.array(self.tokens, dtype=np.int64)}
        arrays |= {f"{_ACTIVE}{site}": array for site, array in self.active.items()}
        arrays |= {f"{_SUM}{site}": array for site, array in (self.sums or {}).items()}
        arrays |= {f"{_REACHED}{site}": array for site, array in self.reached.items()}
        model = None if self.model is None else self.model.to_json()
        write_arrays(Path(path), arrays, {"languages": json.dumps(self.languages), "model": json.dumps(model, sort_keys=True)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Counts":
        """Read what `save` wrote. Raises InputError that names the file."""
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder. Counts are a file: in a run folder, counts.safetensors.")
        arrays, metadata = read_arrays(Path(path))
        try:
            languages, model = json.loads(metadata["languages"]), json.loads(metadata.get("model", "null"))
            active = {name.removeprefix(_ACTIVE): array for name, array in arrays.items() if name.startswith(_ACTIVE)}
            sums = {name.removeprefix(_SUM): array for name, array in arrays.items() if name.startswith(_SUM)}
            reached = {name.removeprefix(_REACHED): array for name, array in arrays.items() if name.startswith(_REACHED)}
            identity = None if model is None else ModelIdentity.from_json(model)
            if not isinstance(languages, list) or not all(isinstance(name, str) for name in languages):
                raise InputError(f"its languages are {languages!r:.60}, not a list of codes.")
            return cls(languages, arrays[_TOKENS].tolist(), active, sums or None, identity, reached)
        except KeyError as error:
            raise InputError(f"{path} has no counts: {error} is missing.") from error
        except NotFinite as error:
            raise InputError(f"{path} has damaged counts: some sums of activations are NaN or infinite. Record anew.") from error
        except (InputError, BadPlan, ValueError, TypeError) as error:
            raise InputError(f"{path} has damaged counts: {error}") from error


class _ArraysBySite(Mapping[Site, np.ndarray]):
    """Read-only arrays by site, in model order; a site's address serves as key too."""

    def __init__(self, arrays: Mapping[Site, np.ndarray]) -> None:
        first_units: dict[Site | str, list[int]] = {site: [0] for site in arrays}
        self._arrays = {site: arrays[site] for site in Neurons(first_units)}  # Neurons are in model order
        for array in self._arrays.values():
            array.flags.writeable = False

    def __getitem__(self, site: Site | str) -> np.ndarray:
        return self._arrays[Site.of(site)]

    def __iter__(self) -> Any:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _ArraysBySite):
            return NotImplemented
        return tuple(self) == tuple(other) and all(np.array_equal(array, other[site]) for site, array in self._arrays.items())

    __hash__ = None  # type: ignore[assignment]
