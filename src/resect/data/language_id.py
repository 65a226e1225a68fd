"""Which language a text is in, offline, by lingua (an extra); and text of one language without the lines that are in another.

Knows no model and no file. Codes are ISO 639-1 ("fr"); those of users may be ISO 639-3 ("fra") and may go on ("zh-CN", "en_news").
"""

import importlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from resect.core.errors import InputError, UnknownName

#: Less than this, and the language of a text counts as unsure: it must be likelier than all others together.
SURE = 0.5
#: Less than this for a text's own language, and the text is in another, whichever that is: short lines of English may be in any of dozens.
UNLIKELY = 0.02
#: Texts of fewer letters say too little for that.
_FEW = 10
#: Of a text with fewer letters than this the likeliest language is too often another (measured, see `LanguageIdentifier`).
LETTERS = 20
#: For how many letters of an alphabet a wide one stands: a Chinese character, a kana, a syllable of Korean.
WIDE = 4
#: Of a document no more characters are looked at, from its middle.
LOOKED_AT = 300
#: How many documents, and how many characters, are looked at together.
_CHUNK, _CHARACTERS = 256, 1 << 18
#: Varieties of one language by ISO 639-3 (macrolanguages msa, nor, hbs) that no identifier tells apart in a line of news, and other names.
_VARIETIES = {"ms": "id", "msa": "id", "nb": "no", "nn": "no", "nor": "no", "hr": "bs", "sr": "bs", "hbs": "bs", "cmn": "zh", "fil": "tl"}


class LanguageIdentifier:
    """Says which language texts are in, out of all that lingua knows (75), without a network.

    Parameters
    ----------
    sure : less than this confidence, in [0, 1], and a language counts as unsure; 0: the likeliest is taken
    letters : fewer letters than this, and a text counts as unsure; Chinese characters, kana and Korean syllables count as 4 each

    The first text takes seconds, and lingua's statistics about 1 GB of memory. Raises InputError where lingua is not installed.

    Measured on 1,500 lines of each of en, zh, fr, es, vi, id, ja (news, technical prose, short sentences), with `SURE` = 0.5: taken for
    another language en 0, zh 0, fr 0, es 0.07 %, vi 0, id 0, ja 0; unsure 51, 0, 10, 20, 3, 6, 0.2 %, nearly all lines of less than 40
    characters (of those with 80 or more at most 6 % in any language). Speed on one core: 200 to 600 such lines a second in Latin
    letters, 30,000 in Chinese or Japanese; `of` uses all cores. lingua's low-accuracy mode (90 MB, 2 to 5 times as fast) would take up to
    6 % for another.

    With `sure` = 0, the first 60 characters (zh, ja: 25) of 300 held-out lines each are told right in en 97, zh 98, fr 99, es 95, vi 100,
    id 99, ja 100 % of cases (with 0.5: 51, 98, 85, 80, 96, 96, 100): the measure of what is short, and may be compared between languages.
    What is shorter still is guessed: of 8,000 pieces of held-out lines the likeliest language was right for 43 % with fewer than 4 letters,
    66 % with 4 to 7, 80 % with 8 to 11, 84 % with 12 to 15, 91 % with 16 to 19, 93 % with 20 to 29, 97 to 99 % with more: hence `LETTERS`.
    To choose among these seven languages alone would gain 1 to 2 points of 100 from 20 letters on; but to choose among en, fr, zh took 47
    to 100 % of what was es, vi, id or ja for one of the three (at most 1.5 % as it is), so that all languages stay in the choice.
    """

    def __init__(self, sure: float = SURE, letters: int = 0) -> None:
        self._sure, self._letters = sure, letters
        self._detector = _lingua().LanguageDetectorBuilder.from_all_languages().build()

    def of(self, texts: Sequence[str]) -> list[str | None]:
        """The ISO 639-1 code of the language of each text; None where there are no letters, too few, or no language is sure."""
        found = [_surest(likely, self._sure) for likely in self._likely(texts)]
        return [code if letters_in(text) >= self._letters else None for code, text in zip(found, texts, strict=True)]

    def others(self, texts: Sequence[str], code: str) -> list[bool]:
        """Whether each text is in another language than this one: another is sure, or this one is out of the question."""
        found = []
        for text, likely in zip(texts, self._likely(texts), strict=True):
            surest, own = _surest(likely, self._sure), _by_language(likely).get(_language(code), 0.0)
            is_out = bool(likely) and own < UNLIKELY and sum(map(str.isalpha, text)) >= _FEW
            found.append(is_out or not (surest is None or same(code, surest)))
        return found

    def _likely(self, texts: Sequence[str]) -> Iterator[list[tuple[str, float]]]:
        """The languages that each text may be in, with how sure each is, the likeliest first."""
        # Half of a surrogate pair is no letter, but would stop lingua.
        readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        for values in self._detector.compute_language_confidence_values_in_parallel(readable):
            yield [(_iso(value.language), value.value) for value in values if value.value > 0]


def letters_in(text: str) -> int:
    """How many letters a text has, as many as they stand for where they are wide.

    >>> letters_in("the year 2024"), letters_in("图书馆")
    (7, 12)
    """
    return sum(WIDE if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text if sign.isalpha())


def _by_language(likely: Sequence[tuple[str, float]]) -> dict[str, float]:
    """How sure each language is, varieties of one taken together."""
    found: dict[str, float] = {}
    for code, confidence in likely:
        language = _VARIETIES.get(code, code)
        found[language] = found.get(language, 0.0) + confidence
    return found


def _surest(likely: Sequence[tuple[str, float]], sure: float) -> str | None:
    """The likeliest language, varieties of one taken together, if it is sure. `likely` come with the likeliest first."""
    best, confidence = max(_by_language(likely).items(), key=lambda item: item[1], default=("", 0.0))
    return next((code for code, _ in likely if _VARIETIES.get(code, code) == best), None) if confidence >= sure else None


def same(code: str, found: str | None) -> bool:
    """Whether a user's code and the one that was found are the same language.

    What follows the language in a user's code does not count ("zh-CN" is "zh"), nor do varieties that no identifier tells apart: id and
    ms, nb and nn and no, bs and hr and sr.

    >>> same("zh-CN", "zh"), same("id", "ms"), same("en", "fr"), same("en", None)
    (True, True, False, False)
    """
    return found is not None and _language(code) == _language(found)


def known(code: str) -> bool:
    """Whether lingua knows the language of a user's code. Raises InputError where lingua is not installed."""
    return _language(code) in {_VARIETIES.get(each, each) for each in _codes().values()}


def check_known(codes: Iterable[str]) -> None:
    """Raises UnknownName for a code whose language lingua does not know, InputError where lingua is not installed."""
    for code in codes:
        if not known(code):
            hint = "Leave out what needs to tell languages apart, or give the language a code of these, with anything behind it (en-news)."
            raise UnknownName("language", code, set(_codes().values()), hint)


class LanguageFilter:
    """Leaves documents out that are in another language, and counts them.

    `read` and `left_out`: by language, how many documents were read and how many of them left out, in the iteration begun last.

    Measured, line by line, on 800 lines each of en, zh, fr, es, vi, id, ja: of text in the right language 0 to 0.25 % was left out, most of
    it lines full of names or code of another language; of lines of other languages 86 to 100 %, but of English ones among id 76 %; what
    stays of those is short. (Were only lines left out of which another language is sure, 41 % of English ones would stay anywhere.)
    """

    def __init__(self, identifier: LanguageIdentifier) -> None:
        self._identifier = identifier
        self._filtered: dict[str, FilteredDocuments] = {}

    def filter(self, language: str, documents: Iterable[str]) -> "FilteredDocuments":
        """The documents of `language` without those that are in another one; those that may be in it stay. Raises as `check_known` does."""
        check_known([language])
        self._filtered[language] = FilteredDocuments(self._identifier, language, documents)
        return self._filtered[language]

    @property
    def read(self) -> Mapping[str, int]:
        """By language: how many documents were read."""
        return {language: each.read for language, each in self._filtered.items()}

    @property
    def left_out(self) -> Mapping[str, int]:
        """By language: how many of them were left out."""
        return {language: each.left_out for language, each in self._filtered.items()}


class FilteredDocuments:
    """Documents without those in another language, made by `LanguageFilter.filter`; can be iterated again where `documents` can."""

    def __init__(self, identifier: LanguageIdentifier, language: str, documents: Iterable[str]) -> None:
        self.read = self.left_out = 0
        self._identifier, self._language, self._documents = identifier, language, documents

    def __iter__(self) -> Iterator[str]:
        self.read = self.left_out = 0
        for chunk in _chunks(self._documents):
            others = self._identifier.others([_middle(document) for document in chunk], self._language)
            for document, is_other in zip(chunk, others, strict=True):
                self.read += 1
                if is_other:
                    self.left_out += 1
                else:
                    yield document

    def share(self) -> float | None:
        """How much of the documents was read, from 0 to 1, where they can say; None otherwise."""
        share = getattr(self._documents, "share", None)
        return None if share is None else share()


def _chunks(documents: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for document in documents:
        chunk.append(document)
        characters += len(document)
        if len(chunk) == _CHUNK or characters >= _CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _middle(document: str) -> str:
    start = max(0, (len(document) - LOOKED_AT) // 2)
    return document[start : start + LOOKED_AT]


def _language(code: str) -> str:
    """A user's code as ISO 639-1, without what follows the language, varieties as one."""
    bare = code.lower().replace("_", "-").partition("-")[0]
    short = _codes().get(bare, bare) if len(bare) == 3 else bare
    return _VARIETIES.get(short, short)


@cache
def _codes() -> dict[str, str]:
    """The codes that lingua knows, ISO 639-1 and ISO 639-3, each with the former."""
    languages = list(_lingua().Language.all())
    return {code: _iso(each) for each in languages for code in (_iso(each), each.iso_code_639_3.name.lower())}


def _iso(language: Any) -> str:
    return str(language.iso_code_639_1.name).lower()


def _lingua() -> Any:
    try:
        return importlib.import_module("lingua")
    except ImportError as error:
        raise InputError(
            "Languages are identified by the package lingua-language-detector, which is not installed: pip install 'resect[languages]'."
        ) from error
