"""Replay: run a model again from one layer on; whatever lies below answers from memory.

The model's own code runs, embeddings, masks, norms and head included. Only the blocks below a boundary (and the attention of the block
above it) return what they returned before, call by call, so that logits are those of a full run on the same batch to the last bit. Knows
modules and their calls; knows no token, no task and no edit.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from transformers.cache_utils import Cache, EncoderDecoderCache

from resect.core.address import Site, Stack
from resect.core.errors import InputError
from resect.models.anatomy import Anatomy

#: Matrices after which attention stands no more: an edit there leaves the attention of its own layer as it was.
FEED_FORWARD = ("gate", "up", "down")


@dataclass(frozen=True)
class LayerBoundary:
    """The place between the attention and the feed-forward block of one layer."""

    stack: Stack
    layer: int

    @classmethod
    def below(cls, site: Site) -> "LayerBoundary":
        """The boundary to replay from after an edit at this matrix (see `LayerCache.answering` for an edit of attention)."""
        return cls(site.stack, site.layer)


@dataclass
class CachedOutputs:
    """What the modules below a boundary gave in one run: by path, the outputs in the order of the calls.

    `attention`: whether those of the attention of the boundary's own layer are among them.
    """

    at: LayerBoundary
    attention: bool = True
    calls: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """How much is held; what stands there twice counts once."""
        held = {id(tensor): tensor for outputs in self.calls.values() for tensor in _tensors(outputs)}
        return sum(tensor.numel() * tensor.element_size() for tensor in held.values())


class LayerCache:
    """Remembers runs of one model, and plays them again.

    A run is any sequence of calls of the model, with a key/value cache or without one; a replay makes the same calls with the same batch.
    Nothing of the model is replaced for good: while a run is played, some modules' `forward` is shadowed.

    Raises InputError for an anatomy without a model.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        if anatomy.root is None:
            raise InputError("A replay needs a model; this anatomy was read from a configuration alone.")
        self._anatomy, self._root = anatomy, anatomy.root

    @contextlib.contextmanager
    def recording(self, at: LayerBoundary, *, attention: bool = True) -> Iterator[CachedOutputs]:
        """Remember what lies below `at` while a run is made. The blocks above compute nothing, so the run's own results are void.

        attention : whether the attention of the boundary's own layer is remembered too; not while it is edited
        """
        memory = CachedOutputs(at, attention)
        modules = self._attention(at) if attention else []
        latest: list[Any] = [None]
        with contextlib.ExitStack() as stack:
            for path in (*modules, *self._others(at)):
                keep = _keeper(memory.calls.setdefault(path, []), path in modules)
                stack.callback(self._module(path).register_forward_hook(keep).remove)
            own = self._module(self._anatomy.block(at.stack, at.layer))
            stack.callback(own.register_forward_hook(_holder(latest)).remove)
            for layer in range(at.layer + 1, self._anatomy.layers[at.stack]):
                block = self._module(self._anatomy.block(at.stack, layer))
                stack.enter_context(shadowed(block, _answer(lambda: latest[0], layer)))
            yield memory

    @contextlib.contextmanager
    def answering(self, memory: CachedOutputs, *, attention: bool) -> Iterator[None]:
        """Let what lies below the memory's boundary answer from it, while the run is made once more.

        attention : whether the attention of the boundary's own layer answers too; not so after an edit of that attention
        """
        at = memory.at
        with contextlib.ExitStack() as stack:
            for place, path in enumerate(self._attention(at) if attention else ()):
                # Self-attention stands first and fills the cache; cross-attention's is never asked for its length.
                recall = _recall(memory.calls[path])
                stack.enter_context(shadowed(self._module(path), _answer(recall, None if place else at.layer)))
            for layer in range(at.layer):
                held = memory.calls[self._anatomy.block(at.stack, at.layer - 1)]
                block = self._module(self._anatomy.block(at.stack, layer))
                # Every block below gives what the last of them gave: nobody looks at the others.
                stack.enter_context(shadowed(block, _answer(_recall(held), layer)))
            for path in self._encoder(at):
                stack.enter_context(shadowed(self._module(path), _answer(_recall(memory.calls[path]), None)))
            yield

    def _module(self, path: str) -> nn.Module:
        return self._root.get_submodule(path)

    def _attention(self, at: LayerBoundary) -> list[str]:
        """Paths of the attention modules of a layer: of self-attention, and of cross-attention where there is any."""
        found = []
        for roles in (("q", "k", "v", "o"), ("cross_q", "cross_k", "cross_v", "cross_o")):
            paths = [self._anatomy.slot(site).path for site in self._sites(at, roles)]
            if paths:
                shared = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*(path.split(".") for path in paths), strict=False))
                found.append(".".join(parts[0] for parts in shared))
        return found

    def _sites(self, at: LayerBoundary, roles: Sequence[str]) -> list[Site]:
        return [site for site in self._anatomy.sites if (site.stack, site.layer) == (at.stack, at.layer) and site.role in roles]

    def _others(self, at: LayerBoundary) -> list[str]:
        """Paths of what else the part above a boundary is fed by: the block below, and the encoder of a decoder."""
        return [*([self._anatomy.block(at.stack, at.layer - 1)] if at.layer else []), *self._encoder(at)]

    def _encoder(self, at: LayerBoundary) -> list[str]:
        if at.stack == "encoder" or "encoder" not in self._anatomy.layers:
            return []
        return [self._anatomy.block("encoder", 0).rsplit(".", 2)[0]]


@contextlib.contextmanager
def shadowed(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """A module that calls another function, for a while. Its hooks run as ever."""
    held = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if held is None:
            del module.forward
        else:
            module.forward = held


def _answer(recall: Callable[[], Any], fills: int | None) -> Callable[..., Any]:
    """A forward that computes nothing. `fills`: the layer of the cache that grows as if it had, since masks are made by its length."""

    def forward(*given: Any, **named: Any) -> Any:
        if fills is not None:
            _lengthen(given, named, fills)
        return recall()

    return forward


def _lengthen(given: Sequence[Any], named: dict[str, Any], layer: int) -> None:
    values = (*given, *named.values())
    caches = [value for value in values if isinstance(value, Cache)]
    if not caches:
        return
    cache = caches[0].self_attention_cache if isinstance(caches[0], EncoderDecoderCache) else caches[0]
    hidden = next(value for value in values if isinstance(value, Tensor) and value.ndim == 3)
    # One number a token stands in for its keys, and for its values: nobody reads them.
    nothing = hidden[:, None, :, :1]
    cache.update(nothing, nothing, layer)


def _recall(outputs: list[Any]) -> Callable[[], Any]:
    calls = iter(outputs)
    return lambda: next(calls)


def _keeper(calls: list[Any], is_attention: bool) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
        # Attention gives its weights last, [rows, heads, tokens, tokens]: large, and for reporting only.
        calls.append((*output[:-1], None) if is_attention and isinstance(output, tuple) and len(output) > 1 else output)

    return hook


def _holder(latest: list[Any]) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
        latest[0] = output

    return hook


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
