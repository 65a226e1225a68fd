"""Steering: a plan that makes a model answer in one language, by setting or shifting the activations of the language's units.

Knows counts, units and edits; knows no prompt, no model and no file.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from resect.core.address import Neurons, Site
from resect.core.errors import InputError, UnknownName, WrongModel
from resect.edits.base import Edit
from resect.edits.neurons import Clamp, Scale, Shift
from resect.edits.plan import Plan
from resect.models.fingerprint import ModelIdentity, stored_matrix

from .counts import Counts
from .settings import STEERING_MODES

#: How the units of the target language are activated.
MODES = STEERING_MODES
#: The default strength, and the strength that would leave the activations unchanged (set: there is none).
_DEFAULTS: Mapping[str, float] = {"set": 1.0, "add": 1.0, "multiply": 2.0, "difference": 1.0}
_NEUTRAL: Mapping[str, float | None] = {"set": None, "add": 0.0, "multiply": 1.0, "difference": 0.0}


def steering_plan(
    counts: Counts,
    units: Mapping[str, Neurons],
    to: str,
    source: str | None = None,
    mode: str = "set",
    strength: float | None = None,
) -> Plan:
    """The plan that changes the activations of the target language's units at every token, by one of four modes.

    Parameters
    ----------
    counts : with sums of activations (mode "multiply" needs none)
    units : the units of each language, at `act`
    to : the target language
    source : the language to leave: its units that are not also the target's are scaled by 0; None: nothing is deactivated
    mode : with s the strength, a the activation as it is and m its mean over the text of `to`: "set": s · m; "add": a + s · m;
        "multiply": s · a; "difference": a + s · (m − the mean over the other languages, with equal weights)
    strength : a finite number; default 1, for "multiply" 2

    The plan has the identity of the counts' model, restricted to the plan's sites.

    Raises UnknownName for a language or mode that does not exist; InputError where a language has no units, where the counts have no sums
    or no other language, and for a strength that would change nothing; WrongModel for units that are not among the counted ones.
    Source: Tang et al. 2024 (arXiv:2402.16438): "set" with strength 1, on the units that LAPE selects.
    Differs from the source in: strengths and the other three modes; "difference" is after Language Arithmetics (arXiv:2507.22608).
    """
    number = strength_of(mode, strength)
    activated = _units_of(units, to, "be activated")
    deactivated = Neurons() if source is None else _deactivated(units, to, source)
    for site, indices in (activated | deactivated).items():
        if site not in counts.active or indices[-1] >= counts.active[site].shape[1]:
            raise WrongModel(f"Unit {indices[-1]} of {site} is not among the counted ones: units and counts are of two models.")
    deactivation: tuple[Edit, ...] = (Scale(deactivated, 0.0),) if deactivated else ()
    return Plan((*deactivation, _activation(counts, activated, to, mode, number)), _identity(counts.model, (*activated, *deactivated)))


def strength_of(mode: str, strength: float | None = None) -> float:
    """The given strength, or the default of the mode. Raises UnknownName, InputError for a strength that would change nothing."""
    if mode not in MODES:
        raise UnknownName("mode of steering", mode, MODES)
    number = _DEFAULTS[mode] if strength is None else float(strength)
    if not math.isfinite(number):
        raise InputError(f"The strength is a finite number, not {strength!r}.")
    if number == _NEUTRAL[mode]:
        raise InputError(f'Mode "{mode}" with the strength {number:g} leaves every activation as it is; give another --strength.')
    return number


def strengths_of(mode: str, strengths: float | Sequence[float] | None = None) -> tuple[float, ...]:
    """The given strengths, each once, or the default of the mode; the one first that changes activations least.

    >>> strengths_of("set", [4, 1, 2, 1]), strengths_of("multiply", [4, 2, 0.5]), strengths_of("add")
    ((1.0, 2.0, 4.0), (0.5, 2.0, 4.0), (1.0,))

    Raises UnknownName, InputError as `strength_of`, and for none at all.
    """
    given = strengths if isinstance(strengths, Sequence) else [strengths]
    numbers = {strength_of(mode, strength) for strength in given}
    if not numbers:
        raise InputError("No strength is given; name one or more (--strength), or leave it out.")
    neutral = _NEUTRAL[mode] or 0.0
    return tuple(sorted(numbers, key=lambda number: (abs(number - neutral), number)))


def _activation(counts: Counts, units: Neurons, to: str, mode: str, strength: float) -> Edit:
    """The edit that activates units of the target language."""
    if mode == "multiply":
        return Scale(units, strength)
    if mode == "difference":
        others = [language for language in counts.languages if language != to]
        if not others:
            raise InputError(f'Mode "difference" compares {to} with other languages, and these counts have none. Choose another --mode.')
        shift = lambda site: _means(counts, site, to) - np.mean([_means(counts, site, other) for other in others], axis=0)
        return Shift(units, _values(units, lambda site: strength * shift(site)))
    values = _values(units, lambda site: strength * _means(counts, site, to))
    return Clamp(units, values) if mode == "set" else Shift(units, values)


def _means(counts: Counts, site: Site, language: str) -> Float64[np.ndarray, " units"]:
    row = counts.row(language)
    return np.asarray(counts.means_at(site)[row])


def _values(units: Neurons, of_site: Callable[[Site], np.ndarray]) -> dict[Site, list[float]]:
    """For each unit its number, of those that a function returns for all units of a site."""
    return {site: of_site(site)[list(indices)].tolist() for site, indices in units.items()}


def _units_of(units: Mapping[str, Neurons], language: str, what: str) -> Neurons:
    if language not in units:
        raise UnknownName("language of this run", language, units)
    if not units[language]:
        others = ", ".join(name for name, neurons in units.items() if neurons) or "none"
        raise InputError(f"{language} has no units of its own, so that nothing could {what}. Languages that have some: {others}.")
    return units[language]


def _deactivated(units: Mapping[str, Neurons], to: str, source: str) -> Neurons:
    if source == to:
        raise InputError(f"{to} cannot be both the language to leave and the target; leave --from out, or name another.")
    deactivated = _units_of(units, source, "be deactivated") - units[to]
    if not deactivated:
        raise InputError(f"All units of {source} are units of {to} too, so that nothing could be deactivated; leave --from out.")
    return deactivated


def _identity(model: ModelIdentity | None, sites: tuple[Site, ...]) -> ModelIdentity | None:
    """The part of an identity that is about these sites; None where there is none."""
    touched = {stored_matrix(site) for site in sites}
    matrices = tuple(matrix for matrix in model.matrices if matrix.site in touched) if model else ()
    return replace(model, matrices=matrices) if model and matrices else None
