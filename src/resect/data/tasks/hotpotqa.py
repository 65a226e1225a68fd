"""HotpotQA (Yang et al. 2018, arXiv:1809.09600): questions with free answers, as LASER evaluates them. Knows no model."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from resect.core.errors import BadTask
from resect.data.records import Paths, Record, text_of

from .benchmark_source import BenchmarkSource, check_split_by, words_hash
from .task import MASKED_FAMILIES, Example, Task
from .templates import ANSWER, with_end_mark

SUMMARY = "HotpotQA (Yang et al. 2018): questions on two articles at once, asked without the articles."
SOURCE = BenchmarkSource(
    task="hotpotqa",
    accepts=(
        "hotpotqa reads the published files (hotpot_dev_fullwiki_v1.json and the like, or the Hub's .parquet; .jsonl too) with question "
        "and answer; or a folder with such a file. Its test files have no answers."
    ),
    hub_id="hotpotqa/hotpot_qa",
    hub_files={"train": "fullwiki/train-00000-of-00002.parquet", "validation": "fullwiki/validation-00000-of-00001.parquet"},
    file_names=(("hotpot_dev_fullwiki_v1",), ("hotpot_dev_distractor_v1",), ("validation",), ("dev",)),
    folder_names=("hotpotqa", "hotpot_qa", "hotpot"),
    hub_limits={"train": 7405},  # as many as there are in validation: the authors' code
)
TEMPLATE = with_end_mark("question", "?") + " The answer is" + ANSWER
#: The longest answer that is kept, in words, where no tokenizer counts; and in tokens of Llama-2, BOS included, where one does.
MAX_WORDS, MAX_TOKENS = 10, 15


def load_hotpotqa(data: Paths | None = None, split_by: str | None = None, count_tokens: Callable[[str], int] | None = None) -> Task:
    """Returns HotpotQA's questions without their articles, as complete prompts.

    Parameters
    ----------
    data : files, or a folder with one (SOURCE.accepts describes them); None: the Hub, the first 7,405 of train, then all of validation
    split_by : None or "question": equal questions are a group
    count_tokens : the number of tokens of a text, special ones included, by Llama-2's tokenizer: answers of more than 15 are left out.
        None: answers of more than 10 words are left out

    Fields: `question`. Tags: the type ("bridge", "comparison") and the level ("hard"), where the data has them. Ids: HotpotQA's.
    Metric: generation; the 15 tokens that are generated must contain the answer (masked models: 5).
    Raises UnknownName, and BadTask with file and place.

    Source: Sharma et al. 2024, appendix E. Differs from the source in: without `count_tokens` the length
    of an answer is counted in words, since a task has no tokenizer; of local files all records are read.
    """
    check_split_by("hotpotqa", split_by, ("question",))

    def make_examples(record: Record) -> Iterator[Example]:
        question, answer = text_of(record.values, "question"), _answer(record.values)
        is_too_long = len(answer.split()) > MAX_WORDS if count_tokens is None else count_tokens(answer) > MAX_TOKENS
        if is_too_long:
            return
        name = next((str(record.values[key]) for key in ("_id", "id") if record.values.get(key)), record.key)
        yield Example(
            fields={"question": question},
            choices=(),
            gold=answer,
            id=f"hotpotqa/{name}",
            group=f"hotpotqa/{words_hash(question)}",
            tags=tuple(tag for tag in (record.values.get("type"), record.values.get("level")) if isinstance(tag, str) and tag.strip()),
        )

    limit = f"{MAX_WORDS} words" if count_tokens is None else f"{MAX_TOKENS} tokens"
    examples, left_out = SOURCE.examples(SOURCE.records(data), make_examples, f"with an answer of more than {limit}")
    return Task(
        name="hotpotqa",
        examples=examples,
        instructions=("",),
        template=TEMPLATE,
        description=SUMMARY + left_out,
        official_template=TEMPLATE,
        metric="generation",
        answer_tokens=15,
        answer_tokens_by=dict.fromkeys(MASKED_FAMILIES, 5),
        matching="contains",
    )


TASKS = {"hotpotqa": (SUMMARY, load_hotpotqa)}


def _answer(values: Mapping[str, Any]) -> str:
    if values.get("answer", "") in ("", None) and "question" in values:
        raise BadTask("there is no answer: HotpotQA hides those of its test files. Take the dev (validation) or train file.")
    return text_of(values, "answer")
