"""The process of a Ray worker, and what is sent between it and the engine. Knows a model and work; knows no cluster."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch

from resect import __version__
from resect.core.errors import ResectError
from resect.core.execution import context_of
from resect.models.language_model import LanguageModel

from .inputs import weights_digest

#: What of a model is never sent; the worker's own stands in its place.
PARTS = ("", "model", "tokenizer", "anatomy", "encoder", "forward", "speech", "batches")
#: The model of this process, where it is a worker.
_own: dict[str, LanguageModel] = {}


def part_of(model: LanguageModel, name: str) -> Any:
    """One of the `PARTS` of a model; the first is the model itself."""
    return attrgetter(name)(model) if name else model


def part_of_own(name: str) -> Any:
    """The same of this worker's own model: what stands in the place of what was not sent."""
    return part_of(_own["model"], name)


@dataclass(frozen=True)
class Given:
    """What decides bits, apart from the model: as the engine's process has it."""

    threads: int
    precision: str

    @classmethod
    def here(cls) -> "Given":
        """As this process has it."""
        return cls(torch.get_num_threads(), torch.get_float32_matmul_precision())

    def take(self) -> None:
        """Have it in this process."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.precision)


@dataclass(frozen=True)
class Loaded:
    """What a worker has: its model's weights as a digest, versions, where it is, and on which machine."""

    weights: str
    resect: str
    torch: str
    where: str
    node: str


@dataclass(frozen=True)
class Done:
    """The result of an item, and the batch sizes that are known once it is done."""

    result: Any
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class Raised:
    """An error of ours on its way: its class, its words and its attributes; not every class can be made of its words alone."""

    kind: type[ResectError]
    words: str
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, error: ResectError, more: str = "") -> "Raised":
        """An error, with something added to its words."""
        return cls(type(error), f"{error}{more}", dict(vars(error)))

    def error(self) -> ResectError:
        """The error itself."""
        found = self.kind.__new__(self.kind)
        Exception.__init__(found, self.words)
        vars(found).update(self.attributes)
        return found


class Worker:
    """A process with the model in it. Its calls come one after the other, in the order in which they were made."""

    def __init__(self) -> None:
        self._number, self._around = 0, ExitStack()
        self._work: Any = None

    def there(self) -> bool:
        """Answers as soon as there is a process."""
        return True

    def load(self, load: Callable[[], LanguageModel], given: Given) -> Loaded | Raised:
        """Load the model."""
        import ray

        node = ray.util.get_node_ip_address()
        where = f"{node} (process {os.getpid()})"
        given.take()
        try:
            _own["model"] = load()
        except ResectError as error:
            return Raised.of(error, f" (On the Ray worker {where}.)")
        return Loaded(weights_digest(_own["model"]), __version__, str(torch.__version__), where, node)

    def do(self, number: int, work: list[Any], sizes: dict[str, int], item: Any) -> Done | Raised:
        """Do an item of a work in batches of these sizes.

        `work` is a list of one reference, so that it is fetched here, once for all its items: its number tells whether it has changed.
        """
        import ray

        batches = _own["model"].batches
        batches.sizes = dict(sizes)
        try:
            if number != self._number:
                self._around.close()
                self._number, self._work = 0, ray.get(work[0])
                self._around.enter_context(context_of(self._work))
                self._number = number
            result = self._work(item)
        except ResectError as error:
            return Raised.of(error)
        return Done(result, dict(batches.sizes))
