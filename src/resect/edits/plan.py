"""Plan: a sequence of edits, with the identity of the model that they were made for. A value, without model or tensors.

Knows the interface of edits, not what each does; does not know how a plan was found, or what it achieves.
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
from resect.models.anatomy import Anatomy, anatomy_of
from resect.models.fingerprint import ModelIdentity

from . import kinds as edit_kinds
from .base import AppliedForm, Edit, RequestedForm
from .form_choice import choose_forms
from .undo import Undo, unedited_values

#: The version of plan.json that is written; this and lower ones are read.
SCHEMA = 1


@dataclass(frozen=True)
class Plan:
    """Edits that are applied in their order, each on the result of the earlier ones.

    Parameters
    ----------
    edits : Edits; an empty plan does not change a model
    model : the identity of the model that they were made for; None: the plan fits every model that has its sites and units

    `model` identifies the unedited model, also where it is computed, or checked, inside another plan's `applied`.
    """

    edits: tuple[Edit, ...] = ()
    model: ModelIdentity | None = None

    def __init__(self, edits: Iterable[Edit] = (), model: ModelIdentity | None = None) -> None:
        if not isinstance(edits, Iterable):
            raise InputError(f"A plan is made of a sequence of edits, even of one: Plan((edit,)), not Plan({edits!r:.80}).")
        sequence = tuple(edits)
        for edit in sequence:
            if not isinstance(edit, Edit):
                raise InputError(f"A plan is made of edits ({', '.join(edit_kinds.KINDS)}), not of {edit!r:.80}.")
        object.__setattr__(self, "edits", sequence)
        object.__setattr__(self, "model", model)

    def __repr__(self) -> str:
        kinds = ", ".join(map(_brief, self.edits)) or "nothing"
        fits = "any model with its sites" if self.model is None else self.model.name or self.model.family
        return f"Plan({kinds}; {len(self.sites)} sites; for {fits})"

    def __add__(self, other: "Plan") -> "Plan":
        """Returns the edits of both, the other's last. Raises WrongModel where they were made for different models."""
        if not isinstance(other, Plan):
            return NotImplemented
        model = self.model | other.model if self.model and other.model else self.model or other.model
        return Plan(self.edits + other.edits, model)

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
        """Returns the same plan, with the identity of `model` (LanguageModel or Hugging Face model). Raises UnknownName."""
        return replace(self, model=ModelIdentity.of(model, self.sites, unedited_values))

    @contextmanager
    def applied(self, model: Any, form: RequestedForm = "auto", allow_other_model: bool = False) -> Iterator[tuple[AppliedForm, ...]]:
        """Apply it inside a `with` block, and yield the form of each edit. Leaving the block, also by an exception, undoes it exactly.

        Parameters
        ----------
        model : LanguageModel or Hugging Face model; it stays itself, and is changed in place
        form : "weights", "activations", or "auto": weights where that is possible, activations elsewhere
        allow_other_model : accept a model whose values differ, but not its shapes

        Raises WrongModel, NotWritable, Conflict, UnknownName before anything is touched.
        """
        anatomy = anatomy_of(model)
        forms = self.choose_forms(anatomy, form, allow_other_model)
        with self.apply_as(anatomy, forms):
            yield forms

    def write(self, model: Any, allow_other_model: bool = False) -> Undo:
        """Write it into the weights to stay; the Undo restores them. Raises as `applied` does, before anything is touched."""
        anatomy = anatomy_of(model)
        return self.apply_as(anatomy, self.choose_forms(anatomy, "weights", allow_other_model))

    def check(self, model: Any, form: RequestedForm = "auto", allow_other_model: bool = False) -> list[str]:
        """Returns sentences on what is not possible with this model, before anything is touched; empty where everything is."""
        try:
            self.choose_forms(model, form, allow_other_model)
        except InputError as error:
            return [str(error)]
        return []

    def choose_forms(self, model: Any, form: RequestedForm = "auto", allow_other_model: bool = False) -> tuple[AppliedForm, ...]:
        """Returns the form of each edit. Touches nothing; raises as `applied` does."""
        anatomy = anatomy_of(model)
        if self.model is not None:
            self.model.check(anatomy, unedited_values, shapes_only=allow_other_model)
        return choose_forms(self.edits, anatomy, form)

    def apply_as(self, anatomy: Anatomy, forms: tuple[AppliedForm, ...]) -> Undo:
        """Apply it in the forms that `choose_forms` returned. Where it fails half way, what was done is undone."""
        undo = Undo()
        with ExitStack() as on_error:
            on_error.callback(undo.restore)
            for edit, form in zip(self.edits, forms, strict=True):
                undo.add(edit.apply_as(anatomy, form))
            on_error.pop_all()
        return undo

    # -- JSON ----------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Returns the object of plan.json: schema, model, edits. It contains no time and no path."""
        model = None if self.model is None else self.model.to_json()
        return {"schema": SCHEMA, "model": model, "edits": [edit.to_json() for edit in self.edits]}

    @classmethod
    def from_json(cls, value: Any) -> "Plan":
        """Returns the plan that `to_json` wrote. Raises BadPlan."""
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
        """Write plan.json completely or not at all. Raises StorageFailure."""
        write_json(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Plan":
        """Returns the plan that `save` wrote. Raises BadPlan, which names the file."""
        try:
            return cls.from_json(read_json(Path(path), "plan"))
        except BadPlan as error:
            raise BadPlan(f"{path}: {error}") from error
        except InputError as error:
            raise BadPlan(str(error)) from error


@dataclass(frozen=True)
class WorkWithPlan(Generic[Item, Result]):
    """Work that is done with a plan applied: to this model, or to the model of another process where the work is done there."""

    plan: Plan
    model: Any
    work: Callable[[Item], Result]
    allow_other_model: bool = False

    def __call__(self, item: Item) -> Result:
        """Do the work."""
        return self.work(item)

    def context(self) -> AbstractContextManager[object]:
        """Returns the applied plan, for the time in which items are done. Raises as `Plan.applied`."""
        return self.plan.applied(self.model, allow_other_model=self.allow_other_model)


def _edit(number: int, value: Any) -> Edit:
    try:
        return edit_kinds.from_json(value)
    except InputError as error:
        raise BadPlan(f"In edit {number} (from 0): {error}") from error


def _brief(edit: Edit) -> str:
    """Returns the kind of an edit, with the number of its units and its factor, or its ρ."""
    facts = edit.to_json()
    units = sum(map(len, facts["neurons"].values())) if "neurons" in facts else None
    parts = [facts["kind"], *([] if units is None else [f"{units} units"])]
    parts += [f"{name} {facts[name]:g}" for name in ("factor", "rho", "fraction") if isinstance(facts.get(name), int | float)]
    return " ".join(parts)
