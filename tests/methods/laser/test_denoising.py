"""A reduction without a task keeps what the model writes: text of its own stays probable, and samples repeat no more, within limits."""

import math
from collections import deque
from pathlib import Path

import pytest
import torch

import pico
import resect
from resect.core.address import Site
from resect.core.execution import MemoryJournal, Workers
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd_cache import SvdCache
from resect.evaluation.own_text import REPORTED, SEARCHED, OwnText, Writing
from resect.evaluation.text_passages import Passages
from resect.methods.laser.denoising import NO_WRITING, denoise
from resect.methods.laser.laser import feed_forward_matrices
from resect.models.language_model import LanguageModel
from resect.models.loading import load_model
from resect.runs.guard_limits import GuardLimits

DEMO = Path(resect.__file__).parent / "data" / "demo" / "hill-and-river"
LINES = [f"line {number} of some made-up text" for number in range(9)]
NONE = GuardLimits.none()


def limits(perplexity=None, repetition=None):
    return GuardLimits({}, perplexity, repetition)


def load(name="llama"):
    """A model whose feed-forward blocks matter, and have components below the noise edge."""
    model = LanguageModel.of(pico.build(name, dtype=torch.float64), pico.tokenizer(name))
    for site in feed_forward_matrices(model.anatomy):
        weight = model.anatomy.weight(site)
        model.anatomy.write(site, None, weight * 4)
    return model


def search(model, guard, rise=100.0, workers=None, texts=LINES):
    passages = Passages(model, texts, 0, 2)
    sites = feed_forward_matrices(model.anatomy)
    return denoise(model, passages, sites, rise, SvdCache(model.anatomy), None, workers or Workers(), guard)


def naive(model, guard, trials):
    """Which of the tried reductions are kept by a plain loop, and what the others break; the text allows everything."""
    own, kept, outcomes = OwnText.of(model, Passages(model, LINES, 0, 2), SEARCHED, Workers()), (), []
    base = own.loss(), Writing(0.0, own.continuations()).repetition
    for trial in trials:
        edits = (*kept, ReduceRank(Site.of(trial["site"]), trial["rho"]))
        with Plan(edits).applied(model):
            rise, more = math.exp(own.loss() - base[0]) - 1, Writing(0.0, own.continuations()).repetition - base[1]
        is_own = guard.perplexity is not None and rise > guard.perplexity
        is_repeated = guard.collapse is not None and more > guard.collapse
        kept = kept if is_own or is_repeated else edits
        outcomes.append("own text" if is_own else "repetition" if is_repeated else "kept")
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "t5"])
@pytest.mark.parametrize("guard", [limits(0.001), limits(0.2), limits(None, 0.001), limits(0.01, 0.02), NONE], ids=str)
def test_what_is_kept_is_that_of_a_plain_loop(name, guard):
    model = load(name)
    trials = search(model, guard).trials
    assert all(trial["rho"] is not None for trial in trials)
    found = ["kept" if trial["kept"] else trial["broken"][0].rpartition(" +")[0] for trial in trials]
    assert found == naive(model, guard, trials)


class AheadEngine:
    """Takes several items before the first result is yielded, and computes on a model of its own, as engines with processes do."""

    processes_on_machine = 1

    def __init__(self, ahead):
        self.ahead = ahead

    def map(self, work, items):
        waiting, items = deque(), iter(items)
        while True:
            waiting.extend(item for _, item in zip(range(self.ahead - len(waiting)), items, strict=False))
            if not waiting:
                return
            yield work(waiting.popleft())


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [2, 9])
def test_batches_that_are_sent_ahead_change_nothing(ahead):
    guard = limits(0.05)
    one, several = search(load(), guard), search(load(), guard, workers=Workers(engine=AheadEngine(ahead)))
    timeless = [[{**trial, "seconds": 0} for trial in found.trials] for found in (one, several)]
    assert one.plan == several.plan
    assert timeless[0] == timeless[1]


class CountingJournal(MemoryJournal):
    def __init__(self):
        super().__init__()
        self.kept = []

    def keep(self, key, entry):
        self.kept.append(key)
        super().keep(key, entry)


def test_a_search_that_continues_reads_and_writes_nothing_again():
    journal, model = CountingJournal(), load()
    first = search(model, limits(0.01, 0.01), workers=Workers(journal=journal))
    assert len(journal.kept) == len(set(journal.kept))
    journal.kept.clear()
    again = search(model, limits(0.01, 0.01), workers=Workers(journal=journal))
    assert (again.plan, again.trials) == (first.plan, first.trials)
    assert journal.kept == []


def test_the_model_is_as_it_was():
    model, before = load(), load()
    search(model, limits(0.01, 0.01))
    for site in model.anatomy.sites:
        assert torch.equal(model.anatomy.weight(site), before.anatomy.weight(site))


def test_a_masked_model_has_no_writing_to_guard():
    found = search(load("bert"), limits(0.0, 0.0), rise=1e6, texts=["ab", "cd"])
    assert NO_WRITING in found.notes
    assert not any("broken" in trial for trial in found.trials)


@pytest.mark.slow
def test_a_foreign_text_that_improves_while_the_model_forgets_is_not_enough():
    model, workers = load_model(str(DEMO)), Workers()
    texts = ["The town council voted on Tuesday evening to close the old bridge.", "A ring of curved glass gathers the rays of a lamp."]
    passages, reported = (Passages(model, texts, part, 2) for part in (0, 1))
    own = OwnText.of(model, reported, REPORTED, workers)
    base = passages.losses().sum()

    def found(guard):
        plan = search(model, guard, 0.01, workers, texts).plan
        with plan.applied(model):
            loss = passages.losses().sum()
        return loss, own.compared(plan, workers)[0]

    loss, effect = found(NONE)
    assert loss < base
    assert effect["edited"] > 2 * effect["base"]
    loss, effect = found(GuardLimits())
    assert loss <= base + passages.allowance(0.01)
    assert effect["edited"] < 1.1 * effect["base"]
