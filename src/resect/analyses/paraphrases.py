"""Facts that are answered rightly in every one of their wordings, before and after the plan, on *test*.

Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), section 5.1, robustness to paraphrases.
"""

from typing import Any

from ..errors import InputError
from ..evaluation import compare
from .study import Study


def paraphrases(study: Study) -> dict[str, Any]:
    """The share of such facts, their paired difference, how many facts there are, and how many wordings each has on average.

    Raises InputError where the *test* split has no paraphrases, NotFinite, OutOfMemory, PromptTooLong.
    """
    if study.task is None:
        raise InputError("This run has no task, so that there are no paraphrases.")
    told: dict[str, Any] = {"seed": study.seed, "journal": study.journal, "progress": study.progress}
    compared = compare(study.model, study.plan, study.task, metric=study.right_by, **told)
    found = compared.comparison.other_metrics.get("paraphrases")
    if found is None:
        raise InputError(
            "The test split has no paraphrases: examples that share a group and the field `fact`, one of them with the tag paraphrase."
        )
    return {**found, "metric": study.right_by, "split": "test"}
