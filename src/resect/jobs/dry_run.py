"""Describes a job before it runs: what it would do, what the model cannot do, about how long it takes. Stores and prints nothing."""

from resect.runs.chat_settings import reading_sentences
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

from .inputs import model_of
from .run import open_job


def describe(recipe: Recipe) -> list[str]:
    """Returns sentences for the user; the model is loaded, and a batch is timed. Raises what preparing the job raises."""
    method, evaluation = open_job(recipe)
    model = model_of(recipe)
    inputs = evaluation.prepare(model)
    repetitions = max(1, len(recipe.settings.repetitions()))
    comparison, seconds_per_answer = evaluation.forecast(repetitions)
    search = method.forecast(model, inputs, seconds_per_answer)
    anatomy = model.anatomy
    return [
        f"Model: {model.name}, {model.kind}, family {anatomy.family}, {anatomy.neurons:,} neurons at {len(anatomy.sites)} sites.",
        *search.sentences,
        *comparison.sentences,
        *anatomy.not_covered,
        *reading_sentences(recipe.values),
        *model.notes,
        *evaluation.objections(),
        f"This takes about {_duration(search.seconds * repetitions + comparison.seconds)} on {model.forward.device}.",
        f"{_folder_state(recipe)} Nothing was done yet.",
    ]


def _folder_state(recipe: Recipe) -> str:
    """Returns a sentence that says where the results would go, and what prevents it."""
    if not Run.is_run(recipe.folder):
        return f"Results go to {recipe.folder}."
    run = Run.load(recipe.folder)
    differing = run.recipe.differs(recipe)
    if differing:
        return f"{recipe.folder} holds a run of other settings ({', '.join(differing)}) and would be refused: give --output or --fresh."
    state = "is finished" if run.is_finished else "was started"
    return f"{recipe.folder} {state} already: finished work is read, not computed again."


def _duration(seconds: float) -> str:
    if seconds < 90:
        return "a second" if seconds < 1.5 else f"{round(seconds)} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
