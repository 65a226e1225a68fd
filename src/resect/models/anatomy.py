"""Anatomy: where a model's weight matrices and moments are, how large they are, and how to read and write them.

Knows a module and its configuration; knows no tokens, no tasks and no edits. The differences between families are in the table of
`families`.
"""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from resect.core.address import ALL_EXPERTS, Site, Stack
from resect.core.errors import BadModel, InputError, NotWritable, UnknownName

from .anatomy_parts import NeuronCount, Slot, Tap
from .families import Kind, family_of
from .layout import BlockLayout, MatrixPart, ModelLayout, StackLayout, layout_of_line
from .storage import (
    PLAIN_DTYPES,
    Index,
    Units,
    count_parameters,
    expert_index,
    find_stacks,
    plain_parameter,
    rectangle_index,
    select_rows,
    unit_positions,
)


class Anatomy:
    """The sites of one model.

    Made by `of` (from a module, on any device, also meta) or `of_config` (without a module: nothing to read or write).

    Attributes
    ----------
    family : the `model_type`
    kind : "causal", "encoder-decoder" or "masked"
    layers : the number of blocks, by stack
    d_model, d_ff : sizes of the last stack; d_ff of its widest feed-forward block, or expert
    experts : the most experts of a layer, by stack; empty where there are none
    gated : whether post = act · up (else post = act)
    sites, moments : the matrices, and the moments, in model order
    neurons : the number of output units of all matrices
    not_covered : sentences on what is not covered
    is_listed : whether the family is in the table FAMILIES; otherwise its layout was discovered
    covered : the share of the parameters of the blocks' matrices that are at sites, for a discovered layout
    root : the module, or None
    """

    def __init__(self, layout: ModelLayout, config: Any, root: nn.Module | None) -> None:
        self.family, self.is_listed, self.covered = layout.family, layout.is_listed, layout.covered
        self.kind: Kind = layout.kind
        self.root, self._config = root, config
        stacks = layout.stacks
        self._prefix, present = ("", tuple(stacks)) if root is None else find_stacks(layout.family, root, stacks)
        lacking = [f"The {stack} is not part of this model." for stack in stacks if stack not in present]
        self.not_covered: tuple[str, ...] = (*layout.not_covered, *lacking)
        self._stacks: dict[Stack, StackLayout] = {stack: stacks[stack] for stack in present}
        self.layers: dict[Stack, int] = {stack: len(layout.blocks) for stack, layout in self._stacks.items()}
        numbers = {stack: [block.experts.number for block in own.blocks if block.experts] for stack, own in self._stacks.items()}
        self.experts: dict[Stack, int] = {stack: max(own) for stack, own in numbers.items() if own}
        last = self._stacks[present[-1]]
        self.d_model, self.d_ff = last.d_model, last.d_ff
        blocks = [(stack, layer, block) for stack in present for layer, block in enumerate(self._stacks[stack].blocks)]
        self.sites = tuple(site for stack, layer, block in blocks for site in block.sites(stack, layer))
        self.moments = tuple(site for stack, layer, block in blocks for site in block.moment_sites(stack, layer))
        self.gated = any(site.role == "gate" for site in self.sites if site.stack == present[-1])
        self._known = frozenset((*self.sites, *self.moments))
        by_role: dict[str, int] = {}
        for site in self.sites:
            by_role[site.role] = by_role.get(site.role, 0) + self.width(site)
        self.neurons = NeuronCount.of(by_role)
        if root is not None:
            self._check_storage()

    @classmethod
    def of(cls, module: nn.Module) -> "Anatomy":
        """Returns the anatomy of a Hugging Face model, with any head, on any device, also meta.

        Where the family has no line in the table, its layout is discovered, once for each configuration (see `discovery`). Raises
        UnknownFamily where none is found, NotYet, and BadModel where the modules are not those of the family's line.
        """
        config = getattr(module, "config", None)
        if config is None:
            raise BadModel(f"A {type(module).__name__} has no config; give a model of Hugging Face transformers.")
        return cls(_layout(config), config, module)

    @classmethod
    def of_config(cls, config: Any) -> "Anatomy":
        """Returns the anatomy of a configuration alone, as transformers reads it: sites, shapes and counts, no weights.

        Raises UnknownFamily, NotYet.
        """
        return cls(_layout(config), config, None)

    def __repr__(self) -> str:
        return f"Anatomy({self.family}, {len(self.sites)} matrices, {self.neurons} neurons)"

    def check(self, site: Site | str) -> Site:
        """Returns the site, if this model has it. Raises UnknownName, with the nearest one that it has."""
        site = Site.of(site)
        if site in self._known or (site.is_joint and replace(site, expert=0) in self._known and not site.is_moment):
            return site
        stack: Stack = site.stack if site.stack in self.layers else next(iter(self.layers))
        last = self.layers[stack] - 1
        layer = min(site.layer, last)
        block = self._stacks[stack].blocks[layer]
        known = (f"{stack}.{layer}.{name}" for name in block.names)
        hint = f"The layers of its {stack} are 0 to {last}."
        if block.experts is not None:
            hint += f" The experts of layer {layer} are 0 to {block.experts.number - 1}: expert0 and so on."
        elif site.expert is not None:
            hint += f" Its layer {layer} has no experts."
        if site.role == "gate" and not self.gated:
            hint += " Its feed-forward block has no gate: the activation function reads `up` alone."
        raise UnknownName(f"site of this {self.family} model", str(site), known, hint)

    def each(self, site: Site | str) -> tuple[Site, ...]:
        """Returns the matrices that an address names: of all experts of a layer (`decoder.3.experts.up`) each, else the one."""
        site = self.check(site)
        experts = self._block(site).experts
        if not site.is_joint or experts is None:
            return (site,)
        return tuple(replace(site, expert=number) for number in range(experts.number))

    @property
    def joint_sites(self) -> tuple[Site, ...]:
        """The addresses of the matrices of one role of all experts of a layer, in model order."""
        return tuple(replace(site, expert=ALL_EXPERTS) for site in self.sites if site.expert == 0)

    def _single(self, site: Site | str) -> Site:
        """Returns the address of one matrix. Raises InputError for that of all experts of a layer, and as `check`."""
        site = self.check(site)
        if site.is_joint:
            raise InputError(f"{site} names one matrix of each expert; take one of them: {self.each(site)[0]}, and so on.")
        return site

    def shape(self, site: Site | str) -> tuple[int, int]:
        """Returns (out, in) of a matrix, from the configuration. Raises UnknownName for a moment."""
        return self._part(site).shape

    def width(self, site: Site | str) -> int:
        """Returns the number of units: the rows of a matrix, d_ff at a moment."""
        site = self.check(site)
        return self._part(site.at("down")).shape[1] if site.is_moment else self._part(site).shape[0]

    def slot(self, site: Site | str) -> Slot:
        """Returns where a matrix is stored."""
        site, part = self._matrix(site), self._part(site)
        return Slot(self._path(site, part.path), part.rows, part.transposed, part.weight, part.bias, site.routed_expert)

    def tap(self, site: Site | str) -> Tap:
        """Returns where a moment, or the output of a matrix (with its bias), can be observed and changed."""
        site = self._single(site)
        expert = site.routed_expert
        moment = self._block(site).moment(site)
        if moment is not None:
            return Tap(self._path(site, moment.path), moment.when, None, moment.flat, moment.weight, expert)
        part = self._part(site)
        return Tap(self._path(site, part.path), "output", part.rows, part.flat, part.weight if part.in_product else "", expert)

    def block_path(self, stack: Stack, layer: int) -> str:
        """Returns the path of a block from the model's root."""
        return f"{self._prefix}{self._stacks[stack].block_path(layer)}"

    @property
    def lists(self) -> tuple[str, ...]:
        """The paths of the lists of blocks, relative to the backbone."""
        return tuple(layout.path for layout in self._stacks.values())

    def _path(self, site: Site, path: str) -> str:
        return f"{self.block_path(site.stack, site.layer)}.{path}"

    def _matrix(self, site: Site | str) -> Site:
        site = self.check(site)
        if site.is_moment:
            known = map(str, self._block(site).sites(site.stack, site.layer))
            hint = f"`{site.role}` is a moment of the computation and has no weight."
            raise UnknownName("matrix", str(site), known, hint)
        return site

    def _part(self, site: Site | str) -> MatrixPart:
        site = self._matrix(site)
        part = self._block(site).matrix(site)
        if part is None:  # `check` found the site in this block
            raise LookupError(str(site))
        return part

    def _block(self, site: Site) -> BlockLayout:
        return self._stacks[site.stack].blocks[site.layer]

    def module(self, site: Site | str) -> nn.Module:
        """Returns the module with a matrix, or at which a moment is tapped. Raises InputError without a model."""
        return self._model().get_submodule(self.tap(site).path)

    @property
    def backbone(self) -> nn.Module:
        """The module with the stacks, without the head. Raises InputError without a model."""
        return self._model().get_submodule(self._prefix.removesuffix("."))

    @property
    def embeddings(self) -> list[nn.Module]:
        """The modules whose outputs become the first hidden states, each once; each stack may have its own.

        Raises InputError without a model.
        """
        paths = [path for layout in self._stacks.values() for path in layout.embeddings]
        return list({id(module): module for module in map(self.backbone.get_submodule, paths)}.values())

    @property
    def head(self) -> nn.Module | None:
        """The module that computes logits from hidden states, or None. Raises InputError without a model."""
        get = getattr(self._model(), "get_output_embeddings", None)
        head = None if get is None else get()
        return head if isinstance(head, nn.Module) else None

    @property
    def parameters(self) -> int | None:
        """The number of parameters of the model, tied ones once; for a configuration alone it is built on meta."""
        if self.root is None:
            return count_parameters(self._config, self.kind)
        count = getattr(self.root, "num_parameters", None)  # counts packed 4-bit weights correctly
        return int(count() if callable(count) else sum(parameter.numel() for parameter in self.root.parameters()))

    def _model(self) -> nn.Module:
        if self.root is None:
            raise InputError(f"This anatomy of a {self.family} has a configuration, no model; use Anatomy.of(model).")
        return self.root

    def weight(self, site: Site | str) -> Float[Tensor, "out inside"]:
        """Returns a matrix as [out, in], whatever its storage: a view where strides allow, else a copy (to write, use `write`).

        Without gradient, also on meta. Raises NotWritable where it is not stored as plain numbers.
        """
        site, slot = self._matrix(self._single(site)), self.slot(site)
        stored = plain_parameter(self.module(site), slot.weight, str(site), meta=True).detach()
        stored = stored if slot.expert is None else stored[slot.expert]
        return select_rows(stored.T if slot.transposed else stored, slot.rows)

    def bias(self, site: Site | str) -> Float[Tensor, " out"] | None:
        """Returns the bias of a matrix, a view or a copy as `weight` does; None where it has none. Raises NotWritable."""
        site, slot = self._matrix(self._single(site)), self.slot(site)
        if not self.has_bias(site):
            return None
        stored = plain_parameter(self.module(site), slot.bias, str(site), meta=True).detach()
        return select_rows(stored if slot.expert is None else stored[slot.expert], slot.rows)

    def has_gate(self, site: Site | str) -> bool:
        """Returns whether the block of a site has a gate, so that its `act` and `post` differ."""
        return Site.of(site).at("gate") in self._known

    def is_by_row(self, site: Site | str) -> bool:
        """Returns whether the values at a matrix are of one row of tokens each: not those that are the same for all rows of a batch."""
        return self._part(site).by_row

    def up_offset(self, site: Site | str) -> float:
        """Returns c of post = act · (up + c), in a block with a gate: 0, but in some mixtures of experts 1."""
        experts = self._block(self.check(site)).experts
        return experts.offset if experts is not None and Site.of(site).is_routed else 0.0

    def has_bias(self, site: Site | str) -> bool:
        """Returns whether a matrix has a bias."""
        site = self._matrix(site)
        module = self.module(site)
        return getattr(getattr(module, "base_layer", module), self.slot(site).bias, None) is not None

    def locate(self, site: Site | str, rows: Units = None, columns: Units = None) -> tuple[nn.Parameter, Index]:
        """Returns where rows and columns of a matrix are stored (None: all of them): a parameter and an index.

        `parameter.data[index]` is exactly these entries, [rows, columns]; [columns, rows] where the slot is transposed. Of a parameter
        with one matrix of each expert, the index begins with the expert's number.
        Raises NotWritable, and InputError for a row or column that does not exist.
        """
        site, slot = self._matrix(self._single(site)), self.slot(site)
        parameter = plain_parameter(self.module(site), slot.weight, str(site))
        out, inside = self.shape(site)
        row_positions = unit_positions(rows, slot.rows, out, str(site), parameter.device)
        column_positions = unit_positions(columns, None, inside, f"the input of {site}", parameter.device)
        axes = (column_positions, row_positions) if slot.transposed else (row_positions, column_positions)
        return parameter, (*expert_index(slot.expert), *rectangle_index(*axes))

    def locate_bias(self, site: Site | str, rows: Units = None) -> tuple[nn.Parameter, Index]:
        """Returns where bias entries are stored, as `locate` does. Raises NotWritable, also where there is no bias."""
        site, slot = self._matrix(self._single(site)), self.slot(site)
        if not self.has_bias(site):
            raise NotWritable(f"{site} has no bias to write to; use the activation form.")
        parameter = plain_parameter(self.module(site), slot.bias, str(site))
        positions = unit_positions(rows, slot.rows, self.width(site), str(site), parameter.device)
        return parameter, (*expert_index(slot.expert), positions)

    def write(self, site: Site | str, rows: Units, values: Any) -> None:
        """Write `values`, broadcast to [rows, in], into rows of a matrix (None: all), in place.

        Raises NotWritable, InputError, before anything is written.
        """
        self._write_entries(site, rows, None, values)

    def write_columns(self, site: Site | str, columns: Units, values: Any) -> None:
        """Write `values`, broadcast to [out, columns], into columns of a matrix, in place. Raises as `write`."""
        self._write_entries(site, None, columns, values)

    def write_bias(self, site: Site | str, rows: Units, values: Any) -> None:
        """Write `values`, broadcast to [rows], into bias entries of a matrix, in place. Raises as `write`."""
        parameter, index = self.locate_bias(site, rows)
        with torch.no_grad():
            parameter.data[index] = torch.as_tensor(values).to(parameter)

    def _write_entries(self, site: Site | str, rows: Units, columns: Units, values: Any) -> None:
        parameter, index = self.locate(site, rows, columns)
        out, inside = self.shape(site)
        size = (out if rows is None else len(rows), inside if columns is None else len(columns))
        new = torch.as_tensor(values).detach().to(parameter).broadcast_to(size)
        with torch.no_grad():
            parameter.data[index] = new.T if self.slot(site).transposed else new

    def _check_storage(self) -> None:
        """Raises BadModel where the shape of a plain weight is not that of the configuration."""
        for site in self.sites:
            if site.is_routed and site.expert:  # one parameter holds the matrices of all experts
                continue
            weight, expected = getattr(self.module(site), self.slot(site).weight, None), self._part(site).stored
            if isinstance(weight, Tensor) and weight.dtype in PLAIN_DTYPES and tuple(weight.shape) != expected:
                raise BadModel(
                    f"{site} is stored as {list(weight.shape)}, but the configuration of this {self.family} says "
                    f"{list(expected)}; a model whose heads or units were pruned is not covered."
                )


def _layout(config: Any) -> ModelLayout:
    name, family = family_of(config)
    if family is not None:
        return layout_of_line(name, family, config)
    from .discovery_cache import discovered_layout  # slow, and needed only here

    return discovered_layout(config)


def anatomy_of(model: Any) -> Anatomy:
    """Returns the anatomy of a LanguageModel or of a Hugging Face model, or the anatomy itself. Raises InputError, UnknownFamily."""
    if isinstance(model, Anatomy):
        return model
    own = getattr(model, "anatomy", None)
    if isinstance(own, Anatomy):
        return own
    if not isinstance(model, nn.Module):
        raise InputError(f"A {type(model).__name__} is no model; give a LanguageModel or a Hugging Face model.")
    return Anatomy.of(model)
