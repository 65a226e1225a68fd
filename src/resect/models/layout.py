"""Layout: where the matrices and moments of every block are, by stack, with their shapes.

Resolves a line of the FAMILIES table for one configuration. Knows neither torch nor modules (`anatomy` does).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from resect.core.address import MOMENT_ROLES, Stack, role_order

from .families import Blocks, Family, Field, Kind, Rows


@dataclass(frozen=True)
class MatrixPart:
    """Path in its block, shape and storage of one matrix. `flat`: its module sees [batch · tokens, d_model]."""

    path: str
    shape: tuple[int, int]  # [out, in] of this role alone
    rows: Rows
    stored: tuple[int, int]  # shape of the complete weight, as it is stored
    transposed: bool = False
    flat: bool = False


@dataclass(frozen=True)
class MomentPart:
    """Where a moment can be observed: the path of a module in its block, and whether at its input or its output."""

    path: str
    when: Literal["input", "output"]
    flat: bool = False


@dataclass(frozen=True)
class BlockLayout:
    """One block: its matrices and its moments by role, in model order."""

    matrices: Mapping[str, MatrixPart]
    moments: Mapping[str, MomentPart]

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of matrices and moments, in model order."""
        return tuple(sorted((*self.matrices, *self.moments), key=role_order))

    @property
    def paths(self) -> frozenset[str]:
        """The paths of all modules that it names."""
        return frozenset(part.path for part in self.matrices.values()) | {part.path for part in self.moments.values()}


@dataclass(frozen=True)
class StackLayout:
    """One stack: the path of its list of blocks and of its embeddings, relative to the backbone, and each block."""

    path: str
    blocks: tuple[BlockLayout, ...]
    embeddings: tuple[str, ...]
    d_model: int
    d_ff: int


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
