"""Record how often each unit is active on the text of each language: shard by shard, by turns, and gone on with after a kill.

Knows texts, a model, and who does the work; knows no file, no command line and no method: what is selected from counts on the way is
asked of a function.
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
from resect.models.text_windows import full_window

from .activation_counter import WindowCounts, count, sites_of
from .counts import Counts
from .language_stream import LanguageStream
from .stability import Select, StabilityTracker
from .text_shards import SHARD_TOKENS, LanguageText, TextShard

STAGE = "recording"
REREADING = "finding where the texts were left"


@dataclass(frozen=True)
class Recording:
    """What was recorded.

    Attributes
    ----------
    counts : over all text that was read, with sums of activations
    halves : the same of every other shard, and of those between; None where a language has one shard only
    steps : how the selected set moved, `{"tokens": [each language's], "units": n, "jaccard": x or None}`: x with the set of the step before
    dropped : by language how many tokens were left at the text's end, too few for a window
    ended : by language whether its text was read to the end; False where the limit on tokens, or a stable set, came first
    stable : whether the selected set no longer moved, see `record`
    digests : by language what tells its text, as far as it was read, from every other
    notes : what a reader of the numbers should know, in sentences
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
    """Count at how many tokens of each language every unit is active, and add up its activations.

    Parameters
    ----------
    texts : by language its documents, which may be more than memory holds: they are read in order, and nothing of them is kept. Each is
        opened by BOS and closed by EOS where the tokenizer defines them; blank ones are skipped. A `share()` method that tells how much
        was read (0 to 1, or None) serves the progress
    window : tokens of a window, see `window_of`; documents are joined and cut into full windows, without padding
    tokens : at most so many of each language, in full windows; None: all there are
    select : what is selected from counts: asked whenever the number of rounds is a power of two, and at the end, to see how the set moves
    until_stable : stop once the selected set no longer moves: once the units that it shares with the set from half of the text are 0.95
        or more of those in either (Jaccard index over language, layer and unit) at two doublings running; an empty set never counts
    shard_tokens : what is counted at once, kept at once, and lost by a kill; with a small `tokens` so few that there are 16 shards
    workers : engine, journal and progress (in tokens); default: this process, in memory, silent

    The languages take turns: a round is a shard of each. Shards are added in order, counts as integers and sums in float64, so that the
    result is the same to the last bit whatever the engine, and with or without a kill in the middle. After a kill the texts are read
    again up to where they were left and compared: where one is another text, that language starts anew, and that is said. Memory: the
    counts, and some shards' tokens, however long the texts are.

    Raises InputError for a language without text or with less of it than a window; NotFinite, OutOfMemory, StorageFailure.
    Source: METHODS.md, section 2; Tang et al. 2024 (arXiv:2402.16438). Differs from the source in: windows have at most 4,096 tokens by
    default.
    """
    if not texts:
        raise InputError("There is no language to record: give each its text.")
    if until_stable and select is None:
        raise InputError("until_stable watches the selected set, so it needs `select`; give one, or leave until_stable out.")
    window, workers = full_window(model.context, model.kind, window), workers or Workers()
    settings = f"{window}/{tokens}/{until_stable}/{shard_tokens}"
    read = [LanguageText(name, texts[name], model.encoder, window, tokens, shard_tokens) for name in texts]
    units = sum(map(model.anatomy.width, sites_of(model)))
    reader = ThreadPoolExecutor(1)
    try:
        lanes = [LanguageStream(text, units, journal_key(STAGE, text.language, settings), workers.journal, reader) for text in read]
        others = _take_up(lanes, workers.progress)
        steps = StabilityTracker(select, journal_key(STAGE, "steps", settings, *texts), workers.journal, anew=bool(others))
        recorder = _Recorder(model, lanes, steps, until_stable)
        recorder.run(workers)
        return recorder.result(tokens, others)
    finally:
        reader.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class CountWindows:
    """The work on an item, which is a language and some windows of its text.

    Parameters
    ----------
    rows : windows run at once
    """

    model: LanguageModel
    rows: int

    def __call__(self, item: tuple[str, Int32[np.ndarray, "windows window"]]) -> WindowCounts:
        """Count. Raises NotFinite, OutOfMemory."""
        return count(self.model, item[1], self.rows)


def _take_up(lanes: Sequence[LanguageStream], progress: Progress) -> list[str]:
    """Open all lanes where they were left: the names of those whose text is another. Raises InputError."""
    total, done = sum(lane.recall() for lane in lanes), itertools.count(1)
    if total:
        progress(REREADING, 0, total)
    return [lane.name for lane in lanes if not lane.open(lambda: progress(REREADING, next(done), total))]


class _Recorder:
    """All languages, by turns."""

    def __init__(self, model: LanguageModel, lanes: Sequence[LanguageStream], steps: StabilityTracker, until_stable: bool) -> None:
        self._model, self._lanes, self._steps, self._until_stable = model, lanes, steps, until_stable
        self._sites = sites_of(model)
        self._identity = ModelIdentity.of(model, self._sites)
        size = model.batches.size(lanes[0].text.window, "windows")
        # The size that was found before the kill, since sums depend on it in their last bits.
        self._rows = next((lane.rows for lane in lanes if lane.shards and model.batches.is_automatic), size)
        self._handed_out: deque[tuple[LanguageStream, TextShard, int]] = deque()

    def run(self, workers: Workers) -> None:
        """Count all that is to be counted. Raises what the work raises, StorageFailure."""
        rounds = min((lane.shards for lane in self._lanes if lane.waiting is not None), default=self._rounds)
        self._step(rounds)
        before, done = sum(lane.text.cut - (0 if lane.waiting is None else lane.waiting.windows.size) for lane in self._lanes), 0
        workers.progress(STAGE, 0, self._expected(before, done))
        if not self._is_enough():
            with closing(workers.engine.map(CountWindows(self._model, self._rows), self._items(rounds))) as results:
                for found in results:
                    lane, shard, rounds_done = self._handed_out.popleft()
                    lane.add(found, shard.digest, self._rows)
                    done += shard.windows.size
                    workers.progress(STAGE, done, self._expected(before, done))
                    self._step(rounds_done)
                    if self._is_enough():
                        break
        self._steps.take(self._rounds, self._counts)
        workers.progress(STAGE, max(done, 1), max(done, 1))

    def _items(self, rounds: int) -> Iterator[tuple[str, Int32[np.ndarray, "windows window"]]]:
        """Shards by turns, after so many rounds; a language that is ahead, or at its end, misses its turn."""
        while any(lane.waiting is not None for lane in self._lanes):
            turn = [(lane, lane.waiting) for lane in self._lanes if lane.waiting is not None and lane.handed_out == rounds]
            rounds += 1
            for lane, shard in turn:
                lane.go_on()
                self._handed_out.append((lane, shard, rounds if lane is turn[-1][0] else 0))
                yield lane.name, shard.windows

    def _step(self, rounds: int) -> None:
        """Where the text has doubled since the last step, and no language is ahead, see how the set moved."""
        if rounds.bit_count() == 1 and rounds == self._rounds:
            self._steps.take(rounds, self._counts)

    @property
    def _rounds(self) -> int:
        return max(lane.shards for lane in self._lanes)

    def _is_enough(self) -> bool:
        return self._until_stable and self._steps.is_stable

    def _expected(self, before: int, done: int) -> int:
        """How many tokens there are to count, of which some are left. As much again, where a text does not tell how long it is."""
        return max(sum(lane.text.expected() for lane in self._lanes) - before, done + 1)

    def _counts(self, half: int | None = None) -> Counts:
        """Of all shards, or of every other one from 0 or 1 on."""

        def of(halves: np.ndarray) -> Any:
            return halves.sum(axis=0) if half is None else halves[half]

        starts = np.cumsum([0, *map(self._model.anatomy.width, self._sites)])
        cuts = [(site, slice(start, stop)) for site, (start, stop) in zip(self._sites, itertools.pairwise(starts), strict=True)]
        return Counts(
            [lane.name for lane in self._lanes],
            [int(of(lane.tokens)) for lane in self._lanes],
            {site: np.stack([of(lane.active[:, units]) for lane in self._lanes]) for site, units in cuts},
            {site: np.stack([of(lane.sums[:, units]) for lane in self._lanes]) for site, units in cuts},
            self._identity,
        )

    def result(self, tokens: int | None, others: Sequence[str]) -> Recording:
        """What was recorded."""
        window, ended = self._lanes[0].text.window, {lane.name: lane.ended for lane in self._lanes}
        dropped = {lane.name: lane.text.dropped if lane.ended else 0 for lane in self._lanes}
        halves = (self._counts(0), self._counts(1)) if all(lane.shards > 1 for lane in self._lanes) else None
        notes = [f"The text of {name} is another than the one recorded before, so that its recording began anew." for name in others]
        if tokens is not None:
            notes += [
                f"The text of {name} that was given ended before {tokens:,} tokens; all of it was read." for name in ended if ended[name]
            ]
        if any(dropped.values()):
            left = ", ".join(f"{name} {number:,}" for name, number in dropped.items() if number)
            notes.append(f"Tokens at a text's end that fill no window of {window:,} were left out: {left}.")
        if self._until_stable:
            notes.append(self._steps.told)
        digests = {lane.name: lane.digest for lane in self._lanes}
        return Recording(self._counts(), halves, self._steps.public, dropped, ended, self._steps.is_stable, digests, tuple(notes))
