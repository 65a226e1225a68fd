"""Answers are rated in parallel, and an error is raised without waiting for requests that hang."""

import threading
import time

import pytest

from resect.core.errors import Failure
from resect.evaluation.answer_ratings import rate_answers


class HangingJudge:
    """A judge that fails at the first question and never replies to another."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def rate(self, question: str, answer: str, language: str) -> int | None:
        """Fails or hangs."""
        if question == "0":
            raise Failure("gone")
        self.released.wait(60)
        return 3


def test_an_error_does_not_wait_for_requests_that_hang() -> None:
    judge, started = HangingJudge(), time.monotonic()
    with pytest.raises(Failure, match="gone"):
        rate_answers(judge, [(str(number), "an answer", "en") for number in range(20)])
    assert time.monotonic() - started < 30
    judge.released.set()
