"""Two tasks of BIG-bench (Srivastava et al. 2022, arXiv:2206.04615), as LASER evaluates them. Knows no model.

epistemic_reasoning asks whether a premise entails a hypothesis; qa_wikidata's statements are to be completed.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from resect.core.errors import BadTask
from resect.data.records import Paths, Record, field_of, text_of

from .benchmark_source import BenchmarkSource, check_split_by, words_hash
from .task import MASKED_FAMILIES, Example, Task
from .templates import ANSWER

RELATIONS = ("entailment", "non-entailment")
EPISTEMIC_SUMMARY = "BIG-bench's epistemic_reasoning (Srivastava et al. 2022): does what one person knows entail what another does?"
EPISTEMIC = BenchmarkSource(
    task="epistemic",
    accepts=(
        "epistemic reads BIG-bench's epistemic_reasoning (task.json: examples with input, 'Premise: … Hypothesis: …', and target_scores; "
        "the Hub's .parquet: inputs and targets; .jsonl of either); or a folder with such a file."
    ),
    hub_id="tasksource/bigbench",
    hub_files={part: f"epistemic_reasoning/{part}-00000-of-00001.parquet" for part in ("validation", "train")},
    file_names=(("task",), ("validation", "train")),
    folder_names=("epistemic_reasoning", "bigbench_epistemic_reasoning", "epistemic"),
)
#: BIG-bench's own words around an input (task_prefix, example_input_prefix, example_output_prefix).
EPISTEMIC_TEMPLATE = (
    "Identify the relation between the following premises and hypotheses, choosing from the options 'entailment' or 'non-entailment'.\n\n"
    "Premise: {{ premise }} Hypothesis: {{ hypothesis }}\nRelation:"
) + ANSWER
_PAIR = re.compile(r"Premise: (.+?) Hypothesis: (.+?)\s*(?:Relation:)?\s*\Z", re.DOTALL)
_ATTITUDES = re.compile(r"(?:[A-Z]\w* \w+s that )+")

WIKIDATA_SUMMARY = "BIG-bench's qa_wikidata (Srivastava et al. 2022): statements from Wikidata that break off before their last words."
WIKIDATA = BenchmarkSource(
    task="wikidata",
    accepts=(
        "wikidata reads BIG-bench's qa_wikidata (task.json: examples with input and target; the Hub's .parquet: inputs and targets; "
        ".jsonl of either); or a folder with such a file."
    ),
    hub_id="tasksource/bigbench",
    hub_files={part: f"qa_wikidata/{part}-00000-of-00001.parquet" for part in ("validation", "train")},
    file_names=(("task",), ("validation", "train")),
    folder_names=("qa_wikidata", "bigbench_qa_wikidata", "wikidata"),
)
WIKIDATA_TEMPLATE = "{{ question }}" + ANSWER


def load_epistemic(data: Paths | None = None, split_by: str | None = None) -> Task:
    """Returns BIG-bench's epistemic_reasoning, in BIG-bench's own words.

    Parameters
    ----------
    data : a file, or a folder with one (EPISTEMIC.accepts describes them); None: the Hub, validation and train
    split_by : what a group is: "story" (default), the pairs whose premise is about one thing, whoever knows or believes it, or "example"

    Fields: `premise`, `hypothesis`. Choices: "entailment", "non-entailment". Tag: the right one. Ids: the position.
    Raises UnknownName, and BadTask with file and place.

    Source: Sharma et al. 2024, appendix E; the words around an input are those of BIG-bench's task.json,
    which LASER's copy of the data has in its texts. Differs from the source in: nothing but our splits.
    """
    by_story = check_split_by("epistemic", split_by, ("story", "example")) == "story"

    def make_examples(record: Record) -> Iterator[Example]:
        match = _PAIR.search(_input(record.values))
        if not match:
            raise BadTask("the input is not of the form 'Premise: … Hypothesis: …'.")
        premise, hypothesis = match.groups()
        relation = _relation(record.values)
        yield Example(
            fields={"premise": premise, "hypothesis": hypothesis},
            choices=RELATIONS,
            gold=relation,
            id=f"epistemic/{record.key}",
            group=f"epistemic/{words_hash(_ATTITUDES.sub('', premise, count=1))}" if by_story else None,
            tags=relation,
        )

    examples, _ = EPISTEMIC.examples(EPISTEMIC.records(data), make_examples)
    return Task(
        name="epistemic",
        examples=examples,
        instructions=("",),
        template=EPISTEMIC_TEMPLATE,
        description=EPISTEMIC_SUMMARY,
        official_template=EPISTEMIC_TEMPLATE,
    )


def load_wikidata(data: Paths | None = None, split_by: str | None = None) -> Task:
    """Returns BIG-bench's qa_wikidata: its statements with a single right end.

    Parameters
    ----------
    data : files, or a folder with one (WIKIDATA.accepts describes them); None: the Hub, validation and train
    split_by : None or "question": equal questions are a group

    Fields: `question`, BIG-bench's input as it is. Ids: the position. Metric: generation; the 10 tokens that are generated must contain
    the answer (masked models: 5). Raises UnknownName, and BadTask with file and place.

    Source: Sharma et al. 2024, appendix E. Differs from the source in: nothing but our splits.
    """
    check_split_by("wikidata", split_by, ("question",))

    def make_examples(record: Record) -> Iterator[Example]:
        question, answers = _input(record.values), _targets(record.values)
        if len(answers) == 1:
            yield Example(
                fields={"question": question},
                choices=(),
                gold=answers[0],
                id=f"wikidata/{record.key}",
                group=f"wikidata/{words_hash(question)}",
            )

    examples, left_out = WIKIDATA.examples(WIKIDATA.records(data), make_examples, "with several right answers")
    return Task(
        name="wikidata",
        examples=examples,
        instructions=("",),
        template=WIKIDATA_TEMPLATE,
        description=WIKIDATA_SUMMARY + left_out,
        official_template=WIKIDATA_TEMPLATE,
        metric="generation",
        answer_tokens=10,
        answer_tokens_by=dict.fromkeys(MASKED_FAMILIES, 5),
        matching="contains",
    )


TASKS = {"epistemic": (EPISTEMIC_SUMMARY, load_epistemic), "wikidata": (WIKIDATA_SUMMARY, load_wikidata)}


def _input(values: Mapping[str, Any]) -> str:
    return text_of(values, "inputs" if "inputs" in values else "input")


def _relation(values: Mapping[str, Any]) -> str:
    if "targets" in values:
        right = field_of(values, "targets", list)
    else:
        right = [name for name, score in field_of(values, "target_scores", dict).items() if score == 1]
    if len(right) != 1 or right[0] not in RELATIONS:
        raise BadTask(f"the right relations are {right!r}; one of {', '.join(RELATIONS)} is needed.")
    return str(right[0])


def _targets(values: Mapping[str, Any]) -> list[str]:
    targets = field_of(values, "targets" if "targets" in values else "target", (str, list))
    answers = [targets] if isinstance(targets, str) else targets
    if not answers or not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise BadTask(f"the right answers are {targets!r}; texts that are not empty are needed.")
    return list(dict.fromkeys(answer.strip() for answer in answers))
