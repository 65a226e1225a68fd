"""FEVER (Thorne et al. 2018, arXiv:1803.05355): claims to be judged true or false, as LASER evaluates them. Knows no model."""

from collections.abc import Iterator, Mapping
from typing import Any

from resect.core.errors import BadTask
from resect.data.records import Paths, Record, field_of, text_of

from .benchmark_source import BenchmarkSource, check_split_by, words_hash
from .task import Example, Task
from .templates import ANSWER, with_end_mark

SUMMARY = "FEVER (Thorne et al. 2018): claims on what Wikipedia says, true or false."
SOURCE = BenchmarkSource(
    task="fever",
    accepts=(
        "fever reads the published files (paper_dev.jsonl, paper_test.jsonl: claim, and label SUPPORTS, REFUTES or NOT ENOUGH INFO) and "
        "the Hub's .parquet (the same, or 1 for SUPPORTS and 0 for REFUTES); or a folder with such files. The files of the shared "
        "task's test have no labels."
    ),
    hub_id="EleutherAI/fever@refs/convert/parquet",
    hub_files={part: f"v1.0/{part}/0000.parquet" for part in ("paper_dev", "paper_test")},
    file_names=(("paper_dev", "paper_test"), ("shared_task_dev",), ("dev",), ("validation",), ("train",)),
    folder_names=("fever",),
)
CHOICES = ("true", "false")
TEMPLATE = "Consider the following claim: " + with_end_mark("claim") + " Is this claim true or false. The claim is" + ANSWER
#: Index into CHOICES, or None for a claim that cannot be decided. The numbers are those of EleutherAI/fever.
_VERDICTS = {"supports": 0, "true": 0, "1": 0, "refutes": 1, "false": 1, "0": 1, "not enough info": None}


def load_fever(data: Paths | None = None, split_by: str | None = None) -> Task:
    """Returns FEVER's claims that are supported or refuted.

    Parameters
    ----------
    data : files, or a folder of them (SOURCE.accepts describes them); None: the Hub, paper_dev and paper_test
    split_by : what a group is: "page" (default), the claims whose evidence begins on one article, or "claim"

    Claims that cannot be decided and claims with both labels are left out; of a claim's copies the first is kept.
    Fields: `claim`. Choices: "true", "false". Tag: the right one. Ids: FEVER's. Raises UnknownName, and BadTask with file and line.

    Source: Sharma et al. 2024, appendix E. Differs from the source in: our splits, by article.
    """
    by_page = check_split_by("fever", split_by, ("page", "claim")) == "page"
    records = list(SOURCE.records(data))
    labels: dict[str, set[str]] = {}
    for record in records:
        labels.setdefault(str(record.values.get("claim")).strip(), set()).add(str(record.values.get("label")))
    seen: set[str] = set()

    def make_examples(record: Record) -> Iterator[Example]:
        claim, verdict = text_of(record.values, "claim"), _verdict(record.values)
        # On the Hub a claim has a row for each piece of evidence.
        if verdict is None or len(labels[claim]) > 1 or claim in seen:
            return
        seen.add(claim)
        name = field_of(record.values, "id", (int, str)) if "id" in record.values else record.key
        page = _page(record.values) if by_page else None
        yield Example(
            fields={"claim": claim},
            choices=CHOICES,
            gold=verdict,
            id=f"fever/{name}",
            group=f"fever/{words_hash(page or claim)}",
            tags=CHOICES[verdict],
        )

    examples, left_out = SOURCE.examples(records, make_examples, "that cannot be decided, have both labels, or are repeated")
    return Task(
        name="fever",
        examples=examples,
        instructions=("",),
        template=TEMPLATE,
        description=SUMMARY + left_out,
        official_template=TEMPLATE,
    )


TASKS = {"fever": (SUMMARY, load_fever)}


def _verdict(values: Mapping[str, Any]) -> int | None:
    if values.get("label", "") in ("", None, -1) and "claim" in values:
        raise BadTask("there is no label: FEVER hides those of the shared task's test. Take paper_dev, paper_test or train.")
    label = field_of(values, "label", (int, str))
    key = str(label).strip().lower().replace("_", " ")
    if key not in _VERDICTS:
        raise BadTask(f"the label is {label!r}.")
    return _VERDICTS[key]


def _page(values: Mapping[str, Any]) -> str | None:
    """Returns the article on which the evidence begins; None where the record does not say."""
    evidence = values.get("evidence_wiki_url") or values.get("evidence")
    # Published: sets of [annotation, evidence, page, sentence].
    while isinstance(evidence, list) and evidence and isinstance(evidence[0], list):
        evidence = evidence[0]
    page = evidence[2] if isinstance(evidence, list) and len(evidence) > 2 else evidence
    return page.strip() if isinstance(page, str) and page.strip() else None
