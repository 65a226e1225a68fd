"""The protocol of a method: from settings, a model and what it reads to plans.

    Method(settings).check(model, inputs)              everything that can be refused, before any work
    Method(settings).search(model, inputs, workers)    -> Found

Register a method by an entry point of the group `resect.methods`; the command, its flags, the recipe, the whole job and the report follow
from its settings and from what it returns. A method opens no run folder, prints nothing, and never sees what its plans are reported on.
Knows no method.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any, Protocol, TypeAlias

from resect.core.execution import Workers
from resect.core.exhibits import Exhibit
from resect.core.scores import Scores
from resect.data.corpus_text import CorpusText
from resect.data.tasks.example import Example
from resect.data.tasks.task import Task
from resect.data.texts import packaged_texts
from resect.edits.plan import Plan
from resect.evaluation.guards import Guards
from resect.evaluation.questions import Questions
from resect.evaluation.text_passages import Passages
from resect.methods.analyses.analysis import Analyses
from resect.methods.analyses.catalogue import GENERAL
from resect.methods.analyses.study import Study
from resect.models.language_model import LanguageModel
from resect.runs.guard_limits import GuardLimits
from resect.runs.job_settings import Reads
from resect.runs.methods import MethodSettings


@dataclass(frozen=True)
class TaskInputs:
    """A task, of which a search may use the splits *locate* and *select*, and plain text.

    Parameters
    ----------
    texts : plain text; none: that of this package
    guards : what no candidate may cost; None: the method's own default (`Method.default_guards`)
    others : further tasks that the method asked for (`Method.further_tasks`), by name
    """

    task: Task
    texts: tuple[str, ...] = field(default=(), repr=False)
    guards: GuardLimits | None = None
    others: Mapping[str, Task] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class TextInputs:
    """The passages of plain text that a search may use; the others are reported on. `guards`: what no step may cost."""

    passages: Passages
    guards: GuardLimits = field(default_factory=GuardLimits)


@dataclass(frozen=True)
class CorpusInputs:
    """Text of several languages.

    Parameters
    ----------
    languages : all of them, in the order in which they were named
    texts : by language the documents that may be used, those that are held out excluded; languages known otherwise may lack one
    parallel : the same sentences in each language; empty where there are none
    """

    languages: tuple[str, ...]
    texts: Mapping[str, CorpusText]
    parallel: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)


Inputs: TypeAlias = TaskInputs | TextInputs | CorpusInputs


class Savable(Protocol):
    """A value that writes itself into a file."""

    def save(self, path: Any) -> None:
        """Write the file, completely or not at all."""


@dataclass(frozen=True)
class Found:
    """The outcome of a search.

    Parameters
    ----------
    plans : by name; one method's single plan has the name "", those of languages the languages'. None of them: nothing is compared
    scores : what the method measured of each unit, if it did
    trials : one JSON object for each candidate, in the order of evaluation: the lines of trials.jsonl (`resect schema trials`), with
        "size", or "site" and "rho", and "score", "examples", "complete", "seconds"
    notes : sentences for people: what was used, what was not covered
    facts : what comparison.json reports of the search itself, under `other_metrics`
    composition : the steps of a composed plan, each with its value on *select*; step i is the plan's first i edits
    artifacts : further values to store, by file name
    analyses : JSON values of the method's own analyses, stored in analyses.json
    exhibits : tables, curves and heat maps to show
    digests : of what was read, by what it is: a run folder refuses other data under the same settings
    label : what found the plans, where that is not the method's name
    """

    plans: Mapping[str, Plan]
    scores: Scores | None = None
    trials: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    composition: tuple[dict[str, Any], ...] = ()
    artifacts: Mapping[str, Savable] = field(default_factory=dict)
    analyses: Mapping[str, Any] = field(default_factory=dict)
    exhibits: tuple[Exhibit, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None

    @classmethod
    def one(cls, plan: Plan, **others: Any) -> "Found":
        """A search that found one plan; an empty one where nothing helps."""
        return cls({"": plan}, **others)

    @property
    def plan(self) -> Plan:
        """The plan: the only one, or all together. It has the identity of its model, and is empty where nothing helped."""
        return reduce(add, self.plans.values(), Plan())


def seconds_of(work: Callable[[], object]) -> float:
    """How long work takes the second time; the first warms up."""
    work()
    start = time.monotonic()
    work()
    return time.monotonic() - start


@dataclass(frozen=True)
class Forecast:
    """What a search will do, in sentences, and about how many seconds it takes."""

    sentences: tuple[str, ...]
    seconds: float = 0.0


@dataclass(frozen=True)
class Method(MethodSettings, ABC):
    """A method, with defaults for all but `search`. Subclasses are frozen dataclasses whose fields are the settings.

    >>> from resect.runs.declarations import setting
    >>> @dataclass(frozen=True)
    ... class Largest(Method):
    ...     name, summary, source = "largest", "Cut the units of the largest weights.", "none"
    ...     n: int = setting(3, "How many units are cut.", least=0)
    ...     def search(self, model, inputs, workers=None):
    ...         return Found.one(Plan())
    >>> Largest(n=2).search(None, None).plan.is_empty
    True
    """

    # -- what a method must have ------------------------------------------------------------------------------------------

    @abstractmethod
    def search(self, model: LanguageModel, inputs: Any, workers: Workers | None = None) -> Found:
        """Find plans. `inputs`: as `reads` says. Raises whatever refuses or fails."""

    # -- what it may have -------------------------------------------------------------------------------------------------

    def check_inputs(self, inputs: Inputs) -> None:
        """Refuse what can be refused before a model is loaded. Raises InputError; by default for a task without a *select* split."""
        if isinstance(inputs, TaskInputs):
            inputs.task.split("select")

    def check(self, model: LanguageModel, inputs: Any) -> None:
        """Refuse everything else that can be refused, before any work. Raises InputError."""

    def nothing_to_find(self, model: LanguageModel, inputs: Any, workers: Workers) -> str | None:
        """Why a search would be in vain, and the way out, in sentences; None where it may find something. By default None.

        Asked once before the search, of the unedited model; what is asked is stored by `workers`, so that it takes seconds. Never uses the
        *test* split. Raises what answering raises.
        """
        return None

    def forecast(self, model: LanguageModel, inputs: Any, seconds_per_answer: float) -> Forecast:
        """What the search will do and how long it takes. `seconds_per_answer`: to answer one question of a task, once."""
        return Forecast((f"Search by {self.name}; how long that takes is not known beforehand.",))

    def extra_languages(self) -> tuple[str, ...]:
        """For methods that read corpora: languages that it knows without text, from counts recorded elsewhere for instance."""
        return ()

    def further_tasks(self, task: Task) -> tuple[str, ...]:
        """The names of other tasks that the search reads, which a job loads into `TaskInputs.others`. By default none."""
        return ()

    @property
    def default_guards(self) -> GuardLimits:
        """What no candidate of the search may cost where nothing is said."""
        return GuardLimits()

    def guards(self, questions: Questions, inputs: TaskInputs, workers: Workers) -> Guards:
        """The guards of a search among candidates that are scored on these questions. Raises UnknownName."""
        limits = self.default_guards if inputs.guards is None else inputs.guards
        return Guards(limits, questions, inputs.texts or packaged_texts(), workers, getattr(self, "seed", 0))

    def prepare_task(self, task: Task) -> Task:
        """The task as the method uses it, in other words or other splits; applied once or twice it gives the same. By default itself."""
        return task

    def metric_for(self, task: Task) -> str:
        """By which metric plans are compared on the task: the setting `metric` where the method has one, else the task's own."""
        return str(getattr(self, "metric", None) or task.metric)

    def questions(self, model: LanguageModel, task: Task, split: str) -> Questions:
        """The questions of a split of the task, as this method scores them. Raises BadTask, EmptySplit, UnknownName."""
        return Questions(model, task, task.split(split), self.metric_for(task))

    def examples_seen(self, task: Task) -> Sequence[Example]:
        """Examples that the search used, by which is checked whether a plan changes anything at all. By default the *select* split."""
        return task.split("select")

    @classmethod
    def analyses(cls) -> Analyses:
        """The analyses of a finished run by name, in the order in which they run; none for a run on corpora, which makes its own."""
        return {} if cls.reads is Reads.CORPORA else GENERAL

    def study(self, study: Study) -> Study:
        """What its analyses work on, with what they need to know of the search."""
        return study

    def repeated(self, changes: Mapping[str, Any]) -> "Method":
        """The method with the settings of one of its `repetitions`."""
        return replace(self, **changes)


def task_inputs(inputs: Task | TaskInputs) -> TaskInputs:
    """The inputs of a method that reads a task, from the task alone."""
    return inputs if isinstance(inputs, TaskInputs) else TaskInputs(inputs)
