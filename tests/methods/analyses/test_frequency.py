"""Accuracy by how often a fact occurs, by hand."""

import pytest

from methods.analyses.studies import choices_task, facts_task, study_of
from resect.core.errors import BadTask, InputError
from resect.core.execution import MemoryJournal, Workers
from resect.data.tasks.task import Example
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions
from resect.methods.analyses.frequency import bin_of, counted, fact_of, frequency, read_counts


def fact(entity, answer):
    return fact_of(Example({"subject": entity}, (), answer))


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(
        "Paris is the capital of France.\n"
        "In FRANCE, the city of light is called paris; Paris, again.\n"
        "Parisians live in France.\n"
        "St. Louis lies on a river of the United States.\n"
        "Nothing of the kind, though it is of Missouri and of St Louis.\n"
    )
    return path


def test_facts_are_counted_by_document_and_by_whole_words(corpus):
    facts = {fact("France", "Paris"), fact("St. Louis", "Missouri"), fact("St. Louis", "United States"), fact("France", "Rome")}
    found = counted([corpus], facts)
    assert found == {
        fact("France", "Paris"): 2,
        fact("St. Louis", "Missouri"): 1,
        fact("St. Louis", "United States"): 1,
        fact("France", "Rome"): 0,
    }
    assert counted([corpus, corpus], facts)[fact("France", "Paris")] == 4


def test_what_was_counted_is_kept(corpus):
    journal = MemoryJournal()
    told = []
    facts = {fact("France", "Paris")}
    once = counted([corpus], facts, Workers(journal=journal, progress=lambda *given: told.append(given)))
    assert counted([corpus], facts, Workers(journal=journal)) == once and told[-1] == ("counting facts in corpus.txt", 5, 5)


def test_the_bins_are_those_of_the_paper():
    assert [bin_of(count) for count in (0, 49, 50, 500, 1000, 1001, 10**9)] == [0, 0, 1, 1, 1, 2, 2]


def write(path, rows, header="entity,answer,count"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_accuracy_by_bin_by_hand(tmp_path):
    study = study_of(task=facts_task(groups=40, metric="top10"))
    numbers = (0, 49, 50, 1000, 1001, 7)
    rows = [f"city {n},{'abc'[n % 3]},{numbers[n % 6]}" for n in range(40) if n % 5]  # every fifth fact is unknown
    found = frequency(study, write(tmp_path / "counts.csv", rows))
    questions = Questions(study.model, study.task, study.task.split("test"), "top10")
    bins = {0: 0, 49: 0, 7: 0, 50: 1, 1000: 1, 1001: 2}
    expected: dict[int, list[float]] = {0: [], 1: [], 2: []}
    unknown = 0
    for example, value in zip(questions.examples, questions.answers(Plan()).values[:, 0], strict=True):
        n = int(example.fields["subject"].split()[1])
        if n % 5:
            expected[bins[numbers[n % 6]]].append(value)
        else:
            unknown += 1
    assert found["n"] == [len(values) for values in expected.values()] and min(found["n"]) > 0
    assert found["base"] == pytest.approx([sum(values) / len(values) for values in expected.values()])
    assert (found["unknown"], found["source"], found["split"], found["metric"]) == (unknown, "counts.csv", "test", "top10")


def test_a_bin_without_examples_has_no_accuracy(tmp_path):
    study = study_of(task=facts_task(groups=20))
    found = frequency(study, write(tmp_path / "counts.csv", [f"City {n},{'abc'[n % 3]},3" for n in range(20)]))
    assert found["n"][1:] == [0, 0] and found["base"][1:] == found["edited"][1:] == [None, None]


def test_counts_in_a_corpus(tmp_path):
    study = study_of(task=facts_task(groups=20))
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(f"City {n} is {'abc'[n % 3]}" for n in range(20) for _ in range(60 * (n % 2))))
    found = frequency(study, corpus=[path])
    odd = sum(int(example.fields["subject"].split()[1]) % 2 for example in study.task.split("test"))
    assert found["n"] == [len(study.task.split("test")) - odd, odd, 0] and found["source"] == "corpus.txt"


def test_a_fact_that_stands_there_twice_is_summed(tmp_path):
    assert read_counts(write(tmp_path / "c.csv", ["Paris,France,3", "PARIS,france,4"])) == {fact("Paris", "France"): 7}


@pytest.mark.parametrize(
    ("header", "row", "told"),
    [
        ("entity,answer", "a,b", "column count is missing"),
        ("entity,answer,count", "a,b,many", "'many'"),
        ("entity,answer,count", "a,b,-1", "from 0 on"),
        ("entity,answer,count", "a,b", ":2"),
    ],
)
def test_a_csv_that_is_none_is_refused(tmp_path, header, row, told):
    with pytest.raises(BadTask, match=told):
        read_counts(write(tmp_path / "c.csv", [row], header))
    with pytest.raises(BadTask, match="no counts"):
        read_counts(write(tmp_path / "c.csv", []))


def test_neither_both_and_none_that_fit_are_refused(tmp_path, corpus):
    study = study_of(task=facts_task(groups=20))
    counts = write(tmp_path / "c.csv", ["Elsewhere,x,3"])
    for given in ({}, {"counts": counts, "corpus": [corpus]}):
        with pytest.raises(InputError, match="Which counts"):
            frequency(study, **given)
    with pytest.raises(InputError, match="No fact"):
        frequency(study, counts)
    with pytest.raises(InputError, match="subject"):
        frequency(study_of(task=choices_task()), corpus=[corpus])
