"""What every drawing needs: elements with escaped text, text that fits, round numbers on an axis. Knows no chart."""

import html
import math
import re
import unicodedata
from collections.abc import Sequence

from resect.core.number_format import PAGE

#: Size of the text in a drawing, in its own units.
SIZE = 13.0
#: Units across a drawing that scales; 400 of them on a phone of 360 pixels still leave 11 pixels a letter.
WIDTH, EDGE = 400.0, 9.0
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]")
_NARROW, _WIDE = frozenset("fijlrtI.,:;|!'()[] ·\u00a0"), frozenset("mwMW@%…—")


Box = tuple[float, float, float, float]


def legible(text: object) -> str:
    r"""Text from data, fit for HTML and XML: what would be invisible, forbidden, or turn the text around, is spelt out.

    >>> legible("a\x1b[31m\u202eb\x00")
    'a␛[31m[U+202E]b␀'
    """
    return _UNSEEN.sub(_spelt, str(text).replace("\r\n", "\n"))


def _spelt(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{REPLACEMENT CHARACTER}" if code >= 0xD800 else f"[U+{code:04X}]"


def element(name: str, *inside: str, **attributes: object) -> str:
    """An SVG element. Attributes are escaped, numbers short; `inside` is markup: of text, see `text`."""
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"' for key, value in attributes.items() if value is not None)
    return f"<{name}{told}>{''.join(inside)}</{name}>" if inside else f"<{name}{told}/>"


def text(content: object, x: float, y: float, **attributes: object) -> str:
    """A line of text, escaped."""
    return element("text", escaped(content), x=x, y=y, **attributes)


def escaped(content: object) -> str:
    """Text as markup: legible, and without a meaning."""
    return html.escape(legible(content))


def drawing(width: float, height: float, title: str, description: str, parts: Sequence[str]) -> str:
    """A whole SVG: an image with a title and a description for those who do not see it."""
    told = (element("title", escaped(title)), element("desc", escaped(description)))
    size = {"viewBox": f"0 0 {_attribute(width)} {_attribute(height)}", "width": width, "height": height}
    return element("svg", *told, *parts, xmlns="http://www.w3.org/2000/svg", role="img", class_="chart", **size)


def extent(content: str, size: float = SIZE) -> float:
    """About how wide a text is: rather too wide, since nobody knows the font."""
    return size * sum(map(_share, content))


def fitted(content: object, room: float, size: float = SIZE) -> str:
    """The text, or as much of its beginning as fits with an ellipsis."""
    whole = " ".join(legible(content).split())
    if extent(whole, size) <= room:
        return whole
    while whole and extent(f"{whole}…", size) > room:
        whole = whole[:-1]
    return f"{whole.rstrip()}…"


def wrapped(content: object, room: float, most: int, size: float = SIZE) -> list[str]:
    """The text in at most so many lines, broken after blanks and after - _ / . where there are some; the last line is cut to fit."""
    pieces = re.findall(r"[^\s/_.-]*[/_.-]+|[^\s/_.-]+\s*|\s+", " ".join(legible(content).split()))
    lines = [""]
    while pieces and len(lines) <= most:
        piece = pieces.pop(0)
        if extent((lines[-1] + piece).rstrip(), size) <= room:
            lines[-1] += piece
        elif lines[-1]:
            pieces.insert(0, piece)
            lines.append("")
        else:
            fits = next((n for n in range(len(piece) - 1, 0, -1) if extent(piece[:n], size) <= room), 1)
            lines[-1], rest = piece[:fits], piece[fits:]
            pieces[:0] = [rest] if rest else []
    if len(lines) > most or pieces:
        lines[most - 1 :] = [fitted("".join((*lines[most - 1 :], *pieces)), room, size)]
    return [line.strip() for line in lines if line.strip()] or [""]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, at most so many.

    >>> ticks(0.58, 0.83)
    [0.6, 0.65, 0.7, 0.75, 0.8]
    """
    if not high - low > 1e-300:  # what is nearer together has no steps between: a fifth of it would be 0
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    steps = (factor * power for factor in (1, 2, 2.5, 5, 10, 20, 25, 50, 100))
    for step in steps:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [float(f"{number * step:.12g}") for number in range(first, last + 1)]
    return [low, high]


def label(value: float, share: bool) -> str:
    """A number at an axis: as short as it can be."""
    return f"{PAGE.number(100 * value)}{PAGE.blank}%" if share else PAGE.number(value)


def along(value: float, low: float, high: float, start: float, end: float) -> float:
    """Where a value of an axis from `low` to `high` lies on the way from `start` to `end`."""
    return start + (end - start) * (value - low) / (high - low) if high > low else (start + end) / 2


def room_for(values: Sequence[float], share: bool) -> tuple[float, float]:
    """From where to where an axis runs: all values with some room, a tenth at least; shares stay in [0, 1]."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max((high - low) * 0.12, (0.1 - (high - low)) / 2 if share else 0.05 * abs(high) or 0.5)
    if not share:
        return low - room, high + room
    return (max(low - room, 0.0), min(high + room, 1.0)) if low >= 0 and high <= 1 else (low - room, high + room)


def meets(box: Box, others: Sequence[Box]) -> bool:
    """Whether a box covers a part of any other."""
    return any(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in others)


def tick_label(content: str, x: float, y: float) -> str:
    """A centred label that stays inside the drawing."""
    half = extent(content) / 2
    return text(content, min(max(x, half + 1), WIDTH - half - 1), y, text_anchor="middle", class_="muted")


def _share(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in _NARROW:
        return 0.36
    return 0.92 if character in _WIDE else 0.74 if character.isupper() else 0.6


def _attribute(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else escaped(value)
