"""What can be read of a run of LAPE beyond what every run has, whatever is missing or damaged in it. Knows no form of report."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from resect.core.address import Neurons
from resect.core.errors import InputError
from resect.runs.run_folder import Run

from .deactivation import Effects, effects_of
from .language_units import units_of
from .missing import Tries, gap
from .open_answers import Question, Questions, answer_of, asked, questions_of
from .steering import Steered, apart, steered_of
from .tolerant import rows_of
from .unit_sets import Sets, sets_of


@dataclass(frozen=True)
class Held:
    """What a run of LAPE holds; what is not there is None, or empty, and `lacks` says what should be."""

    effects: Effects | None = None
    sets: Sets = field(default_factory=Sets)
    questions: Questions | None = None
    answers: tuple[Question, ...] = ()
    steered: tuple[Steered, ...] = ()
    languages: tuple[str, ...] = ()
    units: Mapping[str, Neurons] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, comparison: Mapping[str, Any] | None, tried: Tries) -> "Held":
        """Read all of it; what is missing or damaged becomes a gap of `tried`. `comparison`: a sound one, see `sound.comparison_of`."""
        effects = None if not run.recipe.compares else tried("The matrix", lambda: effects_of(run.matrix()), None)
        nothing: tuple[Sets, list[tuple[str, str]]] = (Sets(), [])
        sets, odd = tried("The analyses", lambda: sets_of(run.analyses()), nothing)
        tried.gaps += [gap(run, f"The analysis called {name}", why) for name, why in odd]
        no_rows: list[dict[str, Any]] = []
        answers, damaged = _answers(tried("The open answers", run.answers, no_rows))
        if damaged:
            tried.gaps.append(gap(run, f"{len(damaged):,} of the open answers", f"The rows are damaged: {damaged[0]}."))
        languages = effects.languages if effects is not None else tuple(sets.layers.units) if sets.layers is not None else ()
        no_units: dict[str, Neurons] = {}
        units = tried("The plans of single languages", lambda: units_of(run, languages), no_units)
        return cls(effects, sets, questions_of(comparison), answers, _steered(run, tried), languages, units)


def _answers(rows: list[dict[str, Any]]) -> tuple[tuple[Question, ...], list[str]]:
    kept, odd = rows_of(rows, answer_of)
    return asked(kept), odd


def _steered(run: Run, tried: Tries) -> tuple[Steered, ...]:
    """What was steered; a file that is damaged is named, and the others are shown."""
    nothing: dict[str, Any] = {}
    first, found = len(tried.gaps), dict[str, Steered]()
    for name, value in tried("What was steered", run.steered, nothing).items():
        try:
            found[name] = steered_of(value)
        except InputError as error:
            tried.gaps.append(gap(run, f"What was steered ({name})", str(error)))
    # The job knows nothing of steering: going on with it would not bring this back.
    tried.gaps[first:] = [replace(each, how="") for each in tried.gaps[first:]]
    return tuple(apart(found))
