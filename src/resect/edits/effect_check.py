"""Did a plan take effect? One question, asked once about a plan that is kept, against the unedited model.

Knows plans and taps. What the model is asked (the probe) is the caller's; whether the effect is a good one is
`evaluation`'s.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resect.core.address import Neurons, Site
from resect.core.errors import NoEffect, NotFinite
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import anatomy_of
from resect.models.hooks import forward_hooks

from .base import AppliedForm, RequestedForm
from .plan import Plan

#: Roles whose units may fire without a trace: attention over one token is the same whatever the query and the key.
_QUIET = ("q", "k", "cross_q", "cross_k")
_EXACT = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Effect:
    """What was seen. A plan that is empty has none, and that is an honest result."""

    forms: tuple[AppliedForm, ...]
    #: how many parameters hold other values than before
    tensors_changed: int
    #: how many hooks were hung
    hooks: int
    #: largest difference that the plan made to a number of the probe; None: the plan is empty
    max_change: float | None
    #: units (rows, for a whole matrix) that the plan names, and those that the probe made fire in the unedited model
    units_touched: int
    units_fired: int


@dataclass
class _Fired:
    """Which of some units were other than 0 at any token."""

    anatomy: Anatomy
    wanted: Neurons
    seen: dict[Site, Tensor] = field(default_factory=dict)

    def see(self, site: Site, values: Tensor) -> None:
        """Take in the values of one forward pass, [..., units]."""
        fired = (values != 0).flatten(0, -2).any(0).cpu()
        self.seen[site] = fired | self.seen[site] if site in self.seen else fired

    def count(self, sites: tuple[Site, ...]) -> int:
        """How many units of these sites fired."""
        return sum(int(self.seen[seen_at(site)][list(self.wanted[site])].sum()) for site in sites if seen_at(site) in self.seen)


def verify_effect(plan: Plan, model: Any, probe: Callable[[], np.ndarray], form: RequestedForm = "auto") -> Effect:
    """Run the probe with and without the plan, and compare.

    Parameters
    ----------
    plan : Plan
    model : LanguageModel or Hugging Face model, unedited
    probe : asks the model something, and gives numbers that depend on its logits; called twice, not for an empty plan

    Raises NoEffect where a plan that names something touches no tensor and hangs no hook, or where the numbers stay the
    same to the last bit although the probe made touched units fire. (In half precision, and for queries and keys alone,
    equal numbers are possible, and are no error.) Raises NotFinite where the plan makes a number NaN, and what
    `Plan.applied` raises.
    """
    anatomy = anatomy_of(model)
    forms = plan.forms_for(anatomy, form)
    if plan.is_empty:
        return Effect(forms, 0, 0, None, 0, 0)
    wanted = named_units(plan, anatomy)
    fired = _Fired(anatomy, wanted)
    with forward_hooks(anatomy, list(dict.fromkeys(map(seen_at, wanted))), fired.see):
        base = np.asarray(probe(), dtype=np.float64)
    with plan.put(anatomy, forms) as undo:
        touched, changed, hooks = len(undo.tensors), undo.changed, undo.hooks
        edited = np.asarray(probe(), dtype=np.float64)
    if not touched and not hooks:
        raise NoEffect(f"The plan names {wanted.count} units, but writes no tensor and hangs no hook; look at its factors and values.")
    if np.isnan(edited).any() and not np.isnan(base).any():
        raise NotFinite("The plan turns the model's answers into NaN; look at its factors and values, or try --dtype float32.")
    same = np.array_equal(base, edited, equal_nan=True)
    largest = 0.0 if same else float(np.nanmax(np.abs(np.where(base == edited, 0.0, edited - base))))
    loud = fired.count(tuple(site for site in wanted if site.role not in _QUIET))
    if same and loud and _is_exact(anatomy):
        raise NoEffect(
            f"The plan was applied ({', '.join(sorted(set(forms)))}), and {loud} of its {wanted.count} units fire, "
            "but every answer is the "
            "same to the last bit: nothing that it changes reaches the output. Was it applied to this model before?"
        )
    return Effect(forms, changed, hooks, largest, wanted.count, fired.count(tuple(wanted)))


def named_units(plan: Plan, anatomy: Anatomy) -> Neurons:
    """The units that a plan names; of a matrix that is changed as a whole, all rows."""
    named = Neurons()
    for edit in plan.edits:
        neurons = getattr(edit, "neurons", None)
        rows: dict[Site | str, range] = {site: range(anatomy.width(site)) for site in edit.sites}
        named |= Neurons(rows) if neurons is None else neurons
    return named


def seen_at(site: Site) -> Site:
    """Where it shows whether a unit fires: what a gate or an activation function lets through is seen at `post`."""
    return site.at("post") if site.role in ("gate", "up") else site


def _is_exact(anatomy: Anatomy) -> bool:
    """Whether all weights are float32 or better, so that no change is lost in rounding."""
    return anatomy.root is not None and all(parameter.dtype in _EXACT for parameter in anatomy.root.parameters())
