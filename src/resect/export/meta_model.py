"""A model without its weights, but for the few that a plan reads and writes: gigabytes stay on disk.

Knows names in memory and names on disk, and which rows of a stored tensor a plan overwrites. Knows no files.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from resect.core.address import Site
from resect.core.errors import BadModel
from resect.edits.base import TensorSlice
from resect.edits.plan import Plan
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import matrix_at
from resect.models.loading import CLASSES


class Skeleton:
    """A model on the meta device, where some parameters are real.

    Attributes
    ----------
    model : the Hugging Face model
    anatomy : Anatomy
    """

    def __init__(self, model: Any) -> None:
        self.model, self.anatomy = model, Anatomy.of(model)

    @classmethod
    def of(cls, config: Any, trust_remote_code: bool = False) -> "Skeleton":
        """The model that this configuration promises. Raises BadModel, UnknownFamily, NotYet."""
        kind = Anatomy.of_config(config).kind
        try:
            with torch.device("meta"):
                return cls(CLASSES[kind].from_config(config, trust_remote_code=trust_remote_code).eval())
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, AssertionError, RuntimeError) as error:
            raise BadModel(f"No {kind} language model can be made from this configuration of a {config.model_type}: {error}") from error

    def check(self, plan: Plan, allow_other_model: bool = False) -> None:
        """What can be refused before a weight is read. Raises WrongModel, UnknownName."""
        if plan.model is not None:
            plan.model.check(self.anatomy, same_shape_is_enough=allow_other_model)
        for edit in plan.edits:
            edit.check_fits(self.anatomy)

    def check_values(self, plan: Plan, read: Callable[[str], Tensor], allow_other_model: bool = False) -> None:
        """Hold values of the weights against those that the plan was made for; `read` gives a parameter's, which are not kept.

        Raises WrongModel.
        """
        if plan.model is not None:
            names = {id(self.parameter(name)): name for name in self.needs(plan)}
            plan.model.check(self.anatomy, lambda parameter: read(names[id(parameter)]), same_shape_is_enough=allow_other_model)

    def needs(self, plan: Plan) -> tuple[str, ...]:
        """Names of the parameters that a plan reads (to know the model, to fold into a bias) or writes."""
        sites = [matrix_at(site) for site in plan.sites] + ([] if plan.model is None else list(plan.model.shapes))
        names = [self._name(site, part) for site in sites for part in ("weight", "bias")]
        return tuple(dict.fromkeys(name for name in [*names, *map(self._touched, self._touches(plan))] if name is not None))

    def parameter(self, name: str) -> nn.Parameter:
        """A parameter by its name in memory."""
        parameter: nn.Parameter = self.model.get_parameter(name)
        return parameter

    def names_of(self, stored: Iterable[str]) -> dict[str, list[str]]:
        """Name in memory to the names on disk that transformers loads into it as they are, unconverted."""
        # How transformers renames while it loads stands in no public place; this is what `from_pretrained` itself calls.
        from transformers.core_model_loading import rename_source_key

        renamings, converters = self._transforms()
        known, prefix = self.model.state_dict(), self.model.base_model_prefix
        found: dict[str, list[str]] = {}
        for name in stored:
            memory, converted = rename_source_key(name, renamings, converters, prefix, known)
            if memory not in known and name in known:
                memory, converted = rename_source_key(name, [], [], prefix, known)
            if memory in known and converted is None:
                found.setdefault(memory, []).append(name)
        return found

    @property
    def converts(self) -> bool:
        """Whether transformers may join or split tensors of such a model while it loads them."""
        return bool(self._transforms()[1])

    def _transforms(self) -> tuple[list[Any], list[Any]]:
        """What transformers does while it loads such a model: renamings, and conversions of values."""
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming

        transforms = get_model_conversion_mapping(self.model)
        kinds = (WeightRenaming, WeightConverter)
        renamings, converters = ([each for each in transforms if isinstance(each, kind)] for kind in kinds)
        return renamings, converters

    def missing(self, found: Collection[str]) -> list[str]:
        """Parameters that none of the names in memory that are `found` stands for, tied ones by any of theirs."""
        names: dict[int, list[str]] = {}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        may = getattr(self.model, "_keys_to_ignore_on_load_missing", None) or ()
        lacking = [those[0] for those in names.values() if not any(name in found for name in those)]
        return [name for name in lacking if not any(re.search(pattern, name) for pattern in may)]

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Put real tensors in the place of parameters, wherever in the model these stand."""
        real = {id(self.parameter(name)): nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()}
        self._replace(real)

    def empty(self, names: Iterable[str]) -> None:
        """Let go of real tensors."""
        gone = [self.parameter(name) for name in names]
        self._replace({id(parameter): nn.Parameter(parameter.to("meta"), requires_grad=False) for parameter in gone})

    def _replace(self, real: Mapping[int, nn.Parameter]) -> None:
        for module in self.model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) in real:
                    module._parameters[name] = real[id(parameter)]

    def written(self, plan: Plan) -> dict[str, list[range]]:
        """Name of each parameter that a plan overwrites, to runs of positions on its first axis that hold all that changes.

        Only of parameters that are real. Raises NotWritable.
        """
        places: dict[str, set[int]] = {}
        for touch in self._touches(plan):
            name = self._touched(touch)
            if name is not None:
                parameter, index = touch.locate(self.anatomy)
                places.setdefault(name, set()).update(_positions(index[0], len(parameter)))
        return {name: runs(found) for name, found in places.items() if found}

    def _touches(self, plan: Plan) -> list[TensorSlice]:
        return [touch for edit in plan.edits for touch in edit.touches(self.anatomy)]

    def _touched(self, touch: TensorSlice) -> str | None:
        return self._name(touch.site, "bias" if touch.axis == "bias" else "weight")

    def _name(self, site: Site, part: str) -> str | None:
        path = self.anatomy.slot(site).path
        return f"{path}.{part}" if self.model.get_submodule(path)._parameters.get(part) is not None else None


def runs(positions: Iterable[int]) -> list[range]:
    """Positions as runs without gaps, in rising order.

    >>> runs({4, 2, 3, 9})
    [range(2, 5), range(9, 10)]
    """
    found: list[range] = []
    for position in sorted(positions):
        if found and found[-1].stop == position:
            found[-1] = range(found[-1].start, position + 1)
        else:
            found.append(range(position, position + 1))
    return found


def _positions(index: slice | Tensor, size: int) -> Iterable[int]:
    return range(size)[index] if isinstance(index, slice) else index.flatten().tolist()
