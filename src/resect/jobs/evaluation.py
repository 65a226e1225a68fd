"""What a job compares, and on what: decided by what its method reads.

An evaluation loads its data before a model is loaded, checks it against the model, hands the search its inputs, and measures what the plans
that were found change. Knows no method and no command line.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from resect.core.comparison import Comparison
from resect.core.execution import Workers
from resect.edits.effect_check import Effect
from resect.edits.plan import Plan
from resect.evaluation.compare import AnswerComparison
from resect.methods.base import Forecast, Found, Inputs
from resect.models.language_model import LanguageModel
from resect.runs.run_folder import Run

#: Random plans behind the control of a report.
CONTROL_DRAWS = 3
#: Examples, of those that the search used, by which is checked whether a plan changes anything.
PROBES = 4


@dataclass(frozen=True)
class Measured:
    """What an evaluation measured.

    Parameters
    ----------
    effect : whether the plan changed anything at all
    notes : sentences for people
    answers : those behind the comparison, where it is of answers
    """

    comparison: Comparison
    effect: Effect
    notes: tuple[str, ...] = ()
    answers: AnswerComparison | None = None


class Evaluation(ABC):
    """What is compared in one job. Made before a model is loaded, from a recipe and a method; that raises InputError for wrong data."""

    @abstractmethod
    def prepare(self, model: LanguageModel) -> Inputs:
        """Check everything against the model, and return what the search may use. Raises InputError, WrongModel, PromptTooLong."""

    def begin(self, workers: Workers) -> None:  # noqa: B027  most evaluations have nothing to do there
        """Do what has to come before the search. Raises InputError, NotFinite."""

    @property
    @abstractmethod
    def digests(self) -> dict[str, str]:
        """Digests of what is read, by what it is; complete once the evaluation has begun."""

    def notes(self, found: Found) -> list[str]:
        """What people should know of what was read."""
        return []

    @abstractmethod
    def measure(self, found: Found, run: Run, seed: int, workers: Workers) -> Measured:
        """Measure what the plans change, and store the files that belong to it."""

    def measure_trials(self, comparison: Comparison, answers: AnswerComparison, plans: Sequence[Plan], workers: Workers) -> Comparison:
        """A comparison over several trials, with what is measured of their plans in addition."""
        return comparison

    @abstractmethod
    def forecast(self, repetitions: int) -> tuple[Forecast, float]:
        """What will be compared and how long that takes; and the seconds of one answer, which a method's own forecast counts in."""
