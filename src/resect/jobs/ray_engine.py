"""The Engine of work.py over a Ray cluster: each worker is a process with the model in it, and does one item after the other.

What is sent of a model is a reference: the worker's own stands in its place, loaded as this process loaded its own, and refused where its
weights differ. Batch sizes and the number of threads are this process', so that results are the same to the last bit on the same kind of
device. Knows Ray and models; knows no method and no job.
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
from .ray_cluster import cluster, installed, options_of, references, room_here, said
from .ray_worker import Done, Given, Raised, Worker

#: Items that are taken from their source before the first of them is yielded, for each worker: one is done while another waits.
AHEAD = 2
#: How often an item is begun anew, if nothing else is said.
RETRIES = 3
#: Seconds that a cluster is given to find room for workers.
PATIENCE = 120


class RayEngine:
    """Workers on a Ray cluster, from entering the context to leaving it.

    Parameters
    ----------
    model : this process' own; work may hold it, and what hangs on it
    load : gives a worker's model, in a process of its own, maybe on another machine: what it reads must be found there
    workers : how many processes; None: as many as the cluster has room for, each with as many threads as this process (on a GPU: with as
        many GPUs)
    retries : how often an item is begun anew after the worker that had it was lost
    address : of a cluster that runs ("auto", "host:6379"), which is left as it was; None: one on this machine, for as long as the context
        lasts

    A cluster that this process is connected to already is used, and stays. Where `resect` or PyTorch are of another version than here, a
    worker is refused. Raises InputError where Ray is not installed, no cluster
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
        retries: int = RETRIES,
        progress: Progress = no_progress,
    ) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"There is one Ray worker or more, not {workers}; leave it out for as many as there is room for.")
        self._ray = installed()
        self._model, self._load, self._wanted, self._address = model, load, workers, address
        self._retries, self._progress = retries, progress
        self._hands: list[_Hand] = []
        self._sent = _Sent(None, 0, None)
        self._leaving = ExitStack()

    def __enter__(self) -> "RayEngine":
        with ExitStack() as stack:
            here = self._address is None and not self._ray.is_initialized()
            wanted = self._wanted or (room_here(self._model) if here else None)
            stack.enter_context(cluster(self._ray, self._address, wanted))
            stack.enter_context(references(self._model))
            stack.callback(self._dismiss)
            self._start(*options_of(self._ray, self._model, wanted))
            self._leaving = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.close()

    @property
    def processes_on_machine(self) -> int:
        """How many workers share the memory of one machine, at most."""
        return max(Counter(hand.node for hand in self._hands).values(), default=1)

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Yield `work(item)` for each item, in order; of `items` at most `AHEAD` a worker are taken before the first is yielded.

        An item whose worker is lost is done again by a new one, at most `retries` times. What is raised in a worker is raised here, when
        the item's turn has come; the results before it are yielded. Raises also Failure for an item whose workers are lost again and again.
        """
        sent = self._send(work)
        under_way: deque[_Errand] = deque()
        source = iter(items)
        try:
            while True:
                more = itertools.islice(source, max(0, AHEAD * len(self._hands) - len(under_way)))
                under_way.extend(self._begin(_Errand(sent, item)) for item in more)
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
        self._actor = self._ray.remote(**options)(Worker)
        self._digest = ""
        hands = [self._hand() for _ in range(count)]
        self._digest = weights_digest(self._model)  # while they load
        _, missing = self._ray.wait([hand.there for hand in hands], num_returns=count, timeout=PATIENCE)
        for hand in [hand for hand in hands if hand.there in missing]:
            self._ray.kill(hand.actor)
            hands.remove(hand)
            self._hands.remove(hand)
        self._asked = said(options)
        if not hands:
            raise self._no_room()
        for done, hand in enumerate(hands, start=1):
            try:
                self._check(hand)
            except self._lost as error:
                raise Failure(
                    "A Ray worker was lost while it loaded the model; most often its machine has too little memory for so many copies of "
                    f"it. Try a smaller number of workers (--ray-workers). Ray says: {_brief(error)}"
                ) from error
            self._progress(stage, done, len(hands))

    def _hand(self) -> "_Hand":
        actor = self._actor.remote()
        hand = _Hand(actor, actor.there.remote(), actor.load.remote(self._load, Given.here()))
        self._hands.append(hand)
        return hand

    def _check(self, hand: "_Hand") -> None:
        """Raises WrongModel where a worker has another model, InputError where it runs other code; and what loading raised."""
        if hand.checked:
            return
        loaded = self._ray.get(hand.loaded)
        if isinstance(loaded, Raised):
            raise loaded.error()
        for what, there, here in (("resect", loaded.resect, __version__), ("torch", loaded.torch, str(torch.__version__))):
            if there != here:
                raise InputError(
                    f"The Ray worker {loaded.where} has {what} {there}, this process {here}: their results would differ. "
                    "Install the same on all machines."
                )
        if loaded.weights != self._digest:
            raise WrongModel(
                f"The Ray worker {loaded.where} loaded a model of other weights than this process has. Give every machine the same "
                "files, or a Hub id with --revision."
            )
        hand.checked, hand.node = True, loaded.node

    def _dismiss(self) -> None:
        for hand in self._hands:
            self._ray.kill(hand.actor)
        self._hands.clear()
        self._sent = _Sent(None, self._sent.number, None)

    def _no_room(self) -> Failure:
        free = said(self._ray.available_resources())
        return Failure(
            f"The Ray cluster has had no room for a worker for {PATIENCE} seconds (each asks for {self._asked}; free are {free}). "
            "Wait until others are done, or add a node; finished work is kept."
        )

    @property
    def _lost(self) -> tuple[type[Exception], ...]:
        """What Ray raises where a worker, or what it left, is no more."""
        known = self._ray.exceptions
        return known.RayActorError, known.WorkerCrashedError, known.NodeDiedError, known.ObjectLostError, known.OutOfMemoryError

    # Items.

    def _send(self, work: object) -> "_Sent":
        """Send a work, where it is another than the last one: what workers remember of it serves again."""
        if work is not self._sent.work:
            self._sent = _Sent(work, self._sent.number + 1, self._ray.put(work))
        return self._sent

    def _begin(self, errand: "_Errand") -> "_Errand":
        """Hand an item to the worker that has the fewest, of those that are up."""
        up = [hand for hand in self._hands if hand.checked or self._ray.wait([hand.loaded], timeout=0)[0]]
        errand.hand = min(up or self._hands, key=lambda hand: hand.busy)
        errand.hand.busy += 1
        errand.sizes = dict(self._model.batches.sizes)
        errand.promise = errand.hand.actor.do.remote(errand.sent.number, [errand.sent.kept], errand.sizes, errand.item)
        errand.outcome = None
        return errand

    def _finished(self, under_way: Iterable["_Errand"]) -> Any:
        """The result of the first, once it is there; what else comes in meanwhile is taken too, and lost workers are replaced."""
        first = next(iter(under_way))
        while True:
            while first.outcome is None:
                waiting = {errand.promise: errand for errand in under_way if errand.outcome is None}
                ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=PATIENCE)
                if ready:
                    self._take(waiting[ready[0]])
                elif not self._ray.wait([hand.there for hand in self._hands], timeout=0)[0]:
                    raise self._no_room()
            if not isinstance(first.outcome, Done):
                raise first.outcome.error() if isinstance(first.outcome, Raised) else first.outcome
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
            if errand.losses > self._retries:
                raise Failure(
                    f"A work item was given up after {errand.losses} Ray workers were lost over it; most often a machine runs out of "
                    "memory: try a smaller --batch-size, or fewer workers on a machine (--ray-workers). Finished work is kept. "
                    f"Ray says: {_brief(error)}"
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


@dataclass(frozen=True)
class _Sent:
    """A work that workers were sent: its number, and where Ray keeps it."""

    work: object
    number: int
    kept: Any


@dataclass
class _Hand:
    """A worker, seen from here: whether it is there, what it loaded, how many items it has, and on which machine it is."""

    actor: Any
    there: Any
    loaded: Any
    busy: int = 0
    checked: bool = False
    node: str = ""


@dataclass(eq=False)
class _Errand:
    """An item on its way: who has it, the batch sizes that were sent along, what is promised, and what came of it."""

    sent: _Sent
    item: Any
    losses: int = 0
    hand: Any = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    promise: Any = None
    outcome: "Done | Raised | Exception | None" = None


def _brief(error: Exception) -> str:
    """The first and the last line of what Ray has to say: what happened, and why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " … ".join(textwrap.shorten(line, 200, placeholder=" …") for line in dict.fromkeys((lines[0], lines[-1])))
