"""Evaluation on plain text: every other passage before and after (a search may use the rest), with tasks for the side effects."""

from dataclasses import replace

from resect.core.execution import Workers
from resect.edits import controls
from resect.edits.effect_check import verify_effect
from resect.evaluation.compare import compare, judged
from resect.evaluation.own_text import OWN_TEXT, REPORTED, OwnText
from resect.evaluation.passage_comparison import compare_passages
from resect.evaluation.questions import Questions
from resect.evaluation.text_passages import Passages
from resect.methods.base import Forecast, Found, Method, TextInputs, seconds_of
from resect.models.language_model import LanguageModel
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run
from resect.runs.verdict import limits_of

from .evaluation import CONTROL_DRAWS, PROBES, Evaluation, Measured
from .inputs import guards_of, side_effects_of, text_name

#: How many passages of each half a masked model reads: to it every token is a forward pass of its own.
MASKED_PASSAGES = 500


class TextEvaluation(Evaluation):
    """Passages of plain text before and after."""

    def __init__(self, recipe: Recipe, method: Method) -> None:
        self.recipe, self.method = recipe, method
        effects = side_effects_of(recipe)
        self.texts, self.tasks = effects.texts, effects.tasks
        self.limits, self.guards = limits_of(recipe.values), guards_of(recipe) or method.default_guards
        self.guards.check_tags((), "(plain text has no tags)")

    def prepare(self, model: LanguageModel) -> TextInputs:
        """Encode the passages."""
        self.model = model
        for task in self.tasks:
            Questions(model, task, task.split("test")).check()
        most = MASKED_PASSAGES if model.kind == "masked" else None
        searched, self.reported = (Passages(model, self.texts, part, 2, most) for part in (0, 1))
        self.inputs = TextInputs(searched, self.guards)
        self.method.check(model, self.inputs)
        return self.inputs

    @property
    def digests(self) -> dict[str, str]:
        """The digest of the text."""
        return {"text": self.inputs.passages.digest}

    def measure(self, found: Found, run: Run, seed: int, workers: Workers) -> Measured:
        """Compare the losses on the passages that the search did not read, and on text of the model's own that it did not write then."""
        model, plan, searched = self.model, found.plan, self.inputs.passages
        effect = verify_effect(plan, model, lambda: searched.batch(range(min(PROBES, searched.pairs))).evaluate()[0])
        drawn = controls.like(plan, model, seed, draws=CONTROL_DRAWS) if plan.edits else ()
        comparison = compare_passages(self.reported, plan, drawn, seed, workers)
        effects, facts = {**comparison.side_effects}, dict(found.facts)
        own = OwnText.of(model, self.reported, REPORTED, workers)
        if own is not None:
            effects[OWN_TEXT], samples = own.compared(plan, workers)
            limits = self.inputs.guards
            facts["samples"] = {**samples, "limits": {"perplexity": limits.perplexity, "repetition": limits.collapse}}
        for task in self.tasks:
            result = compare(model, plan, task, metric=task.metric, seed=seed, workers=workers).comparison.to_json()
            means = {name: result[name]["mean"] for name in ("base", "edited")}
            effects[task.name] = {"metric": result["metric"], **means, "difference": result["difference"]}
        effects["perplexity"] = {**effects["perplexity"], "text": text_name(self.recipe.text)}
        run.keep_examples(())
        comparison = replace(comparison, side_effects=effects, other_metrics=facts)
        return Measured(judged(comparison, plan, *self.limits), effect)

    def forecast(self, repetitions: int) -> tuple[Forecast, float]:
        """Returns a forecast from timing one reading of half the passages."""
        passages = self.inputs.passages
        reading = seconds_of(passages.losses)
        name, size = text_name(self.recipe.text), f"{passages.pairs} passages ({passages.tokens:,} tokens)"
        sentence = f"Text: {name}; {size} to search by, and as many to report on."
        return Forecast((sentence,), (2 + CONTROL_DRAWS) * reading * repetitions), reading
