"""The interface of evaluations: what a job compares, and on which data, by what its method reads.

An evaluation loads its data before a model is loaded, checks it against the model, gives the search its inputs, and measures what the
plans change. Knows no method and no command line.
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

#: Random plans over which the control is averaged.
CONTROL_DRAWS = 3
#: Examples of the search on which a plan must change something.
PROBES = 4


@dataclass(frozen=True)
class Measured:
    """The result of an evaluation.

    Parameters
    ----------
    effect : whether the plan changed anything at all
    notes : sentences for the user
    answers : those that are compared, where the comparison is of answers
    """

    comparison: Comparison
    effect: Effect
    notes: tuple[str, ...] = ()
    answers: AnswerComparison | None = None


class Evaluation(ABC):
    """What one job compares. Constructed from a recipe and a method before a model is loaded; raises InputError for wrong data."""

    @abstractmethod
    def prepare(self, model: LanguageModel) -> Inputs:
        """Check everything against the model, and return the inputs of the search. Raises InputError, WrongModel, PromptTooLong."""

    def begin(self, workers: Workers) -> None:  # noqa: B027  most evaluations have nothing to do there
        """Do what must precede the search. Raises InputError, NotFinite."""

    def objections(self) -> list[str]:
        """Returns why the search would be in vain, as far as the unedited model shows; by default nothing is asked."""
        return []

    @property
    @abstractmethod
    def digests(self) -> dict[str, str]:
        """Digests of the data by what they are of; complete after `begin`."""

    def notes(self, found: Found) -> list[str]:
        """Returns notes for the user on the data."""
        return []

    @abstractmethod
    def measure(self, found: Found, run: Run, seed: int, workers: Workers) -> Measured:
        """Measure what the plans change, and store the files of the measurement."""

    def measure_trials(self, comparison: Comparison, answers: AnswerComparison, plans: Sequence[Plan], workers: Workers) -> Comparison:
        """Returns a comparison over several trials with the side effects of their plans."""
        return comparison

    @abstractmethod
    def forecast(self, repetitions: int) -> tuple[Forecast, float]:
        """Returns what will be compared and how long that takes, and the seconds of one answer, which the method's own forecast uses."""
