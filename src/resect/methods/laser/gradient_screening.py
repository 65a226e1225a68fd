"""Gradient screening: which matrices a reduction may help, by the gradient of the loss with respect to their singular values.

One backward pass replaces the evaluation of every candidate. With W = Σ_i s_i · u_i v_iᵀ and L the mean log loss of the golden answers,
g_i = ∂L/∂s_i = u_iᵀ (∂L/∂W) v_i; to first order, setting the singular values beyond rank r to 0 changes the loss by −Σ_{i>r} s_i · g_i.
The score of a matrix is the largest decrease that this predicts at any of the candidate ranks; 0 or less: the loss rises at each of them.

Source: Sreeram, Maalouf, Sharma, Rus 2025, "Compress to Impress: Efficient LLM Adaptation Using a Single Gradient Step on 100 Samples"
(arXiv:2510.20800): the gradient with respect to the singular values, on 100 examples, identifies the matrices that merit reduction.
Differs from the source in: how a matrix' gradients become one number is ours; rows are not clustered; examples are spread evenly over the
data, not drawn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from resect.core.address import Site
from resect.core.errors import InputError, NotFinite
from resect.core.execution import Entry, Workers, journal_key
from resect.edits.svd import Decomposition, floor_of_share
from resect.edits.svd_cache import SvdCache
from resect.evaluation.questions import Questions
from resect.methods.parameter_gradients import only_gradients_of
from resect.models.anatomy import Anatomy
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel

from .settings import RHOS


def screen(
    model: LanguageModel,
    questions: Questions,
    sites: Sequence[Site],
    svd_cache: SvdCache,
    *,
    examples: int = 100,
    rhos: Sequence[float] = RHOS,
    workers: Workers | None = None,
) -> dict[Site, float]:
    """The predicted decrease of the loss by the best reduction at each site, in nats per answer; in the order of `sites`.

    Parameters
    ----------
    questions : the log loss of the golden answers is used, whatever their metric
    sites : matrices, or those of all experts of a layer together, of which the decreases add up
    svd_cache : of the model's matrices
    examples : at most so many, spread evenly over all, each under one instruction, in turn
    rhos : shares of the rank of the candidates
    workers : the journal keeps the scores; progress is reported

    Needs memory, in addition to the model, for the gradients of the matrices, once in their own dtype and once in float32 or better, for
    the decomposition of one matrix, and for the activations of one batch. Leaves the model as it was, with its gradients and flags.

    Raises InputError where there is no example, NotWritable, NotFinite, PromptTooLong, OutOfMemory.
    """
    workers = workers or Workers()
    pairs = evenly_spaced_pairs(questions.pairs, len(questions.task.instructions), examples)

    def compute() -> Entry:
        matrices = {site: model.anatomy.each(site) for site in sites}
        single = [each for own in matrices.values() for each in own]
        gradients, scores = weight_gradients(model, single, golden_rows(questions, pairs), workers), {}
        workers.progress("decomposing", 0, len(sites))
        for done, site in enumerate(sites, start=1):
            decreases = np.zeros(len(rhos))
            for each in matrices[site]:
                decomposition = svd_cache.decomposition(each)
                gradient = singular_value_gradient(gradients.pop(each), decomposition)
                decreases += predicted_decreases(decomposition.values.double().cpu().numpy(), gradient, rhos)
            scores[str(site)] = float(decreases.max())
            workers.progress("decomposing", done, len(sites))
        return {"scores": scores}

    key = journal_key("screen", questions.digest, [list(map(str, sites)), pairs, list(rhos)])
    scores: Any = workers.remember(key, compute)["scores"]
    return {site: float(scores[str(site)]) for site in sites}


def predicted_decreases(
    singular_values: Float64[np.ndarray, " k"], gradient: Float64[np.ndarray, " k"], rhos: Sequence[float] = RHOS
) -> Float64[np.ndarray, " rhos"]:
    """The predicted decrease of the loss by each rank r = ⌊ρ · k⌋: Σ_{i>r} s_i · g_i."""
    by_rank = np.append(np.cumsum((singular_values * gradient)[::-1])[::-1], 0.0)
    return np.array([by_rank[floor_of_share(rho, len(singular_values))] for rho in rhos])


def singular_value_gradient(gradient: Float[Tensor, "out inside"], decomposition: Decomposition) -> Float64[np.ndarray, " k"]:
    """∂L/∂s_i of every singular value, from ∂L/∂W: u_iᵀ (∂L/∂W) v_i."""
    left, right = decomposition.left, decomposition.right
    by_value: np.ndarray = ((left.T @ gradient.to(left)) * right).sum(dim=1).double().cpu().numpy()
    return by_value


def evenly_spaced_pairs(pairs: int, instructions: int, examples: int) -> list[int]:
    """The pairs of at most `examples` evenly spaced examples, each under one instruction, in turn. Raises InputError where there are none.

    >>> evenly_spaced_pairs(pairs=12, instructions=2, examples=3)
    [0, 5, 8]
    """
    available = pairs // max(instructions, 1)
    count = min(available, examples)
    if count < 1:
        raise InputError(f"Screening needs at least one example; of {available} examples {examples} are wanted.")
    return [index * available // count * instructions + index % instructions for index in range(count)]


def golden_rows(questions: Questions, pairs: Sequence[int]) -> list[Tokens]:
    """The golden answers of some pairs, as they are fed and scored. Raises PromptTooLong, InputError."""
    instructions = questions.task.instructions
    examples = [pair // len(instructions) for pair in pairs]
    prompts = [
        questions.prompt(questions.examples[example], instructions[pair % len(instructions)])
        for example, pair in zip(examples, pairs, strict=True)
    ]
    answers = [questions.choices[example][int(questions.gold[example])] for example in examples]
    return questions.model.encode_pairs(prompts, answers).tokens


def weight_gradients(
    model: LanguageModel, sites: Sequence[Site], rows: Sequence[Tokens], workers: Workers | None = None
) -> dict[Site, Float[Tensor, "out inside"]]:
    """∂L/∂W of each matrix, with L the mean over rows of −log P(label); in float32 or better, on the matrix' device.

    Only the matrices' own parameters take part in autograd. Raises NotWritable, NotFinite, OutOfMemory.
    """
    stored = {site: model.anatomy.locate(site)[0] for site in sites}
    parameters = list({id(parameter): parameter for parameter in stored.values()}.values())
    sums = [torch.zeros_like(parameter.data, dtype=torch.promote_types(parameter.dtype, torch.float32)) for parameter in parameters]
    order = sorted(range(len(rows)), key=lambda row: -_length(rows[row]))
    stage, done = "taking gradients", 0

    def work(batch: Sequence[int]) -> None:
        for parameter in parameters:
            parameter.grad = None  # left by a batch that did not fit
        padded = model.forward.collate([rows[row] for row in batch])
        (-model.forward.label_logprobs(padded).sum()).backward()

    progress = (workers or Workers()).progress
    progress(stage, 0, len(rows))
    with torch.enable_grad(), only_gradients_of(model.model, parameters):
        for batch, _ in model.batcher.map_batches(order, work, lambda row: _length(rows[row]), purpose="gradients"):
            for total, parameter in zip(sums, parameters, strict=True):
                if parameter.grad is not None:
                    total += parameter.grad
                parameter.grad = None
            done += len(batch)
            progress(stage, done, len(rows))
    means = {id(parameter): total.div_(len(rows)) for parameter, total in zip(parameters, sums, strict=True)}
    return {site: _gradient_at(model.anatomy, site, means[id(parameter)]) for site, parameter in stored.items()}


def _gradient_at(anatomy: Anatomy, site: Site, gradient: Tensor) -> Tensor:
    """A matrix' part of its parameter's gradient, [out, in]. Raises NotFinite."""
    _, index = anatomy.locate(site)
    part = gradient[index]
    if not bool(torch.isfinite(part).all()):
        raise NotFinite(f"The gradient of the loss by {site} is NaN or infinite. Try --dtype float32, and look for NaN in the checkpoint.")
    return part.T if anatomy.slot(site).transposed else part


def _length(row: Tokens) -> int:
    return len(row.input_ids) + len(row.label_ids)
