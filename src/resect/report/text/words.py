"""Settings in words, for people who read a report. Knows recipes and metrics, no page."""

from pathlib import Path

from resect.core.number_format import PAGE
from resect.report.readers.plan_summary import OF_MATRICES
from resect.runs.recipe import Recipe


def duration(seconds: float | None) -> str:
    """A time as people say it."""
    if seconds is None:
        return "unknown"
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def model_name(recipe: Recipe) -> str:
    """What people call the model: the last part of its folder or id."""
    return Path(recipe.model).name or recipe.model


def method(recipe: Recipe) -> list[str]:
    """What was done, in sentences. `recipe`: with what its variant presets filled in, where that is known."""
    known = {"crispr": _crispr, "laser": _laser}
    return known[recipe.method](recipe) if recipe.method in known else [f"{recipe.method.upper()}, as its recipe sets it."]


def _crispr(recipe: Recipe) -> list[str]:
    source = "as its paper writes it" if recipe.variant == "paper" else "as its authors' code does it"
    kind = "largest value" if recipe.tokens == "max" else "mean"
    weight = "weighs each example by the probability of its wrong answer" if recipe.confusion_weight else "weighs all examples alike"
    skill = f"use for the right answer is taken off (λ = {recipe.skill:g})" if recipe.skill else "nothing is taken off for skill"
    score = "each neuron has a score, how much of the model's preference for a wrong answer runs through it"
    cut = "Those with the highest scores are cut: their weights and their bias are set to 0."
    told = [f"CRISPR, {source} (Yang et al., ACL 2024): {score}. {cut}"]
    told.append(f"The score takes the {kind} over the tokens of an example and {weight}; {skill}. Looked at: {looked_at(recipe)}.")
    told.append(chosen(recipe))
    if recipe.variant == "official":
        told.append("The splits of the authors' code overlap: what chose n may be among what is reported here.")
    return told


def _laser(recipe: Recipe) -> list[str]:
    source = "as its paper writes it" if recipe.variant == "paper" else "as its authors' code does it"
    what = "a weight matrix is replaced by its best approximation of a lower rank, ρ times the full one; nothing is trained"
    told = [f"LASER, {source} (Sharma et al., ICLR 2024): {what}. At rank 0 nothing is left of the matrix."]
    if recipe.keep == "smallest":
        told.append("Kept were the smallest components, not the largest: what do they hold?")
    if recipe.decomposition == "svd_lowrank" or (recipe.decomposition is None and recipe.variant == "official"):
        told.append("Decomposed by torch.svd_lowrank with a seed, as that code does; the exact one is the default of resect.")
    if recipe.published:
        return [*told, "Taken: the matrix and the ρ that the paper published for this model and task; nothing was searched."]
    if recipe.task_free:
        edge = "of each matrix the components above the noise edge of its singular values (Marchenko and Pastur) are kept"
        rise = f"as long as the perplexity of plain text rises by no more than {100 * recipe.rise:g}{PAGE.blank}% in all"
        return [*told, f"Without a task: {edge}, {rise}. Looked at: {looked_at(recipe)}."]
    told.append(f"Looked at: {looked_at(recipe)}, at ρ = {', '.join(f'{rho:g}' for rho in rhos_of(recipe))}.")
    if recipe.screen is not None:
        told.append(f"Only the {recipe.screened:,} most promising were searched, by the loss's gradient with respect to singular values.")
    told.append(chosen(recipe))
    return told


def rhos_of(recipe: Recipe) -> tuple[float, ...]:
    """The shares of the rank that a recipe tries, as numbers."""
    return tuple(float(rho) for rho in recipe.rho)


def looked_at(recipe: Recipe) -> str:
    """Where a recipe looks."""
    if not recipe.sites and recipe.method in OF_MATRICES:
        return "the matrices into and out of every feed-forward block (gate, or up where there is no gate; down)"
    return "every matrix of the blocks" if recipe.sites in ((), ("*",)) else f"what matches {', '.join(recipe.sites)}"


def chosen(recipe: Recipe) -> str:
    """How many neurons are cut, or which matrices reduced, and who says so."""
    if recipe.method in OF_MATRICES:
        return _chosen_matrices(recipe)
    if recipe.n is not None:
        return f"{recipe.n:,} are cut, as asked; nothing was searched."
    if recipe.fraction is not None:
        return f"{100 * recipe.fraction:g}{PAGE.blank}% of all are cut, as asked; nothing was searched."
    ways = {"golden": "golden section", "grid": "trying every number", "first-drop": "going up to the first drop"}
    most = f"0.1{PAGE.blank}% of all, or 50 where that is more"
    if recipe.largest is not None:
        most = f"{recipe.largest:,}"
    elif recipe.max_fraction is not None:
        most = f"{100 * recipe.max_fraction:g}{PAGE.blank}% of all"
    return f"How many to cut was chosen by {ways[recipe.choose]} on the select split, from 0 to {most}."


def _chosen_matrices(recipe: Recipe) -> str:
    metric = recipe.metric or "its metric"
    if recipe.published:
        return "The published choice; nothing was searched."
    if recipe.task_free:
        return "Chosen without a task, by the perplexity of plain text."
    if recipe.compose:
        order = "from the last layer down and from the smallest ρ up"
        return f"Reductions were put one on top of the other, {order}; each was kept only where {metric} on the select split rose."
    return f"The one that is best by {metric} on the select split was chosen; ties went to the smaller damage on plain text."


def answered(metric: str) -> str:
    """How an answer is taken from the model."""
    if metric == "generation":
        return "by generation: the model writes its answer, and what does not match is wrong"
    if metric == "logloss":
        return "by log loss: the negative logarithm of the right answer's probability; less is better"
    if metric.startswith("top") and metric[3:].isdecimal():
        return f"by top-{metric[3:]} accuracy: right where the answer's token is among the {metric[3:]} most probable"
    if metric == "perplexity":
        return "by perplexity on plain text; less is better"
    return "by scoring: the choice that the model finds most probable is its answer"
