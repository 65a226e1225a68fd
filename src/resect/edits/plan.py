"""Plan: edits in an order, with the identity of the model that they were made for. A value, without model or tensors.

Knows edits as edits, never what they do. How a plan came about, and what it is good for, is not in it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Self

from resect.core.address import Site
from resect.core.errors import BadPlan, InputError, UnknownName
from resect.core.execution import Item, Result
from resect.core.files import read_json, write_json
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import ModelIdentity, anatomy_of

from . import kinds as edit_kinds
from .base import AppliedForm, Edit, RequestedForm
from .ordering import arrange
from .undo import Undo, unedited

#: The version of plan.json that is written; this and lower ones are read.
SCHEMA = 1


@dataclass(frozen=True)
class Plan:
    """What is to be cut: edits that are applied in their order, each on what the earlier ones left.

    Parameters
    ----------
    edits : Edits; none of them is the plan that leaves a model as it is
    model : the identity of the model that they were made for; None: the plan fits wherever its sites and units exist

    `model` is of the unedited model, also where it is asked for, or checked, inside another plan's `applied`.
    """

    edits: tuple[Edit, ...] = ()
    model: ModelIdentity | None = None

    def __init__(self, edits: Iterable[Edit] = (), model: ModelIdentity | None = None) -> None:
        if not isinstance(edits, Iterable):
            raise InputError(f"A plan is made of a sequence of edits, even of one: Plan((edit,)), not Plan({edits!r:.80}).")
        held = tuple(edits)
        for edit in held:
            if not isinstance(edit, Edit):
                raise InputError(f"A plan is made of edits ({', '.join(edit_kinds.KINDS)}), not of {edit!r:.80}.")
        object.__setattr__(self, "edits", held)
        object.__setattr__(self, "model", model)

    def __repr__(self) -> str:
        kinds = ", ".join(edit.kind for edit in self.edits) or "nothing"
        fits = "any model with its sites" if self.model is None else self.model.name or self.model.family
        return f"Plan({kinds}; {len(self.sites)} sites; for {fits})"

    def __add__(self, other: "Plan") -> "Plan":
        """The edits of both, the other's last. Raises WrongModel where they were made for two models."""
        if not isinstance(other, Plan):
            return NotImplemented
        both = self.model | other.model if self.model and other.model else self.model or other.model
        return Plan(self.edits + other.edits, both)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that it names, each once, in order of appearance."""
        return tuple(dict.fromkeys(site for edit in self.edits for site in edit.sites))

    @property
    def is_empty(self) -> bool:
        """Whether it names no unit and no matrix."""
        return all(edit.is_empty for edit in self.edits)

    # -- on a model ----------------------------------------------------------------------------------------------------

    def for_model(self, model: Any) -> Self:
        """The same plan, with the identity of `model` (LanguageModel or Hugging Face model). Raises UnknownName."""
        return replace(self, model=ModelIdentity.of(model, self.sites, unedited))

    @contextmanager
    def applied(self, model: Any, form: RequestedForm = "auto", allow_other_model: bool = False) -> Iterator[tuple[AppliedForm, ...]]:
        """Apply it inside a `with` block, and yield the form that each edit took. Leaving, by whatever way, undoes it
        exactly.

        Parameters
        ----------
        model : LanguageModel or Hugging Face model; it stays itself, and is changed in place
        form : "weights", "activations", or "auto": weights where that can be, activations elsewhere
        allow_other_model : let a model pass whose values differ, but not its shapes

        Raises WrongModel, NotWritable, Conflict, UnknownName before anything is touched.
        """
        anatomy = anatomy_of(model)
        forms = self.forms_for(anatomy, form, allow_other_model)
        with self.put(anatomy, forms):
            yield forms

    def write(self, model: Any, allow_other_model: bool = False) -> Undo:
        """Write it into the weights to stay; the Undo takes it back.

        Raises as `applied` does, before anything is touched.
        """
        anatomy = anatomy_of(model)
        return self.put(anatomy, self.forms_for(anatomy, "weights", allow_other_model))

    def check(self, model: Any, form: RequestedForm = "auto", allow_other_model: bool = False) -> list[str]:
        """What cannot be done with this model, in sentences, before anything is; empty where all can."""
        try:
            self.forms_for(model, form, allow_other_model)
        except InputError as error:
            return [str(error)]
        return []

    def forms_for(self, model: Any, form: RequestedForm = "auto", allow_other_model: bool = False) -> tuple[AppliedForm, ...]:
        """The form that each edit takes. Touches nothing; raises as `applied` does."""
        anatomy = anatomy_of(model)
        if self.model is not None:
            self.model.check(anatomy, unedited, same_shape_is_enough=allow_other_model)
        return arrange(self.edits, anatomy, form)

    def put(self, anatomy: Anatomy, forms: tuple[AppliedForm, ...]) -> Undo:
        """Do it in the forms that `forms_for` found possible. Where it fails half way, what was done is undone."""
        undo = Undo()
        with ExitStack() as on_error:
            on_error.callback(undo.restore)
            for edit, taken in zip(self.edits, forms, strict=True):
                undo.then(edit.put(anatomy, taken))
            on_error.pop_all()
        return undo

    # -- JSON ----------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The object of plan.json: schema, model, edits. No time and no path is in it."""
        model = None if self.model is None else self.model.to_json()
        return {"schema": SCHEMA, "model": model, "edits": [edit.to_json() for edit in self.edits]}

    @classmethod
    def from_json(cls, value: Any) -> "Plan":
        """The plan that `to_json` wrote. Raises BadPlan."""
        if not isinstance(value, Mapping) or not isinstance(value.get("edits"), list):
            raise BadPlan(f"A plan is an object with schema, model and a list of edits, not {value!r:.80}.")
        schema = value.get("schema", SCHEMA)
        if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
            raise BadPlan(f"The schema of a plan is a number from 1 on, not {schema!r}.")
        if schema > SCHEMA:
            raise BadPlan(f"This plan has schema {schema}, and this version of resect reads up to {SCHEMA}; install a newer one.")
        for name in value:
            if name not in ("schema", "model", "edits"):
                raise BadPlan(str(UnknownName("key of a plan", str(name), ("schema", "model", "edits"))))
        edits = tuple(_edit(number, entry) for number, entry in enumerate(value["edits"]))
        try:
            model = None if value.get("model") is None else ModelIdentity.from_json(value["model"])
        except BadPlan:
            raise
        except InputError as error:
            raise BadPlan(f"In the plan's model: {error}") from error
        return cls(edits, model)

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of its JSON with sorted keys and without blanks: the same in every process."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write plan.json, whole or not at all. Raises StorageFailure."""
        write_json(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Plan":
        """Read what `save` wrote. Raises BadPlan, which names the file."""
        try:
            return cls.from_json(read_json(Path(path), "plan"))
        except BadPlan as error:
            raise BadPlan(f"{path}: {error}") from error
        except InputError as error:
            raise BadPlan(str(error)) from error


@dataclass(frozen=True)
class WithPlan(Generic[Item, Result]):
    """Work under a plan, which is in force wherever the work is done: on this model, or on the model of another process."""

    plan: Plan
    model: Any
    work: Callable[[Item], Result]
    allow_other_model: bool = False

    def __call__(self, item: Item) -> Result:
        """Do the work."""
        return self.work(item)

    def context(self) -> AbstractContextManager[object]:
        """The plan, in force while items are done. Raises as `Plan.applied`."""
        return self.plan.applied(self.model, allow_other_model=self.allow_other_model)


def _edit(number: int, value: Any) -> Edit:
    try:
        return edit_kinds.from_json(value)
    except InputError as error:
        raise BadPlan(f"In edit {number} (from 0): {error}") from error
