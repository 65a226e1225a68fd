"""Reads the files of a run folder by their schemas: what is sound, and what is damaged or missing, by name. Raises nothing for either."""

import json
from pathlib import Path

from resect.core.errors import InputError
from resect.core.exhibits import Exhibit
from resect.core.files import read_json

from .exhibits import read_exhibits
from .parts import Damage, Schema, read_rows, read_tolerantly


def read_file(path: Path, schema: type[Schema]) -> tuple[Schema | None, tuple[Damage, ...]]:
    """What is sound of a JSON file; None where it is missing, is no JSON, or what makes it up is damaged."""
    try:
        value = read_json(path)
    except (InputError, RecursionError) as error:
        return None, (_unreadable(path, error),)
    return read_tolerantly(schema, value, path.name)


def read_lines_file(path: Path, schema: type[Schema]) -> tuple[tuple[Schema, ...], tuple[Damage, ...]]:
    """The sound rows of a file of JSON lines. A last line that was torn by a kill is dropped and not named: its work is done again."""
    try:
        lines = [line for line in path.read_bytes().split(b"\n") if line]
    except OSError as error:
        return (), (_unreadable(path, InputError(str(error.strerror))),)
    rows: list[object] = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            rows.append(None)
    if lines and rows[-1] is None and lines[-1] != b"null":
        del rows[-1]
    return read_rows(schema, rows, path.name)


def read_exhibits_file(path: Path) -> tuple[tuple[Exhibit, ...], tuple[Damage, ...]]:
    """The sound exhibits of exhibits.json; none, and no damage, where there is no such file: not every run has exhibits."""
    if not path.exists():
        return (), ()
    try:
        value = read_json(path)
    except (InputError, RecursionError) as error:
        return (), (_unreadable(path, error),)
    return read_exhibits(value, path.name)


def _unreadable(path: Path, error: Exception) -> Damage:
    return Damage(path.name, "", "is missing" if not path.exists() else f"cannot be read: {error}")
