"""Statements to be judged: FEVER, TruthfulQA and BIG-bench's epistemic_reasoning, as LASER asks them. Knows no model."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from resect.core.errors import BadTask

from .base import Example, Task
from .records import Paths, Placed, field_of, text_of
from .sources import TaskSource, check_split_by, words_hash
from .wording import ANSWER, closed

TRUTH = ("true", "false")

FEVER_SAYS = "FEVER (Thorne et al. 2018): claims on what Wikipedia says, true or false."
FEVER = TaskSource(
    task="fever",
    accepts=(
        "fever reads the published files (paper_dev.jsonl, paper_test.jsonl: claim, and label SUPPORTS, REFUTES or NOT ENOUGH INFO) and "
        "the Hub's .parquet (the same, or 1 for SUPPORTS and 0 for REFUTES); or a folder with such files. The files of the shared "
        "task's test have no labels."
    ),
    hub="EleutherAI/fever@refs/convert/parquet",
    files={part: f"v1.0/{part}/0000.parquet" for part in ("paper_dev", "paper_test")},
    taken=(("paper_dev", "paper_test"), ("shared_task_dev",), ("dev",), ("validation",), ("train",)),
    folders=("fever",),
)
FEVER_TEMPLATE = "Consider the following claim: " + closed("claim") + " Is this claim true or false. The claim is" + ANSWER
#: Index into TRUTH, or None for a claim that cannot be decided. The numbers are those of EleutherAI/fever.
_VERDICTS = {"supports": 0, "true": 0, "1": 0, "refutes": 1, "false": 1, "0": 1, "not enough info": None}

TRUTHFULQA_SAYS = "TruthfulQA (Lin et al. 2022): each of its answers by itself, true or false."
TRUTHFULQA = TaskSource(
    task="truthfulqa",
    accepts=(
        "truthfulqa reads TruthfulQA.csv (Question, Correct Answers, Incorrect Answers, each separated by semicolons), .jsonl or .parquet "
        "with question, correct_answers and incorrect_answers, and the multiple-choice layout with question and mc2_targets; or a folder "
        "with such a file."
    ),
    hub="truthfulqa/truthful_qa",
    files={"validation": "multiple_choice/validation-00000-of-00001.parquet"},
    taken=(("truthfulqa",), ("mc_task",), ("validation",)),
    folders=("truthfulqa", "truthful_qa"),
)
_STATEMENT = "{{ question }} " + closed("candidate")
TRUTHFULQA_TEMPLATE = _STATEMENT + " Is this statement true or false. This statement is" + ANSWER
TRUTHFULQA_OFFICIAL = _STATEMENT + " Is this statement true or false? This statement is" + ANSWER

RELATIONS = ("entailment", "non-entailment")
EPISTEMIC_SAYS = "BIG-bench's epistemic_reasoning (Srivastava et al. 2022): does what one person knows entail what another does?"
EPISTEMIC = TaskSource(
    task="epistemic",
    accepts=(
        "epistemic reads BIG-bench's epistemic_reasoning (task.json: examples with input, 'Premise: … Hypothesis: …', and target_scores; "
        "the Hub's .parquet: inputs and targets; .jsonl of either); or a folder with such a file."
    ),
    hub="tasksource/bigbench",
    files={part: f"epistemic_reasoning/{part}-00000-of-00001.parquet" for part in ("validation", "train")},
    taken=(("task",), ("validation", "train")),
    folders=("epistemic_reasoning", "bigbench_epistemic_reasoning", "epistemic"),
)
#: BIG-bench's own words around an input (task_prefix, example_input_prefix, example_output_prefix).
EPISTEMIC_TEMPLATE = (
    "Identify the relation between the following premises and hypotheses, choosing from the options 'entailment' or 'non-entailment'.\n\n"
    "Premise: {{ premise }} Hypothesis: {{ hypothesis }}\nRelation:"
) + ANSWER
_PAIR = re.compile(r"Premise: (.+?) Hypothesis: (.+?)\s*(?:Relation:)?\s*\Z", re.DOTALL)
_ATTITUDES = re.compile(r"(?:[A-Z]\w* \w+s that )+")


def load_fever(data: Paths | None = None, split_by: str | None = None) -> Task:
    """FEVER's claims that are supported or refuted.

    Parameters
    ----------
    data : files, or a folder of them (FEVER.accepts says which); None: the Hub, paper_dev and paper_test
    split_by : what a group is: "page" (default), the claims whose evidence begins on one article, or "claim"

    Claims that cannot be decided are left out, and so are those that stand there with both labels; of a claim's copies the first is kept.
    Fields: `claim`. Choices: "true", "false". Tag: the right one. Ids: FEVER's. Raises UnknownName, and BadTask with file and line.

    Source: METHODS.md, section 3 (LASER); Sharma et al. 2024, appendix E. Differs from the source in: our splits, by article.
    """
    by_page = check_split_by("fever", split_by, ("page", "claim")) == "page"
    records = list(FEVER.records(data))
    labels: dict[str, set[str]] = {}
    for record in records:
        labels.setdefault(str(record.values.get("claim")).strip(), set()).add(str(record.values.get("label")))
    seen: set[str] = set()

    def make(record: Placed) -> Iterator[Example]:
        claim, verdict = text_of(record.values, "claim"), _verdict(record.values)
        # On the Hub a claim has a row for each piece of evidence.
        if verdict is None or len(labels[claim]) > 1 or claim in seen:
            return
        seen.add(claim)
        name = field_of(record.values, "id", (int, str)) if "id" in record.values else record.place
        page = _page(record.values) if by_page else None
        yield Example(
            fields={"claim": claim},
            choices=TRUTH,
            gold=verdict,
            id=f"fever/{name}",
            group=f"fever/{words_hash(page or claim)}",
            tags=TRUTH[verdict],
        )

    examples, less = FEVER.examples(records, make, "that cannot be decided, stand there with both labels, or stood there before")
    return _task("fever", examples, FEVER_TEMPLATE, FEVER_SAYS + less)


def load_truthfulqa(data: Paths | None = None, split_by: str | None = None) -> Task:
    """TruthfulQA, each answer judged by itself; the answers of one question are a group.

    Parameters
    ----------
    data : a file, or a folder with one (TRUTHFULQA.accepts says which); None: the Hub, the multiple-choice layout
    split_by : None or "question"

    Fields: `question`, `candidate` (the answer that is judged). Choices: "true", "false". Tag: the right one. Ids: the question's position
    and the answer's, right ones first where they come in two lists. Raises UnknownName, and BadTask with file and line.

    Source: METHODS.md, section 3 (LASER); Sharma et al. 2024, appendix E. Differs from the source in: our splits, by question; a full stop
    is not added to an answer that ends in a question mark.
    """
    check_split_by("truthfulqa", split_by, ("question",))

    def make(record: Placed) -> Iterator[Example]:
        question = text_of(record.values, "Question" if "Question" in record.values else "question")
        for number, (candidate, right) in enumerate(_candidates(record.values)):
            yield Example(
                fields={"question": question, "candidate": candidate},
                choices=TRUTH,
                gold="true" if right else "false",
                id=f"truthfulqa/{record.place}/{number}",
                group=f"truthfulqa/{words_hash(question)}",
                tags="true" if right else "false",
            )

    examples, _ = TRUTHFULQA.examples(TRUTHFULQA.records(data), make, "without an answer")
    return _task("truthfulqa", examples, TRUTHFULQA_TEMPLATE, TRUTHFULQA_SAYS, official=TRUTHFULQA_OFFICIAL)


def load_epistemic(data: Paths | None = None, split_by: str | None = None) -> Task:
    """BIG-bench's epistemic_reasoning, worded as BIG-bench words it.

    Parameters
    ----------
    data : a file, or a folder with one (EPISTEMIC.accepts says which); None: the Hub, validation and train
    split_by : what a group is: "story" (default), the pairs whose premise is about one thing, whoever knows or believes it, or "example"

    Fields: `premise`, `hypothesis`. Choices: "entailment", "non-entailment". Tag: the right one. Ids: the position.
    Raises UnknownName, and BadTask with file and place.

    Source: METHODS.md, section 3 (LASER); Sharma et al. 2024, appendix E; the words around an input are those of BIG-bench's task.json,
    which LASER's copy of the data has in its texts. Differs from the source in: nothing but our splits.
    """
    by_story = check_split_by("epistemic", split_by, ("story", "example")) == "story"

    def make(record: Placed) -> Iterator[Example]:
        found = _PAIR.search(text_of(record.values, "inputs" if "inputs" in record.values else "input"))
        if not found:
            raise BadTask("the input is not of the form 'Premise: … Hypothesis: …'.")
        premise, hypothesis = found.groups()
        relation = _relation(record.values)
        yield Example(
            fields={"premise": premise, "hypothesis": hypothesis},
            choices=RELATIONS,
            gold=relation,
            id=f"epistemic/{record.place}",
            group=f"epistemic/{words_hash(_ATTITUDES.sub('', premise, count=1))}" if by_story else None,
            tags=relation,
        )

    examples, _ = EPISTEMIC.examples(EPISTEMIC.records(data), make, "without a relation")
    return _task("epistemic", examples, EPISTEMIC_TEMPLATE, EPISTEMIC_SAYS)


def _task(name: str, examples: Any, template: str, description: str, official: str | None = None) -> Task:
    return Task(
        name=name,
        examples=examples,
        instructions=("",),
        template=template,
        description=description,
        official_template=official or template,
    )


def _verdict(values: Mapping[str, Any]) -> int | None:
    if values.get("label", "") in ("", None, -1) and "claim" in values:
        raise BadTask("there is no label: FEVER hides those of the shared task's test. Take paper_dev, paper_test or train.")
    label = field_of(values, "label", (int, str))
    key = str(label).strip().lower().replace("_", " ")
    if key not in _VERDICTS:
        raise BadTask(f"the label is {label!r}.")
    return _VERDICTS[key]


def _page(values: Mapping[str, Any]) -> str | None:
    """The article on which the evidence begins; None where the record does not say."""
    found = values.get("evidence_wiki_url") or values.get("evidence")
    # Published: sets of [annotation, evidence, page, sentence].
    while isinstance(found, list) and found and isinstance(found[0], list):
        found = found[0]
    page = found[2] if isinstance(found, list) and len(found) > 2 else found
    return page.strip() if isinstance(page, str) and page.strip() else None


def _candidates(values: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Each answer, and whether it is right."""
    if "mc2_targets" in values:
        targets = field_of(values, "mc2_targets", dict)
        pairs = list(targets.items())
        if set(targets) == {"choices", "labels"}:
            choices, labels = field_of(targets, "choices", list), field_of(targets, "labels", list)
            if len(choices) != len(labels):
                raise BadTask(f"mc2_targets has {len(choices)} choices and {len(labels)} labels; as many of each are wanted.")
            pairs = list(zip(choices, labels, strict=True))
        if any(label not in (0, 1) for _, label in pairs):
            raise BadTask(f"the labels of mc2_targets are {[label for _, label in pairs]!r}; each is 0 or 1.")
        found = [(candidate, label == 1) for candidate, label in pairs]
    elif "Correct Answers" in values:
        columns = (("Correct Answers", True), ("Incorrect Answers", False))
        split = [(text, right) for name, right in columns for text in field_of(values, name, str).split(";")]
        found = [(text, right) for text, right in split if text.strip()]
    else:
        lists = (("correct_answers", True), ("incorrect_answers", False))
        found = [(text, right) for name, right in lists for text in field_of(values, name, list)]
    if not found or not all(isinstance(text, str) and text.strip() for text, _ in found):
        raise BadTask(f"the answers are {[text for text, _ in found]!r}; texts that are not empty are wanted.")
    return [(text.strip(), right) for text, right in found]


def _relation(values: Mapping[str, Any]) -> str:
    if "targets" in values:
        right = field_of(values, "targets", list)
    else:
        scores = field_of(values, "target_scores", dict)
        right = [name for name, score in scores.items() if score == 1]
    if len(right) != 1 or right[0] not in RELATIONS:
        raise BadTask(f"the right relations are {right!r}; one of {', '.join(RELATIONS)} is wanted.")
    return str(right[0])
