"""What all schemas are made of, and the one tolerant way to read: sound parts are kept, damaged ones are left out and named.

Knows no file. A field that has a default, or that may be null, can be left out; without a required field, its object is left out.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError, WithJsonSchema

from resect.core.address import Site
from resect.core.errors import InputError

#: No measurement is as large.
HUGE = 10**15
#: Rounds after which a value is given up: each leaves out at most one level more.
ROUNDS = 60

Number = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=-HUGE, lt=HUGE)]
Whole = Annotated[int, Field(strict=True, gt=-HUGE, lt=HUGE)]
Count = Annotated[int, Field(strict=True, ge=0, lt=HUGE)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Text = Annotated[str, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Interval = tuple[Number, Number]
Row = tuple[Number | None, ...]


def _site(value: object) -> Site:
    """The site of an address. Raises ValueError."""
    if isinstance(value, Site):
        return value
    try:
        return Site.parse(value if isinstance(value, str) else repr(value))
    except InputError as error:
        raise ValueError(str(error)) from error


Address = Annotated[
    Site,
    PlainValidator(_site),
    PlainSerializer(lambda site: str(site), return_type=str),
    WithJsonSchema({"type": "string", "description": "The address of a site.", "examples": ["decoder.3.up"]}),
]


class Part(BaseModel):
    """An object of a file. Keys that it does not know are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    #: Keys that decide what the object means: where one of them is damaged, the object is.
    decisive: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Damage:
    """What is damaged in a file of a run folder. `part`: keys and positions, joined by dots, "" for all of it; `reason`: a clause."""

    file: str
    part: str
    reason: str

    def __str__(self) -> str:
        return f"{self.part or 'it'} {self.reason}"


Schema = TypeVar("Schema", bound=Part)
Keys = tuple[str | int, ...]
_WANTED = {
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def read_tolerantly(schema: type[Schema], value: object, file: str) -> tuple[Schema | None, tuple[Damage, ...]]:
    """What is sound of a JSON value, and what is damaged in it; None where what makes it up is damaged.

    The deepest part that a schema can do without is left out: a number that may be null, a key with a default, an object of a list.
    """
    damages: dict[Keys, str] = {}
    for round_number in range(ROUNDS):
        try:
            return schema.model_validate(value), _damages(file, damages)
        except ValidationError as error:
            value = value if round_number else copy.deepcopy(value)
            problems = list(_problems(error, value))
        for keys, kind, reason in problems:
            # Later rounds meet what earlier ones left out; only a rule on an object is new.
            if not round_number or (kind == "value_error" and _at(value, keys) is not None):
                damages.setdefault(keys, reason)
        if any(keys[0] in schema.decisive for keys, _, _ in problems if keys):
            break
        if not _leave_out(value, {(keys, kind) for keys, kind, _ in problems}):
            break
    return None, _damages(file, damages)


def read_rows(schema: type[Schema], rows: Iterable[object], file: str) -> tuple[tuple[Schema, ...], tuple[Damage, ...]]:
    """The sound rows of a file of lines, and what is damaged in the others: `part` begins with the number of the row, from 1."""
    sound, damages = [], list[Damage]()
    for number, value in enumerate(rows, start=1):
        row, damaged = read_tolerantly(schema, value, file)
        sound += [] if row is None else [row]
        damages += [Damage(file, f"row {number:,}" + (f", {each.part}" if each.part else ""), each.reason) for each in damaged]
    return tuple(sound), tuple(damages)


def _damages(file: str, reasons: Mapping[Keys, str]) -> tuple[Damage, ...]:
    return tuple(Damage(file, ".".join(map(str, keys)), reason) for keys, reason in reasons.items())


def _problems(error: ValidationError, value: object) -> Iterator[tuple[Keys, str, str]]:
    """Where in the value each error is, its kind, and the reason as a clause."""
    for detail in error.errors(include_url=False):
        keys, kind = _keys(detail["loc"], value), detail["type"]
        if kind == "missing":
            reason = "is missing"
        elif kind == "value_error":
            reason = f"is damaged: {detail['ctx']['error']}"
        else:
            reason = f"is {detail['input']!r:.60}, " + (f"not {_WANTED[kind]}" if kind in _WANTED else detail["msg"].lower())
        yield keys, kind, reason


def _keys(location: tuple[str | int, ...], value: object) -> Keys:
    """The keys of an error's location, without those of the schema's own alternatives."""
    keys: list[str | int] = []
    for place, key in enumerate(location):
        if isinstance(value, dict) and (key in value or (place == len(location) - 1 and key != "[key]")):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            continue
        keys.append(key)
    return tuple(keys)


def _at(value: Any, keys: Keys) -> Any:
    """What is at these keys; None where there is nothing."""
    for key in keys:
        if isinstance(value, list):
            value = value[key] if isinstance(key, int) and key < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _leave_out(value: Any, problems: Iterable[tuple[Keys, str]]) -> bool:
    """Leave out one level more of each damaged part, in place; whether there is anything left."""
    places = {_next_place(value, keys, kind) for keys, kind in problems}
    # The last item of a list first, so that the positions of the others stay what they are.
    for keys in sorted(places - {()}, key=lambda keys: (len(keys), [str(key).zfill(12) for key in keys]), reverse=True):
        holder: Any = _at(value, keys[:-1])
        key: Any = keys[-1]
        if holder[key] is None or (isinstance(holder, list) and isinstance(holder[key], dict)):
            del holder[key]
        else:
            holder[key] = None
    return () not in places


def _next_place(value: Any, keys: Keys, kind: str) -> Keys:
    """What to leave out next for an error: the part itself, or what holds it where that is no longer there, or an item that must stay."""
    while keys:
        holder, part = _at(value, keys[:-1]), _at(value, keys)
        is_record = isinstance(part, dict) or kind.startswith("model")
        if part is not None or (isinstance(holder, dict) and keys[-1] in holder) or (isinstance(holder, list) and is_record):
            return keys
        keys, kind = keys[:-1], ""
    return ()
