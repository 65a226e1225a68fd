"""The schemas of what a run on corpora by language has: matrix.json, and the files in steered/."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from .parts import Count, Flag, Interval, Number, Part, Row, Share, Text
from .plan import PlanFile


def _square(table: tuple[tuple[object, ...] | None, ...]) -> tuple[tuple[object, ...] | None, ...]:
    if any(row is not None and len(row) != len(table) for row in table):
        raise ValueError(f"it has {len(table)} rows, and not as many columns")
    return table


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or len(set(names)) < len(names):
        raise ValueError("it is no list of different languages")
    return names


Table = Annotated[tuple[Row | None, ...], AfterValidator(_square)]
Intervals = Annotated[tuple[tuple[Interval | None, ...] | None, ...], AfterValidator(_square)]
Counts = tuple[Count | None, ...]


class Diagonal(Part):
    """Of which languages the own text suffers most."""

    is_maximum: dict[str, Flag | None] = Field(default={}, description="By language; null where it has no units.")
    count: Count | None = Field(default=None, description="The number of languages of which it does.")
    of: Count | None = Field(default=None, description="The number of languages.")


class DeactivationMeasure(Part):
    """One measure of each language's text (columns) with each language's units deactivated (rows)."""

    base: Row = Field(default=(), description="Without an edit, by language of the text.")
    deactivated: Table | None = Field(default=None, description="With units deactivated.")
    change: Table | None = Field(default=None, description="Deactivated minus base.")
    interval: Intervals | None = Field(default=None, description="The 95 % interval of each change.")
    diagonal: Diagonal | None = Field(default=None, description="Of which languages the own text suffers most by this measure.")


class RandomDeactivation(Part):
    """The same with as many random units of the same layers deactivated: means over draws."""

    draws: Count | None = Field(default=None, description="The number of draws.")
    neg_logprob: DeactivationMeasure | None = Field(default=None, description="The mean negative log-probability of a token.")
    perplexity: DeactivationMeasure | None = Field(default=None, description="The perplexity.")


class MatrixFile(Part):
    """matrix.json: what deactivating each language's units does to the text of each language."""

    schema_version: Literal[1] = Field(1, alias="schema", description="The version of this schema.")
    languages: Annotated[tuple[Text, ...], AfterValidator(_distinct)] = Field(description="The languages, of rows and columns.")
    selector: Text = Field(default="", description="How the units were selected.")
    units: Counts = Field(default=(), description="The number of units of each language.")
    window: Count | None = Field(default=None, description="The number of tokens of a window.")
    windows: Counts = Field(default=(), description="The number of windows of each language's text.")
    tokens: Counts = Field(default=(), description="The number of scored tokens of each language's text.")
    kind: Text = Field(default="perplexity", description="The kind of perplexity: perplexity, or pseudo-perplexity of a masked model.")
    neg_logprob: DeactivationMeasure = Field(description="The mean negative log-probability of a token, in nats.")
    perplexity: DeactivationMeasure | None = Field(default=None, description="The perplexity.")
    control: RandomDeactivation | None = Field(default=None, description="Random units, as many in each layer.")
    diagonal: Diagonal | None = Field(default=None, description="Of which languages the own text suffers most.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        measure = self.neg_logprob
        known = [value for row in (*(measure.change or ()), *(measure.deactivated or ())) for value in row or () if value is not None]
        if not known:
            raise ValueError("it holds no change of any language's negative log-probability")
        return self


class BeforeAfter(Part):
    """A number before and after steering."""

    before: Number | None = Field(default=None, description="Without steering.")
    after: Number | None = Field(default=None, description="With steering.")


class LanguageAccuracy(BeforeAfter):
    """The share of answers in the language that was wanted."""

    gained: Count | None = Field(default=None, description="The number of answers that came to be in that language.")
    lost: Count | None = Field(default=None, description="The number of answers that no longer are.")
    interval: Interval | None = Field(default=None, description="The 95 % interval of after minus before; null with few prompts.")
    p_value: Number | None = Field(default=None, description="The p-value of after minus before; null with few prompts.")


class IdentifiedLanguages(Part):
    """The languages that two answers were identified as."""

    before: Text | None = Field(default=None, description="Without steering.")
    after: Text | None = Field(default=None, description="With steering.")


class SteeredAnswer(Part):
    """A prompt with its two answers."""

    prompt: Text = Field(description="The prompt.")
    before: Text = Field(description="The answer without steering.")
    after: Text = Field(description="The answer with steering.")
    identified: IdentifiedLanguages | None = Field(default=None, description="The languages that the answers were identified as.")
    quality: BeforeAfter | None = Field(default=None, description="The ratings of the answers, from 1 to 5.")


class TriedStrength(Part):
    """What a strength of steering does to the answers of the prompts that choose."""

    strength: Number | None = Field(default=None, description="The strength; null: no steering.")
    language_accuracy: Share | None = Field(default=None, description="The share of answers in the wanted language; null: no answers.")
    repetition: Share | None = Field(
        default=None, description="The mean share of an answer's 4-grams of tokens that occurred before in it; null: no answers."
    )
    most_frequent: Share | None = Field(default=None, description="The share of the most frequent answer with text; null: no answers.")
    empty: Count | None = Field(default=None, description="The number of answers without text; null: no answers.")
    breaks: tuple[Text, ...] = Field(default=(), description="The guards that the answers break, in words.")


class StrengthChoice(Part):
    """The strengths that were tried, and which one was chosen, by prompts of which nothing else is reported."""

    n: Count | None = Field(default=None, description="The number of prompts that chose.")
    limit: Number | None = Field(
        default=None,
        description="By how much the shares of repetition, of the most frequent and of empty answers may rise; null: no guard.",
    )
    unsteered: TriedStrength | None = Field(default=None, description="The answers without steering.")
    tried: tuple[TriedStrength, ...] = Field(description="The strengths, from the smallest on.")
    chosen: Number | None = Field(default=None, description="The strength that was chosen; null: none is better than no steering.")
    by_accuracy: Number | None = Field(default=None, description="What the language accuracy alone would choose; null: no steering.")


class SteeringFile(Part):
    """A file in steered/: answers that were steered into a language."""

    name: Text | None = Field(default=None, description="The name of the file.")
    to: Annotated[Text, Field(min_length=1)] = Field(description="The language that was wanted.")
    source: Text | None = Field(None, alias="from", description="The language whose units were deactivated.")
    mode: Text = Field(default="", description="How the units were activated: set, add, multiply or difference.")
    strength: Number | None = Field(default=None, description="By how much; null where several were tried and none was chosen.")
    n: Count | None = Field(default=None, description="The number of prompts.")
    new_tokens: Count | None = Field(default=None, description="The maximum number of tokens of an answer.")
    prompts_digest: Text | None = Field(default=None, description="The digest of the prompts.")
    language_accuracy: LanguageAccuracy | None = Field(
        default=None, description="The share of answers in that language; null: not measured."
    )
    quality: BeforeAfter | None = Field(default=None, description="The mean rating, from 1 to 5; null: not measured.")
    empty: BeforeAfter | None = Field(default=None, description="The number of answers without text.")
    untold: BeforeAfter | None = Field(default=None, description="The number of answers too short to identify their language.")
    plan: PlanFile | None = Field(default=None, description="The plan that steers.")
    answers: tuple[SteeredAnswer, ...] = Field(description="The prompts with their answers.")
    choice: StrengthChoice | None = Field(default=None, description="How the strength was chosen; null: one was requested.")
    breaks: tuple[Text, ...] = Field(default=(), description="The guards that these answers break all the same, in words.")
