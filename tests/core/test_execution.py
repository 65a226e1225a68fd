"""Work that is done stays done, in the order of the items."""

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from resect.core.execution import LocalEngine, MemoryJournal, Workers, journal_key


def test_only_what_the_journal_lacks_is_done_and_results_keep_their_order() -> None:
    journal, done, told = MemoryJournal(), [], []
    journal.keep("b", {"value": 20})

    def work(item: int) -> dict[str, int]:
        done.append(item)
        return {"value": item * 10}

    workers = Workers(journal=journal, progress=lambda *args: told.append(args))
    assert [entry["value"] for entry in workers.map(work, [1, 2, 3], ["a", "b", "c"], stage="s")] == [10, 20, 30]
    assert done == [1, 3]
    assert told == [("s", 0, 3), ("s", 1, 3), ("s", 2, 3), ("s", 3, 3)]


def test_where_everything_is_stored_no_item_is_built_and_nothing_is_reported() -> None:
    told: list[object] = []
    workers = Workers(Idle(), MemoryJournal(), lambda *args: told.append(args))
    workers.journal.keep("a", {"value": 1})

    def items() -> Iterator[int]:
        raise AssertionError("an item was built")
        yield

    assert list(workers.map(lambda item: {"value": item}, items(), ["a"])) == [{"value": 1}]
    assert told == []


class Idle(LocalEngine):
    """An engine that must not be needed."""

    def map(self, work: object, items: object) -> Generator[Any, None, None]:
        raise AssertionError("something was computed")
        yield


def test_a_remembered_entry_is_computed_once() -> None:
    workers, computed = Workers(), []
    for _ in range(2):
        assert workers.remember("key", lambda: computed.append(1) or {"value": 5}) == {"value": 5}
    assert computed == [1]


def test_keys_differ_where_any_part_differs() -> None:
    parts = [("a",), ("a", 1), ("a", "b"), ("a", [1]), ("a", [2]), ("a", {"x": 1}), ("a", [1], "b")]
    assert len({journal_key(*each) for each in parts}) == len(parts)
    assert journal_key("a", (1, "x")) == journal_key("a", [1, "x"])


def test_what_was_finished_before_a_failure_is_kept() -> None:
    journal = MemoryJournal()

    def work(item: int) -> dict[str, int]:
        if item == 2:
            raise KeyboardInterrupt
        return {"value": item}

    with pytest.raises(KeyboardInterrupt):
        list(Workers(journal=journal).map(work, [1, 2], ["a", "b"]))
    assert journal.recall("a") == {"value": 1}
    assert journal.recall("b") is None
