"""Three sets of GLUE (Wang et al. 2019, arXiv:1804.07461) that ask one yes-or-no question about two texts. Knows no model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from resect.core.errors import BadTask, UnknownName
from resect.data.records import FORMATS, Paths, Record, field_of, text_of

from .benchmark_source import BenchmarkSource, check_split_by, words_hash
from .task import Example, Task


@dataclass(frozen=True)
class GlueSet:
    """One set of GLUE.

    Parameters
    ----------
    summary : one sentence
    texts : the fields of the two texts, in the order in which the prompt shows them
    shared : which of the two several examples have in common
    labels : the meaning of the numbers 0 and 1, which differs between the sets; also the examples' tags
    choices : the answer for each label
    template, instructions : the prompts
    """

    summary: str
    texts: tuple[str, str]
    shared: str
    labels: tuple[str, str]
    choices: tuple[str, str]
    template: str
    instructions: tuple[str, ...]


_TEMPLATE = "{{{{ instruction }}}} {0}: {{{{ {1} }}}} {2}: {{{{ {3} }}}} Options: {{{{ choices | join(', ') }}}} Answer:"

SETS = {
    "mrpc": GlueSet(
        summary="GLUE's MRPC (Dolan and Brockett 2005): do two sentences from the news mean the same?",
        texts=("sentence1", "sentence2"),
        shared="sentence1",
        labels=("not_paraphrase", "paraphrase"),
        choices=("no", "yes"),
        template=_TEMPLATE.format("Sentence 1", "sentence1", "Sentence 2", "sentence2"),
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
    "rte": GlueSet(
        summary="GLUE's RTE (Dagan et al. 2006 and three later sets): does a hypothesis follow from a premise?",
        texts=("sentence1", "sentence2"),
        shared="sentence1",
        labels=("entailment", "not_entailment"),
        choices=("yes", "no"),
        template=_TEMPLATE.format("Premise", "sentence1", "Hypothesis", "sentence2"),
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
    "qnli": GlueSet(
        summary="GLUE's QNLI (from SQuAD, Rajpurkar et al. 2016): does a sentence answer a question?",
        texts=("question", "sentence"),
        shared="sentence",
        labels=("entailment", "not_entailment"),
        choices=("yes", "no"),
        template=_TEMPLATE.format("Question", "question", "Sentence", "sentence"),
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

#: GLUE's own names of columns and the Hub's class names, and the names used here.
_COLUMNS = {"Quality": "label", "#1 ID": "id1", "#2 ID": "id2", "#1 String": "sentence1", "#2 String": "sentence2", "index": "idx"}
_LABELS = {"equivalent": "paraphrase", "not_equivalent": "not_paraphrase"}


def load_glue(name: str, data: Paths | None = None, split_by: str | None = None) -> Task:
    """Returns the task of one set: of its validation part, unless another is named.

    Parameters
    ----------
    name : a key of SETS
    data : a file; or the folder of the set, or one with a subfolder of the set's name (in any case), of which the dev or validation file
        is read, or the only one there is; or several; None: the Hub, validation
    split_by : what a group is: "text" (default), the examples that share their first sentence (MRPC), premise (RTE) or passage (QNLI),
        ignoring case, blanks and punctuation, or "example"

    Formats are .jsonl, .csv, .parquet (as on the Hub) and .tsv (GLUE's own: a header, quotes without meaning), with the two texts under
    GLUE's names and `label`: 0 or 1 as on the Hub (MRPC: 1 = paraphrase; RTE and QNLI: 0 = entailment), or its name.
    Fields: the two texts. Tags: the label. Ids: MRPC's pair of ids, else GLUE's index, else the position; of several files, also the
    file's name. Groups depend on the text alone, so they are in the same split whatever file they come from.

    Choices are "yes" and "no", in the order of the labels: the answers (and the order) with which FLAN taught these sets to Flan-T5,
    and one token each in T5's vocabulary. To fit them, every instruction is a question or a request to decide.

    Raises UnknownName, and BadTask with file and line (of .parquet: row), also for labels of -1: GLUE's hidden ones.

    Source: Yang et al. 2024 (CRISPR on MRPC, RTE and QNLI, ten instructions). Differs from the source in: template, instructions and
    choices, which the paper does not publish; these are our own.
    """
    if name not in SETS:
        raise UnknownName("set of GLUE", name, SETS)
    by_text, source = check_split_by("GLUE", split_by, ("text", "example")) == "text", _source(name)
    examples, _ = source.examples(source.records(data), lambda record: _example(record, name, by_text))
    glue_set = SETS[name]
    return Task(
        name=f"glue/{name}",
        examples=examples,
        instructions=glue_set.instructions,
        template=glue_set.template,
        description=glue_set.summary,
    )


TASKS = {f"glue/{name}": (glue_set.summary, partial(load_glue, name)) for name, glue_set in SETS.items()}


def _source(name: str) -> BenchmarkSource:
    (first, second), (zero, one) = SETS[name].texts, SETS[name].labels
    return BenchmarkSource(
        task=f"glue/{name}",
        accepts=(
            f"glue/{name} reads {', '.join(FORMATS)} files with {first}, {second} and label (0 or {zero}, 1 or {one}), or with the columns "
            "of GLUE's own files (its test files have no labels); or a folder with a dev or validation file, or with such folders."
        ),
        hub_id="nyu-mll/glue",
        hub_files={"validation": f"{name}/validation-00000-of-00001.parquet"},
        file_names=(("dev", "validation", "valid", "val"),),  # their labels are public, and results are reported on them
        folder_names=(name,),
        one_file=True,
        other_folders=tuple(SETS.keys() - {name}),
    )


def _example(record: Record, name: str, by_text: bool) -> Iterator[Example]:
    glue_set, values = SETS[name], {_COLUMNS.get(column, column): value for column, value in record.values.items()}
    if name != "mrpc" and "id1" in values:
        raise BadTask(f"a pair of ids is MRPC's; this is no file of {name}.")
    fields = {field: text_of(values, field) for field in glue_set.texts}
    label = _label(values, glue_set.labels)
    yield Example(
        fields=fields,
        choices=glue_set.choices,
        gold=label,
        id=f"{name}/{record.part}{_id(values, record.number)}",
        # Builds of GLUE differ in stray quotes and blanks, and so do copies of one passage.
        group=f"{name}/{words_hash(fields[glue_set.shared])}" if by_text else None,
        tags=glue_set.labels[label],
    )


def _label(values: Mapping[str, Any], labels: tuple[str, str]) -> int:
    value = field_of(values, "label", (int, str))
    text = str(value).strip().lower()
    label = _LABELS.get(text, text)
    numbers = {"0": 0, "1": 1, labels[0]: 0, labels[1]: 1}
    if label == "-1":
        raise BadTask("the label is -1: GLUE hides those of its test files. Take the dev (validation) or train file.")
    if label not in numbers:
        raise BadTask(f"the label is {value!r}.")
    return numbers[label]


def _id(values: Mapping[str, Any], number: int) -> str:
    kinds = (int, str)
    if "id1" in values:
        return f"{field_of(values, 'id1', kinds)}-{field_of(values, 'id2', kinds)}"
    return str(field_of(values, "idx", kinds)) if "idx" in values else str(number)
