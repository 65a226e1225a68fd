"""What the smallest components hold, and facts in all their wordings."""

import numpy as np
import pytest

from methods.analyses.studies import choices_task, facts_task, model_of, study_of
from resect.core.errors import InputError
from resect.data.tasks.task import Example
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.evaluation.compare import evaluate
from resect.evaluation.metrics import all_correct
from resect.evaluation.questions import Questions
from resect.methods.analyses.paraphrases import already_right, paraphrases
from resect.methods.laser.analyses.components import components, cosine, embedded, smallest


def mending(task, name="llama"):
    """A study whose plan mends some answers of *test*."""
    for seed in range(20):
        model = model_of(name, seed)
        for site in study_of(model).sites:
            study = study_of(model, task, Plan((ReduceRank(site, 0.2),)))
            before, after = (answers(study, plan) for plan in (Plan(), study.plan))
            if ((before.values != 1) & (after.values == 1)).any():
                return study
    raise LookupError("no reduction of these mends anything")


def answers(study, plan, metric=None):
    return Questions(study.model, study.task, study.task.split("test"), metric or study.right_by).answers(plan)


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", [choices_task(40), facts_task(groups=40, metric="generation"), facts_task(groups=40)], ids=lambda t: t.metric
)
def test_only_what_was_mended_is_asked_of_the_smallest_components(task):
    study = mending(task)
    found = components(study)
    questions = study.questions("test")
    base, edited = answers(study, Plan()), answers(study, study.plan)
    pairs = [(int(e), int(i)) for e, i in np.argwhere((base.values != 1) & (edited.values == 1))]
    assert found["n_examples"] == len(found["answers"]) == len(pairs)
    edit = study.reductions[0]
    full = min(study.model.anatomy.shape(edit.site))
    removed = full - study.rank(edit)
    alone = answers(study, Plan((ReduceRank(edit.site, (removed + 0.5) / full, "smallest"),)))
    for told, (e, i) in zip(found["answers"], pairs, strict=True):
        assert told["base"] == questions.answer_text(base, e, i) and told["edited"] == questions.answer_text(edited, e, i)
        assert told["smallest"] == questions.answer_text(alone, e, i) and told["gold"] == questions.examples[e].gold_text
    assert found["kept"][-1] == 1.0 and all(-1 <= value <= 1 for value in found["cosine"])
    whole = [cosine(*embedded(study.model, told["prompt"], told["gold"], told["base"])) for told in found["answers"]]
    assert found["cosine"][-1] == pytest.approx(np.mean(whole))


@pytest.mark.parametrize("full", [7, 24, 100, 4096])
def test_so_many_components_are_kept_whatever_floats_make_of_it(full):
    edit = ReduceRank("decoder.1.down", 0.5)
    for rank in {0, 1, full // 3, full - 1}:
        (kept,) = smallest(edit, rank, full).edits
        assert kept.rank((full, full + 5)) == rank and kept.keep == "smallest"
    assert smallest(edit, full, full).is_empty


def test_the_largest_and_the_smallest_are_the_whole():
    study = study_of()
    edit, weight = study.reductions[0], study.model.anatomy.weight(study.reductions[0].site)
    (rest,) = smallest(edit, 24 - study.rank(edit), 24).edits
    assert (edit.reduced(weight) + rest.reduced(weight)).numpy() == pytest.approx(weight.numpy(), abs=1e-12)


def test_where_nothing_was_mended_there_is_nothing_to_say():
    study = study_of(plan=Plan((ReduceRank("decoder.1.down", 0.99),)))
    study.model.anatomy.write("decoder.1.down", None, 0.0)  # reducing it changes nothing
    found = components(study)
    assert found["n_examples"] == 0 and found["answers"] == [] and set(found["cosine"]) == {None}


@pytest.mark.parametrize("name", ["llama", "t5", "bert"])
def test_an_answer_is_itself(name):
    model = model_of(name)
    right, given = embedded(model, "The letter is", "abc", "abc")
    assert cosine(right, given) == pytest.approx(1.0)
    assert embedded(model, "The letter is", "abc", "abc and so on")[1] == pytest.approx(given)
    assert not embedded(model, "The letter is", "abc", "  ")[1].any()
    assert cosine(right, np.zeros(len(right))) == 0.0


def test_facts_in_all_their_wordings():
    task = facts_task(groups=30, wordings=3)
    study = study_of(model_of(seed=2), task)
    found = paraphrases(study)
    examples = task.split("test")
    groups = [example.group for example in examples]
    assert found["base"] == all_correct(answers(study, Plan()).values, groups).mean()
    assert found["edited"] == all_correct(answers(study, study.plan).values, groups).mean()
    assert (found["n_facts"], found["per_fact"], found["split"]) == (len(set(groups)), 3.0, "test")
    assert found["difference"]["mean"] == pytest.approx(found["edited"] - found["base"])
    comparison = evaluate(study.model, study.plan, task)
    among = already_right(examples, answers(study, Plan()).values, answers(study, study.plan).values)
    assert {**comparison.other_metrics["paraphrases"], "already_right": among, "metric": "top5", "split": "test"} == found


def test_facts_that_were_right_already_by_hand():
    def told(fact, *tags):
        return Example({"fact": fact}, (), "x", group=fact, tags=tags)

    examples = [told("a"), told("a", "paraphrase"), told("b"), told("b", "paraphrase"), told("c"), told("c", "paraphrase"), told("alone")]
    base, edited = np.array([[1, 0, 1, 1, 0, 1, 1], [1, 1, 1, 0, 1, 1, 1]], dtype=np.float64)[:, :, None]
    assert already_right(examples, base, edited) == {"n": 2, "base": 0.5, "edited": 0.5}
    assert already_right(examples, 0 * base, edited) == {"n": 0, "base": None, "edited": None}


def test_a_task_without_paraphrases_is_refused():
    with pytest.raises(InputError, match="no paraphrases"):
        paraphrases(study_of(task=facts_task(wordings=1)))
