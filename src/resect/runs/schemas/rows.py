"""The schemas of the files of lines: a candidate of trials.jsonl, a changed answer of examples.jsonl, an open answer of answers.jsonl."""

from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from .parts import Address, Count, Flag, Number, Part, Share, Text

Label = Annotated[Text, BeforeValidator(lambda value: str(value) if isinstance(value, int) and not isinstance(value, bool) else value)]
Size = Annotated[float, Field(strict=True, ge=0, lt=1e15)]


class TrialLine(Part):
    """A line of trials.jsonl: a candidate, which is a number of units, or a matrix with the share of its rank that is kept."""

    decisive: ClassVar[tuple[str, ...]] = ("size", "site", "rho", "score", "complete")

    size: Size | None = Field(default=None, description="The number of units.")
    factor: Number | None = Field(default=None, description="The factor that the units are multiplied by; null: 0.")
    site: Address | None = Field(default=None, description="The address of the matrix.")
    rho: Share | None = Field(default=None, description="The share of the matrix' rank; null where nothing of it was to be reduced.")
    rank: Count | None = Field(default=None, description="The rank that is kept.")
    noise_edge: Number | None = Field(default=None, description="The singular value below which a component looks like noise.")
    score: Number | None = Field(
        default=None, description="The metric on the select split; of an incomplete candidate the best that it could reach, or null."
    )
    examples: Count | None = Field(default=None, description="The number of answers that were evaluated.")
    complete: Flag = Field(default=True, description="Whether all answers were evaluated.")
    seconds: Number | None = Field(default=None, description="How long that took.")
    kept: Flag | None = Field(default=None, description="Whether a composition kept this candidate.")
    broken: tuple[Text, ...] = Field(default=(), description="Guards that the candidate breaks, with what it would cost.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size is None and self.site is None:
            raise ValueError("it has neither a size nor a site that there can be")
        if self.score is None and self.site is None:
            raise ValueError("its score is no number")
        return self


class RightAnswers(Part):
    """Whether an answer is right, where its text alone does not say so."""

    base: Flag | None = Field(default=None, description="The answer of the model without the edit.")
    edited: Flag | None = Field(default=None, description="The answer of the model with the edit.")


class ExampleLine(Part):
    """A line of examples.jsonl: a pair of example and instruction whose answer changed."""

    id: Label = Field(default="", description="The id of the example.")
    instruction: Text = Field(default="", description="The instruction.")
    prompt: Text = Field(description="The prompt, with the instruction.")
    gold: Text = Field(description="The right answer.")
    base: Text = Field(description="The answer of the model without the edit.")
    edited: Text = Field(description="The answer of the model with the edit.")
    tags: tuple[Text, ...] = Field(default=(), description="The tags of the example.")
    right: RightAnswers | None = Field(default=None, description="Which answer is right, where their texts do not tell.")

    @property
    def was_right(self) -> bool:
        """Whether the answer before the edit is right."""
        return self._is_right(self.base, None if self.right is None else self.right.base)

    @property
    def is_right(self) -> bool:
        """Whether the answer after the edit is right."""
        return self._is_right(self.edited, None if self.right is None else self.right.edited)

    def _is_right(self, answer: str, known: bool | None) -> bool:
        return answer == self.gold if known is None else known


class AnswerLine(Part):
    """A line of answers.jsonl: what the model wrote in answer to an open question."""

    id: Label = Field(default="", description="The id of the question.")
    language: Text = Field(description="The language of the question.")
    deactivated: Text | None = Field(default=None, description="Whose units were deactivated: a language's, random ones, or null.")
    prompt: Text = Field(description="The prompt.")
    answer: Text = Field(description="The answer.")
    identified: Text | None = Field(default=None, description="The language that the answer was identified as.")
    quality: Number | None = Field(default=None, description="The rating of the answer, from 1 to 5.")
