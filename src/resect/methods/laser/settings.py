"""The settings of LASER: their declarations, what they exclude, and sentences on them for a report. Needs no torch."""

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
#: Other matrices, and ρ between the default ones, to try where the search had no gain.
ATTENTION, FINER = ("*.{q,k,v,o}",), (0.95, 0.85, 0.7, 0.5, 0.3)
#: The bytes of a gigabyte in the settings.
GIGABYTE = 2**30


@dataclass(frozen=True)
class LaserSettings(MethodSettings):
    """The settings of LASER (see `Laser` for what they do). Raises InputError for impossible settings, or two that conflict."""

    name: ClassVar[str] = "laser"
    summary: ClassVar[str] = "Find the weight matrix that does better at a lower rank, and measure on held-out examples what changed."
    source: ClassVar[str] = "Sharma et al., ICLR 2024, arXiv:2312.13558"
    reads: ClassVar[Reads] = Reads.TASK
    implemented_by: ClassVar[str] = "resect.methods.laser.laser:Laser"
    overrides: ClassVar[Mapping[str, Sequence[str]]] = {
        "task_free": (
            *("rho", "keep", "compose", "published", "screen", "screened", "variant", "metric"),
            *("decomposition", "authors_task", "search_prompt"),
        ),
        "published": ("rho", "sites", "keep", "compose", "screen", "screened"),
    }

    rhos: tuple[float, ...] = setting(
        RHOS, "Shares of a matrix' full rank that are tried; 0 sets the matrix to zero.", least=0.0, metavar="R", key="rho"
    )
    sites: str | tuple[str, ...] = setting(
        (),
        "The matrices that are searched: globs like decoder.*.up or '*.{q,k}'. By default the first and the last matrix of each "
        "feed-forward block.",
        metavar="GLOB",
    )
    variant: Literal["paper", "official"] = setting("paper", "Compute as the paper describes, or as its authors' code does.")
    metric: Literal["accuracy", "generation", "logloss", "topk", "top1", "top5", "top10"] | None = setting(
        None,
        "How the reduction is chosen and compared: by the most probable choice (accuracy), by generated text (generation), by the log loss "
        "of the right answer (logloss), or by whether its first token is among the most probable ones (topk). By default the task's own "
        "metric.",
    )
    keep: Literal["largest", "smallest"] = setting("largest", "Which components of a matrix are kept.")
    compose: bool = setting(False, "Reduce one matrix after the other where it helps, instead of the best one only.")
    published: bool = setting(False, "Search nothing: use the reduction that the paper chose for this model and task.")
    screen: Literal["gradient"] | None = setting(None, "Search only the matrices for which one backward pass predicts the largest gain.")
    screened: int = setting(4, "Number of matrices that are searched after the screening.", least=1, metavar="N", needs="screen")
    task_free: bool = setting(
        False, "Without a task: remove components that are indistinguishable from noise, as long as the perplexity of plain text allows it."
    )
    rise: float = setting(
        0.01,
        "With --task-free: the share by which the perplexity of plain text may rise in all (0.01 is 1 %).",
        least=0.0,
        metavar="F",
        needs="task_free",
    )
    decomposition: Literal["exact", "svd_lowrank"] | None = setting(
        None, "Decompose exactly (exact, paper), or by a randomised approximation with a seed (svd_lowrank, official)."
    )
    authors_task: bool | None = setting(None, "Use built-in tasks with the prompt and the split of the authors' code (official).")
    search_prompt: bool | None = setting(
        None, "Count an answer that occurs in the question as right (official, for some models and tasks)."
    )
    state_memory: float | None = setting(
        None,
        "Gigabytes of hidden states that may be cached instead of being computed again; by default a quarter of the free memory.",
        least=0.0,
        metavar="GB",
        changes_result=False,
    )
    cache: str | None = setting(
        None,
        "Folder in which decompositions are stored between runs; by default in the user's cache folder.",
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

    @property
    def inputs(self) -> Reads:
        """A task, or plain text where it is chosen without one."""
        return Reads.TEXT if self.task_free else Reads.TASK

    def __post_init__(self) -> None:
        if not isinstance(self.rhos, tuple | list):
            raise InputError(f"rhos are numbers, several of them: such as (0.5, 0.1); not {self.rhos!r}.")
        super().__post_init__()
        for name, value in PRESETS[self.variant].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "rhos", tuple(dict.fromkeys(map(float, self.rhos))))
        if not self.rhos or max(self.rhos) >= 1:
            raise InputError(f"rho is a share of the rank in [0, 1), .5 is a half; not {', '.join(map(str, self.rhos)) or 'none'}.")
        if self.published and (self.compose or self.screen):
            raise InputError("published takes the paper's choice as it is: nothing is searched, composed or screened. Leave these out.")
        if self.keep == "smallest" and self.decomposition != "exact":
            raise InputError('Only the exact decomposition has the smallest components: set decomposition="exact".')

    def check_recipe(self, values: Mapping[str, Any]) -> None:
        """Raises BadRecipe for a task that the search would not use."""
        if self.task_free and values.get("task"):
            task = values["task"]
            raise BadRecipe(
                f"With task_free nothing is chosen by a task: leave {task!r} out, or measure its side effects (--beside {task})."
            )

    @property
    def site_globs(self) -> tuple[str, ...]:
        """The globs of the matrices that are searched; empty: those of the paper."""
        return (self.sites,) if isinstance(self.sites, str) else self.sites

    @property
    def state_bytes(self) -> int | None:
        """Bytes of hidden states that may be cached; None: a quarter of the free memory."""
        return None if self.state_memory is None else int(self.state_memory * GIGABYTE)

    def describe(self) -> list[str]:
        """What was reduced, by which rule, and how it was chosen, in sentences."""
        source = "as its paper describes" if self.variant == "paper" else "as its authors' code does"
        where = f"what matches {', '.join(self.site_globs)}" if self.sites else "the first and the last matrix of every feed-forward block"
        sentences = [
            f"LASER, {source} (Sharma et al., ICLR 2024): a weight matrix is replaced by its best approximation of a lower rank, ρ times "
            "the full one; nothing is trained. At rank 0 the matrix is zero."
        ]
        if self.keep == "smallest":
            sentences.append("The smallest components were kept, not the largest.")
        if self.decomposition == "svd_lowrank":
            sentences.append("Matrices were decomposed by torch.svd_lowrank with a seed, not exactly.")
        if self.published:
            return [*sentences, "The matrix and the ρ are those that the paper published for this model and task; nothing was searched."]
        if self.task_free:
            return [
                *sentences,
                "Without a task: of each matrix the components above the noise edge of its singular values (Marchenko and Pastur) are "
                f"kept, as long as the perplexity of plain text rises by no more than {100 * self.rise:g} % in all, and as long as the "
                f"model still predicts text that it wrote itself and repeats itself no more, within limits. Searched: {where}.",
            ]
        sentences.append(f"Searched: {where}, at ρ = {', '.join(f'{rho:g}' for rho in self.rhos)}.")
        if self.screen is not None:
            sentences.append(
                f"The search was restricted to {self.screened:,} of these matrices, for which the gradient of the loss with respect to the "
                "singular values predicts the largest gain."
            )
        metric = self.metric or "the task's metric"
        if self.compose:
            return [
                *sentences,
                "Reductions were composed from the last layer down and from the smallest ρ up; each was kept only where "
                f"{metric} on the select split improved.",
            ]
        return [
            *sentences,
            f"The best one by {metric} on the select split was chosen; of equal ones the one with the least damage on plain text.",
        ]

    def alternatives(self, values: Mapping[str, Any], comparison: Mapping[str, Any], is_empty: bool) -> list[tuple[str, dict[str, Any]]]:
        """What to try where the reduction did not help: other matrices, ranks, metrics, examples; a composition."""
        if self.published:
            return [("search, instead of using the published choice:", {"published": False})]
        if self.task_free:
            return [("let the perplexity of the text rise more:", {"rise": 5 * self.rise or 0.01})]
        suggestions: list[tuple[str, dict[str, Any]]] = []
        if (comparison.get("verdict") or {}).get("word") == "damages" and tuple(values.get("guard") or ()) == ("none",):
            suggestions.append(("let guards hold, so that no reduction that damages can win:", {"guard": ()}))
        if self.screen is not None:
            suggestions.append(("search every matrix, without the screening:", {"screen": None, "screened": None}))
        if not self.compose and not is_empty:  # a composition begins with the same candidates, and needs one that gains
            suggestions.append(("reduce several matrices, one after the other:", {"compose": True}))
        if values.get("limit") is not None:
            suggestions.append(("choose on more examples, without the limit:", {"limit": None}))
        if self.site_globs != ATTENTION:
            suggestions.append(("search the attention's matrices instead:", {"sites": ATTENTION}))
        if is_empty and "logloss" not in (comparison.get("metric"), self.metric):
            suggestions.append(("choose by log loss, which changes before an answer does:", {"metric": "logloss"}))
        if not set(FINER) & set(self.rhos):
            suggestions.append(("try other values of ρ:", {"rho": FINER}))
        return suggestions
