"""Tasks by name: the built-in ones and a user's own task files. Knows whose a name is, not how that loader reads."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from resect.core.errors import UnknownName

from .base import Example, Task
from .wording import read_instructions, read_template

__all__ = ["Example", "Task", "list_tasks", "load_task"]

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
#: From data (None: the Hub) and a way to group (None: the task's own) to the task.
Loader = Callable[[Paths | None, str | None], Task]


def list_tasks() -> dict[str, str]:
    """The built-in tasks, each with one sentence."""
    return {name: says for name, (says, _) in _built_in_tasks().items()}


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
    split_by : what a group is: for `bbq` "story" or "template"; for `glue/…` "text" or "example"; for `counterfact` "fact" or "subject";
        for `fever` "page" or "claim"; for `epistemic` "story" or "example"; for a task file the name of a field

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


def _built_in_tasks() -> dict[str, tuple[str, Loader]]:
    """What each built-in task is, and its loader. The modules are read here, not before: most commands need none of them."""
    from . import bbq, bios, counterfact, glue, open_questions, statements

    return {
        "bbq": ("BBQ, bias in question answering (Parrish et al. 2022): all categories found in the data.", partial(bbq.load_bbq, None)),
        **{f"bbq/{short}": (f"BBQ, the category {name}.", partial(bbq.load_bbq, name)) for short, name in bbq.CATEGORIES.items()},
        **{f"glue/{name}": (member.says, partial(glue.load_glue, name)) for name, member in glue.MEMBERS.items()},
        "counterfact": (counterfact.SAYS, counterfact.load_counterfact),
        "hotpotqa": (open_questions.HOTPOTQA_SAYS, open_questions.load_hotpotqa),
        "fever": (statements.FEVER_SAYS, statements.load_fever),
        **{f"bios/{name}": (member.says, partial(bios.load_bios, name)) for name, member in bios.MEMBERS.items()},
        "truthfulqa": (statements.TRUTHFULQA_SAYS, statements.load_truthfulqa),
        "epistemic": (statements.EPISTEMIC_SAYS, statements.load_epistemic),
        "wikidata": (open_questions.WIKIDATA_SAYS, open_questions.load_wikidata),
    }


def _built_in(name: str) -> Loader:
    """The loader of a built-in task. Raises UnknownName."""
    from .bbq import CATEGORIES, published_category

    wanted = name.strip().lower()
    family, _, member = wanted.partition("/")
    if family == "bbq" and member:
        try:
            category = published_category(member)
        except UnknownName as error:
            raise _unknown(name, f"bbq/{error.suggestion}" if error.suggestion else name) from error
        wanted = next(f"bbq/{short}" for short, published in CATEGORIES.items() if published == category)
    known = _built_in_tasks()
    if wanted not in known:
        raise _unknown(name, name)
    return known[wanted][1]


def _unknown(name: str, near: str) -> UnknownName:
    hint = "`resect list tasks` says what each is; a task of your own is the path of a .toml file."
    if Path(name).exists():
        hint = f"{name} is there, but a task file ends in .toml. {hint}"
    return UnknownName("task", name, list_tasks(), hint)
