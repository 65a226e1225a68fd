"""Search among rank reductions: the one that scores highest, or one after the other.

Knows a sweep and candidates; not which matrices and ranks are candidates, nor why.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from ..address import Site
from ..edits.matrices import ReduceRank
from ..model import LanguageModel
from ..plan import Plan
from ..questions import Questions
from ..race import Tally, never, no_better_than, race, winners
from ..sweep import Sweep
from ..work import Journal, Progress
from .base import Found


@dataclass(frozen=True)
class Searching:
    """One search, with what it works on.

    edits : the candidates at one matrix, from the smallest rank up
    bound : whether candidates are given up that can no longer win
    """

    edits: Callable[[Site], Sequence[ReduceRank]]
    bound: bool
    model: LanguageModel
    questions: Questions
    sweep: Sweep
    journal: Journal
    progress: Progress

    def best(self, sites: Sequence[Site], texts: Sequence[str]) -> Found:
        """The one reduction that scores highest."""
        sweep = self.sweep
        edits = [edit for site in sites for edit in self.edits(site)]
        tallies = race(
            lambda place, tally, enough: sweep.go_on(edits[place], tally, enough),
            len(edits),
            sweep.start,
            sweep.base_total,
            scout=sweep.scout,
            bound=self.bound,
            progress=self.progress,
        )
        lines = tuple(self._line(edit, tally) for edit, tally in zip(edits, tallies, strict=True))
        best = winners(tallies, sweep.base_total)
        if not best:
            return self._found((), lines, sweep.base_total)
        chosen = edits[best[0]] if len(best) == 1 else self._gentlest([edits[place] for place in best], texts)
        return self._found((chosen,), lines, tallies[best[0]].total)

    def composed(self, sites: Sequence[Site]) -> Found:
        """One reduction after the other, from the last layer down and the smallest rank up; kept if it helps what was kept before."""
        sweep, kept = self.sweep, list[ReduceRank]()
        best, lines, stage = sweep.base_total, [], "composing"
        curve: list[dict[str, Any]] = [{"site": None, "rho": None, "rank": None, "select": sweep.mean(best)}]
        order = sorted(sites, key=lambda site: (site.stack == "encoder", -site.layer))
        self.progress(stage, 0, len(order))
        with ExitStack() as stack:
            for done, site in enumerate(order, start=1):
                for edit in self.edits(site):
                    tally = sweep.go_on(edit, sweep.start, no_better_than(best) if self.bound else never, kept)
                    is_kept = tally.complete and tally.total > best
                    lines.append({**self._line(edit, tally), "kept": is_kept})
                    if is_kept:
                        stack.enter_context(sweep.keeping(edit))
                        kept.append(edit)
                        best = tally.total
                        curve.append({"site": str(site), "rho": edit.rho, "rank": self._rank(edit), "select": sweep.mean(best)})
                        break
                self.progress(stage, done, len(order))
        found = self._found(tuple(kept), tuple(lines), best)
        return replace(found, facts={**found.facts, "composition": curve})

    def published(self, edit: ReduceRank) -> Found:
        """The paper's choice, whatever it does here."""
        tally = self.sweep.go_on(edit, self.sweep.start, never)
        return self._found((edit,), (self._line(edit, tally),), tally.total)

    def _gentlest(self, edits: Sequence[ReduceRank], texts: Sequence[str]) -> ReduceRank:
        """Of candidates that score alike, the one under which plain text is the most probable; then the smaller rank, then model order."""
        harm = []
        self.progress("reading plain text, to choose between equals", 0, len(edits))
        for done, edit in enumerate(edits, start=1):
            key = f"harm/{Plan((edit,)).digest}"
            held = self.journal.recall(key)
            if held is None:
                with self.sweep.keeping(edit):
                    held = {"logprob": self.model.text_logprob(texts)[0]}
                self.journal.keep(key, held)
            harm.append(-float(str(held["logprob"])))
            self.progress("reading plain text, to choose between equals", done, len(edits))
        return edits[min(range(len(edits)), key=lambda place: (harm[place], self._rank(edits[place]), place))]

    def _rank(self, edit: ReduceRank) -> int:
        return edit.rank(self.model.anatomy.shape(edit.site))

    def _line(self, edit: ReduceRank, tally: Tally) -> dict[str, Any]:
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
        return Found(plan, None, lines, tuple(notes), {"select": {"metric": self.questions.metric, **means, **counts}})
