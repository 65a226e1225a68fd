"""Blocks of a summary on a terminal: a part under its heading, commands to type."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from resect.report.text.printable import plain


def under(heading: str, part: RenderableType | None) -> list[RenderableType]:
    """A part, indented under its heading; nothing where there is no part."""
    return [] if part is None else [Text(""), Text(heading, style="bold"), indented(part)]


def indented(part: RenderableType) -> Padding:
    """A part, indented."""
    return Padding(part, (0, 0, 0, 2), expand=False)


def commands(steps: Sequence[tuple[str, str]], caution: str = "") -> list[RenderableType]:
    """What to type next: reasons and commands, under what is to be said before; "" for nothing."""
    parts: list[RenderableType] = [Text(""), Text("Next:", style="bold")] if steps else []
    parts += [Text(f"  {plain(caution)}", style="yellow")] if steps and caution else []
    for reason, line in steps:
        parts += [Text(f"  {plain(reason)}"), Text(f"    {line}", style="cyan", no_wrap=True, overflow="ignore")]
    return parts
