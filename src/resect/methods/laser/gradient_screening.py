"""Screening: which matrices a reduction may help, from the loss's gradient by their singular values. One backward pass, no candidate asked.

With W = Σ_i s_i · u_i v_iᵀ and L the mean log loss of the golden answers, the slope of the loss by a singular value is
g_i = ∂L/∂s_i = u_iᵀ (∂L/∂W) v_i, and setting the values beyond rank r to 0 changes the loss, to first order, by −Σ_{i>r} s_i · g_i.
A matrix promises the largest fall that this predicts at any of the ranks thought of; 0 or less: the loss would rise at each of them.

Source: Sreeram, Maalouf, Sharma, Rus 2025, "Compress to Impress: Efficient LLM Adaptation Using a Single Gradient Step on 100 Samples"
(arXiv:2510.20800): the gradient by the singular values, of 100 examples, names the matrices that merit reduction.
Differs from the source in: how a matrix' gradients become one number is ours; rows are not clustered; examples are spread over the data,
not drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from resect.core.address import Site
from resect.core.errors import InputError, NotFinite
from resect.core.execution import Entry, Workers, journal_key
from resect.edits.svd import Decomposition, share
from resect.edits.svd_cache import SvdCache
from resect.evaluation.questions import Questions
from resect.models.anatomy import Anatomy
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel

#: The shares of the rank that are thought of.
RHOS = (0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.01)


def screen(
    model: LanguageModel,
    questions: Questions,
    sites: Sequence[Site],
    factors: SvdCache,
    *,
    examples: int = 100,
    rhos: Sequence[float] = RHOS,
    workers: Workers | None = None,
) -> dict[Site, float]:
    """How much each matrix promises to gain by a reduction: high is promising. In the order of `sites`.

    Parameters
    ----------
    questions : the golden answers' log loss is taken, whatever their metric
    sites : matrices
    examples : so many at most are asked, spread evenly over all, each under one instruction, in turn
    rhos : shares of the rank that are thought of

    Memory, beside the model: the gradients of the matrices, once in their own dtype and once in float32 or better, one matrix'
    factors, and the activations of one batch. The model is left as it was, what required gradients and what was in `.grad` included.

    Raises InputError where there is nothing to ask, NotWritable, NotFinite, PromptTooLong, OutOfMemory.
    """
    workers = workers or Workers()
    chosen = spread(questions.pairs, len(questions.task.instructions), examples)

    def compute() -> Entry:
        gradients, scores = loss_gradients(model, sites, golden(questions, chosen), workers), {}
        workers.progress("decomposing", 0, len(sites))
        for done, site in enumerate(sites, start=1):
            found = factors.of(site)
            scores[str(site)] = promise(found.values.double().cpu().numpy(), slopes(gradients.pop(site), found), rhos)
            workers.progress("decomposing", done, len(sites))
        return {"scores": scores}

    key = journal_key("screen", questions.digest, [list(map(str, sites)), chosen, list(rhos)])
    scores: Any = workers.remember(key, compute)["scores"]
    return {site: float(scores[str(site)]) for site in sites}


def promise(values: Float64[np.ndarray, " k"], slope: Float64[np.ndarray, " k"], rhos: Sequence[float] = RHOS) -> float:
    """The largest predicted fall of the loss over the ranks ⌊ρ · k⌋: max over r of Σ_{i>r} s_i · g_i."""
    fall = np.append(np.cumsum((values * slope)[::-1])[::-1], 0.0)
    return float(max(fall[share(rho, len(values))] for rho in rhos))


def slopes(gradient: Float[Tensor, "out inside"], factors: Decomposition) -> Float64[np.ndarray, " k"]:
    """∂L/∂s_i of every singular value, from ∂L/∂W: u_iᵀ (∂L/∂W) v_i."""
    found: np.ndarray = ((factors.left.T @ gradient.to(factors.left)) * factors.right).sum(dim=1).double().cpu().numpy()
    return found


def spread(pairs: int, instructions: int, examples: int) -> list[int]:
    """Pairs of at most so many examples, spread evenly, each under one instruction, in turn. Raises InputError where there are none.

    >>> spread(pairs=12, instructions=2, examples=3)
    [0, 5, 8]
    """
    count = min(pairs // max(instructions, 1), examples)
    if count < 1:
        raise InputError(
            f"To screen, at least one example must be asked; of {pairs // max(instructions, 1)} examples {examples} are wanted."
        )
    every = pairs // instructions
    return [place * every // count * instructions + place % instructions for place in range(count)]


def golden(questions: Questions, pairs: Sequence[int]) -> list[Tokens]:
    """The golden answers of some pairs, as they are fed and scored. Raises PromptTooLong, InputError."""
    instructions = questions.task.instructions
    where = [(pair // len(instructions), instructions[pair % len(instructions)]) for pair in pairs]
    prompts = [questions.prompt(questions.examples[e], instruction) for e, instruction in where]
    answers = [questions.choices[e][int(questions.gold[e])] for e, _ in where]
    return questions.model.requests(prompts, answers).tokens


def loss_gradients(
    model: LanguageModel, sites: Sequence[Site], rows: Sequence[Tokens], workers: Workers | None = None
) -> dict[Site, Float[Tensor, "out inside"]]:
    """∂L/∂W of each matrix, L the mean over rows of −log P(label); in float32 or better, on the matrix' device.

    Only the matrices' own parameters take part in autograd. Raises NotWritable, NotFinite, OutOfMemory.
    """
    stored = {site: model.anatomy.locate(site)[0] for site in sites}
    parameters = list({id(parameter): parameter for parameter in stored.values()}.values())
    sums = [torch.zeros_like(parameter.data, dtype=torch.promote_types(parameter.dtype, torch.float32)) for parameter in parameters]
    order = sorted(range(len(rows)), key=lambda place: -_length(rows[place]))
    stage, done = "taking gradients", 0

    def work(part: Sequence[int]) -> None:
        for parameter in parameters:
            parameter.grad = None  # of a batch that did not fit
        batch = model.forward.rows([rows[place] for place in part])
        (-model.forward.label_logprobs(batch).sum()).backward()

    progress = (workers or Workers()).progress
    progress(stage, 0, len(rows))
    with torch.enable_grad(), _only(model.model, parameters):
        for part, _ in model.batches.run(order, work, lambda place: _length(rows[place]), purpose="gradients"):
            for total, parameter in zip(sums, parameters, strict=True):
                if parameter.grad is not None:
                    total += parameter.grad
                parameter.grad = None
            done += len(part)
            progress(stage, done, len(rows))
    found = {id(parameter): total.div_(len(rows)) for parameter, total in zip(parameters, sums, strict=True)}
    return {site: _own(model.anatomy, site, found[id(parameter)]) for site, parameter in stored.items()}


def _own(anatomy: Anatomy, site: Site, gradient: Tensor) -> Tensor:
    """A matrix' part of its parameter's gradient, [out, in]. Raises NotFinite."""
    _, index = anatomy.locate(site)
    own = gradient[index]
    if not bool(torch.isfinite(own).all()):
        raise NotFinite(f"The gradient of the loss by {site} is NaN or infinite. Try --dtype float32, and look for NaN in the checkpoint.")
    return own.T if anatomy.slot(site).transposed else own


def _length(row: Tokens) -> int:
    return len(row.input_ids) + len(row.label_ids)


@contextmanager
def _only(module: nn.Module, wanted: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let only some parameters take gradients for a while; then all is as it was."""
    required: Mapping[nn.Parameter, bool] = {parameter: parameter.requires_grad for parameter in module.parameters()}
    grads = [parameter.grad for parameter in wanted]
    try:
        for parameter in required:
            parameter.requires_grad_(False)
        for parameter in wanted:
            parameter.grad = None
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, flag in required.items():
            parameter.requires_grad_(flag)
        for parameter, grad in zip(wanted, grads, strict=True):
            parameter.grad = grad
