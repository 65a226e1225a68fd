"""Addresses in a model: one matrix or moment (`Site`), and units by site (`Neurons`).

Knows names only; which sites a model has is known to `models.anatomy`.
"""

import fnmatch
import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from .errors import BadAddress, UnknownName

Stack = Literal["encoder", "decoder"]
STACKS: tuple[Stack, ...] = ("encoder", "decoder")
#: Roles that are weight matrices, in the order in which a block computes them, and last the router of a mixture of experts.
MATRIX_ROLES = ("q", "k", "v", "o", "cross_q", "cross_k", "cross_v", "cross_o", "gate", "up", "down", "router")
#: Roles that are moments of the computation: `act`, the activation function's output, and `post`, what `down` reads.
MOMENT_ROLES = ("act", "post")
ROLES = MATRIX_ROLES + MOMENT_ROLES
#: The number of the expert that every token reaches, beside those that a router chooses; printed `shared`.
SHARED_EXPERT = -1
#: The number that stands for all experts that a router chooses, where an edit is of the matrices of one role of all; printed `experts`.
ALL_EXPERTS = -2

Value = TypeVar("Value")


def role_order(role: str) -> tuple[int, str]:
    """The sort key of roles: those of `ROLES` in their order, then paths of modules by name."""
    return (ROLES.index(role), "") if role in ROLES else (len(ROLES), role)


def expert_order(expert: int | None) -> int:
    """The sort key of experts: what belongs to none first, then all together, the shared expert, and the others by number."""
    return ALL_EXPERTS - 1 if expert is None else expert


def expert_name(expert: int) -> str:
    """Returns how an expert is named in an address: `expert7`, `shared`, or `experts` for all that a router chooses."""
    return {SHARED_EXPERT: "shared", ALL_EXPERTS: "experts"}.get(expert, f"expert{expert}")


def path_role(path: str) -> str:
    """Returns the role of a matrix that has none of `ROLES`: the path of its module in its block.

    A path without a dot, or one that begins with the name of a role, is written after `block.`, so that it is read as nothing else.

    >>> path_role("mixer.in_proj"), path_role("fc1")
    ('mixer.in_proj', 'block.fc1')
    """
    return path if re.fullmatch(_MODULE_PATH, path) else f"block.{path}"


#: The path of a module in its block, as the role of a matrix without one of `ROLES`: it has a dot, and begins with no name of `ROLES`.
_MODULE_PATH = rf"(?!(?:{'|'.join(ROLES)}|expert\d+|experts|shared)\.)[A-Za-z_]\w*(?:\.\w+)+"
_EXPERT = r"(?:\.(?:expert(?P<expert>\d+)|(?P<several>shared|experts)))?"
_ADDRESS = re.compile(rf"(?P<stack>[a-z]+)\.(?P<layer>\d+){_EXPERT}\.(?:(?P<role>[a-z_]+)|(?P<path>{_MODULE_PATH}))")
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, order=True)
class Site:
    """One weight matrix, or one moment, of one layer.

    Printed `decoder.3.up`; in a mixture of experts `decoder.3.expert7.up`, and `decoder.3.shared.up` of the expert that every token reaches
    (its number is `SHARED_EXPERT`), and `decoder.3.experts.up` of all that a router chooses (`ALL_EXPERTS`), for edits of matrices. Layers,
    and experts of a layer, count from 0. The role is one of `ROLES`, or (see `path_role`) the path of a module in its block:
    `decoder.3.mixer.in_proj`.

    >>> Site.parse("decoder.3.up")
    Site('decoder.3.up')
    """

    stack: Stack
    layer: int
    role: str
    expert: int | None = None

    @classmethod
    @functools.cache
    def parse(cls, text: str) -> "Site":
        """Returns the site that `text` names. Raises BadAddress, or UnknownName for a stack or role that does not exist."""
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise BadAddress(f"{text!r} is no site; a site looks like 'decoder.3.up', 'decoder.3.expert7.up' or 'decoder.3.shared.up'.")
        stack, role = match["stack"], match["path"] or match["role"]
        if stack not in STACKS:
            raise UnknownName("stack", stack, STACKS, f"(in the address {text!r})")
        if match["path"] is None and role not in ROLES:
            raise UnknownName("role", role, ROLES, f"(in the address {text!r})")
        named = {None: None, "shared": SHARED_EXPERT, "experts": ALL_EXPERTS}[match["several"]]
        expert = named if match["expert"] is None else int(match["expert"])
        return cls("encoder" if stack == "encoder" else "decoder", int(match["layer"]), role, expert)

    @classmethod
    def of(cls, site: "Site | str") -> "Site":
        """Returns a site, given as itself or as its text."""
        return site if isinstance(site, Site) else cls.parse(site)

    @property
    def is_moment(self) -> bool:
        """Whether this is a moment of the computation, not a matrix."""
        return self.role in MOMENT_ROLES

    def at(self, role: str) -> "Site":
        """Returns the site of another role in the same layer, and of the same expert."""
        return Site(self.stack, self.layer, role, self.expert)

    @property
    def model_order(self) -> tuple[int, int, int, tuple[int, str]]:
        """The sort key of sites: stack, layer, expert, role, in the order in which a model computes them."""
        return STACKS.index(self.stack), self.layer, expert_order(self.expert), role_order(self.role)

    @property
    def is_routed(self) -> bool:
        """Whether this belongs to an expert that a router chooses, so that only some tokens reach it, or to all of these."""
        return self.expert is not None and self.expert != SHARED_EXPERT

    @property
    def routed_expert(self) -> int | None:
        """The number of the one expert that a router chooses; None for what belongs to no such expert, or to all of them together."""
        return self.expert if self.is_routed and not self.is_joint else None

    @property
    def is_joint(self) -> bool:
        """Whether this stands for the matrices of one role of all experts that a router chooses."""
        return self.expert == ALL_EXPERTS

    def __str__(self) -> str:
        return f"{self.stack}.{self.layer}.{self.in_block}"

    @property
    def in_block(self) -> str:
        """The address within its block: `up`, `expert7.up`, `shared.up`."""
        return self.role if self.expert is None else f"{expert_name(self.expert)}.{self.role}"

    def __repr__(self) -> str:
        return f"Site({str(self)!r})"


def expand(glob: str) -> tuple[str, ...]:
    """Returns the plain fnmatch patterns that a glob with braces stands for: `{a,b}` either, `{m-n}` inclusive.

    >>> expand("decoder.{2-3}.{gate,up}")
    ('decoder.2.gate', 'decoder.2.up', 'decoder.3.gate', 'decoder.3.up')
    """
    parts = _BRACES.split(glob)
    options: list[list[str]] = []
    for position, part in enumerate(parts):
        if position % 2 == 0:
            options.append([part])
            continue
        alternatives: list[str] = []
        for piece in part.split(","):
            bounds = re.fullmatch(r"(\d+)-(\d+)", piece.strip())
            if bounds:
                alternatives.extend(str(number) for number in range(int(bounds[1]), int(bounds[2]) + 1))
            else:
                alternatives.append(piece.strip())
        options.append(alternatives)
    patterns = tuple("".join(choice) for choice in itertools.product(*options))
    if not patterns or any(c in pattern for pattern in patterns for c in "{}"):
        raise BadAddress(f"The glob {glob!r} has braces that do not pair up, or a range that runs backwards.")
    return patterns


def select(globs: str | Iterable["str | Site"], sites: Iterable[Site]) -> tuple[Site, ...]:
    """Returns those of `sites` that at least one glob matches, or that are named, in the order of `sites`.

    A glob is matched against the complete address; case counts, and `*` crosses dots. Raises BadAddress for a glob that matches nothing.
    """
    known = tuple(sites)
    chosen: set[Site] = set()
    for glob in (globs,) if isinstance(globs, str) else tuple(globs):
        patterns = [re.compile(fnmatch.translate(pattern)) for pattern in expand(str(glob))]
        matching = [site for site in known if any(pattern.fullmatch(str(site)) for pattern in patterns)]
        if not matching:
            roles = dict.fromkeys(f"{site.stack}.*.{site.role}" for site in known)
            last = {site.stack: site.layer for site in known}
            layers = "; ".join(f"the layers of its {stack} are 0 to {layer}" for stack, layer in last.items())
            raise BadAddress(f"The glob {str(glob)!r} matches no site of this model. It has: {', '.join(roles) or 'none'}; {layers}.")
        chosen.update(matching)
    return tuple(site for site in known if site in chosen)


class SiteMapping(Mapping[Site, Value]):
    """A mapping of Site to values in a fixed order. A key may be given as its text."""

    __slots__ = ("_by_site",)

    def __init__(self, by_site: dict[Site, Value]) -> None:
        self._by_site = by_site

    def __getitem__(self, site: Site | str) -> Value:
        return self._by_site[Site.of(site)]

    def __iter__(self) -> Iterator[Site]:
        return iter(self._by_site)

    def __len__(self) -> int:
        return len(self._by_site)

    def __contains__(self, site: object) -> bool:
        return isinstance(site, Site | str) and Site.of(site) in self._by_site


class Neurons(SiteMapping[tuple[int, ...]]):
    """Units by site: a frozen mapping of Site to sorted indices (from 0), without repeats and without empty sites.

    Sites are in model order: stack, layer, role. `len` counts sites, `count` units.

    >>> a = Neurons({"decoder.3.up": [17, 5]})
    >>> a["decoder.3.up"], a.count
    ((5, 17), 2)
    >>> a - Neurons({"decoder.3.up": [5]})
    Neurons({'decoder.3.up': [17]})
    """

    __slots__ = ()

    def __init__(self, units: Mapping[Site | str, Iterable[int]] | Mapping[str, Iterable[int]] | None = None) -> None:
        gathered: dict[Site, set[int]] = {}
        for address, indices in (units or {}).items():
            gathered.setdefault(Site.of(address), set()).update(_index(address, index) for index in indices)
        sites = sorted(gathered, key=lambda site: site.model_order)
        super().__init__({site: tuple(sorted(gathered[site])) for site in sites if gathered[site]})

    def __hash__(self) -> int:
        return hash(tuple(self._by_site.items()))

    def __eq__(self, other: object) -> bool:
        return self._by_site == other._by_site if isinstance(other, Neurons) else NotImplemented

    def __repr__(self) -> str:
        return f"Neurons({self.to_json()})"

    @property
    def count(self) -> int:
        """The number of units, over all sites."""
        return sum(map(len, self._by_site.values()))

    def __or__(self, other: "Neurons") -> "Neurons":
        return self._combined(other, set.union)

    def __and__(self, other: "Neurons") -> "Neurons":
        return self._combined(other, set.intersection)

    def __sub__(self, other: "Neurons") -> "Neurons":
        return self._combined(other, set.difference)

    def _combined(self, other: "Neurons", combine: Any) -> "Neurons":
        sites = dict.fromkeys((*self, *other))
        return Neurons({site: combine(set(self.get(site, ())), set(other.get(site, ()))) for site in sites})

    def to_json(self) -> dict[str, list[int]]:
        """Returns a JSON object: address to list of indices."""
        return {str(site): list(indices) for site, indices in self._by_site.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Iterable[int]]) -> "Neurons":
        """Returns the neurons of a JSON object as `to_json` writes it. Raises BadAddress."""
        if not isinstance(value, Mapping):
            raise BadAddress(f"Neurons are a JSON object of address to indices, not {type(value).__name__}.")
        return cls(value)


def _index(address: object, index: object) -> int:
    try:
        number = index.__index__()  # type: ignore[attr-defined]
    except AttributeError:
        raise BadAddress(f"A unit of {address} is an integer from 0 on, not {index!r}.") from None
    if isinstance(index, bool) or number < 0:
        raise BadAddress(f"A unit of {address} is an integer from 0 on, not {index!r}.")
    return int(number)
