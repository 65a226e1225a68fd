"""One example: its fields, its choices and the right answer. Knows no template, no task and no file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resect.core.errors import BadTask, UnknownName

from .splits import SHARES, SplitName


@dataclass(frozen=True)
class Example:
    """One question with its right answer.

    Parameters
    ----------
    fields : the values that a template can show, by name
    choices : the answers to choose from; empty where the answer is free text
    gold : index into `choices` (the text of a choice becomes its index), or the text where there are no choices
    id : unique in its task; None: its position
    group : examples that share a story or a template share a group, and are always in one split; None: its own group
    tags : labels for scores by tag ("ambig")
    split : "locate", "select" or "test" where the data defines it; None: the hash of the group decides

    Raises BadTask where there is neither a choice nor a gold text, a choice is empty, gold is not one of the choices,
    or the gold choice occurs twice: no score could distinguish the two.
    """

    fields: Mapping[str, Any] = field(hash=False)
    choices: Sequence[str]
    gold: int | str
    id: str | None = None
    group: str | None = None
    tags: Sequence[str] = ()
    split: SplitName | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.fields, Mapping) or not all(isinstance(name, str) for name in self.fields):
            raise BadTask(f"An example's fields are a mapping of names to values, not {self.fields!r}.")
        if isinstance(self.choices, str):
            raise BadTask(f"choices is a list of texts, not the one text {self.choices!r}.")
        object.__setattr__(self, "fields", dict(self.fields))
        object.__setattr__(self, "choices", tuple(self.choices))
        object.__setattr__(self, "tags", _tags(self.tags))
        object.__setattr__(self, "gold", _gold(self.gold, self.choices))
        for name in ("id", "group"):
            object.__setattr__(self, name, _name(name, getattr(self, name)))
        if self.split is not None and self.split not in SHARES:
            raise UnknownName("split", str(self.split), SHARES)

    @property
    def gold_text(self) -> str:
        """The right answer as text."""
        return self.gold if isinstance(self.gold, str) else self.choices[self.gold]


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    names = (tags,) if isinstance(tags, str) else tuple(tags)
    if not all(isinstance(tag, str) and tag.strip() for tag in names):
        raise BadTask(f"Tags are texts that are not empty, not {names!r}.")
    return tuple(dict.fromkeys(names))


def _gold(gold: Any, choices: Sequence[str]) -> int | str:
    for position, choice in enumerate(choices):
        if not isinstance(choice, str) or not choice.strip():
            raise BadTask(f"Choice {position} is {choice!r}; a choice is a text that is not empty.")
    if isinstance(gold, str):
        if not choices and gold.strip():
            return gold
        if gold in choices:
            return _gold(choices.index(gold), choices)
        allowed = f"one of the choices {', '.join(map(repr, choices))}" if choices else "a text that is not empty"
        raise BadTask(f"The gold answer is {gold!r}; it must be {allowed}.")
    if isinstance(gold, bool) or not isinstance(gold, int | np.integer):
        raise BadTask(f"The gold answer is {gold!r}; it must be an index into the choices, or a text.")
    index = int(gold)
    if not choices:
        raise BadTask(f"There are no choices, so the gold answer must be its text, not the index {index}.")
    if not 0 <= index < len(choices):
        raise BadTask(f"The gold answer is the choice {index}; there are 0 to {len(choices) - 1}.")
    if choices.count(choices[index]) > 1:
        raise BadTask(f"The gold choice {choices[index]!r} occurs twice; no score could distinguish the two.")
    return index


def _name(what: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    raise BadTask(f"An example's {what} is a text or an integer, not {value!r}.")
