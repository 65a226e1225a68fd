"""Which rows of a fused weight belong to which role, as a rule that holds at any size: found at one size, applied at another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .families import Rows
from .layout import interleaved_rows

Rule = Literal["complete", "stacked", "alternating", "interleaved"]


@dataclass(frozen=True)
class FusedRows:
    """The roles of one weight, in the order of their first rows, and the rule by which they share it."""

    rule: Rule
    roles: tuple[str, ...]

    def rows(self, sizes: Mapping[str, int], config: Any) -> dict[str, Rows]:
        """Returns the rows of each role.

        sizes : the number of rows of each role
        config : the configuration, with the number of heads for interleaved ones
        """
        if self.rule == "complete":
            return {self.roles[0]: None}
        if self.rule == "stacked":
            rows: dict[str, Rows] = {}
            start = 0
            for role in self.roles:
                rows[role] = slice(start, start + sizes[role])
                start += sizes[role]
            return rows
        if self.rule == "alternating":
            step = len(self.roles)
            return {role: tuple(range(place, step * sizes[role], step)) for place, role in enumerate(self.roles)}
        head_dim = _head_dim(sizes["q"], config)
        return {role: interleaved_rows(role, sizes["q"] // head_dim, sizes["k"] // head_dim, head_dim) for role in "qkv"}


def role_sizes(roles: Sequence[str], total: int, read_by_o: int, read_by_down: int) -> dict[str, int]:
    """Returns how many of the rows of one weight each role has: q as many as `o` reads, gate and up as `down` reads, k and v the rest."""
    sizes = {}
    for role in roles:
        kind = role.removeprefix("cross_")
        if kind == "q" and len(roles) > 1:
            sizes[role] = read_by_o
        elif kind in ("gate", "up"):
            sizes[role] = read_by_down
    rest = [role for role in roles if role not in sizes]
    return sizes | {role: (total - sum(sizes.values())) // len(rest) for role in rest}


def rule_of(rows: Mapping[str, Sequence[int]], total: int, read_by_o: int, read_by_down: int, config: Any) -> FusedRows | None:
    """Returns the rule that gives each role exactly these rows; None where there is none."""
    roles = tuple(sorted(rows, key=lambda role: rows[role][0]))
    sizes = role_sizes(roles, total, read_by_o, read_by_down)
    rules: tuple[Rule, ...] = ("complete",) if len(roles) == 1 else ("stacked", "alternating", "interleaved")
    for rule in rules:
        if rule == "interleaved" and set(roles) != set("qkv"):
            continue
        rendered = FusedRows(rule, roles)
        try:
            own = rendered.rows(sizes, config)
        except (AttributeError, ZeroDivisionError, TypeError):
            continue
        if all(positions(own[role], total) == list(rows[role]) for role in roles):
            return rendered
    return None


def positions(rows: Rows, total: int) -> list[int]:
    """Returns rows as a list of numbers."""
    return list(range(total)[rows]) if isinstance(rows, slice) else list(range(total)) if rows is None else list(rows)


def _head_dim(queries: int, config: Any) -> int:
    return queries // int(config.num_attention_heads)
