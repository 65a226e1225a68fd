"""Which schema each file of a run folder has, and the schemas as JSON schemas for editors and other programs."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter

from resect.core.errors import UnknownName

from .comparison import ComparisonFile
from .exhibits import exhibits_schema
from .languages import MatrixFile, SteeringFile
from .plan import PlanFile
from .rows import AnswerLine, ExampleLine, TrialLine
from .work import AnalysesFile, EnvironmentFile

#: By name: plan.json (and plans/*.json), comparison.json, matrix.json, a line of trials.jsonl, of examples.jsonl, of answers.jsonl, …
_MODELS: Mapping[str, type[Any]] = {
    "plan": PlanFile,
    "comparison": ComparisonFile,
    "matrix": MatrixFile,
    "trials": TrialLine,
    "examples": ExampleLine,
    "answers": AnswerLine,
    "steered": SteeringFile,
    "environment": EnvironmentFile,
    "analyses": AnalysesFile,
}


def _recipe_schema() -> dict[str, Any]:
    """The JSON schema of recipe.toml, which follows from the settings."""
    from resect.runs.recipe import recipe_schema

    return recipe_schema()


_OTHERS: Mapping[str, Callable[[], dict[str, Any]]] = {"recipe": _recipe_schema, "exhibits": exhibits_schema}
NAMES = ("recipe", *_MODELS, "exhibits")


def json_schema(name: str) -> dict[str, Any]:
    """The JSON schema of a file of the run folder, or of a line of it. Raises UnknownName for a name that is not in `NAMES`."""
    if name not in NAMES:
        raise UnknownName("schema", name, NAMES)
    schema = _OTHERS[name]() if name in _OTHERS else TypeAdapter(_MODELS[name]).json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
