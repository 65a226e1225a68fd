"""Count at how many tokens each feed-forward unit is active, and add up its values, while windows of text run through a model.

Knows token ids and a model; knows no language, no text and no selection. Only the stacks run, not the head, and what comes by is
reduced where it is, as it comes: the cost is a few passes over each layer's activations.
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

#: Tokens reduced at once on a CPU: so few that they stay in its cache from one operation to the next.
CPU_TOKENS = 512
#: Elsewhere: so many that starting an operation costs nothing against doing it.
DEVICE_TOKENS = 2**14


@dataclass(frozen=True)
class WindowCounts:
    """What some windows hold.

    Attributes
    ----------
    tokens : at how many positions every unit was looked at
    active : by site (`act`, in the order of the model) at how many of them each unit's activation was above 0
    sums : by site the sum of each unit's activation over them
    """

    tokens: int
    active: dict[Site, Int64[np.ndarray, " units"]]
    sums: dict[Site, Float64[np.ndarray, " units"]]


def sites_of(model: LanguageModel) -> tuple[Site, ...]:
    """Where activations are counted: `act` of every block, encoder before decoder, by layer."""
    return tuple(site for site in model.anatomy.moments if site.role == "act")


def count(model: LanguageModel, windows: Integer[np.ndarray, "windows window"], rows: int) -> WindowCounts:
    """Run windows of token ids through a model's stacks and count where the activation function's output is above 0.

    Parameters
    ----------
    windows : token ids, no padding. Encoder-decoder: the first half of each goes to the encoder, the second to the decoder, moved on by
        its start token as in training, so that each stack sees half a window; masked models see the windows as they are
    rows : windows run at once; where memory does not hold so many, half as many are tried

    Counts are exact whole numbers. Values are added up in float32 over a few hundred tokens (float64 models: in float64), those sums in
    float64; the same windows and rows give the same bits on one kind of device with one number of threads.

    Raises NotFinite where activations are NaN or infinite, OutOfMemory.
    Source: METHODS.md, section 2; Tang et al. 2024 (arXiv:2402.16438), section 2.2. Differs from the source in: nothing.
    """
    sites = sites_of(model)
    totals = {site: np.zeros((2, model.anatomy.width(site))) for site in sites}
    window = windows.shape[1]
    model.batches.sizes["windows"] = rows
    work = lambda part: _batch(model, sites, windows[list(part)])
    for _, found in model.batches.run(range(len(windows)), work, lambda _place: window, purpose="windows"):
        for site, part in found.items():
            totals[site] += part.cpu().numpy()
    broken = [str(site) for site, (_, sums) in totals.items() if not np.isfinite(sums).all()]
    if broken:
        raise NotFinite(
            f"The activations at {broken[0]} are NaN or infinite, or add up to infinity (at {len(broken)} of {len(sites)} layers). "
            "The weights or the dtype are at fault: try --dtype float32, and look for NaN in the checkpoint."
        )
    looked_at = window // 2 if model.kind == "encoder-decoder" else window
    active = {site: total[0].astype(np.int64) for site, total in totals.items()}
    return WindowCounts(len(windows) * looked_at, active, {site: total[1] for site, total in totals.items()})


def run_stacks(model: LanguageModel, ids: Integer[Tensor, "rows window"]) -> None:
    """Run a batch of windows through the model's stacks, as `count` does: without a head, a mask or a cache."""
    if model.kind == "masked":
        model.anatomy.backbone(input_ids=ids)
    elif model.kind == "causal":
        model.anatomy.backbone(input_ids=ids, use_cache=False)
    else:
        hf: Any = model.model  # T5 has no module that holds both stacks and no head
        half = ids.shape[1] // 2
        hidden = hf.get_encoder()(input_ids=ids[:, :half]).last_hidden_state
        shifted = model.forward.shifted(ids[:, half : 2 * half])
        hf.get_decoder()(input_ids=shifted, encoder_hidden_states=hidden, use_cache=False)


@torch.inference_mode()
def _batch(
    model: LanguageModel, sites: Sequence[Site], windows: Integer[np.ndarray, "rows window"]
) -> dict[Site, Float64[Tensor, "2 units"]]:
    """Counts and sums of one batch, each where its layer is."""
    found: dict[Site, Tensor] = {}
    reduced = ActivationReducer()

    def see(site: Site, values: Tensor) -> None:
        found[site] = reduced(values.reshape(-1, values.shape[-1]))  # some feed-forward blocks see rows and tokens as one axis

    with forward_hooks(model.anatomy, sites, see):
        run_stacks(model, torch.from_numpy(windows.astype(np.int64)).to(model.forward.device))
    return found


class ActivationReducer:
    """Activations of many tokens to two numbers a unit: at how many tokens it is above 0, and the sum over them.

    torch's own sum of booleans first copies them into 64-bit integers, which would alone cost more than recording may. So comparisons
    become numbers of the values' kind at once; and pieces are so short that float32 holds their counts exactly, below 2^24.
    """

    def __init__(self) -> None:
        self._space: dict[tuple[int, torch.dtype], Tensor] = {}

    def __call__(self, values: Float[Tensor, "tokens units"]) -> Float64[Tensor, "2 units"]:
        """Counts and sums, where the values are. `values` are only read."""
        on_cpu = values.device.type == "cpu"
        piece, reduced = (CPU_TOKENS, self.by_products) if on_cpu else (DEVICE_TOKENS, self.by_sums)
        total = torch.zeros((2, values.shape[1]), dtype=torch.float64, device=values.device)
        for start in range(0, len(values), piece):
            total += reduced(values[start : start + piece])
        return total

    def by_products(self, values: Float[Tensor, "tokens units"]) -> Float[Tensor, "2 units"]:
        """Of at most `CPU_TOKENS`: ones @ values, a product being what a CPU does best."""
        tokens, units = values.shape
        dtype = _exact(values)
        if (units, dtype) not in self._space:
            self._space[units, dtype] = torch.empty((CPU_TOKENS, units), dtype=dtype)
        space, ones = self._space[units, dtype][:tokens], torch.ones(tokens, dtype=dtype)
        exact = values if values.dtype == dtype else space.copy_(values)
        sums = ones @ exact
        return torch.stack([ones @ torch.gt(exact, 0, out=space), sums])

    def by_sums(self, values: Float[Tensor, "tokens units"]) -> Float[Tensor, "2 units"]:
        """Of at most 2^24 tokens: sums over half precision are taken in float32, without a copy, where the device can."""
        fired = torch.gt(values, 0, out=torch.empty_like(values))
        return torch.stack([each.sum(dim=0, dtype=_exact(values)) for each in (fired, values)])


def _exact(values: Tensor) -> torch.dtype:
    """What values are added up in."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32
