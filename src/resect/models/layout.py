"""Layout: where the matrices and moments of every block are, by stack, with their shapes.

Resolves a line of the FAMILIES table for one configuration. Knows neither torch nor modules (`anatomy` does).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from resect.core.address import MOMENT_ROLES, Site, Stack, role_order

from .families import Blocks, Family, Field, Kind, Rows

#: The names of a module's parameters: of a matrix, and of its bias.
WEIGHT, BIAS = "weight", "bias"
#: Where in the computation a tap is. "activation": the output of the activation function, computed from a product inside of the module.
When = Literal["input", "output", "activation"]


@dataclass(frozen=True)
class MatrixPart:
    """Where one matrix is in its block, its shape, and how it is stored.

    path : of a module
    shape : [out, in] of this role alone
    rows : of a fused weight, those of this role
    stored : the shape of the complete weight, as it is stored
    transposed : whether it is stored [in, out]
    flat : whether its module sees [batch · tokens, d_model]
    weight, bias : the names of the module's parameters
    in_product : whether the module computes more than this product, so that the product itself is observed, not the module's output
    by_row : whether its values are of one row of tokens each; not of what is the same for all rows, nor of [tokens, rows, units]
    """

    path: str
    shape: tuple[int, int]
    rows: Rows
    stored: tuple[int, ...]
    transposed: bool = False
    flat: bool = False
    weight: str = WEIGHT
    bias: str = BIAS
    in_product: bool = False
    by_row: bool = True


@dataclass(frozen=True)
class MomentPart:
    """Where a moment can be observed: at a module of the block, or at the product with one of its parameters.

    path : of a module
    when : what is observed
    flat : whether it is [batch · tokens, units]
    weight : the parameter whose product's input, output or activation it is; "" where it is the module's own
    """

    path: str
    when: When
    flat: bool = False
    weight: str = ""


@dataclass(frozen=True)
class ExpertsLayout:
    """The experts of one block that a router chooses: all are alike, and each parameter holds one matrix of each, on its first axis.

    number : of experts
    matrices, moments : of each expert by role
    offset : post = act · (up + offset)
    """

    number: int
    matrices: Mapping[str, MatrixPart]
    moments: Mapping[str, MomentPart]
    offset: float = 0.0


@dataclass(frozen=True)
class BlockLayout:
    """One block: its matrices and its moments, and its experts, where it has some.

    matrices, moments : by address in the block (`up`, `shared.up`, `router`), in model order
    """

    matrices: Mapping[str, MatrixPart]
    moments: Mapping[str, MomentPart]
    experts: ExpertsLayout | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The addresses in the block of matrices and moments, in model order; of the experts those of the first one."""
        own = sorted((*self.matrices, *self.moments), key=role_order)
        first = () if self.experts is None else (*self.experts.matrices, *self.experts.moments)
        return (*own, *(f"expert0.{role}" for role in sorted(first, key=role_order)))

    @property
    def paths(self) -> frozenset[str]:
        """The paths of all modules that it names."""
        experts = () if self.experts is None else self.experts.matrices.values()
        matrices = {part.path for part in (*self.matrices.values(), *experts)}
        return frozenset(matrices | {part.path for part in self.moments.values()})

    @property
    def d_ff(self) -> int:
        """The width of its feed-forward block, in a mixture of experts of one expert; 0 without one."""
        parts = [self.matrices.get("down"), None if self.experts is None else self.experts.matrices.get("down")]
        return max((part.shape[1] for part in parts if part is not None), default=0)

    def matrix(self, site: Site) -> MatrixPart | None:
        """Returns the part of a matrix, if the block has it."""
        if not site.is_routed:
            return self.matrices.get(site.in_block)
        return None if self.experts is None or not self._has_expert(site) else self.experts.matrices.get(site.role)

    def moment(self, site: Site) -> MomentPart | None:
        """Returns the part of a moment, if the block has it."""
        if not site.is_routed:
            return self.moments.get(site.in_block)
        return None if self.experts is None or not self._has_expert(site) else self.experts.moments.get(site.role)

    def _has_expert(self, site: Site) -> bool:
        return self.experts is not None and (site.expert or 0) < self.experts.number

    def sites(self, stack: Stack, layer: int) -> Iterator[Site]:
        """Yields the sites of its matrices, in model order."""
        yield from (Site.parse(f"{stack}.{layer}.{name}") for name in self.matrices)
        yield from self._of_experts(stack, layer, lambda experts: experts.matrices)

    def moment_sites(self, stack: Stack, layer: int) -> Iterator[Site]:
        """Yields the sites of its moments, in model order."""
        yield from (Site.parse(f"{stack}.{layer}.{name}") for name in self.moments)
        yield from self._of_experts(stack, layer, lambda experts: experts.moments)

    def _of_experts(self, stack: Stack, layer: int, parts: Callable[[ExpertsLayout], Mapping[str, Any]]) -> Iterator[Site]:
        if self.experts is not None:
            roles = tuple(parts(self.experts))
            yield from (Site(stack, layer, role, expert) for expert in range(self.experts.number) for role in roles)


@dataclass(frozen=True)
class StackLayout:
    """One stack, its paths relative to the backbone.

    path : of its list of blocks; of the first one, where its blocks are in several lists
    blocks : each block
    embeddings : of its embeddings
    d_model, d_ff : its sizes
    block_paths : of its blocks, where they are in several lists
    """

    path: str
    blocks: tuple[BlockLayout, ...]
    embeddings: tuple[str, ...]
    d_model: int
    d_ff: int
    block_paths: tuple[str, ...] = ()

    def block_path(self, layer: int) -> str:
        """Returns the path of a block."""
        return self.block_paths[layer] if self.block_paths else f"{self.path}.{layer}"


@dataclass(frozen=True)
class ModelLayout:
    """The stacks of a model.

    is_listed : whether it is of a line of the FAMILIES table, or was discovered
    covered : the share of the parameters of the blocks' matrices that are at sites; None where it was not counted
    """

    family: str
    kind: Kind
    stacks: Mapping[Stack, StackLayout]
    not_covered: tuple[str, ...] = ()
    is_listed: bool = True
    covered: float | None = None


def layout_of_line(name: str, family: Family, config: Any) -> ModelLayout:
    """Returns the layout of a family's line for this configuration."""
    sizes = family.config(config)
    stacks = {stack: stack_layout(blocks, sizes) for stack, blocks in family.stacks(sizes).items()}
    return ModelLayout(name, family.kind, stacks, family.not_covered)


def stack_layout(blocks: Blocks, config: Any) -> StackLayout:
    """Returns the layout of one stack: all its blocks are alike."""
    down, act = blocks.parts["down"], blocks.parts["act"]
    moments = {"act": MomentPart(act, "output", blocks.flat), "post": MomentPart(down, "input", blocks.flat)}
    block = BlockLayout(matrix_parts(blocks, config), {role: moments[role] for role in MOMENT_ROLES})
    layers, d_model, d_ff = (field_value(field, config) for field in (blocks.layers, blocks.d_model, blocks.d_ff))
    return StackLayout(blocks.path, (block,) * layers, blocks.embeddings, d_model, d_ff)


def field_value(field: Field, config: Any) -> int:
    """Returns the value of a field in this configuration."""
    return int(getattr(config, field) if isinstance(field, str) else field(config))


def matrix_parts(blocks: Blocks, config: Any) -> dict[str, MatrixPart]:
    """Returns the part of each matrix role of a stack, in model order."""
    d_model, d_ff = field_value(blocks.d_model, config), field_value(blocks.d_ff, config)
    heads, kv_heads = field_value(blocks.heads, config), field_value(blocks.kv_heads, config)
    head_dim = field_value(blocks.head_dim, config)
    queries, keys = (heads * head_dim, d_model), (kv_heads * head_dim, d_model)
    shapes = {"q": queries, "k": keys, "v": keys, "o": queries[::-1]}
    shapes |= {f"cross_{role}": shape for role, shape in shapes.items()}
    shapes |= {"gate": (d_ff, d_model), "up": (d_ff, d_model), "down": (d_model, d_ff)}
    parts = {}
    for role in blocks.roles:
        path = blocks.parts[role]
        sharers = [other for other in blocks.parts if other != "act" and blocks.parts[other] == path]
        stored = (sum(shapes[other][0] for other in sharers), shapes[role][1])
        rows: Rows = None
        if len(sharers) > 1 and blocks.fusion == "interleaved" and role in "qkv":
            rows = interleaved_rows(role, heads, kv_heads, head_dim)
        elif len(sharers) > 1:
            start = sum(shapes[other][0] for other in sharers[: sharers.index(role)])
            rows = slice(start, start + shapes[role][0])
        flat = blocks.flat and role in ("gate", "up", "down")
        parts[role] = MatrixPart(path, shapes[role], rows, stored[::-1] if blocks.transposed else stored, blocks.transposed, flat)
    return parts


def interleaved_rows(role: str, heads: int, kv_heads: int, head_dim: int) -> Rows:
    """Returns the rows of q, k or v where each group of heads stores its queries, its key and its value, one after the other.

    With as many key heads as heads this is [heads, 3, head_dim] (GPT-NeoX, BLOOM); with one it is q | k | v.
    """
    per_group = heads // kv_heads
    first, last = {"q": (0, per_group), "k": (per_group, per_group + 1), "v": (per_group + 1, per_group + 2)}[role]
    if kv_heads == 1:
        return slice(first * head_dim, last * head_dim)
    width = (per_group + 2) * head_dim
    return tuple(group * width + row for group in range(kv_heads) for row in range(first * head_dim, last * head_dim))
