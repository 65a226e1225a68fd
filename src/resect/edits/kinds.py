"""Edits: what can be done to a model, as values.

One file a kind of thing that is edited; a new edit is a class and a line here.
"""

from collections.abc import Mapping
from typing import Any

from resect.core.errors import BadPlan, UnknownName

from .base import Edit
from .matrices import PruneWeights, ReduceRank
from .neurons import Clamp, Scale, Shift

#: The `kind` of an edit's JSON to its class.
KINDS: Mapping[str, type[Edit]] = {edit.kind: edit for edit in (Scale, Clamp, Shift, ReduceRank, PruneWeights)}


def from_json(value: Any) -> Edit:
    """The edit that `Edit.to_json` wrote.

    Raises BadPlan, and what the edit itself raises for settings it cannot have.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise BadPlan(f"An edit is an object with a kind ({', '.join(KINDS)}), not {value!r:.80}.")
    kind = value["kind"]
    if kind not in KINDS:
        raise BadPlan(str(UnknownName("kind of edit", kind, KINDS)))
    return KINDS[kind].from_fields({name: entry for name, entry in value.items() if name != "kind"})
