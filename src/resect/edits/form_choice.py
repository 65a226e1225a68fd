"""Chooses the form of each of several edits, and refuses edits that exclude each other.

Knows that the weight form of an edit at a moment acts after its tap, at `down`, whatever the plan's order; does not know the identities
of models.
"""

from collections.abc import Sequence
from itertools import combinations

from resect.core.errors import Conflict, NotWritable
from resect.models.anatomy import Anatomy

from .base import AppliedForm, Edit, RequestedForm

_HOW_TO_GO_ON = (
    'Edits of units keep the plan\'s order with form="activations"; an edit of a complete matrix can be in a plan of its own, '
    "applied first."
)


def choose_forms(edits: Sequence[Edit], anatomy: Anatomy, form: RequestedForm = "auto") -> tuple[AppliedForm, ...]:
    """Returns the form of each edit. Touches nothing.

    With "auto", a scaling of `act` or `post` that could be written is applied to the activations where another edit of the same units
    must be there: written, it would act after that one, against the plan's order. Raises NotWritable (on all edits that are not
    possible, not on the first alone), Conflict, UnknownName, WrongModel.
    """
    forms: list[AppliedForm] = []
    problems = []
    for number, edit in enumerate(edits):
        try:
            forms.append(edit.choose_form(anatomy, form))
        except NotWritable as error:
            problems.append(str(error) if len(edits) == 1 else f"Edit {number}: {error}")
    if problems:
        raise NotWritable(" ".join(problems))
    if form == "auto":
        hooked = [edit for edit, chosen in zip(edits, forms, strict=True) if chosen == "activations" and not edit.only_scales]
        for number, edit in enumerate(edits):
            if forms[number] == "weights" and edit.only_scales and any(_shared_columns(edit, other, anatomy) for other in hooked):
                forms[number] = edit.choose_form(anatomy, "activations")
    conflicts = [*_folded_twice(edits, forms, anatomy), *_written_after_hooks(edits, forms, anatomy)]
    if conflicts:
        raise Conflict(" ".join([*conflicts, _HOW_TO_GO_ON]))
    return tuple(forms)


def _folded_twice(edits: Sequence[Edit], forms: Sequence[AppliedForm], anatomy: Anatomy) -> list[str]:
    """Returns the conflicts of edits with a constant in a bias: it was computed from its columns, so no other edit may change these."""
    conflicts = []
    folded = [number for number, edit in enumerate(edits) if forms[number] == "weights" and edit.folds_into_bias(anatomy)]
    for first, second in combinations(range(len(edits)), 2):
        shared = _shared_columns(edits[first], edits[second], anatomy) if first in folded or second in folded else ""
        if shared:
            conflicts.append(
                f"The {edits[first].kind} (edit {first}) and the {edits[second].kind} (edit {second}) share {shared}, "
                "and one of them is folded into its bias."
            )
    return conflicts


def _written_after_hooks(edits: Sequence[Edit], forms: Sequence[AppliedForm], anatomy: Anatomy) -> list[str]:
    """Returns the conflicts of edits that change a complete matrix after scalings that are hooks and leave its weights unchanged."""
    conflicts = []
    for second, edit in enumerate(edits):
        for first, earlier in enumerate(edits[:second] if edit.complete_matrices else ()):
            overlaps = set(anatomy.each(edit.sites[0])) & set(earlier.sites) or _shared_columns(earlier, edit, anatomy)
            if overlaps and forms[first] == "activations" and earlier.only_scales:
                conflicts.append(
                    f"The {edit.kind} of {edit.sites[0]} (edit {second}) would not see the {earlier.kind} (edit {first}) that is applied "
                    "to the activations; put it first."
                )
    return conflicts


def _shared_columns(first: Edit, second: Edit, anatomy: Anatomy) -> str:
    """Returns the columns of a `down` that two edits share, in words; empty where they share none."""
    columns, other_columns = first.down_columns(anatomy), second.down_columns(anatomy)
    for site in columns:
        shared = sorted(columns[site] & other_columns.get(site, frozenset()))
        if shared:
            return f"column {shared[0]} of {site}" if len(shared) == 1 else f"{len(shared)} columns of {site}, including {shared[0]}"
    return ""
