"""Controls: to a plan, random plans of the same size and kind. What a plan does beyond them is its own doing.

Knows a model's anatomy and the kinds of edits; not how the plan was found.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resect.core.address import Site
from resect.core.errors import InputError
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import anatomy_of

from .base import Edit
from .matrices import MatrixEdit, PruneWeights, ReduceRank
from .neurons import Clamp, NeuronEdit, Scale, Shift, UnitValues
from .plan import Plan

#: How often a draw that came out before is drawn again. Where few plans are possible, two draws may be equal after all.
_RETRIES = 20


def like(plan: Plan, model: Any, seed: int, draws: int = 3) -> tuple[Plan, ...]:
    """Random plans of the same size and kind as `plan`, none of them with an identity.

    Scale: the same number of units at each site. Clamp and Shift: likewise, the values permuted over the drawn units.
    ReduceRank: another matrix of that role, everything else the same. PruneWeights: as many weights of the same matrix, at random. Units
    that are the same in two edits of the plan are the same in two edits of a control, and others are others.

    The plan's own units and matrices are never drawn (a control that holds a part of the plan would show a part of its effect),
    unless a site has too few other units; then all its units are drawn from. Where the model has too few other matrices, of whatever
    role, there is no control.

    Parameters
    ----------
    plan : Plan; to an empty one the controls are empty
    model : LanguageModel, Hugging Face model or Anatomy
    seed : from 0 on; the same seed gives the same controls
    draws : how many at most; no two are the same, so that they are fewer where the model has not so many. Of an empty plan, and of weights
        at random, always so many

    Raises InputError, UnknownName, WrongModel.
    Source: the random neurons of Yang et al. 2024 (arXiv:2311.09627). Differs from the source in: the plan's
    own units are left out.
    """
    if draws < 0 or seed < 0:
        raise InputError(f"A control needs a seed from 0 on and at least 0 draws, not seed={seed}, draws={draws}.")
    anatomy = anatomy_of(model)
    for edit in plan.edits:
        edit.check_fits(anatomy)
    drawn: list[Plan] = []
    for draw in range(draws):
        for attempt in range(_RETRIES):
            control = _drawn(plan, anatomy, np.random.default_rng([seed, draw, attempt]))
            if control is None:
                return ()
            if control not in drawn or control.is_empty:
                drawn.append(control)
                break
    return tuple(drawn)


def _drawn(plan: Plan, anatomy: Anatomy, rng: np.random.Generator) -> Plan | None:
    units, matrices = _other_units(plan, anatomy, rng), _other_matrices(plan, anatomy, rng)
    if matrices is None:
        return None
    return Plan(_like_one(edit, units, matrices, rng) for edit in plan.edits)


def _like_one(edit: Edit, units: dict[Site, dict[int, int]], matrices: dict[Site, Site], rng: np.random.Generator) -> Edit:
    if isinstance(edit, NeuronEdit):
        moved = {site: [units[_space(site)][unit] for unit in own] for site, own in edit.neurons.items()}
        if isinstance(edit, Scale):
            return Scale(moved, edit.factor)
        if isinstance(edit, Clamp | Shift):
            if not isinstance(edit.values, UnitValues):
                return type(edit)(moved, edit.values)
            given = edit.values
            return type(edit)(moved, {site: [given[site][place] for place in np.argsort(moved[site])] for site in moved})
    if isinstance(edit, ReduceRank):
        return replace(edit, site=matrices[edit.site])
    if isinstance(edit, PruneWeights):
        return PruneWeights(edit.site, edit.fraction, "random", int(rng.integers(2**31)))
    raise InputError(f"There is no control for a {edit.kind}; a line in control.py says what a random one is.")


def _space(site: Site) -> Site:
    """Where a site's units are numbered: `act` and `post` of a block have the same."""
    return site.at("post") if site.is_moment else site


def _other_units(plan: Plan, anatomy: Anatomy, rng: np.random.Generator) -> dict[Site, dict[int, int]]:
    """For each numbering of units: the plan's own units to other ones, no two to one, in random order."""
    own: dict[Site, set[int]] = {}
    for edit in plan.edits:
        if isinstance(edit, NeuronEdit):
            for site, named in edit.neurons.items():
                own.setdefault(_space(site), set()).update(named)
    found = {}
    for space, units in own.items():
        others = np.setdiff1d(np.arange(anatomy.width(space)), sorted(units))
        pool = others if len(others) >= len(units) else np.arange(anatomy.width(space))
        drawn = rng.choice(pool, len(units), replace=False)
        found[space] = dict(zip(sorted(units), drawn.tolist(), strict=True))
    return found


def _other_matrices(plan: Plan, anatomy: Anatomy, rng: np.random.Generator) -> dict[Site, Site] | None:
    """Each reduced matrix to another one that the plan leaves alone, no two to one; None where there are not so many.

    The nearest kind that the model has: of the same stack and role, of the same role, of the same shape, any.
    """
    own = {edit.site for edit in plan.edits if isinstance(edit, MatrixEdit)}
    reduced = [edit.site for edit in plan.edits if isinstance(edit, ReduceRank)]
    found: dict[Site, Site] = {}
    for site in dict.fromkeys(reduced):
        free = [other for other in anatomy.sites if other not in own and other not in found.values()]
        pools = ([other for other in free if near(other)] for near in _Kin(site, anatomy).degrees)
        pool = next((pool for pool in pools if pool), None)
        if pool is None:
            return None
        found[site] = pool[int(rng.integers(len(pool)))]
    return found


@dataclass(frozen=True)
class _Kin:
    """How near a matrix is to another one."""

    site: Site
    anatomy: Anatomy

    @property
    def degrees(self) -> tuple[Callable[[Site], bool], ...]:
        """Tests for what may stand in for it, the nearest kind first."""
        return (
            lambda other: (other.stack, other.role) == (self.site.stack, self.site.role),
            lambda other: other.role == self.site.role,
            lambda other: self.anatomy.shape(other) == self.anatomy.shape(self.site),
            lambda other: True,
        )
