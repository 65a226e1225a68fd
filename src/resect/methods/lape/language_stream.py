"""One language of a recording: the next shard of its text, and the totals of the shards counted so far, which survive a kill.

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
from .text_shards import ShardedText, TextShard


class LanguageStream:
    """One language of a recording.

    Parameters
    ----------
    text : the text that is read
    units, sites : the number of counted units, and of their sites
    key, journal : where the totals are stored
    reader : reads the next shard while others are counted; one thread for all languages, since they share a tokenizer

    Attributes
    ----------
    counted, submitted : the number of shards whose counts were added, and of those that were given to the engine
    rows : windows that were run at once
    digest : of the windows that were counted
    tokens, active, sums, reached : totals of every other shard, in two halves: [2], [2, units] twice, and [2, sites]
    """

    def __init__(self, text: ShardedText, units: int, sites: int, key: str, journal: Journal, reader: Executor) -> None:
        self.text, self.language = text, text.language
        self._key, self._journal, self._reader = key, journal, reader
        self.counted, self.submitted, self.rows, self.digest = 0, 0, 0, ""
        self.tokens: Int64[np.ndarray, " 2"] = np.zeros(2, dtype=np.int64)
        self.active: Int64[np.ndarray, "2 units"] = np.zeros((2, units), dtype=np.int64)
        self.sums: Float64[np.ndarray, "2 units"] = np.zeros((2, units))
        self.reached: Int64[np.ndarray, "2 sites"] = np.zeros((2, sites), dtype=np.int64)
        self._shards: Iterator[TextShard] = iter(())
        self._prefetched: Future[TextShard | None] = Future()

    def restore(self) -> int:
        """Read the totals from the journal, if they are there: the number of shards that were counted."""
        entry: Any = self._journal.recall(self._key)
        if entry is not None:
            self.counted, self.rows, self.digest = entry["shards"], entry["rows"], entry["digest"]
            self.tokens, self.active, self.sums = (entry[name].copy() for name in ("tokens", "active", "sums"))
            self.reached = entry.get("reached", self.reached).copy()  # recordings from before there were experts have none
        return self.counted

    def resume(self, report: Callable[[], None]) -> bool:
        """Read the text up to the first shard that is not counted: whether it is the text that was counted; if not, start anew.

        `report` is called for each shard that is read again. Raises InputError.
        """
        shard: TextShard | None = None
        self._shards = self.text.shards()
        for _ in range(self.counted):
            shard = next(self._shards, None)
            report()
        is_same_text = shard is None if not self.counted else shard is not None and shard.digest == self.digest
        if not is_same_text:
            self.counted, self._shards = 0, self.text.shards()
            for totals in (self.tokens, self.active, self.sums, self.reached):
                totals[:] = 0
        self.submitted = self.counted
        self._prefetch()
        if self.next_shard is None and not self.counted:
            window = f"less than one window of {self.text.window:,}"
            reason = f"has {self.text.dropped:,} tokens, {window}" if self.text.dropped else "is empty"
            raise InputError(f"The text of {self.language} {reason}. Give more of it, or a smaller --window.")
        return is_same_text

    def advance(self) -> None:
        """Count the next shard as submitted, and read the one after it."""
        self.submitted += 1
        self._prefetch()

    def _prefetch(self) -> None:
        self._prefetched = self._reader.submit(next, self._shards, None)

    @property
    def next_shard(self) -> TextShard | None:
        """The next shard to count; None at the end of the text. Raises InputError, and what reading the text raises."""
        return self._prefetched.result()

    @property
    def has_ended(self) -> bool:
        """Whether the text was read to its end and all of it was counted."""
        # In this order: until the next shard is there, the text is being read.
        return self.next_shard is None and self.text.has_ended and self.counted == self.submitted

    def add(self, counts: WindowCounts, digest: str, rows: int) -> None:
        """Add the counts of a shard, and store the totals. Raises StorageFailure."""
        half = self.counted % 2
        self.tokens[half] += counts.tokens
        self.active[half] += np.concatenate(list(counts.active.values()))
        self.sums[half] += np.concatenate(list(counts.sums.values()))
        self.reached[half] += np.array(list(counts.reached.values()))
        self.counted, self.digest = self.counted + 1, digest
        totals = {name: getattr(self, name).copy() for name in ("tokens", "active", "sums", "reached")}
        self._journal.keep(self._key, {"shards": self.counted, "rows": rows, "digest": digest, **totals})
