"""The schemas of environment.json, analyses.json and exhibits.json: how the work was done, and what a method shows in addition."""

from pydantic import Field, JsonValue

from .parts import Count, Number, Part, Text


class EffectRecord(Part):
    """What was verified of the final plan before it was compared."""

    forms: tuple[Text, ...] = Field(default=(), description="The form that each edit took: weights or hooks.")
    tensors_changed: Count | None = Field(default=None, description="The number of tensors that were changed.")
    hooks: Count | None = Field(default=None, description="The number of hooks.")
    max_change: Number | None = Field(default=None, description="The largest change of a log-probability on the probe.")
    units_touched: Count | None = Field(default=None, description="The number of units that the plan names.")
    units_fired: Count | None = Field(default=None, description="The number of these that were active on the probe.")


class LooksRecord(Part):
    """How often the *test* split was looked at under an edit of this model, when this run looked (see `resect.runs.looks`)."""

    task: Text = Field(description="The name of the task.")
    number: Count = Field(description="The number of looks, this run's included.")
    runs: tuple[Text, ...] = Field(default=(), description="The names of the run folders, or commands, that looked.")
    data: Text = Field(default="", description="A digest that names the split.")
    weights: Text = Field(default="", description="The digest of the model's weights.")


class EnvironmentFile(Part, extra="allow"):
    """environment.json: how the work was done."""

    __pydantic_extra__: dict[str, JsonValue]

    platform: Text | None = Field(default=None, description="The platform.")
    versions: dict[str, Text | None] = Field(default={}, description="Versions of packages, by name.")
    device: Text | None = Field(default=None, description="Where the work was done.")
    dtype: Text | None = Field(default=None, description="The number type of the model.")
    threads: Count | None = Field(default=None, description="The number of threads.")
    batch_sizes: dict[str, Count] = Field(default={}, description="Batch sizes, by purpose.")
    seconds: Number | None = Field(default=None, description="How long the job took.")
    notes: tuple[Text, ...] = Field(default=(), description="What readers should know of the work.")
    effect: EffectRecord | None = Field(default=None, description="What was verified of the plan.")
    looks: LooksRecord | None = Field(default=None, description="How often *test* was looked at; null where that is not known.")


class AnalysesFile(Part, extra="allow"):
    """analyses.json: results of analyses by name; each is in the form of the method that made it."""

    __pydantic_extra__: dict[str, dict[str, JsonValue]]
