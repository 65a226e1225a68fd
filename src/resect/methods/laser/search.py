"""Search among rank reductions: the one that scores highest, or one after the other.

Knows a sweep and candidates; not which matrices and ranks are candidates, nor why.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from resect.core.address import Site
from resect.core.execution import Entry, Workers, journal_key
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions
from resect.methods.base import Found
from resect.models.language_model import LanguageModel
from resect.search.candidate_scoring import CandidateScorer
from resect.search.edited_model import EditEvaluator
from resect.search.elimination import GreedyComposition, PartialScore, Threshold, best_candidates, eliminate


@dataclass(frozen=True)
class TextLogprobWork:
    """Plain text, read under one edit after the other."""

    station: EditEvaluator
    texts: tuple[str, ...]

    def __call__(self, edit: ReduceRank) -> Entry:
        """The log-probability of the text. Raises NotFinite, NotWritable, OutOfMemory."""
        with self.evaluator.applied(edit):
            return {"logprob": self.evaluator.model.text_logprob(self.texts)[0]}


@dataclass(frozen=True)
class ReductionSearch:
    """One search, with what it works on.

    edits : the candidates at one matrix, from the smallest rank up
    bound : whether candidates are given up that can no longer win
    """

    edits: Callable[[Site], Sequence[ReduceRank]]
    bound: bool
    model: LanguageModel
    questions: Questions
    sweep: CandidateScorer
    workers: Workers

    def best(self, sites: Sequence[Site], texts: Sequence[str]) -> Found:
        """The one reduction that scores highest."""
        sweep, teams = self.sweep, [self.edits(site) for site in sites]
        edits = [edit for team in teams for edit in team]
        tallies = eliminate(sweep, teams, sweep.start, sweep.base_total, scout=sweep.screening_questions, bound=self.bound, workers=self.workers)
        lines = tuple(self._line(edit, tally) for edit, tally in zip(edits, tallies, strict=True))
        best = best_candidates(tallies, sweep.base_total)
        if not best:
            return self._found((), lines, sweep.base_total)
        chosen = edits[best[0]] if len(best) == 1 else self._gentlest([edits[place] for place in best], texts)
        return self._found((chosen,), lines, tallies[best[0]].total)

    def composed(self, sites: Sequence[Site]) -> Found:
        """One reduction after the other, from the last layer down and the smallest rank up; kept if it helps what was kept before."""
        sweep, lines, stage = self.sweep, list[dict[str, Any]](), "composing"
        order = sorted(sites, key=lambda site: (site.stack == "encoder", -site.layer))
        curve: list[dict[str, Any]] = [{"site": None, "rho": None, "rank": None, "select": sweep.mean(sweep.base_total)}]
        bar = Threshold(sweep.base_total, beaten=True, bound=self.bound)
        climb = GreedyComposition(sweep, lambda number: self.edits(order[number]), len(order), sweep.start, bar, rises=True)
        self.workers.progress(stage, 0, len(order))
        for done, steps in enumerate(climb.steps(), start=1):
            for edit, tally, is_kept in steps:
                lines.append({**self._line(edit, tally), "kept": is_kept})
                if is_kept:
                    curve.append({"site": str(edit.site), "rho": edit.rho, "rank": self._rank(edit), "select": sweep.mean(tally.total)})
            self.workers.progress(stage, done, len(order))
        found = self._found(tuple(climb.kept), tuple(lines), climb.bar.total)
        return replace(found, composition=tuple(curve))

    def published(self, edit: ReduceRank) -> Found:
        """The paper's choice, whatever it does here."""
        tally = self.sweep.complete_score(edit)
        return self._found((edit,), (self._line(edit, tally),), tally.total)

    def _gentlest(self, edits: Sequence[ReduceRank], texts: Sequence[str]) -> ReduceRank:
        """Of candidates that score alike, the one under which plain text is the most probable; then the smaller rank, then model order."""
        keys = [journal_key("harm", list(texts), Plan((edit,)).digest) for edit in edits]
        work, stage = TextLogprobWork(self.sweep.evaluator, tuple(texts)), "reading plain text, to choose between equals"
        read = self.workers.map(work, edits, keys, stage=stage)
        harm = [-float(str(entry["logprob"])) for entry in read]
        return edits[min(range(len(edits)), key=lambda place: (harm[place], self._rank(edits[place]), place))]

    def _rank(self, edit: ReduceRank) -> int:
        return edit.rank(self.model.anatomy.shape(edit.site))

    def _line(self, edit: ReduceRank, tally: PartialScore) -> dict[str, Any]:
        """A candidate as a line of trials.jsonl; the score of one that was given up is the best that it could still have reached."""
        return {
            "site": str(edit.site),
            "rho": edit.rho,
            "rank": self._rank(edit),
            "score": self.sweep.mean(tally.reach),
            "examples": tally.asked,
            "complete": tally.complete,
            "seconds": tally.seconds,
        }

    def _found(self, edits: Sequence[ReduceRank], lines: tuple[dict[str, Any], ...], total: float) -> Found:
        means = {"base": self.sweep.mean(self.sweep.base_total), "chosen": self.sweep.mean(total)}
        counts = {"n_examples": len(self.questions.examples), "n_instructions": len(self.questions.task.instructions)}
        zeroed = [str(edit.site) for edit in edits if self._rank(edit) == 0]
        notes = [] if edits else ["No reduction that was tried does better on the select split than the model as it is: the plan is empty."]
        notes += [f"At its ρ the rank of {site} is 0: the whole matrix is set to zero." for site in zeroed]
        plan = Plan(tuple(edits)).for_model(self.model) if edits else Plan()
        facts = {"select": {"metric": self.questions.metric, **means, **counts}}
        return Found.one(plan, trials=lines, notes=tuple(notes), facts=facts)
