"""The matrices that rank reduction looks at if nothing else is said. Knows an anatomy, no method."""

from ..address import Site
from ..anatomy import Anatomy


def feed_forward(anatomy: Anatomy) -> tuple[Site, ...]:
    """LASER's U_in and U_out of every layer: the gate, or `up` where there is none, and `down`."""
    first = "gate" if anatomy.gated else "up"
    return tuple(site for site in anatomy.sites if site.role in (first, "down"))
