"""Run a model again from one layer on: the modules below return what they returned before.

The model's own code runs, embeddings, masks, norms and head included. Only the blocks below a boundary (and the attention of the block
above it) return cached outputs, call by call, so that logits are those of a full run on the same batch to the last bit.

Knows modules and their calls; knows no token, no task and no edit.
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

#: Matrices behind the attention of their layer: an edit there leaves that attention as it was.
FEED_FORWARD = ("gate", "up", "down")


@dataclass(frozen=True)
class LayerBoundary:
    """The boundary between the attention and the feed-forward block of one layer."""

    stack: Stack
    layer: int

    @classmethod
    def below(cls, site: Site) -> "LayerBoundary":
        """Returns the boundary to replay from after an edit at this matrix (see `LayerCache.replaying` for an edit of attention)."""
        return cls(site.stack, site.layer)


@dataclass
class CachedOutputs:
    """The outputs of the modules below a boundary in one run, by path, in the order of the calls.

    `attention`: whether those of the attention of the boundary's own layer are among them.
    """

    boundary: LayerBoundary
    attention: bool = True
    calls: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """The size of all tensors; one that occurs twice counts once."""
        tensors = {id(tensor): tensor for outputs in self.calls.values() for tensor in _tensors(outputs)}
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    def depends_on(self, site: Site) -> bool:
        """Returns whether an edit of a matrix changes the outputs."""
        if site.stack != self.boundary.stack:
            return self.boundary.stack == "decoder"
        if site.layer == self.boundary.layer:
            return self.attention and site.role not in FEED_FORWARD
        return site.layer < self.boundary.layer


class LayerCache:
    """Records runs of one model, and replays them.

    A run is any sequence of calls of the model, with a key/value cache or without one; a replay makes the same calls with the same batch.
    Nothing of the model is replaced for good: during a run, the `forward` of some modules is shadowed.

    Raises InputError for an anatomy without a model.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        if anatomy.root is None:
            raise InputError("A replay needs a model; this anatomy was read from a configuration alone.")
        self._anatomy, self._root = anatomy, anatomy.root

    @contextlib.contextmanager
    def recording(self, at: LayerBoundary, *, attention: bool = True) -> Iterator[CachedOutputs]:
        """Records the outputs below `at` during a run. The blocks above compute nothing, so the run's own results are void.

        attention : whether the attention of the boundary's own layer is recorded too; not while it is edited
        """
        outputs = CachedOutputs(at, attention)
        modules = self._attention(at) if attention else []
        latest: list[Any] = [None]
        with contextlib.ExitStack() as stack:
            for path in (*modules, *self._others(at)):
                record = _recording_hook(outputs.calls.setdefault(path, []), path in modules)
                stack.callback(self._module(path).register_forward_hook(record).remove)
            own = self._module(self._anatomy.block_path(at.stack, at.layer))
            stack.callback(own.register_forward_hook(_latest_output_hook(latest)).remove)
            for layer in range(at.layer + 1, self._anatomy.layers[at.stack]):
                block = self._module(self._anatomy.block_path(at.stack, layer))
                stack.enter_context(shadowed(block, _forward_of(lambda: latest[0], layer)))
            yield outputs

    @contextlib.contextmanager
    def replaying(self, outputs: CachedOutputs, *, attention: bool) -> Iterator[None]:
        """Lets the modules below the boundary return cached outputs, while the run is repeated.

        attention : whether the attention of the boundary's own layer does so too; not after an edit of that attention
        """
        at = outputs.boundary
        with contextlib.ExitStack() as stack:
            for place, path in enumerate(self._attention(at) if attention else ()):
                # Self-attention comes first and fills the key/value cache; the length of cross-attention's is never read.
                recall = _recall(outputs.calls[path])
                stack.enter_context(shadowed(self._module(path), _forward_of(recall, None if place else at.layer)))
            for layer in range(at.layer):
                calls = outputs.calls[self._anatomy.block_path(at.stack, at.layer - 1)]
                block = self._module(self._anatomy.block_path(at.stack, layer))
                # Every block below returns the last one's output: only that is read.
                stack.enter_context(shadowed(block, _forward_of(_recall(calls), layer)))
            for path in self._encoder(at):
                stack.enter_context(shadowed(self._module(path), _forward_of(_recall(outputs.calls[path]), None)))
            yield

    def _module(self, path: str) -> nn.Module:
        return self._root.get_submodule(path)

    def _attention(self, at: LayerBoundary) -> list[str]:
        """Returns paths of the attention modules of a layer: of self-attention, and of cross-attention where there is any."""
        modules = []
        for roles in (("q", "k", "v", "o"), ("cross_q", "cross_k", "cross_v", "cross_o")):
            paths = [self._anatomy.slot(site).path for site in self._sites(at, roles)]
            if paths:
                shared = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*(path.split(".") for path in paths), strict=False))
                modules.append(".".join(parts[0] for parts in shared))
        return modules

    def _sites(self, at: LayerBoundary, roles: Sequence[str]) -> list[Site]:
        return [site for site in self._anatomy.sites if (site.stack, site.layer) == (at.stack, at.layer) and site.role in roles]

    def _others(self, at: LayerBoundary) -> list[str]:
        """Returns paths of the other modules that the part above a boundary reads: the block below, and the encoder of a decoder."""
        return [*([self._anatomy.block_path(at.stack, at.layer - 1)] if at.layer else []), *self._encoder(at)]

    def _encoder(self, at: LayerBoundary) -> list[str]:
        if at.stack == "encoder" or "encoder" not in self._anatomy.layers:
            return []
        return [self._anatomy.block_path("encoder", 0).rsplit(".", 2)[0]]


@contextlib.contextmanager
def shadowed(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Makes a module call another function as long as the context lasts. Its hooks run as usual."""
    before = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


def _forward_of(recall: Callable[[], Any], fills: int | None) -> Callable[..., Any]:
    """Returns a forward that computes nothing. `fills`: the layer of the key/value cache that grows all the same: masks depend on it."""

    def forward(*arguments: Any, **named: Any) -> Any:
        if fills is not None:
            _lengthen(arguments, named, fills)
        return recall()

    return forward


def _lengthen(arguments: Sequence[Any], named: dict[str, Any], layer: int) -> None:
    values = (*arguments, *named.values())
    caches = [value for value in values if isinstance(value, Cache)]
    if not caches:
        return
    cache = caches[0].self_attention_cache if isinstance(caches[0], EncoderDecoderCache) else caches[0]
    hidden = next(value for value in values if isinstance(value, Tensor) and value.ndim == 3)
    # One number for each token in the place of its keys and values, which are not read.
    placeholder = hidden[:, None, :, :1]
    cache.update(placeholder, placeholder, layer)


def _recall(outputs: list[Any]) -> Callable[[], Any]:
    calls = iter(outputs)
    return lambda: next(calls)


def _recording_hook(calls: list[Any], is_attention: bool) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
        # Attention returns its weights last, [rows, heads, tokens, tokens]: large, and not used.
        calls.append((*output[:-1], None) if is_attention and isinstance(output, tuple) and len(output) > 1 else output)

    return hook


def _latest_output_hook(latest: list[Any]) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
        latest[0] = output

    return hook


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
