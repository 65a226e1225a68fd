"""The settings of how prompts are put into a chat template: read, handed to the model, and in words.

Knows no template and no model.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from resect.core.errors import BadRecipe

#: How a setting is called where a model is loaded, by its key in a recipe.
_ARGUMENTS = {"chat_template": "chat", "chat_kwargs": "chat_kwargs", "system": "system", "parse_special": "parse_special"}
#: A longer system text is quoted with its beginning.
_QUOTED = 200


def chat_variables(entries: Sequence[str]) -> dict[str, Any]:
    """Returns the variables of the chat template in entries K=V; a value is JSON where it can be read as JSON, else text.

    >>> chat_variables(["enable_thinking=false", "effort=low", 'tags=["a"]'])
    {'enable_thinking': False, 'effort': 'low', 'tags': ['a']}

    Raises BadRecipe for an entry that is not K=V, and a variable that is given twice.
    """
    variables: dict[str, Any] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals or not name.isidentifier():
            raise BadRecipe(f"--chat-kwargs {entry!r}: it must be K=V, the name of a variable and its value, as in enable_thinking=false.")
        if name in variables:
            raise BadRecipe(f"--chat-kwargs gives {name} twice; give it once.")
        variables[name] = _value(value)
    return variables


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


def reading_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `load_model` that say how texts are read, for those settings that are given. Raises BadRecipe."""
    given = {argument: settings[key] for key, argument in _ARGUMENTS.items() if key in settings}
    if "chat_kwargs" in given:
        given["chat_kwargs"] = chat_variables(given["chat_kwargs"] or ())
    return given


def reading_sentences(settings: Mapping[str, Any]) -> list[str]:
    """Returns sentences on how prompts and texts were read; none where that is by the default settings."""
    sentences = []
    if settings.get("chat_template"):
        parts = [f"{entry.replace('=', ' = ', 1)}" for entry in settings.get("chat_kwargs") or ()]
        system = settings.get("system")
        if system is not None:
            parts.append(f"the system text “{system if len(system) <= _QUOTED else f'{system[:_QUOTED]} …'}”")
        sentences.append(f"Wrapped in the tokenizer's chat template{', with ' if parts else ''}{' and '.join(parts)}.")
    if settings.get("parse_special"):
        sentences.append("Special tokens that data spell are read as these tokens.")
    return sentences
