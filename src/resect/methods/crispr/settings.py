"""The settings of CRISPR: their declarations, what they exclude, and sentences on them for a report. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from resect.core.errors import InputError
from resect.core.number_format import plural
from resect.runs.declarations import setting
from resect.runs.guard_limits import CONSTANT
from resect.runs.job_settings import Reads
from resect.runs.methods import MethodSettings
from resect.search.size_search import SCALES, SizeChoice

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
#: The largest share of all neurons that is cut by default (the patent's claim), and the least limit, since small models have few neurons.
MAX_FRACTION, LEAST_LIMIT = 0.001, 50
#: Where else to score neurons, where cutting did not help.
FEED_FORWARD = ("*.{gate,up,down}",)
#: The factors among which `factor="search"` chooses.
FACTORS = (0.0, 0.25, 0.5, 0.75)
#: The tag that is protected by default where neurons are located on the other.
COUNTERPARTS = {"ambig": "disambig"}


def _worst_tag(comparison: Mapping[str, Any]) -> str | None:
    """The tag of the lowest accuracy, whose interval is below that of another; None where no tag is clearly worse."""
    base = comparison.get("base") or {}
    means, intervals = base.get("by_tag") or {}, base.get("interval_by_tag") or {}
    known = [tag for tag in means if tag in intervals]
    worst = min(known, key=lambda tag: means[tag], default=None)
    return worst if worst is not None and any(intervals[worst][1] < intervals[tag][0] for tag in known) else None


def _is_constant(comparison: Mapping[str, Any]) -> bool:
    """Whether the model without an edit gives one kind of answer to nearly everything."""
    frequent = ((comparison.get("answers") or {}).get("most_frequent") or {}).get("base") or {}
    return float(frequent.get("share") or 0.0) >= CONSTANT


@dataclass(frozen=True)
class CrisprSettings(MethodSettings):
    """The settings of CRISPR (see `Crispr` for what they do). Raises InputError for impossible settings."""

    name: ClassVar[str] = "crispr"
    summary: ClassVar[str] = "Find bias neurons, cut them, and measure on held-out examples what changed."
    source: ClassVar[str] = "Yang et al., ACL 2024, arXiv:2311.09627"
    reads: ClassVar[Reads] = Reads.TASK
    implemented_by: ClassVar[str] = "resect.methods.crispr.crispr:Crispr"
    scores_units: ClassVar[bool] = True

    samples: int = setting(20, "Number of examples of the locate split by which bias neurons are located.", least=1, metavar="N")
    variant: Literal["paper", "official"] = setting("paper", "Compute as the paper describes, or as its authors' code does.")
    tokens: Literal["max", "mean"] = setting("max", "How a neuron's scores at the tokens of one example are combined.")
    confusion_weight: bool = setting(True, "Weight each example by the probability of its most probable wrong answer.")
    skill: float = setting(
        1.0, "How much of a neuron's attribution to the right answer is subtracted from its score.", least=0.0, metavar="λ"
    )
    locate_on: str | tuple[str, ...] = setting(
        (), "Locate only on examples that have all of these tags, such as ambig.", metavar="TAG", commas=True
    )
    protect: str | tuple[str, ...] = setting(
        (),
        "Subtract the attribution to the right answers of these examples too: of a tag, or of another task (glue/rte); none: of no "
        "examples. By default disambig, where neurons are located on ambig alone.",
        metavar="TAG|TASK|none",
        commas=True,
    )
    factor: Literal["search"] | float = setting(
        0.0,
        "Multiply the neurons by this factor instead of 0; search: by one of 0, 0.25, 0.5 and 0.75, chosen with n.",
        least=0.0,
        most=1.0,
        metavar="F|search",
    )
    sites: str | tuple[str, ...] = setting(
        (), "The matrices whose neurons are scored: globs like decoder.*.up or '*.{q,k}'. By default all.", metavar="GLOB"
    )
    seed: int = 0
    n: int | None = setting(None, "Cut exactly this number of neurons; nothing is searched.", least=0, metavar="N")
    fraction: float | None = setting(
        None, "Cut this share of all neurons (0.001 is 0.1 %); nothing is searched.", least=0.0, most=1.0, metavar="F"
    )
    choose: SizeChoice = setting(
        "golden",
        "How the number of cut neurons is chosen on the select split: by golden section, by trying every number (grid), or by increasing "
        "it up to the first drop.",
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
        None,
        "Combine the scores at tokens after the skill is subtracted (joint, paper), or before, separately for both answers (apart, "
        "official).",
    )
    skill_batch: int | None = setting(
        None, "Sum the skill over this number of examples before it is clamped (paper 0, official 4).", least=0, metavar="N"
    )
    metric: Literal["accuracy", "generation"] | None = setting(
        None,
        "How the number of neurons is chosen and the edit compared: by the most probable choice (accuracy, paper) or by generated text "
        "(generation, official).",
    )
    authors_task: bool | None = setting(None, "Use built-in tasks with the prompt and the split of the authors' code (official).")
    largest: int | None = setting(
        None, "Largest number of neurons that is tried (official 500); by default see --max-fraction.", least=0, metavar="N"
    )
    trials: int = setting(1, "Repeat with other samples, each trial with its own cut.", least=1, metavar="N")
    scale: Literal["log", "linear"] | None = None
    draws: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in PRESETS[self.variant].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.sites in ("*", ("*",)):
            object.__setattr__(self, "sites", ())
        if self.variant == "official" and self.draws == 1:
            object.__setattr__(self, "draws", self.trials)
        if self.draws < 1 or self.scale not in SCALES:
            raise InputError(f"draws is 1 or more and scale is one of {', '.join(SCALES)}, not {self.draws} and {self.scale!r}.")
        if self.n is not None and self.fraction is not None:
            raise InputError(f"n = {self.n} and fraction = {self.fraction} both say how many neurons are cut; give one of them.")
        both = set(self.tags) & set(self.protected_names)
        if both:
            raise InputError(
                f"{', '.join(sorted(both))} is both located on and protected: what makes its right answers would be added and subtracted. "
                "Protect another tag, or locate on another."
            )
        if self.skill_batch and self.pooling == "joint":
            raise InputError('skill_batch sums pooled skill terms, so it needs pooling="apart".')

    def repetitions(self) -> tuple[Mapping[str, Any], ...]:
        """A seed for each trial; `official` averages the scores of its draws into one ranking instead."""
        if self.trials == 1 or self.variant == "official":
            return ()
        return tuple({"trials": 1, "seed": self.seed + trial} for trial in range(self.trials))

    def describe(self) -> list[str]:
        """How neurons were scored, on what, and how many were cut, in sentences."""
        source = "as its paper describes" if self.variant == "paper" else "as its authors' code does"
        kind = "largest value" if self.tokens == "max" else "mean"
        weight = "weights each example by the probability of its wrong answer" if self.confusion_weight else "weights all examples alike"
        skill = f"the attribution to the right answer is subtracted (λ = {self.skill:g})" if self.skill else "no skill term is subtracted"
        sentences = [
            f"CRISPR, {source} (Yang et al., ACL 2024): the score of a neuron is how much of the model's preference for a wrong answer "
            f"runs through it. {self._what_is_done()}",
            f"The score takes the {kind} over the tokens of an example and {weight}; {skill}.",
            self._where_scored(),
            self._how_many(),
        ]
        preset = PRESETS[self.variant]
        others = [f"{name} = {getattr(self, name)}" for name in preset if name != "largest" and getattr(self, name) != preset[name]]
        if others:
            sentences.append(f"Other than in this variant: {', '.join(others)}.")
        if self.trials > 1 and self.variant == "paper":
            sentences.append(f"The search was repeated: {plural(self.trials, 'trials')} with other examples, each with its own cut.")
        if self.authors_task:
            sentences.append(
                "In built-in tasks the splits of the authors' code overlap: examples that chose n may be among those reported here."
            )
        return sentences

    def _what_is_done(self) -> str:
        if self.factor == "search":
            factors = ", ".join(f"{factor:g}" for factor in FACTORS)
            return f"The neurons with the highest scores are multiplied by a factor, one of {factors}, chosen together with their number."
        if self.factor:
            return f"The neurons with the highest scores are multiplied by {self.factor:g}."
        return "The neurons with the highest scores are cut: their weights and their bias are set to 0."

    def _where_scored(self) -> str:
        where = f"at the sites that match {', '.join(self.site_globs)}" if self.sites else "at every matrix of the blocks"
        tagged = f" with the tag{'s' if len(self.tags) > 1 else ''} {', '.join(self.tags)}" if self.tags else ""
        draws = f", averaged over {plural(self.draws, 'draws')}" if self.draws > 1 else ""
        sentence = f"Neurons were scored {where}, on at most {plural(self.samples, 'examples')}{tagged}{draws}."
        if self.protected_names:
            sentence += f" The attribution to right answers of {', '.join(self.protected_names)} was subtracted too (protection, ours)."
        return sentence

    def _how_many(self) -> str:
        if self.n is not None:
            return f"{self.n:,} neurons are cut, as requested; nothing was searched."
        if self.fraction is not None:
            return f"{100 * self.fraction:g} % of all neurons are cut, as requested; nothing was searched."
        searches = {"golden": "golden section", "grid": "trying every number", "first-drop": "increasing it up to the first drop"}
        most = "0.1 % of all, or 50 where that is more"
        if self.max_fraction is not None:
            most = f"{100 * self.max_fraction:g} % of all"
        elif self.largest is not None:
            most = f"{self.largest:,}"
        return f"How many to cut was chosen by {searches[self.choose]} on the select split, from 0 to {most}."

    def alternatives(self, values: Mapping[str, Any], comparison: Mapping[str, Any], is_empty: bool) -> list[tuple[str, dict[str, Any]]]:
        """What to try where cutting did not help, or damaged: guards, part of a neuron, other examples, more of them, other matrices."""
        suggestions: list[tuple[str, dict[str, Any]]] = []
        damages = (comparison.get("verdict") or {}).get("word") == "damages"
        refused = ((comparison.get("other_metrics") or {}).get("guards") or {}).get("refused")
        if damages and tuple(values.get("guard") or ()) == ("none",):
            suggestions.append(("let guards hold, so that no cut that damages can win:", {"guard": ()}))
        if (damages or refused) and self.factor == 0 and self.n is None:
            suggestions.append(("weaken neurons instead of cutting them, as far as guards allow:", {"factor": "search"}))
        if self.n is not None:
            suggestions.append(("let the select split choose how many:", {"n": None}))
        worst = _worst_tag(comparison)
        tags = (comparison.get("base") or {}).get("by_tag") or {}
        if {"ambig", "disambig"} <= set(tags):  # BBQ's bias shows where nothing in the context answers the question
            worst = "ambig"
        if _is_constant(comparison):
            suggestions.append(("the model gives one answer to nearly everything; ask it in its chat template:", {"chat_template": True}))
        elif worst is not None and not self.locate_on:
            suggestions.append((f"locate on examples tagged {worst} only:", {"locate_on": (worst,)}))
        if values.get("limit") is not None:
            suggestions.append(("use more examples, without the limit:", {"limit": None}))
        else:
            suggestions.append(("locate on more examples:", {"samples": 3 * self.samples}))
        if self.sites:
            suggestions.append(("score the neurons of all matrices:", {"sites": ()}))
        else:
            suggestions.append(("score the feed-forward blocks only:", {"sites": FEED_FORWARD}))
        return suggestions

    @property
    def site_globs(self) -> tuple[str, ...]:
        """The globs of the matrices whose neurons are scored."""
        return (self.sites,) if isinstance(self.sites, str) else self.sites or ("*",)

    @property
    def protected_names(self) -> tuple[str, ...]:
        """The tags and tasks that are named as protected; empty where none is, or by default."""
        names = (self.protect,) if isinstance(self.protect, str) else self.protect
        return tuple(name for name in names if name != "none")

    @property
    def named_tasks(self) -> tuple[str, ...]:
        """The protected names: each is a tag or a task."""
        return self.protected_names

    def protected_of(self, tags: Sequence[str]) -> tuple[str, ...]:
        """The tags and tasks that are protected in a task with these tags: those that are named, or the counterpart of `locate_on`."""
        if self.protect or self.variant == "official":
            return self.protected_names
        counterparts = [COUNTERPARTS.get(tag) for tag in self.tags] if len(self.tags) == 1 else []
        return tuple(tag for tag in counterparts if tag is not None and tag in tags)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that an example needs to be located on."""
        return (self.locate_on,) if isinstance(self.locate_on, str) else self.locate_on
