"""The real models on the real items that they never saw: what their READMEs say of them comes out, and a cut helps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resect.data.tasks.registry import load_task
from resect.data.tasks.task import Task
from resect.edits.plan import Plan
from resect.evaluation.compare import compare
from resect.evaluation.questions import Questions
from resect.methods.crispr.crispr import Crispr, cut
from resect.models.loading import load_model

pytestmark = [pytest.mark.real, pytest.mark.slow]


def task_of(shared: Path, name: str) -> Task:
    folder = shared / "models" / name
    task = load_task("bbq", shared / "data" / "bbq_unseen", folder / "template.txt", folder / "instructions.txt")
    return replace(task, instructions=task.instructions[:1])


@pytest.mark.parametrize(("name", "ambiguous", "clear"), [("bbq-llama", 0.518, 0.696), ("bbq-t5", 0.759, 0.489)])
def test_the_models_are_as_good_as_their_readmes_say(shared: Path, name: str, ambiguous: float, clear: float) -> None:
    task = task_of(shared, name)
    values = Questions(load_model(str(shared / "models" / name)), task, task.examples).answers(Plan()).values[:, 0]
    is_ambiguous = np.array(["ambig" in example.tags for example in task.examples])
    # The READMEs measured 444 of these 644 items: four standard errors of what is left out is 0.05.
    assert values[is_ambiguous].mean() == pytest.approx(ambiguous, abs=0.05)
    assert values[~is_ambiguous].mean() == pytest.approx(clear, abs=0.05)


@pytest.mark.parametrize(("name", "n"), [("bbq-llama", 12), ("bbq-t5", 4)])
def test_the_neurons_that_are_found_carry_the_bias(shared: Path, name: str, n: int) -> None:
    task, model = task_of(shared, name), load_model(str(shared / "models" / name))
    scores = Crispr(locate_on=("ambig",), protect="none").locate(model, task)
    select = [example for example in task.split("select") if "ambig" in example.tags]
    change = compare(model, cut(scores.top(n)), task, examples=select).comparison.difference
    assert change is not None
    assert change.improved
    assert change.mean > 0.1
