"""Tasks by name: the built-in ones and a user's own task files. Knows whose a name is, not how that loader reads."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import UnknownName
from .base import Example, Task
from .wording import read_instructions, read_template

__all__ = ["Example", "Task", "list_tasks", "load_task"]

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def list_tasks() -> dict[str, str]:
    """The built-in tasks, each with one sentence."""
    from .bbq import CATEGORIES
    from .glue import MEMBERS

    tasks = {"bbq": "BBQ, bias in question answering (Parrish et al. 2022): all categories found in the data."}
    tasks |= {f"bbq/{short}": f"BBQ, the category {category}." for short, category in CATEGORIES.items()}
    return tasks | {f"glue/{name}": member.says for name, member in MEMBERS.items()}


def load_task(
    name: str | os.PathLike[str],
    data: Paths | None = None,
    template: str | os.PathLike[str] | None = None,
    instructions: str | os.PathLike[str] | Sequence[str] | None = None,
    split_by: str | None = None,
) -> Task:
    """A built-in task, or that of a task file.

    Parameters
    ----------
    name : a name of `list_tasks` (case does not count; `bbq/Disability_status` is `bbq/disability`), or the path of a
        .toml file
    data : local data instead of the Hub's (built-in), or instead of what the file names; a file, a folder, or several
    template : Jinja2 text, or the path of a file that holds it
    instructions : texts, or the path of a file with one a line (blank lines do not count)
    split_by : what a group is: for `bbq` "story" or "template"; for `glue/…` "text" or "example"; for a task file the name of a field

    Raises UnknownName for a name that does not exist, BadTask for data that cannot be read as the task.
    """
    text = os.fspath(name)
    if text.lower().endswith(".toml"):
        from .custom import load_custom

        task: Task = load_custom(Path(text), data, split_by)
    else:
        task = _built_in(text)(data, split_by)
    if template is None and instructions is None:
        return task
    return task.with_wording(
        template=None if template is None else read_template(template),
        instructions=None if instructions is None else read_instructions(instructions),
    )


def _built_in(name: str) -> Callable[[Paths | None, str | None], Task]:
    """The loader of a built-in task. Raises UnknownName."""
    from .bbq import load_bbq, published_category
    from .glue import MEMBERS, load_glue

    family, _, member = name.strip().lower().partition("/")
    if family == "bbq":
        try:
            category = published_category(member) if member else None
        except UnknownName as error:
            raise _unknown(name, f"bbq/{error.suggestion}" if error.suggestion else name) from error
        return lambda data, split_by: load_bbq(category, data, split_by)
    if family == "glue" and member in MEMBERS:
        return lambda data, split_by: load_glue(member, data, split_by)
    raise _unknown(name, name)


def _unknown(name: str, near: str) -> UnknownName:
    hint = "`resect list tasks` says what each is; a task of your own is the path of a .toml file."
    if Path(name).exists():
        hint = f"{name} is there, but a task file ends in .toml. {hint}"
    return UnknownName("task", name, list_tasks(), hint)
