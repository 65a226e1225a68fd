"""Language identification, offline, by lingua (an extra); and a filter that leaves out documents in another language.

Knows no model and no file. Codes are ISO 639-1 ("fr"); a user's code may be ISO 639-3 ("fra") and have a suffix ("zh-CN", "en_news").
"""

import importlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from resect.core.errors import InputError, UnknownName

#: With less confidence the language of a text counts as unsure: it must be more probable than all others together.
MIN_CONFIDENCE = 0.5
#: With less confidence in its own language a text counts as being in another one, whichever: a short English line may be in dozens.
MIN_OWN_CONFIDENCE = 0.02
#: That rule needs at least so many letters.
_MIN_LETTERS_FOR_OWN = 10
#: With fewer letters the most probable language of a text is too often wrong (measured, see `LanguageIdentifier`).
MIN_LETTERS = 20
#: How many letters of an alphabet a wide letter counts as: a Chinese character, a kana, a syllable of Korean.
LETTERS_PER_WIDE_LETTER = 4
#: Of a document no more characters are identified, from its middle.
MAX_CHARACTERS = 300
#: How many documents, and how many of their characters, are identified together.
_CHUNK, _CHUNK_CHARACTERS = 256, 1 << 18
#: Varieties of one language by ISO 639-3 (macrolanguages msa, nor, hbs) that no identifier distinguishes in a line of news, and synonyms.
_VARIETIES = {"ms": "id", "msa": "id", "nb": "no", "nn": "no", "nor": "no", "hr": "bs", "sr": "bs", "hbs": "bs", "cmn": "zh", "fil": "tl"}


class LanguageIdentifier:
    """Identifies the languages of texts, out of all that lingua knows (75), without a network.

    Parameters
    ----------
    min_confidence : with less confidence, in [0, 1], the language counts as unsure; 0: the most probable one is the result
    min_letters : with fewer letters the language counts as unsure; Chinese characters, kana and Korean syllables count as 4 each

    The first text takes seconds, and lingua's statistics need about 1 GB of memory. Raises InputError where lingua is not installed.

    Measured on 1,500 lines of each of en, zh, fr, es, vi, id, ja (news, technical prose, short sentences), with `MIN_CONFIDENCE` = 0.5:
    wrong en 0, zh 0, fr 0, es 0.07 %, vi 0, id 0, ja 0; unsure 51, 0, 10, 20, 3, 6, 0.2 %, nearly all of them lines of less than 40
    characters (of those with 80 or more at most 6 % in any language). Speed on one core: 200 to 600 such lines a second in Latin
    letters, 30,000 in Chinese or Japanese; `identify` uses all cores. lingua's low-accuracy mode (90 MB, 2 to 5 times as fast) is wrong
    for up to 6 %.

    With `min_confidence` = 0, the first 60 characters (zh, ja: 25) of 300 held-out lines each are identified correctly in en 97, zh 98,
    fr 99, es 95, vi 100, id 99, ja 100 % of cases (with 0.5: 51, 98, 85, 80, 96, 96, 100), so that short texts can be compared between
    languages. Shorter texts are a guess: of 8,000 pieces of held-out lines the most probable language was right for 43 % with fewer than 4
    letters, 66 % with 4 to 7, 80 % with 8 to 11, 84 % with 12 to 15, 91 % with 16 to 19, 93 % with 20 to 29, 97 to 99 % with more: hence
    `MIN_LETTERS`. Choosing among these seven languages alone would gain 1 to 2 points of 100 from 20 letters on; but choosing among en, fr
    and zh took 47 to 100 % of es, vi, id and ja for one of the three (at most 1.5 % with all), so that all languages remain candidates.
    """

    def __init__(self, min_confidence: float = MIN_CONFIDENCE, min_letters: int = 0) -> None:
        self._min_confidence, self._min_letters = min_confidence, min_letters
        self._detector = _lingua().LanguageDetectorBuilder.from_all_languages().build()

    def identify(self, texts: Sequence[str]) -> list[str | None]:
        """Returns the ISO 639-1 code of the language of each text; None where there are no letters, too few, or no language is sure."""
        languages = [_most_probable(probable, self._min_confidence) for probable in self._probable(texts)]
        return [code if count_letters(text) >= self._min_letters else None for code, text in zip(languages, texts, strict=True)]

    def are_in_another_language(self, texts: Sequence[str], code: str) -> list[bool]:
        """Returns whether each text is in another language than `code`: another is sure, or this one is practically excluded."""
        results = []
        for text, probable in zip(texts, self._probable(texts), strict=True):
            best, own = _most_probable(probable, self._min_confidence), _by_language(probable).get(_language(code), 0.0)
            is_excluded = bool(probable) and own < MIN_OWN_CONFIDENCE and sum(map(str.isalpha, text)) >= _MIN_LETTERS_FOR_OWN
            results.append(is_excluded or not (best is None or is_same_language(code, best)))
        return results

    def _probable(self, texts: Sequence[str]) -> Iterator[list[tuple[str, float]]]:
        """Yields the possible languages of each text with their confidence, the most probable first."""
        # Half of a surrogate pair is no letter, but would stop lingua.
        readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        for values in self._detector.compute_language_confidence_values_in_parallel(readable):
            yield [(_iso(value.language), value.value) for value in values if value.value > 0]


def count_letters(text: str) -> int:
    """Returns how many letters a text has; a wide letter counts as several.

    >>> count_letters("the year 2024"), count_letters("图书馆")
    (7, 12)
    """
    return sum(LETTERS_PER_WIDE_LETTER if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text if sign.isalpha())


def _by_language(probable: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Returns the confidence of each language, varieties of one added up."""
    confidences: dict[str, float] = {}
    for code, confidence in probable:
        language = _VARIETIES.get(code, code)
        confidences[language] = confidences.get(language, 0.0) + confidence
    return confidences


def _most_probable(probable: Sequence[tuple[str, float]], min_confidence: float) -> str | None:
    """Returns the most probable language, varieties of one added up, if it is sure. `probable` has the most probable first."""
    best, confidence = max(_by_language(probable).items(), key=lambda item: item[1], default=("", 0.0))
    return next((code for code, _ in probable if _VARIETIES.get(code, code) == best), None) if confidence >= min_confidence else None


def is_same_language(code: str, identified: str | None) -> bool:
    """Returns whether a user's code and an identified one are the same language.

    A suffix of the user's code does not count ("zh-CN" is "zh"), nor do varieties that no identifier distinguishes: id and ms, nb and nn
    and no, bs and hr and sr.

    >>> is_same_language("zh-CN", "zh"), is_same_language("id", "ms"), is_same_language("en", "fr"), is_same_language("en", None)
    (True, True, False, False)
    """
    return identified is not None and _language(code) == _language(identified)


def is_supported(code: str) -> bool:
    """Returns whether lingua knows the language of a user's code. Raises InputError where lingua is not installed."""
    return _language(code) in {_VARIETIES.get(known, known) for known in _codes().values()}


def check_supported(codes: Iterable[str]) -> None:
    """Raises UnknownName for a code whose language lingua does not know, InputError where lingua is not installed."""
    for code in codes:
        if not is_supported(code):
            hint = "Leave out what identifies languages, or give the language one of these codes, with any suffix (en-news)."
            raise UnknownName("language", code, set(_codes().values()), hint)


class LanguageFilter:
    """Leaves out documents in another language, and counts them.

    `read` and `left_out`: by language, how many documents were read and how many of them left out, in the iteration begun last.

    Measured, line by line, on 800 lines each of en, zh, fr, es, vi, id, ja: of text in the right language 0 to 0.25 % was left out, mostly
    lines full of names or code of another language; of lines in other languages 86 to 100 %, but of English ones among id 76 %; those
    that remain are short. (If only lines with a sure other language were left out, 41 % of English ones would remain.)
    """

    def __init__(self, identifier: LanguageIdentifier) -> None:
        self._identifier = identifier
        self._filtered: dict[str, FilteredDocuments] = {}

    def filter(self, language: str, documents: Iterable[str]) -> "FilteredDocuments":
        """Returns the documents of `language` without those in another one; unsure ones remain. Raises as `check_supported` does."""
        check_supported([language])
        self._filtered[language] = FilteredDocuments(self._identifier, language, documents)
        return self._filtered[language]

    @property
    def read(self) -> Mapping[str, int]:
        """By language: how many documents were read."""
        return {language: documents.read for language, documents in self._filtered.items()}

    @property
    def left_out(self) -> Mapping[str, int]:
        """By language: how many of them were left out."""
        return {language: documents.left_out for language, documents in self._filtered.items()}


class FilteredDocuments:
    """Documents without those in another language, made by `LanguageFilter.filter`; can be read again where `documents` can."""

    def __init__(self, identifier: LanguageIdentifier, language: str, documents: Iterable[str]) -> None:
        self.read = self.left_out = 0
        self._identifier, self._language, self._documents = identifier, language, documents

    def __iter__(self) -> Iterator[str]:
        self.read = self.left_out = 0
        for chunk in _chunks(self._documents):
            flags = self._identifier.are_in_another_language([_middle(document) for document in chunk], self._language)
            for document, is_other in zip(chunk, flags, strict=True):
                self.read += 1
                if is_other:
                    self.left_out += 1
                else:
                    yield document

    def share(self) -> float | None:
        """Returns how much of the documents has been read, from 0 to 1; None where they do not know."""
        share = getattr(self._documents, "share", None)
        return None if share is None else share()


def _chunks(documents: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for document in documents:
        chunk.append(document)
        characters += len(document)
        if len(chunk) == _CHUNK or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _middle(document: str) -> str:
    start = max(0, (len(document) - MAX_CHARACTERS) // 2)
    return document[start : start + MAX_CHARACTERS]


def _language(code: str) -> str:
    """Returns a user's code as ISO 639-1, without its suffix; varieties of one language are the same."""
    bare = code.lower().replace("_", "-").partition("-")[0]
    short = _codes().get(bare, bare) if len(bare) == 3 else bare
    return _VARIETIES.get(short, short)


@cache
def _codes() -> dict[str, str]:
    """Returns the codes that lingua knows, ISO 639-1 and ISO 639-3, each with its ISO 639-1 code."""
    languages = list(_lingua().Language.all())
    return {code: _iso(language) for language in languages for code in (_iso(language), language.iso_code_639_3.name.lower())}


def _iso(language: Any) -> str:
    return str(language.iso_code_639_1.name).lower()


def _lingua() -> Any:
    try:
        return importlib.import_module("lingua")
    except ImportError as error:
        raise InputError(
            "Languages are identified by the package lingua-language-detector, which is not installed: pip install 'resect[languages]'."
        ) from error
