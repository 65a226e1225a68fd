"""Text from data as a terminal may show it: it cannot drive the terminal. Knows no run."""

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

PROMPT_CHARACTERS = 260


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
