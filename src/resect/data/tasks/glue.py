"""Three sets of GLUE (Wang et al. 2019, arXiv:1804.07461) that ask one yes-or-no question of two texts. Knows no model."""

import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resect.core.errors import BadTask, UnknownName

from .base import Example, Task
from .hub import hub_records
from .records import Paths, Record, field_of, find_files, make_examples, text_of
from .sources import READERS, words_hash

HUB_ID = "nyu-mll/glue"
SPLIT_BY = ("text", "example")


@dataclass(frozen=True)
class Member:
    """What one of the sets is.

    Parameters
    ----------
    says : one sentence
    texts : the fields of the two texts, in the order in which the prompt shows them
    shared : that of the two which several examples have in common
    labels : the meaning of the numbers 0 and 1, which is not the same in every set; also the examples' tags
    choices : the answer that says so
    template, instructions : how it is asked
    """

    says: str
    texts: tuple[str, str]
    shared: str
    labels: tuple[str, str]
    choices: tuple[str, str]
    template: str
    instructions: tuple[str, ...]


_ASKED = "{{{{ instruction }}}} {0}: {{{{ {1} }}}} {2}: {{{{ {3} }}}} Options: {{{{ choices | join(', ') }}}} Answer:"

MEMBERS = {
    "mrpc": Member(
        says="GLUE's MRPC (Dolan and Brockett 2005): do two sentences from the news mean the same?",
        texts=("sentence1", "sentence2"),
        shared="sentence1",
        labels=("not_paraphrase", "paraphrase"),
        choices=("no", "yes"),
        template=_ASKED.format("Sentence 1", "sentence1", "Sentence 2", "sentence2"),
        instructions=(
            "Do the two sentences mean the same?",
            "Is the second sentence a paraphrase of the first?",
            "Do both sentences say the same thing in different words?",
            "Read the two sentences and decide whether they have the same meaning.",
            "Answer yes if the sentences are paraphrases of each other, and no if they are not.",
            "Are these two sentences equivalent in meaning?",
            "Compare the sentences. Is what they state the same?",
            "Say whether the two sentences express one and the same statement.",
            "Could one of the sentences stand in for the other without a change of meaning?",
            "Here are two sentences. Tell whether they are two wordings of the same message.",
        ),
    ),
    "rte": Member(
        says="GLUE's RTE (Dagan et al. 2006 and three later sets): does a hypothesis follow from a premise?",
        texts=("sentence1", "sentence2"),
        shared="sentence1",
        labels=("entailment", "not_entailment"),
        choices=("yes", "no"),
        template=_ASKED.format("Premise", "sentence1", "Hypothesis", "sentence2"),
        instructions=(
            "Does the hypothesis follow from the premise?",
            "Can the hypothesis be concluded from the premise?",
            "Does the premise entail the hypothesis?",
            "Read the premise and decide whether the hypothesis is true.",
            "Answer yes if the premise implies the hypothesis, and no if it does not.",
            "Given that the premise is true, is the hypothesis true as well?",
            "Going by the premise alone, is the hypothesis right?",
            "Say whether the hypothesis can be inferred from the premise.",
            "Is the hypothesis a consequence of what the premise says?",
            "Here are a premise and a hypothesis. Tell whether the first supports the second.",
        ),
    ),
    "qnli": Member(
        says="GLUE's QNLI (from SQuAD, Rajpurkar et al. 2016): does a sentence answer a question?",
        texts=("question", "sentence"),
        shared="sentence",
        labels=("entailment", "not_entailment"),
        choices=("yes", "no"),
        template=_ASKED.format("Question", "question", "Sentence", "sentence"),
        instructions=(
            "Does the sentence answer the question?",
            "Does the sentence contain the answer to the question?",
            "Can the question be answered with what the sentence says?",
            "Read the question and the sentence, and decide whether the sentence holds the answer.",
            "Answer yes if the sentence answers the question, and no if it does not.",
            "Is the answer to the question found in the sentence?",
            "Given the sentence alone, could one answer the question?",
            "Say whether what the question asks for is stated in the sentence.",
            "Does the sentence give the information that the question asks for?",
            "Here are a question and a sentence. Tell whether the second answers the first.",
        ),
    ),
}

#: What GLUE's own files and the Hub's class names call a thing, and what it is called here.
_COLUMNS = {"Quality": "label", "#1 ID": "id1", "#2 ID": "id2", "#1 String": "sentence1", "#2 String": "sentence2", "index": "idx"}
_LABELS = {"equivalent": "paraphrase", "not_equivalent": "not_paraphrase"}
#: How the file begins that is taken of a folder: its labels are public, and results are reported on it.
_TAKEN = ("dev", "validation", "valid", "val")


def load_glue(member: str, data: Paths | None = None, split_by: str | None = None) -> Task:
    """The task of one set: its validation part, where nothing else is named.

    Parameters
    ----------
    member : a key of MEMBERS
    data : a file; or the folder of the set, or one with a sub-folder of the set's name (in any case), of which the dev or validation file
        is taken, or the only one there is; or several; None: the Hub (HUB_ID), validation
    split_by : what a group is: "text" (default), the examples that share their first sentence (MRPC), premise (RTE) or passage (QNLI),
        where case, blanks and punctuation do not count, or "example"

    Read are .jsonl, .csv, .parquet (as on the Hub) and .tsv (GLUE's own: a header, quotes without meaning), with the two texts under
    GLUE's names and `label`: 0 or 1 as the Hub means them (MRPC: 1 = paraphrase; RTE and QNLI: 0 = entailment), or its name.
    Fields: the two texts. Tags: the label. Ids: MRPC's pair of ids, else GLUE's index, else the position; of several files, also the
    file's name. Groups depend on nothing but the text, so they are in the same split whatever file it comes from.

    Choices are "yes" and "no", in the order of the labels: the answers (and the order) with which FLAN taught these sets to Flan-T5,
    and one token each in T5's vocabulary. So that they are right, every instruction is put as a question or a request to decide.

    Raises UnknownName, and BadTask with file and line (of .parquet: row), also for labels of -1: GLUE's hidden ones.

    Source: METHODS.md, section 1 (CRISPR on MRPC, RTE and QNLI, ten instructions). Differs from the source in: template, instructions and
    choices, which the paper does not publish; these are our own.
    """
    if member not in MEMBERS:
        raise UnknownName("set of GLUE", member, MEMBERS)
    if split_by is not None and split_by not in SPLIT_BY:
        raise UnknownName("way to split GLUE", split_by, SPLIT_BY)
    by_text, what = split_by != "example", MEMBERS[member]
    examples = [
        example
        for part, records in _parts(member, data).items()
        for example in make_examples(records, _maker(member, f"{member}/{part}", by_text))
    ]
    return Task(
        name=f"glue/{member}",
        examples=examples,
        instructions=what.instructions,
        template=what.template,
        description=what.says,
    )


def _parts(member: str, data: Paths | None) -> dict[str, Iterable[Record]]:
    """The records of each file, by what tells its ids from those of the others."""
    if data is None:
        instead = f"Without the Hub give a local copy: --data. {_accepted(member)}"
        return {"": hub_records(HUB_ID, [f"{member}/validation-00000-of-00001.parquet"], instead)}
    try:
        files = _files(member, data)
    except BadTask as error:
        raise BadTask(f"{error} {_accepted(member)}") from error
    if len(files) == 1:
        return {"": READERS[files[0].suffix.lower()](files[0])}
    return {f"{file.stem}/": READERS[file.suffix.lower()](file) for file in files}


def _files(member: str, data: Paths) -> tuple[Path, ...]:
    named = [Path(name) for name in ((data,) if isinstance(data, str | os.PathLike) else data)]
    files = find_files([_of_folder(member, path) if path.is_dir() else path for path in named], tuple(READERS))
    stems = {file.stem for file in files}
    for file in files:
        # Another set's 1 would silently be read as what is 0 here.
        if file.absolute().parent.name.lower() in MEMBERS.keys() - {member}:
            raise BadTask(f"{file} stands in the folder of another set of GLUE, not of {member}.")
        if file.suffix.lower() not in READERS:
            raise BadTask(f"The data file {file} ends in none of {', '.join(READERS)}.")
    if len(stems) < len(files):
        raise BadTask(f"Of the files {', '.join(map(str, files))} two have one name, so their ids would not tell them apart; rename one.")
    return files


def _of_folder(member: str, folder: Path) -> Path:
    """The file to take of a folder: of the set's own sub-folder where there is one."""
    folder = next((inside for inside in sorted(folder.iterdir()) if inside.is_dir() and inside.name.lower() == member), folder)
    files = find_files(folder, tuple(READERS))
    found = [file for file in files if re.split(r"[-.]", file.name.lower())[0] in _TAKEN] or files
    if len(found) > 1:
        raise BadTask(f"The folder {folder} holds {', '.join(file.name for file in found)}: name the one that is meant.")
    return found[0]


def _accepted(member: str) -> str:
    first, second = MEMBERS[member].texts
    zero, one = MEMBERS[member].labels
    return (
        f"glue/{member} reads {', '.join(READERS)} files with {first}, {second} and label (0 or {zero}, 1 or {one}), or with "
        "the columns of GLUE's own files (its test files have no labels); or a folder with a dev or validation file, or with such folders."
    )


def _maker(member: str, prefix: str, by_text: bool) -> Callable[[Record], Example]:
    """How a record of one file becomes an example; it counts them."""
    what, positions = MEMBERS[member], itertools.count()

    def make(record: Record) -> Example:
        position = next(positions)
        values = {_COLUMNS.get(name, name): value for name, value in record.values.items()}
        if member != "mrpc" and "id1" in values:
            raise BadTask(f"a pair of ids is MRPC's; this is no file of {member}.")
        try:
            fields = {name: text_of(values, name) for name in what.texts}
            label = _label(values, what.labels)
        except BadTask as error:
            raise BadTask(f"{error} {_accepted(member)}") from error
        return Example(
            fields=fields,
            choices=what.choices,
            gold=label,
            id=f"{prefix}{_id(values, position)}",
            # Builds of GLUE differ in stray quotes and blanks, and so do copies of one passage.
            group=f"{member}/{words_hash(fields[what.shared])}" if by_text else None,
            tags=what.labels[label],
        )

    return make


def _label(values: Mapping[str, Any], labels: tuple[str, str]) -> int:
    value = field_of(values, "label", (int, str))
    label = str(value).strip().lower()
    known = {"0": 0, "1": 1, labels[0]: 0, labels[1]: 1}
    if label == "-1":
        raise BadTask("the label is -1: GLUE hides those of its test files. Take the dev (validation) or train file.")
    if _LABELS.get(label, label) not in known:
        raise BadTask(f"the label is {value!r}.")
    return known[_LABELS.get(label, label)]


def _id(values: Mapping[str, Any], position: int) -> str:
    kinds = (int, str)
    if "id1" in values:
        return f"{field_of(values, 'id1', kinds)}-{field_of(values, 'id2', kinds)}"
    return str(field_of(values, "idx", kinds)) if "idx" in values else str(position)
