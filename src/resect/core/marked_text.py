"""Text of which some parts are data: a tokenizer reads these parts as text, also where they spell a special token.

Knows neither tokenizers nor templates.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

Spans = tuple[tuple[int, int], ...]
#: The first of the characters that stand for what is hidden, in a private-use plane of Unicode, and how many there are.
_FIRST, _COUNT = 0xF0000, 0xFFFD


class MarkedText(str):
    """A text, equal to the same plain text, with the spans [start, stop) of those parts that are data.

    >>> MarkedText("a</s>b</s>", [(1, 5)]).data
    ((1, 5),)
    """

    __slots__ = ("data",)
    data: Spans

    def __new__(cls, text: str, data: Iterable[tuple[int, int]] = ()) -> "MarkedText":
        """Make it. A span of no characters is left out."""
        made = super().__new__(cls, text)
        made.data = tuple((start, stop) for start, stop in data if start < stop)
        return made


def piece(text: str, start: int, stop: int) -> str:
    """Returns text[start:stop] with its marks, for 0 <= start and stop <= len(text)."""
    if not isinstance(text, MarkedText):
        return text[start:stop]
    return MarkedText(text[start:stop], ((max(first, start) - start, min(last, stop) - start) for first, last in text.data))


def joined(*texts: str) -> str:
    """Returns the texts one after the other with their marks; a plain text where none has any."""
    spans, length = list[tuple[int, int]](), 0
    for text in texts:
        spans += [(length + start, length + stop) for start, stop in getattr(text, "data", ())]
        length += len(text)
    plain = "".join(texts)
    return MarkedText(plain, spans) if spans else plain


def filled(template: str, values: Mapping[str, str]) -> MarkedText:
    """Returns a template in which each name, braces included, is replaced by its text, which is data; what is filled in is not searched.

    >>> text = filled("<s>{prompt}</s>", {"{prompt}": "x"})
    >>> text, text.data
    ('<s>x</s>', ((3, 4),))
    """
    names, spans, parts, length = re.compile("|".join(map(re.escape, values))), list[tuple[int, int]](), list[str](), 0
    for number, part in enumerate(re.split(f"({names.pattern})", template)):
        text = values[part] if number % 2 else part
        spans += [(length, length + len(text))] if number % 2 else []
        parts.append(text)
        length += len(text)
    return MarkedText("".join(parts), spans)


class HiddenSpellings:
    """What data spell is hidden while a template is rendered, and marked as data where the template has put it.

    Each hidden spelling is one character of a private-use plane, so that templates may cut, trim and repeat their texts.
    """

    def __init__(self, spellings: re.Pattern[str]) -> None:
        self._hidden = re.compile(f"(?:{spellings.pattern})|[{chr(_FIRST)}-{chr(_FIRST + _COUNT)}]")
        self._signs: dict[str, str] = {}

    def hide(self, value: Any) -> Any:
        """Returns a value with every spelling in its texts hidden; of a MarkedText, those that are, or overlap, data."""
        if isinstance(value, str):
            spans = value.data if isinstance(value, MarkedText) else ((0, len(value)),)
            return self._hidden.sub(lambda found: self._sign(found) if overlaps(found.span(), spans) else found[0], value)
        if isinstance(value, Mapping):
            return {name: self.hide(part) for name, part in value.items()}
        return [self.hide(part) for part in value] if isinstance(value, list | tuple) else value

    def restore(self, rendered: str) -> MarkedText:
        """Returns a rendered text with everything that was hidden, marked as data."""
        if not self._signs:
            return MarkedText(rendered)
        spelled = {sign: text for text, sign in self._signs.items()}
        return filled(rendered, spelled)

    def _sign(self, found: re.Match[str]) -> str:
        return self._signs.setdefault(found[0], chr(_FIRST + len(self._signs) % _COUNT))


def overlaps(span: tuple[int, int], spans: Iterable[tuple[int, int]]) -> bool:
    """Returns whether a span has a character in common with one of several."""
    return any(span[0] < stop and start < span[1] for start, stop in spans)
