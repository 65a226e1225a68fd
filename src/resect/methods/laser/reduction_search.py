"""Search among rank reductions: the one that scores highest, or a composition of several, one after the other.

Knows how candidates are scored; does not know which matrices and ranks are candidates, nor why.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from resect.core.address import Site
from resect.core.execution import Entry, Workers, journal_key
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.evaluation.guards import BrokenGuard, GuardedChoice, Guards, guard_facts, guard_sentence
from resect.evaluation.questions import Questions
from resect.methods.base import Found
from resect.models.language_model import LanguageModel
from resect.search.candidate_scoring import CandidateScorer
from resect.search.edited_model import EditEvaluator
from resect.search.elimination import GreedyComposition, PartialScore, Threshold
from resect.search.guarded_elimination import best_accepted

NO_GAIN = "No reduction that was tried does better on the select split than the model as it is: the plan is empty."


@dataclass(frozen=True)
class TextLogprobWork:
    """The log-probability of plain text under an edit, as work for an engine."""

    evaluator: EditEvaluator
    texts: tuple[str, ...]

    def __call__(self, edit: ReduceRank) -> Entry:
        """`logprob`: of all texts. Raises NotFinite, NotWritable, OutOfMemory."""
        with self.evaluator.applied(edit):
            return {"logprob": self.evaluator.model.text_logprob(self.texts)[0]}


def last_layer_first(sites: Iterable[Site]) -> list[Site]:
    """The order in which reductions are composed: decoder before encoder, the last layer first."""
    return sorted(sites, key=lambda site: (site.stack == "encoder", -site.layer))


@dataclass(frozen=True)
class ReductionSearch:
    """A search among rank reductions on one set of questions.

    Parameters
    ----------
    candidates : returns the candidates at one matrix, in rising order of rank
    bound : whether candidates that can no longer win are abandoned
    scorer : scores candidates on the questions
    guards : what no candidate may cost
    """

    candidates: Callable[[Site], Sequence[ReduceRank]]
    bound: bool
    model: LanguageModel
    questions: Questions
    scorer: CandidateScorer
    guards: Guards
    workers: Workers

    def best(self, sites: Sequence[Site], texts: Sequence[str]) -> Found:
        """The one reduction that scores highest and breaks no guard. Of equal ones: that with the highest log-probability of `texts`."""
        scorer, by_matrix = self.scorer, [self.candidates(site) for site in sites]
        edits, broken = [edit for candidates in by_matrix for edit in candidates], dict[ReduceRank, tuple[BrokenGuard, ...]]()

        def accepts(edit: ReduceRank) -> bool:
            broken[edit] = self.guards.broken(Plan((edit,)))
            return not broken[edit]

        best = best_accepted(
            scorer,
            by_matrix,
            scorer.start,
            scorer.base_total,
            accepts=accepts,
            order_ties=lambda tied: self._least_damaging_first(tied, texts),
            screening_questions=scorer.screening_questions,
            bound=self.bound,
            workers=self.workers,
        )
        scored = dict(zip(edits, best.scores, strict=True))
        lines = tuple(self._trial_line(edit, score, broken.get(edit, ())) for edit, score in scored.items())
        chosen, by_score = (None if place is None else edits[place] for place in (best.chosen, best.by_score))
        outcome = self._outcome(
            () if chosen is None else (chosen,), lines, scorer.base_total if chosen is None else scored[chosen].total, by_score is None
        )
        return self._with_guards(outcome, GuardedChoice(chosen, by_score, broken), scored)

    def composed(self, sites: Sequence[Site]) -> Found:
        """Several reductions, from the last layer down and the smallest rank up; each is kept if it improves on those kept before it."""
        scorer, lines, stage = self.scorer, list[dict[str, Any]](), "composing"
        order = last_layer_first(sites)
        curve: list[dict[str, Any]] = [{"site": None, "rho": None, "rank": None, "select": scorer.mean(scorer.base_total)}]
        threshold = Threshold(scorer.base_total, exceed=True, bound=self.bound)
        broken = dict[ReduceRank, tuple[BrokenGuard, ...]]()  # of the candidates of one matrix

        def accepts(kept: tuple[ReduceRank, ...]) -> bool:
            with scorer.evaluator.applied_together(()):  # those that are kept are part of the plan, and applied by it
                broken[kept[-1]] = self.guards.broken(Plan(kept))
            return not broken[kept[-1]]

        composition = GreedyComposition(
            scorer,
            lambda number: self.candidates(order[number]),
            len(order),
            scorer.start,
            threshold,
            raises_threshold=True,
            accepts=accepts,
        )
        self.workers.progress(stage, 0, len(order))
        for done, steps in enumerate(composition.steps(), start=1):
            for edit, score, is_kept, _ in steps:
                lines.append({**self._trial_line(edit, score, broken.get(edit, ())), "kept": is_kept})
                if is_kept:
                    curve.append({"site": str(edit.site), "rho": edit.rho, "rank": self._rank(edit), "select": scorer.mean(score.total)})
            self.workers.progress(stage, done, len(order))
        outcome = self._outcome(tuple(composition.kept), tuple(lines), composition.threshold.total, not broken)
        facts = {**outcome.facts, "guards": guard_facts(self.guards, None)}
        return replace(outcome, composition=tuple(curve), notes=(*outcome.notes, *self.guards.notes), facts=facts)

    def published(self, edit: ReduceRank) -> Found:
        """The paper's choice, scored on the questions and used whatever its score."""
        score = self.scorer.complete_score(edit)
        return self._outcome((edit,), (self._trial_line(edit, score),), score.total)

    def _least_damaging_first(self, edits: Sequence[ReduceRank], texts: Sequence[str]) -> list[int]:
        """The order of equal candidates: by the log-probability of plain text, the highest first, then by rank, then as they are."""
        keys = [journal_key("text_logprob", list(texts), Plan((edit,)).digest) for edit in edits]
        work, stage = TextLogprobWork(self.scorer.evaluator, tuple(texts)), "reading plain text, to choose between equal candidates"
        logprobs = [float(str(entry["logprob"])) for entry in self.workers.map(work, edits, keys, stage=stage)]
        return sorted(range(len(edits)), key=lambda index: (-logprobs[index], self._rank(edits[index]), index))

    def _rank(self, edit: ReduceRank) -> int:
        return edit.rank(self.model.anatomy.shape(edit.site))

    def _trial_line(self, edit: ReduceRank, score: PartialScore, broken: Sequence[BrokenGuard] = ()) -> dict[str, Any]:
        """A candidate as a line of trials.jsonl; the score of an abandoned one is the best that it could still have reached."""
        return {
            "site": str(edit.site),
            "rho": edit.rho,
            "rank": self._rank(edit),
            "score": self.scorer.mean(score.reach),
            "examples": score.answered,
            "complete": score.complete,
            "seconds": score.seconds,
            **({"broken": list(map(str, broken))} if broken else {}),
        }

    def _with_guards(self, outcome: Found, choice: GuardedChoice[ReduceRank], scores: Mapping[ReduceRank, PartialScore]) -> Found:
        """The outcome with what the guards changed, and what the score alone would have chosen."""

        def described(edit: ReduceRank) -> dict[str, Any]:
            score = self.scorer.mean(scores[edit].total)
            return {"name": f"{edit.site}, ρ {edit.rho:g}", "site": str(edit.site), "rho": edit.rho, "score": score}

        facts = guard_facts(self.guards, choice, described, None if choice.chosen is None else Plan((choice.chosen,)))
        sentence = guard_sentence(facts, self.questions.metric)
        notes = (*outcome.notes, *self.guards.notes, *([sentence] if sentence else []))
        return replace(outcome, notes=notes, facts={**outcome.facts, "guards": facts})

    def _outcome(self, edits: Sequence[ReduceRank], lines: tuple[dict[str, Any], ...], total: float, is_no_gain: bool = True) -> Found:
        """`is_no_gain`: whether an empty plan means that nothing scored better, with or without guards."""
        means = {"base": self.scorer.mean(self.scorer.base_total), "chosen": self.scorer.mean(total)}
        counts = {"n_examples": len(self.questions.examples), "n_instructions": len(self.questions.task.instructions)}
        zeroed = [str(edit.site) for edit in edits if self._rank(edit) == 0]
        notes = [] if edits or not is_no_gain else [NO_GAIN]
        notes += [f"At its ρ the rank of {site} is 0: the whole matrix is set to zero." for site in zeroed]
        plan = Plan(tuple(edits)).for_model(self.model) if edits else Plan()
        facts = {"select": {"metric": self.questions.metric, **means, **counts}}
        return Found.one(plan, trials=lines, notes=tuple(notes), facts=facts)
