"""The process of a Ray worker, and the messages between it and the engine. Knows a model and the work on it; knows no cluster."""

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

#: The model ("") and the parts of it that are sent by name: a worker puts its own in their place.
SHARED_PARTS = ("", "model", "tokenizer", "anatomy", "encoder", "forward", "generation", "batcher")
#: In a worker process: its model, under "model".
_worker_model: dict[str, LanguageModel] = {}


def part_of(model: LanguageModel, name: str) -> Any:
    """Returns the part of a model that one of `SHARED_PARTS` names."""
    return attrgetter(name)(model) if name else model


def worker_part(name: str) -> Any:
    """Returns that part of this worker's model."""
    return part_of(_worker_model["model"], name)


@dataclass(frozen=True)
class NumericSettings:
    """PyTorch's settings that decide the last bits of a result."""

    threads: int
    matmul_precision: str

    @classmethod
    def current(cls) -> "NumericSettings":
        """Returns those of this process."""
        return cls(torch.get_num_threads(), torch.get_float32_matmul_precision())

    def apply(self) -> None:
        """Set them in this process."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.matmul_precision)


@dataclass(frozen=True)
class LoadedModel:
    """What a worker has loaded, and where: the digest of the weights, versions, the worker in words, the address of its machine."""

    weights: str
    resect_version: str
    torch_version: str
    worker: str
    node: str


@dataclass(frozen=True)
class ItemResult:
    """The result of an item, and the batch sizes that the worker knows after it."""

    value: Any
    batch_sizes: Mapping[str, int]


@dataclass(frozen=True)
class SentError:
    """A ResectError as a message: class, text and attributes, since not every class can be constructed from its text alone."""

    kind: type[ResectError]
    text: str
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, error: ResectError, addition: str = "") -> "SentError":
        """Returns the message for an error; `addition` is appended to its text."""
        return cls(type(error), f"{error}{addition}", dict(vars(error)))

    def restored(self) -> ResectError:
        """Returns the error."""
        error = self.kind.__new__(self.kind)
        Exception.__init__(error, self.text)
        vars(error).update(self.attributes)
        return error


class Worker:
    """A process that holds the model. Ray runs its calls one after the other, in the order in which they were made."""

    def __init__(self) -> None:
        self._work_number, self._context = 0, ExitStack()
        self._work: Any = None

    def is_running(self) -> bool:
        """Returns True as soon as the process runs."""
        return True

    def load(self, load: Callable[[], LanguageModel], settings: NumericSettings) -> LoadedModel | SentError:
        """Load the model under these settings."""
        import ray

        node = ray.util.get_node_ip_address()
        worker = f"{node} (process {os.getpid()})"
        settings.apply()
        try:
            _worker_model["model"] = load()
        except ResectError as error:
            return SentError.of(error, f" (On the Ray worker {worker}.)")
        return LoadedModel(weights_digest(_worker_model["model"]), __version__, str(torch.__version__), worker, node)

    def compute(self, number: int, work: list[Any], batch_sizes: dict[str, int], item: Any) -> ItemResult | SentError:
        """Compute one item of a work in batches of these sizes.

        `work` is a list of one object reference: Ray would fetch a bare reference for every item, this one is fetched here when `number`
        says that the work has changed.
        """
        import ray

        batcher = _worker_model["model"].batcher
        batcher.sizes = dict(batch_sizes)
        try:
            if number != self._work_number:
                self._context.close()
                self._work_number, self._work = 0, ray.get(work[0])
                self._context.enter_context(context_of(self._work))
                self._work_number = number
            value = self._work(item)
        except ResectError as error:
            return SentError.of(error)
        return ItemResult(value, dict(batcher.sizes))
