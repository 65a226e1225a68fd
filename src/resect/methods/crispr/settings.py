"""The settings of CRISPR, with what they mean in sentences. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from resect.core.errors import InputError
from resect.runs.declarations import setting
from resect.runs.job_settings import Reads
from resect.runs.methods import MethodSettings
from resect.search.size_search import CHOICES, SCALES, SizeChoice

#: What a variant sets, where a field is left None.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {
        "gradient": "probability",
        "pooling": "joint",
        "skill_batch": 0,
        "metric": "accuracy",
        "authors_task": False,
        "largest": None,
        "scale": "log",
    },
    "official": {
        "gradient": "log-probability",
        "pooling": "apart",
        "skill_batch": 4,
        "metric": "generation",
        "authors_task": True,
        "largest": 500,
        "scale": "linear",
    },
}
#: Share of all neurons that may be cut by default (the patent's claim), and the least number that is tried: small models have few.
MAX_FRACTION, LEAST_LIMIT = 0.001, 50
_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "tokens": ("max", "mean"),
    "gradient": ("probability", "log-probability"),
    "pooling": ("joint", "apart"),
    "metric": ("accuracy", "generation"),
    "choose": CHOICES,
    "scale": SCALES,
}


@dataclass(frozen=True)
class CrisprSettings(MethodSettings):
    """The settings of CRISPR (see `Crispr` for what they do). Raises InputError for a setting that does not exist."""

    name: ClassVar[str] = "crispr"
    summary: ClassVar[str] = "Find bias neurons, cut them, and measure on held-out examples what changed."
    source: ClassVar[str] = "Yang et al., ACL 2024, arXiv:2311.09627"
    reads: ClassVar[Reads] = Reads.TASK

    samples: int = setting(20, "Examples of the locate split that find the neurons.", least=1, metavar="N")
    variant: Literal["paper", "official"] = setting("paper", "Compute as the paper writes it, or as its authors' code does it.")
    tokens: Literal["max", "mean"] = setting("max", "How a neuron's scores at the tokens of one example are combined.")
    confusion_weight: bool = setting(True, "Weigh each example by the probability of its wrong answer.")
    skill: float = setting(
        1.0, "How much of a neuron's attribution to the right answer is subtracted from its score.", least=0.0, metavar="λ"
    )
    locate_on: str | tuple[str, ...] = setting(
        (), "Locate only on examples that carry every one of these tags, e.g. ambig.", metavar="TAG", commas=True
    )
    sites: str | tuple[str, ...] = setting(
        (), "The matrices whose neurons are scored: globs like decoder.*.up or '*.{q,k}'. By default all.", metavar="GLOB"
    )
    seed: int = 0
    n: int | None = setting(None, "Cut exactly so many neurons; nothing is searched.", least=0, metavar="N")
    fraction: float | None = setting(
        None, "Cut this share of all neurons (0.001 is 0.1 %); nothing is searched.", least=0.0, most=1.0, metavar="F"
    )
    choose: SizeChoice = setting(
        "golden", "How many neurons are cut: by golden section on the select split, every number, or up to the first drop."
    )
    max_fraction: float | None = setting(
        None,
        "Largest share of all neurons that is tried; by default 0.001, but at least 50 neurons.",
        least=0.0,
        most=1.0,
        metavar="F",
    )
    gradient: Literal["probability", "log-probability"] | None = setting(
        None, "What is differentiated: the answer's probability (paper) or its logarithm (official)."
    )
    pooling: Literal["joint", "apart"] | None = setting(
        None, "Combine tokens after the skill is subtracted (joint, paper), or for both answers before (apart, official)."
    )
    skill_batch: int | None = setting(
        None, "Sum skill over so many examples before it is clamped (0 in the paper, 4 official).", least=0, metavar="N"
    )
    metric: Literal["accuracy", "generation"] | None = setting(
        None, "How n is chosen and the edit compared: by the most probable choice (accuracy, paper) or by generated text (official)."
    )
    authors_task: bool | None = setting(None, "Use built-in tasks with the prompt and the split of the authors' code (official).")
    largest: int | None = setting(
        None, "Largest number of neurons that is tried (500 official); by default see max_fraction.", least=0, metavar="N"
    )
    trials: int = setting(1, "Repeat with other samples, each trial with its own cut.", least=1, metavar="N")
    scale: Literal["log", "linear"] | None = None
    draws: int = 1

    @classmethod
    def implementation(cls) -> type[Any]:
        """The class that locates and searches."""
        from .crispr import Crispr

        return Crispr

    def __post_init__(self) -> None:
        if self.variant not in PRESETS:
            raise InputError(f"The variant of CRISPR is one of {', '.join(PRESETS)}, not {self.variant!r}.")
        for name, value in PRESETS[self.variant].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.sites in ("*", ("*",)):
            object.__setattr__(self, "sites", ())
        if self.variant == "official" and self.draws == 1:
            object.__setattr__(self, "draws", self.trials)
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is one of {', '.join(map(repr, allowed))}, not {getattr(self, name)!r}.")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if min(self.samples, self.draws, self.trials) < 1 or self.skill < 0 or (self.n is not None and self.n < 0):
            raise InputError("samples, draws and trials are 1 or more, skill and n are 0 or more.")
        if self.n is not None and self.fraction is not None:
            raise InputError(f"n = {self.n} and fraction = {self.fraction} both say how many neurons are cut; give one of them.")
        for name in ("fraction", "max_fraction"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a share from 0 to 1, not {getattr(self, name)}.")
        if self.skill_batch and self.pooling == "joint":
            raise InputError('skill_batch sums pooled skill terms, so it needs pooling="apart".')

    def repetitions(self) -> tuple[Mapping[str, Any], ...]:
        """A seed for each trial; `official` averages the scores of its draws into one ranking instead."""
        if self.trials == 1 or self.variant == "official":
            return ()
        return tuple({"trials": 1, "seed": self.seed + trial} for trial in range(self.trials))

    def describe(self) -> list[str]:
        """What was done, in sentences."""
        source = "as its paper writes it" if self.variant == "paper" else "as its authors' code does it"
        kind = "largest value" if self.tokens == "max" else "mean"
        weight = "weighs each example by the probability of its wrong answer" if self.confusion_weight else "weighs all examples alike"
        skill = f"the attribution to the right answer is subtracted (λ = {self.skill:g})" if self.skill else "no skill term is subtracted"
        where = f"at the sites that match {', '.join(self.site_globs)}" if self.sites else "at every matrix of the blocks"
        sentences = [
            f"CRISPR, {source} (Yang et al., ACL 2024): each neuron has a score, how much of the model's preference for a wrong answer "
            "runs through it. Those with the highest scores are cut: their weights and their bias are set to 0.",
            f"The score takes the {kind} over the tokens of an example and {weight}; {skill}. Neurons were scored {where}.",
            self._how_many(),
        ]
        if self.variant == "official":
            sentences.append("The splits of the authors' code overlap: examples that chose n may be among those reported here.")
        return sentences

    def _how_many(self) -> str:
        if self.n is not None:
            return f"{self.n:,} neurons are cut, as requested; nothing was searched."
        if self.fraction is not None:
            return f"{100 * self.fraction:g} % of all neurons are cut, as requested; nothing was searched."
        searches = {"golden": "golden section", "grid": "trying every number", "first-drop": "increasing it up to the first drop"}
        most = "0.1 % of all, or 50 where that is more"
        if self.largest is not None:
            most = f"{self.largest:,}"
        elif self.max_fraction is not None:
            most = f"{100 * self.max_fraction:g} % of all"
        return f"How many to cut was chosen by {searches[self.choose]} on the select split, from 0 to {most}."

    def alternatives(self, values: Mapping[str, Any], comparison: Mapping[str, Any], is_empty: bool) -> list[tuple[str, dict[str, Any]]]:
        """What to try where cutting did not help: other examples, more of them, other matrices."""
        tags = list((comparison.get("base") or {}).get("by_tag") or {})
        tries: list[tuple[str, dict[str, Any]]] = []
        if tags and not self.locate_on:
            first = "ambig" if "ambig" in tags else tags[0]
            tries.append((f"locate only on examples tagged {first}:", {"locate_on": (first,)}))
        if values.get("limit") is not None:
            tries.append(("use more examples, without the limit:", {"limit": None}))
        else:
            tries.append(("locate on more examples:", {"samples": 3 * self.samples}))
        if self.sites:
            tries.append(("score the neurons of all matrices:", {"sites": ()}))
        else:
            tries.append(("score the feed-forward blocks only:", {"sites": ("*.{gate,up,down}",)}))
        return tries

    @property
    def site_globs(self) -> tuple[str, ...]:
        """The globs of the matrices whose neurons are scored."""
        return (self.sites,) if isinstance(self.sites, str) else self.sites or ("*",)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that an example needs to be located on."""
        return (self.locate_on,) if isinstance(self.locate_on, str) else self.locate_on
