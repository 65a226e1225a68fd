"""The job without a task: reduce matrices to the edge of noise, accept by one half of a plain text, report on the other. Prints nothing."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from resect.core.comparison import Comparison, difference, estimate
from resect.core.execution import Entry, Progress, Workers, journal_key, no_progress
from resect.data.tasks.task import Task
from resect.edits import controls as control
from resect.edits.effect_check import verify_effect
from resect.edits.plan import Plan
from resect.evaluation.compare import compare
from resect.evaluation.questions import Questions
from resect.evaluation.text_passages import Passages
from resect.methods.laser.denoising import Denoising
from resect.models.language_model import LanguageModel
from resect.models.loading import load_config
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

from .inputs import side_effects_of, text_name, texts_of, weights_digest
from .session import CONTROL_DRAWS, JobResult, factors_of, load, note_end, open_engine, state_memory_of, take_batch_sizes

#: What the comparison calls the text.
PLAIN_TEXT = "plain text"
#: How many tokens of each half a masked model is asked about.
MASKED_PASSAGES = 500


def job(
    recipe: Recipe, progress: Progress = no_progress, *, fresh: bool = False, batch_sizes: Mapping[str, int] | None = None
) -> JobResult:
    """From a recipe with `task_free` to the comparison, in the recipe's run folder; goes on where an earlier call stopped.

    Every other passage accepts reductions, the rest is reported on. Parameters and errors as of `run.job`.
    """
    started, texts = time.monotonic(), texts_of(recipe.text)
    method, tasks = Denoising(recipe.sites, recipe.rise), side_effects_of(recipe).tasks
    load_config(recipe.model, revision=recipe.revision, trust_remote_code=recipe.trust_remote_code)
    with Run.open(recipe.folder, recipe, fresh=fresh) as run:
        take_batch_sizes(run, batch_sizes)
        model = load(recipe, run)
        for task in tasks:
            Questions(model, task, task.split("test")).check()
        accepting, reported = (Passages(model, texts, part, 2, most_passages(model)) for part in (0, 1))
        run.agree({"text": accepting.digest, "weights": weights_digest(model)})
        with open_engine(recipe, model, progress) as engine:
            workers = Workers(engine, run.journal, progress)
            given: dict[str, Any] = {"factors": factors_of(recipe, model), "state_memory": state_memory_of(recipe)}
            found = method.search(model, accepting, workers, **given)
            run.write_trials(found.trials)
            run.keep_plan(found.plan)
            effect = verify_effect(found.plan, model, lambda: accepting.bundle(range(min(4, accepting.pairs))).ask()[0])
            comparison = _compared(model, found.plan, reported, recipe.seed, workers)
            effects = {**comparison.side_effects, **{task.name: _beside(model, found.plan, task, recipe.seed, workers) for task in tasks}}
        effects["perplexity"] = {**effects["perplexity"], "text": text_name(recipe.text)}
        comparison = dataclasses.replace(comparison, side_effects=effects, other_metrics=dict(found.facts))
        run.keep_examples(())
        run.keep_comparison(comparison.to_json())
        facts = {"notes": list(found.notes), "effect": dataclasses.asdict(effect)}
        note_end(run, model, started, **facts)
        return JobResult(run.folder, found.plan, comparison)


def most_passages(model: LanguageModel) -> int | None:
    """How many passages are read of each half. To a masked model every token is one by itself."""
    return MASKED_PASSAGES if model.kind == "masked" else None


@dataclasses.dataclass(frozen=True)
class PassageLossWork:
    """Passages, read under one plan after the other."""

    model: LanguageModel
    passages: Passages

    def __call__(self, plan: Plan) -> Entry:
        """The negative log-probability of every passage. Raises NotFinite, OutOfMemory, and what a plan raises."""
        with plan.applied(self.model):
            return {"losses": self.passages.losses()}


def _compared(model: LanguageModel, plan: Plan, passages: Passages, seed: int, workers: Workers) -> Comparison:
    """Base, edited and control on the same passages: the log loss of a token, averaged in each passage."""
    controls = control.like(plan, model, seed, draws=CONTROL_DRAWS) if plan.edits else ()
    plans = [Plan(), *([plan] if plan.edits else []), *controls]
    keys = [journal_key(passages.digest, each.digest) for each in plans]
    read = workers.map(PassageLossWork(model, passages), plans, keys, stage="reading the text that is reported on")
    losses = [np.asarray(entry["losses"], dtype=np.float64) for entry in read]
    base, edited = losses[0], losses[1] if plan.edits else losses[0]
    groups = [str(place) for place in range(passages.pairs)]
    a_token = 1.0 / np.array([passages.scored(place) for place in range(passages.pairs)])
    drawn = losses[2:]
    change = difference(base * a_token, edited * a_token, groups, seed)
    perplexity = {"base": passages.perplexity(base.sum()), "edited": passages.perplexity(edited.sum()), "tokens": passages.tokens}
    return Comparison(
        task=PLAIN_TEXT,
        metric="logloss",
        n_examples=passages.pairs,
        n_instructions=1,
        n_groups=passages.pairs,
        base=estimate(base * a_token, groups, seed=seed),
        edited=estimate(edited * a_token, groups, seed=seed),
        control=estimate(np.mean(drawn, axis=0) * a_token, groups, seed=seed) if drawn else None,
        difference=dataclasses.replace(change, fixed=change.broken, broken=change.fixed),  # what fell became more probable
        side_effects={"perplexity": {**perplexity, "kind": "pseudo-perplexity" if model.kind == "masked" else "perplexity"}},
    )


def _beside(model: LanguageModel, plan: Plan, task: Task, seed: int, workers: Workers) -> dict[str, Any]:
    """Another task's *test* split before and after."""
    found = compare(model, plan, task, metric=task.metric, seed=seed, workers=workers).comparison.to_json()
    return {"metric": found["metric"], "base": found["base"]["mean"], "edited": found["edited"]["mean"], "difference": found["difference"]}
