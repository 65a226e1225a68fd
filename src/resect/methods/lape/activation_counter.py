"""Count at how many tokens each feed-forward unit is active, and sum its activations, while windows of text run through a model.

Knows token ids and a model; knows no language, no text and no selection. Only the stacks run, not the head, and activations are reduced on
their device, layer by layer: the cost is a few passes over each layer's activations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Integer
from torch import Tensor

from resect.core.address import Site
from resect.core.errors import NotFinite
from resect.models.hooks import forward_hooks
from resect.models.language_model import LanguageModel

from .counts import activation_sites

#: Tokens that are reduced at once on a CPU: few enough to stay in its cache from one operation to the next.
CPU_TOKENS = 512
#: The same on other devices: so many that the time to launch an operation does not count.
DEVICE_TOKENS = 2**14


@dataclass(frozen=True)
class WindowCounts:
    """The counts of some windows.

    Attributes
    ----------
    tokens : the number of positions at which every unit was observed
    active : by site (`act`, in model order) the number of positions at which each unit's activation was above 0
    sums : by site the sum of each unit's activation over the positions
    reached : by site the number of positions that reached it: all of them, but at an expert that a router chooses
    """

    tokens: int
    active: dict[Site, Int64[np.ndarray, " units"]]
    sums: dict[Site, Float64[np.ndarray, " units"]]
    reached: dict[Site, int]


def count_activations(model: LanguageModel, windows: Integer[np.ndarray, "windows window"], rows: int) -> WindowCounts:
    """Run windows of token ids through a model's stacks and count where the output of the activation function is above 0.

    Parameters
    ----------
    windows : token ids, no padding. Encoder-decoder: the encoder reads the first half of each window, the decoder the second, shifted right
        by its start token as in training; masked models read the windows as they are
    rows : windows run at once; where memory is too small for them, half as many are tried

    A unit of an expert is active at positions that reach its expert. Counts are exact integers. Activations are summed in float32 over a
    few hundred tokens (float64 models: in float64), these sums in float64; the same windows and rows give the same bits on one kind of
    device with one number of threads.

    Raises NotFinite where activations are NaN or infinite, OutOfMemory.
    Source: Tang et al. 2024 (arXiv:2402.16438), section 2.2. Differs from the source in: nothing.
    """
    sites = activation_sites(model)
    totals = {site: np.zeros((2, model.anatomy.width(site))) for site in sites}
    reached = dict.fromkeys(sites, 0)
    window = windows.shape[1]
    model.batcher.sizes["windows"] = rows
    work = lambda batch: _reduced_batch(model, sites, windows[list(batch)])
    for _, reduced in model.batcher.map_batches(range(len(windows)), work, lambda _index: window, purpose="windows"):
        for site, (batch_totals, positions) in reduced.items():
            totals[site] += batch_totals.cpu().numpy()
            reached[site] += positions
    broken = [str(site) for site, (_, sums) in totals.items() if not np.isfinite(sums).all()]
    if broken:
        raise NotFinite(
            f"The activations at {broken[0]} are NaN or infinite, or add up to infinity (at {len(broken)} of {len(sites)} layers). "
            "The weights or the dtype are at fault: try --dtype float32, and look for NaN in the checkpoint."
        )
    positions = window // 2 if model.kind == "encoder-decoder" else window
    active = {site: total[0].astype(np.int64) for site, total in totals.items()}
    return WindowCounts(len(windows) * positions, active, {site: total[1] for site, total in totals.items()}, reached)


def run_stacks(model: LanguageModel, ids: Integer[Tensor, "rows window"]) -> None:
    """Run a batch of windows through the model's stacks, as `count_activations` does: without head, mask and cache."""
    if model.kind == "masked":
        model.anatomy.backbone(input_ids=ids)
    elif model.kind == "causal":
        model.anatomy.backbone(input_ids=ids, use_cache=False)
    else:
        hf: Any = model.model  # T5 has no module that holds both stacks and no head
        half = ids.shape[1] // 2
        hidden = hf.get_encoder()(input_ids=ids[:, :half]).last_hidden_state
        shifted = model.forward.shift_right(ids[:, half : 2 * half])
        hf.get_decoder()(input_ids=shifted, encoder_hidden_states=hidden, use_cache=False)


@torch.inference_mode()
def _reduced_batch(
    model: LanguageModel, sites: Sequence[Site], windows: Integer[np.ndarray, "rows window"]
) -> dict[Site, tuple[Float64[Tensor, "2 units"], int]]:
    """Counts and sums of one batch by site, each on the device of its layer, and the number of positions."""
    reduced: dict[Site, tuple[Tensor, int]] = {}
    reducer = ActivationReducer()

    def reduce_site(site: Site, values: Tensor) -> None:
        flat = values.reshape(-1, values.shape[-1])  # some feed-forward blocks see rows and tokens as one axis
        reduced[site] = reducer(flat), len(flat)

    with forward_hooks(model.anatomy, sites, reduce_site):
        run_stacks(model, torch.from_numpy(windows.astype(np.int64)).to(model.forward.device))
    return reduced


class ActivationReducer:
    """Reduces the activations of many tokens to two numbers for each unit: the number of tokens at which it is above 0, and its sum.

    torch's sum of booleans first copies them into 64-bit integers, which alone would cost more than recording is allowed to. So comparisons
    are written as numbers of the values' dtype; and chunks are so short that float32 represents their counts exactly, below 2^24.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[int, torch.dtype], Tensor] = {}

    def __call__(self, values: Float[Tensor, "tokens units"]) -> Float64[Tensor, "2 units"]:
        """Counts and sums, on the device of the values, which are only read."""
        on_cpu = values.device.type == "cpu"
        chunk, reduce = (CPU_TOKENS, self.by_products) if on_cpu else (DEVICE_TOKENS, self.by_sums)
        total = torch.zeros((2, values.shape[1]), dtype=torch.float64, device=values.device)
        for start in range(0, len(values), chunk):
            total += reduce(values[start : start + chunk])
        return total

    def by_products(self, values: Float[Tensor, "tokens units"]) -> Float[Tensor, "2 units"]:
        """Counts and sums of at most `CPU_TOKENS` tokens by products, ones @ values, which are a CPU's fastest operation."""
        tokens, units = values.shape
        dtype = _sum_dtype(values)
        if (units, dtype) not in self._buffers:
            self._buffers[units, dtype] = torch.empty((CPU_TOKENS, units), dtype=dtype)
        buffer, ones = self._buffers[units, dtype][:tokens], torch.ones(tokens, dtype=dtype)
        wide = values if values.dtype == dtype else buffer.copy_(values)
        sums = ones @ wide
        return torch.stack([ones @ torch.gt(wide, 0, out=buffer), sums])

    def by_sums(self, values: Float[Tensor, "tokens units"]) -> Float[Tensor, "2 units"]:
        """Counts and sums of at most 2^24 tokens; sums over half precision are computed in float32, without a copy where the device can."""
        active = torch.gt(values, 0, out=torch.empty_like(values))
        return torch.stack([summands.sum(dim=0, dtype=_sum_dtype(values)) for summands in (active, values)])


def _sum_dtype(values: Tensor) -> torch.dtype:
    """The dtype in which values are summed."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32
