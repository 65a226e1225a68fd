"""Workers on a Ray cluster come to what one process comes to, to the last bit, whoever of them is killed."""

import functools
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed (the extra resect[ray])")

from resect.core.errors import Failure, InputError, UnknownName, WrongModel
from resect.core.execution import LocalEngine, MemoryJournal, Workers
from resect.data.tasks.registry import load_task
from resect.edits.neurons import Scale
from resect.edits.plan import Plan, WithPlan
from resect.edits.svd_cache import SvdCache
from resect.evaluation.questions import Questions
from resect.evaluation.text_passages import Passages
from resect.jobs import run
from resect.jobs.ray_cluster import cluster, installed
from resect.jobs.ray_engine import AHEAD, RayEngine
from resect.methods.base import TextInputs
from resect.methods.crispr.crispr import Crispr
from resect.methods.lape.recording import record
from resect.methods.laser.laser import Laser
from resect.models.loading import load_model
from resect.runs.recipe import Recipe

pytestmark = pytest.mark.slow
WORKERS = 2


@pytest.fixture(scope="module")
def ray():
    """One cluster for all tests of this module, with room for the engines that some of them make beside the usual one."""
    found = installed()
    with cluster(found, None, 6):
        found.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not find the tests
        yield found
        found.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def load(where):
    return functools.partial(load_model, str(where / "model"), device="cpu")


@pytest.fixture(scope="module")
def model(load):
    return load()


@pytest.fixture(scope="module")
def engine(ray, model, load):
    with RayEngine(model, load, workers=WORKERS) as engine:
        yield engine


@pytest.fixture(scope="module")
def task(where):
    return load_task(str(where / "task.toml"))


@dataclass(frozen=True)
class Looking:
    """Says who looks, and whether the model and its parts are its own."""

    model: Any
    anatomy: Any
    module: Any

    def __call__(self, item: int) -> tuple[int, int, bool, float]:
        own = self.anatomy is self.model.anatomy and self.module is self.model.model
        time.sleep(0.1 if item % 3 == 0 else 0.0)
        return item, os.getpid(), own, float(self.model.logprobs(["a question"], ["g"])[0])


@dataclass(frozen=True)
class Killed:
    """Adds 1, but is killed at some items, the first `times` times that it gets there."""

    folder: Path
    at: tuple[int, ...]
    times: int = 1

    def __call__(self, item: int) -> int:
        for time_ in range(self.times if item in self.at else 0):
            mark = self.folder / f"{item}-{time_}"
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return item + 1


def raising(item: int) -> int:
    if item == 2:
        raise UnknownName("colour", "rad", ["red", "green"])
    if item == 5:
        raise ZeroDivisionError("five")
    return item


def lines(found) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in found.trials]


def test_results_come_in_order_from_several_processes_each_with_its_own_model(engine, model):
    found = list(engine.map(Looking(model, model.anatomy, model.model), range(12)))
    assert [item for item, *_ in found] == list(range(12))
    assert os.getpid() not in {pid for _, pid, *_ in found}
    assert len({pid for _, pid, *_ in found}) == WORKERS
    assert all(own for _, _, own, _ in found)
    assert {value for *_, value in found} == {float(model.logprobs(["a question"], ["g"])[0])}


def test_items_are_taken_as_they_are_needed_and_the_rest_is_given_up(engine):
    taken = []
    found = engine.map(abs, (taken.append(item) or item for item in range(100)))
    assert next(found) == 0
    assert len(taken) <= AHEAD * WORKERS
    found.close()
    assert list(engine.map(abs, [-1, -2])) == [1, 2]
    assert list(engine.map(abs, [])) == []


def test_two_works_at_a_time_do_not_get_mixed_up(engine):
    first = engine.map(abs, range(-8, 0))
    found = [next(first), *engine.map(str, [1, 2]), *first]
    assert found == [8, "1", "2", 7, 6, 5, 4, 3, 2, 1]


def test_an_error_in_a_worker_is_raised_when_its_turn_has_come(engine):
    found = engine.map(raising, range(4))
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(UnknownName) as caught:
        next(found)
    assert caught.value.suggestion == "red"
    assert str(caught.value) == str(UnknownName("colour", "rad", ["red", "green"]))
    with pytest.raises(ZeroDivisionError, match="five"):
        list(engine.map(raising, [1, 5]))
    assert list(engine.map(raising, [1])) == [1]


def test_another_model_than_the_workers_own_is_refused(engine, model, load):
    with pytest.raises(InputError, match="holds another"):
        list(engine.map(Looking(load(), model.anatomy, model.model), [1]))


def test_batch_sizes_are_those_of_this_process_and_what_the_first_item_found(engine, model):
    asked = functools.partial(_sized, model)
    held = dict(model.batches.sizes)
    try:
        model.batches.sizes = {"answers": 3}
        assert list(engine.map(asked, [4, 50, 8])) == [(3, 4), (3, 4), (3, 4)]  # "text" as for 4 tokens, whoever found it
        assert model.batches.sizes == {"answers": 3, "text": 4}
    finally:
        model.batches.sizes = held


def _sized(model: Any, tokens: int) -> tuple[int, int]:
    model.batches.sizes.setdefault("text", tokens)
    return model.batches.size(tokens), model.batches.size(tokens, "text")


def test_a_plan_is_in_force_in_the_workers_and_not_here(engine, model, task):
    plan = Plan((Scale({"decoder.1.up": [3, 11, 17]}, 0.0),))
    questions = Questions(model, task, task.split("select"))
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    answers = questions.answers(plan, workers=Workers(engine=engine))
    assert (answers.values == questions.answers(plan).values).all()
    assert not (answers.values == questions.answers(Plan(), workers=Workers(engine=engine)).values).all()
    found = [found for (found,) in zip(engine.map(WithPlan(plan, model, _edited), [model] * 4), strict=True)]
    assert [value for value, _ in found] == [0.0] * 4
    assert [value for value, _ in engine.map(_edited, [model] * 4)] != [0.0] * 4
    assert all((tensor == before[name]).all() for name, tensor in model.model.state_dict().items())


def _edited(model: Any) -> tuple[float, int]:
    return float(model.anatomy.weight("decoder.1.up")[3].abs().sum()), os.getpid()


def test_what_a_killed_worker_had_is_done_again(engine, tmp_path):
    work = Killed(tmp_path, at=(2,))
    assert list(engine.map(work, range(9))) == list(range(1, 10))
    assert [path.name for path in tmp_path.iterdir()] == ["2-0"]
    assert list(engine.map(abs, [-3])) == [3]


def test_crispr_finds_the_same_to_the_last_bit(engine, model, task):
    method, journals = Crispr(), (MemoryJournal(), MemoryJournal())
    here, there = (
        method.search(model, task, workers=Workers(engine=each, journal=journal))
        for each, journal in zip((LocalEngine(), engine), journals, strict=True)
    )
    assert here.plan.edits
    assert there.plan.to_json() == here.plan.to_json()
    assert lines(there) == lines(here)
    for site in here.scores:
        assert (there.scores[site] == here.scores[site]).all()


@pytest.mark.parametrize("settings", [{}, {"compose": True}], ids=["race", "climb"])
def test_laser_finds_the_same_to_the_last_bit_and_asks_nobody_more(engine, model, task, settings):
    method = Laser(rhos=(0.5, 0.1, 0.0), sites=("decoder.1.*", "decoder.0.up"), metric="logloss", **settings)
    here, there = (
        method.search(model, task, factors=SvdCache(model.anatomy), workers=Workers(engine=each)) for each in (LocalEngine(), engine)
    )
    assert here.plan.edits
    assert there.plan.to_json() == here.plan.to_json()
    assert lines(there) == lines(here)
    assert there.facts == here.facts


def test_denoising_keeps_the_same(engine, model):
    passages = Passages(model, ["a line to read", "and another one that is longer", "three"])
    method = Laser(sites="*", task_free=True, rise=0.3)
    here, there = (
        method.search(model, TextInputs(passages), factors=SvdCache(model.anatomy), workers=Workers(engine=each))
        for each in (LocalEngine(), engine)
    )
    assert here.plan.edits
    assert there.plan.to_json() == here.plan.to_json()
    assert lines(there) == lines(here)


def test_counts_of_lape_are_the_same_also_when_a_worker_is_killed(engine, model):
    texts = {"en": [f"line {n} of a text" for n in range(60)], "fr": [f"ligne {n * 7 % 31} d'un texte" for n in range(60)]}
    here = record(model, texts, window=16, shard_tokens=64)
    killed = _Killing(texts["fr"], engine)
    there = record(model, {**texts, "fr": killed}, window=16, shard_tokens=64, workers=Workers(engine=engine))
    assert killed.pids
    assert there.counts.tokens == here.counts.tokens
    for site in here.counts.sites:
        assert (there.counts.active[site] == here.counts.active[site]).all()
        assert (there.counts.sums[site] == here.counts.sums[site]).all()
    assert there.dropped == here.dropped


class _Killing(list):
    """A text; one of the workers is killed while it is read."""

    def __init__(self, texts, engine):
        super().__init__(texts)
        self.pids = list(engine.map(_pid, [0]))

    def __iter__(self):
        for place, text in enumerate(super().__iter__()):
            if place == 30 and self.pids:
                os.kill(self.pids[0], signal.SIGKILL)
            yield text


def _pid(_: int) -> int:
    return os.getpid()


def test_a_whole_job_leaves_the_same_files(ray, where, tmp_path):
    folders = []
    for engine in ("local", "ray"):
        settings: dict[str, Any] = {"model": str(where / "model"), "task": str(where / "task.toml"), "text": (str(where / "text.txt"),)}
        told: list[tuple[str, int, int]] = []
        workers = 1 if engine == "ray" else None
        recipe = Recipe(output=str(tmp_path / engine), engine=engine, ray_workers=workers, **settings)
        folders.append(run.job(recipe, lambda *each, told=told: told.append(each)).folder)
        assert ("looking for bias neurons", 2, 2) in told
    for name in ("plan.json", "comparison.json", "scores.safetensors", "examples.jsonl"):
        assert (folders[1] / name).read_bytes() == (folders[0] / name).read_bytes(), name
    sizes = [json.loads((folder / "environment.json").read_text())["batch_sizes"] for folder in folders]
    assert sizes[0] == sizes[1]


def test_a_worker_with_other_weights_is_refused_and_nobody_is_left(ray, model, load):
    before = _actors(ray)
    with pytest.raises(WrongModel, match="other weights"), RayEngine(model, functools.partial(_changed, load), workers=1):
        pass
    patience = time.monotonic() + 30  # Ray takes a while to count a worker that is gone
    while _actors(ray) > before and time.monotonic() < patience:
        time.sleep(0.1)
    assert _actors(ray) <= before


def _changed(load: Any) -> Any:
    model = load()
    model.anatomy.write("decoder.0.up", [0], 7.0)
    return model


def _actors(ray) -> float:
    return ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0.0)


def test_an_error_of_loading_comes_from_the_worker_and_an_item_that_kills_is_given_up(ray, model, load, tmp_path):
    with pytest.raises(InputError, match=r"no such folder.*On the Ray worker"), RayEngine(model, _nothing, workers=1):
        pass
    with RayEngine(model, load, workers=1, retries=0) as engine, pytest.raises(Failure, match="given up after 1"):
        list(engine.map(Killed(tmp_path, at=(1,), times=9), [0, 1]))


def _nothing() -> Any:
    raise InputError("There is no such folder.")


def test_wrong_settings_are_refused_before_anything_is_started(model, load):
    with pytest.raises(InputError, match="one Ray worker or more"):
        RayEngine(model, load, workers=0)
    for address, said in (("127.0.0.1:1", "No Ray cluster answers"), ("ray://somewhere:10001", "Ray's client")):
        with pytest.raises(InputError, match=said), cluster(Unconnected(), address, 1):
            pass


class Unconnected:
    """Ray in a process that is connected to no cluster."""

    def is_initialized(self) -> bool:
        return False
