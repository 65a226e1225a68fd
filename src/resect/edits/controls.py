"""Controls: random plans of the same size and kind as a plan. What the plan does beyond them is its own effect.

Knows a model's anatomy, and asks each edit for a random one like it; does not know how the plan was found.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from resect.core.address import Site
from resect.core.errors import InputError
from resect.models.anatomy import Anatomy, anatomy_of

from .base import RandomSubstitutes, unit_space
from .plan import Plan

#: How often a draw that equals an earlier one is repeated. Where few plans are possible, two draws may be equal after all.
_RETRIES = 20


def like(plan: Plan, model: Any, seed: int, draws: int = 3) -> tuple[Plan, ...]:
    """Returns random plans of the same size and kind as `plan`, none of them with an identity.

    Scale: the same number of units at each site. Clamp and Shift: likewise, with the values permuted over the drawn units.
    ReduceRank: another matrix of that role, everything else the same. PruneWeights: as many weights of the same matrix, at random. Units
    that are the same in two edits of the plan are the same in two edits of a control, and different ones are different.

    The plan's own units and matrices are never drawn (a control that contains a part of the plan would show a part of its effect),
    unless a site has too few other units; then all its units may be drawn. Where the model has too few other matrices, of whatever
    role, there is no control.

    Parameters
    ----------
    plan : Plan; the controls of an empty one are empty
    model : LanguageModel, Hugging Face model or Anatomy
    seed : from 0 on; the same seed gives the same controls
    draws : the maximum number; no two are the same, so there are fewer where the model does not have as many. Of an empty plan, and of
        weights at random, there are always so many

    Raises InputError, UnknownName, WrongModel.
    Source: the random neurons of Yang et al. 2024 (arXiv:2311.09627). Differs from the source in: the plan's
    own units are left out.
    """
    if draws < 0 or seed < 0:
        raise InputError(f"A control needs a seed from 0 on and at least 0 draws, not seed={seed}, draws={draws}.")
    anatomy = anatomy_of(model)
    for edit in plan.edits:
        edit.check_fits(anatomy)
    controls: list[Plan] = []
    for draw in range(draws):
        for attempt in range(_RETRIES):
            control = _draw(plan, anatomy, np.random.default_rng([seed, draw, attempt]))
            if control is None:
                return ()
            if control not in controls or control.is_empty:
                controls.append(control)
                break
    return tuple(controls)


def _draw(plan: Plan, anatomy: Anatomy, rng: np.random.Generator) -> Plan | None:
    units, matrices = _other_units(plan, anatomy, rng), _other_matrices(plan, anatomy, rng)
    if matrices is None:
        return None
    substitutes = RandomSubstitutes(units, matrices, rng)
    return Plan(edit.random_like(substitutes) for edit in plan.edits)


def _other_units(plan: Plan, anatomy: Anatomy, rng: np.random.Generator) -> dict[Site, dict[int, int]]:
    """Returns for each `unit_space` the plan's own units to other ones, each to a different one, at random."""
    own: dict[Site, set[int]] = {}
    for edit in plan.edits:
        if not edit.complete_matrices:
            for site, named in edit.units(anatomy).items():
                own.setdefault(unit_space(site), set()).update(named)
    substitutes = {}
    for space, units in own.items():
        others = np.setdiff1d(np.arange(anatomy.width(space)), sorted(units))
        pool = others if len(others) >= len(units) else np.arange(anatomy.width(space))
        drawn = rng.choice(pool, len(units), replace=False)
        substitutes[space] = dict(zip(sorted(units), drawn.tolist(), strict=True))
    return substitutes


def _other_matrices(plan: Plan, anatomy: Anatomy, rng: np.random.Generator) -> dict[Site, Site] | None:
    """Returns each replaceable matrix to one that the plan does not change, each to a different one; None where there are too few.

    The most similar kind that the model has: of the same stack and role, of the same role, of the same shape, any.
    """
    own = {site for edit in plan.edits for site in edit.complete_matrices}
    substitutes: dict[Site, Site] = {}
    for site in dict.fromkeys(site for edit in plan.edits for site in edit.replaceable_matrices):
        of_kind = anatomy.joint_sites if site.is_joint else anatomy.sites
        free = [other for other in of_kind if other not in own and other not in substitutes.values()]
        pools = ([other for other in free if is_similar(other)] for is_similar in _similarities(site, anatomy))
        pool = next((pool for pool in pools if pool), None)
        if pool is None:
            return None
        substitutes[site] = pool[int(rng.integers(len(pool)))]
    return substitutes


def _similarities(site: Site, anatomy: Anatomy) -> tuple[Callable[[Site], bool], ...]:
    """Returns tests for matrices that may replace a matrix, the most similar kind first."""
    return (
        lambda other: (other.stack, other.role, other.is_routed) == (site.stack, site.role, site.is_routed),
        lambda other: (other.stack, other.role) == (site.stack, site.role),
        lambda other: other.role == site.role,
        lambda other: anatomy.shape(other) == anatomy.shape(site),
        lambda other: True,
    )
