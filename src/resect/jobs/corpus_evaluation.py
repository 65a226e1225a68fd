"""Evaluation on corpora: held-out text of each language under each language's plan, next to random plans, and open questions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from resect.core.errors import InputError
from resect.core.execution import Workers
from resect.core.number_format import plural
from resect.data.corpus import parse_corpus_entries
from resect.data.language_id import LanguageFilter
from resect.edits import controls
from resect.edits.effect_check import verify_effect
from resect.edits.plan import Plan
from resect.evaluation.answer_ratings import default_identifier
from resect.evaluation.deactivation import DeactivationMatrix, HeldOutText, deactivation_matrix, window_losses
from resect.evaluation.llm_judge import LLMJudge
from resect.evaluation.open_ended import check_prompts, open_questions, question_prompts
from resect.methods.base import CorpusInputs, Forecast, Found, Method, seconds_of
from resect.models.language_model import LanguageModel
from resect.models.text_windows import window_size
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

from .evaluation import Evaluation, Measured
from .inputs import corpora_of
from .task_evaluation import TIMED

STAGE = "reading held-out text"


class CorpusEvaluation(Evaluation):
    """Held-out text of every language with the model unedited and under every language's plan."""

    def __init__(self, recipe: Recipe, method: Method) -> None:
        self.recipe, self.method = recipe, method
        self.corpora = corpora_of(recipe, method.extra_languages(), measured=method.compares)
        self.judge = None if recipe.judge is None or recipe.judge_model is None else LLMJudge(recipe.judge, recipe.judge_model)
        self.held_out: dict[str, HeldOutText] = {}
        method.check_inputs(self.inputs)

    @property
    def inputs(self) -> CorpusInputs:
        """The inputs of the search."""
        return CorpusInputs(self.corpora.languages, self.corpora.texts, self.corpora.parallel)

    def prepare(self, model: LanguageModel) -> CorpusInputs:
        """Check the method and the questions against the model."""
        self.model = model
        self.method.check(model, self.inputs)
        for language, questions in self.corpora.questions.items():
            check_prompts(model, question_prompts(questions, language, self.corpora.suffix), self.recipe.new_tokens)
        self.window = window_size(model.context, model.kind, self.recipe.get("window"))
        return self.inputs

    def begin(self, workers: Workers) -> None:
        """Read the held-out text first, so that text that is too short, or a model that gives NaN, is refused before hours of work."""
        if not self.corpora.held_out:
            return
        languages = self.corpora.languages
        for number, name in enumerate(languages):
            workers.progress(STAGE, number, len(languages))
            self.held_out[name] = self._held_out(name)
        workers.progress(STAGE, len(languages), len(languages))
        window_losses(self.model, self._probe)

    def _held_out(self, name: str) -> HeldOutText:
        return HeldOutText.of(self.model, name, self.corpora.held_out[name], self.window, self.recipe.valid_tokens)

    @property
    def _probe(self) -> Any:
        """One window of held-out text."""
        return next(iter(self.held_out.values())).windows[:1]

    @property
    def digests(self) -> dict[str, str]:
        """Digests of the held-out text, once it is read."""
        return {f"held-out text of {name}": text.digest for name, text in self.held_out.items()}

    def measure(self, found: Found, run: Run, seed: int, workers: Workers) -> Measured:
        """Measure the matrix of languages, have the open questions answered, and store both."""
        model, recipe, plans = self.model, self.recipe, found.plans
        effect = verify_effect(found.plan, model, lambda: window_losses(model, self._probe))
        drawn = {name: controls.like(plan, model, seed, recipe.draws) for name, plan in plans.items()}
        label = found.label or self.method.name
        matrix = replace(deactivation_matrix(model, plans, self.held_out, drawn, selector=label, workers=workers), seed=seed)
        run.keep_matrix(matrix.to_json())
        answers, missing = self._answers(plans, drawn, run, workers)
        notes = (*_without_units(matrix), *missing)
        return Measured(replace(matrix.comparison(), other_metrics=answers), effect, notes)

    def _answers(
        self, plans: Mapping[str, Plan], drawn: Mapping[str, tuple[Plan, ...]], run: Run, workers: Workers
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Have the open questions answered by the unedited model and under each plan; returns a summary, and notes."""
        if not self.corpora.questions:
            return {}, ()
        notes: tuple[str, ...] = ()
        identifier = None
        try:
            identifier = default_identifier()
        except InputError as error:
            notes = (f"The language of the answers was not identified: {error}",)
        random = {name: controls[0] for name, controls in drawn.items() if controls}
        rows, summary = open_questions(
            self.model,
            self.corpora.questions,
            plans,
            random or None,
            identifier=identifier,
            judge=self.judge,
            suffix=self.corpora.suffix,
            new_tokens=self.recipe.new_tokens,
            workers=workers,
        )
        run.keep_answers(rows)
        return {"open_questions": summary}, notes

    def notes(self, found: Found) -> list[str]:
        """Returns notes on limits, held-out shares, documents in other languages, shared files and duplicates."""
        recipe, corpora = self.recipe, self.corpora
        notes = []
        if recipe.limit is not None:
            notes.append(f"Of each text at most {recipe.limit:,} documents were read (--limit).")
        if not corpora.held_out and set(corpora.texts) - set(parse_corpus_entries(recipe.valid, "--valid")):
            notes.append(
                "A tenth of each text was held out, and not counted. To measure on other text later (--valid), give it for recording too: "
                "then everything is counted except the documents that occur in it."
            )
        for purity, what in ((corpora.purity, "text that was read"), (corpora.held_out_purity, "held-out text")):
            notes += _left_out(purity, what)
        sources = [text.corpus.name for text in corpora.texts.values()]
        shared = [name for name, text in corpora.texts.items() if sources.count(text.corpus.name) > 1]
        if shared:
            notes.append(f"{', '.join(shared)} do not all have text of their own: some are read from the same files.")
        duplicates = [f"{name} {text.duplicates:,}" for name, text in corpora.texts.items() if text.duplicates]
        if duplicates:
            notes.append(f"Documents that are in the held-out text too, and were left out: {', '.join(duplicates)}.")
        return notes

    def forecast(self, repetitions: int) -> tuple[Forecast, float]:
        """Returns a forecast from timing a few windows of held-out text."""
        recipe, corpora, languages = self.recipe, self.corpora, self.corpora.languages
        sentences, seconds = [], 0.0
        if corpora.held_out:
            held_out = {name: self._held_out(name) for name in languages}
            timed = next(iter(held_out.values())).windows[:TIMED]
            tokens, passes = sum(text.windows.size for text in held_out.values()), 1 + len(languages) * (1 + recipe.draws)
            seconds = passes * tokens * seconds_of(lambda: window_losses(self.model, timed)) / timed.size
            sentences.append(
                f"Read {tokens:,} held-out tokens {passes} times: with the unedited model, under each language's plan, and with "
                f"{plural(recipe.draws, 'draws')} of random units for each."
            )
        if corpora.questions:
            number = sum(map(len, corpora.questions.values()))
            sentences.append(
                f"Answer {number} open questions {2 + len(languages)} times, in up to {recipe.new_tokens} tokens each (not included in "
                "the time below)."
            )
        if recipe.purity:
            sentences.append("Identify the language of every document: some hundred a second (not included in the time below).")
        return Forecast(tuple(sentences), seconds), 0.0


def _left_out(purity: LanguageFilter | None, what: str) -> list[str]:
    if purity is None or not purity.read:
        return []
    numbers = [f"{name} {purity.left_out.get(name, 0):,} of {number:,}" for name, number in purity.read.items()]
    return [f"Documents of the {what} that were left out, since they are in another language: {', '.join(numbers)}."]


def _without_units(matrix: DeactivationMatrix) -> list[str]:
    without = [name for name, size in zip(matrix.languages, matrix.units, strict=True) if not size]
    if not without:
        return []
    return [f"No unit belongs to {', '.join(without)}: the plan is empty there, and the row of the matrix is the unedited model's."]
