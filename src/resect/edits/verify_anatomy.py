"""Verifies the anatomy of a configuration on a tiny model with random weights: undo, both forms of edits, naive cuts, records, relations.

Knows edits and anatomies; does not know how an anatomy was found.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from resect.core.address import Neurons, Site, Stack, role_order
from resect.models.anatomy import Anatomy
from resect.models.discovery import kind_of, matrix_parameters, quiet
from resect.models.expert_roles import is_gated
from resect.models.fused_rows import positions
from resect.models.hooks import forward_hooks
from resect.models.layout import When
from resect.models.product_hooks import register_product_hook
from resect.models.product_rows import Product
from resect.models.small_models import build_tiny
from resect.models.tiny_model import TinyModel, product

from .base import Edit
from .matrices import PruneWeights, ReduceRank
from .neurons import Clamp, Scale

_TOLERANCE = 2e-4


@dataclass
class Law:
    """One law: what it says, at how many sites it was checked, and where it does not hold."""

    name: str
    states: str
    checked: int = 0
    failed: list[str] = field(default_factory=list)


@dataclass
class Verification:
    """What was proved of a configuration.

    covered : the share of the parameters of the blocks' matrices that are at sites
    roles, paths : by stack the roles with a name that were proved, and the matrices that have the path of a module as their role
    laws : with the sites where they do not hold
    """

    covered: float
    roles: dict[Stack, list[str]]
    paths: dict[Stack, list[str]]
    laws: list[Law]

    @property
    def holds(self) -> bool:
        """Whether all laws hold at all sites."""
        return not any(law.failed for law in self.laws)

    def to_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        laws = {law.name: {"states": law.states, "checked": law.checked, "failed": law.failed} for law in self.laws}
        return {"holds": self.holds, "covered": self.covered, "roles": self.roles, "paths": self.paths, "laws": laws}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Verification":
        """Returns what `to_json` wrote. Raises KeyError, TypeError, AttributeError for anything else."""
        laws = [Law(name, law["states"], law["checked"], list(law["failed"])) for name, law in value["laws"].items()]
        return cls(float(value["covered"]), dict(value["roles"]), dict(value["paths"]), laws)


def verify_anatomy(config: Any) -> Verification:
    """Verifies the anatomy of a configuration, at one block of each kind. Raises UnknownFamily, NotYet."""
    real = Anatomy.of_config(config)
    with quiet(), torch.device("cpu"):
        tiny = build_tiny(*kind_of(config), config)
        anatomy = Anatomy.of(tiny.model)
        examined = _examined(tiny, anatomy)
        covered = _covered(anatomy) if real.covered is None else real.covered
        _shorten(tiny, anatomy, examined)
        check = _Check(tiny, anatomy, examined)
        laws = [check.same_sites(real), *check.laws()]
    sites = (*anatomy.sites, *anatomy.moments)
    names = lambda is_path: {
        stack: sorted({site.role for site in sites if site.stack == stack and ("." in site.role) == is_path}, key=role_order)
        for stack in anatomy.layers
    }
    return Verification(covered, names(False), names(True), laws)


def _examined(tiny: TinyModel, anatomy: Anatomy) -> list[Site]:
    """Returns the sites of one block of each kind: the first one with these roles at these paths. Of experts those of the most reached."""
    blocks: dict[tuple[str, int], list[Site]] = {}
    for site in (*anatomy.sites, *anatomy.moments):
        blocks.setdefault((site.stack, site.layer), []).append(site)
    kinds: dict[Any, list[Site]] = {}
    for (stack, layer), sites in blocks.items():
        prefix = anatomy.block_path(sites[0].stack, layer)
        kinds.setdefault((stack, tuple((site.role, anatomy.tap(site).path.removeprefix(prefix)) for site in sites)), sites)
    return [site for sites in kinds.values() for site in _without_other_experts(tiny, anatomy, sites)]


def _shorten(tiny: TinyModel, anatomy: Anatomy, examined: Sequence[Site]) -> None:
    """Takes blocks above the last examined one out of the tiny model, where it runs without them: each law runs it several times."""
    for stack, layers in anatomy.layers.items():
        blocks: Any = tiny.model.get_submodule(anatomy.block_path(stack, 0).rpartition(".")[0])
        needed = 1 + max(site.layer for site in examined if site.stack == stack)
        removed = list(blocks)[needed:]
        if needed < layers:
            del blocks[needed:]
            try:
                tiny.logits()
            except Exception:  # noqa: BLE001 - code of any model type may count its blocks
                blocks.extend(removed)


def _without_other_experts(tiny: TinyModel, anatomy: Anatomy, sites: Sequence[Site]) -> list[Site]:
    """Returns the sites of one block without those of experts, but the one that most tokens reach: all are alike."""
    reached: dict[int | None, int] = {}
    last = [site for site in sites if site.is_routed and site.role == "down"]
    with forward_hooks(anatomy, last, lambda site, values: reached.__setitem__(site.expert, len(values))):
        tiny.run()
    most = max(reached, key=lambda expert: reached[expert], default=None)
    return [site for site in sites if not site.is_routed or site.expert == most]


def _covered(anatomy: Anatomy) -> float:
    """Returns the share of the parameters of the blocks' matrices that are at sites; of experts, biases are among them."""
    blocks = [anatomy.backbone.get_submodule(path) for path in anatomy.lists]
    total = {key: size for block in blocks for key, size in matrix_parameters(block).items()}
    own = {id(p) for site in anatomy.sites for p in _parameters(anatomy, site).values()}
    return sum(size for key, size in total.items() if key in own) / sum(total.values())


def _parameters(anatomy: Anatomy, site: Site) -> dict[str, torch.nn.Parameter]:
    """Returns the parameters that hold a matrix and its bias, by name in their module."""
    slot, module = anatomy.slot(site), anatomy.module(site)
    return {name: own for name in (slot.weight, slot.bias) if isinstance(own := getattr(module, name, None), torch.nn.Parameter)}


class _Check:
    """The laws of one tiny model."""

    def __init__(self, tiny: TinyModel, anatomy: Anatomy, sites: Sequence[Site]) -> None:
        self.tiny, self.anatomy = tiny, anatomy
        self.matrices = [site for site in sites if not site.is_moment]
        self.moments = [site for site in sites if site.is_moment]
        self.base = tiny.logits()

    def same_sites(self, real: Anatomy) -> Law:
        """The tiny model has the sites of the real one."""
        law = Law("same sites", "the tiny model has the sites and the moments of the real one", len(real.sites) + len(real.moments))
        own, other = ({*anatomy.sites, *anatomy.moments} for anatomy in (self.anatomy, real))
        first = lambda sites: {site for site in sites if not site.is_routed or site.expert == 0}  # it has fewer experts
        law.failed = sorted(map(str, first(own) ^ first(other)))
        return law

    def laws(self) -> Iterator[Law]:
        """Returns all laws, checked."""
        every = [*self.matrices, *self.moments]
        yield self._law("exact undo", "after an edit of weights is undone, all weights are the same to the last bit", every, self._undoes)
        yield self._law("two forms", "an edit of weights and the same edit of activations give the same logits", every, self._forms_agree)
        yield self._law(
            "naive cut", "removing units gives the logits of a model whose rows are set to 0 by hand", self.matrices, self._cuts
        )
        yield self._law("record", "what is recorded at a site is what a forward hook of its module sees", every, self._records)
        yield self._law("product", "the output of a matrix is its product with the input, plus its bias", self.matrices, self._multiplies)
        states = "post = act · up with a gate (act · (up + 1) where a mixture of experts is so), and post = act without one"
        yield self._law("moments", states, self._post(), self._relates)
        yield self._law("fused rows", "the rows of the sites of one weight are all of its rows, each once", self.matrices, self._partitions)

    def _law(self, name: str, states: str, sites: Sequence[Site], holds: Callable[[Site], bool]) -> Law:
        return Law(name, states, len(sites), [str(site) for site in sites if not holds(site)])

    def _post(self) -> list[Site]:
        moments = set(self.moments)
        return [site for site in self.moments if site.role == "post" and site.at("act") in moments]

    def _edits(self, site: Site) -> list[Edit]:
        units = list(range(0, self.anatomy.width(site), 2))
        neurons = Neurons({str(site): units})
        if site.is_moment:
            return [Scale(neurons, 0.0), Scale(neurons, 1.5), Clamp(neurons, 0.0), Clamp(neurons, 0.5)]
        return [Scale(neurons, 0.0), Scale(neurons, -0.5), ReduceRank(site, 0.3), PruneWeights(site, 0.4)]

    def _undoes(self, site: Site) -> bool:
        parameters = dict(self.tiny.model.named_parameters())
        before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        for edit in self._edits(site):
            if not edit.problems(self.anatomy, "weights"):
                edit.apply_as(self.anatomy, "weights").restore()
        return all(torch.equal(before[name], parameter) for name, parameter in parameters.items())

    def _forms_agree(self, site: Site) -> bool:
        for edit in self._edits(site):
            logits = []
            for form in ("weights", "activations"):
                if not edit.problems(self.anatomy, form):
                    with edit.apply_as(self.anatomy, form):
                        logits.append(self.tiny.logits())
            if len(logits) == 2 and not self._near(*logits):
                return False
        return True

    def _cuts(self, site: Site) -> bool:
        slot, units = self.anatomy.slot(site), range(0, self.anatomy.width(site), 2)
        own = _parameters(self.anatomy, site)
        matrices = {name: parameter if slot.expert is None else parameter[slot.expert] for name, parameter in own.items()}
        weight, bias = matrices[slot.weight], matrices.get(slot.bias)
        rows = positions(slot.rows, weight.shape[1 if slot.transposed else 0])
        cut = [rows[unit] for unit in units]
        kept = {name: parameter.detach().clone() for name, parameter in own.items()}
        with torch.no_grad():
            (weight.T if slot.transposed else weight)[cut] = 0.0
            if bias is not None:
                bias[cut] = 0.0
            naive = self.tiny.logits()
            for name, values in kept.items():
                own[name].copy_(values)
        with Scale(Neurons({str(site): units}), 0.0).apply_as(self.anatomy, "weights"):
            return torch.equal(naive, self.tiny.logits()) and not torch.equal(naive, self.base)

    def _seen(self, sites: Sequence[Site]) -> dict[Site, Tensor]:
        seen: dict[Site, Tensor] = {}
        with forward_hooks(self.anatomy, sites, lambda site, values: seen.__setitem__(site, seen.get(site, values.clone()))):
            self.tiny.run()
        return seen

    def _records(self, site: Site) -> bool:
        tap, module = self.anatomy.tap(site), self.anatomy.module(site)
        seen = self._seen([site])[site]
        if tap.weight:
            own = self._observed(site, tap.when)
            return seen.shape[-1] == self.anatomy.width(site) and torch.equal(seen, own[..., positions(tap.part, own.shape[-1])])
        calls = self.tiny.record({"": module})[""]
        values = (calls.inputs if tap.when == "input" else calls.outputs)[0]
        expected = values[..., positions(tap.part, values.shape[-1])]
        return seen.shape[-1] == self.anatomy.width(site) and torch.equal(seen, expected) and (seen.dim() == 2) == tap.flat

    def _multiplies(self, site: Site) -> bool:
        module, tap = self.anatomy.module(site), self.anatomy.tap(site)
        if tap.weight:
            bias = self.anatomy.bias(site)
            expected = self._observed(site, "input") @ self.anatomy.weight(site).T
            return self._near(expected if bias is None else expected + bias, self._seen([site])[site])
        calls = self.tiny.record({"": module})[""]
        return self._near(product(module, calls.inputs[0]), calls.outputs[0])

    def _observed(self, site: Site, when: When) -> Tensor:
        """Returns the values at the first product of a site's tap, of all units, [tokens that reach it, units]."""
        tap, given = self.anatomy.tap(site), list[Tensor]()

        def see(observed: Product) -> None:
            own = observed.of(tap.expert)
            if own is not None:
                given.append(own)

        handle = register_product_hook(self.anatomy.module(site), tap.weight, when, see)
        try:
            self.tiny.run()
        finally:
            handle.remove()
        return given[0]

    def _relates(self, site: Site) -> bool:
        seen = self._seen([site, site.at("act"), site.at("up")])
        act = seen[site.at("act")]
        if not self.anatomy.has_gate(site):
            return self._near(seen[site], act)
        return is_gated(seen[site], act, seen[site.at("up")], self.anatomy.up_offset(site))

    def _partitions(self, site: Site) -> bool:
        slot = self.anatomy.slot(site)
        weight = _parameters(self.anatomy, site)[slot.weight]
        total = (weight if slot.expert is None else weight[slot.expert]).shape[1 if slot.transposed else 0]
        same = lambda other: (other.name, other.expert) == (slot.name, slot.expert)
        sharers = [other for other in map(self.anatomy.slot, self.matrices) if same(other)]
        return sorted(row for sharer in sharers for row in positions(sharer.rows, total)) == list(range(total))

    def _near(self, first: Tensor, second: Tensor) -> bool:
        return float((first - second).abs().max()) <= _TOLERANCE * max(1.0, float(second.abs().max()))
