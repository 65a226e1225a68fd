"""Several edits one after the other: which form each takes, and which cannot stand together.

Knows that a weight form of a moment acts behind its tap, at `down`, whatever the plan's order says; nothing of models'
identities.
"""

from collections.abc import Sequence
from itertools import combinations

from resect.core.errors import Conflict, NotWritable
from resect.models.anatomy import Anatomy

from .base import AppliedForm, Edit, RequestedForm

_HOW_TO_GO_ON = (
    'Edits of units keep the plan\'s order with form="activations"; an edit of a whole matrix can stand in a plan of its own, '
    "applied first."
)


def arrange(edits: Sequence[Edit], anatomy: Anatomy, form: RequestedForm = "auto") -> tuple[AppliedForm, ...]:
    """The form that each edit takes. Touches nothing.

    With "auto", a scaling of `act` or `post` that could be written goes to the activations where another edit of the
    same units must be there: it would act behind that one, and not in the plan's order. Raises NotWritable (of all
    edits that cannot be done, not of the first alone), Conflict, UnknownName, WrongModel.
    """
    taken: list[AppliedForm] = []
    found = []
    for number, edit in enumerate(edits):
        try:
            taken.append(edit.form_for(anatomy, form))
        except NotWritable as error:
            found.append(str(error) if len(edits) == 1 else f"Edit {number}: {error}")
    if found:
        raise NotWritable(" ".join(found))
    if form == "auto":
        hung = [edit for edit, each in zip(edits, taken, strict=True) if each == "activations" and not edit.only_scales]
        for number, edit in enumerate(edits):
            if taken[number] == "weights" and edit.only_scales and any(_shared(edit, other, anatomy) for other in hung):
                taken[number] = edit.form_for(anatomy, "activations")
    found = [*_folded_twice(edits, taken, anatomy), *_written_over_hooks(edits, taken, anatomy)]
    if found:
        raise Conflict(" ".join([*found, _HOW_TO_GO_ON]))
    return tuple(taken)


def _folded_twice(edits: Sequence[Edit], taken: Sequence[AppliedForm], anatomy: Anatomy) -> list[str]:
    """A constant in a bias was made from its columns as they were: no other edit may be about these columns."""
    found = []
    folded = [number for number, edit in enumerate(edits) if taken[number] == "weights" and edit.folds(anatomy)]
    for first, second in combinations(range(len(edits)), 2):
        shared = _shared(edits[first], edits[second], anatomy) if first in folded or second in folded else ""
        if shared:
            found.append(
                f"The {edits[first].kind} (edit {first}) and the {edits[second].kind} (edit {second}) share {shared}, "
                "and one of them is folded into its bias."
            )
    return found


def _written_over_hooks(edits: Sequence[Edit], taken: Sequence[AppliedForm], anatomy: Anatomy) -> list[str]:
    """A matrix that is changed as a whole is to see what earlier scalings left, and hooks leave weights alone."""
    found = []
    for second, edit in enumerate(edits):
        if edit.changes(anatomy) is not None:
            continue
        for first, earlier in enumerate(edits[:second]):
            over = edit.sites[0] in earlier.sites or _shared(earlier, edit, anatomy)
            if over and taken[first] == "activations" and earlier.only_scales:
                found.append(
                    f"The {edit.kind} of {edit.sites[0]} (edit {second}) would not see the {earlier.kind} (edit "
                    f"{first}) "
                    "that is on the activations; put it first."
                )
    return found


def _shared(first: Edit, second: Edit, anatomy: Anatomy) -> str:
    """The columns of a `down` that two edits share, in words; empty where they share none."""
    ours, theirs = first.columns(anatomy), second.columns(anatomy)
    for site in ours:
        both = sorted(ours[site] & theirs.get(site, frozenset()))
        if both:
            return f"column {both[0]} of {site}" if len(both) == 1 else f"{len(both)} columns of {site}, {both[0]} among them"
    return ""
