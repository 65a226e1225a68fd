"""The analyses that any method with a task or a text may offer, in the order in which they run, the quickest first."""

from resect.data.tasks.task import Task
from resect.evaluation.compare import PARAPHRASE

from .analysis import Analyses, Analysis
from .exhibits import describe_frequency, describe_paraphrases, describe_perplexity, describe_temperature
from .frequency import ENTITY, frequency
from .paraphrases import paraphrases
from .perplexity import perplexity
from .temperature import temperature


def _lacks_paraphrases(task: Task) -> str | None:
    if any(PARAPHRASE in example.tags and "fact" in example.fields for example in task.examples):
        return None
    return f"needs facts in several wordings (the tag {PARAPHRASE!r}, the field 'fact'), which the task {task.name!r} lacks."


def _lacks_entities(task: Task) -> str | None:
    if any(isinstance(example.fields.get(ENTITY), str) for example in task.examples):
        return None
    return f"needs examples with the field {ENTITY!r}, which those of the task {task.name!r} lack."


GENERAL: Analyses = {
    "perplexity": Analysis(
        perplexity,
        "Perplexity of plain text with a sliding window, before and after.",
        "Perplexity of plain text",
        describe_perplexity,
        needs_task=False,
    ),
    "temperature": Analysis(
        temperature,
        "The temperature that repairs the calibration, before and after.",
        "Calibration by temperature",
        describe_temperature,
        needs_choices=True,
    ),
    "paraphrases": Analysis(
        paraphrases,
        "Facts that are right in all of their wordings, before and after.",
        "Right in every paraphrase",
        describe_paraphrases,
        lacks=_lacks_paraphrases,
    ),
    "frequency": Analysis(
        frequency,
        "Accuracy by how often a fact occurs in a corpus (--counts or --corpus), before and after.",
        "Accuracy by frequency of the fact",
        describe_frequency,
        options=("counts", "corpus"),
        lacks=_lacks_entities,
    ),
}
