"""The data side of `variant="official"`: the prompt and the split of the CRISPR authors' code (yny0506/BiasNeuron at 27f93d1).

Their dev split both locates the neurons and chooses how many are cut: the one exception to disjoint splits here, so that their numbers can
be reproduced. Knows no model.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from resect.data.tasks.task import Example, Task

#: Seed of their split, seed of their draw of examples, and the share of the data that is dev.
SPLIT_SEED, DRAW_SEED, DEV_SHARE = 0, 2026, 0.1


def has_authors_task(task: Task) -> bool:
    """Whether the authors' prompt and split exist for this task: for built-in tasks only; a task of one's own keeps its own."""
    return task.official_template is not None


def official_task(task: Task) -> Task:
    """A built-in task with the authors' prompt and split: dev is *select*, the rest *test*. Another task, or a prepared one, is unchanged.

    Their split separates examples of one story. Here the part of a story that is in dev counts as a group of its own, so that intervals on
    *test* still resample whole stories.
    """
    if task.official_template is None or task.is_in_authors_split:
        return task
    total = len(task.examples)
    dev = set(np.random.RandomState(SPLIT_SEED).choice(total, int(DEV_SHARE * total), replace=False).tolist())
    examples = tuple(
        replace(example, split="select", group=f"{example.group} (dev)") if index in dev else replace(example, split="test")
        for index, example in enumerate(task.examples)
    )
    return replace(task, examples=examples, template=task.official_template)


def official_draw(dev: Sequence[Example], samples: int, seed: int) -> tuple[Example, ...]:
    """The authors' draw: `samples` examples of dev by numpy's RandomState(2026 + seed), in the order of the data."""
    chosen = np.random.RandomState(DRAW_SEED + seed).choice(len(dev), samples, replace=False)
    return tuple(dev[index] for index in sorted(chosen.tolist()))
