"""The settings of LAPE, with what they mean in sentences. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from resect.core.errors import BadRecipe, InputError, UnknownName
from resect.data.corpus import parse_corpus_entries
from resect.runs.declarations import setting
from resect.runs.job_settings import Reads
from resect.runs.methods import MethodSettings

Selector = Literal["lape", "lap", "lave", "pv", "random"]
#: What each selector selects, as a sentence with the share of units.
SELECTORS: Mapping[str, str] = {
    "lape": "the {share} of all units whose activation probabilities have the lowest entropy over languages (LAPE)",
    "lap": "the units that are active at more than 95 % of a language's tokens, as many as LAPE with {share} selects (LAP)",
    "lave": "the {share} of all units whose mean activations have the lowest entropy over languages (LAVE)",
    "pv": "the {share} of all units whose parameters change least under the tuning on one language, and most under the others' (PV)",
    "random": "random units, as many as LAPE with {share} selects",
}


@dataclass(frozen=True)
class LapeSettings(MethodSettings):
    """The settings of LAPE (see `Lape` for what they do). Raises InputError."""

    name: ClassVar[str] = "lape"
    summary: ClassVar[str] = "Find the units that carry a language, deactivate them, and measure which languages suffer."
    source: ClassVar[str] = "Tang et al., ACL 2024, arXiv:2402.16438"
    reads: ClassVar[Reads] = Reads.CORPORA
    overrides: ClassVar[Mapping[str, Sequence[str]]] = {
        "record_only": (
            *("valid_tokens", "selector", "quantile", "fraction", "checkpoint", "draws", "questions", "suffix", "new_tokens"),
            *("parallel", "judge", "judge_model", "until_stable"),
        ),
    }

    fraction: float = setting(
        0.01, "Share of all feed-forward units that is selected as units of languages.", least=0.0, most=1.0, metavar="F"
    )
    quantile: float = setting(
        0.95,
        "The threshold that a language must exceed to have a unit: this quantile of all activation probabilities.",
        least=0.0,
        most=1.0,
        metavar="Q",
    )
    selector: Selector = setting(
        "lape",
        "How units are selected: by the entropy of activation probabilities (lape), or what it is compared with: probabilities (lap), mean "
        "values (lave), tuned checkpoints (pv), at random (random).",
    )
    window: int | None = setting(None, "Tokens of one forward pass; by default the model's context, at most 4,096.", least=2, metavar="N")
    tokens: int | None = setting(
        None, "Read at most so many tokens of each language.", least=1, metavar="N", key="corpus_tokens", flag="tokens"
    )
    until_stable: bool = setting(
        False, "Stop reading once twice the text has changed less than 5 % of the selected units, two times running."
    )
    counts: tuple[str, ...] = setting(
        (),
        "Counts that were recorded elsewhere, to be added: counts.safetensors, or LANG=FILE as the authors' code writes it.",
        path=True,
        metavar="[LANG=]FILE",
    )
    checkpoint: tuple[str, ...] = setting((), "The model tuned on each language alone (for pv).", path=True, metavar="LANG=PATH")
    record_only: bool = setting(False, "Only record counts, to be merged with others by --counts; one language is enough.")
    seed: int = 0

    #: LAP: the share of a language's tokens at more than which a unit is active.
    always: ClassVar[float] = 0.95

    @classmethod
    def implementation(cls) -> type[Any]:
        """The class that records and selects."""
        from .lape import Lape

        return Lape

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

    @property
    def compares(self) -> bool:
        """Not where counts are only recorded."""
        return not self.record_only

    def check_recipe(self, values: Mapping[str, Any]) -> None:
        """Raises BadRecipe where no text is given, or a selector lacks what it needs."""
        if not values["corpus"] and not self.counts:
            raise BadRecipe(
                "lape reads text of several languages: give it by --corpus en=PATH fr=PATH …, or counts of it by --counts FILE."
            )
        if (self.selector == "pv") != bool(self.checkpoint):
            raise BadRecipe("The selector pv needs a checkpoint for each language (--checkpoint LANG=PATH); give both, or neither.")
        parse_corpus_entries(self.checkpoint, "--checkpoint")

    def describe(self) -> list[str]:
        """What was done, in sentences: recorded, selected, deactivated."""
        recorded = (
            "Recorded (LAPE, Tang et al., ACL 2024): a unit of a feed-forward block is active at a token where the output of its "
            "activation function is above 0. The activation probability is the share of a language's tokens at which it is active."
        )
        if self.record_only:
            return [recorded, "Counts were only recorded: nothing was selected and nothing deactivated."]
        selected = f"Selected: {SELECTORS[self.selector].format(share=f'{100 * self.fraction:g} %')}."
        if self.selector in ("lape", "lave", "pv"):
            selected += (
                f" A unit counts only where the value of some language exceeds the threshold, the {100 * self.quantile:g} % quantile of "
                "all values; it belongs to every language whose value does."
            )
        deactivated = "Deactivated: the activation of a language's units is set to 0, and held-out text of every language is read again."
        return [recorded, selected, deactivated]

    def alternatives(self, values: Mapping[str, Any], comparison: Mapping[str, Any], is_empty: bool) -> list[tuple[str, dict[str, Any]]]:
        """What to try where the units are not specific: more of them, or another selector."""
        tries: list[tuple[str, dict[str, Any]]] = []
        if values.get("valid_tokens") is not None:
            tries.append(("measure on all the held-out text:", {"valid_tokens": None}))
        if self.selector != "lape":
            return [*tries, ("select by LAPE instead:", {"selector": "lape", "checkpoint": ()})]
        if self.fraction < 0.05:
            tries.append(("select more units:", {"fraction": min(5 * self.fraction, 0.05) or 0.05}))
        if not is_empty:
            tries.append(("compare with units by their mean activation (LAVE):", {"selector": "lave"}))
        return tries
