"""Evaluates candidate edits of single matrices: applies each edit to the model, evaluates batches of questions, and undoes it.

Three things save work and change no answer: layers below the edit return cached outputs (`layer_cache`), the last layer computes only the
positions that are scored (`scored_positions`), and a matrix is decomposed once for all its ranks (`edits.svd_cache`).

Knows a model, batches of questions and partial scores; knows no journal, no method, and not which candidate wins.
"""

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from resect.edits.matrices import ReduceRank
from resect.edits.svd_cache import SvdCache
from resect.edits.undo import Undo
from resect.models.anatomy import Anatomy
from resect.models.language_model import LanguageModel

from .elimination import CandidateBatch, PartialScore, ScoreHistories, Threshold
from .layer_cache import FEED_FORWARD, CachedOutputs, LayerBoundary, LayerCache
from .question_order import AnswerableBatch, ValuesAndMargins
from .scored_positions import ScoredPositions

#: A batch of candidates that are rank reductions.
ReductionBatch = CandidateBatch[ReduceRank]


class EditEvaluator:
    """Work for an engine: an item is a batch of candidates, its result the histories of their scores.

    Caches belong to one process: they are left out when the evaluator is sent to another.

    Parameters
    ----------
    batches : of questions, in the order in which they are evaluated
    sign : of a value in a total, of which more is better
    state_memory : bytes of hidden states that may be cached; None: a quarter of what is free, shared by the `processes_on_machine`
    replay, positions, share : see `CandidateScorer`
    """

    def __init__(
        self,
        model: LanguageModel,
        batches: Sequence[AnswerableBatch],
        sign: float,
        svd_cache: SvdCache,
        *,
        state_memory: int | None,
        processes_on_machine: int,
        replay: bool,
        positions: bool,
        share: bool,
    ) -> None:
        self.model, self._batches, self._sign, self._svd_cache = model, batches, sign, svd_cache
        self._anatomy: Anatomy = model.anatomy
        self._state_memory, self._processes = state_memory, processes_on_machine
        is_listed = self._anatomy.is_listed  # of discovered blocks it is not proved that nothing else depends on them
        self._replays, self._narrows, self._shares = replay and is_listed, positions and is_listed, share
        self._set_up_process()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._of_process}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._set_up_process()

    def _set_up_process(self) -> None:
        """Creates what belongs to this process."""
        before, forward = set(vars(self)), self.model.forward
        self._layer_cache = LayerCache(self._anatomy) if self._replays else None
        self._scored_positions = ScoredPositions(self._anatomy, head=not forward.can_limit_logits) if self._narrows else None
        self._limit = _free_memory(forward.device) // (4 * self._processes) if self._state_memory is None else self._state_memory
        self._cached: list[CachedOutputs | None] = [None] * len(self._batches)
        self._too_large: set[int] = set()
        self._kept: tuple[ReduceRank, ...] = ()
        self._undo_kept = ExitStack()
        self._of_process = {"_of_process", *vars(self)} - before

    @contextmanager
    def context(self) -> Iterator[None]:
        """Undoes the kept candidates on exit."""
        try:
            yield
        finally:
            self._keep(())

    def __call__(self, batch: ReductionBatch) -> ScoreHistories:
        """Evaluates the candidates of a batch, one after the other."""
        threshold, histories = batch.threshold, list[list[PartialScore]]()
        for edit, score in zip(batch.candidates, batch.scores, strict=True):
            histories.append(list(self._scores(edit, score, threshold, batch.kept)))
            last = histories[-1][-1] if histories[-1] else score
            if batch.then == "end" and threshold.is_met(last):
                break
            if batch.then == "raise" and last.complete:
                threshold = threshold.raised(last.total)
        return histories

    def values(self, edits: Sequence[ReduceRank], pairs: int) -> Float64[np.ndarray, " pairs"]:
        """Returns the value of each of so many questions under several edits together, in the questions' own order."""
        values = np.zeros(pairs)
        with self._narrowed(), ExitStack() as stack:
            for edit in edits:
                stack.enter_context(self.applied(edit))
            for place, batch in enumerate(self._batches):
                values[list(batch.pairs)] = (self._evaluated(place, edits[0]) if len(edits) == 1 else batch.evaluate())[0]
        return values

    @contextmanager
    def applied(self, edit: ReduceRank) -> Iterator[None]:
        """Applies an edit as long as the context lasts. Raises NotFinite, NotWritable."""
        anatomy = self._anatomy
        with Undo() as undo:
            for each in edit.each(anatomy):
                weight = anatomy.weight(each.site)
                if edit.variant == "exact" and self._shares:
                    new = each.reduced_from(weight, self._svd_cache.decomposition(each.site), anatomy.family)
                else:
                    new = each.reduced(weight, anatomy.family)
                undo.save(*anatomy.locate(each.site))
                anatomy.write(each.site, None, new)
            yield

    @contextmanager
    def applied_together(self, edits: tuple[ReduceRank, ...]) -> Iterator[None]:
        """Applies edits one after the other as long as the context lasts, whichever are kept applied now. Raises NotFinite, NotWritable."""
        before = self._kept
        self._keep(edits[:-1])
        try:
            with self.applied(edits[-1]) if edits else nullcontext():
                yield
        finally:
            self._keep(before)

    def _scores(self, edit: ReduceRank, score: PartialScore, threshold: Threshold, kept: tuple[ReduceRank, ...]) -> Iterator[PartialScore]:
        """Yields a candidate's score after each batch of questions, until the threshold stops it."""
        if threshold.stops(score):
            return
        self._keep(kept)
        started, seconds = time.monotonic(), score.seconds
        with self._narrowed(), self.applied(edit):
            while not threshold.stops(score):
                values, margins = self._evaluated(self._next_batch(score.answered), edit)
                score = PartialScore(
                    answered=score.answered + len(values),
                    questions=score.questions,
                    total=score.total + signed_sum(self._sign, values),
                    ceiling=score.ceiling,
                    margin=score.margin + float(margins.sum()),
                    seconds=seconds + time.monotonic() - started,
                )
                yield score

    def _keep(self, kept: tuple[ReduceRank, ...]) -> None:
        """Keeps exactly these edits applied, under whichever candidate is evaluated."""
        if kept[: len(self._kept)] != self._kept:
            self._undo_kept.close()
            self._kept, self._cached = (), [None] * len(self._batches)
        for edit in kept[len(self._kept) :]:
            self._undo_kept.enter_context(self.applied(edit))
            self._kept = (*self._kept, edit)
            # Another process may have found the edit while this one evaluated later candidates without it.
            self._cached = [None if cached and cached.depends_on(edit.site) else cached for cached in self._cached]

    def _next_batch(self, answered: int) -> int:
        """Returns the place of the batch that follows so many questions."""
        ends = np.cumsum([len(batch.pairs) for batch in self._batches])
        return int(np.searchsorted(ends, answered, side="right"))

    def _evaluated(self, place: int, edit: ReduceRank) -> ValuesAndMargins:
        """Returns values and margins of a batch with the model as it is, edited at or above this edit's matrix."""
        batch, attention = self._batches[place], edit.site.role in FEED_FORWARD
        cached = self._outputs_below(place, LayerBoundary.below(edit.site), attention)
        if cached is None or self._layer_cache is None:
            return batch.evaluate()
        with self._layer_cache.replaying(cached, attention=attention):
            return batch.evaluate()

    def _outputs_below(self, place: int, boundary: LayerBoundary, attention: bool) -> CachedOutputs | None:
        """Returns the outputs below a boundary, computed from those of a lower one; None where memory does not hold them."""
        if self._layer_cache is None or place in self._too_large:
            return None
        cached = self._cached[place]
        if cached is not None and cached.boundary == boundary and (cached.attention or not attention):
            return cached
        with ExitStack() as stack:
            if cached is not None and cached.boundary.stack == boundary.stack and cached.boundary.layer <= boundary.layer:
                stack.enter_context(self._layer_cache.replaying(cached, attention=cached.attention))
            fresh = stack.enter_context(self._layer_cache.recording(boundary, attention=attention))
            self._batches[place].evaluate()
        self._cached[place] = None
        if fresh.bytes + sum(other.bytes for other in self._cached if other is not None) > self._limit:
            self._too_large.add(place)
            return fresh  # for this once
        self._cached[place] = fresh
        return fresh

    @contextmanager
    def _narrowed(self) -> Iterator[None]:
        """Computes only scored positions in the last layer, as long as the context lasts."""
        forward = self.model.forward
        before = forward.scored_columns_context
        forward.scored_columns_context = self._scored_positions or before
        try:
            yield
        finally:
            forward.scored_columns_context = before


def signed_sum(sign: float, values: Float64[np.ndarray, " _"]) -> float:
    """Returns what values add to a total, of which more is better."""
    return sign * math.fsum(values)


def _free_memory(device: torch.device) -> int:
    """Returns free bytes of the device, or of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    names = ("SC_AVPHYS_PAGES", "SC_PAGE_SIZE")
    known = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    return math.prod(os.sysconf(name) for name in names) if all(name in known for name in names) else 4 * 2**30
