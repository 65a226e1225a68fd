"""The settings of LAPE: their declarations, what they exclude, and sentences on them for a report. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from resect.core.errors import BadRecipe
from resect.core.number_format import plural
from resect.data.corpus import parse_corpus_entries
from resect.runs.declarations import setting
from resect.runs.job_settings import Reads
from resect.runs.methods import MethodSettings

#: What steering can do with the units of a language (see `steering.steering_plan`).
STEERING_MODES = ("set", "add", "multiply", "difference")
Selector = Literal["lape", "lap", "lave", "pv", "random"]
#: LAP: the share of a language's tokens above which a unit counts as one of the language.
LAP_THRESHOLD = 0.95
#: The units that each selector selects, as a part of a sentence with the share of units.
SELECTORS: Mapping[str, str] = {
    "lape": "the {share} of all units whose activation probabilities have the lowest entropy over languages (LAPE)",
    "lap": f"the units that are active at more than {100 * LAP_THRESHOLD:g} % of a language's tokens, as many as LAPE with {{share}} "
    "selects (LAP)",
    "lave": "the {share} of all units whose mean activations have the lowest entropy over languages (LAVE)",
    "pv": "the {share} of all units whose parameters change little in the tuning on one language and much in that on others (PV)",
    "random": "random units, as many as LAPE with {share} selects",
}


@dataclass(frozen=True)
class LapeSettings(MethodSettings):
    """The settings of LAPE (see `Lape` for what they do). Raises InputError for impossible settings."""

    name: ClassVar[str] = "lape"
    summary: ClassVar[str] = "Find the units of each language, deactivate them, and measure which languages suffer."
    source: ClassVar[str] = "Tang et al., ACL 2024, arXiv:2402.16438"
    reads: ClassVar[Reads] = Reads.CORPORA
    implemented_by: ClassVar[str] = "resect.methods.lape.lape:Lape"
    scores_units: ClassVar[bool] = True
    overrides: ClassVar[Mapping[str, Sequence[str]]] = {
        "record_only": (
            *("valid_tokens", "selector", "quantile", "fraction", "checkpoint", "draws", "questions", "suffix", "new_tokens"),
            *("parallel", "judge", "judge_model", "until_stable"),
        ),
    }

    fraction: float = setting(0.01, "Share of all feed-forward units that is selected (0.01 is 1 %).", least=0.0, most=1.0, metavar="F")
    quantile: float = setting(
        0.95,
        "Quantile of all activation probabilities that a unit's own must exceed for the unit to belong to a language.",
        least=0.0,
        most=1.0,
        metavar="Q",
    )
    selector: Selector = setting(
        "lape",
        "How units are selected: by the entropy of activation probabilities (lape), or, for comparison, by the probabilities (lap), by the "
        "entropy of mean activations (lave), by checkpoints tuned on single languages (pv), or at random (random).",
    )
    window: int | None = setting(None, "Tokens of one forward pass; by default the model's context, at most 4,096.", least=2, metavar="N")
    tokens: int | None = setting(
        None, "Read at most this number of tokens of each language.", least=1, metavar="N", key="corpus_tokens", flag="tokens"
    )
    until_stable: bool = setting(
        False, "Stop reading once doubling the text has changed less than 5 % of the selected units, twice in a row."
    )
    counts: tuple[str, ...] = setting(
        (),
        "Counts that were recorded before, to be added: counts.safetensors of a run, or LANG=FILE of the authors' code.",
        path=True,
        metavar="[LANG=]FILE",
    )
    checkpoint: tuple[str, ...] = setting(
        (), "The model tuned on each language alone, for the selector pv.", path=True, metavar="LANG=PATH"
    )
    record_only: bool = setting(False, "Only record counts, to be added to others by --counts; one language is enough.")
    seed: int = 0

    @property
    def compares(self) -> bool:
        """Whether plans are compared: not where counts are only recorded."""
        return not self.record_only

    def check_recipe(self, values: Mapping[str, Any]) -> None:
        """Raises BadRecipe where neither text nor counts are given, or checkpoints and selector do not agree."""
        if not values["corpus"] and not self.counts:
            raise BadRecipe(
                "lape needs text of several languages: give it by --corpus en=PATH fr=PATH …, or counts of it by --counts FILE."
            )
        if (self.selector == "pv") != bool(self.checkpoint):
            raise BadRecipe("The selector pv needs a checkpoint for each language (--checkpoint LANG=PATH); give both, or neither.")
        parse_corpus_entries(self.checkpoint, "--checkpoint")

    def describe(self) -> list[str]:
        """What was recorded, selected and deactivated, in sentences."""
        sentences = [
            "Recorded (LAPE, Tang et al., ACL 2024): a unit of a feed-forward block is active at a token where the output of its "
            "activation function is above 0. The activation probability is the share of a language's tokens at which it is active."
        ]
        if self.window is not None:
            sentences.append(f"The text was split into windows of {plural(self.window, 'tokens')}.")
        if self.tokens is not None:
            sentences.append(f"At most {plural(self.tokens, 'tokens')} of each language were read.")
        if self.until_stable:
            sentences.append("Reading stops once doubling the text has changed less than 5 % of the selected units, twice in a row.")
        if self.counts:
            sentences.append(f"Counts that were recorded before were added, from {plural(len(self.counts), 'files')}.")
        if self.record_only:
            return [*sentences, "Counts were only recorded: nothing was selected and nothing deactivated."]
        selected = f"Selected: {SELECTORS[self.selector].format(share=f'{100 * self.fraction:g} %')}."
        if self.selector in ("lape", "lave", "pv"):
            selected += (
                f" A unit is selected only if its value for some language exceeds the threshold, the {100 * self.quantile:g} % quantile of "
                "all values; it belongs to every language for which it does."
            )
        deactivated = "Deactivated: the activation of a language's units is set to 0, and held-out text of every language is read again."
        return [*sentences, selected, deactivated]

    def alternatives(self, values: Mapping[str, Any], comparison: Mapping[str, Any], is_empty: bool) -> list[tuple[str, dict[str, Any]]]:
        """What to try where the units are not specific: more held-out text, more units, another selector."""
        suggestions: list[tuple[str, dict[str, Any]]] = []
        if values.get("valid_tokens") is not None:
            suggestions.append(("measure on all the held-out text:", {"valid_tokens": None}))
        if self.selector != "lape":
            return [*suggestions, ("select by LAPE instead:", {"selector": "lape", "checkpoint": ()})]
        if self.fraction < 0.05:
            suggestions.append(("select more units:", {"fraction": min(5 * self.fraction, 0.05) or 0.05}))
        if not is_empty:
            suggestions.append(("compare with units by their mean activation (LAVE):", {"selector": "lave"}))
        return suggestions
