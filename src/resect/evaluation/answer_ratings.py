"""What is found out about written answers: which language each is in, and how good it is. Knows no model and no plan.

Who tells the language and who rates are given; the identifier that answers are measured by is made here.
"""

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from resect.core.execution import LocalEngine, Workers, as_list, journal_key
from resect.data.language_id import LETTERS, LanguageIdentifier, same

#: Prompts, or answers to be rated, that are one item of work, whatever the engine.
PIECE = 32
#: How many requests a judge has at a time.
REQUESTS = 8
#: A question, an answer, and the language of the question.
Asked = tuple[str, str, str]


class Tells(Protocol):
    """Tells the language of texts, as `languages.Identifier` does."""

    def of(self, texts: Sequence[str]) -> list[str | None]:
        """The code of each text's language; None where none can be told."""


class Rates(Protocol):
    """Rates answers, as `judge.Judge` does. Is asked from several threads."""

    def rate(self, question: str, answer: str, language: str) -> int | None:
        """From 1 to 5; None where the judge gave no number."""


@dataclass(frozen=True)
class RatedAnswers:
    """Texts with what was found out about each: the language that they are in, and their quality from 1 to 5 (None: not told)."""

    texts: tuple[str, ...]
    identified: tuple[str | None, ...]
    quality: tuple[int | None, ...]

    def said_in(self, language: str) -> list[bool]:
        """Whether each text is found to be in this language."""
        return [found is not None and same(language, found) for found in self.identified]

    def accuracy(self, language: str) -> float:
        """The share of the texts that are found to be in this language."""
        return float(np.mean(self.said_in(language)))

    @property
    def empty(self) -> int:
        """How many of the texts are empty, or hold white space only. They are in no language, and count as wrong."""
        return sum(not text.strip() for text in self.texts)

    @property
    def untold(self) -> int:
        """How many of the texts are not empty, but nobody can tell their language: they have too few letters, and count as wrong."""
        return sum(found is None and bool(text.strip()) for text, found in zip(self.texts, self.identified, strict=True))

    @property
    def mean_quality(self) -> float | None:
        """Over the texts that have one; None where none has."""
        found = [number for number in self.quality if number is not None]
        return float(np.mean(found)) if found else None


def likeliest() -> LanguageIdentifier:
    """The identifier that answers are measured by: it takes the likeliest language. Raises InputError where lingua is not installed.

    One that has to be sure skips short answers, and half of those in English; languages could not be compared. But for an answer
    with fewer than 20 letters (5 Chinese characters or kana) it returns nothing: that would be a guess (see `LanguageIdentifier`).
    """
    return LanguageIdentifier(sure=0.0, letters=LETTERS)


def rated(texts: Sequence[str], identifier: Tells | None, ratings: Iterable[int | None] | None = None) -> RatedAnswers:
    """Texts with their languages, and with the ratings that were asked for them."""
    identified = identifier.of(texts) if identifier is not None and texts else [None] * len(texts)
    return RatedAnswers(tuple(texts), tuple(identified), (None,) * len(texts) if ratings is None else tuple(ratings))


def rate(
    judge: Rates | None,
    asked: Iterable[Asked],
    *,
    stage: str = "rating answers",
    workers: Workers | None = None,
) -> dict[Asked, int | None]:
    """What the judge says of each (question, answer, language), asked once where it comes up again; None of all without a judge.

    Raises what the judge raises.
    """
    distinct = list(dict.fromkeys(asked))
    if judge is None:
        return dict.fromkeys(distinct)
    pieces = [tuple(distinct[start : start + PIECE]) for start in range(0, len(distinct), PIECE)]
    # Ratings of another judge are not taken for this one's.
    keys = [journal_key("ratings", [[str(getattr(judge, name, "")) for name in ("url", "model")], piece]) for piece in pieces]
    work = lambda piece: {"quality": _at_once(lambda each: judge.rate(*each), piece)}
    here = replace(workers or Workers(), engine=LocalEngine())  # a judge is asked from this process
    entries = list(here.map(work, pieces, keys, stage=stage))
    return dict(zip(distinct, [number for entry in entries for number in as_list(entry["quality"])], strict=True))


def _at_once(work: Callable[[Asked], int | None], items: Sequence[Asked]) -> list[int | None]:
    """The work on every item, on `REQUESTS` threads that end with the program: nobody waits for a judge that hangs after Ctrl-C."""
    found: list[Future[int | None]] = [Future() for _ in items]
    left, stopped = deque(zip(items, found, strict=True)), threading.Event()

    def go_on() -> None:
        while not stopped.is_set():
            try:
                item, future = left.popleft()
            except IndexError:  # none is left
                return
            try:
                future.set_result(work(item))
            except BaseException as error:  # noqa: BLE001  raised again where the result is waited for
                future.set_exception(error)

    for _ in range(min(REQUESTS, len(items))):
        threading.Thread(target=go_on, daemon=True).start()
    try:
        return [future.result() for future in found]
    finally:
        stopped.set()


def digest_of(value: Any) -> str:
    """A digest of plain data."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()[:32]
