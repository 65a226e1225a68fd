"""Recording: the counts of naive packing, the same to the last bit after a kill anywhere, and no memory of the text."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import pico
from resect.address import Neurons
from resect.counting import count
from resect.counts import Counts
from resect.errors import InputError
from resect.model import LanguageModel
from resect.recording import Recording, record
from resect.work import Entry, InMemory

WINDOW = 16


def language_model(name: str = "llama", dtype: torch.dtype = torch.float32, **settings: Any) -> LanguageModel:
    return LanguageModel.of(pico.build(name, dtype=dtype), pico.tokenizer(name), **settings)


def documents(number: int, seed: int) -> list[str]:
    """Lines of unequal length, of letters that tell languages apart."""
    generator = np.random.default_rng(seed)
    return [
        "".join(chr(97 + (seed * 7 + each) % 26) for each in generator.integers(0, 9, generator.integers(1, 40))) for _ in range(number)
    ]


TEXTS = {"en": documents(22, 1), "fr": documents(14, 2), "zh": documents(26, 3)}


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
    found = record(model, TEXTS, window=WINDOW, tokens=170)
    assert found.counts.tokens == (160, 160, 160)
    assert found.ended == dict.fromkeys(TEXTS, False)
    assert found.dropped == dict.fromkeys(TEXTS, 0)
    assert found.halves is not None
    assert [half.tokens for half in found.halves] == [(80, 80, 80)] * 2
    both = found.halves[0] + found.halves[1]
    assert both.active == found.counts.active
    assert both.sums == found.counts.sums
    windows, _ = packed(model, TEXTS["fr"], WINDOW)
    second = count(model, windows[5:10], rows=32)
    assert all((found.halves[1].active[site][1] == second.active[site]).all() for site in second.active)


def test_a_text_that_ends_before_the_limit_is_read_whole_and_that_is_said() -> None:
    found = record(language_model(), TEXTS, window=WINDOW, tokens=400)
    assert found.ended == {"en": False, "fr": True, "zh": False} | {name: number < 400 // WINDOW for name, number in lengths().items()}
    assert any("fr ended before 400 tokens" in note for note in found.notes)


def lengths() -> dict[str, int]:
    """How many windows each text has."""
    return {name: len(packed(language_model(), texts, WINDOW)[0]) for name, texts in TEXTS.items()}


class Killed(BaseException):
    """Stands for the end of the process."""


class Mortal(InMemory):
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


@pytest.mark.parametrize("settings", [{}, {"tokens": 200}, {"until_stable": True}], ids=str)
def test_a_kill_after_any_entry_changes_no_bit(settings: dict[str, Any]) -> None:
    model = language_model(batch_size=3)
    settings = SHARDED | settings
    if settings.get("until_stable"):
        settings["select"] = lambda counts: {"en": counts.neurons([1])}
    whole = InMemory()
    wanted = record(model, TEXTS, journal=whole, **settings)
    assert wanted.halves is not None
    entries = 0
    while True:
        held: dict[str, Entry] = {}
        try:
            record(model, TEXTS, journal=Mortal(held, entries), **settings)
        except Killed:
            found = record(model, TEXTS, journal=Mortal(held, -1), **settings)
        else:
            break
        assert same(found, wanted)
        entries += 1
    assert entries >= 12


def test_many_kills_in_a_row_lose_nothing() -> None:
    model, held, lives = language_model(), {}, 0
    wanted = record(model, TEXTS, **SHARDED)
    while True:
        lives += 1
        try:
            found = record(model, TEXTS, journal=Mortal(held, 2), **SHARDED)
        except Killed:
            continue
        break
    assert same(found, wanted)
    assert lives > 10


def test_what_is_done_is_not_counted_again() -> None:
    model, held = language_model(), {}
    with pytest.raises(Killed):
        record(model, TEXTS, journal=Mortal(held, 7), **SHARDED)
    engine = Counting()
    record(model, TEXTS, journal=Mortal(held, -1), engine=engine, **SHARDED)
    whole = Counting()
    record(model, TEXTS, engine=whole, **SHARDED)
    assert engine.items == whole.items[-len(engine.items) :]
    assert len(whole.items) - len(engine.items) == 7 - 1  # one of the entries was a step
    again = Counting()
    record(model, TEXTS, journal=Mortal(held, -1), engine=again, **SHARDED)
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


@pytest.mark.parametrize("settings", [{}, {"until_stable": True, "select": lambda counts: {"en": counts.neurons([1])}}], ids=str)
def test_an_engine_that_takes_items_ahead_gives_the_same_bits(settings: dict[str, Any]) -> None:
    model = language_model()
    settings = SHARDED | settings
    wanted = record(model, TEXTS, **settings)
    for ahead in (1, 4, 100):
        assert same(record(model, TEXTS, engine=Counting(ahead), **settings), wanted)


def test_languages_take_turns() -> None:
    engine = Counting()
    record(language_model(), TEXTS, engine=engine, **SHARDED)
    shards = {name: -(-number // 4) for name, number in lengths().items()}
    turns = [name for turn in range(max(shards.values())) for name in TEXTS if turn < shards[name]]
    assert engine.items == turns


def test_another_text_starts_that_language_anew_and_that_is_said() -> None:
    model, held = language_model(), {}
    with pytest.raises(Killed):
        record(model, TEXTS, journal=Mortal(held, 12), **SHARDED)
    changed = TEXTS | {"fr": ["quite another text", *TEXTS["fr"]]}
    kept = dict(held)
    found = record(model, changed, journal=Mortal(held, -1), **SHARDED)
    wanted = record(model, changed, **SHARDED)
    assert same(found, wanted, but=("notes", "steps"))
    assert found.notes == ("The text of fr is another than the one recorded before, so that its recording began anew.", *wanted.notes)
    assert found.steps[-1]["tokens"] == wanted.steps[-1]["tokens"]
    shorter = TEXTS | {"zh": TEXTS["zh"][:3]}
    assert same(record(model, shorter, journal=Mortal(kept, -1), **SHARDED), record(model, shorter, **SHARDED), but=("notes", "steps"))


def test_a_text_that_can_be_read_once_cannot_be_begun_anew() -> None:
    model, held = language_model(), {}
    once = lambda: TEXTS | {"fr": iter(TEXTS["fr"])}
    wanted = record(model, TEXTS, **SHARDED)
    with pytest.raises(Killed):
        record(model, once(), journal=Mortal(held, 12), **SHARDED)
    kept = dict(held)
    assert same(record(model, once(), journal=Mortal(held, -1), **SHARDED), wanted)
    with pytest.raises(InputError, match=r"text of fr .* can be read once\. Give .* --fresh"):
        record(model, TEXTS | {"fr": iter(["x", *TEXTS["fr"]])}, journal=Mortal(kept, -1), **SHARDED)


def test_the_rows_that_were_found_before_a_kill_are_run_again() -> None:
    held: dict[str, Entry] = {}
    first, second = language_model(), language_model()
    first.batches.sizes["windows"], second.batches.sizes["windows"] = 3, 2
    wanted = record(first, TEXTS, **SHARDED)
    with pytest.raises(Killed):
        record(first, TEXTS, journal=Mortal(held, 5), **SHARDED)
    assert same(record(second, TEXTS, journal=Mortal(held, -1), **SHARDED), wanted)
    assert second.batches.sizes["windows"] == 3
