"""Markdown from plain values: text that stays text, code that stays code, tables. Knows nothing of what it is about."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&-])")


def escaped(text: object) -> str:
    r"""Text from elsewhere, on one line, with nothing in it that Markdown or HTML would take for its own.

    >>> print(escaped("a*b\n<c>"))
    a\*b \<c\>
    """
    return _SPECIAL.sub(r"\\\1", " ".join(_printable(str(text)).split()))


def fenced(text: str) -> str:
    """One line of code, or of commands, as a block."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{_printable(text)}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; all columns but the first are set to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)
