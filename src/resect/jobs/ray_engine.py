"""An Engine that computes items on a Ray cluster: each worker is a process with the model in it, and computes one item at a time.

Work refers to the model by name; each worker uses its own copy, loaded as this process loaded its own, and is refused where its weights
differ. Batch sizes and thread counts are those of this process, so that results are the same to the last bit on the same kind of device.
Knows Ray and models; knows no method and no job.
"""

import itertools
import textwrap
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch

from resect import __version__
from resect.core.errors import Failure, InputError, WrongModel
from resect.core.execution import Item, Progress, Result, no_progress
from resect.models.language_model import LanguageModel

from .inputs import weights_digest
from .ray_cluster import connected, describe_resources, import_ray, model_as_references, worker_options, workers_on_this_machine
from .ray_worker import ItemResult, NumericSettings, SentError, Worker

#: Items per worker that are taken from their source ahead of the results: one is computed while another waits.
ITEMS_AHEAD = 2
#: How often an item is restarted after its worker was lost.
RETRIES = 3
#: Seconds that a cluster has to find room for workers.
ROOM_TIMEOUT = 120


class RayEngine:
    """Workers on a Ray cluster, for as long as the context is open.

    Parameters
    ----------
    model : the model of this process; work may refer to it and to its parts
    load : returns a worker's model, in the worker's process, possibly on another machine: the paths it reads must exist there
    workers : number of processes; None: as many as the cluster has room for, each with as many threads (or GPUs) as this process uses
    retries : how often an item is restarted after its worker was lost
    address : of a running cluster ("auto", "host:6379"), which keeps running; None: a cluster on this machine, for as long as the context
        is open

    A cluster to which this process is already connected is used, and stays connected. A worker with another version of `resect` or PyTorch
    is refused. Raises InputError where Ray is not installed, no cluster answers, or the cluster has too few GPUs; on entering also
    WrongModel for a worker with other weights, and Failure where no worker starts.
    """

    def __init__(
        self,
        model: LanguageModel,
        load: Callable[[], LanguageModel],
        *,
        workers: int | None = None,
        address: str | None = None,
        retries: int = RETRIES,
        progress: Progress = no_progress,
    ) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"There must be one Ray worker or more, not {workers}; leave the number out for as many as there is room for.")
        self._ray = import_ray()
        self._model, self._load, self._requested, self._address = model, load, workers, address
        self._retries, self._progress = retries, progress
        self._workers: list[_WorkerHandle] = []
        self._work = _StoredWork(None, 0, None)
        self._context = ExitStack()

    def __enter__(self) -> "RayEngine":
        with ExitStack() as stack:
            starts_cluster = self._address is None and not self._ray.is_initialized()
            count = self._requested or (workers_on_this_machine(self._model) if starts_cluster else None)
            stack.enter_context(connected(self._ray, self._address, count))
            stack.enter_context(model_as_references(self._model))
            stack.callback(self._stop)
            self._start(*worker_options(self._ray, self._model, count))
            self._context = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    @property
    def processes_on_machine(self) -> int:
        """How many workers share the memory of one machine, at most."""
        return max(Counter(worker.node for worker in self._workers).values(), default=1)

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Yield `work(item)` for each item, in order; at most `ITEMS_AHEAD` items per worker are taken before the first result is yielded.

        An item whose worker is lost is restarted on a new one, at most `retries` times. An error in a worker is raised here in the item's
        turn, after the results before it. Raises also Failure for an item whose workers are lost again and again.
        """
        stored = self._store(work)
        pending: deque[_PendingItem] = deque()
        source = iter(items)
        try:
            while True:
                more = itertools.islice(source, max(0, ITEMS_AHEAD * len(self._workers) - len(pending)))
                pending.extend(self._submit(_PendingItem(stored, item)) for item in more)
                if not pending:
                    return
                result = self._first_result(pending)
                pending.popleft()
                yield result
        finally:
            for item in pending:
                if item.outcome is None:
                    self._ray.cancel(item.future)

    # -- workers ---------------------------------------------------------------------------------------------------------

    def _start(self, count: int, options: Mapping[str, Any]) -> None:
        """Start so many workers, and continue with those that found room. Raises Failure, WrongModel, and what loading raises."""
        stage = "starting Ray workers"
        self._progress(stage, 0, count)
        self._actor = self._ray.remote(**options)(Worker)
        self._options = describe_resources(options)
        for _ in range(count):
            self._add_worker()
        self._digest = weights_digest(self._model)  # while they load
        _, missing = self._ray.wait([worker.running for worker in self._workers], num_returns=count, timeout=ROOM_TIMEOUT)
        for worker in [worker for worker in self._workers if worker.running in missing]:
            self._ray.kill(worker.actor)
            self._workers.remove(worker)
        if not self._workers:
            raise self._no_room()
        for done, worker in enumerate(self._workers, start=1):
            try:
                self._check(worker)
            except self._lost as error:
                raise Failure(
                    "A Ray worker was lost while it loaded the model; most often its machine has too little memory for so many copies of "
                    f"it. Try a smaller number of workers (--ray-workers). Ray says: {_brief(error)}"
                ) from error
            self._progress(stage, done, len(self._workers))

    def _add_worker(self) -> None:
        actor = self._actor.remote()
        self._workers.append(_WorkerHandle(actor, actor.is_running.remote(), actor.load.remote(self._load, NumericSettings.current())))

    def _check(self, worker: "_WorkerHandle") -> None:
        """Raises WrongModel where a worker has another model, InputError where it runs other code; and what loading raised."""
        if worker.is_checked:
            return
        loaded = self._ray.get(worker.loaded)
        if isinstance(loaded, SentError):
            raise loaded.restored()
        versions = (("resect", loaded.resect_version, __version__), ("torch", loaded.torch_version, str(torch.__version__)))
        for package, theirs, ours in versions:
            if theirs != ours:
                raise InputError(
                    f"The Ray worker {loaded.worker} has {package} {theirs}, this process {ours}: their results would differ. "
                    "Install the same version on all machines."
                )
        if loaded.weights != self._digest:
            raise WrongModel(
                f"The Ray worker {loaded.worker} loaded a model of other weights than this process has. Give every machine the same "
                "files, or a Hub id with --revision."
            )
        worker.is_checked, worker.node = True, loaded.node

    def _stop(self) -> None:
        for worker in self._workers:
            self._ray.kill(worker.actor)
        self._workers.clear()
        self._work = _StoredWork(None, self._work.number, None)

    def _no_room(self) -> Failure:
        free = describe_resources(self._ray.available_resources())
        return Failure(
            f"The Ray cluster has had no room for a worker for {ROOM_TIMEOUT} seconds (each requests {self._options}; free are {free}). "
            "Wait until other jobs are done, or add a node; finished work is kept."
        )

    @property
    def _lost(self) -> tuple[type[Exception], ...]:
        """What Ray raises where a worker, or a result that it stored, is lost."""
        errors = self._ray.exceptions
        return errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError, errors.OutOfMemoryError

    # -- items -----------------------------------------------------------------------------------------------------------

    def _store(self, work: object) -> "_StoredWork":
        """Put a work into Ray's object store, unless it is the same as the last one: then workers still have it."""
        if work is not self._work.work:
            self._work = _StoredWork(work, self._work.number + 1, self._ray.put(work))
        return self._work

    def _submit(self, item: "_PendingItem") -> "_PendingItem":
        """Submit an item to the worker that has the fewest, of those that have loaded the model."""
        ready = [worker for worker in self._workers if worker.is_checked or self._ray.wait([worker.loaded], timeout=0)[0]]
        item.worker = min(ready or self._workers, key=lambda worker: worker.items)
        item.worker.items += 1
        item.batch_sizes = dict(self._model.batcher.sizes)
        item.future = item.worker.actor.compute.remote(item.work.number, [item.work.reference], item.batch_sizes, item.item)
        item.outcome = None
        return item

    def _first_result(self, pending: Iterable["_PendingItem"]) -> Any:
        """Wait for the result of the first item; outcomes of the others that arrive meanwhile are taken, and lost workers replaced."""
        first = next(iter(pending))
        while True:
            while first.outcome is None:
                waiting = {item.future: item for item in pending if item.outcome is None}
                ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=ROOM_TIMEOUT)
                if ready:
                    self._take_outcome(waiting[ready[0]])
                elif not self._ray.wait([worker.running for worker in self._workers], timeout=0)[0]:
                    raise self._no_room()
            if not isinstance(first.outcome, ItemResult):
                raise first.outcome.restored() if isinstance(first.outcome, SentError) else first.outcome
            if self._adopt_batch_sizes(first, first.outcome.batch_sizes):
                return first.outcome.value
            self._submit(first)

    def _take_outcome(self, item: "_PendingItem") -> None:
        """Take an item's outcome; where its worker was lost, start a new one and submit the item again. Raises Failure, as `_check`."""
        worker: _WorkerHandle = item.worker
        worker.items -= 1
        try:
            self._check(worker)
            item.outcome = self._ray.get(item.future)
        except self._lost as error:
            if worker in self._workers:
                self._workers.remove(worker)
                self._ray.kill(worker.actor)
                self._add_worker()
            item.losses += 1
            if item.losses > self._retries:
                raise Failure(
                    f"A work item was given up after {item.losses} Ray workers were lost over it; most often a machine runs out of "
                    "memory: try a smaller --batch-size, or fewer workers on a machine (--ray-workers). Finished work is kept. "
                    f"Ray says: {_brief(error)}"
                ) from error
            self._submit(item)
        except self._ray.exceptions.RayTaskError as error:
            item.outcome = error

    def _adopt_batch_sizes(self, item: "_PendingItem", sizes_after: Mapping[str, int]) -> bool:
        """Adopt the batch sizes that an item determined; returns False where an earlier item determined others, so that it is redone.

        In one process every item computes in the batches of the first one, and in smaller ones once memory ran out.
        """
        sizes = self._model.batcher.sizes
        for purpose, size in sizes_after.items():
            if purpose not in sizes:
                sizes[purpose] = size
            elif purpose not in item.batch_sizes and size != sizes[purpose]:
                return False
            elif size < sizes[purpose]:
                sizes[purpose] = size
        return True


@dataclass(frozen=True)
class _StoredWork:
    """A work in Ray's object store, and its number."""

    work: object
    number: int
    reference: Any


@dataclass
class _WorkerHandle:
    """A worker: its actor, the futures of its start and of its loaded model, how many items it has, and its machine once it is checked."""

    actor: Any
    running: Any
    loaded: Any
    items: int = 0
    is_checked: bool = False
    node: str = ""


@dataclass(eq=False)
class _PendingItem:
    """An item without a result: how many workers were lost over it, which has it, the batch sizes it was sent with, future and outcome."""

    work: _StoredWork
    item: Any
    losses: int = 0
    worker: Any = None
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    future: Any = None
    outcome: "ItemResult | SentError | Exception | None" = None


def _brief(error: Exception) -> str:
    """Returns the first and the last line of an error of Ray: what happened, and why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " … ".join(textwrap.shorten(line, 200, placeholder=" …") for line in dict.fromkeys((lines[0], lines[-1])))
