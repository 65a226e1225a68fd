"""Attribution of every neuron to a label: A = h · d(objective)/dh, in one forward and one backward pass for a batch and all sites.

Knows values and gradients, not what is computed from them. A reducer receives the values and gradients of a site while the backward pass
runs, so that memory depends on the batch, not on the number of examples.

Source: Yang et al. 2024 (arXiv:2311.09627), after knowledge attribution by gradient times activation. Differs from the source in: the
gradient is taken of log P; the reducer applies dP = P · d(log P), in a way that does not underflow.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float64
from torch import Tensor

from resect.core.address import Site
from resect.methods.parameter_gradients import only_gradients_of
from resect.models.encoding import Tokens
from resect.models.forward import PaddedBatch
from resect.models.hooks import gradient_hooks
from resect.models.language_model import LanguageModel


class GradientReducer(Protocol):
    """Reduces the values and gradients of one batch."""

    def begin(self, logprobs: Float64[Tensor, " rows"]) -> None:
        """Receives the total log-probability of each row's label; called once, between the forward and the backward pass."""

    def add(self, site: Site, values: Tensor, gradient: Tensor, lengths: Sequence[int]) -> None:
        """Receives h and d(log P)/dh of a site, [rows, tokens, units], and the number of tokens of each row; the rest is padding."""


def attribute(model: LanguageModel, sites: Sequence[Site], tokens: Sequence[Tokens], reducer: GradientReducer) -> None:
    """Run one batch of rows forward and backward, and pass h and d(log P)/dh at every site to the reducer.

    Rows do not see each other, so the gradient of the sum over rows is each row's own.
    Raises torch.OutOfMemoryError, for the caller to halve the batch.
    """
    rows = model.forward.collate(tokens)
    lengths = rows.mask.sum(dim=1).tolist()
    input_lengths = lengths if rows.encoder_mask is None else rows.encoder_mask.sum(dim=1).tolist()

    def reduce_site(site: Site, values: Tensor, gradient: Tensor) -> None:
        shape = (len(tokens), -1, values.shape[-1])  # some feed-forward blocks see rows and tokens as one axis
        site_lengths = input_lengths if _runs_over_input(site, rows) else lengths
        reducer.add(site, values.reshape(shape), gradient.reshape(shape), site_lengths)

    with torch.enable_grad(), only_gradients_of(model.model, ()), gradient_hooks(model.anatomy, sites, reduce_site):
        logprobs = model.forward.label_logprobs(rows).sum(dim=1)
        reducer.begin(logprobs.detach().double().cpu())
        logprobs.sum().backward()


def _runs_over_input(site: Site, rows: PaddedBatch) -> bool:
    """Whether a site of an encoder-decoder runs over the input's tokens, not over the label's."""
    return rows.encoder_mask is not None and (site.stack == "encoder" or site.role in ("cross_k", "cross_v"))
