"""Edit: frozen data that is written into weights, or applied by hooks to activations, and undone exactly.

Knows slices of stored weights and hooks; what is put into them is up to each kind of edit. Several edits at once are the subject of
`form_choice` and `plan`. An edit does not know which model it was made for.
"""

import math
import numbers
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import nn

from resect.core.address import Neurons, Site
from resect.core.errors import BadPlan, InputError, NotWritable, UnknownName
from resect.models.anatomy import Anatomy, anatomy_of
from resect.models.storage import Index

from .activation_hook import ActivationChange, ActivationHook
from .undo import Undo

#: The form that a caller may request; "auto" is weights where that is possible, activations elsewhere.
RequestedForm = Literal["auto", "weights", "activations"]
#: The form in which an edit is applied.
AppliedForm = Literal["weights", "activations"]
#: What is accepted where Neurons are needed.
NeuronsLike = Neurons | Mapping[Any, Any]


@dataclass(frozen=True)
class TensorSlice:
    """A slice of a stored matrix: some rows, some columns, or some entries of its bias. `units` None: all."""

    site: Site
    axis: Literal["rows", "columns", "bias"]
    units: tuple[int, ...] | None = None

    def locate(self, anatomy: Anatomy) -> tuple[nn.Parameter, Index]:
        """Returns the parameter and the index of this slice. Raises NotWritable."""
        if self.axis == "bias":
            return anatomy.locate_bias(self.site, self.units)
        if self.axis == "rows":
            return anatomy.locate(self.site, rows=self.units)
        return anatomy.locate(self.site, columns=self.units)


@dataclass(frozen=True)
class RandomSubstitutes:
    """What a random control edits instead of a plan's own units and matrices: drawn once for all edits of a plan.

    `units`: by `unit_space`, each own unit to another one; `matrices`: each own matrix to another one; `rng`: for other random choices.
    """

    units: Mapping[Site, Mapping[int, int]]
    matrices: Mapping[Site, Site]
    rng: np.random.Generator

    def of(self, neurons: Neurons) -> dict[Site, list[int]]:
        """Returns by site the other unit for each unit, in the order of the own ones."""
        return {site: [self.units[unit_space(site)][unit] for unit in units] for site, units in neurons.items()}


def unit_space(site: Site) -> Site:
    """Returns the site whose numbers count a site's units: `act` and `post` of a block have the same units."""
    return site.at("post") if site.is_moment else site


@dataclass(frozen=True)
class Edit(ABC):
    """One change to a model, as a value: equal edits are equal, `to_json` and `from_json` are inverse to each other."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def sites(self) -> tuple[Site, ...]:
        """The sites that it names, including moments."""

    @property
    def is_empty(self) -> bool:
        """Whether it names nothing."""
        return not self.sites

    @abstractmethod
    def units(self, anatomy: Anatomy) -> Neurons:
        """Returns the units that it names; of a matrix that it changes completely, all rows."""

    @property
    def complete_matrices(self) -> tuple[Site, ...]:
        """The matrices that it changes completely, not unit by unit."""
        return ()

    @property
    def replaceable_matrices(self) -> tuple[Site, ...]:
        """The matrices instead of which a random control edits other ones."""
        return ()

    @abstractmethod
    def random_like(self, substitutes: RandomSubstitutes) -> "Edit":
        """Returns a random edit of the same kind and size, for a control."""

    @abstractmethod
    def check_fits(self, anatomy: Anatomy) -> None:
        """Raises UnknownName for a site, WrongModel for a unit that the model does not have."""

    @abstractmethod
    def written_slices(self, anatomy: Anatomy) -> tuple[TensorSlice, ...]:
        """Returns the slices that the weight form overwrites."""

    def matrices_read(self, anatomy: Anatomy) -> tuple[Site, ...]:
        """Returns the matrices that the weight form reads and does not overwrite: their values must be known too."""
        return ()

    def down_columns(self, anatomy: Anatomy) -> dict[Site, frozenset[int]]:
        """Returns the columns of each `down` that it changes, or whose units at `act` and `post` it changes."""
        return {}

    def weight_obstacles(self, anatomy: Anatomy) -> list[str]:
        """Returns why it has no weight form in this model, whatever the storage; empty where it has one."""
        return []

    def folds_into_bias(self, anatomy: Anatomy) -> bool:
        """Returns whether its weight form adds a constant to a bias."""
        return False

    @property
    def only_scales(self) -> bool:
        """Whether it only multiplies units by numbers, so that its order among other such edits does not matter."""
        return False

    def activation_changes(self, anatomy: Anatomy) -> list[tuple[Site, tuple[int, ...], ActivationChange]] | None:
        """Returns the activation form: at a site's tap, which units change and how; None where there is no such form."""
        return None

    @abstractmethod
    def _write(self, anatomy: Anatomy) -> None:
        """Overwrite the slices of `written_slices`, whose old values are saved already."""

    # -- what is possible ----------------------------------------------------------------------------------------------

    def problems(self, model: Any, form: RequestedForm = "auto") -> list[str]:
        """Returns sentences on why this form is not possible; empty where it is. Touches nothing.

        Raises UnknownName, WrongModel.
        """
        anatomy = anatomy_of(model)
        self.check_fits(anatomy)
        if form == "activations":
            return self._activation_problems(anatomy)
        problems = self._weight_problems(anatomy)
        return problems if form == "weights" or self._activation_problems(anatomy) else []

    def choose_form(self, model: Any, form: RequestedForm = "auto") -> AppliedForm:
        """Returns the form in which it is applied. Raises NotWritable where there is none, UnknownName, WrongModel."""
        if form not in ("auto", "weights", "activations"):
            raise UnknownName("form", str(form), ("auto", "weights", "activations"))
        anatomy = anatomy_of(model)
        preferred: AppliedForm = "weights" if form == "auto" else form
        problems = self.problems(anatomy, preferred)
        if problems and form == "auto" and not self._activation_problems(anatomy):
            return "activations"
        if problems:
            more = f" (And {len(problems) - 1} more such obstacles.)" if len(problems) > 1 else ""
            raise NotWritable(problems[0] + more)
        return preferred

    def _weight_problems(self, anatomy: Anatomy) -> list[str]:
        problems = self.weight_obstacles(anatomy)
        uses = _uses_of_parameters(anatomy)
        for tensor_slice in () if problems else self.written_slices(anatomy):
            try:
                parameter, _ = tensor_slice.locate(anatomy)
            except NotWritable as error:
                problems.append(str(error))
            else:
                if uses[id(parameter)] > 1:
                    problems.append(
                        f"{tensor_slice.site} is stored in a parameter that is used in {uses[id(parameter)]} places of the model, "
                        "which would all change; use the activation form."
                    )
        for site in () if problems else self.matrices_read(anatomy):
            try:
                anatomy.locate(site)
            except NotWritable as error:
                problems.append(str(error))
        return list(dict.fromkeys(problems))

    def _activation_problems(self, anatomy: Anatomy) -> list[str]:
        changes = self.activation_changes(anatomy)
        if changes is None:
            return [f"A {self.kind} at {self.sites[0]} is a change of the weights and has no activation form."]
        uses = Counter(id(module) for _, module in _root(anatomy).named_modules(remove_duplicate=False))
        shared = [site for site, _, _ in changes if uses[id(anatomy.module(site))] > 1]
        return [f"The module of {site} is used in several places of the model, which would all change." for site in shared]

    # -- applying it ---------------------------------------------------------------------------------------------------

    def write(self, model: Any) -> Undo:
        """Write it into the weights. Raises NotWritable, UnknownName, WrongModel before anything is touched."""
        anatomy = anatomy_of(model)
        return self.apply_as(anatomy, self.choose_form(anatomy, "weights"))

    def hooks(self, model: Any) -> Undo:
        """Apply it to the activations by hooks. Raises NotWritable, UnknownName, WrongModel before anything is touched."""
        anatomy = anatomy_of(model)
        return self.apply_as(anatomy, self.choose_form(anatomy, "activations"))

    @contextmanager
    def applied(self, model: Any, form: RequestedForm = "auto") -> Iterator[AppliedForm]:
        """Apply it inside a `with` block, and yield the form. Leaving the block, also by an exception, undoes it exactly.

        Raises NotWritable, UnknownName, WrongModel before anything is touched.
        """
        anatomy = anatomy_of(model)
        chosen = self.choose_form(anatomy, form)
        with self.apply_as(anatomy, chosen):
            yield chosen

    def apply_as(self, anatomy: Anatomy, form: AppliedForm) -> Undo:
        """Apply it in a form that `choose_form` returned. Where it fails half way, what was done is undone."""
        undo = Undo()
        with ExitStack() as on_error:
            on_error.callback(undo.restore)
            if form == "activations":
                for site, units, change in self.activation_changes(anatomy) or ():
                    undo.add_hook(ActivationHook(anatomy, site, units, change).register(anatomy.module(site)))
            else:
                for tensor_slice in self.written_slices(anatomy):
                    undo.save(*tensor_slice.locate(anatomy))
                with torch.no_grad():
                    self._write(anatomy)
            on_error.pop_all()
        return undo

    # -- construction --------------------------------------------------------------------------------------------------

    def _set_fields(self, **values: Any) -> None:
        """Set the fields and validate them: for `__init__`, and for `from_fields`, which trusts no file."""
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._validate()

    @abstractmethod
    def _validate(self) -> None:
        """Convert every field to its one form. Raises InputError, BadAddress, UnknownName."""

    # -- JSON ----------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object: `kind`, and the fields that are set."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"kind": self.kind} | {name: _to_json(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> Self:
        """Returns the edit of a JSON object without its kind. Raises BadPlan, BadAddress, UnknownName, InputError."""
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise BadPlan(str(UnknownName(f"setting of a {cls.kind}", str(name), known)))
        lacking = [field.name for field in fields(cls) if field.default is MISSING and field.name not in values]
        if lacking:
            raise BadPlan(f"A {cls.kind} needs {', '.join(lacking)}.")
        edit = cls.__new__(cls)
        edit._set_fields(**{field.name: values.get(field.name, field.default) for field in fields(cls)})
        return edit


def _to_json(value: Any) -> Any:
    if isinstance(value, Site):
        return str(value)
    return value.to_json() if hasattr(value, "to_json") else value


def _root(anatomy: Anatomy) -> nn.Module:
    if anatomy.root is None:
        raise InputError(f"This anatomy of a {anatomy.family} was made from a configuration alone; load the model to edit it.")
    return anatomy.root


def _uses_of_parameters(anatomy: Anatomy) -> Counter[int]:
    """Returns in how many places of the model each parameter is used, by id; a module that is used twice counts twice."""
    modules = _root(anatomy).named_modules(remove_duplicate=False)
    return Counter(id(parameter) for _, module in modules for parameter in module._parameters.values() if parameter is not None)


def finite_number(what: str, value: Any) -> float:
    """Returns `value` as a float. Raises InputError where it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise InputError(f"The {what} is a finite number, not {value!r}.")
    return float(value) + 0.0  # + 0.0: minus zero would be equal, and have another digest


def as_neurons(value: object) -> Neurons:
    """Returns Neurons, given as themselves or as a mapping of address to indices. Raises BadAddress, UnknownName, InputError."""
    if isinstance(value, Neurons):
        return value
    if not isinstance(value, Mapping) or any(isinstance(units, str) or not hasattr(units, "__iter__") for units in value.values()):
        raise InputError(f"Neurons are a mapping of address to unit indices, such as {{'decoder.3.up': [5, 17]}}, not {value!r}.")
    return Neurons(value)
