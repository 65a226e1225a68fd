"""Record how often each unit is active on the text of each language, shard by shard; a recording continues exactly after a kill.

Knows texts, a model and workers; knows no file, no command line and no method: a function selects units from the counts on the way.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32

from resect.core.errors import InputError
from resect.core.execution import Progress, Workers, journal_key
from resect.models.fingerprint import ModelIdentity
from resect.models.language_model import LanguageModel
from resect.models.text_windows import window_size

from .activation_counter import WindowCounts, count_activations
from .counts import Counts, activation_sites
from .language_stream import LanguageStream
from .stability import Select, StabilityTracker
from .text_shards import SHARD_TOKENS, ShardedText, TextShard

STAGE = "recording"
REREADING = "reading again the texts that were recorded before"


@dataclass(frozen=True)
class Recording:
    """The result of a recording.

    Attributes
    ----------
    counts : over all text that was read, with sums of activations
    halves : the counts of every other shard, and of those between; None where a language has one shard only
    steps : the selections on the way, `{"tokens": [of each language], "units": n, "jaccard": x or None}`: x with the selection of the step
        before
    dropped : by language the number of tokens left over at the text's end, too few for a window
    ended : by language whether its text was read to the end; False where the limit on tokens, or a stable selection, came first
    stable : whether the selection is stable, see `record`
    digests : by language a digest of its text, as far as it was read
    notes : sentences for a reader of the numbers
    """

    counts: Counts
    halves: tuple[Counts, Counts] | None
    steps: tuple[Mapping[str, Any], ...]
    dropped: Mapping[str, int]
    ended: Mapping[str, bool]
    stable: bool
    digests: Mapping[str, str]
    notes: tuple[str, ...]


def record(
    model: LanguageModel,
    texts: Mapping[str, Iterable[str]],
    *,
    window: int | None = None,
    tokens: int | None = None,
    select: Select | None = None,
    until_stable: bool = False,
    shard_tokens: int = SHARD_TOKENS,
    workers: Workers | None = None,
) -> Recording:
    """Count at how many tokens of each language every unit is active, and sum its activations.

    Parameters
    ----------
    texts : by language its documents, which may exceed the memory: they are read in order, and none of them is kept. Each is opened by BOS
        and closed by EOS where the tokenizer defines them; blank ones are skipped. A method `share()` that returns how much was read (0 to
        1, or None) improves the progress
    window : tokens of a window, see `window_size`; documents are joined and split into full windows, without padding
    tokens : the largest number of tokens of each language, in full windows; None: all
    select : selects units from counts: called whenever the number of rounds is a power of two, and at the end, to measure stability
    until_stable : stop once the selection is stable: its Jaccard index (over language, layer and unit) with the selection from half of the
        text is 0.95 or more at two doublings in a row; an empty selection is never stable
    shard_tokens : tokens that are counted at once, stored at once, and lost by a kill; with a small `tokens` so few that there are 16
        shards
    workers : engine, journal and progress (in tokens); default: this process, in memory, silent

    The languages take turns: a round is one shard of each. Shards are added in order, counts as integers and sums in float64, so that the
    result is the same to the last bit whatever the engine, and with or without a kill. After a kill the texts are read again up to where
    the recording was, and compared: the recording of a language with another text starts anew, and a note says so. Needs memory for the
    counts and some shards' tokens, however long the texts are.

    Raises InputError for a language without text or with less of it than a window; NotFinite, OutOfMemory, StorageFailure.
    Source: Tang et al. 2024 (arXiv:2402.16438). Differs from the source in: windows have at most 4,096 tokens by
    default.
    """
    if not texts:
        raise InputError("There is no language to record: give each its text.")
    if until_stable and select is None:
        raise InputError("until_stable measures the stability of a selection, so it needs `select`; give one, or leave until_stable out.")
    window, workers = window_size(model.context, model.kind, window), workers or Workers()
    settings = f"{window}/{tokens}/{until_stable}/{shard_tokens}"
    sharded = [ShardedText(language, texts[language], model.encoder, window, tokens, shard_tokens) for language in texts]
    sites = activation_sites(model)
    units = sum(map(model.anatomy.width, sites))
    reader = ThreadPoolExecutor(1)
    try:
        key = lambda language: journal_key(STAGE, language, settings)
        streams = [LanguageStream(text, units, len(sites), key(text.language), workers.journal, reader) for text in sharded]
        changed = _resume(streams, workers.progress)
        tracker = StabilityTracker(select, journal_key(STAGE, "steps", settings, *texts), workers.journal, anew=bool(changed))
        recorder = _Recorder(model, streams, tracker, until_stable)
        recorder.run(workers)
        return recorder.result(tokens, changed)
    finally:
        reader.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class CountWindows:
    """The counts of some windows, as work for an engine: an item is a language and windows of its text.

    Parameters
    ----------
    rows : windows run at once
    """

    model: LanguageModel
    rows: int

    def __call__(self, item: tuple[str, Int32[np.ndarray, "windows window"]]) -> WindowCounts:
        """As `count_activations`. Raises NotFinite, OutOfMemory."""
        return count_activations(self.model, item[1], self.rows)


def _resume(streams: Sequence[LanguageStream], progress: Progress) -> list[str]:
    """Read every text up to its first shard that is not counted: the languages whose text has changed. Raises InputError."""
    total, done = sum(stream.restore() for stream in streams), itertools.count(1)
    if total:
        progress(REREADING, 0, total)
    return [stream.language for stream in streams if not stream.resume(lambda: progress(REREADING, next(done), total))]


class _Recorder:
    """Counts the shards of all languages in turns."""

    def __init__(self, model: LanguageModel, streams: Sequence[LanguageStream], tracker: StabilityTracker, until_stable: bool) -> None:
        self._model, self._streams, self._tracker, self._until_stable = model, streams, tracker, until_stable
        self._sites = activation_sites(model)
        self._identity = ModelIdentity.of(model, self._sites)
        size = model.batcher.size_for(streams[0].text.window, "windows")
        # The batch size from before a kill, since the last bits of sums depend on it.
        self._rows = next((stream.rows for stream in streams if stream.counted and model.batcher.is_automatic), size)
        #: Shards at the engine, each with the number of rounds that are complete once it is counted; 0 within a round.
        self._in_progress: deque[tuple[LanguageStream, TextShard, int]] = deque()

    def run(self, workers: Workers) -> None:
        """Count all shards, or until the selection is stable. Raises what the work raises, StorageFailure."""
        rounds = min((stream.counted for stream in self._streams if stream.next_shard is not None), default=self._rounds)
        self._track(rounds)
        prefetched = [stream.next_shard.windows.size for stream in self._streams if stream.next_shard is not None]
        before, done = sum(stream.text.packed_tokens for stream in self._streams) - sum(prefetched), 0
        workers.progress(STAGE, 0, self._expected(before, done))
        if not self._is_done():
            with closing(workers.engine.map(CountWindows(self._model, self._rows), self._items(rounds))) as results:
                for counts in results:
                    stream, shard, complete_rounds = self._in_progress.popleft()
                    stream.add(counts, shard.digest, self._rows)
                    done += shard.windows.size
                    workers.progress(STAGE, done, self._expected(before, done))
                    self._track(complete_rounds)
                    if self._is_done():
                        break
        self._tracker.update(self._rounds, self._counts)
        workers.progress(STAGE, max(done, 1), max(done, 1))

    def _items(self, rounds: int) -> Iterator[tuple[str, Int32[np.ndarray, "windows window"]]]:
        """The shards round by round, after so many rounds; a language that is ahead, or at its end, is left out of a round."""
        while any(stream.next_shard is not None for stream in self._streams):
            turn = [(stream, stream.next_shard) for stream in self._streams if stream.next_shard is not None and stream.submitted == rounds]
            rounds += 1
            for stream, shard in turn:
                stream.advance()
                self._in_progress.append((stream, shard, rounds if stream is turn[-1][0] else 0))
                yield stream.language, shard.windows

    def _track(self, rounds: int) -> None:
        """Compare selections where the text has doubled since the last comparison, and no language is ahead."""
        if rounds.bit_count() == 1 and rounds == self._rounds:
            self._tracker.update(rounds, self._counts)

    @property
    def _rounds(self) -> int:
        return max(stream.counted for stream in self._streams)

    def _is_done(self) -> bool:
        return self._until_stable and self._tracker.is_stable

    def _expected(self, before: int, done: int) -> int:
        """The number of tokens to count from now on; more than are counted yet, since the end is reported at last."""
        return max(sum(stream.text.expected_tokens() for stream in self._streams) - before, done + 1)

    def _counts(self, half: int | None = None) -> Counts:
        """The counts of all shards, or of one of the halves 0 and 1."""

        def total(halves: np.ndarray) -> Any:
            return halves.sum(axis=0) if half is None else halves[half]

        bounds = np.cumsum([0, *map(self._model.anatomy.width, self._sites)])
        columns = {site: slice(start, stop) for site, (start, stop) in zip(self._sites, itertools.pairwise(bounds), strict=True)}
        return Counts(
            [stream.language for stream in self._streams],
            [int(total(stream.tokens)) for stream in self._streams],
            {site: np.stack([total(stream.active[:, units]) for stream in self._streams]) for site, units in columns.items()},
            {site: np.stack([total(stream.sums[:, units]) for stream in self._streams]) for site, units in columns.items()},
            self._identity,
            {
                site: np.array([[total(stream.reached[:, place])] for stream in self._streams])
                for place, site in enumerate(self._sites)
                if site.is_routed
            },
        )

    def result(self, tokens: int | None, changed: Sequence[str]) -> Recording:
        """The recording, with notes. `tokens`: the limit; `changed`: languages whose text changed since an earlier recording."""
        window, ended = self._streams[0].text.window, {stream.language: stream.has_ended for stream in self._streams}
        dropped = {stream.language: stream.text.dropped if stream.has_ended else 0 for stream in self._streams}
        halves = (self._counts(0), self._counts(1)) if all(stream.counted > 1 for stream in self._streams) else None
        notes = [f"The text of {name} is not the one that was recorded before, so that its recording started anew." for name in changed]
        if tokens is not None:
            notes += [f"The text of {name} ended before {tokens:,} tokens; all of it was read." for name in ended if ended[name]]
        if any(dropped.values()):
            left = ", ".join(f"{name} {number:,}" for name, number in dropped.items() if number)
            notes.append(f"Tokens at a text's end that fill no window of {window:,} were left out: {left}.")
        if self._until_stable:
            notes.append(self._tracker.note)
        digests = {stream.language: stream.digest for stream in self._streams}
        return Recording(self._counts(), halves, self._tracker.steps, dropped, ended, self._tracker.is_stable, digests, tuple(notes))
