"""The schema of plan.json: the edits, and the model that they were made for."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .parts import Address, Count, Number, Part, Share, Text

Neurons = dict[str, tuple[Count, ...]]
Values = Number | dict[str, tuple[Number, ...]]


class ModelRecord(Part):
    """The identity of the model that a plan was made for."""

    name: Text | None = Field(default=None, description="Its name, for readers.")
    revision: Text | None = Field(default=None, description="Its revision, for readers.")
    family: Text = Field(default="", description="Its family, as `resect list families` names it.")
    shapes: dict[str, tuple[Count, Count]] = Field(default={}, description="The shapes [out, in] of the edited matrices, by address.")
    fingerprint: dict[str, tuple[Number, ...]] = Field(default={}, description="Values of these matrices at fixed places, by address.")
    tolerance: dict[str, Share] = Field(
        default={}, description="How far values of quantised matrices may be from those of the full model, as a share, by address."
    )


class ScaleRecord(Part):
    """Neurons that are multiplied by a factor."""

    kind: Literal["scale"]
    neurons: Neurons = Field(description="Indices of neurons, by address.")
    factor: Number = Field(description="The factor; 0 removes the neurons.")


class ClampRecord(Part):
    """Neurons that are set to values."""

    kind: Literal["clamp"]
    neurons: Neurons = Field(description="Indices of neurons, by address.")
    values: Values = Field(description="One number for all, or a list for each address.")


class ShiftRecord(Part):
    """Neurons to which values are added."""

    kind: Literal["shift"]
    neurons: Neurons = Field(description="Indices of neurons, by address.")
    values: Values = Field(description="One number for all, or a list for each address.")


class ReduceRankRecord(Part):
    """A matrix that is replaced by an approximation of lower rank."""

    kind: Literal["reduce_rank"]
    site: Address = Field(description="The address of the matrix.")
    rho: Share = Field(description="The share of its rank that is kept.")
    keep: Literal["largest", "smallest"] = Field(default="largest", description="Which of its singular components are kept.")
    variant: Literal["exact", "official"] = Field(default="exact", description="The exact decomposition, or that of the authors' code.")
    seed: Count | None = Field(default=None, description="The seed of the authors' decomposition.")


class PruneWeightsRecord(Part):
    """A matrix of which some weights are set to 0."""

    kind: Literal["prune_weights"]
    site: Address = Field(description="The address of the matrix.")
    fraction: Share = Field(description="The share of its weights that is set to 0.")
    select: Literal["smallest", "random"] = Field(default="smallest", description="Which weights.")
    seed: Count | None = Field(default=None, description="The seed of the random choice.")


MatrixEditRecord = ReduceRankRecord | PruneWeightsRecord
EditRecord = Annotated[ScaleRecord | ClampRecord | ShiftRecord | MatrixEditRecord, Field(discriminator="kind")]


class PlanFile(Part):
    """plan.json: what is changed in a model. An empty list of edits leaves it as it is."""

    #: With an edit less it would be another plan.
    decisive: ClassVar[tuple[str, ...]] = ("edits",)

    schema_version: Literal[1] = Field(1, alias="schema", description="The version of this schema.")
    model: ModelRecord | None = Field(default=None, description="The model that the plan was made for; null for a plan made by hand.")
    edits: tuple[EditRecord, ...] = Field(description="The edits, in the order in which they are applied.")
