"""CounterFact (Meng et al. 2022, arXiv:2202.05262): facts as texts that break off before their last word. Knows no model."""

from collections.abc import Iterator, Mapping
from typing import Any

from resect.core.errors import BadTask
from resect.data.records import Paths, Record, field_of, text_of

from .benchmark_source import BenchmarkSource, check_split_by, words_hash
from .task import Example, Task
from .templates import ANSWER

SUMMARY = "CounterFact (Meng et al. 2022): facts and their paraphrases, to be completed by a word."
SPLIT_BY = ("fact", "subject")
SOURCE = BenchmarkSource(
    task="counterfact",
    accepts=(
        "counterfact reads the list of ROME (counterfact.json: case_id, requested_rewrite with prompt, subject and target_true, "
        "paraphrase_prompts), and EasyEdit's layout (case_id, prompt, subject, ground_truth, rephrase_prompt), as .json, .jsonl or "
        ".parquet; or a folder with such files."
    ),
    hub_id="azhx/counterfact",
    hub_files={"train": "data/train-*.parquet", "test": "data/test-*.parquet"},
    file_names=(("counterfact",), ("edit", "train", "val", "test")),
    folder_names=("counterfact",),
)

TEMPLATE = "{{ prompt }}" + ANSWER + "{% if answer %}.{% endif %}"
#: Families whose tokenizers split names into more pieces than GPT-2's, for which every answer here is one token.
_SMALL_PIECES = ("llama", "mistral", "gemma2", "gemma3", "gemma3_text", "phi3", "t5", "mt5")


def load_counterfact(data: Paths | None = None, split_by: str | None = None) -> Task:
    """Returns CounterFact's true facts: every prompt, and every paraphrase of it, is an example of its own.

    Parameters
    ----------
    data : files, or a folder of them (SOURCE.accepts describes them); None: the Hub
    split_by : what a group is: "fact" (default), all prompts with one subject and one answer; or "subject"

    Fields: `prompt` (or a paraphrase of it), `subject`, `fact` (subject and answer). No choices: the gold answer is the true
    object's text. Tag: "paraphrase". Ids: the case's, with "/paraphrase-1" and so on. The fact, not the case, is the group, because a fact
    can be the subject of two cases. The counterfactual answers are not read.

    Metric: generation; the generated text must contain the answer. It has 1 token, 10 for Llama and other families with small pieces.
    Raises UnknownName, and BadTask with file and place.

    Source: Sharma et al. 2024, appendix E. Differs from the source in: families that it did not measure
    get 10 tokens where their vocabularies are like Llama's; our splits, by group. A masked model's mask is followed by a full stop, as in
    the authors' code.
    """
    by_subject = check_split_by("counterfact", split_by, SPLIT_BY) == "subject"
    examples, _ = SOURCE.examples(SOURCE.records(data), lambda record: _examples(record, by_subject), "without a prompt")
    return Task(
        name="counterfact",
        examples=examples,
        instructions=("",),
        template=TEMPLATE,
        description=SUMMARY,
        official_template=TEMPLATE,
        metric="generation",
        answer_tokens=1,
        answer_tokens_by=dict.fromkeys(_SMALL_PIECES, 10),
        matching="contains",
    )


TASKS = {"counterfact": (SUMMARY, load_counterfact)}


def _examples(record: Record, by_subject: bool) -> Iterator[Example]:
    values = record.values
    subject, answer, prompts = (_rome if "requested_rewrite" in values else _reduced)(values)
    case = str(field_of(values, "case_id", (int, str))) if "case_id" in values else record.key
    fact = f"{subject}: {answer}"
    for number, prompt in enumerate(prompts):
        yield Example(
            fields={"prompt": prompt, "subject": subject, "fact": fact},
            choices=(),
            gold=answer,
            id=f"counterfact/{case}" + (f"/paraphrase-{number}" if number else ""),
            group=f"counterfact/{words_hash(subject if by_subject else fact)}",
            tags=("paraphrase",) if number else (),
        )


def _rome(values: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """Returns subject, answer, and all prompts of a case of ROME's file."""
    rewrite = field_of(values, "requested_rewrite", dict)
    subject, answer = text_of(rewrite, "subject"), text_of(field_of(rewrite, "target_true", dict), "str")
    pattern = text_of(rewrite, "prompt")
    if "{}" not in pattern:
        raise BadTask(f"the prompt {pattern!r} has no {{}} where the subject goes.")
    return subject, answer, [pattern.replace("{}", subject), *_texts(field_of(values, "paraphrase_prompts", list))]


def _reduced(values: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """Returns the same for EasyEdit's layout."""
    rephrased = field_of(values, "rephrase_prompt", (str, list))
    paraphrases = _texts([rephrased] if isinstance(rephrased, str) else rephrased)
    return text_of(values, "subject"), text_of(values, "ground_truth"), [text_of(values, "prompt"), *paraphrases]


def _texts(values: list[Any]) -> list[str]:
    if not all(isinstance(text, str) and text.strip() for text in values):
        raise BadTask(f"the paraphrases are {values!r}; texts that are not empty are needed.")
    return [text.strip() for text in values]
