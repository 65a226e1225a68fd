"""Tasks by name: the built-in ones and a user's own task files. Does not know how a task is read."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from resect.core.errors import UnknownName
from resect.data.records import Paths

from .task import Example, Task
from .templates import read_instructions, read_template

__all__ = ["Example", "Task", "list_tasks", "load_task"]

#: Makes a task of data (None: the Hub) and of what a group is (None: the task's default).
Loader = Callable[[Paths | None, str | None], Task]


def list_tasks() -> dict[str, str]:
    """Returns the built-in tasks, each with one sentence."""
    return {name: summary for name, (summary, _) in _built_in_tasks().items()}


def load_task(
    name: str | os.PathLike[str],
    data: Paths | None = None,
    template: str | os.PathLike[str] | None = None,
    instructions: str | os.PathLike[str] | Sequence[str] | None = None,
    split_by: str | None = None,
    limit: int | None = None,
) -> Task:
    """Returns a built-in task, or that of a task file.

    Parameters
    ----------
    name : a name of `list_tasks` (case does not matter; `bbq/Disability_status` is `bbq/disability`), or the path of a .toml file
    data : local data instead of the Hub's (built-in), or instead of what the file names; a file, a folder, or several
    template : Jinja2 text, or the path of a file with it
    instructions : texts, or the path of a file with one a line (blank lines are ignored)
    split_by : what a group is: for `bbq` "story" or "template"; for `glue/…` "text" or "example"; for `counterfact` "fact" or "subject";
        for `fever` "page" or "claim"; for `epistemic` "story" or "example"; for a task file the name of a field
    limit : at most so many examples, in the splits that they have anyway (see `Task.limited`)

    Raises UnknownName for a name that does not exist, BadTask for data that cannot be read as the task.
    """
    text = os.fspath(name)
    if text.lower().endswith(".toml"):
        from .task_file import load_task_file

        task: Task = load_task_file(Path(text), data, split_by)
    else:
        task = _loader(text)(data, split_by)
    task = task if limit is None else task.limited(limit)
    if template is None and instructions is None:
        return task
    return task.with_wording(
        template=None if template is None else read_template(template),
        instructions=None if instructions is None else read_instructions(instructions),
    )


def _built_in_tasks() -> dict[str, tuple[str, Loader]]:
    """Returns the built-in tasks, each with one sentence and its loader. Imports their modules, which most commands do not need."""
    from . import bbq, bigbench, bios, counterfact, fever, glue, hotpotqa, truthfulqa

    modules = (bbq, glue, counterfact, hotpotqa, fever, bios, truthfulqa, bigbench)
    return {name: task for module in modules for name, task in module.TASKS.items()}


def _loader(name: str) -> Loader:
    """Returns the loader of a built-in task. Raises UnknownName."""
    from .bbq import CATEGORIES, published_category

    key = name.strip().lower()
    family, _, member = key.partition("/")
    if family == "bbq" and member:
        try:
            category = published_category(member)
        except UnknownName as error:
            raise _unknown(name) from error
        key = next(f"bbq/{short}" for short, published in CATEGORIES.items() if published == category)
    tasks = _built_in_tasks()
    if key not in tasks:
        raise _unknown(name)
    return tasks[key][1]


def _unknown(name: str) -> UnknownName:
    hint = "`resect list tasks` says what each is; a task of your own is the path of a .toml file."
    if Path(name).exists():
        hint = f"{name} is there, but a task file ends in .toml. {hint}"
    return UnknownName("task", name, list_tasks(), hint)
