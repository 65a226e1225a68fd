"""The parts of comparison.json on what a gain is worth: kinds of answers, guards of the search, and the verdict."""

from typing import Literal

from pydantic import Field

from .parts import Address, Count, Flag, Number, Part, Share, Text


class ConstantAnswer(Part):
    """A model that always gives one kind of answer."""

    label: Text = Field(description="The kind: the unknown option, the first option, or a text in quotation marks.")
    score: Share = Field(description="Its accuracy.")


class Positions(Part):
    """Shares of answers by the position of the choice, from the first on."""

    right: tuple[Share, ...] = Field(default=(), description="Of the right answers.")
    base: tuple[Share, ...] = Field(default=(), description="Of the answers of the model without the edit.")
    edited: tuple[Share, ...] | None = Field(default=None, description="Of the answers of the model with the edit.")


class FrequentAnswer(Part):
    """The kind of answer that a model gives most often where it is wrong."""

    label: Text = Field(description="The kind.")
    share: Share = Field(description="How often it is given, of all answers.")
    wrong_share: Share = Field(description="How often it is given where the right answer is of another kind.")


class FrequentAnswers(Part):
    """The same before and after."""

    base: FrequentAnswer | None = Field(default=None, description="Of the model without the edit.")
    edited: FrequentAnswer | None = Field(default=None, description="Of the model with the edit.")
    is_certain: Flag | None = Field(default=None, description="Whether the rise is beyond chance, by a one-sided 90 % interval.")


class AnswerKinds(Part):
    """What kinds of answers are given, and what a model scores that does not read the question."""

    chance: Share | None = Field(default=None, description="The accuracy of guessing among the choices.")
    constant: ConstantAnswer | None = Field(default=None, description="The best model that always gives one kind of answer.")
    positions: Positions | None = Field(default=None, description="How answers spread over the positions of the choices.")
    most_frequent: FrequentAnswers | None = Field(default=None, description="The kind that is given most often where it is wrong.")
    balanced: dict[str, Number | None] = Field(default={}, description="The mean over tags of each tag's mean, base and edited.")


VerdictWord = Literal["helps", "helps, at a price", "no reliable change", "damages", "replaces one constant answer by another"]


class Verdict(Part):
    """What everything that was measured says of the edit."""

    word: VerdictWord = Field(description="The verdict.")
    reasons: tuple[Text, ...] = Field(default=(), description="Why, with the numbers.")
    limits: dict[str, dict[str, Number | None]] = Field(default={}, description="From which loss on there is a price, and damage; shares.")


class GuardCost(Part):
    """A guard that a candidate breaks."""

    guard: Text = Field(description="A tag, collapse, or perplexity.")
    cost: Number | None = Field(default=None, description="The loss or the relative rise; null where it is not finite.")
    limit: Number | None = Field(default=None, description="The largest that is allowed.")
    before: Number | None = Field(default=None, description="The value without the edit.")
    after: Number | None = Field(default=None, description="The value with it; null where it is not finite.")
    label: Text = Field(default="", description="The kind of answer, for collapse.")
    sentence: Text = Field(default="", description="The same in words.")


class GuardedCandidate(Part):
    """A candidate of a guarded search."""

    name: Text = Field(description="The candidate in words.")
    size: Count | None = Field(default=None, description="The number of units.")
    factor: Number | None = Field(default=None, description="The factor that they are multiplied by; null: 0.")
    site: Address | None = Field(default=None, description="The matrix.")
    rho: Share | None = Field(default=None, description="The share of its rank.")
    score: Number | None = Field(default=None, description="The metric on the select split.")
    changes: dict[str, Number] = Field(default={}, description="The change on the select split by tag, as a share.")
    broken: tuple[GuardCost, ...] = Field(default=(), description="The guards that it breaks.")


class GuardOutcome(Part):
    """What guards held in a search."""

    limits: dict[str, Number | None] = Field(default={}, description="What might be lost, as shares, by tag or measure; null: no limit.")
    refused: GuardedCandidate | None = Field(default=None, description="What the metric alone would have chosen, where it breaks a guard.")
    chosen: GuardedCandidate | None = Field(default=None, description="What was chosen; null: nothing, or a composition.")
