"""What is asked: examples, the words they are asked in, the three splits, how answers are judged. Knows no model, no file, no benchmark."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from resect.core.errors import BadTask, EmptySplit, UnknownName

from .example import Example
from .splits import SHARES, SplitName, place_of, quotas, split_of_group
from .wording import RESERVED, check_template, render, shown

__all__ = ["ANSWER_TOKENS", "MATCHINGS", "METRICS", "BiasScores", "Example", "Matching", "Task", "split_of"]

#: Bias scores of predictions: (Examples, predicted choice [examples] or [examples, instructions]) -> JSON object.
BiasScores = Callable[[Sequence[Any], Any], dict[str, Any]]
#: When a generated text is right: it is the golden choice (stripped, without case and full stop), or it contains the golden text
#: (lower-cased, stripped).
Matching = Literal["choice", "contains"]
#: What a task can be reported by; what each of them is, `resect.evaluation.metrics` says.
METRICS = ("accuracy", "generation", "logloss", "top1", "top5", "top10")
MATCHINGS: tuple[Matching, ...] = ("choice", "contains")
#: Tokens that are generated for an answer, where a task does not say otherwise (the CRISPR authors' code).
ANSWER_TOKENS = 16


@dataclass(frozen=True)
class Task:
    """Examples, and the wordings in which each of them is asked.

    Parameters
    ----------
    name : for people and file names
    examples : at least one; ids and groups that are None are filled in
    instructions : at least one; they say the same in other words
    template : Jinja2 over the example's fields, `instruction`, `choices`, `answer` (these win over fields of that name)
    description : one sentence
    bias_scores : scores of a benchmark's own, from predictions
    official_template : the template of a paper's authors, where `variant="official"` asks for it
    judged : the fields that hold what is judged, which calibration replaces by text without content; None: the text fields that the
        template shows, save those that repeat a choice
    metric : what the task is reported by, one of METRICS
    answer_tokens : how many tokens are generated where answers are generated, 1 or more
    answer_tokens_by : other numbers, by the family of the model ("llama")
    matching : when a generated text is right

    Raises UnknownName for a metric or a matching that does not exist; BadTask for no examples or instructions, an id given twice, a
    group that stands in two splits, less than one token, and a template that is not valid or cannot be rendered for the first example.
    """

    name: str
    examples: Sequence[Example]
    instructions: Sequence[str]
    template: str
    description: str = ""
    bias_scores: BiasScores | None = field(default=None, compare=False)
    official_template: str | None = None
    judged: Sequence[str] | None = field(default=None, compare=False)
    metric: str = "accuracy"
    answer_tokens: int = ANSWER_TOKENS
    answer_tokens_by: Mapping[str, int] = field(default_factory=dict, hash=False)
    matching: Matching = "choice"

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", _named(self.name, self.examples))
        object.__setattr__(self, "instructions", _instructions(self.name, self.instructions))
        object.__setattr__(self, "answer_tokens_by", dict(self.answer_tokens_by))
        _check_splits(self.examples)
        _check_answers(self)
        check_template(self.template)
        self.prompt(self.examples[0], self.instructions[0])
        for name in self.judged or ():
            if not all(isinstance(example.fields.get(name), str) for example in self.examples):
                raise BadTask(f"The task {self.name!r} says that {name!r} is judged, but not every example has a text field of that name.")

    def __repr__(self) -> str:
        return f"Task({self.name!r}, {len(self.examples)} examples, {len(self.instructions)} instructions)"

    def prompt(self, example: Example, instruction: str, answer: str = "") -> str:
        """The text that a model is given; `answer` is what `{{ answer }}` renders as (masked models: the mask token).

        Raises BadTask where the template asks for a field that the example lacks.
        """
        values = {**example.fields, "instruction": instruction, "choices": list(example.choices), "answer": answer}
        return render(self.template, values, example.id or "")

    def tokens_for(self, family: str) -> int:
        """How many tokens a model of this family (`model.anatomy.family`) generates for an answer."""
        return self.answer_tokens_by.get(family, self.answer_tokens)

    @property
    def judged_fields(self) -> tuple[str, ...]:
        """The fields that hold what is judged: those that were named, or those that the template tells."""
        if self.judged is not None:
            return tuple(self.judged)
        return tuple(name for name in self.shown_fields if all(_is_judged(example, name) for example in self.examples))

    @property
    def shown_fields(self) -> tuple[str, ...]:
        """The fields that the template asks for, sorted."""
        return tuple(sorted(shown(self.template) - {*RESERVED}))

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags of all examples, sorted."""
        return tuple(sorted({tag for example in self.examples for tag in example.tags}))

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups, in the order of their first example."""
        return tuple(dict.fromkeys(example.group or "" for example in self.examples))

    def split(self, name: SplitName | str) -> tuple[Example, ...]:
        """The examples of "locate", "select" or "test" (10, 20, 70 % of the groups), in the task's order.

        A group's split is that of its hash with a constant salt: the same whatever the seed, the task's name and the
        other examples.
        Raises UnknownName, and EmptySplit where no group fell into it.
        """
        if name not in SHARES:
            raise UnknownName("split", name, SHARES)
        found = tuple(example for example in self.examples if split_of(example) == name)
        if not found:
            raise EmptySplit(
                f"No example of the task {self.name!r} is in the split {name!r}: its {len(self.groups)} groups all "
                f"fell elsewhere ({name} gets {SHARES[name]:.0%} of them, by a hash). Give more data or finer groups, "
                'or say the split of each example (`split = "field"` in a task file).'
            )
        return found

    def tagged(self, tags: Iterable[str]) -> "Task":
        """The task of those examples that carry every one of `tags`.

        Raises UnknownName for a tag that no example has, BadTask where no example carries them all.
        """
        wanted = tuple(tags)
        for tag in wanted:
            if tag not in self.tags:
                raise UnknownName("tag", tag, self.tags, f"(in the task {self.name!r})")
        kept = tuple(example for example in self.examples if set(wanted) <= set(example.tags))
        if not kept:
            raise BadTask(f"No example of the task {self.name!r} carries all of the tags {', '.join(wanted)}.")
        return replace(self, examples=kept)

    def with_wording(self, template: str | None = None, instructions: Sequence[str] | None = None) -> "Task":
        """The same examples in other words; None keeps what there is."""
        return replace(
            self,
            template=self.template if template is None else template,
            instructions=self.instructions if instructions is None else tuple(instructions),
        )

    def limited(self, n: int) -> "Task":
        """The task with min(n, all) of its examples, in the task's order, each in the split that it had before.

        Splits keep their shares as far as they have examples (and at least one each, from n = 3 on). Within a split
        whole groups are taken in the order of their hash, so the same ones in every run; only the last may be cut.

        Raises BadTask for n < 1.
        """
        if n < 1:
            raise BadTask(f"A task can be limited to 1 example or more, not to {n}.")
        by_split: dict[str, list[Example]] = {name: [] for name in SHARES}
        for example in sorted(self.examples, key=lambda example: place_of(example.group or "")):
            by_split[split_of(example)].append(example)
        quota = quotas(min(n, len(self.examples)), {name: len(found) for name, found in by_split.items()})
        kept = {example.id for name, found in by_split.items() for example in found[: quota[name]]}
        return replace(self, examples=tuple(example for example in self.examples if example.id in kept))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what is asked: examples, instructions, template. Not of the name, the description and how answers are judged."""
        content = [self.template, self.instructions, [_content(example) for example in self.examples]]
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def split_of(example: Example) -> SplitName:
    """The split of an example of a task: its own, or that of its group's hash."""
    if example.split is not None:
        return example.split
    return split_of_group(example.group or "")


def _content(example: Example) -> list[Any]:
    return [example.id, example.group, example.fields, example.choices, example.gold, example.tags, example.split]


def _is_judged(example: Example, name: str) -> bool:
    value = example.fields.get(name)
    return isinstance(value, str) and value not in example.choices


def _named(task: str, examples: Iterable[Example]) -> tuple[Example, ...]:
    named: dict[str, Example] = {}
    for position, example in enumerate(examples):
        name = str(position) if example.id is None else example.id
        if name in named:
            raise BadTask(f"Two examples of the task {task!r} have the id {name!r}; ids are unique (None: its position).")
        # Marked, so that an example's own group cannot be the group that another example names.
        group = f"example:{name}" if example.group is None else example.group
        known = (name, group) == (example.id, example.group)
        named[name] = example if known else replace(example, id=name, group=group)
    if not named:
        raise BadTask(f"The task {task!r} has no examples.")
    return tuple(named.values())


def _instructions(task: str, instructions: Iterable[str]) -> tuple[str, ...]:
    if isinstance(instructions, str):
        raise BadTask(f"instructions is a list of texts, not the one text {instructions!r}.")
    found = tuple(instructions)
    if not found:
        raise BadTask(f'The task {task!r} has no instructions; one is enough, [""] asks without.')
    if not all(isinstance(instruction, str) for instruction in found) or len(set(found)) < len(found):
        raise BadTask(f"The instructions of the task {task!r} must be texts, each once: {found!r}.")
    return found


def _check_answers(task: Task) -> None:
    if task.metric not in METRICS:
        raise UnknownName("metric", str(task.metric), METRICS)
    if task.matching not in MATCHINGS:
        raise UnknownName("matching", str(task.matching), MATCHINGS)
    for tokens in (task.answer_tokens, *task.answer_tokens_by.values()):
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
            raise BadTask(f"The task {task.name!r} generates {tokens!r} tokens for an answer; a whole number of 1 or more is wanted.")


def _check_splits(examples: Iterable[Example]) -> None:
    said: dict[str, SplitName | None] = {}
    for example in examples:
        group = example.group or ""
        if said.setdefault(group, example.split) != example.split:
            raise BadTask(
                f"The group {group!r} stands in two splits ({said[group] or 'by hash'}, {example.split or 'by hash'}): "
                "what is found on one example would be tested on its twin. Give a group one split."
            )
