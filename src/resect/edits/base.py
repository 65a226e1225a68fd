"""What every edit is: frozen data that can be written into weights, or hung on activations, and taken back exactly.

Knows slices of stored weights and hooks; what is put into them is each edit's own. Several edits at once are `order`'s
and `plan`'s. An edit is never told which model it was made for.
"""

import math
import numbers
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from resect.core.address import Neurons, Site
from resect.core.errors import BadPlan, InputError, NotWritable, UnknownName
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import anatomy_of
from resect.models.storage import Index

from .undo import Undo

#: How an edit may be asked to be applied; "auto" is weights where that can be, activations elsewhere.
RequestedForm = Literal["auto", "weights", "activations"]
#: How an edit was applied.
AppliedForm = Literal["weights", "activations"]
#: What will do where Neurons are wanted.
UnitsBySite = Neurons | Mapping[Any, Any]
#: From the values of some units, [..., units], to what they shall be.
ActivationChange = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TensorSlice:
    """A slice of a stored matrix: some rows, some columns, or some entries of its bias. `units` None: all."""

    site: Site
    axis: Literal["rows", "columns", "bias"]
    units: tuple[int, ...] | None = None

    def locate(self, anatomy: Anatomy) -> tuple[nn.Parameter, Index]:
        """The parameter and the index of this slice. Raises NotWritable."""
        if self.axis == "bias":
            return anatomy.locate_bias(self.site, self.units)
        if self.axis == "rows":
            return anatomy.locate(self.site, rows=self.units)
        return anatomy.locate(self.site, columns=self.units)


@dataclass(frozen=True)
class Edit(ABC):
    """One change to a model, as a value: equal edits are equal, `to_json` and `from_json` are inverse to each other."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def sites(self) -> tuple[Site, ...]:
        """The sites that it names, moments among them."""

    @property
    def is_empty(self) -> bool:
        """Whether it names nothing."""
        return not self.sites

    @abstractmethod
    def check_fits(self, anatomy: Anatomy) -> None:
        """Raises UnknownName for a site, WrongModel for a unit that the model has not."""

    @abstractmethod
    def touches(self, anatomy: Anatomy) -> tuple[TensorSlice, ...]:
        """The slices that the weight form overwrites."""

    def columns(self, anatomy: Anatomy) -> dict[Site, frozenset[int]]:
        """The columns of each `down` that it changes, or that carry what it changes: its units at `act` and `post`."""
        return {}

    def obstacles(self, anatomy: Anatomy) -> list[str]:
        """Why it has no weight form in this model, whatever the storage; empty where it has one."""
        return []

    def folds(self, anatomy: Anatomy) -> bool:
        """Whether its weight form puts a constant into a bias."""
        return False

    @property
    def only_scales(self) -> bool:
        """Whether it does nothing but multiply units by numbers, so that it can trade places with another that does."""
        return False

    def changes(self, anatomy: Anatomy) -> list[tuple[Site, tuple[int, ...], ActivationChange]] | None:
        """The activation form: at a site's tap, what becomes of which units; None where there is no such form."""
        return None

    @abstractmethod
    def _write(self, anatomy: Anatomy) -> None:
        """Overwrite the slices of `touches`, which are in safety."""

    # -- what can be done ----------------------------------------------------------------------------------------------

    def problems(self, model: Any, form: RequestedForm = "auto") -> list[str]:
        """Sentences on why this form cannot be taken; empty where it can. Touches nothing.

        Raises UnknownName, WrongModel.
        """
        anatomy = anatomy_of(model)
        self.check_fits(anatomy)
        if form == "auto":
            weights = self._against_weights(anatomy)
            return weights if weights and self._against_activations(anatomy) else []
        return self._against_weights(anatomy) if form == "weights" else self._against_activations(anatomy)

    def form_for(self, model: Any, form: RequestedForm = "auto") -> AppliedForm:
        """The form that it takes. Raises NotWritable where there is none, UnknownName, WrongModel."""
        if form not in ("auto", "weights", "activations"):
            raise UnknownName("form", str(form), ("auto", "weights", "activations"))
        anatomy = anatomy_of(model)
        wanted: AppliedForm = "weights" if form == "auto" else form
        found = self.problems(anatomy, wanted)
        if found and form == "auto" and not self._against_activations(anatomy):
            return "activations"
        if found:
            more = f" (And {len(found) - 1} more such obstacles.)" if len(found) > 1 else ""
            raise NotWritable(found[0] + more)
        return wanted

    def _against_weights(self, anatomy: Anatomy) -> list[str]:
        found = self.obstacles(anatomy)
        places = _places_of_parameters(anatomy)
        for touch in () if found else self.touches(anatomy):
            try:
                parameter, _ = touch.locate(anatomy)
            except NotWritable as error:
                found.append(str(error))
            else:
                if places[id(parameter)] > 1:
                    found.append(
                        f"{touch.site} is stored in a parameter that stands in {places[id(parameter)]} places of the "
                        "model, "
                        "which would all be changed; use the activation form."
                    )
        return list(dict.fromkeys(found))

    def _against_activations(self, anatomy: Anatomy) -> list[str]:
        changes = self.changes(anatomy)
        if changes is None:
            return [f"A {self.kind} at {self.sites[0]} is a change of the weights and has no activation form."]
        places = Counter(id(module) for _, module in _root(anatomy).named_modules(remove_duplicate=False))
        shared = [site for site, _, _ in changes if places[id(anatomy.module(site))] > 1]
        return [f"The module of {site} is used in several places of the model, which would all be changed." for site in shared]

    # -- doing it ------------------------------------------------------------------------------------------------------

    def write(self, model: Any) -> Undo:
        """Write it into the weights. Raises NotWritable, UnknownName, WrongModel before anything is touched."""
        anatomy = anatomy_of(model)
        return self.put(anatomy, self.form_for(anatomy, "weights"))

    def hooks(self, model: Any) -> Undo:
        """Hang it on the activations. Raises NotWritable, UnknownName, WrongModel before anything is touched."""
        anatomy = anatomy_of(model)
        return self.put(anatomy, self.form_for(anatomy, "activations"))

    @contextmanager
    def applied(self, model: Any, form: RequestedForm = "auto") -> Iterator[AppliedForm]:
        """Apply it inside a `with` block, and yield the form it took. Leaving, by whatever way, takes it back exactly.

        Raises NotWritable, UnknownName, WrongModel before anything is touched.
        """
        anatomy = anatomy_of(model)
        taken = self.form_for(anatomy, form)
        with self.put(anatomy, taken):
            yield taken

    def put(self, anatomy: Anatomy, taken: AppliedForm) -> Undo:
        """Do it in a form that `form_for` found possible. Where it fails half way, what was done is undone."""
        undo = Undo()
        with ExitStack() as on_error:
            on_error.callback(undo.restore)
            if taken == "activations":
                for site, units, change in self.changes(anatomy) or ():
                    undo.hang(_Hook(anatomy, site, units, change).hang(anatomy.module(site), anatomy.tap(site).when))
            else:
                for touch in self.touches(anatomy):
                    undo.keep(*touch.locate(anatomy))
                with torch.no_grad():
                    self._write(anatomy)
            on_error.pop_all()
        return undo

    # -- making it -----------------------------------------------------------------------------------------------------

    def _set(self, **given: Any) -> None:
        """Take what was given, and judge it; what `__init__` does, and `from_fields`, which trusts no file."""
        for name, value in given.items():
            object.__setattr__(self, name, value)
        self._judge()

    @abstractmethod
    def _judge(self) -> None:
        """Bring every field into its one form. Raises InputError, BadAddress, UnknownName."""

    # -- JSON ----------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """A JSON object: `kind`, and the fields that are set."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"kind": self.kind} | {name: _to_json(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_fields(cls, value: Mapping[str, Any]) -> Self:
        """The edit of a JSON object without its kind. Raises BadPlan, BadAddress, UnknownName, InputError."""
        known = {field.name for field in fields(cls)}
        for name in value:
            if name not in known:
                raise BadPlan(str(UnknownName(f"setting of a {cls.kind}", str(name), known)))
        lacking = [each.name for each in fields(cls) if each.default is MISSING and each.name not in value]
        if lacking:
            raise BadPlan(f"A {cls.kind} needs {', '.join(lacking)}.")
        edit = cls.__new__(cls)
        edit._set(**{each.name: value.get(each.name, each.default) for each in fields(cls)})
        return edit


def _to_json(value: Any) -> Any:
    if isinstance(value, Site):
        return str(value)
    return value.to_json() if hasattr(value, "to_json") else value


def _root(anatomy: Anatomy) -> nn.Module:
    if anatomy.root is None:
        raise InputError(f"This anatomy of a {anatomy.family} was made from a configuration alone; load the model to edit it.")
    return anatomy.root


def _places_of_parameters(anatomy: Anatomy) -> Counter[int]:
    """In how many places of the model each parameter stands, by id; a module that stands in two counts twice."""
    modules = _root(anatomy).named_modules(remove_duplicate=False)
    return Counter(id(parameter) for _, module in modules for parameter in module._parameters.values() if parameter is not None)


class _Hook:
    """Changes some units of what comes by a site's tap, and nothing else."""

    def __init__(self, anatomy: Anatomy, site: Site, units: tuple[int, ...], change: ActivationChange) -> None:
        part = anatomy.tap(site).part
        if part is None:
            self._positions = list(units)
        else:
            taken = range(part.stop)[part] if isinstance(part, slice) else part
            self._positions = [taken[unit] for unit in units]
        self._change = change
        self._places: dict[torch.device, Tensor] = {}  # by device: a list would be sent there anew at every call

    def hang(self, module: nn.Module, when: str) -> RemovableHandle:
        """Hang it before or behind a module."""
        return module.register_forward_pre_hook(self.before) if when == "input" else module.register_forward_hook(self.after)

    def changed(self, values: Tensor) -> Tensor:
        """A copy of the values, the units changed."""
        if values.device not in self._places:
            self._places[values.device] = torch.tensor(self._positions, device=values.device)
        where = self._places[values.device]
        return values.index_copy(-1, where, self._change(values.index_select(-1, where)).to(values.dtype))

    def before(self, _module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a module is given, changed."""
        return self.changed(given[0]), *given[1:]

    def after(self, _module: nn.Module, _given: object, result: Tensor) -> Tensor:
        """What a module returns, changed."""
        return self.changed(result)


def wide(values: Tensor) -> Tensor:
    """The values in float32, or float64 as they are: what arithmetic on weights is done in."""
    return values if values.dtype == torch.float64 else values.float()


def finite(what: str, value: Any) -> float:
    """`value` as a float. Raises InputError where it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise InputError(f"The {what} is a finite number, not {value!r}.")
    return float(value) + 0.0  # + 0.0: minus zero would be equal, and have another digest


def as_neurons(value: object) -> Neurons:
    """Neurons, from themselves or from a mapping of address to indices. Raises BadAddress, UnknownName, InputError."""
    if isinstance(value, Neurons):
        return value
    if not isinstance(value, Mapping) or any(isinstance(each, str) or not hasattr(each, "__iter__") for each in value.values()):
        raise InputError(f"Neurons are a mapping of address to unit indices, such as {{'decoder.3.up': [5, 17]}}, not {value!r}.")
    return Neurons(value)
