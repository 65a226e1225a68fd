"""What a job would do, before any of it is done: what the model cannot do, and about how long it takes. Keeps nothing, prints nothing."""

import time

from .calibration import KINDS, asks
from .inputs import beside_of, text_name
from .questions import Questions
from .recipe import Recipe
from .run import CONTROL_DRAWS, method_of, prepare
from .store import Run

#: What one example costs with its gradients, in passes of one example without: two rows, forward and backward, kept for all layers.
GRADIENT_COST = 8
#: What one generated answer costs, in answers by scoring.
GENERATION_COST = 4
#: Examples of the batch that is timed.
TIMED = 8


def describe(recipe: Recipe) -> list[str]:
    """Sentences for people; the model is loaded, and one batch is timed. Raises what `prepare` raises."""
    method = method_of(recipe)
    model, task = prepare(recipe, method)
    asks = method.asks(model)
    located, select, test = len(method.draw(task)), task.split("select") if asks else (), task.split("test")
    wordings = len(task.instructions)
    by_trial = located * GRADIENT_COST + asks * len(select) + (1 + CONTROL_DRAWS) * len(test)
    beside, asked_beside = _beside(recipe, Questions(model, task, test))
    answers = wordings * (recipe.trials * by_trial + len(test) + asked_beside)
    anatomy = model.anatomy
    return [
        f"Model: {model.name}, {model.kind}, family {anatomy.family}, {anatomy.neurons:,} neurons at {len(anatomy.sites)} sites.",
        f"Task: {task.name}, {len(task.examples)} examples under {wordings} instructions: {len(select)} to select, {len(test)} to test.",
        f"Find neurons at {len(method.sites_of(model))} sites with {located} examples; then ask about {asks} cuts on the select split.",
        f"Compare on the test split: as it is, cut, and {CONTROL_DRAWS} random cuts of the same size.",
        *beside,
        *anatomy.cannot,
        f"This takes about {_duration(answers * _seconds_an_answer(Questions(model, task, test[:TIMED])))} on {model.forward.device}.",
        f"{_folder(recipe)} Nothing was done yet.",
    ]


def _beside(recipe: Recipe, questions: Questions) -> tuple[list[str], int]:
    """What is measured beside the comparison, in a sentence, and the answers under each instruction that it takes."""
    beside, plans = beside_of(recipe), 1 + recipe.trials
    without = {kind: asks(questions, kind) for kind in beside.calibrate}
    kinds = [f"{KINDS[kind]} ({number:,} questions without content)" for kind, number in without.items()]
    parts = [*kinds, *(["generated text"] if recipe.generation else []), f"perplexity on {text_name(recipe.text)}", *recipe.beside]
    calibrated = sum(number * (recipe.trials if kind == "dc" else 1) for kind, number in without.items())  # DC draws anew in each trial
    generated = GENERATION_COST * plans * len(questions.examples) * beside.generation
    asked = calibrated + generated + sum(plans * len(task.split("test")) for task in beside.tasks)
    return [f"Beside that: {', '.join(parts)}."], asked


def _folder(recipe: Recipe) -> str:
    """Where results will go, and what stands in the way."""
    if not Run.is_run(recipe.folder):
        return f"Results go to {recipe.folder}."
    held = Run.load(recipe.folder)
    other = held.recipe.differs(recipe)
    if other:
        return f"{recipe.folder} was made with other settings ({', '.join(other)}) and will be refused: --output or --fresh."
    return f"{recipe.folder} is {'finished' if held.is_finished else 'begun'} already: what is done there will be read, not done again."


def _seconds_an_answer(questions: Questions) -> float:
    questions.logprobs(0)  # the first pass warms up
    start = time.monotonic()
    questions.logprobs(0)
    return (time.monotonic() - start) / len(questions.examples)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
