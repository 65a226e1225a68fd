"""Verifies that an exported checkpoint equals the base model with the plan applied, to the last bit: weights, logits and tokens.

Loads one model after the other, never two at once. Knows no files of a checkpoint.
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

#: Pairs of a prompt (an encoder's, where there is one) and a continuation (a decoder's); the last one fits into any context.
PROBES = (
    ("The quick brown fox jumps over the lazy dog, and then", "the dog goes back to sleep."),
    ("Question: 12 × 7 = 84? Naïve café, Ωmega, 東京. Answer:", "yes, 84"),
    ("a", "b"),
)


@dataclass(frozen=True)
class ProbeResults:
    """A digest of each parameter and buffer by name, the logits of the probes, and their token ids."""

    digests: Mapping[str, str]
    logits: tuple[Tensor, ...]
    token_ids: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class LoadingOptions:
    """How base and export are loaded for editing and comparison: in the same way, whatever their configurations say.

    Attributes
    ----------
    dtype : the widest stored dtype, so that nothing is rounded
    stored_dtypes : parameter name to its stored dtype, where that is known
    """

    dtype: torch.dtype
    stored_dtypes: Mapping[str, torch.dtype]
    trust_remote_code: bool = False

    def load(self, folder: Path) -> tuple[Any, Any]:
        """Returns the Hugging Face model, in evaluation mode on the CPU, and its tokenizer. Raises BadModel."""
        name = str(self.dtype).removeprefix("torch.")
        model, tokenizer = load_parts(str(folder), dtype=name, trust_remote_code=self.trust_remote_code)
        return model.requires_grad_(False).eval(), tokenizer

    def cast_to_stored(self, model: Any) -> dict[str, torch.dtype]:
        """Cast parameters to their stored dtypes; returns the previous dtypes of those that changed."""
        previous = {}
        for name, parameter in model.named_parameters():
            dtype = self.stored_dtypes.get(name, parameter.dtype)
            if dtype != parameter.dtype:
                previous[name] = parameter.dtype
                parameter.data = parameter.data.to(dtype)
        return previous


@dataclass(frozen=True)
class EditedBase:
    """The base model with the plan applied: what an export is compared with, on `device`."""

    folder: Path
    plan: Plan
    loading: LoadingOptions
    device: torch.device
    allow_other_model: bool = False

    def load(self) -> tuple[Any, Any]:
        """Returns the model, edited in the stored dtypes, and its tokenizer.

        Raises NoEffect, NotFinite where the plan has no effect or breaks the model; WrongModel, NotWritable.
        """
        model, tokenizer = self.loading.load(self.folder)
        plan, language_model = replace(self.plan, model=None) if self.allow_other_model else self.plan, LanguageModel.of(model, tokenizer)
        logits = lambda: np.concatenate([logits.double().flatten().numpy() for logits in probe_logits(language_model)])
        verify_effect(plan, language_model, logits, "weights")
        previous = self.loading.cast_to_stored(model)
        plan.write(model)
        for name, dtype in previous.items():
            parameter = model.get_parameter(name)
            parameter.data = parameter.data.to(dtype)
        return model, tokenizer

    def probe(self) -> ProbeResults:
        """Returns its results. Raises as `load`."""
        model, tokenizer = self.load()
        return probe(model.to(self.device), tokenizer)


def probe_export(folder: Path, loading: LoadingOptions, device: torch.device) -> ProbeResults:
    """Returns the results of an exported checkpoint, loaded by the plain classes of transformers."""
    gc.collect()  # the base may be part of a reference cycle, and memory may not suffice for two models
    model, tokenizer = loading.load(folder)
    return probe(model.to(device), tokenizer)


def compare_exact(base: ProbeResults, export: ProbeResults) -> None:
    """Raises Failure where an export differs from the base with the plan applied by a single bit."""
    compare_tensors(base, export)
    if not all(torch.equal(expected, actual) for expected, actual in zip(base.logits, export.logits, strict=True)):
        raise check_failure("its logits are not those of the base with the plan applied")


def compare_tensors(base: ProbeResults, export: ProbeResults) -> None:
    """Raises Failure where tensors or tokens differ by a single bit."""
    names = base.digests.keys() | export.digests.keys()
    other = sorted(name for name in names if base.digests.get(name) != export.digests.get(name))
    if other:
        raise check_failure(
            f"{len(other)} of its {len(names)} tensors are not those of the base with the plan applied, {other[0]} among them"
        )
    if base.token_ids != export.token_ids:
        raise check_failure("its tokenizer encodes texts differently from the base's")


def check_failure(reason: str) -> Failure:
    """Returns the error of an export that fails its check."""
    return Failure(
        f"The export was written and loaded again, and its check failed: {reason}. Nothing was kept. On a GPU try --device cpu; otherwise "
        "this is a bug of resect, or of this version of transformers."
    )


@torch.inference_mode()
def probe_logits(model: LanguageModel) -> list[Tensor]:
    """Returns the logits of each probe that fits into the context, at all positions."""
    prompts, continuations = zip(*PROBES, strict=True)
    lengths, limit = model.pair_lengths(prompts, continuations), model.context
    tokens = [model.tokens(*pair) for pair, length in zip(PROBES, lengths, strict=True) if limit is None or length <= limit]
    return [model.model(**model.forward.collate([pair]).inputs).logits.cpu() for pair in tokens]


def probe(model: Any, tokenizer: Any) -> ProbeResults:
    """Returns the results of a model on its device."""
    for parameter in model.parameters():  # files align tensors differently, and the last bit of a sum depends on the alignment
        parameter.data = parameter.data.clone()
    digests = {name: _digest(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    token_ids = tuple(tuple(tokenizer(text)["input_ids"]) for pair in PROBES for text in pair)
    return ProbeResults(digests, tuple(probe_logits(LanguageModel.of(model, tokenizer))), token_ids)


def _digest(tensor: Tensor) -> str:
    content: Any = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return f"{tensor.dtype} {list(tensor.shape)} {hashlib.sha256(content).hexdigest()}"
