"""Mixtures of experts in a block: which matrices each expert has, proved by the products of a tiny model, and the router that chooses.

Of each expert of one tiny model the values at all products are known: a matrix is `up` because post = act · up, and `gate` because the
activation function is computed from the rest of the same product. The router is the matrix of which a large output of unit e sends every
token to expert e. Knows no name of any module.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from resect.core.errors import NotYet

from .families import Rows
from .fused_rows import FusedRows
from .layout import BIAS, ExpertsLayout, MatrixPart, MomentPart, When
from .product_hooks import register_product_hook
from .product_rows import Product
from .tiny_model import TOKENS, TinyModel

#: What is added to one unit of a router's output: more than any other can have.
_CERTAIN = 50.0
#: The share of values that no limit of an expert changes, in a tiny model.
_MOSTLY = 0.6
_RULES: tuple[FusedRows, ...] = tuple(
    FusedRows(rule, roles) for rule in ("stacked", "alternating") for roles in (("gate", "up"), ("up", "gate"))
)


@dataclass(frozen=True)
class ExpertWeight:
    """One parameter of a mixture of experts: its bias ("" for none), whether matrices are stored [in, out], and the roles of its rows."""

    weight: str
    bias: str
    transposed: bool
    fused: FusedRows


@dataclass(frozen=True)
class Router:
    """The router: the path of its module in the block, and whether the module computes more than its product."""

    path: str
    in_product: bool


@dataclass(frozen=True)
class FoundExperts:
    """The experts of a block.

    path : of the module with their parameters, in the block
    act : whether the activation function's output can be observed
    offset : post = act · (up + offset)
    """

    path: str
    weights: tuple[ExpertWeight, ...]
    act: bool
    offset: float
    router: Router | None = None


@dataclass
class _Seen:
    """The values of one expert: by parameter and place, [tokens that reach it, units]."""

    values: dict[tuple[str, When], Tensor] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)


def find_experts(tiny: TinyModel, block: nn.Module) -> FoundExperts | None:
    """Returns the experts of a block of a tiny model, None where there are none, or where nothing is proved of them."""
    for path, module in block.named_modules():
        stacked = [name for name, own in module._parameters.items() if own is not None and own.dim() == 3]
        if len(stacked) < 2:
            continue
        expert, seen = _most_used(tiny, module, stacked)
        if seen is None:
            continue
        found = _found(path, module, expert, seen)
        if found is not None:
            return replace(found, router=_find_router(tiny, block, path, module, found.weights[0].weight))
    return None


def experts_layout(found: FoundExperts, block: nn.Module) -> ExpertsLayout:
    """Returns where the matrices and moments of the experts are in a block of any size."""
    module = block.get_submodule(found.path)
    down = next(each for each in found.weights if "down" in each.fused.roles)
    matrices: dict[str, MatrixPart] = {}
    for each in found.weights:
        fused, inside = _shape(module, each)
        out, stored = fused // len(each.fused.roles), tuple(module.get_parameter(each.weight).shape)
        for role, rows in each.fused.rows(dict.fromkeys(each.fused.roles, out), None).items():
            matrices[role] = MatrixPart(
                found.path, (out, inside), rows, stored, each.transposed, True, each.weight, each.bias or BIAS, True
            )
    post = MomentPart(found.path, "input", True, down.weight)
    act = MomentPart(found.path, "activation", True, matrices["gate"].weight) if "gate" in matrices else post
    moments = {"act": act, "post": post} if found.act else {"post": post}
    order = [role for role in ("gate", "up", "down") if role in matrices]
    return ExpertsLayout(len(module.get_parameter(down.weight)), {role: matrices[role] for role in order}, moments, found.offset)


def router_part(router: Router, block: nn.Module) -> MatrixPart:
    """Returns where the router's matrix is in a block of any size."""
    shape = tuple(block.get_parameter(f"{router.path}.weight").shape)
    return MatrixPart(router.path, (shape[0], shape[1]), None, shape, flat=True, in_product=router.in_product)


def expert_parameters(found: FoundExperts) -> frozenset[str]:
    """Returns the names, in the block, of all parameters of the experts and of the router."""
    names = {f"{found.path}.{name}" for each in found.weights for name in (each.weight, each.bias) if name}
    return frozenset(names | ({f"{found.router.path}.weight"} if found.router else set()))


def _shape(module: nn.Module, weight: ExpertWeight) -> tuple[int, int]:
    first, second = module.get_parameter(weight.weight).shape[1:]
    return (second, first) if weight.transposed else (first, second)


# -- what a tiny model shows -------------------------------------------------------------------------------------------


def _most_used(tiny: TinyModel, module: nn.Module, weights: list[str]) -> tuple[int, _Seen | None]:
    """Returns the expert that most tokens reach, and its values in one run; None where not all its products are seen."""
    seen: dict[int, _Seen] = {}
    number = min(len(module.get_parameter(weight)) for weight in weights)  # some have rows for experts that compute nothing

    def see(weight: str, when: When) -> Callable[[Product], None]:
        def hook(product: Product) -> None:
            for expert in range(number):
                values = product.of(expert)
                if values is not None:
                    own = seen.setdefault(expert, _Seen())
                    own.values[weight, when] = values.detach().clone()
                    if when == "input":
                        own.order.append(weight)

        return hook

    hooks = ((module, weight, when, see(weight, when)) for weight in weights for when in ("input", "output", "activation"))
    try:
        with _hooked(hooks):
            tiny.run()
    except NotYet:  # its parameters are in no product
        return 0, None
    complete = {
        expert: own
        for expert, own in seen.items()
        if all((weight, when) in own.values for weight in weights for when in ("input", "output"))
    }
    if not complete:
        return 0, None
    expert = max(complete, key=lambda number: len(complete[number].values[weights[0], "input"]))
    return expert, complete[expert]


@contextlib.contextmanager
def _hooked(hooks: Any) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for module, weight, when, hook in hooks:
            stack.callback(register_product_hook(module, weight, when, hook).remove)
        yield


def _found(path: str, module: nn.Module, expert: int, seen: _Seen) -> FoundExperts | None:
    """Returns the roles of an expert's matrices, where they are proved."""
    stored = {weight: _storage(module, weight, expert, seen) for weight in seen.order}
    if any(storage is None for storage in stored.values()):
        return None
    *first, last = dict.fromkeys(seen.order)
    post, act = seen.values[last, "input"], seen.values.get((first[0], "activation")) if first else None
    fused, offset = _roles(first, {weight: seen.values[weight, "output"] for weight in first}, act, post)
    if not fused:
        return None
    fused[last] = FusedRows("complete", ("down",))
    weights = tuple(ExpertWeight(weight, *storage, fused[weight]) for weight, storage in stored.items() if storage is not None)
    is_gated = any("gate" in rule.roles for rule in fused.values())
    return FoundExperts(path, weights, act is not None or not is_gated, offset)


def _roles(first: list[str], outputs: Mapping[str, Tensor], act: Tensor | None, post: Tensor) -> tuple[dict[str, FusedRows], float]:
    """Returns by parameter the rule of its rows, and the offset of `up`; {} where nothing is proved."""
    d_ff = post.shape[-1]
    whole = lambda role: FusedRows("complete", (role,))
    if len(first) == 1 and outputs[first[0]].shape[-1] == d_ff:
        return ({first[0]: whole("up")}, 0.0) if act is None or _near(act, post) else ({}, 0.0)
    if act is None or act.shape != post.shape:
        return {}, 0.0
    if len(first) == 1 and outputs[first[0]].shape[-1] == 2 * d_ff:
        for rule in _RULES:
            rows = rule.rows({"gate": d_ff, "up": d_ff}, None)
            offset = _offset(post, act, outputs[first[0]][..., _positions(rows["up"])])
            if offset is not None:
                return {first[0]: rule}, offset
    if len(first) == 2:
        for gate, up in (first, first[::-1]):
            offset = _offset(post, act, outputs[up]) if outputs[up].shape == post.shape else None
            if offset is not None:
                return {gate: whole("gate"), up: whole("up")}, offset
    return {}, 0.0


def _positions(rows: Rows) -> Any:
    return list(rows) if isinstance(rows, tuple) else rows


def _offset(post: Tensor, act: Tensor, up: Tensor) -> float | None:
    """Returns the number for which post = act · (up + number), 0 or 1; None where there is none."""
    return next((offset for offset in (0.0, 1.0) if is_gated(post, act, up, offset)), None)


def is_gated(post: Tensor, act: Tensor, up: Tensor, offset: float) -> bool:
    """Returns whether post = act · (up + offset), save where `up` is larger than anywhere else: there some experts limit it."""
    near = torch.isclose(post.double(), (act * (up + offset)).double(), rtol=1e-3, atol=1e-4)
    if bool(near.all()):
        return True
    size = up.abs()
    return bool(near.float().mean() > _MOSTLY) and bool(size[~near].min() >= size[near].max())


def _storage(module: nn.Module, weight: str, expert: int, seen: _Seen) -> tuple[str, bool] | None:
    """Returns the name of the bias, and whether a matrix is stored [in, out]; None where the output is no product with it."""
    matrix = module.get_parameter(weight)[expert]
    given, output = (seen.values[weight, when] for when in ("input", "output"))
    bias = f"{weight}_bias" if module._parameters.get(f"{weight}_bias") is not None else ""
    added = module.get_parameter(bias)[expert] if bias else 0.0
    for transposed, factor in ((False, matrix.T), (True, matrix)):
        if factor.shape == (given.shape[-1], output.shape[-1]) and _near(output, given @ factor + added):
            return bias, transposed
    return None


def _near(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(torch.allclose(first.double(), second.double(), rtol=1e-3, atol=1e-4))


# -- the router --------------------------------------------------------------------------------------------------------


def _find_router(tiny: TinyModel, block: nn.Module, experts: str, module: nn.Module, weight: str) -> Router | None:
    """Returns the one matrix whose unit e, where it is large, sends every token to expert e; None where there is none, or several."""
    number = len(module.get_parameter(weight))
    found = []
    for path, other in block.named_modules():
        own = other._parameters.get("weight")
        if own is None or own.dim() != 2 or len(own) != number or path == experts or isinstance(other, nn.Embedding):
            continue
        with contextlib.suppress(RuntimeError):
            if all(_sends(tiny, other, module, weight, expert) for expert in (0, number - 1)):
                found.append(path)
    if len(found) != 1:
        return None
    is_plain = isinstance(block.get_submodule(found[0]), nn.Linear) and type(block.get_submodule(found[0])).forward is nn.Linear.forward
    return Router(found[0], not is_plain)


def _sends(tiny: TinyModel, router: nn.Module, module: nn.Module, weight: str, expert: int) -> bool:
    """Returns whether all tokens reach an expert where its unit of the router's output is large."""
    reached: list[int] = []

    def raise_unit(product: Product) -> Tensor:
        values = product.values.clone()
        values[..., expert] += _CERTAIN
        return values

    def count(product: Product) -> None:
        values = product.of(expert)
        if values is not None:
            reached.append(len(values))

    with _hooked([(router, "weight", "output", raise_unit), (module, weight, "input", count)]):
        tiny.run()
    return bool(reached) and max(reached) >= TOKENS
