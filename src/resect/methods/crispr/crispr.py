"""CRISPR: find the neurons through which a model prefers a biased answer, and cut them.

Source: Yang, Kang, Choi, Lee, Jung 2024, "Mitigating Biases for Instruction-following Language Models via Bias Neurons Elimination"
(arXiv:2311.09627, US 2025/0259059 A1). `variant="paper"` computes what the paper writes, `variant="official"` what its authors' code
(yny0506/BiasNeuron at 27f93d1) computes: they differ in `PRESETS` (in `settings`) and in `bias_scores`. Knows no other method, no file and
no terminal.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from resect.core.address import Neurons, Site, select
from resect.core.errors import BadTask, InputError
from resect.core.execution import Workers, journal_key
from resect.core.number_format import plural
from resect.core.scores import Scores
from resect.data.tasks.example import Example
from resect.data.tasks.task import Task
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.edits.svd import floor_of_share
from resect.evaluation.questions import Questions
from resect.methods.base import Forecast, Found, Inputs, Method, TaskInputs, task_inputs
from resect.models.language_model import LanguageModel
from resect.search.size_search import Trial, best, choose_size, most_evaluations

from .authors_split import has_authors_task, official_draw, official_task
from .bias_scores import BiasScoreRule, LocateWork
from .settings import LEAST_LIMIT, MAX_FRACTION, CrisprSettings

#: The fewest examples that locate neurons, where as many are requested.
LEAST_SAMPLES = 10
#: The cost of one example with gradients, in answered questions: two rows, forward and backward, with the activations of all layers.
GRADIENT_COST = 8


@dataclass(frozen=True)
class Crispr(CrisprSettings, Method):
    """CRISPR with its settings.

    Parameters
    ----------
    samples : number of examples that locate the neurons, drawn with `seed` from the *locate* split; all of them where there are fewer
    variant : "paper" or "official"; sets every setting that is None
    tokens : how a neuron's scores at the tokens of an example are combined: by their "max" or their "mean"
    confusion_weight : weight each example by P(ŷ), the probability of its most probable wrong choice
    skill : λ, how much of the attribution to the golden choice is subtracted, from 0 on; 0 leaves the term out
    locate_on : use only examples that have every one of these tags
    sites : globs of the matrices whose neurons are scored; empty or "*": all
    seed : of the draw of examples
    n, fraction : cut so many neurons, or this share of all in [0, 1]; with one of them nothing is searched
    choose : how n is chosen on the *select* split: "golden" (golden section), "grid" (every n) or "first-drop" (the first n after which the
        metric drops)
    max_fraction : the largest share of all neurons that is tried, in [0, 1]; None: 0.001, but at least 50 neurons
    gradient : of P ("probability") or of log P ("log-probability")
    pooling : combine tokens after the skill is subtracted ("joint": of B), or before, for ŷ and y separately ("apart": of A(ŷ) and A(y))
    skill_batch : 0: the skill term is clamped for each token ("joint") or example ("apart"); k: after it was summed over k examples of one
        instruction, in the order of the data
    metric : by which n is chosen and the edit compared: "accuracy" (the most probable choice) or "generation" (generated text)
    authors_task : the authors' prompt and split, for built-in tasks; their dev split both locates neurons and chooses n
    largest : the largest n that is tried; None: by `max_fraction`
    trials : how often a job repeats the search with other samples; "official" averages the scores of its draws instead
    scale : of golden section: "log", which does not skip a peak among few neurons, or "linear"
    draws : number of draws of examples (seed, seed + 1, …), whose scores are averaged into one ranking

    Raises InputError for impossible settings.
    Differs from the source in: "paper": `locate_on`, the minimum of 50 neurons, and disjoint splits are ours. "official": nothing known.
    """

    def prepare_task(self, task: Task) -> Task:
        """The task as this variant uses it: as it is, or with the authors' prompt and split where it is built in."""
        return official_task(task) if self.authors_task else task

    def draw(self, task: Task, seed: int | None = None) -> tuple[Example, ...]:
        """The examples that locate the neurons, in the task's order; all that exist where they are fewer than `samples`.

        Raises EmptySplit, UnknownName for a tag, BadTask where no example of the split carries the tags.
        """
        pool, seed = self._pool(task), self.seed if seed is None else seed
        if len(pool) <= self.samples:
            return pool
        if self.authors_task and has_authors_task(task):
            return official_draw(pool, self.samples, seed)
        chosen = np.random.default_rng([seed, 0xC]).choice(len(pool), self.samples, replace=False)
        return tuple(pool[index] for index in sorted(chosen.tolist()))

    def _pool(self, task: Task) -> tuple[Example, ...]:
        """The examples to draw from: those of the *locate* split, or of the authors' dev split, that have the tags. Raises BadTask."""
        task = self.prepare_task(task)
        split = "select" if self.authors_task and has_authors_task(task) else "locate"
        pool = task.split(split)
        if self.tags:
            tagged = {example.id for example in task.with_tags(self.tags).examples}
            pool = tuple(example for example in pool if example.id in tagged)
            if not pool:
                raise BadTask(f"No example of the {split} split has all of the tags {', '.join(self.tags)}.")
        return pool

    def check_inputs(self, inputs: Inputs) -> None:
        """Raises EmptySplit, BadTask, UnknownName for a task without examples to locate neurons on."""
        if isinstance(inputs, TaskInputs):
            self.draw(inputs.task)

    def check(self, model: LanguageModel, inputs: Task | TaskInputs) -> None:
        """Check settings, model and task before any work. Raises what `search` raises, and InputError for more neurons than there are."""
        task = task_inputs(inputs).task
        self.draw(task)
        total = sum(model.anatomy.width(site) for site in self.sites_of(model))
        size = self._given_size(model)
        if size is None:
            self.prepare_task(task).split("select")
        elif size > total:
            raise InputError(f"{size} neurons cannot be cut: these sites have 0 to {total}. Give a smaller --n, or more --sites.")

    def nothing_to_find(self, model: LanguageModel, inputs: Task | TaskInputs, workers: Workers) -> str | None:
        """Fewer than ten examples locate neurons (or fewer than `samples`), or the model answers each of them right in every wording."""
        task = self.prepare_task(task_inputs(inputs).task)
        available, needed = len(self._pool(task)), min(LEAST_SAMPLES, self.samples)
        tagged = f" with the tag {' and '.join(self.tags)}" if self.tags else ""
        if available < needed:
            return (
                f"Only {plural(available, 'examples')}{tagged} can locate neurons, and scores say nothing with fewer than {needed}. "
                "Give more items (more data, or a larger --limit), put more of them into *locate* by `split` in the task file"
                f"{', or take fewer tags (--locate-on)' if self.tags else ''}."
            )
        drawn = self.draw(task)
        for metric in dict.fromkeys(("accuracy", self.metric_for(task))):
            questions = Questions(model, task, drawn, metric)
            for instructions in (1, None):  # mostly the first one shows wrong answers
                if (questions.answers(Plan(), workers=workers, instructions=instructions).values < 1).any():
                    return None
        return (
            f"The unedited model answers all {plural(len(drawn), 'examples')}{tagged} right that are to locate neurons: there is no wrong "
            "answer to find the cause of. Look at more items (--samples, --limit), at a kind on which the model errs (--locate-on TAG), or "
            "put items on which it errs into *locate* by `split` in the task file."
        )

    def locate(
        self,
        model: LanguageModel,
        task: Task,
        examples: Sequence[Example] | None = None,
        *,
        workers: Workers | None = None,
    ) -> Scores:
        """The bias score of every neuron of `sites`: float32 [units] for each site. High: the bias runs through it.

        `examples`: used as they are; None: drawn as `draw` does. An item of work is the examples of one draw under one instruction.
        Raises BadAddress, BadTask, EmptySplit, NotFinite, OutOfMemory, PromptTooLong.
        """
        drawn = [self.draw(task, self.seed + draw) for draw in range(self.draws)] if examples is None else [tuple(examples)]
        sites, prepared = self.sites_of(model), self.prepare_task(task)
        by_draw = [Questions(model, prepared, examples_of_draw) for examples_of_draw in drawn]
        items = [(questions, instruction) for questions in by_draw for instruction in range(len(task.instructions))]
        key = ("locate", str(self._rule), "+".join(map(str, sites)))
        entries = (workers or Workers()).map(
            LocateWork(model, sites, self._rule),
            ((questions.encoded_choices(instruction), questions.gold) for questions, instruction in items),
            [journal_key(*key, questions.digest, instruction) for questions, instruction in items],
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
            "examples": [[example.id for example in examples_of_draw] for examples_of_draw in drawn],
        }
        meaning = "high: the model's preference for a wrong answer runs through this neuron"
        return Scores({site: total / len(items) for site, total in sums.items()}, "neuron", meaning, provenance)

    def search(
        self, model: LanguageModel, inputs: Task | TaskInputs, workers: Workers | None = None, *, scores: Scores | None = None
    ) -> Found:
        """Locate (or use `scores`), then choose how many neurons to cut by the metric on the *select* split.

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
        # The authors compare percentages with two decimals, and the first of equal ones wins.
        chosen = best(trials, digits=4, ties="earlier") if self.variant == "official" else best(trials)
        lines = tuple(_trial_line(trial, questions.pairs) for trial in trials)
        return Found.one(cut(scores.top(chosen.size)).for_model(model), scores=scores, trials=lines, notes=notes)

    def forecast(self, model: LanguageModel, inputs: TaskInputs, seconds_per_answer: float) -> Forecast:
        """Gradients on the examples that locate, then some numbers of neurons on the *select* split."""
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
            return min(available, floor_of_share(self.max_fraction, total))
        largest = self.largest if self.largest is not None else max(LEAST_LIMIT, floor_of_share(MAX_FRACTION, total))
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
        """The examples that locate the neurons."""
        return self.draw(task)

    @property
    def _rule(self) -> BiasScoreRule:
        return BiasScoreRule(**{field.name: getattr(self, field.name) for field in fields(BiasScoreRule)})

    def _given_size(self, model: LanguageModel) -> int | None:
        """The number of neurons where it is not searched."""
        return self.n if self.fraction is None else floor_of_share(self.fraction, model.anatomy.neurons)

    def _notes(self, task: Task) -> tuple[str, ...]:
        available = len(self._pool(task))
        if available >= self.samples:
            return ()
        return (f"Only {available} examples were available to locate neurons; all were used ({self.samples} were requested).",)


def cut(neurons: Neurons) -> Plan:
    """The plan that removes neurons: their rows of the weight matrices and their bias entries become 0."""
    return Plan((Scale(neurons, 0.0),)) if neurons else Plan()


def _trial_line(trial: Trial, examples: int) -> dict[str, Any]:
    """A candidate as a line of trials.jsonl; `examples` counts pairs of example and instruction."""
    return {"size": trial.size, "score": trial.score, "examples": examples, "complete": True, "seconds": trial.seconds}
