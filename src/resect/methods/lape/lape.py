"""LAPE: the feed-forward units that carry one language or a few, by the entropy of how often each language activates them.

Settings, and the verbs record and select; what is done with the units (switched off, steered) is not known here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from resect.core.address import Neurons, Site
from resect.core.errors import InputError, UnknownName
from resect.core.execution import Workers
from resect.core.scores import Scores
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.models.language_model import LanguageModel

from .activation_counter import sites_of
from .counts import Counts
from .entropy_selection import SelectedUnits, at_random, by_entropy, most_active, specificity, steadiness
from .parameter_variation import ParameterChanges
from .recording import Recording, record

Selector = Literal["lape", "lap", "lave", "pv", "random"]
#: What each selector goes by.
SELECTORS: Mapping[str, str] = {
    "lape": "the entropy of activation probabilities over languages",
    "lap": "activation at more than 95 % of a language's tokens",
    "lave": "the entropy of mean activation values over languages",
    "pv": "how little a unit changes under one language's tuning, and how much under others'",
    "random": "nothing: units at random, as many as LAPE takes",
}


@dataclass(frozen=True)
class Lape:
    """The units that are specific to languages.

    Parameters
    ----------
    fraction : the share of all units that is taken, in [0, 1]
    quantile : the rank, as a share of all probabilities, of the bar that a language must exceed to have a unit, in [0, 1]
    selector : lape, or what it is compared with: lave and pv take the same share by another value; lap and random take for each language
        as many units as LAPE does
    window : tokens that are read at once; None: the model's context, at most 4,096
    tokens : at most so many of each language; None: all there are
    until_stable : stop once the selected set no longer moves; see `recording.record`
    seed : of the random selector

    Raises InputError. Source: METHODS.md, section 2; Tang et al. 2024 (arXiv:2402.16438). Differs from the source in: nothing for lape;
    what it leaves open of lap, lave and pv is told in `specificity`.
    """

    fraction: float = 0.01
    quantile: float = 0.95
    selector: Selector = "lape"
    window: int | None = None
    tokens: int | None = None
    until_stable: bool = False
    seed: int = 0

    #: LAP: the share of a language's tokens at more than which a unit is active.
    always = 0.95

    def __post_init__(self) -> None:
        if self.selector not in SELECTORS:
            raise UnknownName("selector", self.selector, SELECTORS)
        for name in ("fraction", "quantile"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; it is a share from 0 to 1.")
        for name, least in (("window", 2), ("tokens", 1)):
            given = getattr(self, name)
            if given is not None and given < least:
                raise InputError(f"{name} is {given}; it must be at least {least}.")

    def sites_of(self, model: LanguageModel) -> tuple[Site, ...]:
        """Where activations are seen. Raises InputError for a model whose feed-forward blocks have none."""
        sites = sites_of(model)
        if not sites:
            family = model.anatomy.family
            raise InputError(f"This {family} has no feed-forward activation that could be seen, so that LAPE finds no units in it.")
        return sites

    def record(
        self,
        model: LanguageModel,
        texts: Mapping[str, Iterable[str]],
        workers: Workers | None = None,
    ) -> Counts:
        """How often each unit is active on each language's text: `recording(…).counts`. Parameters and errors as there."""
        return self.recording(model, texts, workers).counts

    def recording(
        self,
        model: LanguageModel,
        texts: Mapping[str, Iterable[str]],
        workers: Workers | None = None,
    ) -> Recording:
        """Count activations over the texts, with what is worth knowing of how that went.

        Parameters
        ----------
        texts : by language its documents; read once, never held
        workers : engine, journal and progress; default: this process, in memory, silent

        Raises InputError for a language without text, or with less than one window of it; NotFinite, OutOfMemory, StorageFailure.
        """
        self.sites_of(model)
        # One language alone can be recorded, to be added to others; but nothing can be selected from it on the way.
        select = self.select if len(texts) > 1 and self.selector != "pv" else None
        if self.until_stable and select is None:
            raise InputError("until_stable watches what is selected, which one language alone, or pv, does not tell; leave it out.")
        return record(
            model,
            texts,
            window=self.window,
            tokens=self.tokens,
            select=select,
            until_stable=self.until_stable,
            workers=workers,
        )

    def select(self, counts: Counts, changes: ParameterChanges | None = None) -> dict[str, Neurons]:
        """The units of each language, at `act`; a unit may belong to several languages, and a language may have none.

        Parameters
        ----------
        counts : of two languages or more
        changes : relative changes under single languages' tuning (`variation.variation`), for pv

        Raises InputError for one language, for mean values without sums, for pv without changes.
        """
        chosen = self._chosen(counts, changes)
        return {name: counts.neurons(chosen.of(row).tolist()) for row, name in enumerate(counts.languages)}

    def scores(self, counts: Counts, changes: ParameterChanges | None = None) -> Scores:
        """How specific to languages each unit is: log(languages) − entropy, by the selector's values (LAPE's, where it has none)."""
        flat, values, start = specificity(self._values(counts, changes)), {}, 0
        for site, array in counts.active.items():
            values[site] = flat[start : start + array.shape[1]]
            start += array.shape[1]
        by = self.selector if self.selector in ("lave", "pv") else "lape"
        meaning = f"high: of few of the languages (log of their number − {by.upper()})"
        return Scores(values, "unit", meaning, {"method": "lape", "selector": by, "languages": list(counts.languages)})

    def plans(self, units: Mapping[str, Neurons], model: Any = None) -> dict[str, Plan]:
        """For each language the plan that switches its units off: their activation is set to 0. Without units the plan is empty.

        `model`: what the plans are for (LanguageModel, Hugging Face model), so that they carry its identity.
        """
        found = {name: Plan((Scale(each, 0.0),) if each.count else ()) for name, each in units.items()}
        return found if model is None else {name: plan.for_model(model) for name, plan in found.items()}

    def _values(self, counts: Counts, changes: ParameterChanges | None) -> Any:
        if self.selector == "lave":
            return counts.means()
        if self.selector != "pv":
            return counts.probabilities()
        if changes is None:
            raise InputError("pv goes by checkpoints that were tuned on single languages: give one for each language (--checkpoint).")
        if tuple(changes.languages) != counts.languages:
            raise InputError(
                f"The checkpoints are of {', '.join(changes.languages)} and the counts of {', '.join(counts.languages)}; give the same, in "
                "the same order."
            )
        return steadiness(changes.flat())

    def _chosen(self, counts: Counts, changes: ParameterChanges | None) -> SelectedUnits:
        if self.selector in ("lape", "lave", "pv"):
            return by_entropy(self._values(counts, changes), self.fraction, self.quantile)
        probabilities = counts.probabilities()
        sizes = by_entropy(probabilities, self.fraction, self.quantile).sizes
        return at_random(counts.units, sizes, self.seed) if self.selector == "random" else most_active(probabilities, sizes, self.always)
