"""What a job would do, before any of it is done: what the model cannot do, and about how long it takes. Keeps nothing, prints nothing."""

import time
from collections.abc import Callable, Sequence
from itertools import islice

from resect.core.address import Site
from resect.core.number_format import plural as plural
from resect.data.tasks.base import Task
from resect.edits.svd import Decomposition
from resect.evaluation.calibration import KINDS, content_free_count
from resect.evaluation.deactivation import HeldOutText, losses
from resect.evaluation.questions import Questions
from resect.evaluation.text_passages import Passages
from resect.methods.crispr.crispr import Crispr
from resect.methods.lape.activation_counter import count
from resect.methods.laser.denoising import Denoising
from resect.methods.laser.laser import Laser
from resect.models.language_model import LanguageModel
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

from .denoising_job import most_passages
from .inputs import model_of, side_effects_of, task_of, text_name, texts_of
from .language_inputs import LanguageText, language_inputs
from .language_job import lape_of
from .language_job import prepare as prepare_languages
from .run import method_of, metric_of, prepare
from .session import CONTROL_DRAWS

#: What one example costs with its gradients, in passes of one example without: two rows, forward and backward, kept for all layers.
GRADIENT_COST = 8
#: What one generated answer costs, in answers by scoring.
GENERATION_COST = 4
#: What a candidate of a sweep costs, in full passes: half by the layers that are not run again, half by being given up.
ASKED_SHARE = 0.3
#: Examples of the batch that is timed.
TIMED = 8
#: Documents from which the length of a text is guessed.
BEGINNING = 300


def describe(recipe: Recipe) -> list[str]:
    """Sentences for people; the model is loaded, and one batch is timed. Raises what preparing the job raises."""
    if recipe.method == "lape":
        return _languages(recipe)
    if recipe.task_free:
        return _task_free(recipe)
    method = method_of(recipe)
    task = method.asked(task_of(recipe))
    model = prepare(recipe, method, task)
    test, wordings = task.split("test"), len(task.instructions)
    searched, by_trial, extra = _crispr(method, model, task) if isinstance(method, Crispr) else _laser(method, model, task)
    by_trial += (1 + CONTROL_DRAWS) * len(test)
    metric = metric_of(method, task)
    beside, asked_beside = _beside(recipe, Questions(model, task, test, metric))
    answers = wordings * (recipe.trials * by_trial + len(test) + asked_beside)
    seconds = answers * _seconds_an_answer(Questions(model, task, test[:TIMED], metric)) + extra
    anatomy = model.anatomy
    return [
        f"Model: {model.name}, {model.kind}, family {anatomy.family}, {anatomy.neurons:,} neurons at {len(anatomy.sites)} sites.",
        f"Task: {task.name}, {len(task.examples)} examples under {wordings} instructions: {len(test)} to test.",
        searched,
        f"Compare on the test split: as it is, edited, and {CONTROL_DRAWS} random edits of the same size.",
        *beside,
        *anatomy.cannot,
        f"This takes about {_duration(seconds)} on {model.forward.device}.",
        f"{_folder(recipe)} Nothing was done yet.",
    ]


def _task_free(recipe: Recipe) -> list[str]:
    """The same of a job without a task, of which nothing is timed but a decomposition."""
    model, method = model_of(recipe), Denoising(recipe.sites, recipe.rise)
    sites, passages = method.sites_of(model), Passages(model, texts_of(recipe.text), 0, 2, most_passages(model))
    start = time.monotonic()
    passages.losses()
    seconds = _decomposing(model, sites) + (len(sites) + 4) * (time.monotonic() - start)
    anatomy = model.anatomy
    return [
        f"Model: {model.name}, {model.kind}, family {anatomy.family}, {anatomy.neurons:,} neurons at {len(anatomy.sites)} sites.",
        f"Text: {text_name(recipe.text)}; {passages.pairs} passages ({passages.tokens:,} tokens) to accept by, as many to report on.",
        f"Reduce {len(sites)} matrices to the edge of noise, one after the other, while the perplexity rises by {recipe.rise:.1%} at most.",
        *anatomy.cannot,
        f"This takes about {_duration(seconds)} on {model.forward.device}.",
        f"{_folder(recipe)} Nothing was done yet.",
    ]


def _languages(recipe: Recipe) -> list[str]:
    """The same of a job on languages: one batch is counted and read, and the texts' lengths are guessed from their beginnings."""
    model, given = model_of(recipe), language_inputs(recipe)
    method = lape_of(recipe)
    anatomy, window = model.anatomy, prepare_languages(recipe, method, given, model)
    sites, number = method.sites_of(model), len(given.languages)
    lengths = {name: _length(model, text, recipe.corpus_tokens) for name, text in given.counted.items()}
    seconds, told = 0.0, []
    if given.counted:
        name, text = next(iter(given.counted.items()))
        sample = HeldOutText.of(model, name, text, window, TIMED * window)
        counted, unknown = sum(length or 0 for length in lengths.values()), [name for name, length in lengths.items() if length is None]
        seconds += counted * _seconds_of(lambda: count(model, sample.windows, TIMED)) / sample.windows.size
        told.append(
            f"Count activations at {len(sites)} layers over about {counted:,} tokens of {', '.join(lengths)}, in windows of "
            f"{window:,}" + (f" (how much there is of {', '.join(unknown)} is not known, and not counted here)." if unknown else ".")
        )
    if not recipe.record_only:
        held = {name: HeldOutText.of(model, name, given.held[name], window, recipe.valid_tokens) for name in given.languages}
        some = next(iter(held.values())).windows[:TIMED]
        tokens, passes = sum(each.windows.size for each in held.values()), 1 + number * (1 + recipe.draws)
        seconds += passes * tokens * _seconds_of(lambda: losses(model, some)) / some.size
        told.append(f"Choose {100 * method.fraction:g} % of {sum(map(anatomy.width, sites)):,} units.")
        told.append(
            f"Read {tokens:,} held-out tokens {passes} times: with the model as it is, with each language's units off, and with "
            f"{plural(recipe.draws, 'draws')} of random units for each."
        )
    if given.questions:
        asked = sum(map(len, given.questions.values()))
        told.append(f"Answer {asked} open questions {2 + number} times, in up to {recipe.new_tokens} tokens each (not in the time below).")
    if recipe.purity:
        told.append("Identify the language of every document: some hundred a second (not in the time below).")
    return [
        f"Model: {model.name}, {model.kind}, family {anatomy.family}.",
        *told,
        *anatomy.cannot,
        f"This takes about {_duration(seconds)} on {model.forward.device}.",
        f"{_folder(recipe)} Nothing was done yet.",
    ]


def _length(model: LanguageModel, text: LanguageText, most: int | None) -> int | None:
    """About how many tokens of a text are counted, from its beginning; None where nobody knows how long it is."""
    tokens, share = 0, None
    for document in islice(text, BEGINNING):
        tokens += len(model.encoder.document_ids([document])[0])
        share = text.share()
    whole = round(tokens / share) if share else None
    return most if whole is None else min(whole, most or whole)


def _seconds_of(work: Callable[[], object]) -> float:
    work()  # the first time warms up
    start = time.monotonic()
    work()
    return time.monotonic() - start


def _crispr(method: Crispr, model: LanguageModel, task: Task) -> tuple[str, float, float]:
    """What CRISPR would search, the answers under each instruction that it takes, and seconds beyond these."""
    asks = method.asks(model)
    located, select = len(method.draw(task)), task.split("select") if asks else ()
    told = (
        f"Find neurons at {len(method.sites_of(model))} sites with {located} examples; then ask about {asks} cuts on {len(select)} others."
    )
    return told, located * GRADIENT_COST + asks * len(select), 0.0


def _laser(method: Laser, model: LanguageModel, task: Task) -> tuple[str, float, float]:
    """The same of LASER. Layers below a matrix are not run again, and most candidates are given up early."""
    select = task.split("select")
    if method.published:
        return f"Take the paper's choice for this model and task, and ask it on {len(select)} examples.", len(select), 0.0
    sites = method.sites_of(model)
    named = f"{min(method.screened, len(sites))} of {len(sites)}" if method.screen else str(len(sites))
    kept = sites[: method.screened] if method.screen else sites
    candidates = sum(len(method.edits(model, site)) for site in kept)
    decompositions = _decomposing(model, sites)
    way = "one after the other, as long as it helps" if method.compose else "and the best of them"
    told = f"Try {candidates} reductions of {named} matrices on {len(select)} examples, {way}."
    return told, len(select) * (2 + candidates * ASKED_SHARE), decompositions


def _decomposing(model: LanguageModel, sites: Sequence[Site]) -> float:
    """Seconds that decomposing these matrices takes, by one of them."""
    start = time.monotonic()
    Decomposition.of(model.anatomy.weight(sites[-1]))
    return (time.monotonic() - start) * len(sites)


def _beside(recipe: Recipe, questions: Questions) -> tuple[list[str], int]:
    """What is measured beside the comparison, in a sentence, and the answers under each instruction that it takes."""
    beside, plans = side_effects_of(recipe), 1 + recipe.trials
    without = {kind: content_free_count(questions, kind) for kind in beside.calibrate}
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
    return _seconds_of(lambda: questions.logprobs(0)) / len(questions.examples)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return "a second" if seconds < 1.5 else f"{round(seconds)} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
