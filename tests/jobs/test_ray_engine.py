"""Workers on a Ray cluster compute what one process computes, to the last bit, also when a worker is killed."""

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
from resect.edits.plan import Plan, WorkWithPlan
from resect.edits.svd_cache import SvdCache
from resect.evaluation.questions import Questions
from resect.evaluation.text_passages import Passages
from resect.jobs import run
from resect.jobs.ray_cluster import connected, import_ray
from resect.jobs.ray_engine import ITEMS_AHEAD, RayEngine
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
    """One cluster for all tests of this module, with room for the engines that some of them start in addition to the shared one."""
    package = import_ray()
    with connected(package, None, 6):
        package.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not import the tests
        yield package
        package.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


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
class ProcessReport:
    """Work that returns its process id, and whether the model and its parts belong together there."""

    model: Any
    anatomy: Any
    module: Any

    def __call__(self, item: int) -> tuple[int, int, bool, float]:
        is_own = self.anatomy is self.model.anatomy and self.module is self.model.model
        time.sleep(0.1 if item % 3 == 0 else 0.0)
        return item, os.getpid(), is_own, float(self.model.logprobs(["a question"], ["g"])[0])


@dataclass(frozen=True)
class KillsProcess:
    """Work that adds 1, and kills its process at some items, the first `times` times that it is there."""

    folder: Path
    at: tuple[int, ...]
    times: int = 1

    def __call__(self, item: int) -> int:
        for attempt in range(self.times if item in self.at else 0):
            mark = self.folder / f"{item}-{attempt}"
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


def trials_without_seconds(search) -> list[dict[str, Any]]:
    return [{name: value for name, value in trial.items() if name != "seconds"} for trial in search.trials]


def test_results_come_in_order_from_several_processes_each_with_its_own_model(engine, model):
    reports = list(engine.map(ProcessReport(model, model.anatomy, model.model), range(12)))
    assert [item for item, *_ in reports] == list(range(12))
    assert os.getpid() not in {pid for _, pid, *_ in reports}
    assert len({pid for _, pid, *_ in reports}) == WORKERS
    assert all(is_own for _, _, is_own, _ in reports)
    assert {value for *_, value in reports} == {float(model.logprobs(["a question"], ["g"])[0])}


def test_items_are_taken_as_they_are_needed_and_closing_drops_the_rest(engine):
    taken = []
    results = engine.map(abs, (taken.append(item) or item for item in range(100)))
    assert next(results) == 0
    assert len(taken) <= ITEMS_AHEAD * WORKERS
    results.close()
    assert list(engine.map(abs, [-1, -2])) == [1, 2]
    assert list(engine.map(abs, [])) == []


def test_two_interleaved_maps_keep_their_results_apart(engine):
    first = engine.map(abs, range(-8, 0))
    results = [next(first), *engine.map(str, [1, 2]), *first]
    assert results == [8, "1", "2", 7, 6, 5, 4, 3, 2, 1]


def test_an_error_in_a_worker_is_raised_in_the_turn_of_its_item(engine):
    results = engine.map(raising, range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(UnknownName) as caught:
        next(results)
    assert caught.value.suggestion == "red"
    assert str(caught.value) == str(UnknownName("colour", "rad", ["red", "green"]))
    with pytest.raises(ZeroDivisionError, match="five"):
        list(engine.map(raising, [1, 5]))
    assert list(engine.map(raising, [1])) == [1]


def test_work_on_another_model_than_the_workers_have_is_refused(engine, model, load):
    with pytest.raises(InputError, match="holds another"):
        list(engine.map(ProcessReport(load(), model.anatomy, model.model), [1]))


def test_batch_sizes_are_those_of_this_process_and_then_of_the_first_item(engine, model):
    work = functools.partial(_batch_sizes, model)
    before = dict(model.batcher.sizes)
    try:
        model.batcher.sizes = {"answers": 3}
        assert list(engine.map(work, [4, 50, 8])) == [(3, 4), (3, 4), (3, 4)]  # "text" as for 4 tokens, whichever worker has the item
        assert model.batcher.sizes == {"answers": 3, "text": 4}
    finally:
        model.batcher.sizes = before


def _batch_sizes(model: Any, tokens: int) -> tuple[int, int]:
    model.batcher.sizes.setdefault("text", tokens)
    return model.batcher.size_for(tokens), model.batcher.size_for(tokens, "text")


def test_a_plan_is_applied_in_the_workers_and_not_in_this_process(engine, model, task):
    plan = Plan((Scale({"decoder.1.up": [3, 11, 17]}, 0.0),))
    questions = Questions(model, task, task.split("select"))
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    answers = questions.answers(plan, workers=Workers(engine=engine))
    assert (answers.values == questions.answers(plan).values).all()
    assert not (answers.values == questions.answers(Plan(), workers=Workers(engine=engine)).values).all()
    edited = list(engine.map(WorkWithPlan(plan, model, _row_sum), [model] * 4))
    assert [value for value, _ in edited] == [0.0] * 4
    assert [value for value, _ in engine.map(_row_sum, [model] * 4)] != [0.0] * 4
    assert all((tensor == before[name]).all() for name, tensor in model.model.state_dict().items())


def _row_sum(model: Any) -> tuple[float, int]:
    return float(model.anatomy.weight("decoder.1.up")[3].abs().sum()), os.getpid()


def test_the_items_of_a_killed_worker_are_computed_again(engine, tmp_path):
    work = KillsProcess(tmp_path, at=(2,))
    assert list(engine.map(work, range(9))) == list(range(1, 10))
    assert [path.name for path in tmp_path.iterdir()] == ["2-0"]
    assert list(engine.map(abs, [-3])) == [3]


def test_crispr_gives_the_same_plan_and_scores_to_the_last_bit(engine, model, task):
    method, journals = Crispr(), (MemoryJournal(), MemoryJournal())
    here, there = (
        method.search(model, task, workers=Workers(engine=one, journal=journal))
        for one, journal in zip((LocalEngine(), engine), journals, strict=True)
    )
    assert here.plan.edits
    assert there.plan.to_json() == here.plan.to_json()
    assert trials_without_seconds(there) == trials_without_seconds(here)
    for site in here.scores:
        assert (there.scores[site] == here.scores[site]).all()


@pytest.mark.parametrize("settings", [{}, {"compose": True}], ids=["best", "composed"])
def test_laser_gives_the_same_plan_with_the_same_number_of_answers(engine, model, task, settings):
    method = Laser(rhos=(0.5, 0.1, 0.0), sites=("decoder.1.*", "decoder.0.up"), metric="logloss", **settings)
    here, there = (
        method.search(model, task, svd_cache=SvdCache(model.anatomy), workers=Workers(engine=one)) for one in (LocalEngine(), engine)
    )
    assert here.plan.edits
    assert there.plan.to_json() == here.plan.to_json()
    assert trials_without_seconds(there) == trials_without_seconds(here)
    assert there.facts == here.facts


def test_denoising_gives_the_same_plan(engine, model):
    passages = Passages(model, ["a line to read", "and another one that is longer", "three"])
    method = Laser(sites="*", task_free=True, rise=0.3)
    here, there = (
        method.search(model, TextInputs(passages), svd_cache=SvdCache(model.anatomy), workers=Workers(engine=one))
        for one in (LocalEngine(), engine)
    )
    assert here.plan.edits
    assert there.plan.to_json() == here.plan.to_json()
    assert trials_without_seconds(there) == trials_without_seconds(here)


def test_lape_counts_the_same_also_when_a_worker_is_killed(engine, model):
    texts = {"en": [f"line {n} of a text" for n in range(60)], "fr": [f"ligne {n * 7 % 31} d'un texte" for n in range(60)]}
    here = record(model, texts, window=16, shard_tokens=64)
    killing = _KillsWorker(texts["fr"], engine)
    there = record(model, {**texts, "fr": killing}, window=16, shard_tokens=64, workers=Workers(engine=engine))
    assert killing.pids
    assert there.counts.tokens == here.counts.tokens
    for site in here.counts.sites:
        assert (there.counts.active[site] == here.counts.active[site]).all()
        assert (there.counts.sums[site] == here.counts.sums[site]).all()
    assert there.dropped == here.dropped


class _KillsWorker(list):
    """A text; reading it kills one of the workers."""

    def __init__(self, texts, engine):
        super().__init__(texts)
        self.pids = list(engine.map(_pid, [0]))

    def __iter__(self):
        for index, text in enumerate(super().__iter__()):
            if index == 30 and self.pids:
                os.kill(self.pids[0], signal.SIGKILL)
            yield text


def _pid(_: int) -> int:
    return os.getpid()


def test_a_job_writes_the_same_files(ray, where, tmp_path):
    folders = []
    for engine in ("local", "ray"):
        settings: dict[str, Any] = {"model": str(where / "model"), "task": str(where / "task.toml"), "text": (str(where / "text.txt"),)}
        progress: list[tuple[str, int, int]] = []
        workers = 1 if engine == "ray" else None
        recipe = Recipe(output=str(tmp_path / engine), engine=engine, ray_workers=workers, anyway=True, **settings)
        folders.append(run.job(recipe, lambda *report, progress=progress: progress.append(report)).folder)
        assert ("locating bias neurons", 2, 2) in progress
    for name in ("plan.json", "comparison.json", "scores.safetensors", "examples.jsonl"):
        assert (folders[1] / name).read_bytes() == (folders[0] / name).read_bytes(), name
    sizes = [json.loads((folder / "environment.json").read_text())["batch_sizes"] for folder in folders]
    assert sizes[0] == sizes[1]


def test_a_worker_with_other_weights_is_refused_and_no_actor_is_left(ray, model, load):
    before = _used_cpus(ray)
    with pytest.raises(WrongModel, match="other weights"), RayEngine(model, functools.partial(_load_changed, load), workers=1):
        pass
    deadline = time.monotonic() + 30  # Ray takes a while to notice that a worker is gone
    while _used_cpus(ray) > before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _used_cpus(ray) <= before


def _load_changed(load: Any) -> Any:
    model = load()
    model.anatomy.write("decoder.0.up", [0], 7.0)
    return model


def _used_cpus(ray) -> float:
    return ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0.0)


def test_a_loading_error_names_the_worker_and_an_item_that_kills_its_workers_is_given_up(ray, model, load, tmp_path):
    with pytest.raises(InputError, match=r"no such folder.*On the Ray worker"), RayEngine(model, _load_missing, workers=1):
        pass
    with RayEngine(model, load, workers=1, retries=0) as engine, pytest.raises(Failure, match="given up after 1"):
        list(engine.map(KillsProcess(tmp_path, at=(1,), times=9), [0, 1]))


def _load_missing() -> Any:
    raise InputError("There is no such folder.")


def test_wrong_settings_are_refused_before_anything_starts(model, load):
    with pytest.raises(InputError, match="one Ray worker or more"):
        RayEngine(model, load, workers=0)
    for address, message in (("127.0.0.1:1", "No Ray cluster answers"), ("ray://somewhere:10001", "Ray's client")):
        with pytest.raises(InputError, match=message), connected(DisconnectedRay(), address, 1):
            pass


class DisconnectedRay:
    """Ray in a process that is connected to no cluster."""

    def is_initialized(self) -> bool:
        return False
