"""Studies of tiny models: a task with choices, a task of facts in free text, and a plan that reduces something."""

import torch

import pico
from resect.data.tasks.task import Example, Task
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd_cache import SvdCache
from resect.methods.analyses.study import Study
from resect.methods.laser.laser import feed_forward_matrices
from resect.models.language_model import LanguageModel

RHOS = (0.2, 0.9, 0.01)


def model_of(name="llama", seed=0, dtype=torch.float64):
    return LanguageModel.of(pico.build(name, seed, dtype), pico.tokenizer(name), name=name, batch_size=32)


def choices_task(groups=24, instructions=("",)):
    choices = ("a", "b", "c")
    rows = [Example({"text": f"item {n * 37 % 101}" + " more" * (n % 3)}, choices, n * 7 % 3, group=str(n)) for n in range(groups)]
    return Task("choices", rows, instructions, "{{ instruction }} {{ text }}: {{ answer }}")


def facts_task(answers=("a", "b", "c"), groups=24, wordings=2, metric="top5"):
    """Facts of a letter each, told in several wordings."""
    rows = []
    for n in range(groups):
        fields = {"subject": f"City {n}", "fact": f"City {n}: {answers[n % len(answers)]}"}
        for wording in range(wordings):
            tags = ("paraphrase",) if wording else ()
            prompt = f"{'It is said that ' * wording}City {n} is"
            rows.append(Example({**fields, "prompt": prompt}, (), answers[n % len(answers)], id=f"{n}/{wording}", group=str(n), tags=tags))
    return Task("facts", rows, ("",), "{{ prompt }}{{ answer }}", metric=metric, answer_tokens=1, matching="contains")


def study_of(model=None, task=None, plan=None, **settings):
    model = model or model_of()
    anatomy = model.anatomy
    sites = settings.pop("sites", feed_forward_matrices(anatomy))
    plan = Plan((ReduceRank(sites[-1], 0.2),)) if plan is None else plan
    task = choices_task() if task is None else task
    base = {"metric": task.metric, "factors": SvdCache(anatomy), "sites": sites, "rhos": RHOS, "texts": ("some plain text to read",)}
    return Study(model=model, plan=plan, task=task, **(base | settings))


class Kill(Exception):
    """Stands for a kill."""


class Dying:
    """A journal that dies once it has kept so many entries."""

    def __init__(self, entries, left):
        self.entries, self.left = entries, left

    def recall(self, key):
        return self.entries.get(key)

    def keep(self, key, entry):
        if self.left == 0:
            raise Kill
        self.left -= 1
        self.entries[key] = entry
