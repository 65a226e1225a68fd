"""A station: where questions are asked again and again of one model, of which one matrix is changed each time.

What makes it fast changes no answer: layers below the change answer from memory (`replay`), the last layer computes only what is scored
(`focus`), a matrix is decomposed once for all its ranks (`factors`). Knows a model, bundles of questions and how a candidate stands; knows
no journal, no method, and nothing of who wins.
"""

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from resect.core.address import Site
from resect.edits.matrices import ReduceRank
from resect.edits.svd_cache import SvdCache
from resect.edits.undo import Undo
from resect.models.anatomy import Anatomy
from resect.models.language_model import LanguageModel

from .elimination import CandidateBatch, PartialScore, ScoreHistories, Threshold
from .layer_cache import FEED_FORWARD, CachedOutputs, LayerBoundary, LayerCache
from .question_order import AnswerableBatch, ValuesAndMargins
from .scored_positions import ScoredPositions

#: A heat of rank reductions.
ReductionBatch = CandidateBatch[ReduceRank]


class EditEvaluator:
    """Where candidates are asked: bundles of questions with one model. Work for an engine, whose items are heats.

    What it remembers of the layers below a change stays where it is: it is sent without.

    Parameters
    ----------
    bundles : asked in this order
    sign : of a value in a total, of which more is better
    limit : bytes of hidden states that may be held; None: a quarter of what is free, divided by the `processes_on_machine` on this machine
    """

    def __init__(
        self,
        model: LanguageModel,
        bundles: Sequence[AnswerableBatch],
        sign: float,
        factors: SvdCache,
        *,
        limit: int | None,
        neighbours: int,
        replay: bool,
        positions: bool,
        share: bool,
    ) -> None:
        self.model, self._bundles, self._sign, self._factors, self._share = model, bundles, sign, factors, share
        self._anatomy: Anatomy = model.anatomy
        self._given_limit, self._neighbours, self._replays, self._narrows = limit, neighbours, replay, positions
        self._settle()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._of_here}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._settle()

    def _settle(self) -> None:
        """Set up what belongs to this process."""
        before, forward = set(vars(self)), self.model.forward
        self._replay = LayerCache(self._anatomy) if self._replays else None
        self._focus = ScoredPositions(self._anatomy, head=not forward.chooses_logits) if self._narrows else None
        self._limit = _free_memory(forward.device) // (4 * self._neighbours) if self._given_limit is None else self._given_limit
        self._memories: list[CachedOutputs | None] = [None] * len(self._bundles)
        self._unheld: set[int] = set()
        self._kept: tuple[ReduceRank, ...] = ()
        self._keeping = ExitStack()
        self._of_here = {"_of_here", *vars(self)} - before

    @contextmanager
    def context(self) -> Iterator[None]:
        """On the way out, what was kept beside the candidates is undone."""
        try:
            yield
        finally:
            self._keep(())

    def __call__(self, heat: ReductionBatch) -> ScoreHistories:
        """Ask the candidates of a heat, one after the other."""
        bar, trails = heat.bar, list[list[PartialScore]]()
        for edit, tally in zip(heat.candidates, heat.tallies, strict=True):
            trails.append(list(self._asked_on(edit, tally, bar, heat.kept)))
            last = trails[-1][-1] if trails[-1] else tally
            if heat.then == "end" and bar.is_cleared(last):
                break
            if heat.then == "raise" and last.complete:
                bar = bar.raised(last.total)
        return trails

    def values(self, edits: Sequence[ReduceRank], pairs: int) -> Float64[np.ndarray, " pairs"]:
        """The value of each of so many questions under some edits at once, in the questions' own order."""
        found = np.zeros(pairs)
        lowest = min(edits, key=lambda edit: (edit.site.stack == "decoder", edit.site.layer), default=None)
        with self._focused(), ExitStack() as stack:
            for edit in edits:
                stack.enter_context(self.keeping(edit))
            for place, bundle in enumerate(self._bundles):
                found[list(bundle.pairs)] = self._asked(place, lowest)[0] if len(edits) == 1 and lowest else bundle.ask()[0]
        return found

    @contextmanager
    def keeping(self, edit: ReduceRank) -> Iterator[None]:
        """An edit in force for a while. Raises NotFinite, NotWritable."""
        anatomy, site = self._anatomy, edit.site
        weight = anatomy.weight(site)
        exact = edit.variant == "exact"
        if exact and self._share:
            new = edit.of_factors(weight, self._factors.of(site), anatomy.family)
        else:
            new = edit.reduced(weight, anatomy.family)
        with Undo() as undo:
            undo.keep(*anatomy.locate(site))
            anatomy.write(site, None, new)
            yield

    def _asked_on(self, edit: ReduceRank, tally: PartialScore, bar: Threshold, kept: tuple[ReduceRank, ...]) -> Iterator[PartialScore]:
        """The tallies of a candidate after each batch, until the bar stops it."""
        if bar.stops(tally):
            return
        self._keep(kept)
        started, before = time.monotonic(), tally
        with self._focused(), self.keeping(edit):
            while not bar.stops(tally):
                values, margins = self._asked(self._place(tally.asked), edit)
                asked, total = tally.asked + len(values), tally.total + signed_sum(self._sign, values)
                seconds = before.seconds + time.monotonic() - started
                tally = PartialScore(asked, tally.of, total, tally.ceiling, tally.margin + float(margins.sum()), seconds)
                yield tally

    def _keep(self, kept: tuple[ReduceRank, ...]) -> None:
        """Have just these edits in force, beside whichever is asked about."""
        if kept[: len(self._kept)] != self._kept:
            self._keeping.close()
            self._kept, self._memories = (), [None] * len(self._bundles)
        for edit in kept[len(self._kept) :]:
            self._keeping.enter_context(self.keeping(edit))
            self._kept = (*self._kept, edit)
            # Another process' edits were kept while this one had asked on without them: its runs may have to be made anew.
            self._memories = [None if held and _covers(held, edit.site) else held for held in self._memories]

    def _place(self, asked: int) -> int:
        """Which bundle comes after so many questions."""
        ends = np.cumsum([len(bundle.pairs) for bundle in self._bundles])
        return int(np.searchsorted(ends, asked, side="right"))

    def _asked(self, place: int, edit: ReduceRank) -> ValuesAndMargins:
        """Values and margins of a bundle with the model as it is, edited at or above this edit's matrix."""
        bundle = self._bundles[place]
        attention = edit.site.role in FEED_FORWARD
        memory = self._remembered(place, LayerBoundary.below(edit.site), attention)
        if memory is None or self._replay is None:
            return bundle.ask()
        with self._replay.answering(memory, attention=attention):
            return bundle.ask()

    def _remembered(self, place: int, at: LayerBoundary, attention: bool) -> CachedOutputs | None:
        """What a bundle needs below a boundary, carried on from where its memory stands; None where it is not held."""
        if self._replay is None or place in self._unheld:
            return None
        held = self._memories[place]
        if held is not None and held.at == at and (held.attention or not attention):
            return held
        with ExitStack() as stack:
            if held is not None and held.at.stack == at.stack and held.at.layer <= at.layer:
                stack.enter_context(self._replay.answering(held, attention=held.attention))
            fresh = stack.enter_context(self._replay.recording(at, attention=attention))
            self._bundles[place].ask()
        self._memories[place] = None
        if fresh.bytes + sum(memory.bytes for memory in self._memories if memory is not None) > self._limit:
            self._unheld.add(place)
            return fresh  # for this once
        self._memories[place] = fresh
        return fresh

    @contextmanager
    def _focused(self) -> Iterator[None]:
        forward = self.model.forward
        held = forward.focus
        forward.focus = self._focus or held
        try:
            yield
        finally:
            forward.focus = held


def _covers(memory: CachedOutputs, site: Site) -> bool:
    """Whether what is remembered depends on a matrix."""
    if site.stack != memory.at.stack:
        return memory.at.stack == "decoder"
    if site.layer == memory.at.layer:
        return memory.attention and site.role not in FEED_FORWARD
    return site.layer < memory.at.layer


def signed_sum(sign: float, values: Float64[np.ndarray, " _"]) -> float:
    """What values add to a total, of which more is better."""
    return sign * math.fsum(values)


def _free_memory(device: torch.device) -> int:
    """Bytes: of the device, or of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    names = ("SC_AVPHYS_PAGES", "SC_PAGE_SIZE")
    known = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    return math.prod(os.sysconf(name) for name in names) if all(name in known for name in names) else 4 * 2**30
