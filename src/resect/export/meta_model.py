"""A model on the meta device, without weights but for the few that a plan reads and writes.

Knows names of parameters, and how transformers renames stored tensors while it loads them. Knows no files.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from resect.core.address import Site
from resect.core.errors import BadModel
from resect.edits.base import TensorSlice
from resect.edits.plan import Plan
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import stored_matrix
from resect.models.layout import BIAS, WEIGHT
from resect.models.loading import class_of

from .converted_weights import ConvertedWeights


class MetaModel:
    """A model on the meta device, of which some parameters may have values.

    Attributes
    ----------
    model : the Hugging Face model
    anatomy : Anatomy
    """

    def __init__(self, model: Any) -> None:
        self.model, self.anatomy = model, Anatomy.of(model)

    @classmethod
    def of(cls, config: Any, trust_remote_code: bool = False) -> "MetaModel":
        """Returns the model of this configuration. Raises BadModel, UnknownFamily, NotYet."""
        anatomy = Anatomy.of_config(config)
        try:
            with torch.device("meta"):
                return cls(class_of(config, anatomy).from_config(config, trust_remote_code=trust_remote_code).eval())
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, AssertionError, RuntimeError) as error:
            raise BadModel(
                f"No {anatomy.kind} language model can be made from this configuration of a {config.model_type}: {error}"
            ) from error

    def check(self, plan: Plan, allow_other_model: bool = False) -> None:
        """Check all that needs no weights. Raises WrongModel, UnknownName."""
        if plan.model is not None:
            plan.model.check(self.anatomy, shapes_only=allow_other_model)
        for edit in plan.edits:
            edit.check_fits(self.anatomy)

    def check_values(self, plan: Plan, read: Callable[[str], Tensor], allow_other_model: bool = False) -> None:
        """Compare weights with those that the plan was made for; `read` returns a parameter's, which are not kept. Raises WrongModel."""
        if plan.model is not None:
            names = {id(self.parameter(name)): name for name in self.needed_parameters(plan)}
            plan.model.check(self.anatomy, lambda parameter: read(names[id(parameter)]), shapes_only=allow_other_model)

    def needed_parameters(self, plan: Plan) -> tuple[str, ...]:
        """Returns the names of the parameters that a plan reads (to identify the model, to fold into a bias) or writes."""
        sites = [stored_matrix(site) for site in plan.sites] + ([] if plan.model is None else list(plan.model.shapes))
        names = [self._parameter_name(site, part) for site in sites for part in (WEIGHT, BIAS)]
        return tuple(dict.fromkeys([*(name for name in names if name is not None), *(name for name, _ in self._written_slices(plan))]))

    def changed_rows(self, plan: Plan) -> dict[str, list[range]]:
        """Returns the name of each parameter that a plan writes, to the runs of positions on its first axis that contain all changes.

        The parameters need values. Raises NotWritable.
        """
        positions: dict[str, set[int]] = {}
        for name, touch in self._written_slices(plan):
            parameter, index = touch.locate(self.anatomy)
            positions.setdefault(name, set()).update(_positions(index[0], len(parameter)))
        return {name: _runs(rows) for name, rows in positions.items() if rows}

    def _written_slices(self, plan: Plan) -> list[tuple[str, TensorSlice]]:
        """The slices that a plan writes, each with the name of its parameter."""
        slices = [touch for edit in plan.edits for touch in edit.written_slices(self.anatomy)]
        named = [(self._parameter_name(touch.site, BIAS if touch.axis == "bias" else WEIGHT), touch) for touch in slices]
        return [(name, touch) for name, touch in named if name is not None]

    def _parameter_name(self, site: Site, part: str) -> str | None:
        slot = self.anatomy.slot(site)
        name = slot.weight if part == WEIGHT else slot.bias
        return f"{slot.path}.{name}" if self.model.get_submodule(slot.path)._parameters.get(name) is not None else None

    def parameter(self, name: str) -> nn.Parameter:
        """Returns a parameter by its name."""
        parameter: nn.Parameter = self.model.get_parameter(name)
        return parameter

    def stored_names(self, stored: Iterable[str]) -> dict[str, list[str]]:
        """Returns parameter name to the names of `stored` tensors that transformers loads into it without conversion."""
        names: dict[str, list[str]] = {}
        for name, parameter, pattern in self._loaded_into(stored):
            if pattern is None:
                names.setdefault(parameter, []).append(name)
        return names

    def converted_weights(self, stored: Iterable[str]) -> ConvertedWeights:
        """Returns the parameters that transformers joins from several of the `stored` tensors."""
        from transformers.core_model_loading import dot_natural_key

        sources: dict[str, list[tuple[str, str]]] = {}
        for name, parameter, pattern in self._loaded_into(sorted(stored, key=dot_natural_key)):
            if pattern is not None:
                sources.setdefault(parameter, []).append((name, pattern))
        by_pattern = {pattern: each for each in self._transforms()[1] for pattern in each.source_patterns}
        return ConvertedWeights(self.model, by_pattern, sources)

    def _loaded_into(self, stored: Iterable[str]) -> Iterator[tuple[str, str, str | None]]:
        """Yields the name of each stored tensor that is loaded, its parameter, and the pattern of the conversion; None without one."""
        # transformers has no public function for how it renames while it loads; `from_pretrained` itself calls this one.
        from transformers.core_model_loading import rename_source_key

        renamings, converters = self._transforms()
        known, prefix = self.model.state_dict(), self.model.base_model_prefix
        for name in stored:
            parameter, pattern = rename_source_key(name, renamings, converters, prefix, known)
            if parameter not in known and name in known:
                parameter, pattern = rename_source_key(name, [], [], prefix, known)
            if parameter in known:
                yield name, parameter, pattern

    @property
    def converts(self) -> bool:
        """Whether transformers may join or split tensors of such a model while it loads them."""
        return bool(self._transforms()[1])

    def _transforms(self) -> tuple[list[Any], list[Any]]:
        """Returns what transformers does while it loads such a model: renamings, and conversions of values."""
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming

        transforms = get_model_conversion_mapping(self.model)
        renamings, converters = ([each for each in transforms if isinstance(each, kind)] for kind in (WeightRenaming, WeightConverter))
        return renamings, converters

    def missing(self, loaded: Collection[str]) -> list[str]:
        """Returns the parameters that are not among those `loaded`, of tied ones under none of their names."""
        names: dict[int, list[str]] = {}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        optional = getattr(self.model, "_keys_to_ignore_on_load_missing", None) or ()
        missing = [tied[0] for tied in names.values() if not any(name in loaded for name in tied)]
        return [name for name in missing if not any(re.search(pattern, name) for pattern in optional)]

    def set_values(self, tensors: Mapping[str, Tensor]) -> None:
        """Give parameters these values, under all of their names."""
        replacements = {id(self.parameter(name)): nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()}
        for module in self.model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) in replacements:
                    module._parameters[name] = replacements[id(parameter)]

    def drop_values(self, names: Iterable[str]) -> None:
        """Put parameters back on the meta device, so that their memory can be freed."""
        self.set_values({name: self.parameter(name).to("meta") for name in names})


def _positions(first: int | slice | Tensor, length: int) -> Iterable[int]:
    """Returns the positions on the first axis that the first entry of an index names."""
    if isinstance(first, int):
        return (first,)
    return range(length)[first] if isinstance(first, slice) else first.flatten().tolist()


def _runs(positions: Iterable[int]) -> list[range]:
    """Returns positions as runs without gaps.

    >>> _runs({4, 2, 3, 9})
    [range(2, 5), range(9, 10)]
    """
    runs: list[range] = []
    for position in sorted(positions):
        if runs and runs[-1].stop == position:
            runs[-1] = range(runs[-1].start, position + 1)
        else:
            runs.append(range(position, position + 1))
    return runs
