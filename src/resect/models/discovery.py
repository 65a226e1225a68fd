"""Discovery: the layout of a model whose type has no line in the FAMILIES table, from its modules and a tiny model of its configuration.

The modules of the real model are built without weights, for their shapes; those of a tiny model with random weights, to prove what each
matrix does (`block_roles`). A matrix without a proved role has the path of its module as its role. Knows no family.
"""

import contextlib
import itertools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from resect.core.address import STACKS, Site, Stack, path_role
from resect.core.errors import NotYet, UnknownFamily

from .block_kinds import KindOfBlock, kinds_of
from .block_lists import BlockList, block_lists, common_path, embedding_paths, unknown
from .expert_roles import expert_parameters, experts_layout, router_part
from .families import Kind
from .fused_rows import role_sizes
from .layout import BlockLayout, MatrixPart, ModelLayout, StackLayout
from .small_models import build_tiny, own_class, short, trusted_class
from .tiny_model import Calls, TinyModel, named_linears


def kind_of(config: Any) -> tuple[Kind, Any]:
    """Returns the kind of a model, and the class that builds it from a configuration. Raises UnknownFamily."""
    import transformers

    trusted = trusted_class(config)
    if trusted is not None:
        return trusted
    stated = " ".join(getattr(config, "architectures", None) or ())
    has = lambda mapping: type(config) in mapping
    causal, masked = has(transformers.MODEL_FOR_CAUSAL_LM_MAPPING), has(transformers.MODEL_FOR_MASKED_LM_MAPPING)
    if getattr(config, "is_encoder_decoder", False) and has(transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING):
        return "encoder-decoder", transformers.AutoModelForSeq2SeqLM
    if masked and not getattr(config, "is_decoder", False) and not (causal and "CausalLM" in stated):
        return "masked", transformers.AutoModelForMaskedLM
    if causal:
        return "causal", transformers.AutoModelForCausalLM
    if has(transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING):
        return "causal", transformers.AutoModelForSeq2SeqLM  # text behind another medium
    own = own_class(config)
    if own is not None:
        return "causal", own
    raise UnknownFamily(f"{unknown(config)} transformers has no class for text from it.")


def discover(config: Any) -> ModelLayout:
    """Returns the layout of a configuration. Raises UnknownFamily where nothing is found, NotYet for unknown mixtures of experts."""
    kind, model_class = kind_of(config)
    with quiet(), torch.device("meta"):
        try:
            full = model_class.from_config(config)
        except Exception as error:  # code of any model type may fail in any way
            raise UnknownFamily(f"{unknown(config)} Its modules cannot be built from its configuration: {short(error)}.") from error
    _refuse_expert_modules(config, full)
    with quiet(), torch.device("cpu"):
        tiny = build_tiny(kind, model_class, config)
        calls = tiny.record({path: module for path, module in tiny.model.named_modules() if path})
        try:
            return _discovered(config, full, tiny, calls)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise UnknownFamily(f"{unknown(config)} Its blocks cannot be examined: {short(error)}.") from error


def _discovered(config: Any, full: nn.Module, tiny: TinyModel, calls: dict[str, Calls]) -> ModelLayout:
    lists = block_lists(config, tiny, calls)
    by_stack = {
        stack: next(found for found in lists if found.stack == stack) for stack in STACKS if any(found.stack == stack for found in lists)
    }
    embeddings = {stack: embedding_paths(tiny, calls, stack) for stack in by_stack}
    backbone = common_path(
        [path.rpartition(".")[0] for found in by_stack.values() for path in found.lists]
        + [path for paths in embeddings.values() for path in paths]
    )
    relative = lambda path: path.removeprefix(f"{backbone}.") if backbone else path
    stacks: dict[Stack, StackLayout] = {}
    kinds = _agreed_kinds(config, full, tiny, calls, by_stack)
    notes, covered, total = [], 0, 0
    for stack, found in by_stack.items():
        real = found.blocks(full)
        layouts: dict[tuple[int, tuple[Any, ...]], BlockLayout] = {}
        blocks = []
        for block, kind in zip(real, kinds[stack], strict=True):
            shapes = tuple((path, tuple(module.weight.shape)) for path, module in named_linears(block))  # type: ignore[arg-type]
            blocks.append(layouts.setdefault((id(kind), shapes), block_layout(kind, block, config.get_text_config())))
            covered += sum(block.get_parameter(name).numel() for name in _covered_parameters(kind, block))
            total += sum(matrix_parameters(block).values())
        d_ff = max((block.d_ff for block in blocks), default=0)
        stacks[stack] = StackLayout(
            relative(found.path),
            tuple(blocks),
            tuple(map(relative, embeddings[stack])),
            _d_model(blocks, config),
            d_ff,
            tuple(map(relative, found.paths)) if len(found.lists) > 1 else (),
        )
        notes += _notes(stack, tiny, calls, found, kinds[stack])
    _refuse_other_experts(config, full, by_stack, kinds)
    if not covered:
        raise UnknownFamily(f"{unknown(config)} Its blocks have no linear module.")
    share = covered / total
    if share < 1:
        notes.append(
            f"{100 * (1 - share):.1f} % of the parameters of its blocks' matrices are not covered: they are in no linear module that "
            "text reaches."
        )
    return ModelLayout(config.model_type, tiny.kind, stacks, tuple(notes), is_listed=False, covered=share)


def _agreed_kinds(
    config: Any, full: nn.Module, tiny: TinyModel, calls: dict[str, Calls], lists: Mapping[Stack, BlockList]
) -> dict[Stack, tuple[KindOfBlock, ...]]:
    """Returns the kind of each block; where weights are fused, what is found at two sizes, so that the rule of their rows holds at any."""
    first = _kinds_by_stack(config, full, tiny, calls, lists)
    are_fused = any(rule.rule != "complete" for kinds in first.values() for kind in kinds for rule in kind.fused.values())
    if not are_fused:
        return first
    other = build_tiny(*kind_of(config), config, larger=True)
    if other.config.to_dict() == tiny.config.to_dict():
        return first
    other_calls = other.record({path: module for path, module in other.model.named_modules() if path})
    second = _kinds_by_stack(config, full, other, other_calls, lists)
    agreed: dict[tuple[int, int], KindOfBlock] = {}
    return {
        stack: tuple(agreed.setdefault((id(one), id(two)), one.agreed(two)) for one, two in zip(first[stack], second[stack], strict=True))
        for stack in first
    }


def _kinds_by_stack(
    config: Any, full: nn.Module, tiny: TinyModel, calls: dict[str, Calls], lists: Mapping[Stack, BlockList]
) -> dict[Stack, tuple[KindOfBlock, ...]]:
    kinds = {}
    for stack, found in lists.items():
        before = [other.blocks(tiny.model) for other in lists.values() if other.stack == "encoder" != stack]
        kinds[stack] = kinds_of(config, full, tiny, calls, found, list(itertools.chain(*before)))
    return kinds


def block_layout(kind: KindOfBlock, block: nn.Module, config: Any) -> BlockLayout:
    """Returns the layout of one block: shapes are those of its modules."""
    linears = dict(named_linears(block))
    shape = lambda path: _shape(linears[path])
    path_of = {role: path for path, fused in kind.fused.items() for role in fused.roles}
    matrices = {}
    for path, fused in kind.fused.items():
        prefix = "cross_" if fused.roles[0].startswith("cross_") else ""
        o, down = path_of.get(f"{prefix}o"), path_of.get("down")
        sizes = role_sizes(fused.roles, shape(path)[0], shape(o)[1] if o else 0, shape(down)[1] if down else 0)
        for role, rows in fused.rows(sizes, config).items():
            matrices[kind.name(role, path)] = _part(path, linears[path], sizes[role], rows, kind)
    for path in kind.unproved:
        matrices[path_role(path)] = _part(path, linears[path], shape(path)[0], None, kind)
    if kind.experts is not None and kind.experts.router is not None:
        matrices["router"] = router_part(kind.experts.router, block)
    moments = {kind.name(role, part.path): part for role, part in kind.moments.items()}
    in_order = lambda name: Site.parse(f"decoder.0.{name}").model_order
    experts = None if kind.experts is None else experts_layout(kind.experts, block)
    return BlockLayout({name: matrices[name] for name in sorted(matrices, key=in_order)}, moments, experts)


def _covered_parameters(kind: KindOfBlock, block: nn.Module) -> Iterator[str]:
    """Yields the names, in the block, of the parameters of its sites that count as matrices."""
    yield from (f"{path}.weight" for path in (*kind.fused, *kind.unproved))
    experts = frozenset() if kind.experts is None else expert_parameters(kind.experts)
    yield from (name for name in sorted(experts) if block.get_parameter(name).dim() > 1)


def _part(path: str, module: nn.Module, out: int, rows: Any, kind: KindOfBlock) -> MatrixPart:
    weight: Any = module.weight
    shape, stored = (out, _shape(module)[1]), tuple(weight.shape)
    return MatrixPart(path, shape, rows, stored, isinstance(module, Conv1D), path in kind.flat, by_row=path not in kind.not_by_row)


def matrix_parameters(block: nn.Module) -> dict[int, int]:
    """Returns by identity the sizes of a module's parameters that are no vectors and no embeddings."""
    modules = [module for module in block.modules() if not isinstance(module, nn.Embedding)]
    return {id(own): own.numel() for module in modules for own in module.parameters(recurse=False) if own.dim() > 1}


def _shape(module: nn.Module) -> tuple[int, int]:
    weight: Any = module.weight
    shape = tuple(weight.shape)
    return (shape[1], shape[0]) if isinstance(module, Conv1D) else (shape[0], shape[1])


def _d_model(blocks: Sequence[BlockLayout], config: Any) -> int:
    for role in ("down", "o"):
        for block in reversed(blocks):
            if role in block.matrices:
                return block.matrices[role].shape[0]
    return int(config.get_text_config().hidden_size)


def _notes(stack: Stack, tiny: TinyModel, calls: dict[str, Calls], found: BlockList, kinds: Sequence[KindOfBlock]) -> list[str]:
    notes = []
    if len(found.lists) > 1:
        notes.append(
            f"The blocks of the {stack} are in {len(found.lists)} lists ({', '.join(found.lists)}): its layers are these blocks in the "
            "order in which they compute."
        )
    most = max(
        len(calls[f"{found.paths[layer]}.{path}"].outputs) for layer, kind in enumerate(kinds) for path in (*kind.fused, *kind.unproved)
    )
    if most > 1:
        notes.append(f"The same weights of the {stack} compute several times in one pass: each is one site.")
    not_by_row = sorted({path for kind in kinds for path in kind.not_by_row})
    if not_by_row:
        notes.append(
            f"Matrices of the {stack} whose values are not of one text each, so that nothing is attributed to their units: "
            f"{', '.join(not_by_row)}."
        )
    not_run = sorted({path for kind in kinds for path in kind.not_run})
    if not_run:
        notes.append(f"Matrices of the {stack} that text does not reach, or that compute more than a product: {', '.join(not_run)}.")
    return notes


# -- refusals ----------------------------------------------------------------------------------------------------------


def _refuse_expert_modules(config: Any, full: nn.Module) -> None:
    """Raises NotYet for experts that are modules of their own: which tokens they see is not known."""
    for name, module in full.named_modules():
        if isinstance(module, nn.Linear) and re.search(r"expert\w*\.\w*\d", name) and "shared" not in name:
            raise NotYet(
                f"This {config.model_type} model is not covered yet. Each expert of its mixtures of experts is a module of its own "
                f"({name}), and which tokens it sees is not known; use a dense model, or one whose experts share a parameter."
            )


def _refuse_other_experts(
    config: Any, full: nn.Module, lists: Mapping[Stack, BlockList], kinds: Mapping[Stack, Sequence[KindOfBlock]]
) -> None:
    """Raises NotYet for mixtures of experts that are not understood: most of the model would not be covered."""
    for stack, found in lists.items():
        for block, kind in zip(found.blocks(full), kinds[stack], strict=True):
            known = set(_covered_parameters(kind, block))
            for name, parameter in block.named_parameters():
                if "expert" in name and "shared" not in name and parameter.dim() > 1 and name not in known:
                    raise NotYet(
                        f"This {config.model_type} model is not covered yet. Its feed-forward blocks are mixtures of experts ({name}) "
                        "whose products do not show which matrix is which; use a dense model."
                    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences what transformers says of configurations that nobody loads."""
    import transformers

    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
