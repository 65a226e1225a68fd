"""Proof that an exported checkpoint is the base model with the plan applied: the same weights and the same logits, to the last bit.

Loads one model after the other, never two at once. Knows no file of a checkpoint.
"""

import gc
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resect.core.errors import Failure
from resect.edits.effect_check import verify_effect
from resect.edits.plan import Plan
from resect.models.language_model import LanguageModel
from resect.models.loading import load_parts

#: Pairs of a prompt (an encoder's, where there is one) and a continuation (a decoder's); the last fits into any context.
PROBES = (
    ("The quick brown fox jumps over the lazy dog, and then", "the dog goes back to sleep."),
    ("Question: 12 × 7 = 84? Naïve café, Ωmega, 東京. Answer:", "yes, 84"),
    ("a", "b"),
)


@dataclass(frozen=True)
class Evidence:
    """What tells a model: a digest of each parameter and buffer, its logits on the probes, and how its tokenizer encodes these."""

    digests: Mapping[str, str]
    logits: tuple[Tensor, ...]
    ids: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Loading:
    """How a checkpoint is loaded to be edited or compared: always the same way, whatever its configuration says.

    dtype : the widest that is stored, so that nothing is rounded
    stored : name in memory to the dtype on disk, where that is known
    """

    dtype: torch.dtype
    stored: Mapping[str, torch.dtype]
    trust_remote_code: bool = False

    def parts(self, folder: Path) -> tuple[Any, Any]:
        """The Hugging Face model, in evaluation mode on the CPU, and its tokenizer. Raises BadModel."""
        name = str(self.dtype).removeprefix("torch.")
        model, tokenizer = load_parts(str(folder), dtype=name, trust_remote_code=self.trust_remote_code)
        return model.requires_grad_(False).eval(), tokenizer

    def narrow(self, model: Any) -> dict[str, torch.dtype]:
        """Give parameters the dtype that they are stored in; returns the dtypes that they had."""
        before = {}
        for name, parameter in model.named_parameters():
            dtype = self.stored.get(name, parameter.dtype)
            if dtype != parameter.dtype:
                before[name] = parameter.dtype
                parameter.data = parameter.data.to(dtype)
        return before


def write_as_stored(plan: Plan, model: Any, loading: Loading, allow_other_model: bool = False) -> dict[str, torch.dtype]:
    """Write a plan with the arithmetic of the dtypes that are stored, and leave the model in these; returns the dtypes that it had.

    Raises WrongModel, NotWritable, before anything is touched but dtypes.
    """
    before = loading.narrow(model)
    plan.write(model, allow_other_model)
    return before


def edited_base(folder: Path, plan: Plan, loading: Loading, allow_other_model: bool) -> tuple[Any, Any]:
    """The base model with the plan applied, and its tokenizer. Raises NoEffect, NotFinite where the plan does nothing, or ruin."""
    model, tokenizer = loading.parts(folder)
    language_model = LanguageModel.of(model, tokenizer)
    fitting = replace(plan, model=None) if allow_other_model else plan
    verify_effect(
        fitting, language_model, lambda: np.concatenate([each.double().flatten().numpy() for each in logits(language_model)]), "weights"
    )
    before = write_as_stored(fitting, model, loading)
    for name, dtype in before.items():
        parameter = model.get_parameter(name)
        parameter.data = parameter.data.to(dtype)
    return model, tokenizer


def evidence_of_base(folder: Path, plan: Plan, loading: Loading, device: torch.device, allow_other_model: bool) -> Evidence:
    """What the base model with the plan applied says. Raises as `edited_base`."""
    model, tokenizer = edited_base(folder, plan, loading, allow_other_model)
    return evidence_of(model.to(device), tokenizer)


def evidence_of_export(folder: Path, loading: Loading, device: torch.device) -> Evidence:
    """What an exported checkpoint says, loaded by the plain classes of transformers."""
    gc.collect()  # the base may be held in a cycle, and two models may be more than there is room for
    model, tokenizer = loading.parts(folder)
    return evidence_of(model.to(device), tokenizer)


def check_same(base: Evidence, export: Evidence) -> None:
    """Raises Failure where an export is not the base with the plan applied, to the last bit."""
    check_same_tensors(base, export)
    if not all(torch.equal(mine, theirs) for mine, theirs in zip(base.logits, export.logits, strict=True)):
        raise refused("its logits are not those of the base with the plan applied")


def check_same_tensors(base: Evidence, export: Evidence) -> None:
    """Raises Failure where tensors or tokens differ by a single bit."""
    names = base.digests.keys() | export.digests.keys()
    other = sorted(name for name in names if base.digests.get(name) != export.digests.get(name))
    if other:
        raise refused(f"{len(other)} of its {len(names)} tensors are not those of the base with the plan applied, {other[0]} among them")
    if base.ids != export.ids:
        raise refused("its tokenizer encodes texts in another way than the base's")


def refused(told: str) -> Failure:
    """The error of an export that is not what it is to be, `told` why."""
    return Failure(
        f"The export was written, loaded again, and refused: {told}. Nothing was left. On a GPU try --device cpu; else this is a fault of "
        "resect or of this version of transformers."
    )


@torch.inference_mode()
def logits(model: LanguageModel) -> list[Tensor]:
    """The logits of each probe that fits, at all positions, as they come."""
    prompts, continuations = zip(*PROBES, strict=True)
    lengths, limit = model.lengths(prompts, continuations), model.context
    tokens = [model.tokens(*probe) for probe, length in zip(PROBES, lengths, strict=True) if limit is None or length <= limit]
    return [model.model(**model.forward.rows([each]).inputs).logits.cpu() for each in tokens]


def evidence_of(model: Any, tokenizer: Any) -> Evidence:
    """What a model says, where it is."""
    for parameter in model.parameters():  # files align tensors differently, and the last bit of a sum depends on it
        parameter.data = parameter.data.clone()
    tensors = [*model.named_parameters(), *model.named_buffers()]
    digests = {name: _digest(tensor) for name, tensor in tensors}
    ids = tuple(tuple(tokenizer(text)["input_ids"]) for probe in PROBES for text in probe)
    return Evidence(digests, tuple(logits(LanguageModel.of(model, tokenizer))), ids)


def _digest(tensor: Tensor) -> str:
    content: Any = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return f"{tensor.dtype} {list(tensor.shape)} {hashlib.sha256(content).hexdigest()}"
