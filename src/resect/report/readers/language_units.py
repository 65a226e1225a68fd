"""Which units each language has, from the plans of a run: their numbers, by layer. Knows no page, no terminal."""

from collections.abc import Sequence

from resect.core.address import Neurons
from resect.core.errors import InputError
from resect.runs.run_folder import Run

from .tolerant import cut_of


def units_of(run: Run, languages: Sequence[str] = ()) -> dict[str, Neurons]:
    """The units of each language, from its plan, in the order of `languages`. Raises InputError where one is damaged."""
    found = {}
    for name, plan in run.plans().items():
        try:
            found[name] = cut_of(plan, run.recipe.method).units
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"The plan of {name} is damaged: {error}.") from error
    order = {name: place for place, name in enumerate(languages)}
    return dict(sorted(found.items(), key=lambda each: order.get(each[0], len(order))))
