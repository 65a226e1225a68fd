"""PV: how much the weights of each feed-forward unit change when the model is tuned on one language.

Knows a model in memory and checkpoints, which are read one tensor at a time; knows no text, and not what is selected by the changes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from resect.core.address import Site
from resect.core.errors import BadModel, InputError, NotFinite
from resect.core.execution import Entry, Progress, Workers, journal_key
from resect.models.anatomy import Anatomy, anatomy_of
from resect.models.storage import select_rows

from .counts import activation_sites
from .tuned_checkpoint import TunedCheckpoint, open_checkpoint

STAGE = "changes of weights"
#: Entries of a matrix that are converted to float64 at once: few enough to stay in a processor's cache, which is ten times as fast.
_CHUNK = 2**18
#: Roles whose matrices have a unit's weights, and the axis of their units.
_ROLES = (("gate", 0), ("up", 0), ("down", 1))


@dataclass(frozen=True)
class ParameterChanges:
    """How much each unit changed in the tuning on each language, relative to its own size: 0 not at all, 1 as much as its norm.

    Attributes
    ----------
    languages : in the order in which the checkpoints were given
    by_site : by site (`act`), in model order, float64 [languages, units], from 0 on
    """

    languages: tuple[str, ...]
    by_site: Mapping[Site, Float64[np.ndarray, "languages _"]]

    def all_units(self) -> Float64[np.ndarray, "languages units"]:
        """The units of all sites, in the order of `Counts.probabilities`."""
        return np.concatenate(list(self.by_site.values()), axis=1)


def parameter_changes(model: Any, checkpoints: Mapping[str, str], *, workers: Workers | None = None) -> ParameterChanges:
    """The relative change ‖θ_k − θ_0‖ / ‖θ_0‖ of each unit in the tuning on each language k (Euclidean norm, float64).

    θ are the unit's weights: its row of `gate` and `up`, its column of `down`, and its entries of their biases. θ_0 is the model in memory;
    a checkpoint is read in the dtype of the model in memory, so that rounding does not count as change. A unit whose weights are all 0 in
    θ_0 has the change 0 where they stayed 0, else 1.

    Parameters
    ----------
    model : LanguageModel or Hugging Face model, with its weights in memory
    checkpoints : language to a folder, or Hub id, of the complete model tuned on that language, in safetensors. Memory: one tensor of it.
    workers : the journal keeps the changes of each checkpoint; progress is reported

    Raises InputError for no checkpoint, BadModel where one is missing, damaged, not in safetensors, or changed no unit at all; WrongModel
    where it is another model or lacks a tensor; NotWritable where the model's own weights cannot be read (quantised, offloaded); NotFinite.
    Source: Tang et al. 2024 (arXiv:2402.16438), the baseline PV. Differs from the source in: which
    weights belong to a unit, and that its change is relative, is ours; the authors published no code for it.
    """
    anatomy, workers = anatomy_of(model), workers or Workers()
    if not checkpoints:
        raise InputError("PV needs the model tuned on each language by itself: give --checkpoint LANG=PATH for each.")
    norms = {
        site: np.sqrt(sum(_sums_of_squares(weights, axis) for weights, axis in _base_weights(anatomy, site)))
        for site in activation_sites(anatomy)
    }
    total = len(norms) * len(checkpoints)
    workers.progress(STAGE, 0, total)
    rows = []
    for index, (language, source) in enumerate(checkpoints.items()):
        done = index * len(norms)
        with open_checkpoint(source, anatomy, language) as tuned:
            report = partial(_report_layer, workers.progress, done, total)
            compute = partial(_changes, anatomy, norms, tuned, f"{source} ({language})", report)
            entry = workers.remember(journal_key("variation", language, tuned.digest), compute)
        rows.append(np.asarray(entry["changes"], dtype=np.float64))
        workers.progress(STAGE, done + len(norms), total)
    bounds = np.cumsum([len(norm) for norm in norms.values()])[:-1]
    return ParameterChanges(tuple(checkpoints), dict(zip(norms, np.split(np.stack(rows), bounds, axis=1), strict=True)))


def _report_layer(progress: Progress, done: int, total: int, layer: int) -> None:
    progress(STAGE, done + layer, total)


def _changes(
    anatomy: Anatomy,
    norms: Mapping[Site, Float64[np.ndarray, " _"]],
    tuned: TunedCheckpoint,
    name: str,
    report: Callable[[int], None],
) -> Entry:
    """The relative change of every unit of all sites in one checkpoint, as a journal entry. Raises NotFinite, BadModel, WrongModel."""
    by_site = []
    for layer, (site, norm) in enumerate(norms.items(), start=1):
        pairs = zip(_base_weights(anatomy, site), _tuned_weights(anatomy, site, tuned), strict=True)
        moved = np.sqrt(sum(_sums_of_squares(weights, axis, other.to(weights.dtype)) for (weights, axis), other in pairs))
        by_site.append(np.divide(moved, norm, out=np.sign(moved), where=norm > 0))
        report(layer)
    changes = np.concatenate(by_site)
    if not np.isfinite(changes).all():
        raise NotFinite(f"The weights of {name}, or the model's own, are NaN or infinite. Get the checkpoint again.")
    if not changes.any():
        raise BadModel(
            f"The feed-forward weights of {name} are those of the model itself, to the last bit: nothing was tuned there. "
            "Give the checkpoint after tuning, the whole model (an adapter is merged first: merge_and_unload)."
        )
    return {"changes": changes}


def _parameters(anatomy: Anatomy, site: Site) -> Iterator[tuple[Site, int, str]]:
    """Matrix, axis of the units, and parameter name of all weights of the units at `site`. Biases of `down` belong to no unit."""
    for role, axis in _ROLES:
        matrix = site.at(role)
        if matrix in anatomy.sites:
            yield matrix, axis, "weight"
            if axis == 0 and anatomy.has_bias(matrix):
                yield matrix, axis, "bias"


def _base_weights(anatomy: Anatomy, site: Site) -> Iterator[tuple[Tensor, int]]:
    """The weights of the units at a site in memory, and the axis of their units. Raises NotWritable."""
    for matrix, axis, name in _parameters(anatomy, site):
        anatomy.locate(matrix)  # raises where there are no plain values
        weights = anatomy.weight(matrix) if name == "weight" else anatomy.bias(matrix)
        if weights is not None:
            yield weights, axis


def _tuned_weights(anatomy: Anatomy, site: Site, tuned: TunedCheckpoint) -> Iterator[Tensor]:
    """The same weights in a checkpoint. Raises WrongModel, BadModel."""
    for matrix, _, name in _parameters(anatomy, site):
        slot = anatomy.slot(matrix)
        stored = tuned.read(f"{slot.path}.{name}", tuple(getattr(anatomy.module(matrix), name).shape))
        yield select_rows(stored.T if slot.transposed and name == "weight" else stored, slot.rows)


def _sums_of_squares(weights: Tensor, axis: int, others: Tensor | None = None) -> Float64[np.ndarray, " units"]:
    """The sum of squares of each unit's entries, or of their differences from others, chunk by chunk."""
    matrix = weights if weights.ndim == 2 else weights[:, None]
    other = others if others is None or others.ndim == 2 else others[:, None]
    sums = np.zeros(matrix.shape[axis])
    step = max(1, _CHUNK // matrix.shape[1])
    for start in range(0, matrix.shape[0], step):
        chunk = matrix[start : start + step].cpu().double()
        if other is not None:
            chunk = chunk - other[start : start + step].double()
        chunk_sums = chunk.square().sum(dim=1 - axis).numpy()
        if axis == 0:
            sums[start : start + step] = chunk_sums
        else:
            sums += chunk_sums
    return sums
