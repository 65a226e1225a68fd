"""Dataflow between the matrices of one block: what one unit of an output changes in the inputs of the others, directly.

Every matrix of the block returns random numbers, the same in each run, so that only direct effects are seen, and seen everywhere: behind
many layers of random weights all tokens may have become alike. Knows no role of a matrix.
"""

import contextlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from .tiny_model import DECODER_TOKENS, TOKENS, Calls, Change, TinyModel, by_row, repeated

#: Units are changed at these tokens, one after the other, until something changes.
_POSITIONS = (3, 5, 2, 6, 4, 7, 1, 8, 0)
_MOST_VARIANTS = 192
#: What a unit is raised and lowered by, from a value within ±2: past the kink of any activation function, and not symmetrically to 0.
_UP, _DOWN, _LARGEST = 4.0, 3.0, 2.0
_NOISE, _STRAIGHT = 3e-5, 1e-3


@dataclass
class Effect:
    """What each unit of one matrix changes in the input of another one.

    any, spread, straight : [units]: whether it changes anything; also at other tokens; in proportion to its own change
    units : [units, inputs]: which entries of the input it changes
    """

    any: Bool[Tensor, " units"]
    spread: Bool[Tensor, " units"]
    straight: Bool[Tensor, " units"]
    units: Bool[Tensor, "units inputs"]

    @property
    def single(self) -> Bool[Tensor, " units"]:
        """Whether it changes one entry, at its own token only."""
        return self.any & ~self.spread & (self.units.sum(1) == 1)

    @property
    def local(self) -> Bool[Tensor, " units"]:
        """Whether it changes several entries, at its own token only."""
        return self.any & ~self.spread & (self.units.sum(1) > 1)


@dataclass
class BlockRun:
    """One block of a tiny model, and what its matrices (those that run) and its other modules compute in a run."""

    tiny: TinyModel
    block: nn.Module
    linears: Mapping[str, nn.Module]
    calls: Mapping[str, Calls]  # of linears, and of other modules
    modules: Mapping[str, nn.Module]
    below: Mapping[nn.Module, Any]  # the blocks before it, with what they return
    constant: frozenset[str] = frozenset()  # matrices that read no tokens, but what is the same for all rows
    not_by_row: frozenset[str] = frozenset()  # those, and matrices that compute something else than [rows, tokens, units]

    @classmethod
    def of(cls, tiny: TinyModel, block: nn.Module, linears: Mapping[str, nn.Module], below: Sequence[nn.Module] = ()) -> "BlockRun":
        """Runs the model and records the block. The blocks `below` compute nothing later, where that changes nothing."""
        modules = {path: module for path, module in block.named_modules() if path}
        outputs: dict[nn.Module, Any] = {}
        keep = lambda module, _, output: outputs.update({module: output})
        with contextlib.ExitStack() as stack:
            for module in below:
                stack.callback(module.register_forward_hook(keep).remove)
            calls = tiny.record(modules)
        run = cls(tiny, block, {path: linears[path] for path in linears if calls[path].outputs}, calls, modules, outputs)
        two_rows = run._two_rows() if outputs else None
        if two_rows is None:
            run.below = {}
            two_rows = tiny.record_until(run.linears, {}, block, 2, {})
        same_shape = lambda path: bool(two_rows[path].inputs) and two_rows[path].inputs[0].shape == calls[path].inputs[0].shape
        run.constant = frozenset(filter(same_shape, run.linears))
        other = {path for path in run.linears if two_rows[path].outputs and by_row(two_rows[path].outputs[0], 2) is None}
        run.not_by_row = run.constant | other
        return run

    def _two_rows(self) -> dict[str, Calls] | None:
        """Returns the calls in a run of two rows in which the blocks below compute nothing; None where that changes anything."""
        try:
            calls = self.tiny.record_until(self.linears, {}, self.block, 2, self.below)
        except Exception:  # noqa: BLE001 - they hand on more than their output, so they have to run
            return None
        firsts = [(calls[path].inputs, self.calls[path].inputs[0]) for path in self.linears]
        is_first_row = lambda values, row: torch.allclose(values.flatten()[: row.numel()], row.flatten(), rtol=1e-4, atol=1e-4)
        return calls if all(mine and is_first_row(mine[0], recorded) for mine, recorded in firsts) else None

    def inputs_with(self, change: str, new: Change, batch: int) -> dict[str, Tensor | None]:
        """Returns the first inputs of all matrices, [rows, tokens, units], where one matrix returns something else at its first call."""
        changes = {path: self._held(path, new if path == change else None) for path in self.linears}
        calls = self.tiny.record_until(self.linears, changes, self.block, batch, self.below)
        return {path: by_row(calls[path].inputs[0], batch) if calls[path].inputs else None for path in self.linears}

    def _held(self, path: str, new: Change | None) -> Change:
        generator = torch.Generator().manual_seed(zlib.crc32(path.encode()))
        random = [
            torch.randn(output.shape, generator=generator).clamp(-_LARGEST, _LARGEST).to(output) for output in self.calls[path].outputs
        ]

        def change(call: int, output: Tensor) -> Tensor:
            held = repeated(random[call], output)
            return new(call, held) if new is not None and call == 0 else held

        return change

    def effects(self, path: str) -> dict[str, Effect]:
        """Returns the direct effects of each unit of a matrix on the inputs of the others, where there are any: none of constants.

        Raises LookupError where a matrix computes something else than [rows, tokens, units].
        """
        if path in self.constant:
            return {}
        output = by_row(self.calls[path].outputs[0], 1)
        if output is None:
            raise LookupError(path)
        units, tokens = output.shape[2], output.shape[1]
        effects: dict[str, Effect] = {}
        open_units = list(range(units))
        for position in _POSITIONS:
            if not open_units or position >= tokens or not self._changes_anything(path, open_units, position):
                continue
            for start in range(0, len(open_units), _MOST_VARIANTS // 2):
                self._add_effects(effects, path, open_units[start : start + _MOST_VARIANTS // 2], position, units)
            found = [effect.any for effect in effects.values()]
            reached = torch.stack(found).any(0) if found else torch.zeros(units, dtype=torch.bool)
            open_units = [unit for unit in open_units if not reached[unit]]
        return {other: effect for other, effect in effects.items() if bool(effect.any.any())}

    def _changes_anything(self, path: str, chosen: Sequence[int], position: int) -> bool:
        """Returns whether these units together, at one token, change the input of any other matrix: else no one of them does."""
        index = torch.tensor(chosen)
        different = torch.linspace(_UP / 2, _UP, len(chosen))  # a norm would take away what is added to all units alike

        def change(_call: int, output: Tensor) -> Tensor:
            values = by_row(output.clone(), 2)
            if values is None:
                raise LookupError(path)
            values[1, position, index] += different.to(values)
            return values.reshape(output.shape)

        others = [values for other, values in self.inputs_with(path, change, 2).items() if other not in (path, *self.constant)]
        return not all(values is not None and torch.equal(values[0], values[1]) for values in others)

    def _add_effects(self, effects: dict[str, Effect], path: str, chosen: Sequence[int], position: int, units: int) -> None:
        number = len(chosen)
        batch = 2 * number + 1
        while batch in (TOKENS, DECODER_TOKENS):
            batch += 1
        rows, index = torch.arange(1, number + 1), torch.tensor(chosen)

        def change(_call: int, output: Tensor) -> Tensor:
            values = by_row(output.clone(), batch)
            if values is None:
                raise LookupError(path)
            values[rows, position, index] += _UP
            values[rows + number, position, index] -= _DOWN
            return values.reshape(output.shape)

        for other, values in self.inputs_with(path, change, batch).items():
            if other in self.constant or other == path:
                continue
            if values is None:
                raise LookupError(other)
            up, down = values[1 : number + 1] - values[0], values[number + 1 : 2 * number + 1] - values[0]
            noise = _NOISE * max(1.0, float(values[0].abs().max()))
            touched = (up.abs() > noise) | (down.abs() > noise)
            own = touched.clone()
            if position < own.shape[1]:
                own[:, position] = False
            size = torch.maximum(up.abs(), down.abs()).amax((1, 2))
            straight = (up / _UP + down / _DOWN).abs().amax((1, 2)) <= _STRAIGHT * size / _UP + noise
            if other not in effects:
                none = torch.zeros(units, dtype=torch.bool)
                effects[other] = Effect(none, none.clone(), none.clone(), torch.zeros(units, values.shape[2], dtype=torch.bool))
            effect = effects[other]
            effect.any[index] = touched.any(2).any(1)
            effect.spread[index] = own.any(2).any(1)
            effect.straight[index] = straight
            effect.units[index] = touched.any(1)

    def vanishes(self, path: str, rows: Tensor, other: str) -> bool:
        """Returns whether the input of `other` is 0 where these rows of a matrix's output are."""

        def change(_call: int, output: Tensor) -> Tensor:
            values = output.clone()
            values[..., rows] = 0.0
            return values

        values = self.inputs_with(path, change, 1)[other]
        return values is not None and float(values.abs().max()) <= _NOISE
