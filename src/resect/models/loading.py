"""Loads a LanguageModel from a folder or a Hub id, and refuses checkpoints that transformers would accept with a warning.

Knows files and classes of transformers; does not know what the model is used for.
"""

import os
import textwrap
import warnings
from pathlib import Path
from pickle import UnpicklingError  # the error alone; transformers loads .bin files with weights_only=True, which raises it
from typing import Any, Literal

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from resect.core.errors import BadModel, InputError

from .anatomy import Anatomy
from .discovery import kind_of
from .factored_linear import FactoredFiles, finish_loading
from .families import family_line
from .language_model import LanguageModel
from .weight_files import unused_weights

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
#: The auto class that loads a model of each kind.
CLASSES = {
    "causal": transformers.AutoModelForCausalLM,
    "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
    "masked": transformers.AutoModelForMaskedLM,
}
#: What transformers raises for an impossible configuration, or for files that contain no weights.
_LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError)
_UNPICKLED = "a .bin file is empty or damaged, or contains more than tensors, which is not run"
_ADVICE = {
    "configuration": "Correct config.json, or get the model again.",
    "weights": "Where files are missing or truncated, get them again; where they are complete, config.json does not match them.",
    "tokenizer": "Get tokenizer.json again, next to config.json; for a model without one: pip install 'resect[sentencepiece]'.",
}


def load_config(path: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """Returns the configuration of a model; a folder with config.json alone is enough. Raises BadModel."""
    folder = Path(path)
    if folder.exists() and not (folder / "config.json").is_file():
        raise BadModel(f"{path} contains no config.json, so it is no Hugging Face model; give the folder that contains it, or a Hub id.")
    if not folder.exists() and (path.startswith((".", "/", "~")) or path.count("/") > 1):
        raise BadModel(f"There is no folder {path}; give the folder of a model, or a Hub id such as google/flan-t5-base.")
    try:
        return transformers.AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
    except (*_LOADING_ERRORS, StrictDataclassError) as error:
        family = _stated_family(path, revision)
        if family is not None and family not in transformers.CONFIG_MAPPING:
            family_line(family)  # raises UnknownFamily, a clearer error than that of transformers
        raise BadModel(_cause(path, "configuration", error)) from error


def load_parts(
    path: str, *, dtype: str = "auto", device_map: Any = None, revision: str | None = None, trust_remote_code: bool = False
) -> tuple[Any, Any]:
    """Returns the Hugging Face model and its tokenizer; also of a factored export. Raises BadModel, UnknownFamily, NotYet, InputError."""
    if dtype not in DTYPES:
        raise InputError(f"The dtype {dtype!r} is not known; it is one of {', '.join(DTYPES)}.")
    config = load_config(path, revision=revision, trust_remote_code=trust_remote_code)
    anatomy = Anatomy.of_config(config)  # before gigabytes are read for an unknown family
    model_class = CLASSES[anatomy.kind] if anatomy.is_listed else kind_of(config)[1]
    common = {"revision": revision, "trust_remote_code": trust_remote_code}
    factored = FactoredFiles.find(path, getattr(config, "_commit_hash", None) or revision)
    try:
        loader, plain = (model_class, None) if factored is None else factored.loader(model_class, config, trust_remote_code)
        model, info = loader.from_pretrained(
            path,
            config=config,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            device_map=device_map,
            output_loading_info=True,
            **common,
        )
    except (EOFError, UnpicklingError) as error:
        raise BadModel(_cause(path, "weights", _UNPICKLED)) from error
    except (*_LOADING_ERRORS, RuntimeError, AssertionError, ImportError, SafetensorError) as error:
        raise BadModel(_cause(path, "weights", error)) from error
    missing = sorted(info.get("missing_keys") or ())
    if missing:
        # transformers would fill these at random and go on, so that all results would be noise.
        raise BadModel(
            f"The checkpoint {path} lacks {len(missing)} of the weights that the model needs, among them {missing[0]}; "
            f"it belongs to another kind of model, or is incomplete: get it again.{_head_advice(model, missing)}"
        )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **common)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise BadModel(_cause(path, "tokenizer", error)) from error
    return model if plain is None else finish_loading(model, plain), tokenizer


def load_model(
    path: str | os.PathLike[str],
    *,
    dtype: str = "auto",
    device: str | None = None,
    device_map: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    batch_size: int | Literal["auto"] = "auto",
    **reading: Any,
) -> LanguageModel:
    """Load a model and its tokenizer from a folder or from the Hub.

    Parameters
    ----------
    path : folder, or Hub id; also of a factored export (`resect export --format factored`), which computes with the factors
    dtype : "auto" (as stored), "float32", "bfloat16", "float16", "float64"
    device : "cpu", "cuda", …; None: a GPU where there is one
    device_map : passed to transformers (needs the `accelerate` extra); excludes `device`
    trust_remote_code : run code in the model's repository. Dangerous: only for models whose code you have read.
    reading : how texts are read: chat, chat_kwargs, system, parse_special, as of `LanguageModel.of`

    Raises InputError for an unknown dtype or device, BadModel (missing, truncated, or with weights that the checkpoint lacks),
    UnknownFamily, NotYet. Warns where a folder has two sets of weights, and says which is loaded (in `notes` of the model too).
    """
    if device is not None and device_map is not None:
        raise InputError(f"device {device!r} and device_map {device_map!r} both name a device; give one of them.")
    path = os.fspath(path)
    two_sets = unused_weights(Path(path)) if os.path.isdir(path) else None
    target = None if device_map is not None else usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model, tokenizer = load_parts(path, dtype=dtype, device_map=device_map, revision=revision, trust_remote_code=trust_remote_code)
    if target is not None:
        model.to(target)
    if tokenizer is None:
        raise BadModel(f"{path} has no readable tokenizer; a language model needs one (tokenizer.json next to config.json).")
    model.requires_grad_(False)
    loaded = LanguageModel.of(model, tokenizer, batch_size=batch_size, name=path.rstrip("/").split("/")[-1], **reading)
    if two_sets is not None:
        loaded.loading_notes = (two_sets,)
        warnings.warn(two_sets, stacklevel=2)
    return loaded


def _head_advice(model: Any, missing: list[str]) -> str:
    """Returns what to do where the head alone is missing: many checkpoints leave it out because it is the embeddings' matrix."""
    head = model.get_output_embeddings()
    if head is None or any(model.get_parameter(name) is not head.weight for name in missing):
        return ""
    return ' Or, where the head is the matrix of the embeddings, write "tie_word_embeddings": true into config.json.'


def usable_device(device: str) -> torch.device:
    """Returns the device of that name, if tensors can be created there. Raises InputError."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = textwrap.shorten(str(error), 160, placeholder=" …").rstrip(".")
        raise InputError(f"Nothing can be computed on the device {device!r}: {reason}. Give cpu, cuda, cuda:1, mps, or none.") from error


def _stated_family(path: str, revision: str | None) -> str | None:
    """Returns the model_type in a configuration, whether or not transformers knows it."""
    try:
        stated = transformers.PretrainedConfig.get_config_dict(path, revision=revision)[0].get("model_type")
    except _LOADING_ERRORS:
        return None
    return stated if isinstance(stated, str) else None


def _cause(path: str, part: str, error: Exception | str) -> str:
    reason = textwrap.shorten(str(error) or type(error).__name__, 240, placeholder=" …").rstrip(".")
    if os.path.isdir(path):
        return f"The {part} of the folder {path} could not be loaded: {reason}. {_ADVICE[part]}"
    return f"The {part} of the Hub id {path} could not be loaded: {reason}. Check the name and the network, or give a folder."
