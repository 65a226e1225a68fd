"""Facts that are answered correctly in each of their wordings, before and after the plan, on *test*.

Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), section 5.1, robustness to paraphrases.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from resect.core.errors import InputError
from resect.data.tasks.task import Example
from resect.evaluation.compare import PARAPHRASE, compare
from resect.evaluation.metrics import all_correct

from .study import Study


def paraphrases(study: Study) -> dict[str, Any]:
    """Returns the share of such facts, its paired difference, the number of facts, and the mean number of wordings of a fact.

    `already_right`: the same shares among the facts whose own wording the unedited model answers correctly, to which the paper's 24.8
    points refer. Raises InputError where the *test* split has no paraphrases, NotFinite, OutOfMemory, PromptTooLong.
    """
    if study.task is None:
        raise InputError("This run has no task, so that there are no paraphrases.")
    compared = compare(study.model, study.plan, study.task, metric=study.right_by, seed=study.seed, workers=study.workers)
    shares = compared.comparison.other_metrics.get("paraphrases")
    if shares is None:
        raise InputError(
            "The test split has no paraphrases: examples that share a group and the field `fact`, one of them with the tag paraphrase."
        )
    among = already_right(compared.questions.examples, compared.base.values, compared.edited.values)
    return {**shares, "already_right": among, "metric": study.right_by, "split": "test"}


def already_right(
    examples: Sequence[Example],
    base: Float64[np.ndarray, "examples instructions"],
    edited: Float64[np.ndarray, "examples instructions"],
) -> dict[str, Any]:
    """Returns how many facts (× instructions) with paraphrases are right in their own wording before, and the shares right in all."""
    known = {example.group for example in examples if PARAPHRASE in example.tags and "fact" in example.fields}
    rows = [place for place, example in enumerate(examples) if example.group in known and "fact" in example.fields]
    groups = [str(examples[place].group) for place in rows]
    is_paraphrase = np.array([PARAPHRASE in examples[place].tags for place in rows])[:, None]
    own = all_correct(np.where(is_paraphrase, 1.0, base[rows]), groups) == 1
    shares = [all_correct(values[rows], groups)[own] for values in (base, edited)]
    before, after = (float(share.mean()) if own.any() else None for share in shares)
    return {"n": int(own.sum()), "base": before, "edited": after}
