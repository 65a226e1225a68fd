"""Execution of resumable work: an engine computes, a journal stores finished work, progress is reported; `Workers` are all three.

A method gets `Workers` and knows neither processes nor files nor terminals.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

Item = TypeVar("Item")
Result = TypeVar("Result")

#: An entry of a journal: arrays and plain JSON values, by name.
Entry: TypeAlias = Mapping[str, Any]


class Progress(Protocol):
    """Reports the progress of a stage of work."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Reports that `done` of `total` items of `stage` are finished; `done` = 0 opens a stage, `done` = `total` closes it."""


class Engine(Protocol):
    """Maps work over items. Results are in the order of the items, whichever is finished first."""

    @property
    def processes_on_machine(self) -> int:
        """The number of its processes that share the memory of one machine."""

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Yields `work(item)` for each item, in order.

        Items are taken from `items` as they are needed: one at a time in process, a few ahead elsewhere. Closing the generator abandons
        the rest. `work` may run in another process, on that process' own model: it changes nothing here except by its results, and a
        context that it needs is its own method (`WorkWithContext`). Raises what `work` raises.
        """


@runtime_checkable
class WorkWithContext(Protocol):
    """Work that runs within a context, a plan on the model for example."""

    def context(self) -> AbstractContextManager[object]:
        """Returns the context of the work: entered once in each process that does some of it."""


class Journal(Protocol):
    """Stores finished work.

    `recall` returns only complete entries; `keep` is atomic: after a kill the entry either exists or does not.
    A key names the work and everything that its result depends on, apart from the settings that the whole run shares.
    """

    def recall(self, key: str) -> Entry | None:
        """Returns the entry under `key`, or None."""

    def keep(self, key: str, entry: Entry) -> None:
        """Stores `entry` under `key`. Raises StorageFailure."""


def context_of(work: object) -> AbstractContextManager[object]:
    """Returns the context of some work; an empty one for most."""
    return work.context() if isinstance(work, WorkWithContext) else nullcontext()


def no_progress(stage: str, done: int, total: int) -> None:
    """The Progress that reports nothing."""


class LocalEngine:
    """The Engine that computes in this process, one item after the other."""

    processes_on_machine = 1

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Yields `work(item)` for each item, in order."""
        with context_of(work):
            for item in items:
                yield work(item)


class MemoryJournal:
    """The Journal in memory, which ends with the process."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def recall(self, key: str) -> Entry | None:
        """Returns the entry under `key`, or None."""
        return self._entries.get(key)

    def keep(self, key: str, entry: Entry) -> None:
        """Stores `entry` under `key`."""
        self._entries[key] = entry


@dataclass(frozen=True)
class Workers:
    """An engine, a journal and progress: what computes, where finished work is stored, and where progress is reported.

    Parameters
    ----------
    engine : default: this process
    journal : default: in memory, so that nothing outlives the process
    progress : default: reports nothing
    """

    engine: Engine = field(default_factory=LocalEngine)
    journal: Journal = field(default_factory=MemoryJournal, repr=False)
    progress: Progress = no_progress

    def map(self, work: Callable[[Item], Entry], items: Iterable[Item], keys: Sequence[str], *, stage: str = "working") -> Iterator[Entry]:
        """Yields the entry of every item in order: those that the journal holds are read, the others computed and stored.

        `items` is advanced only as far as items have to be computed; where the journal holds every entry, nothing is built, computed or
        reported. Raises whatever `work` raises, and StorageFailure.
        """
        stored = [self.journal.recall(key) for key in keys]
        if all(entry is not None for entry in stored):
            yield from (entry for entry in stored if entry is not None)
            return
        missing = (item for item, entry in zip(items, stored, strict=True) if entry is None)
        self.progress(stage, 0, len(keys))
        with closing(self.engine.map(work, missing)) as computed:
            for done, (key, entry) in enumerate(zip(keys, stored, strict=True), start=1):
                if entry is None:
                    entry = next(computed)
                    self.journal.keep(key, entry)
                self.progress(stage, done, len(keys))
                yield entry

    def remember(self, key: str, compute: Callable[[], Entry]) -> Entry:
        """Returns the entry under `key`, computed and stored where the journal lacks it. Raises what `compute` raises, StorageFailure."""
        entry = self.journal.recall(key)
        if entry is None:
            entry = compute()
            self.journal.keep(key, entry)
        return entry

    @property
    def is_persistent(self) -> bool:
        """Whether finished work outlives the process."""
        return not isinstance(self.journal, MemoryJournal)

    def silent(self) -> "Workers":
        """Returns the same without progress: for work that is a step of a stage whose progress is reported already."""
        return replace(self, progress=no_progress)


def journal_key(*parts: object) -> str:
    """Returns the key of a journal entry, its parts joined by slashes: all that the entry depends on, apart from the run's settings.

    Strings and integers are written as they are, anything else as `json_digest`.

    >>> journal_key("locate", 3), journal_key("screen", ["decoder.0.up"])
    ('locate/3', 'screen/27d7eb8f0f55da0d')
    """
    return "/".join(str(part) if isinstance(part, str | int) else json_digest(part) for part in parts)


def json_digest(value: object) -> str:
    """Returns a digest of plain data: 16 hexadecimal digits of the SHA-256 of its JSON."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
