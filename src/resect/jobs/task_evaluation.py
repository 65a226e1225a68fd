"""Evaluation on a task: its *test* split before and after, next to random plans of the same size, with the side effects."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from resect.core.comparison import Comparison
from resect.core.errors import InputError, UnknownName
from resect.core.execution import Workers
from resect.data.tasks.registry import list_tasks
from resect.data.tasks.task import Task
from resect.edits import controls
from resect.edits.effect_check import verify_effect
from resect.edits.plan import Plan
from resect.evaluation.calibration import CALIBRATIONS, content_free_count
from resect.evaluation.compare import AnswerComparison, compare_questions, judged
from resect.evaluation.questions import Questions
from resect.methods.base import Forecast, Found, Method, TaskInputs, seconds_of
from resect.models.language_model import LanguageModel
from resect.runs.looks import note_look
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run
from resect.runs.verdict import limits_of

from .evaluation import CONTROL_DRAWS, PROBES, Evaluation, Measured
from .inputs import guards_of, other_task, side_effects_of, task_of, text_name
from .preliminary_checks import objections

#: The cost of a generated answer, in scored answers.
GENERATION_COST = 4
#: Examples of the batch that is timed.
TIMED = 8


class TaskEvaluation(Evaluation):
    """A task's *test* split before and after."""

    def __init__(self, recipe: Recipe, method: Method) -> None:
        self.recipe, self.method = recipe, method
        self.side_effects = side_effects_of(recipe)
        self.task = method.prepare_task(task_of(recipe))
        self.limits, guards = limits_of(recipe.values), guards_of(recipe)
        if guards is not None:
            guards.check_tags(self.task.tags, f"(in the task {self.task.name!r})")
        others = {name: self._further_task(name) for name in method.further_tasks(self.task)}
        self.inputs = TaskInputs(self.task, self.side_effects.texts, guards, others)
        method.check_inputs(self.inputs)
        self.task.split("test")
        self._objections: tuple[str, ...] = ()

    def _further_task(self, name: str) -> Task:
        """Returns a task that the method asks for. Raises InputError where there is none of that name, and as loading it."""
        try:
            return other_task(name, self.recipe)
        except UnknownName as error:
            if name in list_tasks() or name.endswith(".toml"):
                raise
            tags = ", ".join(self.task.tags) or "it has none"
            raise InputError(f"{name!r} is neither a tag of {self.task.name} ({tags}) nor a task (`resect list tasks`).") from error

    def prepare(self, model: LanguageModel) -> TaskInputs:
        """Encode every question once, and check method and side effects."""
        self.model = model
        self.method.check(model, self.inputs)
        metric = self.method.metric_for(self.task)
        Questions(model, self.task, self.task.examples, metric).check()
        self.side_effects.check(Questions(model, self.task, self.task.split("test"), metric))
        return self.inputs

    def begin(self, workers: Workers) -> None:
        """Ask the unedited model first. Raises NotWorthwhile where the search would be in vain and `anyway` is not set."""
        self._objections = objections(self.method, self.model, self.inputs, self.recipe, workers)

    def objections(self) -> list[str]:
        """Returns why the job would stop before the search, or where `anyway` is set why that is advised."""
        found = objections(self.method, self.model, self.inputs, self.recipe.with_settings(anyway=True), Workers())
        stops = "The program advises against this job" if self.recipe.anyway else "This job would stop before the search (--anyway goes on)"
        return [f"{stops}: {sentence}" for sentence in found]

    def notes(self, found: Found) -> list[str]:
        """Returns why the search seemed in vain, where it was made anyway."""
        return list(self._objections)

    @property
    def digests(self) -> dict[str, str]:
        """The digest of the task's examples and wording."""
        return {"data or wording": self.task.digest}

    def measure(self, found: Found, run: Run, seed: int, workers: Workers) -> Measured:
        """Compare on the test split, and store the answers that changed."""
        model, plan = self.model, found.plan
        seen = self.method.examples_seen(self.task)[:PROBES]
        effect = verify_effect(plan, model, lambda: Questions(model, self.task, seen, "logloss").encoded_choices(0).logprobs())
        drawn = controls.like(plan, model, seed, draws=CONTROL_DRAWS) if plan.edits else ()
        self._note_look(found, run)
        answers = compare_questions(self.method.questions(model, self.task, "test"), plan, controls=drawn, seed=seed, workers=workers)
        run.keep_examples(answers.changed)
        comparison, notes = self.side_effects.measure(answers.comparison, answers.questions, [plan], seed=seed, workers=workers)
        facts = {**comparison.other_metrics, **found.facts}
        if found.composition:
            facts["composition"] = self._composition(found, answers.questions, workers)
        comparison = judged(replace(comparison, other_metrics=facts), plan, *self.limits)
        return Measured(comparison, effect, notes, answers)

    def _note_look(self, found: Found, run: Run) -> None:
        """Note in the ledger that *test* is looked at under an edit, and in the run how often it was; all trials are one look."""
        job = run if run.folder.resolve() == self.recipe.folder.resolve() else Run.load(self.recipe.folder)
        note_look(job, self.task, self.model.name, found.plan.digest if run is job else "", is_edited=not found.plan.is_empty)

    def _composition(self, found: Found, questions: Questions, workers: Workers) -> list[dict[str, Any]]:
        """Returns the steps of a composition with the value of each on the *test* split, which the search did not read."""
        edits, steps = found.plan.edits, []
        for number, step in enumerate(found.composition):
            stage = f"composition, {number} of {len(edits)}"
            steps.append({**step, "test": questions.answers(Plan(edits[:number]), stage=stage, workers=workers).mean})
        return steps

    def measure_trials(self, comparison: Comparison, answers: AnswerComparison, plans: Sequence[Plan], workers: Workers) -> Comparison:
        """Returns the comparison with side effects averaged over the plans of all trials."""
        measured = self.side_effects.measure(comparison, answers.questions, plans, seed=self.recipe.seed, workers=workers)[0]
        return judged(measured, Plan(tuple(edit for plan in plans for edit in plan.edits)), *self.limits)

    def forecast(self, repetitions: int) -> tuple[Forecast, float]:
        """Returns a forecast from timing a batch of answers."""
        test, wordings = self.task.split("test"), len(self.task.instructions)
        questions = Questions(self.model, self.task, test, self.method.metric_for(self.task))
        timed = Questions(self.model, self.task, test[:TIMED], questions.metric)
        seconds = seconds_of(lambda: timed.logprobs(0)) / len(timed.examples)
        compared = repetitions * (1 + CONTROL_DRAWS) * len(test) + len(test)
        sentence, extra = self._side_effects(questions, 1 + repetitions)
        sentences = (
            f"Task: {self.task.name}, {len(self.task.examples)} examples under {wordings} instructions: {len(test)} to test.",
            f"Compare on the test split: unedited, edited, and {CONTROL_DRAWS} random edits of the same size.",
            sentence,
        )
        return Forecast(sentences, seconds * wordings * (compared + extra)), seconds * wordings

    def _side_effects(self, questions: Questions, plans: int) -> tuple[str, int]:
        """Returns a sentence on the side effects, and how many answers under each instruction they take."""
        effects = self.side_effects
        without_content = {kind: content_free_count(questions, kind) for kind in effects.calibrate}
        parts = [f"{CALIBRATIONS[kind]} ({number:,} questions without content)" for kind, number in without_content.items()]
        parts += ["generated text"] if effects.generation else []
        parts += [f"perplexity on {text_name(self.recipe.text)}", *self.recipe.beside]
        calibrated = sum(number * (plans - 1 if kind == "dc" else 1) for kind, number in without_content.items())  # DC draws in each trial
        generated = GENERATION_COST * plans * len(questions.examples) * effects.generation
        others = sum(plans * len(task.split("test")) for task in effects.tasks)
        return f"In addition: {', '.join(parts)}.", calibrated + generated + others
