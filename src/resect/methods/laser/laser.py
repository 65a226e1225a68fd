"""LASER: replace a weight matrix by one of lower rank, search which, and compose several.

Source: Sharma, Ash, Misra 2024, "The Truth is in There: Improving Reasoning in Language Models with Layer-Selective Rank Reduction"
(arXiv:2312.13558). `variant="paper"` decomposes exactly, `variant="official"` as the authors' code (pratyushasharma/laser) does: see
`PRESETS` in `settings`. Knows no other method, no run folder and no terminal.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resect.core.address import Site
from resect.core.execution import Workers
from resect.core.number_format import plural
from resect.data.tasks.task import Task
from resect.data.texts import packaged_texts
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd import Decomposition
from resect.edits.svd_cache import SvdCache, default_folder
from resect.evaluation.metrics import main_metric
from resect.evaluation.questions import Questions
from resect.methods.analyses.analysis import Analyses
from resect.methods.analyses.study import Study
from resect.methods.base import Forecast, Found, Method, TaskInputs, TextInputs, task_inputs
from resect.models.anatomy import Anatomy
from resect.models.expert_globs import incomplete_experts, joined_experts
from resect.models.language_model import LanguageModel
from resect.runs.guard_limits import GuardLimits
from resect.search.candidate_scoring import CandidateScorer

from .analyses.catalogue import ANALYSES
from .denoising import denoise
from .gradient_screening import screen
from .published_choices import published_reduction
from .reduction_search import ReductionSearch
from .settings import GIGABYTE, LaserSettings

#: The share of the data, from its beginning, by which the authors choose; they report on the rest.
AUTHORS_SHARE = 0.2
#: Task to the families for which the authors search prompt and generated text together, so that an answer in the question counts as right.
SEARCHED_PROMPTS: Mapping[str, tuple[str, ...]] = {
    "hotpotqa": ("gptj", "llama"),
    "wikidata": ("gptj", "llama"),
    "counterfact": ("llama",),
}
#: Examples by which is seen whether the unedited model answers anything wrong, before all of them are asked.
FIRST_ASKED = 60
#: The cost of a candidate, in passes over all questions: cached layers save one half, eliminated candidates another.
COST_OF_CANDIDATE = 0.3


@dataclass(frozen=True)
class Laser(LaserSettings, Method):
    """LASER with its settings.

    Parameters
    ----------
    rhos : shares of the rank that are tried, each in [0, 1); rank 0 sets a matrix to zero
    sites : globs of matrices; empty: the first and the last matrix of every feed-forward block ({gate, or up where there is none}, down),
        the paper's U_in and U_out. The matrices of one role of all experts of a layer, taken by one glob, are reduced together
    variant : "paper" or "official"; sets every setting that is None
    metric : by which the reduction is chosen and compared; None: the task's own ("accuracy", "generation", "logloss", …)
    keep : which components are kept: the "largest", or the "smallest"
    compose : reduce one matrix after the other (greedily), not only the best one
    published : no search: the paper's choice for this model and task
    screen : "gradient": search only the `screened` matrices for which the gradient predicts the largest decrease of the loss
        (`gradient_screening`)
    screened : how many matrices those are
    task_free : reduce every matrix to its noise edge, as long as the perplexity of plain text rises by no more than `rise` (`denoising`)
    rise : the share by which that perplexity may rise in all, from 0 on
    decomposition : "exact" (Eckart–Young) or "svd_lowrank", the authors' randomised approximation
    authors_task : built-in tasks with the authors' prompt, chosen on their first 20 %, reported on the rest
    search_prompt : count an answer that occurs in the question as right, where the authors do (`SEARCHED_PROMPTS`)
    state_memory : gigabytes of hidden states that may be cached; None: a quarter of the free memory
    cache, cache_size : the folder of stored decompositions and the gigabytes that it may hold; used where the journal is on disk, or a
        folder is named
    seed : of "svd_lowrank"
    replay, positions, bound, share : whether cached layers, only the scored positions, early elimination, and one decomposition for all
        ranks are used; they save time and change no result

    Raises InputError for impossible settings, or two that exclude each other.
    Differs from the source in: chosen on *select*, reported on *test*, which are disjoint by group (there: the first 20 %, the rest). Of
        candidates with equal scores: the one with the highest log-probability of plain text, then the smaller rank (unpublished).
        Composition follows the paper's rule; the authors' script, which never takes a reduction back, is not offered.
    """

    @property
    def default_guards(self) -> GuardLimits:
        """What no candidate may cost: nothing is guarded in the authors' variant."""
        return GuardLimits.none() if self.variant == "official" else GuardLimits()

    def prepare_task(self, task: Task) -> Task:
        """The task as this variant uses it: as it is, or with the authors' prompt and split where it is built in."""
        if not self.authors_task or task.official_template is None or task.is_in_authors_split:
            return task
        first = int(AUTHORS_SHARE * len(task.examples))
        examples = tuple(
            replace(example, split="select", group=f"{example.group} (first)") if index < first else replace(example, split="test")
            for index, example in enumerate(task.examples)
        )
        return replace(task, examples=examples, template=task.official_template)

    def questions(self, model: LanguageModel, task: Task, split: str = "select") -> Questions:
        """The questions of a split of the task, scored by the metric. Raises BadTask, EmptySplit, UnknownName."""
        task = self.prepare_task(task)
        return Questions(model, task, task.split(split), self.metric_for(task), search_prompt=self.searches_prompt(model, task))

    def searches_prompt(self, model: LanguageModel, task: Task) -> bool:
        """Whether a generated answer that occurs in the question counts as right."""
        return bool(self.search_prompt) and model.anatomy.family in SEARCHED_PROMPTS.get(task.name, ())

    def metric_for(self, task: Task) -> str:
        """The metric by which the reduction is chosen; "topk" is top10."""
        return main_metric(self.metric) if self.metric else task.metric

    def check(self, model: LanguageModel, inputs: Task | TaskInputs | TextInputs) -> None:
        """Check settings, model and task before any work. Raises what `search` raises."""
        if isinstance(inputs, TextInputs):
            self.sites_of(model)
            return
        task = task_inputs(inputs).task
        if self.published:
            published_reduction(model, task.name)
        else:
            self.sites_of(model)
        self.questions(model, task)

    def nothing_to_find(self, model: LanguageModel, inputs: Task | TaskInputs | TextInputs, workers: Workers) -> str | None:
        """The model answers everything in *select* right, so that no reduction can gain. Log losses have no such bound."""
        if isinstance(inputs, TextInputs):
            return None
        questions = self.questions(model, task_inputs(inputs).task)
        if questions.less_is_better:
            return None
        for asked, instructions in ((questions.part(0, FIRST_ASKED), 1), (questions, None)):  # mostly the first few show wrong answers
            if (asked.answers(Plan(), workers=workers, instructions=instructions).values < 1).any():
                return None
        return (
            f"The unedited model answers all {plural(len(questions.examples), 'examples')} of *select* right ({questions.metric}): no "
            "reduction can do better there. Give more items (more data, or a larger --limit) or a harder task, or measure by the log loss "
            "of the right answer (--metric logloss)."
        )

    def sites_of(self, model: LanguageModel) -> tuple[Site, ...]:
        """The matrices that are searched. Raises BadAddress for a glob that matches none, NotWritable for one that is absent or shared."""
        anatomy = model.anatomy
        sites = joined_experts(self.sites, anatomy) if self.sites else feed_forward_matrices(anatomy)
        for site in sites:
            ReduceRank(site, 0.0).choose_form(model)
        return sites

    def edits(self, model: LanguageModel, site: Site) -> list[ReduceRank]:
        """The candidates at one matrix, each rank once, in rising order."""
        shape = model.anatomy.shape(site)
        edits = [self.edit(site, rho) for rho in sorted(self.rhos, reverse=True)]
        by_rank = {edit.rank(shape): edit for edit in edits}  # of two ρ with one rank the smaller
        return [by_rank[rank] for rank in sorted(by_rank)]

    def edit(self, site: Site, rho: float) -> ReduceRank:
        """One candidate, by the rule of these settings."""
        official = self.decomposition == "svd_lowrank"
        return ReduceRank(site, rho, self.keep, "official" if official else "exact", self.seed if official else None)

    def search(
        self,
        model: LanguageModel,
        inputs: Task | TaskInputs | TextInputs,
        workers: Workers | None = None,
        *,
        svd_cache: SvdCache | None = None,
    ) -> Found:
        """Choose what to reduce on the *select* split (or, without a task, by plain text). The plan is empty where nothing helps.

        Parameters
        ----------
        inputs : a task, alone or with the plain text that decides between candidates with equal scores (default: the text of this
            package); or passages of plain text for the choice without a task
        workers : engine (an item is the candidates at one matrix), journal and progress
        svd_cache : computes and stores decompositions; None: by the setting `cache`

        Never uses the *test* split. Raises BadTask, EmptySplit, NotFinite, NotWritable, OutOfMemory, PromptTooLong.
        """
        workers = workers or Workers()
        svd_cache = svd_cache or self.svd_cache(model, workers)
        if isinstance(inputs, TextInputs):
            sites = tuple(each for site in self.sites_of(model) for each in model.anatomy.each(site))
            return denoise(model, inputs.passages, sites, self.rise, svd_cache, self.state_bytes, workers, inputs.guards)
        inputs = task_inputs(inputs)
        questions = self.questions(model, inputs.task)
        choice = published_reduction(model, inputs.task.name) if self.published else None
        sites, notes = () if choice else self.sites_of(model), list[str]()
        scorer = CandidateScorer(
            questions,
            svd_cache,
            state_memory=self.state_bytes,
            replay=self.replay,
            positions=self.positions,
            share=self.share,
            workers=workers,
        )
        guards = self.guards(questions, inputs, workers)
        search = ReductionSearch(lambda site: self.edits(model, site), self.bound, model, questions, scorer, guards, workers)
        if choice:
            return search.published(self.edit(choice.site, choice.rho))
        notes += filter(None, [incomplete_experts(sites, model.anatomy)])
        if self.screen:
            decrease = screen(model, questions, sites, svd_cache, rhos=self.rhos, workers=workers)
            best = sorted(sites, key=lambda site: -decrease[site])[: self.screened]
            notes.append(f"{len(best)} of {len(sites)} matrices were searched, by the gradient of the loss: {', '.join(map(str, best))}.")
            sites = tuple(site for site in sites if site in best)
        result = search.composed(sites) if self.compose else search.best(sites, inputs.texts or packaged_texts())
        return replace(result, notes=(*notes, *result.notes))

    def svd_cache(self, model: LanguageModel, workers: Workers) -> SvdCache:
        """Decompositions of the model's matrices; stored on disk where the journal is, or where a folder is named."""
        if self.cache is None and not workers.is_persistent:
            return SvdCache(model.anatomy)
        folder = default_folder() if self.cache is None else Path(self.cache)
        return SvdCache(model.anatomy, folder=folder, limit=int(self.cache_size * GIGABYTE))

    def forecast(self, model: LanguageModel, inputs: TaskInputs | TextInputs, seconds_per_answer: float) -> Forecast:
        """The number of candidates, and the time of one decomposition. Cached layers and early elimination are taken into account."""
        sites = () if self.published else self.sites_of(model)
        if isinstance(inputs, TextInputs):
            sentence = (
                f"Reduce {len(sites)} matrices to their noise edge, one after the other, while the perplexity rises by {self.rise:.1%} at "
                "most."
            )
            return Forecast((sentence,), _decomposition_seconds(model, sites) + len(sites) * seconds_per_answer)
        select = self.prepare_task(inputs.task).split("select")
        if self.published:
            sentence = f"Use the paper's choice for this model and task, and score it on {len(select)} examples."
            return Forecast((sentence,), len(select) * seconds_per_answer)
        number = f"{min(self.screened, len(sites))} of {len(sites)}" if self.screen else str(len(sites))
        candidates = sum(len(self.edits(model, site)) for site in (sites[: self.screened] if self.screen else sites))
        order = "one after the other, as long as it helps" if self.compose else "and the best of them"
        sentence = f"Try {candidates} reductions of {number} matrices on {len(select)} examples, {order}."
        answers = len(select) * (2 + candidates * COST_OF_CANDIDATE)
        return Forecast((sentence,), answers * seconds_per_answer + _decomposition_seconds(model, sites))

    @classmethod
    def analyses(cls) -> Analyses:
        """Analyses of matrices and reductions, and the general ones."""
        return ANALYSES

    def study(self, study: Study) -> Study:
        """What the analyses work on, with the matrices and the ranks that were searched."""
        sites, factors = self.sites_of(study.model), self.svd_cache(study.model, study.workers)
        rule, sites = self.edit(sites[0], 0.0), tuple(each for site in sites for each in study.model.anatomy.each(site))
        return replace(study, sites=sites, rhos=self.rhos, like=rule, state_memory=self.state_bytes, factors=factors)


def _decomposition_seconds(model: LanguageModel, sites: Sequence[Site]) -> float:
    """About how many seconds the decompositions of these matrices take, from one of them."""
    start = time.monotonic()
    matrices = [each for site in sites for each in model.anatomy.each(site)]
    Decomposition.of(model.anatomy.weight(matrices[-1]))
    return (time.monotonic() - start) * len(matrices)


def feed_forward_matrices(anatomy: Anatomy) -> tuple[Site, ...]:
    """The paper's U_in and U_out of every layer: the gate, or `up` where there is none, and `down`; of experts those of all together."""
    first = "gate" if anatomy.gated else "up"
    sites = [site for site in (*anatomy.sites, *anatomy.joint_sites) if not site.is_routed or site.is_joint]
    return tuple(sorted((site for site in sites if site.role in (first, "down")), key=lambda site: site.model_order))
