"""The Engine of work.py over a Ray cluster: each worker is a process with the model in it, and does one item after the other.

What is sent of a model is a reference: the worker's own stands in its place, loaded as this process loaded its own, and refused where its
weights differ. Batch sizes and the number of threads are this process', so that results are the same to the last bit on the same kind of
device. Knows Ray and models; knows no method and no job.
"""

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch

from . import __version__
from .errors import Failure, InputError, ResectError, WrongModel
from .inputs import weights_digest
from .model import LanguageModel
from .work import Item, Progress, Result, silent, surroundings

#: Items that are taken from their source before the first of them is yielded, for each worker: one is done while another waits.
AHEAD = 2
#: How often an item is begun anew after the worker that had it was lost.
RETRIES = 3
#: Seconds that a cluster is given to find room for workers.
PATIENCE = 120
#: Bytes that a cluster of ours may hold of items and results under way; more goes to the disk.
STORE = 512 * 2**20
#: What of a model is never sent; the worker's own stands in its place.
_PARTS = ("", "model", "tokenizer", "anatomy", "encoder", "forward", "speech", "batches")
#: A cluster of ours tells nobody that it is used, leaves the accelerators alone, and does not guess at how this process was started.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


class RayEngine:
    """Workers on a Ray cluster, from entering the context to leaving it.

    Parameters
    ----------
    model : this process' own; work may hold it, and what hangs on it
    load : gives a worker's model, in a process of its own, maybe on another machine: what it reads must be found there
    workers : how many processes; None: as many as the cluster has room for, each with as many threads as this process (on a GPU: with as
        many GPUs)
    address : of a cluster that runs ("auto", "host:6379", "ray://host:10001"), which is left as it was; None: one on this machine, for as
        long as the context lasts

    A cluster that this process is connected to already is used, and stays. Raises InputError where Ray is not installed, no cluster
    answers, or it has no GPU that is needed; on entering also WrongModel for a worker with other weights, and Failure where no worker
    comes up.
    """

    def __init__(
        self,
        model: LanguageModel,
        load: Callable[[], LanguageModel],
        *,
        workers: int | None = None,
        address: str | None = None,
        progress: Progress = silent,
    ) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"There is one Ray worker or more, not {workers}; leave it out for as many as there is room for.")
        self._ray = _installed()
        self._model, self._load, self._wanted, self._address, self._progress = model, load, workers, address, progress
        self._hands: list[_Hand] = []
        self._work: tuple[object, int, Any] = (None, 0, None)  # what the workers were sent last, its number, where it is kept
        self._leaving = ExitStack()

    def __enter__(self) -> "RayEngine":
        with ExitStack() as stack:
            stack.enter_context(_cluster(self._ray, self._address, self._wanted or _room_here(self._model)))
            stack.enter_context(_references(self._ray, self._model))
            stack.callback(self._dismiss)
            options = _options(self._ray, self._model, self._wanted)
            self._start(*options)
            self._leaving = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.close()

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Yield `work(item)` for each item, in order; of `items` at most `AHEAD` a worker are taken before the first is yielded.

        An item whose worker is lost is done again by a new one, at most `RETRIES` times. What is raised in a worker is raised here, when
        the item's turn has come; the results before it are yielded. Raises also Failure for an item whose workers are lost again and again.
        """
        self._send_work(work)
        under_way: deque[_Errand] = deque()
        source = iter(items)
        try:
            while True:
                while len(under_way) < AHEAD * len(self._hands):
                    for item in source:
                        under_way.append(self._begin(_Errand(item)))
                        break
                    else:
                        break
                if not under_way:
                    return
                result = self._finished(under_way)
                under_way.popleft()
                yield result
        finally:
            for errand in under_way:
                if errand.outcome is None:
                    self._ray.cancel(errand.promise)

    # Workers.

    def _start(self, count: int, options: Mapping[str, Any]) -> None:
        """Bring up so many workers, and go on with those that found room. Raises Failure, WrongModel, and what loading raises."""
        stage = "starting Ray workers"
        self._progress(stage, 0, count)
        self._actor = self._ray.remote(**options)(_Worker)
        self._digest = ""
        hands = [self._hand() for _ in range(count)]
        self._digest = weights_digest(self._model)  # while they load
        _, missing = self._ray.wait([hand.there for hand in hands], num_returns=count, timeout=PATIENCE)
        for hand in [hand for hand in hands if hand.there in missing]:
            self._ray.kill(hand.actor)
            hands.remove(hand)
        if not hands:
            raise Failure(
                f"The Ray cluster has had no room for a worker for {PATIENCE} seconds (each asks for {_said(options)}; free are "
                f"{_said(self._ray.available_resources())}). Wait until others are done, or add a node."
            )
        for done, hand in enumerate(hands, start=1):
            try:
                self._check(hand)
            except self._lost as error:
                raise Failure(
                    "A Ray worker was lost while it loaded the model; most often its machine has too little memory for so many copies of "
                    f"it. Try a smaller number of workers (--ray-workers). Ray says: {error}"
                ) from error
            self._progress(stage, done, len(hands))

    def _hand(self) -> "_Hand":
        actor = self._actor.remote()
        given = _Given(torch.get_num_threads(), torch.get_float32_matmul_precision())
        hand = _Hand(actor, actor.there.remote(), actor.load.remote(self._load, given))
        self._hands.append(hand)
        return hand

    def _check(self, hand: "_Hand") -> None:
        """Raises WrongModel where a worker has another model, InputError where it runs other code; and what loading raised."""
        if hand.checked:
            return
        loaded = self._ray.get(hand.loaded)
        if isinstance(loaded, _Raised):
            raise loaded.error(f" (On the Ray worker {loaded.where}.)")
        for what, here in (("resect", __version__), ("torch", torch.__version__)):
            if loaded[what] != here:
                raise InputError(
                    f"The Ray worker {loaded['where']} has {what} {loaded[what]}, this process {here}: their results would differ. "
                    "Install the same on all machines."
                )
        if loaded["weights"] != self._digest:
            raise WrongModel(
                f"The Ray worker {loaded['where']} loaded a model of other weights than this process has. Give every machine the same "
                "files, or a Hub id with --revision."
            )
        hand.checked = True

    def _dismiss(self) -> None:
        for hand in self._hands:
            self._ray.kill(hand.actor)
        self._hands.clear()
        self._work = (None, self._work[1], None)

    @property
    def _lost(self) -> tuple[type[Exception], ...]:
        """What Ray raises where a worker, or what it left, is no more."""
        known = self._ray.exceptions
        return known.RayActorError, known.WorkerCrashedError, known.NodeDiedError, known.ObjectLostError, known.OutOfMemoryError

    # Items.

    def _send_work(self, work: object) -> None:
        last, number, _ = self._work
        if work is not last:
            self._work = (work, number + 1, self._ray.put(work))

    def _begin(self, errand: "_Errand") -> "_Errand":
        """Hand an item to the worker that has the fewest."""
        errand.hand = min(self._hands, key=lambda hand: hand.busy)
        errand.hand.busy += 1
        errand.sizes = dict(self._model.batches.sizes)
        _, number, kept = self._work
        errand.promise = errand.hand.actor.do.remote(number, [kept], errand.sizes, errand.item)
        errand.outcome = None
        return errand

    def _finished(self, under_way: Iterable["_Errand"]) -> Any:
        """The result of the first, once it is there; what else comes in meanwhile is taken too, and lost workers are replaced."""
        first = next(iter(under_way))
        while True:
            while first.outcome is None:
                waiting = {errand.promise: errand for errand in under_way if errand.outcome is None}
                ready, _ = self._ray.wait(list(waiting), num_returns=1)
                self._take(waiting[ready[0]])
            if not isinstance(first.outcome, _Done):
                raise first.outcome.error() if isinstance(first.outcome, _Raised) else first.outcome
            if self._agree(first, first.outcome.sizes):
                return first.outcome.result
            self._begin(first)

    def _take(self, errand: "_Errand") -> None:
        """Take what a worker has to say of an item; where it was lost, give the item to a new one. Raises Failure, as `_check`."""
        hand: _Hand = errand.hand
        hand.busy -= 1
        try:
            self._check(hand)
            errand.outcome = self._ray.get(errand.promise)
        except self._lost as error:
            if hand in self._hands:
                self._hands.remove(hand)
                self._ray.kill(hand.actor)
                self._hand()
            errand.losses += 1
            if errand.losses > RETRIES:
                raise Failure(
                    f"A work item was given up after {errand.losses} Ray workers were lost over it; most often a machine runs out of "
                    "memory: try a smaller --batch-size, or fewer workers on a machine (--ray-workers). Finished work is kept. "
                    f"Ray says: {error}"
                ) from error
            self._begin(errand)
        except self._ray.exceptions.RayTaskError as error:
            errand.outcome = error

    def _agree(self, errand: "_Errand", found: Mapping[str, int]) -> bool:
        """Take over the batch sizes that an item found; False where it found others than an item before it, so that it is done again.

        In one process every item computes in the batches that the first one found, and in smaller ones once memory ran out.
        """
        sizes = self._model.batches.sizes
        for purpose, size in found.items():
            if purpose not in sizes:
                sizes[purpose] = size
            elif purpose not in errand.sizes and size != sizes[purpose]:
                return False
            elif size < sizes[purpose]:
                sizes[purpose] = size
        return True


@dataclass
class _Hand:
    """A worker, seen from here: whether it is there, what it loaded, and how many items it has."""

    actor: Any
    there: Any
    loaded: Any
    busy: int = 0
    checked: bool = False


@dataclass(eq=False)
class _Errand:
    """An item on its way: who has it, the batch sizes that were sent along, what is promised, and what came of it."""

    item: Any
    losses: int = 0
    hand: Any = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    promise: Any = None
    outcome: "_Done | _Raised | Exception | None" = None


# What is sent.


@dataclass(frozen=True)
class _Given:
    """What decides bits, apart from the model: as this process has it."""

    threads: int
    precision: str


@dataclass(frozen=True)
class _Done:
    result: Any
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class _Raised:
    """An error of ours on its way: its class, its words and its attributes; not every class can be made of its words alone."""

    kind: type[ResectError]
    words: str
    attributes: Mapping[str, Any]
    where: str = ""

    @classmethod
    def of(cls, error: ResectError, where: str = "") -> "_Raised":
        return cls(type(error), str(error), dict(vars(error)), where)

    def error(self, more: str = "") -> ResectError:
        found = self.kind.__new__(self.kind)
        Exception.__init__(found, self.words + more)
        vars(found).update(self.attributes)
        return found


# The process of a worker.

#: The model of this process, where it is a worker.
_own: dict[str, LanguageModel] = {}


def _part_of_own(name: str) -> Any:
    return attrgetter(name)(_own["model"]) if name else _own["model"]


class _Worker:
    """A process with the model in it. Ray calls it from one thread, in the order of the calls."""

    def __init__(self) -> None:
        self._number, self._work, self._around = 0, None, ExitStack()

    def there(self) -> bool:
        return True

    def load(self, load: Callable[[], LanguageModel], given: _Given) -> "dict[str, str] | _Raised":
        import ray

        where = f"{ray.util.get_node_ip_address()} (process {os.getpid()})"
        torch.set_num_threads(given.threads)
        torch.set_float32_matmul_precision(given.precision)
        try:
            _own["model"] = load()
        except ResectError as error:
            return _Raised.of(error, where)
        return {"weights": weights_digest(_own["model"]), "resect": __version__, "torch": torch.__version__, "where": where}

    def do(self, number: int, work: list[Any], sizes: dict[str, int], item: Any) -> "_Done | _Raised":
        """`work` is a list of one reference, so that it is fetched here, and once for all its items."""
        import ray

        batches = _own["model"].batches
        batches.sizes = dict(sizes)
        try:
            if number != self._number:
                self._around.close()
                self._number, self._work = 0, ray.get(work[0])
                self._around.enter_context(surroundings(self._work))
                self._number = number
            result = self._work(item)
        except ResectError as error:
            return _Raised.of(error)
        return _Done(result, dict(batches.sizes))


# The cluster.


def _installed() -> Any:
    """Raises InputError where Ray is not installed."""
    for name, value in _QUIET.items():  # read when Ray is imported
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError(
            "Work is spread by Ray, which is not installed here: pip install 'resect[ray]'. Without it: --engine local."
        ) from error
    return ray


@contextmanager
def _cluster(ray: Any, address: str | None, workers: int) -> Iterator[None]:
    """A connection to a cluster: one that is there already, the one at the address, or one of our own on this machine.

    Raises InputError where none answers.
    """
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        own = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE, "_node_ip_address": "127.0.0.1"}
        ray.init(address="local", **own, **quiet)
    else:
        if address.startswith("ray://"):
            raise InputError(
                f"{address} is for Ray's client, through which models cannot be referred to: give the address that "
                "`ray start` says (host:6379), on a machine of the cluster."
            )
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"No Ray cluster answers at {address!r} ({str(error).strip() or type(error).__name__}). Start one with `ray start --head`, "
                "or leave the address out: then one is started on this machine, for as long as the work lasts."
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _references(ray: Any, model: LanguageModel) -> Iterator[None]:
    """Whatever is sent meanwhile holds a reference where this model, or a part of it, stood."""
    from ray.util import deregister_serializer, register_serializer

    parts = {name: attrgetter(name)(model) if name else model for name in _PARTS}

    def referring(name: str) -> Callable[[Any], str]:
        def refer(found: Any) -> str:
            if found is not parts[name]:
                raise InputError(f"Ray workers have one model, {model!r}, and the work holds another: {found!r:.80}.")
            return name

        return refer

    for name, part in parts.items():
        register_serializer(type(part), serializer=referring(name), deserializer=_part_of_own)
    try:
        yield
    finally:
        for part in parts.values():
            deregister_serializer(type(part))


def _room_here(model: LanguageModel) -> int:
    """How many workers this machine has room for."""
    gpus = _gpus(model)
    return max(1, torch.cuda.device_count() // gpus if gpus else (os.cpu_count() or 1) // torch.get_num_threads())


def _gpus(model: LanguageModel) -> int:
    """How many GPUs a model is on."""
    return len({parameter.device for parameter in model.model.parameters() if parameter.device.type == "cuda"})


def _options(ray: Any, model: LanguageModel, wanted: int | None) -> tuple[int, dict[str, Any]]:
    """How many workers, and what each of them asks the cluster for. Raises InputError."""
    threads, gpus = torch.get_num_threads(), _gpus(model)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    free = {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
    if gpus > free["GPU"]:
        raise InputError(f"The model is on {gpus} GPUs here, and the Ray cluster has {free['GPU']:g}: give --device cpu, or add nodes.")
    room = sum(int(node.get("GPU", 0) // gpus) if gpus else max(1, int(node.get("CPU", 0) // threads)) for node in nodes)
    count = wanted or max(1, room)
    share = free["CPU"] / count
    asked = {"num_cpus": min(threads, int(share) if share >= 1 else _part(share)), "scheduling_strategy": "SPREAD"}
    if gpus:
        # Several small models may share a GPU; one that is on several GPUs has them for itself.
        asked["num_gpus"] = gpus if count * gpus <= free["GPU"] or gpus > 1 else _part(free["GPU"] / count)
    return count, asked


def _part(share: float) -> float:
    """A share of one device, rounded down as Ray counts it."""
    return math.floor(share * 10_000) / 10_000


def _said(resources: Mapping[str, Any]) -> str:
    named = {"num_cpus": "CPU", "num_gpus": "GPU", "CPU": "CPU", "GPU": "GPU"}
    return ", ".join(f"{resources[key]:g} {name}" for key, name in named.items() if key in resources) or "nothing"
