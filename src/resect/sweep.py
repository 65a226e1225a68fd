"""A sweep: one set of questions, asked again and again of a model of which one matrix is changed.

What makes it fast changes no answer: layers below the change answer from memory (`replay`), the last layer computes only what is scored
(`focus`), a matrix is decomposed once for all its ranks (`factors`). Knows questions, matrices and how a candidate stands; knows no method,
and no split but what it was handed.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from .anatomy import Anatomy
from .batches import Purpose
from .edits.matrices import ReduceRank
from .edits.undo import Undo
from .errors import InputError
from .factors import Factors
from .focus import Focus
from .lineup import Answered, Asked, LineUp
from .plan import Plan
from .race import Tally
from .replay import FEED_FORWARD, Boundary, Memory, Replay
from .work import InMemory, Journal, Progress, silent

#: What a journal keeps of a candidate.
_KEPT = ("asked", "total", "margin", "seconds")


class Sweep:
    """Questions in a fixed order and fixed batches, hardest first, to be asked under one change after the other.

    Parameters
    ----------
    asked : the questions; more is better, or less, as they say
    factors : where decompositions come from
    state_memory : bytes of hidden states that may be held; None: a quarter of what is free. What does not fit is run again
    replay, positions, share : leave out the layers below, the positions that are not scored, the decomposition for each ρ; no answer
        depends on them (a position left out may change the last bit)
    purpose : what the batches are for: how much memory a question takes

    Attributes
    ----------
    base : the unedited model's value of each question, in their own order
    start : the tally of a candidate that was asked nothing
    scout : how many of the first questions tell who is promising; then come the hardest
    """

    def __init__(
        self,
        asked: Asked,
        factors: Factors,
        *,
        state_memory: int | None = None,
        replay: bool = True,
        positions: bool = True,
        share: bool = True,
        purpose: Purpose = "answers",
        journal: Journal | None = None,
        progress: Progress = silent,
    ) -> None:
        if asked.best_value is None:
            raise InputError("These questions have no best value, so that no candidate could ever be given up; take another metric.")
        self.asked, self.model, self._factors = asked, asked.model, factors
        self._anatomy: Anatomy = asked.model.anatomy
        self._share, self._journal = share, journal or InMemory()
        self._sign = -1.0 if asked.less_is_better else 1.0
        self._replay = Replay(self._anatomy) if replay and asked.replayable else None
        forward = self.model.forward
        self._focus = Focus(self._anatomy, head=not forward.chooses_logits) if positions and asked.replayable else None
        self._limit = _free_memory(forward.device) // 4 if state_memory is None else state_memory
        lineup = LineUp.of(asked, purpose, self._journal, progress)
        self._bundles, self.scout, self.base = lineup.batches, lineup.scout, lineup.values
        self._memories: list[Memory | None] = [None] * len(self._bundles)
        self._unheld: set[int] = set()
        order = json.dumps([bundle.pairs for bundle in self._bundles]).encode()
        self._name = f"sweep/{asked.digest}/{asked.metric}/{hashlib.sha256(order).hexdigest()[:16]}"
        self.start = Tally(0, asked.pairs, 0.0, self._sign * asked.best_value)

    @property
    def base_total(self) -> float:
        """The unedited model's total, as a tally counts it."""
        total = 0.0
        for bundle in self._bundles:  # added up as a candidate's total is, so that no gain is made of rounding
            total += self._gains(self.base[list(bundle.pairs)])
        return total

    def mean(self, total: float) -> float:
        """A total as the metric's mean over all questions."""
        return self._sign * total / self.asked.pairs

    def go_on(self, edit: ReduceRank, tally: Tally, enough: Callable[[Tally], bool], kept: Sequence[ReduceRank] = ()) -> Tally:
        """Ask on under `edit`, from where its tally stands, until all is asked or `enough`. What was asked before a kill is recalled.

        kept : edits that are in force meanwhile, none of them below `edit`
        Raises NotFinite, NotWritable, OutOfMemory.
        """
        key = f"{self._name}/{Plan((*kept, edit)).digest}"
        tally = self._recalled(key, tally)
        if tally.complete or enough(tally):
            return tally
        started, before = time.monotonic(), tally
        with self._focused(), self.keeping(edit):
            while not (tally.complete or enough(tally)):
                place = self._place(tally.asked)
                values, margins = self._asked(place, edit)
                asked, total = tally.asked + len(values), tally.total + self._gains(values)
                tally = Tally(asked, tally.of, total, tally.ceiling, tally.margin + float(margins.sum()))
        tally = replace(tally, seconds=before.seconds + time.monotonic() - started)
        self._journal.keep(key, {name: getattr(tally, name) for name in _KEPT})
        return tally

    def values(self, edits: Sequence[ReduceRank]) -> Float64[np.ndarray, " pairs"]:
        """The value of each question under some edits at once, in the questions' own order. Raises as `go_on`."""
        found = np.zeros(self.asked.pairs)
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

    def _gains(self, values: Float64[np.ndarray, " _"]) -> float:
        return self._sign * math.fsum(values)

    def _recalled(self, key: str, tally: Tally) -> Tally:
        held: Any = self._journal.recall(key)
        if held is None or held["asked"] <= tally.asked:
            return tally
        return replace(tally, **{name: held[name] for name in _KEPT})

    def _place(self, asked: int) -> int:
        """Which bundle comes after so many questions."""
        ends = np.cumsum([len(bundle.pairs) for bundle in self._bundles])
        return int(np.searchsorted(ends, asked, side="right"))

    def _asked(self, place: int, edit: ReduceRank) -> Answered:
        """Values and margins of a bundle with the model as it is, edited at or above this edit's matrix."""
        bundle = self._bundles[place]
        attention = edit.site.role in FEED_FORWARD
        memory = self._remembered(place, Boundary.below(edit.site), attention)
        if memory is None or self._replay is None:
            return bundle.ask()
        with self._replay.answering(memory, attention=attention):
            return bundle.ask()

    def _remembered(self, place: int, at: Boundary, attention: bool) -> Memory | None:
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


def _free_memory(device: torch.device) -> int:
    """Bytes: of the device, or of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    names = ("SC_AVPHYS_PAGES", "SC_PAGE_SIZE")
    known = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    return math.prod(os.sysconf(name) for name in names) if all(name in known for name in names) else 4 * 2**30
