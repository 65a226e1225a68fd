"""One language of a recording: its text, how far that was handed out to be counted, and what was added up of it, across a kill too.

Knows shards, numbers and a journal; knows no model, and not how shards are counted.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from resect.core.errors import InputError
from resect.core.execution import Journal

from .activation_counter import WindowCounts
from .text_shards import LanguageText, TextShard


class LanguageStream:
    """One language of a recording.

    Parameters
    ----------
    text : what is read
    units : how many are counted, over all sites
    key, journal : where the sums are kept
    reader : what reads the next shard while others are counted; one thread for all languages, since they share a tokenizer

    `shards`: how many were added up; `handed_out`: how many were taken to be counted. Sums have two halves, of every other shard each.
    """

    def __init__(self, text: LanguageText, units: int, key: str, journal: Journal, reader: Executor) -> None:
        self.text, self.name = text, text.language
        self.handed_out = 0
        self._key, self._journal, self._reader = key, journal, reader
        self.shards, self.rows, self.digest = 0, 0, ""
        self.tokens: Int64[np.ndarray, " 2"] = np.zeros(2, dtype=np.int64)
        self.active: Int64[np.ndarray, "2 units"] = np.zeros((2, units), dtype=np.int64)
        self.sums: Float64[np.ndarray, "2 units"] = np.zeros((2, units))
        self._coming: Iterator[TextShard] = iter(())
        self._waiting: Future[TextShard | None] = Future()

    def recall(self) -> int:
        """Take up what the journal holds of this language: how many shards."""
        entry: Any = self._journal.recall(self._key)
        if entry is not None:
            self.shards, self.rows, self.digest = entry["shards"], entry["rows"], entry["digest"]
            self.tokens, self.active, self.sums = (entry[name].copy() for name in ("tokens", "active", "sums"))
        return self.shards

    def open(self, tell: Callable[[], None]) -> bool:
        """Go to the first shard that is to be counted: whether the text before it is the one that was counted. Raises InputError."""
        shard: TextShard | None = None
        self._coming = self.text.shards()
        for _ in range(self.shards):
            shard = next(self._coming, None)
            tell()
        is_the_same = shard is None if not self.shards else shard is not None and shard.digest == self.digest
        if not is_the_same:
            self.shards, self._coming = 0, self.text.shards()
            for array in (self.tokens, self.active, self.sums):
                array[:] = 0
        self.handed_out = self.shards
        self._read_on()
        if self.waiting is None and not self.shards:
            least = f"less than one window of {self.text.window:,}"
            found = f"has {self.text.dropped:,} tokens, {least}" if self.text.dropped else "is empty"
            raise InputError(f"The text of {self.name} {found}. Give more of it, or a smaller --window.")
        return is_the_same

    def go_on(self) -> None:
        """What was waiting is handed out, and the next shard is read."""
        self.handed_out += 1
        self._read_on()

    def _read_on(self) -> None:
        self._waiting = self._reader.submit(next, self._coming, None)

    @property
    def waiting(self) -> TextShard | None:
        """The next shard to be counted; None at the text's end. Raises InputError, and what reading the text raises."""
        return self._waiting.result()

    @property
    def ended(self) -> bool:
        """Whether the text was read to its end and all of it was counted."""
        return self.waiting is None and self.text.ended and self.shards == self.handed_out  # in this order: until then it is being read

    def add(self, found: WindowCounts, digest: str, rows: int) -> None:
        """Add what a shard holds, and keep it. Raises StorageFailure."""
        half = self.shards % 2
        self.tokens[half] += found.tokens
        self.active[half] += np.concatenate(list(found.active.values()))
        self.sums[half] += np.concatenate(list(found.sums.values()))
        self.shards, self.digest = self.shards + 1, digest
        arrays = {"tokens": self.tokens.copy(), "active": self.active.copy(), "sums": self.sums.copy()}
        self._journal.keep(self._key, {"shards": self.shards, "rows": rows, "digest": digest, **arrays})
