"""What is found out about answers: ratings are asked at once, and nobody waits for a judge that hangs."""

import threading
import time

import pytest

from resect.core.errors import Failure
from resect.evaluation.answer_ratings import rate


class Hangs:
    """A judge that fails at the first question and never answers another."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    def rate(self, question: str, answer: str, language: str) -> int | None:
        """What it says."""
        if question == "0":
            raise Failure("gone")
        self.goes_on.wait(60)
        return 3


def test_nobody_waits_for_a_judge_that_hangs() -> None:
    judge, started = Hangs(), time.monotonic()
    with pytest.raises(Failure, match="gone"):
        rate(judge, [(str(number), "an answer", "en") for number in range(20)])
    assert time.monotonic() - started < 30
    judge.goes_on.set()
