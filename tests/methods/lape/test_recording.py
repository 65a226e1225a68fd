"""Recording: the counts of naive packing, the same to the last bit after a kill anywhere, in memory that does not grow with the text."""

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
from resect.methods.lape.activation_counter import count_activations
from resect.methods.lape.counts import Counts
from resect.methods.lape.recording import REREADING, STAGE, Recording, record
from resect.models.language_model import LanguageModel
from resect.runs.journal import FolderJournal

WINDOW = 16


def language_model(name: str = "llama", dtype: torch.dtype = torch.float32, **settings: Any) -> LanguageModel:
    return LanguageModel.of(pico.build(name, dtype=dtype), pico.tokenizer(name), **settings)


def documents(number: int, seed: int) -> list[str]:
    """Lines of unequal length, of letters that differ between languages."""
    generator = np.random.default_rng(seed)
    return [
        "".join(chr(97 + (seed * 7 + letter) % 26) for letter in generator.integers(0, 9, generator.integers(1, 40))) for _ in range(number)
    ]


TEXTS = {"en": documents(10, 1), "fr": documents(6, 2), "zh": documents(12, 3)}


def select(counts: Counts) -> dict[str, Neurons]:
    """For each language the five units whose probability is furthest above the mean over languages."""
    difference = counts.probabilities() - counts.probabilities().mean(axis=0)
    return {name: counts.neurons(np.argsort(-difference[row], kind="stable")[:5].tolist()) for row, name in enumerate(counts.languages)}


def same(first: Recording, second: Recording, *, except_for: tuple[str, ...] = ()) -> bool:
    names = [name for name in vars(first) if name not in except_for]
    return all(getattr(first, name) == getattr(second, name) for name in names)


def packed(model: LanguageModel, texts: list[str], window: int) -> tuple[np.ndarray, int]:
    """All windows at once, and the number of tokens that are left over."""
    ids = [token for document in model.encoder.encode_documents(texts) for token in document]
    number = len(ids) // window
    return np.array(ids[: number * window], dtype=np.int32).reshape(number, window), len(ids) % window


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5-gated", "bart", "bert", "opt"])
def test_counts_are_those_of_all_windows_at_once(name: str) -> None:
    model = language_model(name, torch.float64)
    found = record(model, TEXTS, window=WINDOW)
    for language, texts in TEXTS.items():
        windows, left = packed(model, texts, WINDOW)
        expected = count_activations(model, windows, rows=5)
        row = found.counts.row(language)
        assert found.counts.tokens[row] == expected.tokens == windows.size // (2 if model.kind == "encoder-decoder" else 1)
        assert found.dropped[language] == left
        assert found.ended[language]
        for site in expected.active:
            assert (found.counts.active[site][row] == expected.active[site]).all()
            np.testing.assert_allclose(found.counts.sums[site][row], expected.sums[site], rtol=1e-6, atol=1e-6)
    found.counts.check(model)
    assert found.halves is None
    assert found.steps == ()
    assert [note for note in found.notes if "left out" in note]


def test_documents_are_opened_and_closed_and_blank_ones_are_skipped() -> None:
    model = language_model()
    expected = record(model, {"en": ["abc", "def"]}, window=2)
    assert record(model, {"en": ["abc", "", " \n", "def"]}, window=2).counts == expected.counts
    assert expected.counts.tokens == (10,)  # <s> a b c </s> <s> d e f </s>


def test_the_limit_is_in_tokens_of_full_windows_and_gives_two_halves() -> None:
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
    second = count_activations(model, windows[1:6:2], rows=32)
    assert all((found.halves[1].active[site][1] == second.active[site]).all() for site in second.active)


def test_a_text_that_ends_before_the_limit_is_read_completely_and_a_note_says_so() -> None:
    found = record(language_model(), TEXTS, window=WINDOW, tokens=400)
    assert found.ended == {"en": False, "fr": True, "zh": False} | {name: number < 400 // WINDOW for name, number in lengths().items()}
    assert any("fr ended before 400 tokens" in note for note in found.notes)


def lengths() -> dict[str, int]:
    """The number of windows of each text."""
    return {name: len(packed(language_model(), texts, WINDOW)[0]) for name, texts in TEXTS.items()}


class Killed(BaseException):
    """Simulates the end of the process."""


class KillingJournal(MemoryJournal):
    """A journal that ends the process after so many entries; −1: never."""

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
    expected = record(model, TEXTS, workers=Workers(journal=MemoryJournal()), **settings)
    assert expected.halves is not None
    entries = 0
    while True:
        stored: dict[str, Entry] = {}
        try:
            record(model, TEXTS, workers=Workers(journal=KillingJournal(stored, entries)), **settings)
        except Killed:
            found = record(model, TEXTS, workers=Workers(journal=KillingJournal(stored, -1)), **settings)
        else:
            break
        assert same(found, expected)
        entries += 1
    assert entries >= 8


def test_many_kills_in_a_row_lose_nothing() -> None:
    model, stored, starts = language_model(), {}, 0
    expected = record(model, TEXTS, **SHARDED)
    while True:
        starts += 1
        try:
            found = record(model, TEXTS, workers=Workers(journal=KillingJournal(stored, 2)), **SHARDED)
        except Killed:
            continue
        break
    assert same(found, expected)
    assert starts > 5


def test_stored_shards_are_not_counted_again() -> None:
    model, stored = language_model(), {}
    with pytest.raises(Killed):
        record(model, TEXTS, workers=Workers(journal=KillingJournal(stored, 7)), **SHARDED)
    engine = ItemEngine()
    record(model, TEXTS, workers=Workers(journal=KillingJournal(stored, -1), engine=engine), **SHARDED)
    complete = ItemEngine()
    record(model, TEXTS, workers=Workers(engine=complete), **SHARDED)
    assert engine.items == complete.items[-len(engine.items) :]
    assert len(complete.items) - len(engine.items) == 7 - 1  # one of the entries was a step
    again = ItemEngine()
    record(model, TEXTS, workers=Workers(journal=KillingJournal(stored, -1), engine=again), **SHARDED)
    assert again.items == []


class ItemEngine:
    """An engine that works in this process and notes the languages of its items; it takes items ahead, as a cluster does."""

    def __init__(self, ahead: int = 0) -> None:
        self.items: list[str] = []
        self.ahead = ahead

    def map(self, work: Any, items: Any) -> Iterator[Any]:
        remaining, taken = iter(items), []
        while True:
            while len(taken) <= self.ahead and (item := next(remaining, None)) is not None:
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
    expected = record(model, TEXTS, **settings)
    for ahead in (1, 4, 100):
        assert same(record(model, TEXTS, workers=Workers(engine=ItemEngine(ahead)), **settings), expected)


def test_languages_take_turns() -> None:
    engine = ItemEngine()
    record(language_model(), TEXTS, workers=Workers(engine=engine), **SHARDED)
    shards = {name: -(-number // 4) for name, number in lengths().items()}
    turns = [name for turn in range(max(shards.values())) for name in TEXTS if turn < shards[name]]
    assert engine.items == turns


def test_a_changed_text_starts_its_language_anew_and_a_note_says_so() -> None:
    model, stored = language_model(), {}
    with pytest.raises(Killed):
        record(model, TEXTS, workers=Workers(journal=KillingJournal(stored, 12)), **SHARDED)
    changed = TEXTS | {"fr": ["quite another text", *TEXTS["fr"]]}
    before = dict(stored)
    found = record(model, changed, workers=Workers(journal=KillingJournal(stored, -1)), **SHARDED)
    expected = record(model, changed, **SHARDED)
    assert same(found, expected, except_for=("notes", "steps"))
    assert "text of fr" in found.notes[0] and "anew" in found.notes[0]
    assert found.notes[1:] == expected.notes
    assert found.steps[-1]["tokens"] == expected.steps[-1]["tokens"]
    shorter = TEXTS | {"zh": TEXTS["zh"][:3]}
    assert same(
        record(model, shorter, workers=Workers(journal=KillingJournal(before, -1)), **SHARDED),
        record(model, shorter, **SHARDED),
        except_for=("notes", "steps"),
    )


def test_an_iterator_of_documents_cannot_be_started_anew() -> None:
    model, stored = language_model(), {}
    once = lambda: TEXTS | {"fr": iter(TEXTS["fr"])}
    expected = record(model, TEXTS, **SHARDED)
    with pytest.raises(Killed):
        record(model, once(), workers=Workers(journal=KillingJournal(stored, 12)), **SHARDED)
    before = dict(stored)
    assert same(record(model, once(), workers=Workers(journal=KillingJournal(stored, -1)), **SHARDED), expected)
    with pytest.raises(InputError, match=r"text of fr .* can be read once\. Give .* --fresh"):
        record(model, TEXTS | {"fr": iter(["x", *TEXTS["fr"]])}, workers=Workers(journal=KillingJournal(before, -1)), **SHARDED)


def test_the_batch_size_from_before_a_kill_is_used_again() -> None:
    stored: dict[str, Entry] = {}
    first, second = language_model(), language_model()
    first.batcher.sizes["windows"], second.batcher.sizes["windows"] = 3, 2
    expected = record(first, TEXTS, **SHARDED)
    with pytest.raises(Killed):
        record(first, TEXTS, workers=Workers(journal=KillingJournal(stored, 5)), **SHARDED)
    assert same(record(second, TEXTS, workers=Workers(journal=KillingJournal(stored, -1)), **SHARDED), expected)
    assert second.batcher.sizes["windows"] == 3


@pytest.mark.slow
def test_a_killed_process_continues_to_the_same_bits(tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        import methods.lape.test_recording as here
        from resect.runs.journal import FolderJournal
        from resect.methods.lape.recording import record

        class KillingFolderJournal(FolderJournal):
            def keep(self, key, entry):
                if self.count == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                super().keep(key, entry)

        record(here.language_model(), here.TEXTS, workers=here.Workers(journal=KillingFolderJournal(Path(sys.argv[2]))), **here.SHARDED)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(Path(__file__).parents[2]), str(tmp_path)]
    process = subprocess.run(command, capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    journal, engine = FolderJournal(tmp_path), ItemEngine()
    assert journal.count == 3
    found = record(language_model(), TEXTS, workers=Workers(journal=journal, engine=engine), **SHARDED)
    complete = ItemEngine()
    assert same(found, record(language_model(), TEXTS, workers=Workers(engine=complete), **SHARDED))
    assert len(engine.items) == len(complete.items) - 3


# -- stability of the selection ---------------------------------------------------------------------------------------


def selection_by_tokens(sets: Mapping[int, list[int]]) -> Any:
    """A function that selects given units by the number of tokens of the first language."""
    return lambda counts: {"en": counts.neurons(sets[counts.tokens[0]])}


LONG = {"en": documents(60, 1), "fr": documents(60, 2)}


def test_selections_are_compared_at_doublings_and_at_the_end() -> None:
    selected_at = []

    def select(counts: Counts) -> dict[str, Neurons]:
        selected_at.append(counts.tokens)
        return {"en": counts.neurons(range(len(selected_at), len(selected_at) + 4)), "fr": counts.neurons([0])}

    found = record(language_model(), LONG, window=WINDOW, tokens=7 * WINDOW, shard_tokens=WINDOW, select=select)
    assert selected_at == [(16, 16), (32, 32), (64, 64), (112, 112)]
    assert [step["tokens"] for step in found.steps] == [list(tokens) for tokens in selected_at]
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
    ids=["at once", "after a change", "changes to the end", "nothing selected", "0.95 is enough", "0.90 is not"],
)
def test_recording_stops_once_the_selection_is_stable(sets: dict[int, list[int]], tokens: int, stable: bool) -> None:
    settings = {"window": WINDOW, "tokens": 9 * WINDOW, "shard_tokens": WINDOW, "select": selection_by_tokens(sets)}
    found = record(language_model(), LONG, until_stable=True, **settings)
    assert found.counts.tokens == (tokens, tokens)
    assert found.stable is stable
    assert any(("stopped" if stable else "not yet stable") in note and "0.95" in note for note in found.notes)
    if stable:
        assert found.counts == record(language_model(), LONG, window=WINDOW, tokens=tokens, shard_tokens=WINDOW).counts


def test_text_too_short_to_measure_stability_is_noted() -> None:
    settings = {"window": WINDOW, "tokens": 3 * WINDOW, "shard_tokens": WINDOW, "select": selection_by_tokens({16: [1], 32: [1], 48: [1]})}
    found = record(language_model(), LONG, until_stable=True, **settings)
    assert not found.stable and any("ended before the stability" in note and "0.95" in note for note in found.notes)


def test_steps_are_reported_without_until_stable() -> None:
    found = record(language_model(), LONG, window=WINDOW, tokens=8 * WINDOW, shard_tokens=WINDOW, select=lambda c: {"en": c.neurons([3])})
    assert found.counts.tokens == (128, 128)
    assert [step["jaccard"] for step in found.steps] == [None, 1.0, 1.0, 1.0]
    assert found.stable
    assert not found.notes


# -- memory and progress ----------------------------------------------------------------------------------------------


def test_no_window_outlives_its_shard() -> None:
    """The number of windows in memory does not grow with the text: they are referenced weakly, and the text is generated as it is read."""
    model, references, most = language_model(), [], 0

    class WatchingEngine(ItemEngine):
        def map(self, work: Any, items: Any) -> Iterator[Any]:
            nonlocal most
            for item in items:
                references.append(weakref.ref(item[1]))
                yield work(item)
                del item
                most = max(most, sum(reference() is not None for reference in references))

    def text(number: int) -> Iterator[str]:
        yield from (f"{place:06d} and so on" for place in range(number))

    for number in (60, 180):
        references.clear()
        record(
            model,
            {"en": text(number), "fr": text(number)},
            window=WINDOW,
            shard_tokens=8 * WINDOW,
            workers=Workers(engine=WatchingEngine()),
        )
        assert len(references) > number // 10
    assert most <= 5


@pytest.mark.slow
def test_python_memory_does_not_grow_with_the_text() -> None:
    model = language_model("gpt2")

    def peak(number: int) -> int:
        text = (f"{place:09d} " + "word " * 6 for place in range(number))
        gc.collect()
        tracemalloc.start()
        record(model, {"en": text}, window=64, shard_tokens=2048)
        bytes_at_peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return bytes_at_peak

    peak(600)
    assert peak(1_500) < peak(600) * 1.25 + 100_000


class ProgressCalls:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.calls.append((stage, done, total))


class ListWithShare(list):
    """Documents with a method `share`, as a corpus has."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(texts)
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        for self.read, text in enumerate(super().__iter__(), start=1):
            yield text

    def share(self) -> float | None:
        return self.read / len(self)


@pytest.mark.slow
@pytest.mark.parametrize("texts", [LONG, {name: ListWithShare(text) for name, text in LONG.items()}], ids=["lists", "corpora"])
@pytest.mark.parametrize("tokens", [None, 20 * WINDOW])
def test_progress_opens_rises_and_closes_once(texts: Any, tokens: int | None) -> None:
    progress = ProgressCalls()
    found = record(language_model(), texts, window=WINDOW, tokens=tokens, shard_tokens=WINDOW, workers=Workers(progress=progress))
    assert {stage for stage, _, _ in progress.calls} == {"recording"}
    done = [done for _, done, _ in progress.calls]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == sum(found.counts.tokens)
    assert [done >= total for _, done, total in progress.calls] == [False] * (len(done) - 1) + [True]
    if tokens is not None:
        assert {total for _, _, total in progress.calls} <= {40 * WINDOW, 40 * WINDOW + 1}


def test_progress_of_a_text_of_unknown_length() -> None:
    progress = ProgressCalls()
    record(language_model(), {"en": iter(LONG["en"])}, window=WINDOW, shard_tokens=WINDOW, workers=Workers(progress=progress))
    assert [done >= total for _, done, total in progress.calls] == [False] * (len(progress.calls) - 1) + [True]


def test_rereading_after_a_kill_is_reported() -> None:
    stored: dict[str, Entry] = {}
    with pytest.raises(Killed):
        record(language_model(), TEXTS, workers=Workers(journal=KillingJournal(stored, 5)), **SHARDED)
    progress = ProgressCalls()
    record(language_model(), TEXTS, workers=Workers(journal=KillingJournal(stored, -1), progress=progress), **SHARDED)
    stages = list(dict.fromkeys(stage for stage, _, _ in progress.calls))
    assert stages == [REREADING, STAGE]
    assert progress.calls[0][1:] == (0, 4)
    assert (REREADING, 4, 4) in progress.calls


# -- windows and bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "words"), [(1, "2 to 512"), (0, "2 to 512"), (513, "window of 513 tokens .* context")])
def test_an_impossible_window_is_refused(window: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        record(language_model(), TEXTS, window=window)


@pytest.mark.parametrize(
    ("texts", "settings", "words"),
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
def test_bad_input_is_refused_before_anything_is_counted(texts: Any, settings: dict[str, Any], words: str) -> None:
    engine = ItemEngine()
    with pytest.raises(InputError, match=words):
        record(language_model(), texts, window=WINDOW, workers=Workers(engine=engine), **settings)
    assert engine.items == []


def test_errors_of_reading_a_text_are_raised_unchanged() -> None:
    def failing_text() -> Iterator[str]:
        yield from TEXTS["en"]
        raise InputError("line 17 is not UTF-8")

    with pytest.raises(InputError, match="line 17"):
        record(language_model(), {"en": failing_text()}, **SHARDED)
