"""The job on languages: count, select, switch off, measure, and keep what came out in a run folder. Prints nothing.

Whatever a kill interrupts goes on from the journal of the folder, as with the other jobs.
"""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

from resect.core.address import Neurons
from resect.core.comparison import Comparison
from resect.core.errors import InputError
from resect.core.execution import Progress, Workers, no_progress
from resect.data.corpus import by_language
from resect.edits import controls as control
from resect.edits.effect_check import verify_effect
from resect.edits.plan import Plan
from resect.evaluation.deactivation import DeactivationMatrix, HeldOutText, deactivation_matrix, losses
from resect.evaluation.open_ended import check as check_answers
from resect.evaluation.open_ended import open_questions, worded
from resect.methods.lape import unit_sets
from resect.methods.lape.counts import Counts
from resect.methods.lape.lape import Lape
from resect.methods.lape.parameter_variation import ParameterChanges, parameter_changes
from resect.methods.lape.recording import Recording, window_of
from resect.methods.lape.sentence_similarity import check as check_parallel
from resect.methods.lape.sentence_similarity import similarity
from resect.models.language_model import LanguageModel
from resect.models.loading import load_config
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

from .inputs import weights_digest
from .language_inputs import LanguageInputs, identifier_or_none, judge_of, language_inputs
from .session import JobResult, load, note_end, open_engine, take_batch_sizes

#: The text of one language may be so many times as much as that of another before it is said.
UNEVEN = 2.0
READING = "reading held-out text"


def job(
    recipe: Recipe, progress: Progress = no_progress, *, fresh: bool = False, batch_sizes: Mapping[str, int] | None = None
) -> JobResult:
    """From texts to the matrix, in the recipe's run folder; goes on where an earlier call stopped. All else as of `run.job`."""
    started, method, given, judge = time.monotonic(), lape_of(recipe), language_inputs(recipe), judge_of(recipe)
    load_config(recipe.model, revision=recipe.revision, trust_remote_code=recipe.trust_remote_code)
    with Run.open(recipe.folder, recipe, fresh=fresh) as run:
        take_batch_sizes(run, batch_sizes)
        model = load(recipe, run)
        window = prepare(recipe, method, given, model)
        run.agree({"weights": weights_digest(model)})
        with open_engine(recipe, model, progress) as engine:
            work = _Work(recipe, method, given, model, run, Workers(engine, run.journal, progress))
            held = {} if recipe.record_only else work.held(window)
            changes = work.changes()
            counts, recording = work.counts()
            texts = _texts(held, recording)
            if run.is_finished:  # before anything of it is overwritten
                run.agree(texts)
            run.keep_counts(counts)
            plan, comparison, notes = (Plan(), None, ()) if recipe.record_only else work.rest(counts, recording, changes, held, judge)
        notes = (*_told(recipe, given, counts, recording), *notes)
        run.agree(texts)
        note_end(run, model, started, notes=list(notes))
        return JobResult(run.folder, plan, comparison)


def lape_of(recipe: Recipe) -> Lape:
    """The method, with the settings of a recipe."""
    fraction = {} if recipe.fraction is None else {"fraction": recipe.fraction}
    return Lape(
        **fraction,
        quantile=recipe.quantile,
        selector=recipe.selector,
        window=recipe.window,
        tokens=recipe.corpus_tokens,
        until_stable=recipe.until_stable,
        seed=recipe.seed,
    )


def prepare(recipe: Recipe, method: Lape, given: LanguageInputs, model: LanguageModel) -> int:
    """The window, once nothing is left that could be refused hours later.

    Raises InputError, WrongModel, PromptTooLong.
    """
    method.sites_of(model)
    if any(counts.sums is None for counts in given.counts_of(model)) and method.selector == "lave":
        raise InputError(
            "The selector lave goes by mean values, and some of the counts that are given hold no sums of activations (published ones have "
            "none): record those anew, or choose another --selector."
        )
    if given.parallel:
        check_parallel(model, given.parallel)
    for language, questions in given.questions.items():
        check_answers(model, worded(questions, language, given.suffix), recipe.new_tokens)
    return window_of(model, recipe.window)


@dataclass(frozen=True)
class _Work:
    """What the parts of the job have in common."""

    recipe: Recipe
    method: Lape
    given: LanguageInputs
    model: LanguageModel
    run: Run
    workers: Workers

    def held(self, window: int) -> dict[str, HeldOutText]:
        """Held-out text, read first: what is too short, and a model that gives NaN, is refused before hours of counting."""
        most, languages = self.recipe.valid_tokens, self.given.languages
        found: dict[str, HeldOutText] = {}
        for name in languages:
            self.workers.progress(READING, len(found), len(languages))
            found[name] = HeldOutText.of(self.model, name, self.given.held[name], window, most)
        self.workers.progress(READING, len(found), len(languages))
        losses(self.model, _first_of(found))
        return found

    def changes(self) -> ParameterChanges | None:
        """By how much tuning moved each unit, for pv; before the counting too, since a wrong checkpoint is refused here."""
        return parameter_changes(self.model, self.given.checkpoints, workers=self.workers) if self.given.checkpoints else None

    def counts(self) -> tuple[Counts, Recording | None]:
        """All counts, recorded here and elsewhere, in the order of the languages."""
        recording = self.method.recording(self.model, self.given.counted, self.workers) if self.given.counted else None
        parts = [*([] if recording is None else [recording.counts]), *self.given.counts_of(self.model)]
        return reduce(add, parts).of(self.given.languages), recording

    def rest(
        self, counts: Counts, recording: Recording | None, changes: ParameterChanges | None, held: Mapping[str, HeldOutText], judge: Any
    ) -> tuple[Plan, Comparison, tuple[str, ...]]:
        """Select, switch off, measure: all that comes after counting. Returns the plan of all languages' units."""
        recipe, model, run = self.recipe, self.model, self.run
        units = self.method.select(counts, changes)
        plans = self.method.plans(units, model)
        whole = reduce(add, plans.values(), Plan())
        run.keep_scores(self.method.scores(counts, changes))
        run.keep_plans(plans)
        run.keep_plan(whole)
        first = _first_of(held)
        effect = verify_effect(whole, model, lambda: losses(model, first))
        controls = {name: control.like(plan, model, recipe.seed, recipe.draws) for name, plan in plans.items()}
        matrix = deactivation_matrix(model, plans, held, controls, selector=recipe.selector, workers=self.workers)
        matrix = replace(matrix, seed=recipe.seed)
        run.keep_matrix(matrix.to_json())
        answers, missed = self._answers(plans, controls, judge)
        comparison = replace(matrix.comparison(), other_metrics=answers)
        run.keep_analyses(self._analyses(counts, recording, units))
        run.keep_comparison(comparison.to_json())
        run.note(effect=dataclasses.asdict(effect))
        return whole, comparison, (*_without_units(matrix), *missed)

    def _answers(
        self, plans: Mapping[str, Plan], controls: Mapping[str, tuple[Plan, ...]], judge: Any
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Open questions under each deactivation, beside the base's answers."""
        if not self.given.questions:
            return {}, ()
        identifier, missed = identifier_or_none()
        random = {name: drawn[0] for name, drawn in controls.items() if drawn}
        rows, found = open_questions(
            self.model,
            self.given.questions,
            plans,
            random or None,
            identifier=identifier,
            judge=judge,
            suffix=self.given.suffix,
            new_tokens=self.recipe.new_tokens,
            workers=self.workers,
        )
        self.run.keep_answers(rows)
        return {"open_questions": found}, () if missed is None else (missed,)

    def _analyses(self, counts: Counts, recording: Recording | None, units: Mapping[str, Neurons]) -> dict[str, Any]:
        """Where the units lie, how languages share them, how steady the choice is, and how alike languages are inside."""
        widths = [array.shape[1] for array in counts.active.values()]
        found = {"layers": unit_sets.units_by_layer(units, counts.sites, widths), "overlap": unit_sets.unit_overlap(units)}
        if recording is not None and recording.steps:
            both = recording.halves
            halves = None if both is None or self.method.selector == "pv" else tuple(self.method.select(half) for half in both)
            tokens = None if both is None else (both[0].tokens, both[1].tokens)
            found["stability"] = unit_sets.stability(recording.steps, halves, tokens)  # type: ignore[arg-type]
        if self.given.parallel:
            found["similarity"] = similarity(self.model, self.given.parallel, workers=self.workers)
        return found


def _texts(held: Mapping[str, HeldOutText], recording: Recording | None) -> dict[str, str]:
    """Digests of all text that a job reads."""
    counted = {} if recording is None else recording.digests
    found = {f"text of {name}": digest for name, digest in counted.items()}
    return found | {f"held-out text of {name}": each.digest for name, each in held.items()}


def _first_of(held: Mapping[str, HeldOutText]) -> Any:
    """One window of held-out text."""
    return next(iter(held.values())).windows[:1]


def _told(recipe: Recipe, given: LanguageInputs, counts: Counts, recording: Recording | None) -> list[str]:
    """What people should know of the text that was read."""
    counted = ", ".join(f"{name} {number:,}" for name, number in zip(counts.languages, counts.tokens, strict=True))
    notes = [f"Tokens that were counted: {counted}."]
    if recipe.limit is not None:
        notes.append(f"Of each text at most {recipe.limit:,} documents were read (--limit).")
    if recipe.record_only and set(given.counted) - set(by_language(recipe.valid, "--valid")):
        notes.append(
            "A tenth of each text was held out, and not counted. Where other text is to be measured on (--valid), give it while recording "
            "too: then all is counted but what stands in it."
        )
    if recipe.counts:
        notes.append("Whether held-out text is among what the given counts were recorded on (--counts) cannot be told.")
    for purity, what in ((given.purity, "text that is counted"), (given.held_purity, "held-out text")):
        read = {} if purity is None else purity.read
        lost = [f"{name} {purity.left_out.get(name, 0):,} of {number:,}" for name, number in read.items() if purity is not None]
        if lost:
            notes.append(f"Documents of the {what} that were left out, since they are in another language: {', '.join(lost)}.")
    specs = [text.corpus.name for text in given.counted.values()]
    alike = [name for name, text in given.counted.items() if specs.count(text.corpus.name) > 1]
    if alike:
        notes.append(f"{', '.join(alike)} do not all have text of their own: some are counted on the same files.")
    if recording is None:
        return notes
    twice = [f"{name} {text.twice:,}" for name, text in given.counted.items() if text.twice]
    if twice:
        notes.append(f"Documents that stand in the held-out text too, and were not counted: {', '.join(twice)}.")
    notes += recording.notes
    numbers = dict(zip(recording.counts.languages, recording.counts.tokens, strict=True))
    most, least = max(numbers, key=numbers.__getitem__), min(numbers, key=numbers.__getitem__)
    if numbers[most] > UNEVEN * numbers[least]:
        notes.append(
            f"There is {numbers[most] / numbers[least]:.1f} times as much text of {most} as of {least}; with --tokens {numbers[least]} all "
            "languages would be read alike."
        )
    return notes


def _without_units(matrix: DeactivationMatrix) -> list[str]:
    lacking = [name for name, size in zip(matrix.languages, matrix.units, strict=True) if not size]
    if not lacking:
        return []
    return [f"No unit belongs to {', '.join(lacking)}: the plan is empty there, and the row of the matrix is the base's."]
