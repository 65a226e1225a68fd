"""Task: examples, prompt template and instructions, the three splits, and how answers are scored. Knows no model, no file, no benchmark."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from resect.core.errors import BadTask, EmptySplit, UnknownName

from .example import Example
from .splits import SHARES, SplitName, hash_of, quotas, split_of_group
from .templates import RESERVED, check_template, names_in, render, render_marked

__all__ = ["ANSWER_TOKENS", "MATCHINGS", "METRICS", "BiasScores", "Example", "Matching", "Task", "split_of"]

#: Bias scores of predictions: (Examples, predicted choice [examples] or [examples, instructions]) -> JSON object.
BiasScores = Callable[[Sequence[Any], Any], dict[str, Any]]
#: When a generated text is right: it equals the gold choice (stripped, without case and full stop), or it contains the gold text
#: (lower-cased, stripped).
Matching = Literal["choice", "contains"]
#: The metrics that a task can be reported by; `resect.evaluation.metrics` defines them.
METRICS = ("accuracy", "generation", "logloss", "top1", "top5", "top10")
MATCHINGS: tuple[Matching, ...] = ("choice", "contains")
#: Tokens that are generated for an answer, unless a task says otherwise (the CRISPR authors' code).
ANSWER_TOKENS = 16
#: Families of masked models, for `Task.answer_tokens_by`: they fill only a few masks at once.
MASKED_FAMILIES = ("bert", "roberta", "modernbert")


@dataclass(frozen=True)
class Task:
    """Examples, and the template and instructions from which their prompts are rendered.

    Parameters
    ----------
    name : for reports and file names
    examples : at least one; ids and groups that are None are filled in
    instructions : at least one; paraphrases of each other
    template : Jinja2 with the example's fields, `instruction`, `choices`, `answer` (these override fields of that name)
    description : one sentence
    bias_scores : a benchmark's own scores, computed from predictions
    official_template : the template of a paper's authors, used by `variant="official"`
    judged : the fields with the content of a question, which calibration replaces by content-free text; None: the text fields that the
        template shows, except those that repeat a choice
    metric : the metric that the task is reported by, one of METRICS
    answer_tokens : the number of tokens that are generated for an answer, 1 or more
    answer_tokens_by : other numbers, by family of the model ("llama")
    matching : when a generated text is right

    Raises UnknownName for a metric or a matching that does not exist; BadTask for no examples or instructions, a repeated id, a group
    in two splits, less than one token, and a template that is not valid or cannot be rendered for the first example.
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
        object.__setattr__(self, "examples", _with_names(self.name, self.examples))
        object.__setattr__(self, "instructions", _instructions(self.name, self.instructions))
        object.__setattr__(self, "answer_tokens_by", dict(self.answer_tokens_by))
        _check_splits(self.examples)
        _check_answers(self)
        check_template(self.template)
        self.prompt(self.examples[0], self.instructions[0])
        for name in self.judged or ():
            if not all(isinstance(example.fields.get(name), str) for example in self.examples):
                raise BadTask(
                    f"The task {self.name!r} names the field {name!r} as judged, but not every example has a text field of that name."
                )

    def __repr__(self) -> str:
        return f"Task({self.name!r}, {len(self.examples)} examples, {len(self.instructions)} instructions)"

    def prompt(self, example: Example, instruction: str, answer: str = "", spellings: re.Pattern[str] | None = None) -> str:
        """Returns the prompt; `answer` is what `{{ answer }}` renders as (masked models: the mask token).

        `spellings`: of special tokens; a prompt that has any is a `MarkedText`, in which those of fields and choices are data.
        Raises BadTask where the template uses a field that the example lacks.
        """
        values = {**example.fields, "instruction": instruction, "choices": list(example.choices), "answer": answer}
        prompt = render(self.template, values, example.id or "")
        if spellings is None or not spellings.search(prompt):
            return prompt
        return render_marked(self.template, values, {*example.fields, "choices"} - {"instruction", "answer"}, spellings, example.id or "")

    def tokens_for(self, family: str) -> int:
        """Returns how many tokens a model of this family (`model.anatomy.family`) generates for an answer."""
        return self.answer_tokens_by.get(family, self.answer_tokens)

    @property
    def is_in_authors_split(self) -> bool:
        """Whether the task is in its authors' wording, with a split for each example, as `variant="official"` prepares it."""
        return self.template == self.official_template and all(example.split is not None for example in self.examples)

    @property
    def judged_fields(self) -> tuple[str, ...]:
        """The fields with the content of a question: those that were named, or those that follow from the template."""
        if self.judged is not None:
            return tuple(self.judged)
        return tuple(name for name in self.shown_fields if all(_is_judged(example, name) for example in self.examples))

    @property
    def shown_fields(self) -> tuple[str, ...]:
        """The fields that the template shows, sorted."""
        return tuple(sorted(names_in(self.template) - {*RESERVED}))

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags of all examples, sorted."""
        return tuple(sorted({tag for example in self.examples for tag in example.tags}))

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups, in the order of their first example."""
        return tuple(dict.fromkeys(example.group or "" for example in self.examples))

    def split(self, name: SplitName | str) -> tuple[Example, ...]:
        """Returns the examples of "locate", "select" or "test" (10, 20, 70 % of the groups), in the task's order.

        A group's split follows from a hash with a constant salt: it is the same whatever the seed, the task's name and the other examples.
        Raises UnknownName, and EmptySplit where no group is in it.
        """
        if name not in SHARES:
            raise UnknownName("split", name, SHARES)
        examples = tuple(example for example in self.examples if split_of(example) == name)
        if not examples:
            raise EmptySplit(
                f"No example of the task {self.name!r} is in the split {name!r}: its {len(self.groups)} groups are all "
                f"in others ({name} gets {SHARES[name]:.0%} of them, by a hash). Give more data or finer groups, "
                'or set the split of each example (`split = "field"` in a task file).'
            )
        return examples

    def with_tags(self, tags: Iterable[str]) -> "Task":
        """Returns the task of those examples that carry all of `tags`.

        Raises UnknownName for a tag that no example has, BadTask where no example carries them all.
        """
        required = tuple(tags)
        for tag in required:
            if tag not in self.tags:
                raise UnknownName("tag", tag, self.tags, f"(in the task {self.name!r})")
        kept = tuple(example for example in self.examples if set(required) <= set(example.tags))
        if not kept:
            raise BadTask(f"No example of the task {self.name!r} carries all of the tags {', '.join(required)}.")
        return replace(self, examples=kept)

    def with_wording(self, template: str | None = None, instructions: Sequence[str] | None = None) -> "Task":
        """Returns the task with another template or other instructions; None keeps its own."""
        return replace(
            self,
            template=self.template if template is None else template,
            instructions=self.instructions if instructions is None else tuple(instructions),
        )

    def limited(self, n: int) -> "Task":
        """Returns the task with min(n, all) of its examples, in the task's order, each in the split that it had before.

        Splits keep their shares as far as they have examples (and at least one each, from n = 3 on). Within a split, groups are
        taken in the order of their hash, the same in every run; only the last one may lose examples.

        Raises BadTask for n < 1.
        """
        if n < 1:
            raise BadTask(f"A task can be limited to 1 example or more, not to {n}.")
        by_split: dict[str, list[Example]] = {name: [] for name in SHARES}
        for example in sorted(self.examples, key=lambda example: hash_of(example.group or "")):
            by_split[split_of(example)].append(example)
        quota = quotas(min(n, len(self.examples)), {name: len(examples) for name, examples in by_split.items()})
        kept = {example.id for name, examples in by_split.items() for example in examples[: quota[name]]}
        return replace(self, examples=tuple(example for example in self.examples if example.id in kept))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of examples, instructions and template; not of the name, the description and how answers are scored."""
        content = [self.template, self.instructions, [_content(example) for example in self.examples]]
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def split_of(example: Example) -> SplitName:
    """Returns the split of an example of a task: its own, or that of its group."""
    if example.split is not None:
        return example.split
    return split_of_group(example.group or "")


def _content(example: Example) -> list[Any]:
    return [example.id, example.group, example.fields, example.choices, example.gold, example.tags, example.split]


def _is_judged(example: Example, name: str) -> bool:
    value = example.fields.get(name)
    return isinstance(value, str) and value not in example.choices


def _with_names(task: str, examples: Iterable[Example]) -> tuple[Example, ...]:
    named: dict[str, Example] = {}
    for position, example in enumerate(examples):
        name = str(position) if example.id is None else example.id
        if name in named:
            raise BadTask(f"Two examples of the task {task!r} have the id {name!r}; ids are unique (None: its position).")
        # Prefixed, so that an example's own group never equals a group that another example names.
        group = f"example:{name}" if example.group is None else example.group
        is_named = (name, group) == (example.id, example.group)
        named[name] = example if is_named else replace(example, id=name, group=group)
    if not named:
        raise BadTask(f"The task {task!r} has no examples.")
    return tuple(named.values())


def _instructions(task: str, instructions: Iterable[str]) -> tuple[str, ...]:
    if isinstance(instructions, str):
        raise BadTask(f"instructions is a list of texts, not the one text {instructions!r}.")
    texts = tuple(instructions)
    if not texts:
        raise BadTask(f'The task {task!r} has no instructions; one is enough, and [""] is none.')
    if not all(isinstance(instruction, str) for instruction in texts) or len(set(texts)) < len(texts):
        raise BadTask(f"The instructions of the task {task!r} must be texts, each once: {texts!r}.")
    return texts


def _check_answers(task: Task) -> None:
    if task.metric not in METRICS:
        raise UnknownName("metric", str(task.metric), METRICS)
    if task.matching not in MATCHINGS:
        raise UnknownName("matching", str(task.matching), MATCHINGS)
    for tokens in (task.answer_tokens, *task.answer_tokens_by.values()):
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
            raise BadTask(f"The task {task.name!r} generates {tokens!r} tokens for an answer; a whole number of 1 or more is needed.")


def _check_splits(examples: Iterable[Example]) -> None:
    splits: dict[str, SplitName | None] = {}
    for example in examples:
        group = example.group or ""
        if splits.setdefault(group, example.split) != example.split:
            raise BadTask(
                f"The group {group!r} is in two splits ({splits[group] or 'by hash'}, {example.split or 'by hash'}): "
                "what a method finds on one example would be tested on a near copy of it. Give a group one split."
            )
