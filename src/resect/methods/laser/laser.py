"""LASER: replace a weight matrix by a low-rank one, search which, and compose several.

Source: Sharma, Ash, Misra 2024, "The Truth is in There: Improving Reasoning in Language Models with Layer-Selective Rank Reduction"
(arXiv:2312.13558). `variant="paper"` decomposes exactly, `variant="official"` as the authors' code (pratyushasharma/laser) does it: see
`PRESETS`. Knows no other method, no file and no terminal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from resect.core.address import Site
from resect.core.errors import InputError
from resect.core.execution import Workers
from resect.data.tasks.task import Task
from resect.data.texts import shipped
from resect.edits.matrices import ReduceRank
from resect.edits.svd import Keep
from resect.edits.svd_cache import SvdCache
from resect.evaluation.questions import Questions
from resect.methods.base import Found
from resect.models.language_model import LanguageModel
from resect.search.candidate_scoring import CandidateScorer

from .candidate_matrices import reducible
from .gradient_screening import screen
from .published_choices import published
from .search import ReductionSearch

#: The shares of the rank that are tried (the paper's Table 5, and the .4 that its Table 3 reports).
RHOS = (0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.01)
#: What a variant sets, where a field is left None.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"decomposition": "exact", "authors_task": False, "search_prompt": False},
    "official": {"decomposition": "svd_lowrank", "authors_task": True, "search_prompt": True},
}
#: The share of the data, from its beginning, that the authors choose by; the rest is reported on.
AUTHORS_SHARE = 0.2
#: Where the authors look for the answer in prompt and generation together, so that one in the question counts: task to families.
SEARCHED_PROMPTS: Mapping[str, tuple[str, ...]] = {
    "hotpotqa": ("gptj", "llama"),
    "wikidata": ("gptj", "llama"),
    "counterfact": ("llama",),
}
#: Matrices that are searched after a screening, if nothing else is said.
SCREENED = 4


@dataclass(frozen=True)
class Laser:
    """The settings of LASER.

    Parameters
    ----------
    rhos : shares of the rank that are tried, each in [0, 1); rank 0 zeroes a matrix
    sites : globs of matrices; empty: the first and the last matrix of every feed-forward block ({gate, or up where there is none}, down),
        the paper's U_in and U_out
    variant : "paper" or "official"; fills in every setting that is None
    metric : by which is chosen, on the *select* split; None: the task's own ("accuracy", "generation", "logloss", …)
    keep : which components stay: the "largest", or the "smallest"
    compose : reduce one matrix after the other (greedily), not the best one alone
    published : no search: the paper's choice for this model and task
    screen : "gradient": search only the `screened` matrices whose singular values the loss wants smaller (`gradients`)
    screened : how many those are
    seed : of "svd_lowrank"
    decomposition : "exact" (Eckart–Young) or "svd_lowrank", the authors' randomised approximation
    authors_task : built-in tasks in the authors' wording, chosen on their first 20 %, reported on the rest
    search_prompt : count an answer that stands in the question as said, where the authors do (`SEARCHED_PROMPTS`)
    replay, positions, bound, share : what makes the search fast; none changes what is found

    Raises InputError for a setting that does not exist, or two that exclude each other.
    Differs from the source in: chosen on *select*, reported on *test*, which are disjoint by group ("paper": the first 20 % there).
        Candidates that score alike: the one that does less harm to plain text, then the smaller rank (unpublished). Composition: the
        paper's rule; the authors' script never takes a reduction back, which is not offered.
    """

    rhos: tuple[float, ...] = RHOS
    sites: str | tuple[str, ...] = ()
    variant: Literal["paper", "official"] = "paper"
    metric: str | None = None
    keep: Keep = "largest"
    compose: bool = False
    published: bool = False
    screen: Literal["gradient"] | None = None
    screened: int = SCREENED
    seed: int = 0
    decomposition: Literal["exact", "svd_lowrank"] | None = None
    authors_task: bool | None = None
    search_prompt: bool | None = None
    replay: bool = True
    positions: bool = True
    bound: bool = True
    share: bool = True

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
        if self.keep not in get_args(Keep):
            raise InputError(f"What is kept is one of {', '.join(get_args(Keep))}, not {self.keep!r}.")
        if self.published and (self.compose or self.screen):
            raise InputError("published takes the paper's choice as it is: nothing is searched, composed or screened. Leave these out.")
        if self.keep == "smallest" and self.decomposition != "exact":
            raise InputError('The smallest components are found by the exact decomposition only: decomposition="exact".')

    def asked(self, task: Task) -> Task:
        """The task as this variant asks it: as it is, or in the authors' wording and split where it is built in."""
        if not self.authors_task or task.official_template is None:
            return task
        first = int(AUTHORS_SHARE * len(task.examples))
        examples = tuple(
            replace(example, split="select" if place < first else "test", group=f"{example.group}{' (first)' if place < first else ''}")
            for place, example in enumerate(task.examples)
        )
        return replace(task, examples=examples, template=task.official_template)

    def questions(self, model: LanguageModel, task: Task) -> Questions:
        """What chooses: the *select* split under the metric. Raises BadTask, EmptySplit, UnknownName."""
        task = self.asked(task)
        in_prompt = self.searches_prompt(model, task)
        return Questions(model, task, task.split("select"), self.metric or task.metric, search_prompt=in_prompt)

    def searches_prompt(self, model: LanguageModel, task: Task) -> bool:
        """Whether a generated answer that stands in the question counts as right."""
        return bool(self.search_prompt) and model.anatomy.family in SEARCHED_PROMPTS.get(task.name, ())

    def check(self, model: LanguageModel, task: Task) -> None:
        """Look at the settings beside the model and the task, before any work. Raises what `search` would."""
        if self.published:
            published(model, task.name)
        else:
            self.sites_of(model)
        self.questions(model, task)

    def sites_of(self, model: LanguageModel) -> tuple[Site, ...]:
        """The matrices that are searched. Raises BadAddress for a glob that matches none, NotWritable for one that is absent or shared."""
        return reducible(self.sites, model)

    def edits(self, model: LanguageModel, site: Site) -> list[ReduceRank]:
        """The candidates at one matrix, each rank once, from the smallest up."""
        shape = model.anatomy.shape(site)
        made = [self.edit(site, rho) for rho in self.rhos]
        by_rank = {edit.rank(shape): edit for edit in sorted(made, key=lambda edit: -edit.rho)}
        return [by_rank[rank] for rank in sorted(by_rank)]

    def edit(self, site: Site, rho: float) -> ReduceRank:
        """One candidate, as these settings make it."""
        official = self.decomposition == "svd_lowrank"
        return ReduceRank(site, rho, self.keep, "official" if official else "exact", self.seed if official else None)

    def search(
        self,
        model: LanguageModel,
        task: Task,
        workers: Workers | None = None,
        *,
        texts: Sequence[str] | None = None,
        factors: SvdCache | None = None,
        state_memory: int | None = None,
    ) -> Found:
        """Choose what to reduce on the *select* split. The plan is empty where nothing is better than nothing.

        Parameters
        ----------
        texts : plain text that decides between candidates that score alike; None: what ships with resect
        factors : where decompositions come from and are kept; None: nowhere
        state_memory : bytes of hidden states that may be held; None: a quarter of what is free
        workers : engine (an item is the candidates at one matrix), journal and progress

        Never sees the *test* split. Raises BadTask, EmptySplit, NotFinite, NotWritable, OutOfMemory, PromptTooLong.
        """
        questions, factors = self.questions(model, task), factors or SvdCache(model.anatomy)
        workers = workers or Workers()
        theirs = published(model, task.name) if self.published else None
        sites, notes = () if theirs else self.sites_of(model), list[str]()
        sweep = CandidateScorer(
            questions,
            factors,
            state_memory=state_memory,
            replay=self.replay,
            positions=self.positions,
            share=self.share,
            workers=workers,
        )
        work = ReductionSearch(lambda site: self.edits(model, site), self.bound, model, questions, sweep, workers)
        if theirs:
            return work.published(self.edit(theirs.site, theirs.rho))
        if self.screen:
            ranked = screen(model, questions, sites, factors, rhos=self.rhos, workers=workers)
            best = sorted(sites, key=lambda site: -ranked[site])[: self.screened]
            notes.append(f"Searched were {len(best)} of {len(sites)} matrices, those that the gradient named: {', '.join(map(str, best))}.")
            sites = tuple(site for site in sites if site in best)
        found = work.composed(sites) if self.compose else work.best(sites, shipped() if texts is None else texts)
        return replace(found, notes=(*notes, *found.notes))
