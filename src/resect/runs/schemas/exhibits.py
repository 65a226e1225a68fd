"""The schema of exhibits.json: the tables, curves and heat maps that a method shows, as `resect.core.exhibits` declares them."""

import re
from dataclasses import MISSING, fields
from typing import Any, Literal, get_type_hints

from pydantic import Field, TypeAdapter, create_model

from resect.core.errors import InputError
from resect.core.exhibits import KINDS, Exhibit, from_json

from .parts import HUGE, Damage, Part

_PARAMETER = re.compile(r"^ +(\w+(?:, \w+)*) : (.+?)(?=^ +\w+(?:, \w+)* : |\Z)", re.MULTILINE | re.DOTALL)


def read_exhibits(values: object, file: str) -> tuple[tuple[Exhibit, ...], tuple[Damage, ...]]:
    """The sound exhibits of a list, and what is damaged in the others: `part` is the number of the exhibit, from 1."""
    if not isinstance(values, list):
        return (), (Damage(file, "", "holds no list of exhibits"),)
    exhibits, damages = [], []
    for number, value in enumerate(values, start=1):
        try:
            _check_numbers(value)
            exhibits.append(from_json(value))
        except (InputError, RecursionError) as error:
            damages.append(Damage(file, f"exhibit {number:,}", f"is damaged: {error}"))
    return tuple(exhibits), tuple(damages)


def _check_numbers(value: object) -> None:
    """Raises InputError for a number that is not finite, or larger than any measurement."""
    if isinstance(value, int | float) and not -HUGE < value < HUGE:
        raise InputError(f"it holds {value!r:.40}, which is no measurement.")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_numbers(part)


def exhibits_schema() -> dict[str, Any]:
    """The JSON schema of exhibits.json."""
    models = [_model(kind, exhibit_type) for kind, exhibit_type in KINDS.items()]
    parts = [TypeAdapter(model).json_schema() for model in models]
    return {"title": "ExhibitsFile", "description": "exhibits.json: what a method shows.", "type": "array", "items": {"anyOf": parts}}


def _model(kind: str, exhibit_type: type[Any]) -> type[Part]:
    """The model of one kind of exhibit, from the fields of its dataclass and the sentences of its docstring."""
    summary, _, parameters = (exhibit_type.__doc__ or "").partition("\n")
    described = {name: " ".join(text.split()) for names, text in _PARAMETER.findall(parameters) for name in names.split(", ")}
    hints, keys = get_type_hints(exhibit_type), dict[str, Any]()
    for item in fields(exhibit_type):
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        description = described.get(item.name, item.name.replace("_", " ").capitalize())
        keys[item.name] = (hints[item.name], Field(... if default is MISSING else default, description=description))
    literal: Any = Literal[kind]
    return create_model(exhibit_type.__name__, __base__=Part, __doc__=summary, kind=(literal, ...), **keys)
