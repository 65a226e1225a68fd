"""Markdown from plain values: escaped text, names without the folders of a machine, code, tables. Knows nothing of their meaning."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#!|<>~$&])")
_FILES = (".toml", ".txt", ".json", ".jsonl", ".csv", ".jinja", ".md")


def escaped(text: object) -> str:
    r"""Returns a text on one line, with all that Markdown or HTML would interpret escaped.

    >>> print(escaped("a*b\n<c>"))
    a\*b \<c\>
    """
    return _SPECIAL.sub(r"\\\1", " ".join(_printable(str(text)).split()))


def fenced(text: str) -> str:
    """Returns one line of code, or a command, as a code block."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{_printable(text)}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of cells that are Markdown already; all columns but the first are aligned to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def without_folders(name: str) -> str:
    """Returns a Hub id or a built-in name as it is, of a path only its last part, of NAME=PATH the name and that part.

    >>> without_folders("google/flan-t5-base"), without_folders("/home/me/models/mine/"), without_folders("bbq/age=../data/Age.jsonl")
    ('google/flan-t5-base', 'mine', 'bbq/age=Age.jsonl')
    """
    head, equals, path = name.rpartition("=")
    if equals:
        return f"{without_folders(head)}={without_folders(path)}"
    path = name.replace("\\", "/").rstrip("/")
    is_path = path.startswith(("/", ".", "~")) or ":/" in path or path.count("/") > 1 or path.endswith(_FILES)
    return path.rpartition("/")[2] if is_path else path


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
