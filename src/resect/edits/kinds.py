"""The kinds of edits, by the `kind` of their JSON. A new edit is a class, and an entry here."""

from collections.abc import Mapping
from typing import Any

from resect.core.errors import BadPlan, UnknownName

from .base import Edit
from .matrices import PruneWeights, ReduceRank
from .neurons import Clamp, Scale, Shift

#: The class of each kind.
KINDS: Mapping[str, type[Edit]] = {edit.kind: edit for edit in (Scale, Clamp, Shift, ReduceRank, PruneWeights)}


def from_json(value: Any) -> Edit:
    """Returns the edit that `Edit.to_json` wrote. Raises BadPlan, and what the edit raises for impossible settings."""
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise BadPlan(f"An edit is an object with a kind ({', '.join(KINDS)}), not {value!r:.80}.")
    kind = value["kind"]
    if kind not in KINDS:
        raise BadPlan(str(UnknownName("kind of edit", kind, KINDS)))
    return KINDS[kind].from_fields({name: entry for name, entry in value.items() if name != "kind"})
