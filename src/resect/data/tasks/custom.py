"""A user's own task: a TOML file that says where the data is and what its fields mean. Knows no benchmark and no model.

name = "jobs"                      # default: the file's name
description = "Who is the nurse?"
data = "items.jsonl"               # .jsonl or .csv, or a folder, or a list of them; seen from this file
template = "{{ instruction }} {{ question }} Options: {{ choices | join(', ') }} Answer:"    # or a file's name
instructions = ["Answer the question.", "Choose an option."]                                 # or a file, one a line
choices = "options"                # the field that holds the list of choices
# choices = ["a", "b", "c"]        # or the fields that hold one choice each (CSV columns)
# choices = { fixed = ["no", "yes"] }    # or the choices of every example; without `choices` the answer is free text
gold = "label"                     # the field with the right choice: its text, or its index from 0
group = "story"                    # optional field: examples of one group never stand in two splits
tags = "kind"                      # optional field, or list of fields: a text, a list of texts; true = the field's name
id = "id"                          # optional field
split = "part"                     # optional field: locate, select or test; without it a hash of the group decides
judged = ["story", "question"]     # optional: the fields that calibration (CC, DC) replaces by text without content; by default the
                                   # text fields that the template shows, save those that repeat a choice
metric = "accuracy"                # what the task is reported by: accuracy, generation, logloss, top1, top5 or top10; by default
                                   # accuracy where there are choices, generation where there are none
tokens = 16                        # how many tokens are generated for an answer
matching = "choice"                # when a generated text is right: "choice", it is the golden one (the default where there are choices);
                                   # "contains", it contains the golden text (the default where there are none)
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from resect.core.errors import BadTask, InputError
from resect.core.files import read_text

from .base import ANSWER_TOKENS, MATCHINGS, METRICS, Example, Task
from .records import Paths, Record, field_of, find_files, make_examples, read_records
from .splits import SHARES
from .wording import read_instructions, read_template

KEYS = (
    *("name", "description", "data", "template", "instructions", "choices", "gold", "group", "tags", "id", "split", "judged"),
    *("metric", "tokens", "matching"),
)
Name = TypeVar("Name", bound=str)
_REQUIRED = ("data", "template", "instructions", "gold")


def load_custom(path: Path, data: Paths | None = None, split_by: str | None = None) -> Task:
    """The task of a TOML file as the head of this module draws it.

    Parameters
    ----------
    path : the .toml file
    data : other data than the file names, seen from the working folder
    split_by : another field for `group`

    Raises BadTask that names the file and the line.
    """
    try:
        source = read_text(path, "task file").removeprefix("\ufeff")
    except InputError as error:
        raise BadTask(str(error)) from error
    try:
        keys = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise BadTask(f"{path}: no TOML: {error}.") from error
    _check_keys(path, source, keys)
    settings = _Settings(path, source, keys)
    files = find_files(settings.data() if data is None else data, (".jsonl", ".csv"))
    make = settings.maker(split_by)
    examples = make_examples((record for file in files for record in read_records(file)), make)
    try:
        return Task(
            name=settings.text("name", path.stem),
            examples=examples,
            instructions=settings.instructions(),
            template=settings.template(),
            description=settings.text("description", ""),
            judged=settings.texts("judged", "a field, or a list of fields,") if "judged" in keys else None,
            metric=settings.one_of("metric", METRICS, "accuracy" if "choices" in keys else "generation"),
            answer_tokens=settings.tokens(),
            matching=settings.one_of("matching", MATCHINGS, "choice" if "choices" in keys else "contains"),
        )
    except BadTask as error:
        raise BadTask(f"{path}: {error}") from error


def _check_keys(path: Path, source: str, keys: Mapping[str, Any]) -> None:
    for key in keys:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.5)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise BadTask(f"{_place(path, source, key)}: unknown key {key!r}.{guess} Known: {', '.join(KEYS)}.")
    for key in _REQUIRED:
        if key not in keys:
            raise BadTask(f"{path}: the key {key!r} is missing. Needed: {', '.join(_REQUIRED)}.")


def _place(path: Path, source: str, key: str) -> str:
    """File and line where a key stands; the file alone where TOML lets it hide (a dotted or quoted key)."""
    match = re.search(rf"^[ \t]*(?:{re.escape(key)}[ \t]*=|\[+[ \t]*{re.escape(key)}[ \t]*\])", source, re.MULTILINE)
    return f"{path}:{source.count(chr(10), 0, match.start()) + 1}" if match else str(path)


class _Settings:
    """What the file says, each key checked for its kind when it is read."""

    def __init__(self, path: Path, source: str, keys: Mapping[str, Any]) -> None:
        self.path, self.source, self.keys, self.folder = path, source, keys, path.parent

    def wrong(self, key: str, wanted: str) -> BadTask:
        return BadTask(f"{_place(self.path, self.source, key)}: {key} is {self.keys[key]!r}; {wanted} is wanted.")

    def text(self, key: str, default: str) -> str:
        value = self.keys.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def field(self, key: str) -> str | None:
        """The name of the field that `key` says, or None."""
        return self.text(key, "") or None

    def texts(self, key: str, wanted: str) -> list[str]:
        """One text, or a list of them."""
        value = self.keys[key]
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not found or not all(isinstance(each, str) and each for each in found):
            raise self.wrong(key, wanted)
        return found

    def one_of(self, key: str, allowed: Sequence[Name], default: Name) -> Name:
        value = self.text(key, default)
        found = [name for name in allowed if name == value]
        if not found:
            raise self.wrong(key, f"one of {', '.join(allowed)}")
        return found[0]

    def tokens(self) -> int:
        value = self.keys.get("tokens", ANSWER_TOKENS)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong("tokens", "a whole number of 1 or more")
        return value

    def data(self) -> list[Path]:
        return [self.folder / name for name in self.texts("data", "a file, or a list of files,")]

    def template(self) -> str:
        return read_template(self.text("template", ""), self.folder)

    def instructions(self) -> tuple[str, ...]:
        value = self.keys["instructions"]
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
        if not isinstance(value, str):
            raise self.wrong("instructions", "a list of texts, or the name of a file with one a line,")
        try:
            return read_instructions(value, self.folder)
        except InputError as error:
            raise BadTask(f"{_place(self.path, self.source, 'instructions')}: {error}") from error

    def maker(self, split_by: str | None) -> Callable[[Record], Example]:
        """How a record becomes an example."""
        choices = self.choices()
        gold = self.text("gold", "")
        group, name, split = split_by or self.field("group"), self.field("id"), self.field("split")
        tags = self.texts("tags", "a field, or a list of fields,") if "tags" in self.keys else []

        def make(record: Record) -> Example:
            values = record.values
            found = choices(values)
            part = None if split is None else _split(values, split)
            return Example(
                fields=values,
                choices=found,
                gold=_gold(field_of(values, gold, (str, int)), found),
                id=None if name is None else str(field_of(values, name, (str, int))),
                group=None if group is None else str(field_of(values, group, (str, int))),
                tags=tuple(tag for field in tags for tag in _tags(values, field)),
                split=part,
            )

        return make

    def choices(self) -> Callable[[Mapping[str, Any]], tuple[str, ...]]:
        """How to find the choices of a record."""
        says = self.keys.get("choices")
        if says is None:
            return lambda values: ()
        if isinstance(says, dict):
            fixed = says.get("fixed")
            if set(says) != {"fixed"} or not isinstance(fixed, list) or not all(isinstance(e, str) for e in fixed):
                raise self.wrong("choices", "{ fixed = [texts] }")
            return lambda values: tuple(fixed)
        if isinstance(says, str):
            return lambda values: _listed(values, says)
        names = self.texts("choices", "a field, a list of fields, or { fixed = [texts] }")
        return lambda values: tuple(field_of(values, name, str) for name in names)


def _listed(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = field_of(values, name)
    if isinstance(found, str):
        raise BadTask(
            f"the field {name!r} is the text {found!r}, not a list of choices; where each choice is a field "
            '(or CSV column) of its own, name them all: choices = ["a", "b"].'
        )
    if not isinstance(found, list) or not found or not all(isinstance(each, str) for each in found):
        raise BadTask(f"the field {name!r} is {found!r}; a list of texts is wanted.")
    return tuple(found)


def _gold(gold: str | int, choices: tuple[str, ...]) -> str | int:
    """A text that is no choice but a number is an index: all that CSV knows is text."""
    if isinstance(gold, bool):
        raise BadTask(f"the gold answer is {gold!r}; the text or the index of a choice is wanted.")
    if isinstance(gold, str) and choices and gold not in choices and re.fullmatch(r"\s*\d{1,9}\s*", gold):
        return int(gold)
    return gold


def _tags(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = field_of(values, name)
    if found is None or found is False or found == "":
        return ()
    if found is True:
        return (name,)
    tags = (found,) if isinstance(found, str) else found
    if not isinstance(tags, tuple | list) or not all(isinstance(tag, str) for tag in tags):
        raise BadTask(f"the field {name!r} is {found!r}; a tag, or a list of tags, is wanted.")
    return tuple(tags)


def _split(values: Mapping[str, Any], name: str) -> Any:
    part = field_of(values, name, str).strip().lower()
    if part not in SHARES:
        raise BadTask(f"the field {name!r} is {values[name]!r}; a split is one of {', '.join(SHARES)}.")
    return part
