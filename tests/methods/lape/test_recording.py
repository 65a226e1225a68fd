"""Recording: the counts of naive packing, the same to the last bit after a kill anywhere, and no memory of the text."""

import gc
import signal
import subprocess
import sys
import textwrap
import tracemalloc
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pico
from resect.core.address import Neurons
from resect.core.errors import InputError
from resect.core.execution import Entry, MemoryJournal, Workers
from resect.methods.lape.activation_counter import count
from resect.methods.lape.counts import Counts
from resect.methods.lape.recording import Recording, record
from resect.models.language_model import LanguageModel
from resect.runs.journal import FolderJournal

WINDOW = 16


def language_model(name: str = "llama", dtype: torch.dtype = torch.float32, **settings: Any) -> LanguageModel:
    return LanguageModel.of(pico.build(name, dtype=dtype), pico.tokenizer(name), **settings)


def documents(number: int, seed: int) -> list[str]:
    """Lines of unequal length, of letters that tell languages apart."""
    generator = np.random.default_rng(seed)
    return [
        "".join(chr(97 + (seed * 7 + each) % 26) for each in generator.integers(0, 9, generator.integers(1, 40))) for _ in range(number)
    ]


TEXTS = {"en": documents(10, 1), "fr": documents(6, 2), "zh": documents(12, 3)}


def select(counts: Counts) -> dict[str, Neurons]:
    """For each language the five units that it lifts most above the mean of all."""
    lifted = counts.probabilities() - counts.probabilities().mean(axis=0)
    return {name: counts.neurons(np.argsort(-lifted[row], kind="stable")[:5].tolist()) for row, name in enumerate(counts.languages)}


def same(first: Recording, second: Recording, *, but: tuple[str, ...] = ()) -> bool:
    names = [name for name in vars(first) if name not in but]
    return all(getattr(first, name) == getattr(second, name) for name in names)


def packed(model: LanguageModel, texts: list[str], window: int) -> tuple[np.ndarray, int]:
    """The windows, and how many tokens are left over, all at once."""
    ids = [each for document in model.encoder.document_ids(texts) for each in document]
    whole = len(ids) // window
    return np.array(ids[: whole * window], dtype=np.int32).reshape(whole, window), len(ids) % window


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5-gated", "bart", "bert", "opt"])
def test_counts_are_those_of_all_windows_at_once(name: str) -> None:
    model = language_model(name, torch.float64)
    found = record(model, TEXTS, window=WINDOW)
    for language, texts in TEXTS.items():
        windows, left = packed(model, texts, WINDOW)
        wanted = count(model, windows, rows=5)
        row = found.counts.at(language)
        assert found.counts.tokens[row] == wanted.tokens == windows.size // (2 if model.kind == "encoder-decoder" else 1)
        assert found.dropped[language] == left
        assert found.ended[language]
        for site in wanted.active:
            assert (found.counts.active[site][row] == wanted.active[site]).all()
            np.testing.assert_allclose(found.counts.sums[site][row], wanted.sums[site], rtol=1e-6, atol=1e-6)
    found.counts.check(model)
    assert found.halves is None
    assert found.steps == ()
    assert [note for note in found.notes if "left out" in note]


def test_documents_are_opened_and_closed_and_blank_ones_skipped() -> None:
    model = language_model()
    kept = record(model, {"en": ["abc", "def"]}, window=2)
    assert record(model, {"en": ["abc", "", " \n", "def"]}, window=2).counts == kept.counts
    assert kept.counts.tokens == (10,)  # <s> a b c </s> <s> d e f </s>


def test_the_limit_is_in_tokens_of_whole_windows_and_makes_two_halves() -> None:
    model = language_model()
    found = record(model, TEXTS, window=WINDOW, tokens=100)
    assert found.counts.tokens == (96, 96, 96)
    assert found.ended == dict.fromkeys(TEXTS, False)
    assert found.dropped == dict.fromkeys(TEXTS, 0)
    assert found.halves is not None
    assert [half.tokens for half in found.halves] == [(48, 48, 48)] * 2
    both = found.halves[0] + found.halves[1]
    assert both.active == found.counts.active
    assert both.sums == found.counts.sums
    windows, _ = packed(model, TEXTS["fr"], WINDOW)
    second = count(model, windows[1:6:2], rows=32)
    assert all((found.halves[1].active[site][1] == second.active[site]).all() for site in second.active)


def test_a_text_that_ends_before_the_limit_is_read_whole_and_that_is_said() -> None:
    found = record(language_model(), TEXTS, window=WINDOW, tokens=400)
    assert found.ended == {"en": False, "fr": True, "zh": False} | {name: number < 400 // WINDOW for name, number in lengths().items()}
    assert any("fr that was given ended before 400 tokens" in note for note in found.notes)


def lengths() -> dict[str, int]:
    """How many windows each text has."""
    return {name: len(packed(language_model(), texts, WINDOW)[0]) for name, texts in TEXTS.items()}


class Killed(BaseException):
    """Stands for the end of the process."""


class Mortal(MemoryJournal):
    """A journal whose process ends after so many entries."""

    def __init__(self, entries: dict[str, Entry], keeps: int) -> None:
        super().__init__()
        self._entries, self.left = entries, keeps

    def keep(self, key: str, entry: Entry) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        super().keep(key, entry)


SHARDED = {"window": WINDOW, "shard_tokens": 4 * WINDOW, "select": select}


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"tokens": 80}, {"until_stable": True}], ids=str)
def test_a_kill_after_any_entry_changes_no_bit(settings: dict[str, Any]) -> None:
    model = language_model(batch_size=3)
    settings = SHARDED | settings
    if settings.get("until_stable"):
        settings["select"] = lambda counts: {"en": counts.neurons([1])}
    whole = MemoryJournal()
    wanted = record(model, TEXTS, workers=Workers(journal=whole), **settings)
    assert wanted.halves is not None
    entries = 0
    while True:
        held: dict[str, Entry] = {}
        try:
            record(model, TEXTS, workers=Workers(journal=Mortal(held, entries)), **settings)
        except Killed:
            found = record(model, TEXTS, workers=Workers(journal=Mortal(held, -1)), **settings)
        else:
            break
        assert same(found, wanted)
        entries += 1
    assert entries >= 8


def test_many_kills_in_a_row_lose_nothing() -> None:
    model, held, lives = language_model(), {}, 0
    wanted = record(model, TEXTS, **SHARDED)
    while True:
        lives += 1
        try:
            found = record(model, TEXTS, workers=Workers(journal=Mortal(held, 2)), **SHARDED)
        except Killed:
            continue
        break
    assert same(found, wanted)
    assert lives > 5


def test_what_is_done_is_not_counted_again() -> None:
    model, held = language_model(), {}
    with pytest.raises(Killed):
        record(model, TEXTS, workers=Workers(journal=Mortal(held, 7)), **SHARDED)
    engine = Counting()
    record(model, TEXTS, workers=Workers(journal=Mortal(held, -1), engine=engine), **SHARDED)
    whole = Counting()
    record(model, TEXTS, workers=Workers(engine=whole), **SHARDED)
    assert engine.items == whole.items[-len(engine.items) :]
    assert len(whole.items) - len(engine.items) == 7 - 1  # one of the entries was a step
    again = Counting()
    record(model, TEXTS, workers=Workers(journal=Mortal(held, -1), engine=again), **SHARDED)
    assert again.items == []


class Counting:
    """An engine that works in this process and writes down for which languages; it takes items ahead, as a cluster does."""

    def __init__(self, ahead: int = 0) -> None:
        self.items: list[str] = []
        self.ahead = ahead

    def map(self, work: Any, items: Any) -> Iterator[Any]:
        coming, taken = iter(items), []
        while True:
            while len(taken) <= self.ahead and (item := next(coming, None)) is not None:
                taken.append(item)
            if not taken:
                return
            language, windows = taken.pop(0)
            assert windows.dtype == np.int32
            self.items.append(language)
            yield work((language, windows))


@pytest.mark.parametrize(
    "settings", [{}, {"until_stable": True, "select": lambda counts: {"en": counts.neurons([1])}}], ids=["to the end", "until stable"]
)
def test_an_engine_that_takes_items_ahead_gives_the_same_bits(settings: dict[str, Any]) -> None:
    model = language_model()
    settings = SHARDED | settings
    wanted = record(model, TEXTS, **settings)
    for ahead in (1, 4, 100):
        assert same(record(model, TEXTS, workers=Workers(engine=Counting(ahead)), **settings), wanted)


def test_languages_take_turns() -> None:
    engine = Counting()
    record(language_model(), TEXTS, workers=Workers(engine=engine), **SHARDED)
    shards = {name: -(-number // 4) for name, number in lengths().items()}
    turns = [name for turn in range(max(shards.values())) for name in TEXTS if turn < shards[name]]
    assert engine.items == turns


def test_another_text_starts_that_language_anew_and_that_is_said() -> None:
    model, held = language_model(), {}
    with pytest.raises(Killed):
        record(model, TEXTS, workers=Workers(journal=Mortal(held, 12)), **SHARDED)
    changed = TEXTS | {"fr": ["quite another text", *TEXTS["fr"]]}
    kept = dict(held)
    found = record(model, changed, workers=Workers(journal=Mortal(held, -1)), **SHARDED)
    wanted = record(model, changed, **SHARDED)
    assert same(found, wanted, but=("notes", "steps"))
    assert found.notes == ("The text of fr is another than the one recorded before, so that its recording began anew.", *wanted.notes)
    assert found.steps[-1]["tokens"] == wanted.steps[-1]["tokens"]
    shorter = TEXTS | {"zh": TEXTS["zh"][:3]}
    assert same(
        record(model, shorter, workers=Workers(journal=Mortal(kept, -1)), **SHARDED),
        record(model, shorter, **SHARDED),
        but=("notes", "steps"),
    )


def test_a_text_that_can_be_read_once_cannot_be_begun_anew() -> None:
    model, held = language_model(), {}
    once = lambda: TEXTS | {"fr": iter(TEXTS["fr"])}
    wanted = record(model, TEXTS, **SHARDED)
    with pytest.raises(Killed):
        record(model, once(), workers=Workers(journal=Mortal(held, 12)), **SHARDED)
    kept = dict(held)
    assert same(record(model, once(), workers=Workers(journal=Mortal(held, -1)), **SHARDED), wanted)
    with pytest.raises(InputError, match=r"text of fr .* can be read once\. Give .* --fresh"):
        record(model, TEXTS | {"fr": iter(["x", *TEXTS["fr"]])}, workers=Workers(journal=Mortal(kept, -1)), **SHARDED)


def test_the_rows_that_were_found_before_a_kill_are_run_again() -> None:
    held: dict[str, Entry] = {}
    first, second = language_model(), language_model()
    first.batches.sizes["windows"], second.batches.sizes["windows"] = 3, 2
    wanted = record(first, TEXTS, **SHARDED)
    with pytest.raises(Killed):
        record(first, TEXTS, workers=Workers(journal=Mortal(held, 5)), **SHARDED)
    assert same(record(second, TEXTS, workers=Workers(journal=Mortal(held, -1)), **SHARDED), wanted)
    assert second.batches.sizes["windows"] == 3


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        import methods.lape.test_recording as here
        from resect.runs.journal import FolderJournal
        from resect.methods.lape.recording import record

        class Deadly(FolderJournal):
            def keep(self, key, entry):
                if self.count == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                super().keep(key, entry)

        record(here.language_model(), here.TEXTS, workers=here.Workers(journal=Deadly(Path(sys.argv[2]))), **here.SHARDED)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(Path(__file__).parents[2]), str(tmp_path)]
    died = subprocess.run(command, capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    journal, engine = FolderJournal(tmp_path), Counting()
    assert journal.count == 3
    found = record(language_model(), TEXTS, workers=Workers(journal=journal, engine=engine), **SHARDED)
    whole = Counting()
    assert same(found, record(language_model(), TEXTS, workers=Workers(engine=whole), **SHARDED))
    assert len(engine.items) == len(whole.items) - 3


# How the selected set moves.


def moving(sets: Mapping[int, list[int]]) -> Any:
    """A selection that is told: by tokens of the first language, which units it has."""
    return lambda counts: {"en": counts.neurons(sets[counts.tokens[0]])}


LONG = {"en": documents(60, 1), "fr": documents(60, 2)}


def test_steps_are_taken_at_doublings_and_at_the_end() -> None:
    asked = []

    def select(counts: Counts) -> dict[str, Neurons]:
        asked.append(counts.tokens)
        return {"en": counts.neurons(range(len(asked), len(asked) + 4)), "fr": counts.neurons([0])}

    found = record(language_model(), LONG, window=WINDOW, tokens=7 * WINDOW, shard_tokens=WINDOW, select=select)
    assert asked == [(16, 16), (32, 32), (64, 64), (112, 112)]
    assert [step["tokens"] for step in found.steps] == [list(tokens) for tokens in asked]
    assert [step["units"] for step in found.steps] == [5] * 4
    assert found.steps[0]["jaccard"] is None
    assert [step["jaccard"] for step in found.steps[1:]] == [pytest.approx(4 / 6)] * 3  # three of four, and fr's own
    assert not found.stable


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sets", "tokens", "stable"),
    [
        ({16: [1], 32: [1], 64: [1]}, 64, True),
        ({16: [1], 32: [2], 64: [2], 128: [2]}, 128, True),
        ({16: [1], 32: [1], 64: [2], 128: [2], 144: [2]}, 144, False),
        ({16: [], 32: [], 64: [], 128: [], 144: []}, 144, False),
        ({16: list(range(20)), 32: list(range(19)), 64: list(range(20))}, 64, True),
        ({16: list(range(20)), 32: list(range(18)), 64: list(range(18)), 128: list(range(18))}, 128, True),
    ],
    ids=["at once", "after a change", "moves to the end", "nothing selected", "0.95 is enough", "0.90 is not"],
)
def test_recording_stops_once_the_set_no_longer_moves(sets: dict[int, list[int]], tokens: int, stable: bool) -> None:
    settings = {"window": WINDOW, "tokens": 9 * WINDOW, "shard_tokens": WINDOW, "select": moving(sets)}
    found = record(language_model(), LONG, until_stable=True, **settings)
    assert found.counts.tokens == (tokens, tokens)
    assert found.stable is stable
    assert any(("no longer moved" if stable else "had not stopped moving") in note and "0.95" in note for note in found.notes)
    if stable:
        assert found.counts == record(language_model(), LONG, window=WINDOW, tokens=tokens, shard_tokens=WINDOW).counts


def test_text_too_short_to_tell_whether_the_set_moves_is_said() -> None:
    settings = {"window": WINDOW, "tokens": 3 * WINDOW, "shard_tokens": WINDOW, "select": moving({16: [1], 32: [1], 48: [1]})}
    found = record(language_model(), LONG, until_stable=True, **settings)
    assert not found.stable and any("ended before one could tell" in note and "0.95" in note for note in found.notes)


def test_steps_are_told_where_nothing_stops() -> None:
    found = record(language_model(), LONG, window=WINDOW, tokens=8 * WINDOW, shard_tokens=WINDOW, select=lambda c: {"en": c.neurons([3])})
    assert found.counts.tokens == (128, 128)
    assert [step["jaccard"] for step in found.steps] == [None, 1.0, 1.0, 1.0]
    assert found.stable
    assert not found.notes


# Memory and progress.


def test_no_document_and_no_window_outlives_its_shard() -> None:
    """What is alive does not grow with the text: windows are weakly held as they go by, and the text is made as it is read."""
    model, alive, most = language_model(), [], 0

    class Watched(Counting):
        def map(self, work: Any, items: Any) -> Iterator[Any]:
            nonlocal most
            for item in items:
                alive.append(weakref.ref(item[1]))
                yield work(item)
                del item
                most = max(most, sum(each() is not None for each in alive))

    def text(number: int) -> Iterator[str]:
        yield from (f"{place:06d} and so on" for place in range(number))

    for number in (60, 180):
        alive.clear()
        record(model, {"en": text(number), "fr": text(number)}, window=WINDOW, shard_tokens=8 * WINDOW, workers=Workers(engine=Watched()))
        assert len(alive) > number // 10
    assert most <= 5


@pytest.mark.slow
def test_python_memory_does_not_grow_with_the_text() -> None:
    model = language_model("gpt2")

    def peak(number: int) -> int:
        text = (f"{place:09d} " + "word " * 6 for place in range(number))
        gc.collect()
        tracemalloc.start()
        record(model, {"en": text}, window=64, shard_tokens=2048)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(600)
    assert peak(1_500) < peak(600) * 1.25 + 100_000


class Told:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.calls.append((stage, done, total))


class Shared(list):
    """Documents that tell how much of them was read, as a corpus does."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(texts)
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        for self.read, text in enumerate(super().__iter__(), start=1):
            yield text

    def share(self) -> float | None:
        return self.read / len(self)


@pytest.mark.slow
@pytest.mark.parametrize("texts", [LONG, {name: Shared(text) for name, text in LONG.items()}], ids=["lists", "corpora"])
@pytest.mark.parametrize("tokens", [None, 20 * WINDOW])
def test_progress_opens_rises_and_closes_once(texts: Any, tokens: int | None) -> None:
    told = Told()
    found = record(language_model(), texts, window=WINDOW, tokens=tokens, shard_tokens=WINDOW, workers=Workers(progress=told))
    assert {stage for stage, _, _ in told.calls} == {"recording"}
    done = [done for _, done, _ in told.calls]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == sum(found.counts.tokens)
    assert [done >= total for _, done, total in told.calls] == [False] * (len(done) - 1) + [True]
    if tokens is not None:
        assert {total for _, _, total in told.calls} <= {40 * WINDOW, 40 * WINDOW + 1}


def test_progress_where_nothing_tells_how_long_a_text_is() -> None:
    told = Told()
    record(language_model(), {"en": iter(LONG["en"])}, window=WINDOW, shard_tokens=WINDOW, workers=Workers(progress=told))
    assert [done >= total for _, done, total in told.calls] == [False] * (len(told.calls) - 1) + [True]


def test_rereading_after_a_kill_is_told() -> None:
    held: dict[str, Entry] = {}
    with pytest.raises(Killed):
        record(language_model(), TEXTS, workers=Workers(journal=Mortal(held, 5)), **SHARDED)
    told = Told()
    record(language_model(), TEXTS, workers=Workers(journal=Mortal(held, -1), progress=told), **SHARDED)
    stages = list(dict.fromkeys(stage for stage, _, _ in told.calls))
    assert stages == ["finding where the texts were left", "recording"]
    assert told.calls[0][1:] == (0, 4)
    assert ("finding where the texts were left", 4, 4) in told.calls


# Windows and bad input.


@pytest.mark.parametrize(("window", "told"), [(1, "2 to 512"), (0, "2 to 512"), (513, "window of 513 tokens .* context")])
def test_an_impossible_window_is_refused(window: int, told: str) -> None:
    with pytest.raises(InputError, match=told):
        record(language_model(), TEXTS, window=window)


@pytest.mark.parametrize(
    ("texts", "settings", "told"),
    [
        ({}, {}, "no language"),
        ({"en": ["abc def ghi jkl"], "fr": []}, {}, "text of fr is empty"),
        ({"en": ["abc def ghi jkl"], "fr": ["", "  "]}, {}, "text of fr is empty"),
        ({"en": ["abc def ghi jkl"], "fr": ["abc", "d"]}, {}, r"text of fr has 8 tokens, less than one window of 16\. .*--window"),
        ({"en": TEXTS["en"]}, {"tokens": 15}, r"15 tokens of en .* window of 16\. .*--tokens"),
        ({"en": TEXTS["en"]}, {"until_stable": True}, "needs `select`"),
        ({"en": "one text"}, {}, "text of en is a single str"),
        ({"en": iter(["abc", 7])}, {}, "document of en is a int, not text: 7"),
        ({"en": ["abc", "d\ud800e"]}, {}, "In the text of en: .*surrogate"),
    ],
)
def test_bad_input_is_refused_before_anything_is_counted(texts: Any, settings: dict[str, Any], told: str) -> None:
    engine = Counting()
    with pytest.raises(InputError, match=told):
        record(language_model(), texts, window=WINDOW, workers=Workers(engine=engine), **settings)
    assert engine.items == []


def test_what_reading_a_text_raises_comes_back_as_itself() -> None:
    def torn() -> Iterator[str]:
        yield from TEXTS["en"]
        raise InputError("line 17 is not UTF-8")

    with pytest.raises(InputError, match="line 17"):
        record(language_model(), {"en": torn()}, **SHARDED)
