"""What every method gives back. Knows no method."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resect.core.scores import Scores
from resect.edits.plan import Plan


@dataclass(frozen=True)
class Found:
    """The outcome of a search.

    plan : the chosen plan, with the identity of its model; empty where nothing helped
    scores : what the method saw, where it saw units
    trials : one JSON object for each candidate, in the order in which they were asked: the lines of trials.jsonl
    notes : sentences that people should read: what was taken, what was not covered
    facts : what comparison.json tells of the search itself, under `other_metrics`
    """

    plan: Plan
    scores: Scores | None
    trials: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
