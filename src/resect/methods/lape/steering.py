"""Steering: a plan that makes a model speak one language, by setting or moving the units that belong to it.

Knows counts, units and edits; knows no prompt, no model and no file.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from resect.core.address import Neurons, Site
from resect.core.errors import InputError, UnknownName, WrongModel
from resect.edits.base import Edit
from resect.edits.neurons import Clamp, Scale, Shift
from resect.edits.plan import Plan
from resect.models.fingerprint import ModelIdentity, matrix_at

from .counts import Counts

#: How the units of the wanted language are activated.
MODES = ("set", "add", "multiply", "difference")
#: The strength where none is given, and the one that would leave the activations as they are (set: none does).
_DEFAULTS: Mapping[str, float] = {"set": 1.0, "add": 1.0, "multiply": 2.0, "difference": 1.0}
_NOTHING: Mapping[str, float | None] = {"set": None, "add": 0.0, "multiply": 1.0, "difference": 0.0}


def steering_plan(
    counts: Counts,
    units: Mapping[str, Neurons],
    to: str,
    source: str | None = None,
    mode: str = "set",
    strength: float | None = None,
) -> Plan:
    """The plan under which the activations of `to`'s units, at every token, become what the mode says.

    Parameters
    ----------
    counts : with sums of activations (mode "multiply" needs none)
    units : the units of each language, at `act`
    to : the language that is wanted
    source : the language that is to go: its units that are not `to`'s too are scaled by 0; None: nothing is deactivated
    mode : with s the strength, a the activation as it is and m its mean over the text of `to`: "set": s · m; "add": a + s · m;
        "multiply": s · a; "difference": a + s · (m − the other languages' mean, in which each language weighs the same)
    strength : a finite number; default 1, for "multiply" 2

    The plan has the identity of the counts' model, where it concerns the plan's sites.

    Raises UnknownName for a language or mode that does not exist; InputError where a language has no units, where counts hold no sums or no
    other language, and for a strength that would do nothing; WrongModel for units that the counts have not.
    Source: Tang et al. 2024 (arXiv:2402.16438): "set" with strength 1, on the units that LAPE selects.
    Differs from the source in: strengths and the other three modes; "difference" is after Language Arithmetics (arXiv:2507.22608).
    """
    number = strength_of(mode, strength)
    wanted = _units_of(units, to, "be activated")
    deactivated = Neurons() if source is None else _deactivated(units, to, source)
    for site, indices in (wanted | deactivated).items():
        if site not in counts.active or indices[-1] >= counts.active[site].shape[1]:
            raise WrongModel(f"Unit {indices[-1]} of {site} is not among the counted ones: units and counts are of two models.")
    first: tuple[Edit, ...] = (Scale(deactivated, 0.0),) if deactivated else ()
    return Plan((*first, _edit(counts, wanted, to, mode, number)), _identity(counts.model, (*wanted, *deactivated)))


def strength_of(mode: str, strength: float | None = None) -> float:
    """The strength that a mode is used with: the one given, else the mode's own. Raises UnknownName, InputError."""
    if mode not in MODES:
        raise UnknownName("mode of steering", mode, MODES)
    number = _DEFAULTS[mode] if strength is None else float(strength)
    if not math.isfinite(number):
        raise InputError(f"The strength is a finite number, not {strength!r}.")
    if number == _NOTHING[mode]:
        raise InputError(f'Mode "{mode}" with the strength {number:g} leaves every activation as it is; give another --strength.')
    return number


def _edit(counts: Counts, wanted: Neurons, to: str, mode: str, strength: float) -> Edit:
    if mode == "multiply":
        return Scale(wanted, strength)
    if mode == "set":
        return Clamp(wanted, _values(wanted, lambda site: strength * _mean(counts, site, to)))
    if mode == "add":
        return Shift(wanted, _values(wanted, lambda site: strength * _mean(counts, site, to)))
    others = [language for language in counts.languages if language != to]
    if not others:
        raise InputError(f'Mode "difference" compares {to} with other languages, and these counts have none. Choose another --mode.')
    rest = lambda site: np.mean([_mean(counts, site, language) for language in others], axis=0)
    return Shift(wanted, _values(wanted, lambda site: strength * (_mean(counts, site, to) - rest(site))))


def _mean(counts: Counts, site: Site, language: str) -> Float64[np.ndarray, " units"]:
    row = counts.at(language)
    return np.asarray(counts.mean_values(site)[row])


def _values(wanted: Neurons, at: Callable[[Site], np.ndarray]) -> dict[Site, list[float]]:
    """One number for each unit, of those that a function gives for all units of a site."""
    return {site: at(site)[list(indices)].tolist() for site, indices in wanted.items()}


def _units_of(units: Mapping[str, Neurons], language: str, what: str) -> Neurons:
    if language not in units:
        raise UnknownName("language of this run", language, units)
    if not units[language]:
        having = ", ".join(name for name, found in units.items() if found) or "none"
        raise InputError(f"{language} has no units of its own, so that nothing could {what}. Languages that have some: {having}.")
    return units[language]


def _deactivated(units: Mapping[str, Neurons], to: str, source: str) -> Neurons:
    if source == to:
        raise InputError(f"{to} cannot be both the language to go from and the one to go to; leave --from out, or name another.")
    found = _units_of(units, source, "be deactivated") - units[to]
    if not found:
        raise InputError(f"All units of {source} are units of {to} too, so that nothing could be deactivated; leave --from out.")
    return found


def _identity(model: ModelIdentity | None, sites: tuple[Site, ...]) -> ModelIdentity | None:
    """What an identity says of these sites; None where it says nothing."""
    wanted = {matrix_at(site) for site in sites}
    marks = tuple(mark for mark in model.marks if mark.site in wanted) if model else ()
    return replace(model, marks=marks) if model and marks else None
