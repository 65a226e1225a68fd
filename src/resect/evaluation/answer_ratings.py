"""Measures of written answers: the language that each is in, and its quality as a judge rates it. Knows no model and no plan."""

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from resect.core.execution import LocalEngine, Workers, journal_key
from resect.data.language_id import MIN_LETTERS, LanguageIdentifier, is_same_language

#: Prompts, or answers to rate, per item of work, whatever the engine.
ITEM_SIZE = 32
#: Requests that a judge receives at a time.
CONCURRENT_REQUESTS = 8
#: A question, an answer, and the language of the question.
QuestionAnswer = tuple[str, str, str]


class TextIdentifier(Protocol):
    """Identifies the language of texts, as `LanguageIdentifier` does."""

    def identify(self, texts: Sequence[str]) -> list[str | None]:
        """Returns the code of each text's language; None where it cannot be identified."""


class AnswerRater(Protocol):
    """Rates answers, as `LLMJudge` does; called from several threads."""

    def rate(self, question: str, answer: str, language: str) -> int | None:
        """Returns 1 to 5; None where the judge gave no number."""


@dataclass(frozen=True)
class RatedAnswers:
    """Texts, the language of each (None: not identified) and its quality from 1 to 5 (None: not rated)."""

    texts: tuple[str, ...]
    languages: tuple[str | None, ...]
    quality: tuple[int | None, ...]

    def matches_language(self, language: str) -> list[bool]:
        """Returns, for each text, whether it was identified as this language."""
        return [code is not None and is_same_language(language, code) for code in self.languages]

    def accuracy(self, language: str) -> float:
        """Returns the share of the texts that were identified as this language."""
        return float(np.mean(self.matches_language(language)))

    @property
    def empty(self) -> int:
        """The number of texts that are empty, or white space only. They are in no language, and count as wrong."""
        return sum(not text.strip() for text in self.texts)

    @property
    def unidentified(self) -> int:
        """The number of texts that are not empty, but have too few letters to identify their language. They count as wrong."""
        return sum(code is None and bool(text.strip()) for text, code in zip(self.texts, self.languages, strict=True))

    @property
    def mean_quality(self) -> float | None:
        """The mean over the rated texts; None where none is rated."""
        rated = [number for number in self.quality if number is not None]
        return float(np.mean(rated)) if rated else None


def default_identifier() -> LanguageIdentifier:
    """Returns the identifier for language accuracy: the most probable language. Raises InputError where lingua is not installed.

    With a threshold on its confidence it would skip short answers, and half of those in English, so that languages could not be compared.
    Answers with fewer than 20 letters (5 Chinese characters or kana) stay unidentified: any result would be a guess.
    """
    return LanguageIdentifier(min_confidence=0.0, min_letters=MIN_LETTERS)


def rated_answers(texts: Sequence[str], identifier: TextIdentifier | None, ratings: Iterable[int | None] | None = None) -> RatedAnswers:
    """Returns texts with their languages, where there is an identifier, and with their ratings, where there are any."""
    languages = identifier.identify(texts) if identifier is not None and texts else [None] * len(texts)
    return RatedAnswers(tuple(texts), tuple(languages), (None,) * len(texts) if ratings is None else tuple(ratings))


def rate_answers(
    judge: AnswerRater | None,
    answers: Iterable[QuestionAnswer],
    *,
    stage: str = "rating answers",
    workers: Workers | None = None,
) -> dict[QuestionAnswer, int | None]:
    """Returns the judge's rating of each (question, answer, language), each rated once; None for all without a judge.

    Raises what the judge raises.
    """
    distinct = list(dict.fromkeys(answers))
    if judge is None:
        return dict.fromkeys(distinct)
    pieces = [tuple(distinct[start : start + ITEM_SIZE]) for start in range(0, len(distinct), ITEM_SIZE)]
    # The key names the judge: ratings of another one are not reused.
    keys = [journal_key("ratings", [[str(getattr(judge, name, "")) for name in ("url", "model")], piece]) for piece in pieces]
    work = lambda piece: {"quality": _map_in_threads(lambda answer: judge.rate(*answer), piece)}
    here = replace(workers or Workers(), engine=LocalEngine())  # requests to the judge are sent from this process
    entries = list(here.map(work, pieces, keys, stage=stage))
    return dict(zip(distinct, [number for entry in entries for number in entry["quality"]], strict=True))


def _map_in_threads(work: Callable[[QuestionAnswer], int | None], items: Sequence[QuestionAnswer]) -> list[int | None]:
    """Returns the result of every item. Its threads are daemons, so that after Ctrl-C the program does not wait for a judge that hangs."""
    futures: list[Future[int | None]] = [Future() for _ in items]
    waiting, stopped = deque(zip(items, futures, strict=True)), threading.Event()

    def work_through() -> None:
        while not stopped.is_set():
            try:
                item, future = waiting.popleft()
            except IndexError:  # none is left
                return
            try:
                future.set_result(work(item))
            except BaseException as error:  # noqa: BLE001  raised again where the result is read
                future.set_exception(error)

    for _ in range(min(CONCURRENT_REQUESTS, len(items))):
        threading.Thread(target=work_through, daemon=True).start()
    try:
        return [future.result() for future in futures]
    finally:
        stopped.set()


def digest_of(value: Any) -> str:
    """A digest of plain data."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()[:32]
