"""What every chart is built from: SVG elements with escaped text, text of an estimated width, round tick values. Knows no chart.

Colours are CSS classes. charts.css defines them, so that one page, or a file of its own, is themed for light, dark and print.
"""

import html
import math
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import resources

from resect.core.number_format import PAGE

#: Font sizes, in units of the drawing: normal and small text.
SIZE, SMALL = 13.0, 11.5
#: Width of a chart that scales with the page, and its margin. On a phone of 360 pixels a letter is still 11 pixels high.
WIDTH, EDGE = 400.0, 9.0
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]")
_NARROW, _WIDE = frozenset("fijlrtI.,:;|!'()[] ·\u00a0"), frozenset("mwMW@%…—−+=<>≤≥→")

#: Left, top, right, bottom.
Box = tuple[float, float, float, float]


def legible(text: object) -> str:
    r"""Returns text that is safe in HTML and XML: invisible, forbidden and direction-changing characters are spelled out.

    >>> legible("a\x1b[31m\u202eb\x00")
    'a␛[31m[U+202E]b␀'
    """
    return _INVISIBLE.sub(_spelled, str(text).replace("\r\n", "\n"))


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{REPLACEMENT CHARACTER}" if code >= 0xD800 else f"[U+{code:04X}]"


def escaped(content: object) -> str:
    """Returns text as markup: legible and escaped."""
    return html.escape(legible(content))


def element(name: str, *children: str, **attributes: object) -> str:
    """Returns an SVG element. Attributes are escaped; `children` is markup (see `text` for text). `class_` becomes `class`."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"' for key, value in attributes.items() if value is not None
    )
    return f"<{name}{written}>{''.join(children)}</{name}>" if children else f"<{name}{written}/>"


def text(content: object, x: float, y: float, **attributes: object) -> str:
    """Returns one line of text, escaped."""
    return element("text", escaped(content), x=x, y=y, **attributes)


def image(width: float, height: float, title: str, description: str, parts: Sequence[str]) -> str:
    """Returns an SVG image, with a title and a description for screen readers."""
    described = (element("title", escaped(title)), element("desc", escaped(description)))
    size = {"viewBox": f"0 0 {_attribute(width)} {_attribute(height)}", "width": width, "height": height}
    return element("svg", *described, *parts, xmlns="http://www.w3.org/2000/svg", role="img", class_="chart", **size)


def standalone(svg: str) -> str:
    """Returns a chart as a file of its own, with its style; light or dark as the reader's system is."""
    opening, end, rest = svg.partition(">")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{opening}{end}<style>{stylesheet()}</style>{rest}\n'


@cache
def stylesheet() -> str:
    """Returns the colours and classes of all charts, as CSS."""
    return (resources.files(__package__) / "charts.css").read_text(encoding="utf-8")


def text_width(content: str, size: float = SIZE) -> float:
    """Returns about how wide a text is; rather too wide, since the reader's font is not known."""
    return size * sum(map(_character_width, content))


def shortened(content: object, room: float, size: float = SIZE) -> str:
    """Returns the text on one line; where it does not fit, its beginning and an ellipsis."""
    line = " ".join(legible(content).split())
    if text_width(line, size) <= room:
        return line
    while line and text_width(f"{line}…", size) > room:
        line = line[:-1]
    return f"{line.rstrip()}…"


def wrapped(content: object, room: float, most: int, size: float = SIZE) -> list[str]:
    """Returns at most `most` lines, broken after blanks and - _ / . where possible; the last one is shortened to fit."""
    pieces = re.findall(r"[^\s/_.-]*[/_.-]+|[^\s/_.-]+\s*|\s+", " ".join(legible(content).split()))
    lines = [""]
    while pieces and len(lines) <= most:
        piece = pieces.pop(0)
        if text_width((lines[-1] + piece).rstrip(), size) <= room:
            lines[-1] += piece
        elif lines[-1]:
            pieces.insert(0, piece)
            lines.append("")
        else:
            fits = next((n for n in range(len(piece) - 1, 0, -1) if text_width(piece[:n], size) <= room), 1)
            lines[-1], rest = piece[:fits], piece[fits:]
            pieces[:0] = [rest] if rest else []
    if len(lines) > most or pieces:
        lines[most - 1 :] = [shortened("".join((*lines[most - 1 :], *pieces)), room, size)]
    return [line.strip() for line in lines if line.strip()] or [""]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Returns at most `most` round numbers from `low` to `high`.

    >>> ticks(0.58, 0.83)
    [0.6, 0.65, 0.7, 0.75, 0.8]
    """
    if not high - low > 1e-300:  # a fifth of a smaller span would be 0
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (factor * power for factor in (1, 2, 2.5, 5, 10, 20, 25, 50, 100)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [float(f"{number * step:.12g}") for number in range(first, last + 1)]
    return [low, high]


def tick_label(value: float, is_share: bool) -> str:
    """Returns the number at a tick, as short as possible."""
    return f"{PAGE.number(100 * value)}{PAGE.blank}%" if is_share else PAGE.number(value)


def position(value: float, low: float, high: float, start: float, end: float) -> float:
    """Returns where a value of an axis from `low` to `high` is between `start` and `end`."""
    return start + (end - start) * (value - low) / (high - low) if high > low else (start + end) / 2


def padded_range(values: Sequence[float], is_share: bool) -> tuple[float, float]:
    """Returns the ends of an axis: all values and some room around them; shares stay within [0, 1]."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max((high - low) * 0.12, (0.1 - (high - low)) / 2 if is_share else 0.05 * abs(high) or 0.5)
    if not is_share:
        return low - room, high + room
    return (max(low - room, 0.0), min(high + room, 1.0)) if low >= 0 and high <= 1 else (low - room, high + room)


def overlaps(box: Box, others: Sequence[Box]) -> bool:
    """Whether a box covers a part of any of the others."""
    return any(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in others)


def centered(content: str, x: float, y: float, size: float = SIZE) -> tuple[str, Box]:
    """Returns a muted label centered at x, moved so that it stays inside the chart, and its box."""
    half = text_width(content, size) / 2
    inside = min(max(x, half + 1), WIDTH - half - 1)
    kind = "muted" if size == SIZE else "muted smaller"
    return text(content, inside, y, text_anchor="middle", class_=kind), (inside - half, y - size, inside + half, y)


def _character_width(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in _NARROW:
        return 0.36
    return 0.92 if character in _WIDE else 0.74 if character.isupper() else 0.6


def _attribute(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else escaped(value)
