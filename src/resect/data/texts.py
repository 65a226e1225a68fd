"""Plain texts to measure perplexity on: those inside the package, and the user's own files. All are kept in memory.

Knows no model and no token.
"""

import importlib.resources
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from resect.core.errors import InputError
from resect.core.files import read_text

from .documents import document_source, text_format

#: What comparison.json calls the texts inside the package.
PACKAGED_NAME = "a text that ships with resect"


def packaged_texts() -> tuple[str, ...]:
    """Returns the documents inside the package: 26 paragraphs of English prose of many kinds, 2,776 words, one line each.

    >>> len(packaged_texts())
    26
    """
    file = importlib.resources.files("resect.data") / "plain_text" / "english.txt"
    return _paragraphs(file.read_text(encoding="utf-8"))


def read_texts(paths: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Returns the documents of UTF-8 files, in order.

    Documents are separated by blank lines; where a file has no blank line, each line is one. In a .jsonl file, each line is an object
    whose "text" is one document. White space around a document is no part of it.

    Raises InputError, which names the file (and the line), where one is missing, not UTF-8, without text, or no JSON Lines.
    """
    return tuple(document for path in paths for document in _read(Path(path)))


def _read(path: Path) -> tuple[str, ...]:
    if text_format(path) in (".jsonl", ".ndjson"):
        documents = tuple(document_source(path).documents())
    else:
        documents = _paragraphs(read_text(path, "text file"))
    if not documents:
        raise InputError(f"The text file {path} holds no text; perplexity needs at least one document.")
    return documents


def _paragraphs(text: str) -> tuple[str, ...]:
    lines = text.strip().split("\n")
    if all(line.strip() for line in lines):
        return tuple(line.strip() for line in lines)
    blocks = groupby(lines, key=lambda line: bool(line.strip()))
    return tuple("\n".join(block).strip() for has_text, block in blocks if has_text)
