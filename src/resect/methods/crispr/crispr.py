"""CRISPR: find the neurons through which a model prefers a biased answer, and cut them.

Source: Yang, Kang, Choi, Lee, Jung 2024, "Mitigating Biases for Instruction-following Language Models via Bias Neurons Elimination"
(arXiv:2311.09627, US 2025/0259059 A1). `variant="paper"` computes what the paper writes, `variant="official"` what its authors' code
(yny0506/BiasNeuron at 27f93d1) computes: they differ in `PRESETS` (in `settings`) and in `bias_scores`. Knows no other method, no file and
no terminal.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from jaxtyping import Float64

from resect.core.address import Site, select
from resect.core.errors import BadTask, InputError
from resect.core.execution import Workers, journal_key
from resect.core.number_format import plural
from resect.core.scores import Scores
from resect.data.tasks.example import Example
from resect.data.tasks.task import Task
from resect.edits.plan import Plan
from resect.edits.svd import floor_of_share
from resect.evaluation.questions import Questions
from resect.methods.base import Forecast, Found, Inputs, Method, TaskInputs, task_inputs
from resect.models.expert_globs import incomplete_experts
from resect.models.language_model import LanguageModel
from resect.runs.guard_limits import GuardLimits
from resect.search.size_search import most_evaluations

from .authors_split import has_authors_task, official_draw, official_task
from .bias_scores import BiasScoreRule, LocateWork, ProtectWork
from .cut_choice import CutChoice, cut
from .settings import FACTORS, LEAST_LIMIT, MAX_FRACTION, CrisprSettings

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
    protect : tags, or other tasks by name, whose right answers are protected; empty: the counterpart of `locate_on`; "none": none
    factor : by which neurons are multiplied, in [0, 1]; "search": one of `FACTORS`, chosen together with n
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
    Differs from the source in: "paper": `locate_on`, `protect`, `factor`, guards, the minimum of 50 neurons, and disjoint
        splits are ours. "official": nothing known.
    """

    @property
    def default_guards(self) -> GuardLimits:
        """What no candidate may cost: nothing is guarded in the authors' variant."""
        return GuardLimits.none() if self.variant == "official" else GuardLimits()

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
        """Raises EmptySplit, BadTask, UnknownName, InputError for a task without examples to locate neurons on, or to protect."""
        if isinstance(inputs, TaskInputs):
            self.draw(inputs.task)
            self.protected_examples(inputs)

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
                f"Only {plural(available, 'examples')}{tagged} can locate neurons; scores of fewer than {needed} depend on which they are. "
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
        protected: Sequence[tuple[Task, Sequence[Example]]] | None = None,
        workers: Workers | None = None,
    ) -> Scores:
        """The bias score of every neuron of `sites`: float32 [units] for each site. High: the bias runs through it.

        Parameters
        ----------
        examples : used as they are; None: drawn as `draw` does. An item of work is the examples of one draw under one instruction
        protected : examples whose right answers are to be kept, with their tasks; None: those of `protected_examples`, which are none
            unless something is protected. The score is then B − λ_p · C, B the mean over the located examples and C the mean of
            max(0, A(y)) over the protected ones, with λ_p = 1 (ours)

        Raises BadAddress, BadTask, EmptySplit, NotFinite, OutOfMemory, PromptTooLong.
        """
        workers = workers or Workers()
        protected = self.protected_examples(task) if protected is None else protected
        drawn = [self.draw(task, self.seed + draw) for draw in range(self.draws)] if examples is None else [tuple(examples)]
        sites, prepared = self.sites_of(model), self.prepare_task(task)
        by_draw = [Questions(model, prepared, examples_of_draw) for examples_of_draw in drawn]
        located = self._summed(LocateWork(model, sites, self._rule), by_draw, "locate", "locating bias neurons", workers)
        items = len(by_draw) * len(task.instructions)
        scores = {site: total / items for site, total in located.items()}
        if protected:
            kept = [Questions(model, other, examples_of_task) for other, examples_of_task in protected]
            cost = self._summed(ProtectWork(model, sites, self._rule), kept, "protect", "attributing right answers to protect", workers)
            # Means over examples: the paper's sum is divided by their number, as the authors' code does already.
            samples = 1 if self.pooling == "apart" else sum(map(len, drawn)) / len(drawn)
            pairs = sum(questions.pairs for questions in kept)
            scores = {site: score / samples - cost[site] / pairs for site, score in scores.items()}
        provenance = {
            "method": self.name,
            "settings": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()},
            "task": task.name,
            "examples": [[example.id for example in examples_of_draw] for examples_of_draw in drawn],
            **({"protected": [[example.id for example in examples_of_task] for _, examples_of_task in protected]} if protected else {}),
        }
        meaning = "high: the model's preference for a wrong answer runs through this neuron"
        return Scores(scores, "neuron", meaning, provenance)

    def _summed(
        self, work: LocateWork | ProtectWork, all_questions: Sequence[Questions], name: str, stage: str, workers: Workers
    ) -> dict[Site, Float64[np.ndarray, " units"]]:
        """The sum over all questions and instructions of what the work computes of each."""
        items = [(questions, place) for questions in all_questions for place in range(len(questions.task.instructions))]
        key = (name, str(self._rule), "+".join(map(str, work.sites)))
        entries = workers.map(
            work,
            ((questions.encoded_choices(place), questions.gold) for questions, place in items),
            [journal_key(*key, questions.digest, place) for questions, place in items],
            stage=stage,
        )
        sums = {site: np.zeros(work.model.anatomy.width(site)) for site in work.sites}
        for entry in entries:
            for site, total in sums.items():
                total += np.asarray(entry[str(site)], dtype=np.float64)
        return sums

    def further_tasks(self, task: Task) -> tuple[str, ...]:
        """The protected names that are no tag of the task."""
        return tuple(name for name in self.protected_of(task.tags) if name not in task.tags)

    def protected_examples(self, inputs: Task | TaskInputs) -> list[tuple[Task, tuple[Example, ...]]]:
        """The protected examples by task: of each tag and each other task at most `samples` of the *locate* split, drawn with the seed.

        Raises EmptySplit, BadTask where no example of the split has the tag, InputError for another task that is not among the inputs, or
        that has no choices.
        """
        inputs = task_inputs(inputs)
        found = []
        for name in self.protected_of(inputs.task.tags):
            task = self.prepare_task(inputs.task) if name in inputs.task.tags else inputs.others.get(name)
            if task is None:
                raise InputError(f"{name} is to be protected, but it is neither a tag of {inputs.task.name} nor a task that was given.")
            pool = task.split("locate")
            if name in inputs.task.tags:
                pool = tuple(example for example in pool if name in example.tags)
            usable = tuple(example for example in pool if isinstance(example.gold, int) and len(example.choices) > 1)
            if not usable:
                raise InputError(
                    f"No example of {name} in the split locate has choices and a right one ({len(pool)} are there): there is no "
                    "attribution to right answers to protect. Protect another tag or task, or --protect none."
                )
            chosen = np.random.default_rng([self.seed, 0xD]).choice(len(usable), min(self.samples, len(usable)), replace=False)
            found.append((task, tuple(usable[index] for index in sorted(chosen.tolist()))))
        return found

    def search(
        self, model: LanguageModel, inputs: Task | TaskInputs, workers: Workers | None = None, *, scores: Scores | None = None
    ) -> Found:
        """Locate (or use `scores`), then choose how many neurons to cut by the metric on the *select* split, if they break no guard.

        The plan is empty where no cut is better than none. Never uses the *test* split. Raises what `locate` raises.
        """
        workers, inputs = workers or Workers(), task_inputs(inputs)
        task = inputs.task
        notes = (*self._notes(task), *filter(None, [incomplete_experts(self.sites_of(model), model.anatomy)])) if scores is None else ()
        if scores is None:
            protected, more = self._with_right_answers(model, inputs, workers)
            scores, notes = self.locate(model, task, protected=protected, workers=workers), (*notes, *more)
        size = self._given_size(model)
        if size is not None:
            factor = 0.0 if self.factor == "search" else self.factor
            return Found.one(cut(scores.top(size), factor).for_model(model), scores=scores, notes=notes)
        questions = self.questions(model, self.prepare_task(task), "select")
        guards = self.guards(questions, inputs, workers)
        choice = CutChoice(scores, min(self.limit(model), scores.count), questions, guards, workers)
        return choice.found(self, model, notes)

    def _with_right_answers(
        self, model: LanguageModel, inputs: TaskInputs, workers: Workers
    ) -> tuple[list[tuple[Task, tuple[Example, ...]]], tuple[str, ...]]:
        """The protected examples, and notes. Raises InputError where the model answers none of them right, if protection was requested."""
        kept, notes = [], list[str]()
        for task, examples in self.protected_examples(inputs):
            answers = Questions(model, task, examples).answers(Plan(), stage="answering what is to be protected", workers=workers)
            if answers.values.any():
                kept.append((task, examples))
                continue
            nothing = f"The model answers none of the {plural(len(examples), 'examples')} of {task.name} right that are to be protected"
            if self.protect:
                raise InputError(f"{nothing}: nothing can be kept. Protect another tag or task, or --protect none.")
            notes.append(f"{nothing}: nothing was protected.")
        if kept and not self.protect:
            number = plural(sum(len(examples) for _, examples in kept), "examples")
            tags = ", ".join(self.protected_of(inputs.task.tags))
            notes.append(
                f"To keep their right answers, the attribution to those of {number} tagged {tags} was subtracted from the scores. That is "
                "not in the paper; --protect none leaves it out."
            )
        return kept, tuple(notes)

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
        """The matrices whose neurons are scored: of which each example has values of its own.

        Raises BadAddress for a glob that matches none, InputError where no such matrix is left.
        """
        chosen = select(self.site_globs, model.anatomy.sites)
        sites = tuple(site for site in chosen if model.anatomy.is_by_row(site))
        if not sites:
            raise InputError(
                f"The values at {', '.join(map(str, chosen[:3]))} are not of one text each, so that their neurons cannot be scored; choose "
                "other matrices with --sites."
            )
        return sites

    def sizes_tried(self, model: LanguageModel) -> int:
        """About how many numbers of neurons the search tries."""
        if self._given_size(model) is not None:
            return 0
        return most_evaluations(self.choose, self.limit(model)) * (len(FACTORS) if self.factor == "search" else 1)

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
