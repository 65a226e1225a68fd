"""The words of a prompt: templates (Jinja2, rendered in a sandbox) and instructions. Knows no task and no model."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resect.core.errors import BadTask
from resect.core.files import read_text

#: Names that a template sees besides the fields; they win over a field of the same name, so that a data set's own
#: "answer" (its gold one) can never slip into a prompt.
RESERVED = ("instruction", "choices", "answer")

#: The end of a template, where the answer goes: the mask of a masked model, and for others nothing, not even a blank.
ANSWER = "{% if answer %} {{ answer }}{% endif %}"

# What a template can run into beside Jinja2's own errors: `{{ question + 1 }}`, `{{ scores[7] }}`, `{{ 1 / n }}`.
_RENDERING = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)


def closed(field: str, mark: str = ".") -> str:
    """The part of a template that shows a field, with `mark` behind it where it ends neither in a full stop nor in a question mark."""
    return f"{{{{ {field} }}}}{{{{ '' if {field}.endswith(('.', '?')) else '{mark}' }}}}"


def check_template(template: str) -> None:
    """Raise BadTask with the line where `template` is not valid Jinja2."""
    _compiled(template)


def shown(template: str) -> set[str]:
    """The names that a template asks for."""
    import jinja2.meta

    return jinja2.meta.find_undeclared_variables(_environment().parse(template))


def render(template: str, values: Mapping[str, Any], where: str = "") -> str:
    """`template` over `values`, without HTML escaping; a name that is not among them is an error, not an empty text.

    Raises BadTask that names what is missing and what there is; `where` says which example it was.
    """
    import jinja2

    tail = f" (example {where})" if where else ""
    try:
        return str(_compiled(template).render(dict(values)))
    except jinja2.UndefinedError as error:
        names = ", ".join(sorted(values))
        raise BadTask(f"The template asks for what is not there: {error.message}{tail}. There are: {names}.") from error
    except (jinja2.TemplateError, *_RENDERING) as error:
        raise BadTask(f"The template cannot be rendered: {error}{tail}.") from error


def read_template(template: str | os.PathLike[str], folder: Path = Path()) -> str:
    """A Jinja2 text, or what the file of that name (seen from `folder`) holds.

    A text with braces or several lines is itself the template; any other is a file's name. Raises BadTask.
    """
    text = os.fspath(template)
    if not isinstance(template, os.PathLike) and ("{{" in text or "{%" in text or "\n" in text):
        return text
    if not (folder / text).is_file():
        raise BadTask(f"The template {text!r} is neither a file nor a Jinja2 text (it has no {{{{ }}}}).")
    return read_text(folder / text, "template").removeprefix("\ufeff")


def read_instructions(instructions: str | os.PathLike[str] | Sequence[str], folder: Path = Path()) -> tuple[str, ...]:
    """The instructions themselves, or those of a file, one a line, blank ones dropped. Raises BadTask, InputError."""
    if not isinstance(instructions, str | os.PathLike):
        return tuple(instructions)
    path = folder / instructions
    text = read_text(path, "file of instructions").removeprefix("\ufeff")
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not found:
        raise BadTask(f"The file of instructions {path} holds no line.")
    return found


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
