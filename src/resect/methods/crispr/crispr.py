"""CRISPR: find the neurons through which a model prefers a biased answer, and cut them.

Source: Yang, Kang, Choi, Lee, Jung 2024, "Mitigating Biases for Instruction-following Language Models via Bias Neurons Elimination"
(arXiv:2311.09627, US 2025/0259059 A1). `variant="paper"` is computed as the paper writes it, `variant="official"` as its authors' code
(yny0506/BiasNeuron at 27f93d1) does it: the two are told apart in `PRESETS` and in `bias_scores`. Knows no other method, no file and
no terminal.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from resect.core.address import Neurons, Site, select
from resect.core.errors import BadTask, InputError
from resect.core.execution import Workers, journal_key
from resect.core.scores import Scores
from resect.data.tasks.task import Example, Task
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions
from resect.methods.base import Found
from resect.models.language_model import LanguageModel
from resect.search.size_search import CHOICES, SCALES, SizeChoice, Trial, best, choose_size, most_asks

from .authors_split import is_official, official_draw, official_task
from .bias_scores import BiasScoreRule, LocateWork

#: What a variant sets, where a field is left None.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {
        "gradient": "probability",
        "pooling": "joint",
        "skill_batch": 0,
        "metric": "accuracy",
        "authors_task": False,
        "largest": None,
        "scale": "log",
    },
    "official": {
        "gradient": "log-probability",
        "pooling": "apart",
        "skill_batch": 4,
        "metric": "generation",
        "authors_task": True,
        "largest": 500,
        "scale": "linear",
    },
}
#: Share of all neurons that may be cut by default (the patent's claim), and the least number that is tried: small models have few.
MAX_FRACTION, LEAST_LIMIT = 0.001, 50
_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "tokens": ("max", "mean"),
    "gradient": ("probability", "log-probability"),
    "pooling": ("joint", "apart"),
    "metric": ("accuracy", "generation"),
    "choose": CHOICES,
    "scale": SCALES,
}


@dataclass(frozen=True)
class Crispr:
    """The settings of CRISPR.

    Parameters
    ----------
    samples : examples that find the neurons, drawn with `seed` from the *locate* split; all of them where there are fewer
    variant : "paper" or "official"; fills in every setting that is None
    tokens : "max" or "mean" over an example's tokens
    confusion_weight : weigh an example by P(ŷ), the probability of its most probable wrong choice
    skill : λ, how much of the attribution to the golden choice is taken off; 0 leaves the term out
    locate_on : look only at examples that carry every one of these tags
    sites : globs of matrices to look at
    seed : of the draw of examples
    n, fraction : cut so many neurons, or this share of all; with one of them nothing is searched
    choose : "golden", "grid" or "first-drop": how n is found on the *select* split
    max_fraction : the largest share of all neurons that is tried; None: 0.001, but at least 50 neurons
    gradient : of P ("probability") or of log P ("log-probability")
    pooling : the maximum over tokens of B ("joint"), or of A(ŷ) and A(y) each for itself ("apart")
    skill_batch : 0: the skill term is clamped token by token (joint) or example by example (apart); k: after it was summed over k
        examples of one instruction, in the order of the data
    metric : "accuracy" (most probable choice) or "generation": by which n is chosen
    authors_task : the authors' prompt and split, for built-in tasks; their dev split both finds neurons and chooses n
    largest : the largest n that is tried; None: by `max_fraction`
    scale : of golden section: "log", which does not step over a peak among few neurons, or "linear"
    draws : examples are drawn so many times (seed, seed + 1, …) and the scores averaged into one ranking

    Raises InputError for a setting that does not exist.
    Differs from the source in: `locate_on`, the floor of 50 neurons, and disjoint splits are ours ("paper"); nothing that is
        known of ("official").
    """

    samples: int = 20
    variant: Literal["paper", "official"] = "paper"
    tokens: Literal["max", "mean"] = "max"
    confusion_weight: bool = True
    skill: float = 1.0
    locate_on: str | tuple[str, ...] = ()
    sites: str | tuple[str, ...] = "*"
    seed: int = 0
    n: int | None = None
    fraction: float | None = None
    choose: SizeChoice = "golden"
    max_fraction: float | None = None
    gradient: Literal["probability", "log-probability"] | None = None
    pooling: Literal["joint", "apart"] | None = None
    skill_batch: int | None = None
    metric: Literal["accuracy", "generation"] | None = None
    authors_task: bool | None = None
    largest: int | None = None
    scale: Literal["log", "linear"] | None = None
    draws: int = 1

    def __post_init__(self) -> None:
        if self.variant not in PRESETS:
            raise InputError(f"The variant of CRISPR is one of {', '.join(PRESETS)}, not {self.variant!r}.")
        for name, value in PRESETS[self.variant].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is one of {', '.join(map(repr, allowed))}, not {getattr(self, name)!r}.")
        if min(self.samples, self.draws) < 1 or self.skill < 0 or (self.n is not None and self.n < 0):
            raise InputError("samples and draws are 1 or more, skill and n are 0 or more.")
        if self.n is not None and self.fraction is not None:
            raise InputError("n and fraction both say how many neurons are cut; give one of them.")
        for name in ("fraction", "max_fraction"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a share from 0 to 1, not {getattr(self, name)}.")
        if self.skill_batch and self.pooling == "joint":
            raise InputError('skill_batch sums pooled skill terms, so it needs pooling="apart".')

    def asked(self, task: Task) -> Task:
        """The task as this variant asks it: as it is, or with the authors' prompt and split where it is built in."""
        return official_task(task) if self.authors_task else task

    def draw(self, task: Task, seed: int | None = None) -> tuple[Example, ...]:
        """The examples that find the neurons, in the task's order; all that there are where they are fewer than `samples`.

        Raises EmptySplit, UnknownName for a tag, BadTask where no example of the split carries the tags.
        """
        found, seed = self._pool(task), self.seed if seed is None else seed
        if len(found) <= self.samples:
            return found
        if self.authors_task and is_official(task):
            return official_draw(found, self.samples, seed)
        chosen = np.random.default_rng([seed, 0xC]).choice(len(found), self.samples, replace=False)
        return tuple(found[place] for place in sorted(chosen.tolist()))

    def _pool(self, task: Task) -> tuple[Example, ...]:
        """What examples are drawn from: the *locate* split, or the authors' dev split."""
        split = "select" if self.authors_task and is_official(task) else "locate"
        found = self.asked(task).split(split)
        if self.locate_on:
            tagged = {example.id for example in self.asked(task).tagged(self._tags).examples}
            found = tuple(example for example in found if example.id in tagged)
            if not found:
                raise BadTask(f"No example of the {split} split carries all of the tags {', '.join(self._tags)}.")
        return found

    def check(self, model: LanguageModel, task: Task) -> None:
        """Look at the settings beside the model and the task, before any work. Raises what `search` would, and InputError."""
        self.draw(task)
        there = sum(model.anatomy.width(site) for site in self.sites_of(model))
        size = self._given_size(model)
        if size is None:
            self.asked(task).split("select")
        elif size > there:
            raise InputError(f"{size} neurons cannot be cut: at these sites there are 0 to {there}. Give a smaller --n, or more --sites.")

    def locate(
        self,
        model: LanguageModel,
        task: Task,
        examples: Sequence[Example] | None = None,
        *,
        workers: Workers | None = None,
    ) -> Scores:
        """The bias score of every neuron of `sites`: float32 [units] a site, high = the biased answer runs through it.

        `examples`: those given, else drawn as `draw` says. One work item an instruction.
        Raises BadAddress, BadTask, EmptySplit, NotFinite, OutOfMemory, PromptTooLong.
        """
        drawn = [self.draw(task, self.seed + draw) for draw in range(self.draws)] if examples is None else [tuple(examples)]
        sites = self.sites_of(model)
        asked = [Questions(model, self.asked(task), chosen) for chosen in drawn]
        items = [(questions, place) for questions in asked for place in range(len(task.instructions))]
        entries = (workers or Workers()).map(
            LocateWork(model, sites, self._rule),
            ((questions.scoring(place), questions.gold) for questions, place in items),
            [journal_key("locate", str(self._rule), "+".join(map(str, sites)), questions.digest, place) for questions, place in items],
            stage="looking for bias neurons",
        )
        sums = {site: np.zeros(model.anatomy.width(site)) for site in sites}
        for entry in entries:
            for site, total in sums.items():
                total += np.asarray(entry[str(site)], dtype=np.float64)
        provenance = {
            "method": "crispr",
            "settings": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()},
            "task": task.name,
            "examples": [[example.id for example in chosen] for chosen in drawn],
        }
        meaning = "high: the model's preference for a wrong answer runs through this neuron"
        return Scores({site: total / len(items) for site, total in sums.items()}, "neuron", meaning, provenance)

    def search(
        self,
        model: LanguageModel,
        task: Task,
        workers: Workers | None = None,
        *,
        scores: Scores | None = None,
    ) -> Found:
        """Locate (or take `scores`), then choose how many neurons to cut by the accuracy on the *select* split.

        The plan is empty where no cut is better than none. Never sees the *test* split. Raises what `locate` raises.
        """
        workers = workers or Workers()
        notes = self._notes(task) if scores is None else ()
        scores = scores or self.locate(model, task, workers=workers)
        size = self._given_size(model)
        if size is not None:
            return Found(cut(scores.top(size)).for_model(model), scores, (), notes)
        task = self.asked(task)
        questions = Questions(model, task, task.split("select"), self.metric or "accuracy")
        ranking, limit = scores, min(self.limit(model), scores.count)
        trials = choose_size(
            lambda n: questions.answers(cut(ranking.top(n)), workers=workers.silent()).mean,
            limit,
            self.choose,
            scale=self.scale or "log",
            name=journal_key("choose", questions.digest, cut(ranking.top(limit)).digest),
            workers=workers,
        )
        # The authors compare percentages of two decimals, and the first of equals stays.
        chosen = best(trials, digits=4, ties="earlier") if self.variant == "official" else best(trials)
        pairs = len(questions.examples) * len(task.instructions)
        lines = tuple(_line(trial, pairs) for trial in trials)
        return Found(cut(scores.top(chosen.size)).for_model(model), scores, lines, notes)

    def limit(self, model: LanguageModel) -> int:
        """The largest number of neurons that is tried."""
        total = model.anatomy.neurons
        there = sum(model.anatomy.width(site) for site in self.sites_of(model))
        if self.max_fraction is not None:
            return min(there, _share(self.max_fraction, total))
        largest = self.largest if self.largest is not None else max(LEAST_LIMIT, _share(MAX_FRACTION, total))
        return min(there, largest)

    def sites_of(self, model: LanguageModel) -> tuple[Site, ...]:
        """The matrices that are looked at. Raises BadAddress for a glob that matches none."""
        return select(self.sites, model.anatomy.sites)

    def asks(self, model: LanguageModel) -> int:
        """About how many cuts the search asks about."""
        if self._given_size(model) is not None:
            return 0
        return most_asks(self.choose, self.limit(model))

    @property
    def _tags(self) -> tuple[str, ...]:
        return (self.locate_on,) if isinstance(self.locate_on, str) else self.locate_on

    @property
    def _rule(self) -> BiasScoreRule:
        return BiasScoreRule(**{field.name: getattr(self, field.name) for field in fields(BiasScoreRule)})

    def _given_size(self, model: LanguageModel) -> int | None:
        """The number of neurons where it is not searched."""
        return self.n if self.fraction is None else _share(self.fraction, model.anatomy.neurons)

    def _notes(self, task: Task) -> tuple[str, ...]:
        found = len(self._pool(task))
        if found >= self.samples:
            return ()
        return (f"Only {found} examples were there to find neurons with; all were taken ({self.samples} were asked for).",)


def cut(neurons: Neurons) -> Plan:
    """The plan that removes neurons: their rows of the weight matrices and their bias entries become 0."""
    return Plan((Scale(neurons, 0.0),)) if neurons else Plan()


def _share(fraction: float, total: int) -> int:
    """Floor of fraction · total for the decimal number that was written: 0.29 · 100 is 29, in floats 28.99…."""
    return math.floor(Fraction(repr(float(fraction))) * int(total))


def _line(trial: Trial, examples: int) -> dict[str, Any]:
    """A candidate as a line of trials.jsonl; `examples` counts pairs of example and instruction."""
    return {"size": trial.size, "score": trial.score, "examples": examples, "complete": True, "seconds": trial.seconds}
