"""What globs of matrices take of mixtures of experts: a role of all experts of a layer, or only a part of them. Knows an anatomy."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from resect.core.address import ALL_EXPERTS, Site, expand, select

from .anatomy import Anatomy


def joined_experts(globs: str | Iterable[str | Site], anatomy: Anatomy) -> tuple[Site, ...]:
    """Returns the matrices that globs take, in model order.

    Those of one role of all experts of a layer, taken by one glob, are one: `decoder.3.experts.up`. Raises BadAddress for a glob that takes
    none.
    """
    known = sorted((*anatomy.sites, *anatomy.joint_sites), key=lambda site: site.model_order)
    chosen: set[Site] = set()
    for glob in (globs,) if isinstance(globs, str) else tuple(globs):
        taken, named = set(select((glob,), known)), expand(str(glob))
        joint = {site for site in map(_joint, filter(_is_one_expert, taken)) if set(anatomy.each(site)) <= taken}
        joint |= {site for site in taken if site.is_joint and str(site) in named}
        single = {site for site in taken if not site.is_joint and not (_is_one_expert(site) and _joint(site) in joint)}
        chosen |= single | joint
    return tuple(site for site in known if site in chosen)


def incomplete_experts(sites: Sequence[Site], anatomy: Anatomy) -> str:
    """Returns a sentence on the layers of whose experts only some are among these sites, and how many; "" where there is no such layer."""
    taken: dict[Site, int] = {}
    for site in filter(_is_one_expert, sites):
        taken[_joint(site)] = taken.get(_joint(site), 0) + 1
    numbers = {joint: len(anatomy.each(joint)) for joint in taken}
    parts = [f"{number} of the {numbers[joint]} of {joint}" for joint, number in taken.items() if number < numbers[joint]]
    if not parts:
        return ""
    more = f", and {len(parts) - 3} more" if len(parts) > 3 else ""
    return f"Only some experts' matrices are taken: {', '.join(parts[:3])}{more}."


def _is_one_expert(site: Site) -> bool:
    return site.is_routed and not site.is_joint


def _joint(site: Site) -> Site:
    return replace(site, expert=ALL_EXPERTS)
