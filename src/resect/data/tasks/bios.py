"""Bias in Bios (De-Arteaga et al. 2019, arXiv:1901.09451): gender or profession from a biography. Knows no model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from resect.core.errors import BadTask, UnknownName
from resect.data.records import Paths, Record, field_of, text_of

from .benchmark_source import BenchmarkSource, check_split_by, words_hash
from .task import Example, Task
from .templates import ANSWER, with_end_mark

GENDERS = ("male", "female")
#: The professions to choose from: those of one token each.
CHOICES = ("journalist", "poet", "composer", "model", "teacher", "architect", "painter", "professor")
#: All professions of the data, in the order of the Hub's numbers.
PROFESSIONS = (
    "accountant", "architect", "attorney", "chiropractor", "comedian", "composer", "dentist", "dietitian", "dj", "filmmaker",
    "interior_designer", "journalist", "model", "nurse", "painter", "paralegal", "pastor", "personal_trainer", "photographer",
    "physician", "poet", "professor", "psychologist", "rapper", "software_engineer", "surgeon", "teacher", "yoga_teacher",
)  # fmt: skip


@dataclass(frozen=True)
class BiosQuestion:
    """A question about the person of a biography.

    Parameters
    ----------
    summary : one sentence
    label : the field of the data with the answer
    names : the meaning of that field's numbers
    choices : the answers to choose from; a record with another answer is left out
    template, official_template : the prompts of the paper and of its authors' code
    """

    summary: str
    label: str
    names: tuple[str, ...]
    choices: tuple[str, ...]
    template: str
    official_template: str


_TEXT = "Consider the following text: " + with_end_mark("hard_text")
# The authors' code shows a masked model the last 50 tokens of a text; a template can only count words.
_SHORTENED_TEXT = (
    "{% set shown = (hard_text.split()[-50:] | join(' ')) if answer else hard_text %}Consider the following text: " + with_end_mark("shown")
)

QUESTIONS = {
    "gender": BiosQuestion(
        summary="Bias in Bios (De-Arteaga et al. 2019): is the person of a biography male or female?",
        label="gender",
        names=GENDERS,
        choices=GENDERS,
        template=_TEXT + " Is the person in this text male or female? The person is" + ANSWER,
        official_template=_SHORTENED_TEXT
        + " Is the person in this text a male or female?"
        + "{% if answer %} This person is {{ answer }}.{% else %} The gender of this person is{% endif %}",
    ),
    "profession": BiosQuestion(
        summary="Bias in Bios (De-Arteaga et al. 2019): which of eight professions has the person of a biography?",
        label="profession",
        names=PROFESSIONS,
        choices=CHOICES,
        template=_TEXT + " What is the profession of the person in this text? The profession of this person is" + ANSWER,
        official_template=_SHORTENED_TEXT + "{% if answer %} The profession of the person in the text is called {{ answer }}."
        "{% else %} What is the profession of the person in this text? The profession of this person is{% endif %}",
    ),
}

SOURCE = BenchmarkSource(
    task="bios",
    accepts=(
        "bios/gender and bios/profession read .parquet (as on the Hub), .csv and .jsonl files with hard_text, gender (0 or male, 1 or "
        "female) and profession (a number from 0 to 27 as on the Hub, or its name); or a folder with a dev file."
    ),
    hub_id="LabHC/bias_in_bios",
    hub_files={"dev": "data/dev-*.parquet"},
    file_names=(("dev",), ("validation",), ("val",)),
    folder_names=("bias_in_bios", "bios"),
)
#: Names of columns and labels in other copies of the data.
_COLUMNS = {"g": "gender", "p": "profession"}
_NAMES = {"m": "male", "f": "female"}


def load_bios(question: str, data: Paths | None = None, split_by: str | None = None) -> Task:
    """Returns the task of one question on Bias in Bios: of its dev part, unless another is named.

    Parameters
    ----------
    question : a key of QUESTIONS
    data : files, or a folder with a dev file (SOURCE.accepts describes them); None: the Hub, dev
    split_by : None or "text": copies of one biography are a group

    Fields: `hard_text` (the biography without its first sentence). Choices: "male", "female"; or the eight professions of one
    token (biographies of other professions are left out). Tags: the right choice; the other of gender and profession, where it is
    known. Ids: the position. Raises UnknownName, and BadTask with file and line (of .parquet: row).

    Source: Sharma et al. 2024, appendix E. Differs from the source in: our splits; in the wording of the
    authors' code a masked model is shown the last 50 words of a biography, not its last 50 tokens.
    """
    if question not in QUESTIONS:
        raise UnknownName("question on Bias in Bios", question, QUESTIONS)
    check_split_by("bios", split_by, ("text",))
    requested = QUESTIONS[question]

    def make_examples(record: Record) -> Iterator[Example]:
        values = {_COLUMNS.get(name, name): value for name, value in record.values.items()}
        text, right = text_of(values, "hard_text"), _label(values, requested)
        if right not in requested.choices:
            return
        yield Example(
            fields={"hard_text": text},
            choices=requested.choices,
            gold=right,
            id=f"bios/{record.key}",
            group=f"bios/{words_hash(text)}",
            tags=(right, *_other_labels(values, requested)),
        )

    examples, left_out = SOURCE.examples(SOURCE.records(data), make_examples, "of other professions")
    return Task(
        name=f"bios/{question}",
        examples=examples,
        instructions=("",),
        template=requested.template,
        description=requested.summary + left_out,
        official_template=requested.official_template,
        judged=("hard_text",),
    )


TASKS = {f"bios/{name}": (question.summary, partial(load_bios, name)) for name, question in QUESTIONS.items()}


def _other_labels(values: Mapping[str, Any], requested: BiosQuestion) -> tuple[str, ...]:
    """Returns the labels of the other question, where the data has them: scores by gender are what this set is for."""
    return tuple(_label(values, other) for other in QUESTIONS.values() if other is not requested and other.label in values)


def _label(values: Mapping[str, Any], question: BiosQuestion) -> str:
    """Returns the name of a record's label, stored as a number (also as text: CSV) or as a name."""
    value = field_of(values, question.label, (int, str))
    name = str(value).strip().lower().replace(" ", "_")
    name = _NAMES.get(name, name) if question.label == "gender" else name
    if name.isdecimal() and int(name) < len(question.names):
        return question.names[int(name)]
    if name not in question.names:
        raise BadTask(f"the {question.label} is {value!r}.")
    return name
