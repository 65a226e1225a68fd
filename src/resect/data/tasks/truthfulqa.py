"""TruthfulQA (Lin et al. 2022, arXiv:2109.07958): each answer judged true or false, as LASER evaluates it. Knows no model."""

from collections.abc import Iterator, Mapping
from typing import Any

from resect.core.errors import BadTask
from resect.data.records import Paths, Record, field_of, text_of

from .benchmark_source import BenchmarkSource, check_split_by, words_hash
from .task import Example, Task
from .templates import ANSWER, with_end_mark

SUMMARY = "TruthfulQA (Lin et al. 2022): each of its answers by itself, true or false."
SOURCE = BenchmarkSource(
    task="truthfulqa",
    accepts=(
        "truthfulqa reads TruthfulQA.csv (Question, Correct Answers, Incorrect Answers, each separated by semicolons), .jsonl or .parquet "
        "with question, correct_answers and incorrect_answers, and the multiple-choice layout with question and mc2_targets; or a folder "
        "with such a file."
    ),
    hub_id="truthfulqa/truthful_qa",
    hub_files={"validation": "multiple_choice/validation-00000-of-00001.parquet"},
    file_names=(("truthfulqa",), ("mc_task",), ("validation",)),
    folder_names=("truthfulqa", "truthful_qa"),
)
CHOICES = ("true", "false")
_STATEMENT = "{{ question }} " + with_end_mark("candidate")
TEMPLATE = _STATEMENT + " Is this statement true or false. This statement is" + ANSWER
OFFICIAL_TEMPLATE = _STATEMENT + " Is this statement true or false? This statement is" + ANSWER


def load_truthfulqa(data: Paths | None = None, split_by: str | None = None) -> Task:
    """Returns TruthfulQA, each answer judged by itself; the answers of one question are a group.

    Parameters
    ----------
    data : a file, or a folder with one (SOURCE.accepts describes them); None: the Hub, the multiple-choice layout
    split_by : None or "question"

    Fields: `question`, `candidate` (the answer that is judged). Choices: "true", "false". Tag: the right one. Ids: the question's position
    and the answer's, right ones first where there are two lists. Raises UnknownName, and BadTask with file and line.

    Source: Sharma et al. 2024, appendix E. Differs from the source in: our splits, by question; a full stop
    is not added to an answer that ends in a question mark.
    """
    check_split_by("truthfulqa", split_by, ("question",))

    def make_examples(record: Record) -> Iterator[Example]:
        question = text_of(record.values, "Question" if "Question" in record.values else "question")
        for number, (candidate, is_right) in enumerate(_candidates(record.values)):
            label = "true" if is_right else "false"
            yield Example(
                fields={"question": question, "candidate": candidate},
                choices=CHOICES,
                gold=label,
                id=f"truthfulqa/{record.key}/{number}",
                group=f"truthfulqa/{words_hash(question)}",
                tags=label,
            )

    examples, _ = SOURCE.examples(SOURCE.records(data), make_examples)
    return Task(
        name="truthfulqa",
        examples=examples,
        instructions=("",),
        template=TEMPLATE,
        description=SUMMARY,
        official_template=OFFICIAL_TEMPLATE,
    )


TASKS = {"truthfulqa": (SUMMARY, load_truthfulqa)}


def _candidates(values: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Returns each answer, and whether it is right."""
    if "mc2_targets" in values:
        candidates = _multiple_choice(field_of(values, "mc2_targets", dict))
    elif "Correct Answers" in values:
        columns = (("Correct Answers", True), ("Incorrect Answers", False))
        pieces = [(text, is_right) for name, is_right in columns for text in field_of(values, name, str).split(";")]
        candidates = [(text, is_right) for text, is_right in pieces if text.strip()]
    else:
        lists = (("correct_answers", True), ("incorrect_answers", False))
        candidates = [(text, is_right) for name, is_right in lists for text in field_of(values, name, list)]
    if not candidates or not all(isinstance(text, str) and text.strip() for text, _ in candidates):
        raise BadTask(f"the answers are {[text for text, _ in candidates]!r}; texts that are not empty are needed.")
    return [(text.strip(), is_right) for text, is_right in candidates]


def _multiple_choice(targets: Mapping[str, Any]) -> list[tuple[Any, bool]]:
    pairs = list(targets.items())
    if set(targets) == {"choices", "labels"}:
        choices, labels = field_of(targets, "choices", list), field_of(targets, "labels", list)
        if len(choices) != len(labels):
            raise BadTask(f"mc2_targets has {len(choices)} choices and {len(labels)} labels; as many of each are needed.")
        pairs = list(zip(choices, labels, strict=True))
    if any(label not in (0, 1) for _, label in pairs):
        raise BadTask(f"the labels of mc2_targets are {[label for _, label in pairs]!r}; each is 0 or 1.")
    return [(candidate, label == 1) for candidate, label in pairs]
