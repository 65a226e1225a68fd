"""Prompt templates (Jinja2, rendered in a sandbox) and instructions. Knows no task and no model."""

import functools
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from resect.core.errors import BadTask
from resect.core.files import read_lines, read_text
from resect.core.marked_text import HiddenSpellings, MarkedText

#: Names that a template can use in addition to the fields; they override a field of the same name, so that a data set's own
#: "answer" (the gold one) never gets into a prompt.
RESERVED = ("instruction", "choices", "answer")

#: The end of a template, where the answer goes: the mask of a masked model; for other models nothing, not even a blank.
ANSWER = "{% if answer %} {{ answer }}{% endif %}"

# What rendering can raise in addition to Jinja2's own errors: `{{ question + 1 }}`, `{{ scores[7] }}`, `{{ 1 / n }}`.
_RENDER_ERRORS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)


def with_end_mark(field: str, mark: str = ".") -> str:
    """Returns template text that shows a field, and adds `mark` where it ends neither in a full stop nor in a question mark."""
    return f"{{{{ {field} }}}}{{{{ '' if {field}.endswith(('.', '?')) else '{mark}' }}}}"


def check_template(template: str) -> None:
    """Raise BadTask with the line where `template` is not valid Jinja2."""
    _compiled(template)


def names_in(template: str) -> set[str]:
    """Returns the names of the variables that a template uses."""
    import jinja2.meta

    return jinja2.meta.find_undeclared_variables(_environment().parse(template))


def render(template: str, values: Mapping[str, Any], where: str = "") -> str:
    """Returns `template` rendered with `values`, without HTML escaping; a name that is not among them is an error, not an empty text.

    Raises BadTask that names what is missing and what exists; `where` says which example it was.
    """
    import jinja2

    tail = f" (example {where})" if where else ""
    try:
        return str(_compiled(template).render(dict(values)))
    except jinja2.UndefinedError as error:
        names = ", ".join(sorted(values))
        raise BadTask(f"The template uses what does not exist: {error.message}{tail}. There are: {names}.") from error
    except (jinja2.TemplateError, *_RENDER_ERRORS) as error:
        raise BadTask(f"The template cannot be rendered: {error}{tail}.") from error


def render_marked(
    template: str, values: Mapping[str, Any], data: Collection[str], spellings: re.Pattern[str], where: str = ""
) -> MarkedText:
    """Returns the same, with the spellings marked that come from the values named in `data`; the template's own are not. Raises BadTask."""
    hidden = HiddenSpellings(spellings)
    shown = {name: hidden.hide(value) if name in data else value for name, value in values.items()}
    return hidden.restore(render(template, shown, where))


def read_template(template: str | os.PathLike[str], folder: Path = Path()) -> str:
    """Returns a template, given as Jinja2 text or as the name of a file, relative to `folder`. Raises BadTask.

    A text with braces or several lines is itself the template; any other is a file's name.
    """
    text = os.fspath(template)
    if not isinstance(template, os.PathLike) and ("{{" in text or "{%" in text or "\n" in text):
        return text
    if not (folder / text).is_file():
        raise BadTask(f"The template {text!r} is neither a file nor a Jinja2 text (it has no {{{{ }}}}).")
    return read_text(folder / text, "template", raises=BadTask)


def read_instructions(instructions: str | os.PathLike[str] | Sequence[str], folder: Path = Path()) -> tuple[str, ...]:
    """Returns the instructions themselves, or those in a file, one a line, blank lines dropped. Raises BadTask."""
    if not isinstance(instructions, str | os.PathLike):
        return tuple(instructions)
    return read_lines(folder / instructions, "file of instructions", raises=BadTask)


@functools.lru_cache(maxsize=64)
def _compiled(template: str) -> Any:
    import jinja2

    try:
        return _environment().from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise BadTask(f"The template is not valid Jinja2: line {error.lineno}: {error.message}.") from error


def _environment() -> Any:
    import jinja2
    import jinja2.sandbox

    return jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
