"""The matrices that rank reduction looks at. Knows an anatomy, no method."""

from resect.core.address import Site, select
from resect.edits.matrices import ReduceRank
from resect.models.anatomy import Anatomy
from resect.models.language_model import LanguageModel


def feed_forward(anatomy: Anatomy) -> tuple[Site, ...]:
    """LASER's U_in and U_out of every layer: the gate, or `up` where there is none, and `down`."""
    first = "gate" if anatomy.gated else "up"
    return tuple(site for site in anatomy.sites if site.role in (first, "down"))


def reducible(globs: str | tuple[str, ...], model: LanguageModel) -> tuple[Site, ...]:
    """The matrices that globs select, none: `feed_forward`.

    Raises BadAddress for a glob that matches none, NotWritable for a matrix that is absent or shared.
    """
    sites = select(globs, model.anatomy.sites) if globs else feed_forward(model.anatomy)
    for site in sites:
        ReduceRank(site, 0.0).form_for(model)
    return sites
