"""Accuracy by how often a fact occurs: its entity and its answer in one document of a corpus, counted here or by the user. On *test*.

Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), section 5.1.1 and figure 3. Differs from the source in: the corpus is the user's;
the measure of a right answer is the run's own, where the paper's is top-10.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from resect.core.errors import BadTask, InputError
from resect.core.execution import Entry, Workers, journal_key, json_digest
from resect.data.records import read_records
from resect.data.tasks.task import Example
from resect.data.texts import read_texts

from .study import Study

#: The edges of the bins: fewer than the first, up to the second, more.
EDGES = (50, 1000)
BINS = ("< 50", "50–1,000", "> 1,000")
#: The field of an example that names the entity of its fact.
ENTITY = "subject"
COLUMNS = ("entity", "answer", "count")
#: Documents of one work item.
_PART = 10_000

#: An entity and an answer, as case-folded words.
Fact = tuple[tuple[str, ...], tuple[str, ...]]


def frequency(study: Study, counts: str | os.PathLike[str] | None = None, corpus: Sequence[str | os.PathLike[str]] = ()) -> dict[str, Any]:
    """Returns the share of right answers before and after the plan, by bins of how often the fact occurs; None for an empty bin.

    Parameters
    ----------
    counts : a CSV with the columns entity, answer, count; facts that it lacks are left out, and counted by `unknown`
    corpus : text files instead (`texts.read_texts`): the count of a fact is the number of documents with both entity and answer, as
        complete words in any case

    Raises InputError where there is neither, or both; where no example has the field "subject" or no fact is known; BadTask for a
    damaged CSV; what evaluating raises.
    """
    if (counts is None) == (not corpus):
        raise InputError(
            "Which counts? Give a CSV with the columns entity, answer, count (--counts FILE.csv), or text to count in (--corpus)."
        )
    questions = study.questions("test")
    facts = [fact_of(example) for example in questions.examples]
    if counts is not None:
        known, source = read_counts(counts), Path(counts).name
    else:
        wanted = {fact for fact in facts if fact is not None}
        known = counted(corpus, wanted, study.workers)
        source = ", ".join(Path(path).name for path in corpus)
    numbers = [None if fact is None else known.get(fact) for fact in facts]
    if all(count is None for count in numbers):
        raise InputError(
            f"No fact of the task {questions.task.name!r} is counted: its examples need the field {ENTITY!r}, and {source} has to name "
            "the same entities and answers."
        )
    bins = [None if count is None else bin_of(count) for count in numbers]
    base, edited = (answers.values.mean(axis=1) for answers in study.before_and_after(questions))
    rows = [[place for place, bin_number in enumerate(bins) if bin_number == number] for number in range(len(BINS))]
    return {
        "bins": list(BINS),
        "n": [len(places) for places in rows],
        "base": [float(np.mean(base[places])) if places else None for places in rows],
        "edited": [float(np.mean(edited[places])) if places else None for places in rows],
        "source": source,
        "unknown": sum(count is None for count in numbers),
        "metric": study.right_by,
        "split": "test",
    }


def bin_of(count: int) -> int:
    """Returns the index of a count in BINS.

    >>> [bin_of(count) for count in (0, 49, 50, 1000, 1001)]
    [0, 0, 1, 1, 2]
    """
    return (count >= EDGES[0]) + (count > EDGES[1])


def fact_of(example: Example) -> Fact | None:
    """Returns the fact of an example; None where it names no entity."""
    entity = example.fields.get(ENTITY)
    return (_words(entity), _words(example.gold_text)) if isinstance(entity, str) else None


def read_counts(path: str | os.PathLike[str]) -> dict[Fact, int]:
    """Returns the counts of a CSV with the columns entity, answer, count; case does not matter, and counts of the same fact add.

    Raises BadTask with file and line.
    """
    counts: dict[Fact, int] = defaultdict(int)
    for where, values, *_ in read_records(Path(path)):
        missing = [name for name in COLUMNS if name not in values]
        if missing:
            raise BadTask(f"{where}: the column {', '.join(missing)} is missing; there must be {', '.join(COLUMNS)}.")
        try:
            count = int(str(values["count"]).strip())
        except ValueError:
            count = -1
        if count < 0:
            raise BadTask(f"{where}: the count is {values['count']!r}; it is an integer from 0 on.")
        counts[_words(str(values["entity"])), _words(str(values["answer"]))] += count
    if not counts:
        raise BadTask(f"{path} holds no counts.")
    return dict(counts)


def counted(paths: Sequence[str | os.PathLike[str]], facts: set[Fact], workers: Workers | None = None) -> dict[Fact, int]:
    """Returns the number of documents with both entity and answer of each fact. Raises InputError for a file without text.

    Words are runs of letters and digits; a sentence in a script without blanks is one word, so that its facts are seldom found.
    """
    ordered, workers = sorted(facts), workers or Workers()
    terms = json_digest(ordered)
    totals = np.zeros(len(ordered), dtype=np.int64)
    for path in paths:
        documents, stage = read_texts([path]), f"counting facts in {Path(path).name}"
        workers.progress(stage, 0, len(documents))
        for start in range(0, len(documents), _PART):
            part = documents[start : start + _PART]
            entry = workers.remember(journal_key("frequency", terms, list(part)), partial(_count, part, ordered))
            totals += np.asarray(entry["counts"], dtype=np.int64)
            workers.progress(stage, start + len(part), len(documents))
    return dict(zip(ordered, totals.tolist(), strict=True))


def _count(documents: Iterable[str], facts: Sequence[Fact]) -> Entry:
    answers: dict[tuple[str, ...], list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
    by_first: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for place, (entity, answer) in enumerate(facts):
        answers[entity].append((place, answer))
        for term in filter(None, (entity, answer)):
            by_first[term[0]].add(term)
    counts = np.zeros(len(facts), dtype=np.int64)
    for document in documents:
        present = set(_terms(_words(document), by_first))
        for entity in present:
            for place, answer in answers.get(entity, ()):
                counts[place] += answer in present
    return {"counts": counts}


def _terms(words: tuple[str, ...], by_first: Mapping[str, set[tuple[str, ...]]]) -> Iterator[tuple[str, ...]]:
    """The terms that a text contains."""
    for place, word in enumerate(words):
        for term in by_first.get(word, ()):
            if words[place : place + len(term)] == term:
                yield term


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))
