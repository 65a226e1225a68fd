"""The settings of LASER, with what they mean in sentences. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from resect.core.errors import BadRecipe, InputError
from resect.runs.declarations import setting
from resect.runs.job_settings import Reads
from resect.runs.methods import MethodSettings

#: The shares of the rank that are tried (the paper's Table 5, and the .4 that its Table 3 reports).
RHOS = (0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.01)
#: What a variant sets, where a field is left None.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"decomposition": "exact", "authors_task": False, "search_prompt": False},
    "official": {"decomposition": "svd_lowrank", "authors_task": True, "search_prompt": True},
}
KEEP = ("largest", "smallest")
#: Where else to search, and with which ranks between the default ones, where the search found nothing.
ATTENTION, FINER = ("*.{q,k,v,o}",), (0.95, 0.85, 0.7, 0.5, 0.3)
#: The floating-point number of bytes of a gigabyte in the settings.
GIGABYTE = 2**30


@dataclass(frozen=True)
class LaserSettings(MethodSettings):
    """The settings of LASER (see `Laser` for what they do). Raises InputError for a setting that does not exist, or two that conflict."""

    name: ClassVar[str] = "laser"
    summary: ClassVar[str] = "Find the weight matrix that does better at a lower rank, and measure on held-out examples what changed."
    source: ClassVar[str] = "Sharma et al., ICLR 2024, arXiv:2312.13558"
    reads: ClassVar[Reads] = Reads.TASK
    overrides: ClassVar[Mapping[str, Sequence[str]]] = {
        "task_free": (
            *("rho", "keep", "compose", "published", "screen", "screened", "variant", "metric"),
            *("decomposition", "authors_task", "search_prompt"),
        ),
        "published": ("rho", "sites", "keep", "compose", "screen", "screened"),
    }

    rhos: tuple[float, ...] = setting(
        RHOS, "Shares of a matrix' rank that are tried; 0 sets it to zero.", least=0.0, metavar="R", key="rho"
    )
    sites: str | tuple[str, ...] = setting(
        (),
        "The matrices that are searched: globs like decoder.*.up or '*.{q,k}'. By default the first and the last matrix of each "
        "feed-forward block.",
        metavar="GLOB",
    )
    variant: Literal["paper", "official"] = setting("paper", "Compute as the paper writes it, or as its authors' code does it.")
    metric: Literal["accuracy", "generation", "logloss", "topk", "top1", "top5", "top10"] | None = setting(
        None,
        "How the reduction is chosen and compared: by the most probable choice (accuracy), generated text, the right answer's log loss, "
        "or whether its first token is among the most probable (topk). By default the task's own metric.",
    )
    keep: Literal["largest", "smallest"] = setting("largest", "Which components of a matrix are kept.")
    compose: bool = setting(False, "Reduce one matrix after the other, as long as it helps, not the best one alone.")
    published: bool = setting(False, "Search nothing: use what the paper chose for this model and task.")
    screen: Literal["gradient"] | None = setting(None, "Search only the matrices that one backward pass finds promising.")
    screened: int = setting(4, "How many matrices are searched after a screening.", least=1, metavar="N", needs="screen")
    task_free: bool = setting(
        False, "Without a task: drop what looks like noise in a matrix' spectrum, where the perplexity of plain text allows it."
    )
    rise: float = setting(
        0.01,
        "With --task-free: the share by which the perplexity of plain text may rise in all.",
        least=0.0,
        metavar="F",
        needs="task_free",
    )
    decomposition: Literal["exact", "svd_lowrank"] | None = setting(
        None, "Decompose exactly (paper), or by a randomised approximation with a seed (official)."
    )
    authors_task: bool | None = setting(None, "Use built-in tasks with the prompt and the split of the authors' code (official).")
    search_prompt: bool | None = setting(
        None, "Count an answer that occurs in the question as given (official, for some models and tasks)."
    )
    state_memory: float | None = setting(
        None,
        "Gigabytes of hidden states that may be cached instead of running layers again; by default a quarter of what is free.",
        least=0.0,
        metavar="GB",
        changes_result=False,
    )
    cache: str | None = setting(
        None,
        "Where decompositions are stored between runs; by default in the user's cache folder.",
        changes_result=False,
        metavar="DIR",
    )
    cache_size: float = setting(
        4.0, "Gigabytes that this folder may hold; 0 stores nothing.", least=0.0, changes_result=False, metavar="GB"
    )
    seed: int = 0
    replay: bool = True
    positions: bool = True
    bound: bool = True
    share: bool = True

    @classmethod
    def implementation(cls) -> type[Any]:
        """The class that searches."""
        from .laser import Laser

        return Laser

    @property
    def inputs(self) -> Reads:
        """A task, or plain text where it is chosen without one."""
        return Reads.TEXT if self.task_free else Reads.TASK

    def __post_init__(self) -> None:
        if self.variant not in PRESETS:
            raise InputError(f"The variant of LASER is one of {', '.join(PRESETS)}, not {self.variant!r}.")
        for name, value in PRESETS[self.variant].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        try:
            object.__setattr__(self, "rhos", tuple(dict.fromkeys(map(float, self.rhos))))
        except (TypeError, ValueError):
            raise InputError(f"rhos are numbers, several of them: such as (0.5, 0.1); not {self.rhos!r}.") from None
        if not self.rhos or not all(0 <= rho < 1 for rho in self.rhos):
            raise InputError(f"rho is a share of the rank in [0, 1), .5 is a half; not {', '.join(map(str, self.rhos)) or 'none'}.")
        if self.screen not in (None, "gradient") or self.decomposition not in ("exact", "svd_lowrank"):
            raise InputError('screen is "gradient" or None, decomposition "exact" or "svd_lowrank".')
        if not isinstance(self.screened, int) or self.screened < 1:
            raise InputError(f"screened is a whole number of matrices, 1 or more, not {self.screened!r}.")
        if self.keep not in KEEP:
            raise InputError(f"What is kept is one of {', '.join(KEEP)}, not {self.keep!r}.")
        if self.published and (self.compose or self.screen):
            raise InputError("published takes the paper's choice as it is: nothing is searched, composed or screened. Leave these out.")
        if self.keep == "smallest" and self.decomposition != "exact":
            raise InputError('The smallest components are found by the exact decomposition only: decomposition="exact".')
        if not self.rise >= 0:
            raise InputError(f"The perplexity may rise by a share from 0 on, not {self.rise}.")

    def check_recipe(self, values: Mapping[str, Any]) -> None:
        """Raises BadRecipe for a task where the search uses none."""
        if self.task_free and values.get("task"):
            task = values["task"]
            raise BadRecipe(
                f"With task_free nothing is chosen by a task: leave {task!r} out, or measure its side effects (--beside {task})."
            )

    @property
    def site_globs(self) -> tuple[str, ...]:
        """The globs of the matrices that are searched; none: those of the paper."""
        return (self.sites,) if isinstance(self.sites, str) else self.sites

    @property
    def state_bytes(self) -> int | None:
        """Bytes of hidden states that may be cached; None: a quarter of what is free."""
        return None if self.state_memory is None else int(self.state_memory * GIGABYTE)

    def describe(self) -> list[str]:
        """What was done, in sentences."""
        source = "as its paper writes it" if self.variant == "paper" else "as its authors' code does it"
        sentences = [
            f"LASER, {source} (Sharma et al., ICLR 2024): a weight matrix is replaced by its best approximation of a lower rank, ρ times "
            "the full one; nothing is trained. At rank 0 the matrix is zero."
        ]
        globs = ", ".join(self.site_globs)
        where = f"what matches {globs}" if globs else "the first and the last matrix of every feed-forward block (gate, or up; down)"
        if self.keep == "smallest":
            sentences.append("The smallest components were kept, not the largest.")
        if self.decomposition == "svd_lowrank":
            sentences.append("Decomposed by torch.svd_lowrank with a seed, as that code does; the exact one is the default of resect.")
        if self.published:
            return [*sentences, "The matrix and the ρ are those that the paper published for this model and task; nothing was searched."]
        if self.task_free:
            return [
                *sentences,
                "Without a task: of each matrix the components above the noise edge of its singular values (Marchenko and Pastur) are "
                f"kept, as long as the perplexity of plain text rises by no more than {100 * self.rise:g} % in all. Searched: {where}.",
            ]
        sentences.append(f"Searched: {where}, at ρ = {', '.join(f'{rho:g}' for rho in self.rhos)}.")
        if self.screen is not None:
            sentences.append(
                f"Only the {self.screened:,} most promising were searched, by the gradient of the loss with respect to singular values."
            )
        metric = self.metric or "the task's metric"
        if self.compose:
            return [
                *sentences,
                "Reductions were composed from the last layer down and from the smallest ρ up; each was kept only where "
                f"{metric} on the select split improved.",
            ]
        return [*sentences, f"The best one by {metric} on the select split was chosen; ties went to the smaller damage on plain text."]

    def alternatives(self, values: Mapping[str, Any], comparison: Mapping[str, Any], is_empty: bool) -> list[tuple[str, dict[str, Any]]]:
        """What to try where reducing did not help."""
        if self.published:
            return [("search, instead of taking the published choice:", {"published": False})]
        if self.task_free:
            return [("allow the text to become a little less probable:", {"rise": 5 * self.rise or 0.01})]
        tries: list[tuple[str, dict[str, Any]]] = []
        if self.screen is not None:
            tries.append(("search every matrix, without the screening:", {"screen": None}))
        if not self.compose and not is_empty:  # a composition begins with the same candidates, and needs one that gains
            tries.append(("reduce several matrices, one after the other:", {"compose": True}))
        if values.get("limit") is not None:
            tries.append(("choose on more examples, without the limit:", {"limit": None}))
        if self.site_globs != ATTENTION:
            tries.append(("search the attention's matrices instead:", {"sites": ATTENTION}))
        if is_empty and "logloss" not in (comparison.get("metric"), self.metric):
            tries.append(("choose by log loss, which moves before an answer does:", {"metric": "logloss"}))
        if not set(FINER) & set(self.rhos):
            tries.append(("try other values of ρ:", {"rho": FINER}))
        return tries
