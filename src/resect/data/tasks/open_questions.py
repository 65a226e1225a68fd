"""Two sets of questions with free answers: HotpotQA and BIG-bench's qa_wikidata, as LASER asks them. Knows no model."""

from collections.abc import Callable, Iterator
from typing import Any

from resect.core.errors import BadTask

from .base import Example, Task
from .records import Paths, Placed, field_of, text_of
from .sources import TaskSource, check_split_by, words_hash
from .wording import ANSWER, closed

#: Families of masked models: they fill few masks at once, or none well.
_MASKED = ("bert", "roberta", "modernbert")

HOTPOTQA_SAYS = "HotpotQA (Yang et al. 2018): questions on two articles at once, asked without the articles."
HOTPOTQA = TaskSource(
    task="hotpotqa",
    accepts=(
        "hotpotqa reads the published files (hotpot_dev_fullwiki_v1.json and the like, or the Hub's .parquet; .jsonl too) with question "
        "and answer; or a folder with such a file. Its test files have no answers."
    ),
    hub="hotpotqa/hotpot_qa",
    files={"train": "fullwiki/train-00000-of-00002.parquet", "validation": "fullwiki/validation-00000-of-00001.parquet"},
    taken=(("hotpot_dev_fullwiki_v1",), ("hotpot_dev_distractor_v1",), ("validation",), ("dev",)),
    folders=("hotpotqa", "hotpot_qa", "hotpot"),
    first={"train": 7405},  # as many as there are in validation: the authors' code
)
HOTPOTQA_TEMPLATE = closed("question", "?") + " The answer is" + ANSWER
#: The longest answer that is asked for, in words, where no tokenizer counts; and in tokens of Llama-2, BOS included, where one does.
ANSWER_WORDS, ANSWER_TOKENS = 10, 15

WIKIDATA_SAYS = "BIG-bench's qa_wikidata (Srivastava et al. 2022): statements from Wikidata that break off before their last words."
WIKIDATA = TaskSource(
    task="wikidata",
    accepts=(
        "wikidata reads BIG-bench's qa_wikidata (task.json: examples with input and target; the Hub's .parquet: inputs and targets; "
        ".jsonl of either); or a folder with such a file."
    ),
    hub="tasksource/bigbench",
    files={part: f"qa_wikidata/{part}-00000-of-00001.parquet" for part in ("validation", "train")},
    taken=(("task",), ("validation", "train")),
    folders=("qa_wikidata", "bigbench_qa_wikidata", "wikidata"),
)
WIKIDATA_TEMPLATE = "{{ question }}" + ANSWER


def load_hotpotqa(data: Paths | None = None, split_by: str | None = None, count_tokens: Callable[[str], int] | None = None) -> Task:
    """HotpotQA's questions without their articles, as whole prompts.

    Parameters
    ----------
    data : files, or a folder with one (HOTPOTQA.accepts says which); None: the Hub, the first 7,405 of train, then all of validation
    split_by : None or "question": equal questions are a group
    count_tokens : the number of tokens of a text, special ones included, by Llama-2's tokenizer: answers of more than 15 are left out.
        None: answers of more than 10 words are

    Fields: `question`. Tags: the type ("bridge", "comparison") and the level ("hard"), where the data says them. Ids: HotpotQA's.
    Reported by generation: the answer is contained in the 15 tokens that are generated (masked models: 5).
    Raises UnknownName, and BadTask with file and place.

    Source: METHODS.md, section 3 (LASER); Sharma et al. 2024, appendix E. Differs from the source in: without `count_tokens` the length
    of an answer is counted in words, since a task has no tokenizer; local files are read whole.
    """
    check_split_by("hotpotqa", split_by, ("question",))

    def make(record: Placed) -> Iterator[Example]:
        question, answer = text_of(record.values, "question"), _answer(record.values)
        too_long = len(answer.split()) > ANSWER_WORDS if count_tokens is None else count_tokens(answer) > ANSWER_TOKENS
        if too_long:
            return
        name = next((str(record.values[key]) for key in ("_id", "id") if record.values.get(key)), record.place)
        yield Example(
            fields={"question": question},
            choices=(),
            gold=answer,
            id=f"hotpotqa/{name}",
            group=f"hotpotqa/{words_hash(question)}",
            tags=tuple(tag for tag in (record.values.get("type"), record.values.get("level")) if isinstance(tag, str) and tag.strip()),
        )

    limit = f"{ANSWER_WORDS} words" if count_tokens is None else f"{ANSWER_TOKENS} tokens"
    examples, less = HOTPOTQA.examples(HOTPOTQA.records(data), make, f"with an answer of more than {limit}")
    return _task("hotpotqa", examples, HOTPOTQA_TEMPLATE, HOTPOTQA_SAYS + less, tokens=15)


def load_wikidata(data: Paths | None = None, split_by: str | None = None) -> Task:
    """BIG-bench's qa_wikidata: those of its statements that have one right end.

    Parameters
    ----------
    data : files, or a folder with one (WIKIDATA.accepts says which); None: the Hub, validation and train
    split_by : None or "question": equal questions are a group

    Fields: `question`, BIG-bench's input as it is. Ids: the position. Reported by generation: the answer is contained in the 10 tokens
    that are generated (masked models: 5). Raises UnknownName, and BadTask with file and place.

    Source: METHODS.md, section 3 (LASER); Sharma et al. 2024, appendix E. Differs from the source in: nothing but our splits.
    """
    check_split_by("wikidata", split_by, ("question",))

    def make(record: Placed) -> Iterator[Example]:
        question = text_of(record.values, "inputs" if "inputs" in record.values else "input")
        answers = _targets(record.values)
        if len(answers) > 1:
            return
        yield Example(
            fields={"question": question},
            choices=(),
            gold=answers[0],
            id=f"wikidata/{record.place}",
            group=f"wikidata/{words_hash(question)}",
        )

    examples, less = WIKIDATA.examples(WIKIDATA.records(data), make, "with several right answers")
    return _task("wikidata", examples, WIKIDATA_TEMPLATE, WIKIDATA_SAYS + less, tokens=10)


def _task(name: str, examples: tuple[Example, ...], template: str, description: str, tokens: int) -> Task:
    return Task(
        name=name,
        examples=examples,
        instructions=("",),
        template=template,
        description=description,
        official_template=template,
        metric="generation",
        answer_tokens=tokens,
        answer_tokens_by=dict.fromkeys(_MASKED, 5),
        matching="contains",
    )


def _answer(values: dict[str, Any]) -> str:
    if values.get("answer", "") in ("", None) and "question" in values:
        raise BadTask("there is no answer: HotpotQA hides those of its test files. Take the dev (validation) or train file.")
    return text_of(values, "answer")


def _targets(values: dict[str, Any]) -> list[str]:
    found = field_of(values, "targets" if "targets" in values else "target", (str, list))
    answers = [found] if isinstance(found, str) else found
    if not answers or not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise BadTask(f"the right answers are {found!r}; texts that are not empty are wanted.")
    return list(dict.fromkeys(answer.strip() for answer in answers))
