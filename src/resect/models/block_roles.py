"""Roles of the matrices of a block, proved by what their units change: attention, feed-forward, and which rows of a fused weight are which.

In attention a query changes what `o` reads at its own token only, a key and a value change it at other tokens, a value in proportion. In a
feed-forward block a unit of `gate` and of `up` changes one unit of what `down` reads, one of `up` beside a gate in proportion. A matrix
has a role only if each of its rows does, and a role that several matrices claim is given to none. Knows no name of any module.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from .dataflow import BlockRun, Effect
from .tiny_model import by_row

#: By role the matrix and its rows.
Claim = dict[str, tuple[str, Tensor]]


@dataclass
class BlockRoles:
    """What was proved of one block.

    rows : by matrix, by role, its rows (in rising order)
    act : where the activation function's output shows: the path of a module, and its input or output; None where it does not
    post : the path of `down`, or None
    product : whether post = act · up was seen (post = act without a gate)
    """

    rows: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    act: tuple[str, Literal["input", "output"]] | None = None
    post: str | None = None

    @property
    def path_of(self) -> dict[str, str]:
        """The path of the matrix of each role."""
        return {role: path for path, roles in self.rows.items() for role in roles}


def find_roles(run: BlockRun) -> BlockRoles:
    """Returns the roles of the matrices of a block, of those that are proved."""
    incoming: dict[str, dict[str, Effect]] = {path: {} for path in run.linears}
    try:
        for path in run.linears:
            for other, effect in run.effects(path).items():
                incoming[other][path] = effect
    except LookupError:  # what one matrix does is not seen, so that nothing is known of the others either
        return BlockRoles()
    claims: dict[str, list[Claim]] = {"self": [], "cross": [], "feed-forward": []}
    for path, effects in incoming.items():
        for kind, claim in _claims(run, path, effects):
            claims[kind].append(claim)
    claimed: Claim = {}
    if len(claims["feed-forward"]) > 1:
        claims["feed-forward"] = _widest(run, claims["feed-forward"])
    for kind in claims:
        if len(claims[kind]) == 1:
            claimed |= claims[kind][0]
    roles = BlockRoles(_complete(run, claimed))
    if "down" in roles.path_of:
        _find_moments(run, roles)
    return roles


def _widest(run: BlockRun, claims: list[Claim]) -> list[Claim]:
    """Returns the claims of the widest feed-forward block: small ones beside it feed embeddings into a layer, and keep their paths."""
    width = lambda claim: int(run.calls[claim["down"][0]].inputs[0].shape[-1])
    return [claim for claim in claims if width(claim) == max(map(width, claims))]


def _complete(run: BlockRun, claimed: Claim) -> dict[str, dict[str, Tensor]]:
    """Returns by matrix the rows of its roles, of those matrices where each row has one."""
    rows: dict[str, dict[str, Tensor]] = {}
    for role, (path, own) in claimed.items():
        rows.setdefault(path, {})[role] = own
    sizes = {path: run.calls[path].outputs[0].shape[-1] for path in rows}
    complete = {
        path: by_role for path, by_role in rows.items() if sorted(torch.cat([*by_role.values()]).tolist()) == list(range(sizes[path]))
    }
    paths = {role: path for path, by_role in complete.items() for role in by_role}
    # Roles of a feed-forward block mean something together only.
    if not {"up", "down"} <= set(paths) or ("gate" in claimed and "gate" not in paths):
        complete = {path: by_role for path, by_role in complete.items() if not {"gate", "up", "down"} & set(by_role)}
    return complete


def _claims(run: BlockRun, path: str, effects: Mapping[str, Effect]) -> Iterator[tuple[str, Claim]]:
    """Yields what a matrix would be, by the effects of others on its input: the last one of an attention, or of a feed-forward block."""
    if any(bool(effect.spread.any()) for effect in effects.values()):
        claim = _attention(run, path, effects)
        if claim:
            source = run.calls[claim["v"][0]].inputs[0] if "v" in claim else None
            read = run.calls[path].inputs[0]
            cross = source is not None and source.shape[-2] != read.shape[-2]
            yield ("cross", {f"cross_{role}": part for role, part in claim.items()}) if cross else ("self", claim)
    elif effects:
        claim = _feed_forward(run, path, effects)
        if claim:
            yield "feed-forward", claim


def _attention(run: BlockRun, path: str, effects: Mapping[str, Effect]) -> Claim:
    """Returns the roles of an attention that ends in this matrix; {} where it is none."""
    found: dict[str, dict[str, Tensor]] = {"q": {}, "k": {}, "v": {}}
    for source, effect in effects.items():
        masks = {"q": effect.local & ~effect.straight, "k": effect.spread & ~effect.straight, "v": effect.spread & effect.straight}
        for role, mask in masks.items():
            if bool(mask.any()):
                found[role][source] = mask.nonzero().flatten()
    if not found["v"]:  # values that are normalised change nothing in proportion
        found["v"] = {
            source: found["k"].pop(source) for source in list(found["k"]) if _is_all_there_is(run, path, source, found["k"][source])
        }
    if not all(found.values()):
        return {}
    (value, rows), *more = found["v"].items()
    if more or not run.vanishes(value, rows, path) or not _is_in_order(effects[value], rows):
        return {}
    single = {role: next(iter(sources.items())) for role, sources in found.items() if len(sources) == 1}
    return single | {"o": (path, torch.arange(run.calls[path].outputs[0].shape[-1]))}


def _is_all_there_is(run: BlockRun, path: str, source: str, rows: Tensor) -> bool:
    """Returns whether these are all rows of a matrix, and the input of the last one is 0 where they are."""
    return len(rows) == run.calls[source].outputs[0].shape[-1] and run.vanishes(source, rows, path)


def _is_in_order(effect: Effect, rows: Tensor) -> bool:
    """Returns whether values reach each entry of the input, all equally often, in its order within their group of heads."""
    units = effect.units[rows]
    first, often = units.int().argmax(1).tolist(), units.sum(0)
    return bool((often == often[0]).all()) and bool(often[0]) and first == sorted(first)


def _feed_forward(run: BlockRun, path: str, effects: Mapping[str, Effect]) -> Claim:
    """Returns the roles of a feed-forward block that ends in this matrix; {} where it is none."""
    bent: dict[str, Tensor] = {}
    straight: dict[str, Tensor] = {}
    for source, effect in effects.items():
        if not torch.equal(effect.single, effect.any):
            return {}
        for mask, into in ((effect.single & ~effect.straight, bent), (effect.single & effect.straight, straight)):
            if bool(mask.any()):
                into[source] = mask.nonzero().flatten()
    size = run.calls[path].inputs[0].shape[-1]
    reached = lambda sources: [effects[source].units[rows].int().argmax(1).tolist() for source, rows in sources.items()]
    if reached(bent) != [list(range(size))] or reached(straight) not in ([], [list(range(size))]):
        return {}
    (source, rows), down = next(iter(bent.items())), (path, torch.arange(run.calls[path].outputs[0].shape[-1]))
    if not straight:
        return {"up": (source, rows), "down": down}
    up = next(iter(straight.items()))
    return {"gate": (source, rows), "up": up, "down": down} if run.vanishes(*up, path) else {}


def _find_moments(run: BlockRun, roles: BlockRoles) -> None:
    """Finds the module of the activation function: its output is `post`, times `up` behind a gate."""
    paths = roles.path_of
    before = "gate" if "gate" in paths else "up"
    read = by_row(run.calls[paths["down"]].inputs[0], 1)
    values = {role: by_row(run.calls[paths[role]].outputs[0], 1) for role in (before, "up")}
    if read is None or any(value is None for value in values.values()):
        return
    roles.post = paths["down"]
    given, up = (values[role][..., roles.rows[paths[role]][role]] for role in (before, "up"))  # type: ignore[index]
    own_calls = len(run.calls[paths["down"]].outputs)
    for path, module in run.modules.items():
        calls = run.calls[path]
        if path in run.linears or len(calls.outputs) != own_calls or (next(module.parameters(), None) is not None and before == "gate"):
            continue
        inside, outside = by_row(calls.inputs[0], 1), by_row(calls.outputs[0], 1)
        if inside is None or outside is None or inside.shape != read.shape or outside.shape != read.shape or not _near(inside, given):
            continue
        if _near(outside * up if before == "gate" else outside, read) and not _near(outside, inside):
            roles.act = (path, "output")
            return
    if before == "up":
        roles.act = (paths["down"], "input")  # without a gate, `down` reads what the activation function returns


def _near(first: Tensor, second: Tensor) -> bool:
    return bool(torch.allclose(first.double(), second.double(), rtol=1e-4, atol=1e-5))
