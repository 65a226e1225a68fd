"""Plain text by documents, to measure perplexity on: what ships with resect, and files of the user's own.

Knows no model and no token; what is held in memory is the text itself.
"""

import importlib.resources
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from resect.core.errors import InputError
from resect.core.files import read_text
from resect.data.tasks.records import parse_jsonl

#: What comparison.json calls the text that ships.
SHIPPED = "a text that ships with resect"


def shipped() -> tuple[str, ...]:
    """The documents that ship with resect: 26 paragraphs of English prose of many kinds, 2,776 words, one line each.

    >>> len(shipped())
    26
    """
    file = importlib.resources.files("resect.data") / "plain_text" / "english.txt"
    return _documents(file.read_text(encoding="utf-8"))


def read_texts(paths: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """The documents of UTF-8 files, in order.

    A document is what stands between blank lines; where a file has no blank line, each line is one. In a .jsonl file, each
    line is an object whose "text" is one document. White space around a document is no part of it.

    Raises InputError, which names the file (and the line), where one is missing, not UTF-8, without text, or no JSON Lines.
    """
    return tuple(document for path in paths for document in _of_file(Path(path)))


def _of_file(path: Path) -> tuple[str, ...]:
    text = read_text(path, "text file").removeprefix("\ufeff")
    found = tuple(_of_records(text, path)) if path.suffix.lower() in (".jsonl", ".ndjson") else _documents(text)
    if not found:
        raise InputError(f"The text file {path} holds no text; perplexity needs at least one document.")
    return found


def _of_records(text: str, path: Path) -> Iterator[str]:
    for where, values in parse_jsonl(text, str(path)):
        document = values.get("text")
        if not isinstance(document, str):
            held = ", ".join(values) or "none"
            raise InputError(f'{where}: the document belongs under the key "text", as a string. The keys here: {held}.')
        if document.strip():
            yield document.strip()


def _documents(text: str) -> tuple[str, ...]:
    lines = text.strip().split("\n")
    if all(line.strip() for line in lines):
        return tuple(line.strip() for line in lines)
    blocks = groupby(lines, key=lambda line: bool(line.strip()))
    return tuple("\n".join(block).strip() for filled, block in blocks if filled)
