"""What a job would do, before any of it is done: what the model cannot do, and about how long it takes. Stores nothing, prints nothing."""

from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

from .inputs import model_of
from .run import open_job


def describe(recipe: Recipe) -> list[str]:
    """Sentences for people; the model is loaded, and a batch is timed. Raises what preparing the job raises."""
    method, evaluation = open_job(recipe)
    model = model_of(recipe)
    inputs = evaluation.prepare(model)
    repetitions = max(1, len(recipe.settings.repetitions()))
    compared, seconds_per_answer = evaluation.forecast(repetitions)
    searched = method.forecast(model, inputs, seconds_per_answer)
    anatomy = model.anatomy
    return [
        f"Model: {model.name}, {model.kind}, family {anatomy.family}, {anatomy.neurons:,} neurons at {len(anatomy.sites)} sites.",
        *searched.sentences,
        *compared.sentences,
        *anatomy.cannot,
        f"This takes about {_duration(searched.seconds * repetitions + compared.seconds)} on {model.forward.device}.",
        f"{_folder(recipe)} Nothing was done yet.",
    ]


def _folder(recipe: Recipe) -> str:
    """Where results will go, and what prevents it."""
    if not Run.is_run(recipe.folder):
        return f"Results go to {recipe.folder}."
    run = Run.load(recipe.folder)
    other = run.recipe.differs(recipe)
    if other:
        return f"{recipe.folder} was made with other settings ({', '.join(other)}) and will be refused: --output or --fresh."
    return f"{recipe.folder} is {'finished' if run.is_finished else 'begun'} already: finished work will be read, not done again."


def _duration(seconds: float) -> str:
    if seconds < 90:
        return "a second" if seconds < 1.5 else f"{round(seconds)} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
