"""Ranking with its ties, and a file that brings everything back."""

from pathlib import Path

import numpy as np
import pytest

from resect.core.address import Neurons
from resect.core.errors import BadAddress, InputError, NotFinite
from resect.core.scores import Scores


def test_top_takes_the_highest_and_breaks_ties_by_model_order_then_unit() -> None:
    scores = Scores({"decoder.1.up": np.array([1.0, 3.0, 3.0]), "decoder.0.q": np.array([3.0, 0.0])})
    assert scores.top(0) == Neurons()
    assert scores.top(1) == Neurons({"decoder.1.up": [1]})
    assert scores.top(3) == Neurons({"decoder.1.up": [1, 2], "decoder.0.q": [0]})
    assert scores.top(5).count == scores.count == 5


def test_top_grows_by_one_at_a_time() -> None:
    rng = np.random.default_rng(0)
    scores = Scores({f"decoder.{layer}.up": rng.integers(0, 4, 9).astype(float) for layer in range(3)})
    for n in range(scores.count):
        assert (scores.top(n + 1) - scores.top(n)).count == 1


@pytest.mark.parametrize("n", [-1, 3])
def test_top_refuses_more_units_than_there_are(n: int) -> None:
    with pytest.raises(InputError, match="0 to 2"):
        Scores({"decoder.0.q": np.zeros(2)}).top(n)


def test_a_file_returns_values_order_and_provenance(tmp_path: Path) -> None:
    scores = Scores({"decoder.1.up": np.array([1.5, -2.0]), "decoder.0.q": np.array([3.0])}, "neuron", "what it means", {"seed": 7})
    scores.save(tmp_path / "scores.safetensors")
    again = Scores.load(tmp_path / "scores.safetensors")
    assert list(again) == list(scores)
    assert all(np.array_equal(again[site], scores[site]) for site in scores)
    assert (again.unit, again.meaning, again.provenance) == ("neuron", "what it means", {"seed": 7})


def test_what_is_no_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match=r"1 scores of decoder\.0\.q"):
        Scores({"decoder.0.q": np.array([np.nan, 1.0])})
    with pytest.raises(BadAddress, match="shape"):
        Scores({"decoder.0.q": np.zeros((2, 2))})
    (tmp_path / "torn").write_bytes(b"\x10\x00")
    with pytest.raises(InputError, match="torn"):
        Scores.load(tmp_path / "torn")
    with pytest.raises(InputError, match="absent"):
        Scores.load(tmp_path / "absent")


def test_scores_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Scores({"decoder.0.q": np.zeros(2)})["decoder.0.q"][0] = 1
