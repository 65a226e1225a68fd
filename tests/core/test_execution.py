"""Work that is done stays done, in the order of the items."""

import pytest

from resect.core.execution import LocalEngine, MemoryJournal, map_resumable


def test_only_what_the_journal_lacks_is_done_and_results_keep_their_order() -> None:
    journal, done, told = MemoryJournal(), [], []
    journal.keep("b", {"value": 20})

    def work(item: int) -> dict[str, int]:
        done.append(item)
        return {"value": item * 10}

    settings = {"engine": LocalEngine(), "journal": journal, "progress": lambda *args: told.append(args), "stage": "s"}
    assert [entry["value"] for entry in map_resumable(work, [1, 2, 3], ["a", "b", "c"], **settings)] == [10, 20, 30]
    assert done == [1, 3]
    assert told == [("s", 0, 3), ("s", 1, 3), ("s", 2, 3), ("s", 3, 3)]
    assert [entry["value"] for entry in map_resumable(work, [1, 2, 3], ["a", "b", "c"], **settings)] == [10, 20, 30]
    assert done == [1, 3]


def test_what_was_finished_before_a_failure_is_kept() -> None:
    journal = MemoryJournal()

    def work(item: int) -> dict[str, int]:
        if item == 2:
            raise KeyboardInterrupt
        return {"value": item}

    with pytest.raises(KeyboardInterrupt):
        list(map_resumable(work, [1, 2], ["a", "b"], engine=LocalEngine(), journal=journal))
    assert journal.recall("a") == {"value": 1}
    assert journal.recall("b") is None
