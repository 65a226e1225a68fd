"""Kinds of blocks: those of one list that are alike, each examined once, in a tiny model. Knows what `block_roles` proves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from resect.core.address import MOMENT_ROLES, SHARED_EXPERT, expert_name
from resect.core.errors import UnknownFamily

from .block_lists import BlockList, unknown
from .block_roles import BlockRoles, find_roles
from .dataflow import BlockRun
from .expert_roles import FoundExperts, find_experts
from .fused_rows import FusedRows, rule_of
from .layout import MomentPart
from .tiny_model import Calls, TinyModel, named_linears, product


@dataclass(frozen=True)
class KindOfBlock:
    """What was found of blocks that are alike: by path of a matrix the rule of its rows, the moments, and the experts."""

    fused: dict[str, FusedRows]
    unproved: tuple[str, ...]  # paths of matrices without a proved role
    not_run: tuple[str, ...]  # paths of matrices that text does not reach
    moments: dict[str, MomentPart]
    flat: frozenset[str]
    experts: FoundExperts | None = None
    not_by_row: frozenset[str] = frozenset()  # paths of matrices whose values are not of one row of tokens each

    def agreed(self, other: "KindOfBlock") -> "KindOfBlock":
        """Returns what was found of this kind at two sizes: the rules of rows that are the same, and what depends on no other."""
        fused = {path: rule for path, rule in self.fused.items() if other.fused.get(path) == rule}
        roles = {role for rule in fused.values() for role in rule.roles}
        is_whole = {"up", "down"} <= roles and any("gate" in rule.roles for rule in self.fused.values()) == ("gate" in roles)
        if not is_whole:
            fused = {path: rule for path, rule in fused.items() if not {"gate", "up", "down"} & set(rule.roles)}
        moments = {role: part for role, part in self.moments.items() if is_whole and other.moments.get(role) == part}
        unproved = (*self.unproved, *(path for path in self.fused if path not in fused))
        experts = self.experts if self.experts == other.experts else None
        return replace(self, fused=fused, unproved=unproved, moments=moments, experts=experts)

    def name(self, role: str, path: str) -> str:
        """Returns the address in the block of a role: of an expert that every token reaches `shared.up`."""
        is_shared = self.experts is not None and "shared" in path and role in ("gate", "up", "down", *MOMENT_ROLES)
        return f"{expert_name(SHARED_EXPERT)}.{role}" if is_shared else role


def kinds_of(
    config: Any, full: nn.Module, tiny: TinyModel, calls: dict[str, Calls], found: BlockList, before: Sequence[nn.Module]
) -> tuple[KindOfBlock, ...]:
    """Returns the kind of each block of a list. Each kind is examined once, at its first block."""
    real, small = (found.blocks(model) for model in (full, tiny.model))
    if [*map(_matrices, real)] != [*map(_matrices, small)]:
        raise UnknownFamily(f"{unknown(config)} The blocks of a tiny model have other modules than its own.")
    types = getattr(config.get_text_config(), "layer_types", None) or [None] * len(small)
    known: dict[Any, KindOfBlock] = {}
    kinds = []
    for layer, block in enumerate(small):
        linears = dict(named_linears(block))
        run = frozenset(
            path for path in linears if f"{found.paths[layer]}.{path}" in calls and calls[f"{found.paths[layer]}.{path}"].outputs
        )
        key = (_signature(block), run, types[layer] if layer < len(types) else None)
        if key not in known:
            known[key] = _kind(tiny, block, tiny.config, [*before, *small[:layer]])
        kinds.append(known[key])
    return tuple(kinds)


def _signature(block: nn.Module) -> tuple[Any, ...]:
    return tuple((path, type(module).__name__, getattr(module, "bias", None) is not None) for path, module in block.named_modules())


def _matrices(block: nn.Module) -> tuple[Any, ...]:
    """Returns what decides which sites a block has; what computes between its matrices may depend on the length of a text."""
    return tuple((path, type(module).__name__, getattr(module, "bias", None) is not None) for path, module in named_linears(block))


def _kind(tiny: TinyModel, block: nn.Module, config: Any, below: Sequence[nn.Module]) -> KindOfBlock:
    experts = find_experts(tiny, block)
    router = experts.router.path if experts is not None and experts.router is not None else None
    run = BlockRun.of(tiny, block, {path: module for path, module in named_linears(block) if path != router}, below)
    exact = {path for path, module in run.linears.items() if _multiplies(module, run.calls[path])}
    # Through a matrix that computes more than its product, other effects would be seen than direct ones.
    roles = find_roles(run) if len(exact) == len(run.linears) else BlockRoles()
    run.linears = {path: module for path, module in run.linears.items() if path in exact}
    paths = roles.path_of
    read = lambda role: int(run.calls[paths[role]].inputs[0].shape[-1]) if role in paths else 0
    fused: dict[str, FusedRows] = {}
    for path, rows in roles.rows.items():
        o = "cross_o" if next(iter(rows)).startswith("cross_") else "o"
        listed = {role: own.tolist() for role, own in rows.items()}
        rule = rule_of(listed, int(run.calls[path].outputs[0].shape[-1]), read(o), read("down"), config.get_text_config())
        if rule is not None:
            fused[path] = rule
    known = {role for rule in fused.values() for role in rule.roles}
    if {"up", "down"} - known or ("gate" in paths and "gate" not in known):
        fused = {path: rule for path, rule in fused.items() if not {"gate", "up", "down"} & set(rule.roles)}
        roles.act = roles.post = None
    flat = frozenset(path for path, calls in run.calls.items() if calls.inputs and calls.inputs[0].dim() == 2)
    unproved = tuple(path for path in run.linears if path not in fused)
    not_run = tuple(path for path, _ in named_linears(block) if path not in run.linears and path != router)
    return KindOfBlock(fused, unproved, not_run, _moments(roles, flat), flat & exact, experts, run.not_by_row & exact)


def _moments(roles: BlockRoles, flat: frozenset[str]) -> dict[str, MomentPart]:
    moments = {} if roles.act is None else {"act": MomentPart(*roles.act, roles.act[0] in flat)}
    return moments | ({} if roles.post is None else {"post": MomentPart(roles.post, "input", roles.post in flat)})


def _multiplies(module: nn.Module, calls: Calls) -> bool:
    """Returns whether a module computes the product with its weight, plus its bias, and nothing else."""
    expected = product(module, calls.inputs[0])
    return expected.shape == calls.outputs[0].shape and bool(torch.allclose(calls.outputs[0], expected, rtol=1e-3, atol=1e-4))
