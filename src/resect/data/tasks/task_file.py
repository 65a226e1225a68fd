"""Task files: a user's own task in TOML, which says where the data is and what its fields mean. Knows no benchmark and no model.

name = "jobs"                      # default: the file's name
description = "Who is the nurse?"
data = "items.jsonl"               # .jsonl or .csv, or a folder, or a list of them; relative to this file
template = "{{ instruction }} {{ question }} Options: {{ choices | join(', ') }} Answer:"    # or a file's name
instructions = ["Answer the question.", "Choose an option."]                                 # or a file, one a line
choices = "options"                # the field with the list of choices
# choices = ["a", "b", "c"]        # or the fields with one choice each (CSV columns)
# choices = { fixed = ["no", "yes"] }    # or the choices of every example; without `choices` the answer is free text
gold = "label"                     # the field with the right choice: its text, or its index from 0
group = "story"                    # optional field: examples of one group are always in one split
tags = "kind"                      # optional field, or list of fields: a text, a list of texts; true = the field's name
id = "id"                          # optional field
split = "part"                     # optional field: locate, select or test; without it a hash of the group decides
judged = ["story", "question"]     # optional: the fields that calibration (CC, DC) replaces by content-free text; by default the
                                   # text fields that the template shows, except those that repeat a choice
metric = "accuracy"                # the metric that the task is reported by: accuracy, generation, logloss, top1, top5 or top10; by default
                                   # accuracy where there are choices, generation where there are none
tokens = 16                        # the number of tokens that are generated for an answer
matching = "choice"                # when a generated text is right: "choice", it equals the gold choice (the default where there are
                                   # choices); "contains", it contains the gold text (the default where there are none)
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from resect.core.errors import BadTask, InputError, did_you_mean
from resect.core.files import read_text
from resect.data.records import Paths, Record, field_of, find_files, read_records

from .benchmark_source import make_examples
from .splits import SHARES
from .task import ANSWER_TOKENS, MATCHINGS, METRICS, Example, Task
from .templates import read_instructions, read_template

KEYS = (
    *("name", "description", "data", "template", "instructions", "choices", "gold", "group", "tags", "id", "split", "judged"),
    *("metric", "tokens", "matching"),
)
Name = TypeVar("Name", bound=str)
_REQUIRED = ("data", "template", "instructions", "gold")


def load_task_file(path: Path, data: Paths | None = None, split_by: str | None = None) -> Task:
    """Returns the task of a TOML file in the format at the top of this module.

    Parameters
    ----------
    path : the .toml file
    data : other data than the file names, relative to the working folder
    split_by : another field instead of `group`

    Raises BadTask that names the file and the line.
    """
    source = read_text(path, "task file", raises=BadTask)
    try:
        keys = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise BadTask(f"{path}: no TOML: {error}.") from error
    _check_keys(path, source, keys)
    settings = _Settings(path, source, keys)
    files = find_files(settings.data() if data is None else data, (".jsonl", ".csv"))
    make_example = settings.example_maker(split_by)
    examples = make_examples((record for file in files for record in read_records(file)), lambda record: (make_example(record),))
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
            raise BadTask(f"{_place(path, source, key)}: unknown key {key!r}.{did_you_mean(key, KEYS)} Known: {', '.join(KEYS)}.")
    for key in _REQUIRED:
        if key not in keys:
            raise BadTask(f"{path}: the key {key!r} is missing. Needed: {', '.join(_REQUIRED)}.")


def _place(path: Path, source: str, key: str) -> str:
    """Returns the file and the line of a key; the file alone for a dotted or quoted key."""
    match = re.search(rf"^[ \t]*(?:{re.escape(key)}[ \t]*=|\[+[ \t]*{re.escape(key)}[ \t]*\])", source, re.MULTILINE)
    return f"{path}:{source.count(chr(10), 0, match.start()) + 1}" if match else str(path)


class _Settings:
    """The settings of a task file; each value's type is checked when it is read."""

    def __init__(self, path: Path, source: str, keys: Mapping[str, Any]) -> None:
        self.path, self.source, self.keys, self.folder = path, source, keys, path.parent

    def wrong(self, key: str, wanted: str) -> BadTask:
        return BadTask(f"{_place(self.path, self.source, key)}: {key} is {self.keys[key]!r}; {wanted} is needed.")

    def text(self, key: str, default: str) -> str:
        value = self.keys.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def field(self, key: str) -> str | None:
        """Returns the name of the field under `key`, or None."""
        return self.text(key, "") or None

    def texts(self, key: str, wanted: str) -> list[str]:
        """Returns one text, or a list of texts, as a list."""
        value = self.keys[key]
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
            raise self.wrong(key, wanted)
        return texts

    def one_of(self, key: str, allowed: Sequence[Name], default: Name) -> Name:
        value = self.text(key, default)
        matching = [name for name in allowed if name == value]
        if not matching:
            raise self.wrong(key, f"one of {', '.join(allowed)}")
        return matching[0]

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
        if isinstance(value, list) and all(isinstance(text, str) for text in value):
            return tuple(value)
        if not isinstance(value, str):
            raise self.wrong("instructions", "a list of texts, or the name of a file with one a line,")
        try:
            return read_instructions(value, self.folder)
        except InputError as error:
            raise BadTask(f"{_place(self.path, self.source, 'instructions')}: {error}") from error

    def example_maker(self, split_by: str | None) -> Callable[[Record], Example]:
        """Returns the function that makes an example of a record."""
        choices = self.choices()
        gold = self.text("gold", "")
        group, name, split = split_by or self.field("group"), self.field("id"), self.field("split")
        tags = self.texts("tags", "a field, or a list of fields,") if "tags" in self.keys else []

        def make_example(record: Record) -> Example:
            values = record.values
            own_choices = choices(values)
            return Example(
                fields=values,
                choices=own_choices,
                gold=_gold(field_of(values, gold, (str, int)), own_choices),
                id=None if name is None else str(field_of(values, name, (str, int))),
                group=None if group is None else str(field_of(values, group, (str, int))),
                tags=tuple(tag for field in tags for tag in _tags(values, field)),
                split=None if split is None else _split(values, split),
            )

        return make_example

    def choices(self) -> Callable[[Mapping[str, Any]], tuple[str, ...]]:
        """Returns the function that finds the choices of a record."""
        setting = self.keys.get("choices")
        if setting is None:
            return lambda values: ()
        if isinstance(setting, dict):
            fixed = setting.get("fixed")
            if set(setting) != {"fixed"} or not isinstance(fixed, list) or not all(isinstance(choice, str) for choice in fixed):
                raise self.wrong("choices", "{ fixed = [texts] }")
            return lambda values: tuple(fixed)
        if isinstance(setting, str):
            return lambda values: _list_of_texts(values, setting)
        names = self.texts("choices", "a field, a list of fields, or { fixed = [texts] }")
        return lambda values: tuple(field_of(values, name, str) for name in names)


def _list_of_texts(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    texts = field_of(values, name)
    if isinstance(texts, str):
        raise BadTask(
            f"the field {name!r} is the text {texts!r}, not a list of choices; where each choice is a field "
            '(or CSV column) of its own, name them all: choices = ["a", "b"].'
        )
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadTask(f"the field {name!r} is {texts!r}; a list of texts is needed.")
    return tuple(texts)


def _gold(gold: str | int, choices: tuple[str, ...]) -> str | int:
    """Returns the gold answer; a text that is no choice but a number is an index, since CSV knows only texts."""
    if isinstance(gold, bool):
        raise BadTask(f"the gold answer is {gold!r}; the text or the index of a choice is needed.")
    if isinstance(gold, str) and choices and gold not in choices and re.fullmatch(r"\s*\d{1,9}\s*", gold):
        return int(gold)
    return gold


def _tags(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = field_of(values, name)
    if value is None or value is False or value == "":
        return ()
    if value is True:
        return (name,)
    tags = (value,) if isinstance(value, str) else value
    if not isinstance(tags, tuple | list) or not all(isinstance(tag, str) for tag in tags):
        raise BadTask(f"the field {name!r} is {value!r}; a tag, or a list of tags, is needed.")
    return tuple(tags)


def _split(values: Mapping[str, Any], name: str) -> Any:
    split = field_of(values, name, str).strip().lower()
    if split not in SHARES:
        raise BadTask(f"the field {name!r} is {values[name]!r}; a split is one of {', '.join(SHARES)}.")
    return split
