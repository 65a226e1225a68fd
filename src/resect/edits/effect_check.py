"""Checks that a plan changes the model, against the unedited model: once for each plan that is reported or exported.

Knows plans and taps. The caller gives the probe, which runs the model; whether the effect is good is measured in `evaluation`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resect.core.address import Neurons, Site
from resect.core.errors import NoEffect, NotFinite
from resect.models.anatomy import Anatomy, anatomy_of
from resect.models.hooks import forward_hooks

from .base import AppliedForm, RequestedForm
from .plan import Plan

#: Roles whose units may be active without effect: attention over one token is the same for every query and key.
_POSSIBLY_WITHOUT_EFFECT = ("q", "k", "cross_q", "cross_k")
_EXACT = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Effect:
    """What the probe showed. An empty plan has no effect, which is a valid result."""

    forms: tuple[AppliedForm, ...]
    #: how many parameters have other values than before
    tensors_changed: int
    #: how many hooks were registered
    hooks: int
    #: largest difference between the probe's numbers with and without the plan; None: the plan is empty
    max_change: float | None
    #: units (rows, of a complete matrix) that the plan names, and those that were active in the unedited model during the probe
    units_touched: int
    units_fired: int


@dataclass
class _ActiveUnits:
    """Records which units were other than 0 at any token."""

    units: Neurons
    active: dict[Site, Tensor] = field(default_factory=dict)

    def record(self, site: Site, values: Tensor) -> None:
        """Record the values of one forward pass, [..., units]."""
        active = (values != 0).flatten(0, -2).any(0).cpu()
        self.active[site] = active | self.active[site] if site in self.active else active

    def count(self, sites: Iterable[Site]) -> int:
        """Returns how many units of these sites were active."""
        observed = [(site, self.active.get(observed_site(site))) for site in sites]
        return sum(int(active[list(self.units[site])].sum()) for site, active in observed if active is not None)


def verify_effect(plan: Plan, model: Any, probe: Callable[[], np.ndarray], form: RequestedForm = "auto") -> Effect:
    """Runs the probe with and without the plan, and compares the numbers.

    Parameters
    ----------
    plan : Plan
    model : LanguageModel or Hugging Face model, unedited
    probe : runs the model and returns numbers that depend on its logits; called twice, not for an empty plan

    Raises NoEffect where a plan that names something writes no tensor and registers no hook, or where the numbers are the
    same to the last bit although the plan's units were active during the probe. (In half precision, and for queries and keys
    alone, equal numbers are possible, and no error.) Raises NotFinite where the plan makes a number NaN, and what
    `Plan.applied` raises.
    """
    anatomy = anatomy_of(model)
    forms = plan.choose_forms(anatomy, form)
    if plan.is_empty:
        return Effect(forms, 0, 0, None, 0, 0)
    units = named_units(plan, anatomy)
    active = _ActiveUnits(units)
    with forward_hooks(anatomy, list(dict.fromkeys(map(observed_site, units))), active.record):
        base = np.asarray(probe(), dtype=np.float64)
    with plan.apply_as(anatomy, forms) as undo:
        written, changed, hooks = len(undo.parameters), undo.changed_count, undo.hook_count
        edited = np.asarray(probe(), dtype=np.float64)
    if not written and not hooks:
        raise NoEffect(f"The plan names {units.count} units, but writes no tensor and registers no hook; check its factors and values.")
    if np.isnan(edited).any() and not np.isnan(base).any():
        raise NotFinite("The plan turns the model's answers into NaN; check its factors and values, or try --dtype float32.")
    is_equal = np.array_equal(base, edited, equal_nan=True)
    largest = 0.0 if is_equal else float(np.nanmax(np.abs(np.where(base == edited, 0.0, edited - base))))
    effective = active.count(site for site in units if site.role not in _POSSIBLY_WITHOUT_EFFECT)
    if is_equal and effective and _is_exact(anatomy):
        raise NoEffect(
            f"The plan was applied ({', '.join(sorted(set(forms)))}), and {effective} of its {units.count} units are active, but every "
            "output is the same to the last bit: nothing that it changes reaches the output. Was it applied to this model before?"
        )
    return Effect(forms, changed, hooks, largest, units.count, active.count(units))


def named_units(plan: Plan, anatomy: Anatomy) -> Neurons:
    """Returns the units that a plan names; of a matrix that it changes completely, all rows."""
    named = Neurons()
    for edit in plan.edits:
        named |= edit.units(anatomy)
    return named


def observed_site(site: Site) -> Site:
    """Returns the site where a unit's activity shows: `post` for units of `gate` and `up`, which may be suppressed before it."""
    return site.at("post") if site.role in ("gate", "up") else site


def _is_exact(anatomy: Anatomy) -> bool:
    """Returns whether all weights are float32 or better, so that rounding hides no change."""
    return anatomy.root is not None and all(parameter.dtype in _EXACT for parameter in anatomy.root.parameters())
