"""The schema of comparison.json: what was measured before and after, and the paired difference. Fractions, not percent."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from resect.core.number_format import plural

from .parts import Address, Count, Flag, Interval, Number, Part, Share, Text
from .verdict import AnswerKinds, GuardOutcome, Verdict


class Measurement(Part):
    """The mean of a metric."""

    mean: Number = Field(description="The mean over all pairs of example and instruction.")
    interval: Interval | None = Field(default=None, description="The 95 % interval, [low, high].")
    std_over_instructions: Number | None = Field(default=None, description="The population standard deviation of the instructions' means.")
    by_tag: dict[str, Number] = Field(default={}, description="The mean over the examples that carry a tag, by tag.")
    interval_by_tag: dict[str, Interval] = Field(default={}, description="The 95 % interval of that mean, by tag.")


class PairedChange(Part):
    """Edited minus base, on the same pairs of example and instruction."""

    mean: Number = Field(description="The mean change.")
    interval: Interval = Field(description="The 95 % interval of the mean change, [low, high].")
    p_value: Number | None = Field(default=None, description="The p-value of the null hypothesis that nothing changes.")
    test: Text = Field(default="", description="The name of the test.")
    fixed: Count | None = Field(default=None, description="The number of pairs that became better.")
    broken: Count | None = Field(default=None, description="The number of pairs that became worse.")
    by_tag: dict[str, Number] = Field(default={}, description="The mean change over the examples that carry a tag, by tag.")
    interval_by_tag: dict[str, Interval] = Field(default={}, description="The 95 % interval of that change, by tag.")


class Unmatched(Part):
    """Shares of generated texts that match none of the choices."""

    base: Share | None = Field(default=None, description="Of the model without the edit.")
    edited: Share | None = Field(default=None, description="Of the model with the edit.")


Baselines = dict[str, Measurement | None]


class MetricComparison(Part):
    """Before and after, by another metric than the main one."""

    base: Measurement | None = Field(default=None, description="The model without the edit.")
    edited: Measurement | None = Field(default=None, description="The model with the edit.")
    difference: PairedChange | None = Field(default=None, description="Edited minus base.")
    unmatched: Unmatched | None = Field(default=None, description="Generated texts that match none of the choices.")
    baselines: Baselines = Field(default={}, description="The model without the edit, calibrated: cc (contextual), dc (domain-context).")


class SelectSplit(Part):
    """How the search went, on the split that it chose by."""

    metric: Text = Field(default="", description="The metric that chose.")
    base: Number | None = Field(default=None, description="The model without the edit.")
    chosen: Number | None = Field(default=None, description="The chosen candidate.")
    n_examples: Count | None = Field(default=None, description="The number of examples.")
    n_instructions: Count | None = Field(default=None, description="The number of instructions under which each example was evaluated.")


class CompositionStep(Part):
    """One state of a composition: the reduction that was added last, and the metric after it."""

    site: Address | None = Field(default=None, description="The matrix that was reduced last; null for the model without an edit.")
    rho: Share | None = Field(default=None, description="The share of its rank that was kept.")
    rank: Count | None = Field(default=None, description="The rank that was kept.")
    select: Number | None = Field(default=None, description="The metric on the select split.")
    test: Number | None = Field(default=None, description="The metric on the test split.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.site is None and (self.rho is not None or (self.select is None and self.test is None)):
            raise ValueError("it names no matrix, and is not the model without an edit")
        return self


class TrialSpread(Part):
    """How far several trials are apart."""

    edited: tuple[Number, ...] = Field(default=(), description="The metric after each trial's edit.")
    std: Number | None = Field(default=None, description="The population standard deviation of these.")
    sizes: tuple[Count, ...] = Field(default=(), description="The number of units that each trial edits.")


class Paraphrases(Part):
    """The share of facts that are answered right in all of their wordings."""

    n_facts: Count | None = Field(default=None, description="The number of facts.")
    per_fact: Number | None = Field(default=None, description="The mean number of wordings of a fact.")
    base: Number = Field(description="The share before.")
    edited: Number | None = Field(default=None, description="The share after.")
    difference: PairedChange | None = Field(default=None, description="Edited minus base, paired by fact.")


class Repetition(Part):
    """The mean share of the 4-grams of tokens that occurred before in the same sample."""

    base: Share = Field(description="Of the model without the edit.")
    edited: Share | None = Field(default=None, description="Of the model with the edit.")


class SampleTexts(Part):
    """What a model writes after a prompt, greedily."""

    prompt: Text = Field(default="", description="The prompt, a piece of plain text.")
    base: Text = Field(default="", description="The model without the edit.")
    edited: Text = Field(default="", description="The model with the edit.")


class WritingLimits(Part):
    """How much a search allowed what the model writes to suffer; null: any."""

    perplexity: Number | None = Field(default=None, description="The share by which the perplexity of the model's own text might rise.")
    repetition: Number | None = Field(default=None, description="By how much the repetition of samples might rise, as a share.")


class WrittenSamples(Part):
    """Greedy samples before and after, which the search did not see."""

    n: Count | None = Field(default=None, description="The number of samples.")
    repetition: Repetition | None = Field(default=None, description="How much the samples repeat themselves.")
    limits: WritingLimits = Field(default=WritingLimits(), description="What the search allowed.")
    texts: tuple[SampleTexts, ...] = Field(default=(), description="Some of the samples.")


ByLanguage = dict[str, Number | None]


class AnswerMeasure(Part):
    """One measure of open answers, by the language of the question."""

    base: ByLanguage = Field(default={}, description="Of the model without an edit.")
    random: ByLanguage | None = Field(default=None, description="With as many random units deactivated.")
    deactivated: dict[str, ByLanguage] = Field(default={}, description="With the units of a language deactivated, by that language.")


class OpenQuestions(Part):
    """Answers to open questions, with units of languages deactivated."""

    n: dict[str, Count] = Field(default={}, description="The number of questions, by language.")
    language_accuracy: AnswerMeasure | None = Field(default=None, description="The share of answers in the language of the question.")
    quality: AnswerMeasure | None = Field(default=None, description="The mean rating of the answers, from 1 to 5.")
    unjudged: Count | None = Field(default=None, description="The number of answers that got no rating.")
    empty: AnswerMeasure | None = Field(default=None, description="The number of answers without text.")
    untold: AnswerMeasure | None = Field(default=None, description="The number of answers too short to identify their language.")
    new_tokens: Count | None = Field(default=None, description="The maximum number of tokens of an answer.")


def _fact_kind(value: object) -> str:
    """Whether a further entry of `other_metrics` compares before and after; any other is of the method that wrote it."""
    measured = value.get("base") if isinstance(value, Mapping) else None
    return "metric" if isinstance(measured, Mapping | Measurement) or isinstance(value, MetricComparison) else "other"


OtherMetric = Annotated[
    Annotated[MetricComparison, Tag("metric")] | Annotated[JsonValue, Tag("other")],
    Discriminator(_fact_kind),
]


class OtherMetrics(Part, extra="allow"):
    """What else was measured on the same examples, by name; a method may add entries of its own."""

    __pydantic_extra__: dict[str, OtherMetric]

    accuracy: MetricComparison | None = Field(default=None, description="By the most probable choice.")
    generation: MetricComparison | None = Field(default=None, description="By the text that the model writes.")
    logloss: MetricComparison | None = Field(default=None, description="By the negative logarithm of the right answer's probability.")
    select: SelectSplit | None = Field(default=None, description="The search, on the select split.")
    composition: tuple[CompositionStep, ...] = Field(default=(), description="The steps of a composition of reductions.")
    rise: Number | None = Field(default=None, description="The share by which a search on plain text allowed its perplexity to rise.")
    samples: WrittenSamples | None = Field(default=None, description="What the model writes greedily, before and after.")
    trials: TrialSpread | None = Field(default=None, description="The spread over several trials.")
    paraphrases: Paraphrases | None = Field(default=None, description="Facts that are right in all wordings.")
    guards: GuardOutcome | None = Field(default=None, description="What guards held in the search.")
    open_questions: OpenQuestions | None = Field(default=None, description="Answers to open questions.")

    @property
    def metrics(self) -> dict[str, MetricComparison]:
        """The entries that compare before and after."""
        named = {name: getattr(self, name) for name in ("accuracy", "generation", "logloss")}
        return {name: entry for name, entry in {**named, **(self.__pydantic_extra__ or {})}.items() if isinstance(entry, MetricComparison)}


class SideEffect(Part):
    """Plain text or another task, before and after."""

    base: Number | None = Field(default=None, description="The model without the edit.")
    edited: Number | None = Field(default=None, description="The model with the edit.")
    metric: Text | None = Field(default=None, description="The metric; null for a perplexity.")
    difference: PairedChange | None = Field(default=None, description="Edited minus base; null for a perplexity.")
    kind: Text | None = Field(default=None, description="The kind of perplexity: perplexity, or pseudo-perplexity of a masked model.")
    text: Text | None = Field(default=None, description="What the plain text is called.")
    tokens: Count | None = Field(default=None, description="The number of tokens of plain text that were scored.")
    is_beyond: Flag | None = Field(
        default=None, description="Whether plain text is beyond the model: it predicts it no better than by guess."
    )


class BiasScore(Part, extra="allow"):
    """BBQ's bias scores, from -1 (all answers against the stereotype) to +1 (all with it)."""

    __pydantic_extra__: dict[str, JsonValue]

    ambig: Number | None = Field(default=None, description="Of ambiguous questions.")
    disambig: Number | None = Field(default=None, description="Of clear questions.")
    n_ambig: Count | None = Field(default=None, description="The number of answers to ambiguous questions that name a person.")
    n_disambig: Count | None = Field(default=None, description="The number of answers to clear questions that name a person.")
    interval_ambig: Interval | None = Field(default=None, description="The 95 % interval of `ambig` over groups, [low, high].")
    interval_disambig: Interval | None = Field(default=None, description="The 95 % interval of `disambig` over groups, [low, high].")
    n_without_target: Count | None = Field(default=None, description="The number of items whose target is unknown; they are left out.")
    n_items: Count | None = Field(default=None, description="The number of items, with and without a target.")
    by_category: "dict[str, BiasScore]" = Field(default={}, description="The same by category.")

    @property
    def without_target(self) -> str:
        """How many of the items are left out: "12 of 240 items"; "" where there is none, or their number is unknown."""
        if not self.n_without_target:
            return ""
        return f"{self.n_without_target:,}" + (" items" if self.n_items is None else f" of {plural(self.n_items, 'items')}")


class BiasScores(Part):
    """A benchmark's own scores."""

    base: BiasScore | None = Field(default=None, description="Of the model without the edit.")
    edited: BiasScore | None = Field(default=None, description="Of the model with the edit; of all trials together.")

    @property
    def left_out(self) -> str:
        """How many items had no target, in a sentence, and of which categories they are; "" where none had none, or that is unknown."""
        score = self.base or self.edited
        if score is None or not score.without_target:
            return ""
        parts = [f"{name}: {part.without_target}" for name, part in score.by_category.items() if part.without_target]
        of = f" ({'; '.join(parts)})" if parts else ""
        return f"{score.without_target} have no known target and are left out{of}."


class ComparisonFile(Part):
    """comparison.json: a model before and after an edit, on held-out examples. What was not measured is null."""

    schema_version: Literal[1] = Field(1, alias="schema", description="The version of this schema.")
    task: Text = Field(default="", description="The task.")
    metric: Text = Field(default="accuracy", description="The metric that before and after are compared by.")
    n_examples: Count | None = Field(default=None, description="The number of examples.")
    n_instructions: Count | None = Field(default=None, description="The number of instructions under which each example was evaluated.")
    n_groups: Count | None = Field(default=None, description="The number of groups of examples, which intervals resample.")
    base: Measurement = Field(description="The model without the edit.")
    edited: Measurement | None = Field(default=None, description="The model with the edit.")
    control: Measurement | None = Field(default=None, description="The mean of random edits of the same kind and size.")
    baselines: Baselines = Field(default={}, description="The model without the edit, calibrated: cc (contextual), dc (domain-context).")
    difference: PairedChange | None = Field(default=None, description="Edited minus base.")
    side_effects: dict[str, SideEffect | None] = Field(default={}, description="Perplexity of plain text and other tasks, by name.")
    other_metrics: OtherMetrics = Field(default=OtherMetrics(), description="What else was measured on the same examples, by name.")
    bias_scores: BiasScores | None = Field(default=None, description="A benchmark's own scores.")
    answers: AnswerKinds | None = Field(default=None, description="Kinds of answers, and what is scored without reading the question.")
    verdict: Verdict | None = Field(default=None, description="What everything that was measured says of the edit.")

    @property
    def is_plain_text(self) -> bool:
        """Whether plain text was read, and no question evaluated: the search had no task."""
        return self.other_metrics.rise is not None

    def counts(self) -> dict[str, Any]:
        """How much was evaluated, by key."""
        return {name: getattr(self, name) for name in ("n_examples", "n_instructions", "n_groups")}
