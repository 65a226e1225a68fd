"""Attribution of every neuron to a label: A = h · d(objective)/dh, one forward and one backward pass for a batch and all sites.

Knows values and gradients; does not know what a method makes of them. The numbers go to a reducer as the backward pass comes by the
layers, so that memory depends on the batch, not on the number of examples.

Source: Yang et al. 2024 (arXiv:2311.09627), after knowledge attribution by gradient times activation. Differs from the source in: the
gradient is taken of log P; dP = P · d(log P) is the reducer's to apply, in a way that does not underflow.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from jaxtyping import Float64
from torch import Tensor

from resect.core.address import Site
from resect.models.encoding import Tokens
from resect.models.forward import PaddedRows
from resect.models.hooks import gradient_hooks
from resect.models.language_model import LanguageModel


class GradientReducer(Protocol):
    """What becomes of the attributions of one batch."""

    def begin(self, logprobs: Float64[Tensor, " rows"]) -> None:
        """Told once, between the forward and the backward pass: total log-probability of each row's label."""

    def add(self, site: Site, values: Tensor, gradient: Tensor, lengths: Sequence[int]) -> None:
        """Told once a site: h and d(log P)/dh, [rows, tokens, units], and how many of each row's tokens are real; the rest is padding."""


def attribute(model: LanguageModel, sites: Sequence[Site], tokens: Sequence[Tokens], reducer: GradientReducer) -> None:
    """Run one batch of rows forward and backward, and give the reducer h and d(log P)/dh at every site.

    Rows do not see each other, so the gradient of the sum over rows is each row's own.
    Raises torch.OutOfMemoryError for the caller to halve the batch.
    """
    rows = model.forward.rows(tokens)
    lengths = {False: rows.mask.sum(dim=1).tolist(), True: [] if rows.encoder_mask is None else rows.encoder_mask.sum(dim=1).tolist()}

    def tell(site: Site, values: Tensor, gradient: Tensor) -> None:
        shape = (len(tokens), -1, values.shape[-1])  # some feed-forward blocks see rows and tokens as one axis
        reducer.add(site, values.reshape(shape), gradient.reshape(shape), lengths[_reads_encoder(site, rows)])

    with torch.enable_grad(), _frozen(model), gradient_hooks(model.anatomy, sites, tell):
        logprobs = model.forward.label_logprobs(rows).sum(dim=1)
        reducer.begin(logprobs.detach().double().cpu())
        logprobs.sum().backward()


def _reads_encoder(site: Site, rows: PaddedRows) -> bool:
    """Whether a site runs over the encoder's tokens although the labels are the decoder's."""
    return rows.encoder_mask is not None and (site.stack == "encoder" or site.role in ("cross_k", "cross_v"))


@contextmanager
def _frozen(model: LanguageModel) -> Iterator[None]:
    """Hold the weights out of autograd for a while: gradients of activations are wanted, those of weights are not."""
    wanted = [parameter for parameter in model.model.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
