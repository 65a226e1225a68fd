"""Sizes are chosen as promised: never twice, few by golden section, ties to the smaller, and a kill costs one candidate."""

import math

import numpy as np
import pytest

from resect.core.errors import InputError
from resect.core.execution import MemoryJournal, Workers
from resect.search.size_search import Trial, best, choose_size, most_evaluations


@pytest.mark.parametrize("limit", [0, 1, 3, 4, 5, 17, 50, 500, 5000])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.1, 0.34, 0.5, 0.9, 1.0])
def test_golden_section_finds_the_peak_of_a_function_with_one(limit: int, share: float) -> None:
    peak = round(share * limit)
    assert best(choose_size(lambda size: -abs(size - peak), limit, scale="linear")).size == peak
    found = best(choose_size(lambda size: -abs(size - peak), limit, scale="log")).size
    assert abs(found - peak) <= 0.005 * peak
    assert found == peak or peak > 100


@pytest.mark.parametrize("scale", ["log", "linear"])
@pytest.mark.parametrize("limit", [10, 50, 227, 500, 1179, 5000])
def test_golden_section_evaluates_one_size_a_narrowing_and_those_of_the_last_bracket(limit: int, scale: str) -> None:
    narrowings = math.ceil(math.log(limit / 4) / math.log((1 + math.sqrt(5)) / 2))
    for peak in range(0, limit, max(1, limit // 13)):
        trials = choose_size(lambda size, peak=peak: -abs(size - peak), limit, scale=scale)
        assert len(trials) <= 1 + narrowings + 1 + 5  # no cut; a size a narrowing, two in the first; a bracket of five
        assert len({trial.size for trial in trials}) == len(trials)


def test_a_peak_among_few_neurons_before_a_plateau_is_not_stepped_over_on_the_log_scale() -> None:
    measured = {0: 0.56, 2: 0.59, 4: 0.67, 8: 0.80, 12: 0.84, 16: 0.75, 24: 0.75, 32: 0.76, 50: 0.79}  # bbq-llama, select split
    curve = lambda size: float(np.interp(size, list(measured), list(measured.values())))
    assert best(choose_size(curve, 50, scale="log")).size == 12
    assert best(choose_size(curve, 50, scale="linear")).size != 12


@pytest.mark.parametrize("first", [5, 9, 14, 20])
def test_a_peak_after_sizes_that_change_nothing_is_found(first: int) -> None:
    curve = lambda size: 0.5 if size < first else 0.9 - 0.01 * abs(size - first - 3)
    trials = choose_size(curve, 50)
    assert best(trials).size == pytest.approx(first + 3, abs=2)
    assert len(trials) <= most_evaluations("golden", 50)


def test_the_grid_evaluates_every_size_and_golden_agrees_with_it_on_one_peak() -> None:
    curve = [0.5, 0.6, 0.7, 0.9, 0.8, 0.4, 0.3, 0.2, 0.1, 0.0]
    assert [trial.size for trial in choose_size(curve.__getitem__, 9, "grid")] == list(range(10))
    assert best(choose_size(curve.__getitem__, 9, "grid")).size == best(choose_size(curve.__getitem__, 9)).size == 3


def test_first_drop_stops_after_the_first_fall() -> None:
    curve = [0.5, 0.5, 0.7, 0.6, 0.9]
    trials = choose_size(curve.__getitem__, 4, "first-drop")
    assert [trial.size for trial in trials] == [0, 1, 2, 3]
    assert best(trials).size == 2


def test_no_cut_wins_where_nothing_is_better() -> None:
    for choose in ("golden", "grid", "first-drop"):
        assert best(choose_size(lambda size: 0.5, 30, choose)).size == 0


def test_ties_go_to_the_smaller_or_to_the_earlier() -> None:
    trials = [Trial(0, 0.1, 0.0), Trial(9, 0.50001, 0.0), Trial(5, 0.50003, 0.0), Trial(7, 0.50003, 0.0)]
    assert best(trials).size == 5
    assert best(trials, digits=4).size == 5
    assert best(trials, digits=4, ties="earlier").size == 9


def test_a_search_that_was_killed_evaluates_only_what_it_had_not() -> None:
    journal, evaluated = MemoryJournal(), []

    def objective(size: int) -> float:
        evaluated.append(size)
        if len(evaluated) == 5:
            raise KeyboardInterrupt
        return -abs(size - 20)

    with pytest.raises(KeyboardInterrupt):
        choose_size(objective, 50, workers=Workers(journal=journal))
    before = evaluated[:4]
    resumed = choose_size(objective, 50, workers=Workers(journal=journal))
    assert not set(before) & set(evaluated[5:])
    assert [(t.size, t.score) for t in resumed] == [(t.size, t.score) for t in choose_size(lambda size: -abs(size - 20), 50)]


def test_progress_ends_at_its_total() -> None:
    reported = []
    choose_size(lambda size: float(size), 50, workers=Workers(progress=lambda stage, done, total: reported.append((done, total))))
    assert reported[0] == (0, most_evaluations("golden", 50))
    assert reported[-1][0] == reported[-1][1]


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="golden"):
        choose_size(float, 3, "bisect")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="0 or more"):
        choose_size(float, -1)
