"""CRISPR: find the neurons through which a model prefers a biased answer, and cut them.

Source: Yang, Kang, Choi, Lee, Jung 2024, "Mitigating Biases for Instruction-following Language Models via Bias Neurons Elimination"
(arXiv:2311.09627, US 2025/0259059 A1). `variant="paper"` is computed as the paper writes it, `variant="official"` as its authors' code
(yny0506/BiasNeuron at 27f93d1) does it: they differ in `PRESETS` (in `settings`) and in `bias_scores`. Knows no other method, no file and
no terminal.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any

import numpy as np

from resect.core.address import Neurons, Site, select
from resect.core.errors import BadTask, InputError
from resect.core.execution import Workers, journal_key
from resect.core.scores import Scores
from resect.data.tasks.example import Example
from resect.data.tasks.task import Task
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions
from resect.methods.base import Forecast, Found, Inputs, Method, TaskInputs, task_inputs
from resect.models.language_model import LanguageModel
from resect.search.size_search import Trial, best, choose_size, most_evaluations

from .authors_split import has_authors_task, official_draw, official_task
from .bias_scores import BiasScoreRule, LocateWork
from .settings import LEAST_LIMIT, MAX_FRACTION, CrisprSettings

#: What one example costs with its gradients, in passes of one example without: two rows, forward and backward, kept for all layers.
GRADIENT_COST = 8


@dataclass(frozen=True)
class Crispr(CrisprSettings, Method):
    """CRISPR with its settings.

    Parameters
    ----------
    samples : examples that find the neurons, drawn with `seed` from the *locate* split; all of them where there are fewer
    variant : "paper" or "official"; fills in every setting that is None
    tokens : "max" or "mean" over an example's tokens
    confusion_weight : weigh an example by P(ŷ), the probability of its most probable wrong choice
    skill : λ, how much of the attribution to the golden choice is subtracted; 0 leaves the term out
    locate_on : use only examples that carry every one of these tags
    sites : globs of the matrices whose neurons are scored; empty or "*": all
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
    trials : how often a job repeats the search with other samples; "official" averages the scores instead
    scale : of golden section: "log", which does not step over a peak among few neurons, or "linear"
    draws : examples are drawn so many times (seed, seed + 1, …) and the scores averaged into one ranking

    Raises InputError for a setting that does not exist.
    Differs from the source in: `locate_on`, the minimum of 50 neurons, and disjoint splits are ours ("paper"); nothing that is
        known of ("official").
    """

    def prepare_task(self, task: Task) -> Task:
        """The task as this variant uses it: as it is, or with the authors' prompt and split where it is built in."""
        return official_task(task) if self.authors_task else task

    def draw(self, task: Task, seed: int | None = None) -> tuple[Example, ...]:
        """The examples that find the neurons, in the task's order; all that exist where they are fewer than `samples`.

        Raises EmptySplit, UnknownName for a tag, BadTask where no example of the split carries the tags.
        """
        pool, seed = self._pool(task), self.seed if seed is None else seed
        if len(pool) <= self.samples:
            return pool
        if self.authors_task and has_authors_task(task):
            return official_draw(pool, self.samples, seed)
        chosen = np.random.default_rng([seed, 0xC]).choice(len(pool), self.samples, replace=False)
        return tuple(pool[place] for place in sorted(chosen.tolist()))

    def _pool(self, task: Task) -> tuple[Example, ...]:
        """What examples are drawn from: the *locate* split, or the authors' dev split."""
        task = self.prepare_task(task)
        split = "select" if self.authors_task and has_authors_task(task) else "locate"
        pool = task.split(split)
        if self.tags:
            tagged = {example.id for example in task.with_tags(self.tags).examples}
            pool = tuple(example for example in pool if example.id in tagged)
            if not pool:
                raise BadTask(f"No example of the {split} split carries all of the tags {', '.join(self.tags)}.")
        return pool

    def check_inputs(self, inputs: Inputs) -> None:
        """Refuse a task that lacks the splits. Raises EmptySplit, BadTask, UnknownName."""
        if isinstance(inputs, TaskInputs):
            self.draw(inputs.task)

    def check(self, model: LanguageModel, inputs: Task | TaskInputs) -> None:
        """Look at the settings, the model and the task before any work. Raises what `search` would, and InputError."""
        task = task_inputs(inputs).task
        self.draw(task)
        total = sum(model.anatomy.width(site) for site in self.sites_of(model))
        size = self._given_size(model)
        if size is None:
            self.prepare_task(task).split("select")
        elif size > total:
            raise InputError(f"{size} neurons cannot be cut: these sites have 0 to {total}. Give a smaller --n, or more --sites.")

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
        sites, prepared = self.sites_of(model), self.prepare_task(task)
        by_draw = [Questions(model, prepared, chosen) for chosen in drawn]
        items = [(questions, place) for questions in by_draw for place in range(len(task.instructions))]
        entries = (workers or Workers()).map(
            LocateWork(model, sites, self._rule),
            ((questions.scoring(place), questions.gold) for questions, place in items),
            [journal_key("locate", str(self._rule), "+".join(map(str, sites)), questions.digest, place) for questions, place in items],
            stage="locating bias neurons",
        )
        sums = {site: np.zeros(model.anatomy.width(site)) for site in sites}
        for entry in entries:
            for site, total in sums.items():
                total += np.asarray(entry[str(site)], dtype=np.float64)
        provenance = {
            "method": self.name,
            "settings": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()},
            "task": task.name,
            "examples": [[example.id for example in chosen] for chosen in drawn],
        }
        meaning = "high: the model's preference for a wrong answer runs through this neuron"
        return Scores({site: total / len(items) for site, total in sums.items()}, "neuron", meaning, provenance)

    def search(
        self, model: LanguageModel, inputs: Task | TaskInputs, workers: Workers | None = None, *, scores: Scores | None = None
    ) -> Found:
        """Locate (or use `scores`), then choose how many neurons to cut by the accuracy on the *select* split.

        The plan is empty where no cut is better than none. Never uses the *test* split. Raises what `locate` raises.
        """
        workers, task = workers or Workers(), task_inputs(inputs).task
        notes = self._notes(task) if scores is None else ()
        scores = scores or self.locate(model, task, workers=workers)
        size = self._given_size(model)
        if size is not None:
            return Found.one(cut(scores.top(size)).for_model(model), scores=scores, notes=notes)
        questions = self.questions(model, self.prepare_task(task), "select")
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
        return Found.one(cut(scores.top(chosen.size)).for_model(model), scores=scores, trials=lines, notes=notes)

    def forecast(self, model: LanguageModel, inputs: TaskInputs, seconds_per_answer: float) -> Forecast:
        """Gradients on the located examples, then some numbers of neurons on the select split."""
        located, sizes = len(self.draw(inputs.task)), self.sizes_tried(model)
        select = self.prepare_task(inputs.task).split("select") if sizes else ()
        sentence = f"Score the neurons of {len(self.sites_of(model))} sites on {located} examples"
        sentence += f"; then evaluate about {sizes} cuts on {len(select)} others." if sizes else "."
        answers = self.draws * located * GRADIENT_COST + sizes * len(select)
        return Forecast((sentence,), answers * seconds_per_answer)

    def limit(self, model: LanguageModel) -> int:
        """The largest number of neurons that is tried."""
        total = model.anatomy.neurons
        available = sum(model.anatomy.width(site) for site in self.sites_of(model))
        if self.max_fraction is not None:
            return min(available, _share(self.max_fraction, total))
        largest = self.largest if self.largest is not None else max(LEAST_LIMIT, _share(MAX_FRACTION, total))
        return min(available, largest)

    def sites_of(self, model: LanguageModel) -> tuple[Site, ...]:
        """The matrices whose neurons are scored. Raises BadAddress for a glob that matches none."""
        return select(self.site_globs, model.anatomy.sites)

    def sizes_tried(self, model: LanguageModel) -> int:
        """About how many numbers of neurons the search tries."""
        if self._given_size(model) is not None:
            return 0
        return most_evaluations(self.choose, self.limit(model))

    def examples_seen(self, task: Task) -> tuple[Example, ...]:
        """The examples that found the neurons."""
        return self.draw(task)

    @property
    def _rule(self) -> BiasScoreRule:
        return BiasScoreRule(**{field.name: getattr(self, field.name) for field in fields(BiasScoreRule)})

    def _given_size(self, model: LanguageModel) -> int | None:
        """The number of neurons where it is not searched."""
        return self.n if self.fraction is None else _share(self.fraction, model.anatomy.neurons)

    def _notes(self, task: Task) -> tuple[str, ...]:
        available = len(self._pool(task))
        if available >= self.samples:
            return ()
        return (f"Only {available} examples were available to locate neurons; all were used ({self.samples} were requested).",)


def cut(neurons: Neurons) -> Plan:
    """The plan that removes neurons: their rows of the weight matrices and their bias entries become 0."""
    return Plan((Scale(neurons, 0.0),)) if neurons else Plan()


def _share(fraction: float, total: int) -> int:
    """Floor of fraction · total for the decimal number that was written: 0.29 · 100 is 29, in floats 28.99…."""
    return math.floor(Fraction(repr(float(fraction))) * int(total))


def _line(trial: Trial, examples: int) -> dict[str, Any]:
    """A candidate as a line of trials.jsonl; `examples` counts pairs of example and instruction."""
    return {"size": trial.size, "score": trial.score, "examples": examples, "complete": True, "seconds": trial.seconds}
