"""Bias in Bios (De-Arteaga et al. 2019, arXiv:1901.09451): gender or profession from a biography. Knows no model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from resect.core.errors import BadTask, UnknownName

from .base import Example, Task
from .records import Paths, Placed, field_of, text_of
from .sources import TaskSource, check_split_by, words_hash
from .wording import ANSWER, closed

GENDERS = ("male", "female")
#: The professions that are asked for: those of one token each.
ASKED = ("journalist", "poet", "composer", "model", "teacher", "architect", "painter", "professor")
#: All professions of the data, in the order of the Hub's numbers.
PROFESSIONS = (
    "accountant", "architect", "attorney", "chiropractor", "comedian", "composer", "dentist", "dietitian", "dj", "filmmaker",
    "interior_designer", "journalist", "model", "nurse", "painter", "paralegal", "pastor", "personal_trainer", "photographer",
    "physician", "poet", "professor", "psychologist", "rapper", "software_engineer", "surgeon", "teacher", "yoga_teacher",
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """What is asked of a biography.

    Parameters
    ----------
    says : one sentence
    label : the field of the data that answers it
    names : what that field's numbers stand for
    choices : the answers to choose from; a record with another is left out
    template, official : how it is asked, by the paper and by its authors' code
    """

    says: str
    label: str
    names: tuple[str, ...]
    choices: tuple[str, ...]
    template: str
    official: str


_TEXT = "Consider the following text: " + closed("hard_text")
# The authors' code shows a masked model the last 50 tokens of a text; a template can count words.
_CUT = "{% set shown = (hard_text.split()[-50:] | join(' ')) if answer else hard_text %}Consider the following text: " + closed("shown")

MEMBERS = {
    "gender": Member(
        says="Bias in Bios (De-Arteaga et al. 2019): is the person of a biography male or female?",
        label="gender",
        names=GENDERS,
        choices=GENDERS,
        template=_TEXT + " Is the person in this text male or female? The person is" + ANSWER,
        official=_CUT
        + " Is the person in this text a male or female?"
        + "{% if answer %} This person is {{ answer }}.{% else %} The gender of this person is{% endif %}",
    ),
    "profession": Member(
        says="Bias in Bios (De-Arteaga et al. 2019): which of eight professions has the person of a biography?",
        label="profession",
        names=PROFESSIONS,
        choices=ASKED,
        template=_TEXT + " What is the profession of the person in this text? The profession of this person is" + ANSWER,
        official=_CUT + "{% if answer %} The profession of the person in the text is called {{ answer }}."
        "{% else %} What is the profession of the person in this text? The profession of this person is{% endif %}",
    ),
}

SOURCE = TaskSource(
    task="bios",
    accepts=(
        "bios/gender and bios/profession read .parquet (as on the Hub), .csv and .jsonl files with hard_text, gender (0 or male, 1 or "
        "female) and profession (a number from 0 to 27 as on the Hub, or its name); or a folder with a dev file."
    ),
    hub="LabHC/bias_in_bios",
    files={"dev": "data/dev-*.parquet"},
    taken=(("dev",), ("validation",), ("val",)),
    folders=("bias_in_bios", "bios"),
)
#: Names of one thing in other copies of the data.
_COLUMNS = {"g": "gender", "p": "profession"}
_NAMES = {"m": "male", "f": "female"}


def load_bios(member: str, data: Paths | None = None, split_by: str | None = None) -> Task:
    """The task of one question on Bias in Bios: its dev part, where nothing else is named.

    Parameters
    ----------
    member : a key of MEMBERS
    data : files, or a folder with a dev file (SOURCE.accepts says which); None: the Hub, dev
    split_by : None or "text": copies of one biography are a group

    Fields: `hard_text` (the biography without its first sentence). Choices: "male", "female"; or the eight professions of one token,
    biographies of other professions are left out. Tags: the right choice; the other of gender and profession, where it is there and known.
    Ids: the position. Raises UnknownName, and BadTask with file and line (of .parquet: row).

    Source: METHODS.md, section 3 (LASER); Sharma et al. 2024, appendix E. Differs from the source in: our splits; in the wording of the
    authors' code a masked model is shown the last 50 words of a biography, not its last 50 tokens.
    """
    if member not in MEMBERS:
        raise UnknownName("question on Bias in Bios", member, MEMBERS)
    check_split_by("bios", split_by, ("text",))
    what = MEMBERS[member]

    def make(record: Placed) -> Iterator[Example]:
        values = {_COLUMNS.get(name, name): value for name, value in record.values.items()}
        text, right = text_of(values, "hard_text"), _name(values, what.label, what.names)
        if right not in what.choices:
            return
        yield Example(
            fields={"hard_text": text},
            choices=what.choices,
            gold=right,
            id=f"bios/{record.place}",
            group=f"bios/{words_hash(text)}",
            tags=(right, *_others(values, what.label)),
        )

    examples, less = SOURCE.examples(SOURCE.records(data), make, "of other professions")
    return Task(
        name=f"bios/{member}",
        examples=examples,
        instructions=("",),
        template=what.template,
        description=what.says + less,
        official_template=what.official,
        judged=("hard_text",),
    )


def _others(values: Mapping[str, Any], asked: str) -> tuple[str, ...]:
    """The label that is not asked for, where the data has it: scores apart by gender are what this set is for."""
    return tuple(_name(values, what.label, what.names) for what in MEMBERS.values() if what.label != asked and what.label in values)


def _name(values: Mapping[str, Any], label: str, names: tuple[str, ...]) -> str:
    """What a label stands for, whether it is a number (also as text: CSV) or a name."""
    value = field_of(values, label, (int, str))
    text = str(value).strip().lower().replace(" ", "_")
    text = _NAMES.get(text, text) if label == "gender" else text
    if text.isdecimal() and int(text) < len(names):
        return names[int(text)]
    if text not in names:
        raise BadTask(f"the {label} is {value!r}.")
    return text
