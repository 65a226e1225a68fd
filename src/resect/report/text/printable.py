"""Text from data as a terminal may show it: one that cannot drive the terminal, and a table that fits its width. Knows no run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

PROMPT_CHARACTERS = 260
GAP = 2


class Trimmed:
    """Something to print, without the blanks that would fill its lines up to a column's or the terminal's width."""

    def __init__(self, content: RenderableType) -> None:
        self.content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for line in Segment.split_lines(console.render(self.content, options)):
            yield from _trimmed(line)
            yield Segment.line()


def _trimmed(line: Sequence[Segment]) -> list[Segment]:
    """A line up to its last visible character."""
    segments = list(line)
    while segments:
        last = segments.pop()
        text = last.text if last.control else last.text.rstrip(" ")
        if text or last.control:
            return [*segments, Segment(text, last.style, last.control)]
    return []


def shortened(prompt: str, instruction: str = "") -> str:
    """A prompt on one line, without its instruction, its middle left out where it is long.

    >>> shortened("Choose one. Who was it? Yes.", "Choose one.")
    'Who was it? Yes.'
    """
    text = " ".join(plain(prompt).split()).removeprefix(" ".join(plain(instruction).split())).strip()
    half = PROMPT_CHARACTERS // 2
    return text if len(text) <= PROMPT_CHARACTERS else f"{text[:half].rstrip()} … {text[-half:].lstrip()}"


def plain(text: object) -> str:
    r"""Text from data, fit to be printed: control characters, which could drive the terminal, become blanks.

    >>> plain("a\x1b[31mb")
    'a [31mb'
    """
    return "".join(c if c.isprintable() or c == "\n" else " " for c in str(text))


@dataclass(frozen=True)
class SplitTable:
    """A table of as many columns as there is room for; the others follow below, each time with the names of the rows.

    head : of all columns, the first of which names the rows
    rows : cells, as many in each
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        widths = self._widths()
        left, part = list(range(1, len(self.head))), [0]
        while left:
            used = widths[0]
            while left and (len(part) == 1 or used + GAP + widths[left[0]] <= options.max_width):
                used += GAP + widths[left[0]]
                part.append(left.pop(0))
            yield self._part(part)
            part = [0]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widths = self._widths()
        whole = sum(widths) + GAP * (len(widths) - 1)
        return Measurement(min(options.max_width, widths[0] + GAP + max(widths[1:], default=0)), min(options.max_width, whole))

    def _widths(self) -> list[int]:
        return [max([cell_len(name), *(cell_len(row[place].plain) for row in self.rows)]) for place, name in enumerate(self.head)]

    def _part(self, places: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        for place in places:
            table.add_column(self.head[place], justify="right" if place else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*(row[place] for place in places))
        return table
