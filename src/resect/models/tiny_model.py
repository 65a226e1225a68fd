"""A tiny model with random weights, and what its modules compute: recorded, held fixed, and changed, call by call.

Knows modules and their calls; knows no role of a matrix.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from .families import Kind

#: Tokens of the input, and of a decoder's input behind an encoder. No number of variants in a batch is one of them.
TOKENS, DECODER_TOKENS = 11, 9
_FIRST_TOKEN, _LAST_TOKEN = 10, 100
#: Changes the output of a call of a module: of the number of the call from 0, and the output.
Change = Callable[[int, Tensor], Tensor]


@dataclass
class Calls:
    """The first arguments and the outputs of the calls of one module during one run, where they are tensors."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


class _Stop(Exception):
    pass


class TinyModel:
    """A model and its input of one row. Weights are drawn from a seed; the global generator is not changed."""

    def __init__(self, model: nn.Module, kind: Kind) -> None:
        self.model, self.kind = model.eval(), kind
        self.config: Any = model.config
        generator = torch.Generator().manual_seed(1)
        embedding: Any = getattr(self.model.get_input_embeddings(), "weight", None)  # type: ignore[operator]
        last = _LAST_TOKEN if embedding is None else min(_LAST_TOKEN, embedding.shape[0])
        draw = lambda tokens: torch.randint(min(_FIRST_TOKEN, last // 2), last, (1, tokens), generator=generator)
        ids = draw(TOKENS)
        self.inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if kind == "encoder-decoder":
            self.inputs["decoder_input_ids"] = draw(DECODER_TOKENS)
        self._settings: dict[str, Any] = {"use_cache": False}

    @classmethod
    def build(cls, model_class: Any, config: Any, kind: Kind, seed: int = 0, gain: float = 1.5) -> "TinyModel":
        """Returns a model of this class, whose matrices amplify by `gain`. Raises whatever the class raises for a configuration."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = model_class.from_config(config)
        if model._can_set_experts_implementation():
            model.set_experts_implementation("eager")  # the others need sizes that are multiples of 16 bytes
        randomise(model, seed, gain)
        return cls(model.requires_grad_(False), kind)

    def run(self, batch: int = 1) -> Any:
        """Returns the output of the model for `batch` equal rows."""
        inputs = {name: tensor.expand(batch, -1) for name, tensor in self.inputs.items()}
        with torch.no_grad():
            try:
                return self.model(**inputs, **self._settings)
            except (TypeError, ValueError):
                if not self._settings:
                    raise
                self._settings = {}  # it has no key/value cache
                return self.model(**inputs)

    def logits(self, batch: int = 1) -> Tensor:
        """Returns the logits."""
        output = self.run(batch)
        logits = getattr(output, "logits", None)
        return logits if isinstance(logits, Tensor) else next(value for value in output.values() if isinstance(value, Tensor))

    def record(self, modules: Mapping[str, nn.Module], changes: Mapping[str, Change] | None = None, batch: int = 1) -> dict[str, Calls]:
        """Returns the calls of modules during one run, by name. Outputs of modules in `changes` are replaced."""
        return self.record_until(modules, changes or {}, None, batch, {})

    def record_until(
        self,
        modules: Mapping[str, nn.Module],
        changes: Mapping[str, Change],
        last: nn.Module | None,
        batch: int,
        below: Mapping[nn.Module, Any],
    ) -> dict[str, Calls]:
        """Returns the same of a run that ends with the first call of `last`. Modules in `below` return what is given, for each row."""
        calls = {name: Calls() for name in modules}
        with contextlib.ExitStack() as stack:
            for name, module in modules.items():
                hook = _recording_hook(calls[name], changes.get(name))
                stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
            for module, output in below.items():
                module.forward = functools.partial(_given, _rows(output, batch))
                stack.callback(module.__dict__.pop, "forward")
            if last is not None:
                stack.callback(last.register_forward_hook(_stop).remove)
            with contextlib.suppress(_Stop):
                self.run(batch)
        return calls

    def order(self, paths: Sequence[str]) -> dict[str, int]:
        """Returns the places of modules in the order in which they begin to compute; without those that compute nothing."""
        places: dict[str, int] = {}
        note = lambda path, *_: places.update({path: places.get(path, len(places))})
        with contextlib.ExitStack() as stack:
            for path in paths:
                hook = functools.partial(note, path)
                stack.callback(self.model.get_submodule(path).register_forward_pre_hook(hook).remove)
            self.run()
        return places


def randomise(model: nn.Module, seed: int, gain: float) -> None:
    """Gives every matrix, bias and norm random values, so that no two units are alike; others are changed a little."""
    generator = torch.Generator().manual_seed(seed)
    noise = lambda parameter: torch.randn(parameter.shape, generator=generator).to(parameter)
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if isinstance(module, nn.Linear | Conv1D) and name == "weight":
                    parameter.copy_(gain * noise(parameter) / parameter.shape[0 if isinstance(module, Conv1D) else 1] ** 0.5)
                elif isinstance(module, nn.Embedding):
                    parameter.copy_(noise(parameter))
                elif name == "bias":
                    parameter.copy_(0.3 * noise(parameter))
                else:
                    parameter.add_(0.1 * noise(parameter))


def is_linear(module: nn.Module) -> bool:
    """Returns whether a module is one of those that multiply by a matrix."""
    weight = getattr(module, "weight", None)
    return isinstance(module, nn.Linear | Conv1D) and isinstance(weight, Tensor) and weight.dim() == 2


def product(module: nn.Module, values: Tensor) -> Tensor:
    """Returns what a matrix of this kind of module computes."""
    weight: Any = module.weight
    result: Tensor = values @ (weight if isinstance(module, Conv1D) else weight.T)
    bias: Any = module.bias
    return result if bias is None else result + bias


def by_row(values: Tensor, batch: int) -> Tensor | None:
    """Returns values as [rows, tokens, units], also where they are [rows · tokens, units] or [rows, 1, tokens, units]; else None."""
    if values.dim() == 4 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dim() == 3 and values.shape[0] == batch:
        return values
    if values.dim() == 2 and values.shape[0] % batch == 0 and values.shape[0] > batch:
        return values.reshape(batch, -1, values.shape[-1])
    return None


def repeated(values: Tensor, like: Tensor) -> Tensor:
    """Returns values that were recorded with one row as those of as many rows as `like` has."""
    if values.dim() == like.dim() == 2 and values.shape != like.shape:
        return values.repeat(like.shape[0] // values.shape[0], 1)
    return values.expand_as(like).clone()  # some models add to an output in place


def _recording_hook(calls: Calls, change: Change | None) -> Callable[..., Any]:
    def hook(_module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> Any:
        given = next((value for value in (*arguments, *keywords.values()) if isinstance(value, Tensor)), None)
        result = output[0] if isinstance(output, tuple) and output else output
        if given is None or not isinstance(result, Tensor):
            return None
        changed = None if change is None else change(len(calls.outputs), result)
        calls.inputs.append(given.clone())  # some models add to an output in place
        calls.outputs.append((result if changed is None else changed).clone())
        return changed

    return hook


def _given(output: Any, *_arguments: object, **_keywords: object) -> Any:
    return output


def _rows(output: Any, batch: int) -> Any:
    """Returns an output for one row as one for `batch` equal rows."""
    if isinstance(output, Tensor):
        return output.expand(batch, *output.shape[1:]).clone() if output.dim() > 1 and output.shape[0] == 1 else output
    return tuple(_rows(part, batch) for part in output) if isinstance(output, tuple) else output


def _stop(_module: nn.Module, _arguments: object, _output: object) -> None:
    raise _Stop


def named_linears(block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields the path of each linear module in a block, and the module."""
    for path, module in block.named_modules():
        if is_linear(module):
            yield path, module
