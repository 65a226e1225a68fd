"""From a folder or a Hub id to a LanguageModel, refusing what transformers would let through with a warning.

Knows files and classes of transformers; knows nothing of what is done with the model.
"""

import os
import textwrap
from pathlib import Path
from pickle import UnpicklingError  # the error alone; transformers loads .bin files with weights_only=True, which raises it
from typing import Any, Literal

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from resect.core.errors import BadModel, InputError

from .anatomy import Anatomy
from .factored_linear import FactoredFiles, settle
from .families import family_named
from .language_model import LanguageModel

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
#: What loads a model of each kind.
CLASSES = {
    "causal": transformers.AutoModelForCausalLM,
    "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
    "masked": transformers.AutoModelForMaskedLM,
}
#: What transformers raises where a configuration says what cannot be, or files hold something else than weights.
_ODD = (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError)
_UNPICKLED = "a .bin file is empty or damaged, or holds more than tensors, which is not run"
_WAYS_OUT = {
    "configuration": "Mend config.json, or get the model again.",
    "weights": "Where files are missing or cut short, get them again; where they are whole, config.json does not fit them.",
    "tokenizer": "Get tokenizer.json again, beside config.json; where a model comes without one: pip install 'resect[sentencepiece]'.",
}


def load_config(path: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """The configuration of a model; a folder with config.json alone will do. Raises BadModel."""
    folder = Path(path)
    if folder.exists() and not (folder / "config.json").is_file():
        raise BadModel(f"{path} holds no config.json, so it is no Hugging Face model; give the folder that holds it, or a Hub id.")
    if not folder.exists() and (path.startswith((".", "/", "~")) or path.count("/") > 1):
        raise BadModel(f"There is no folder {path}; give the folder of a model, or a Hub id such as google/flan-t5-base.")
    try:
        return transformers.AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
    except (*_ODD, StrictDataclassError) as error:
        family = _stated_family(path, revision)
        if family is not None:
            family_named(family)  # what transformers does not know either is refused in our words
        raise BadModel(_cause(path, "configuration", error)) from error


def load_parts(
    path: str, *, dtype: str = "auto", device_map: Any = None, revision: str | None = None, trust_remote_code: bool = False
) -> tuple[Any, Any]:
    """The Hugging Face model and its tokenizer; of a factored export too. Raises BadModel, UnknownFamily, NotYet, InputError."""
    if dtype not in DTYPES:
        raise InputError(f"The dtype {dtype!r} is not known; it is one of {', '.join(DTYPES)}.")
    config = load_config(path, revision=revision, trust_remote_code=trust_remote_code)
    kind = Anatomy.of_config(config).kind  # before gigabytes are read for a family that is not known
    common = {"revision": revision, "trust_remote_code": trust_remote_code}
    factoring = FactoredFiles.find(path, getattr(config, "_commit_hash", None) or revision)
    try:
        loader, plain = (CLASSES[kind], None) if factoring is None else factoring.loader(CLASSES[kind], config, trust_remote_code)
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
    except (*_ODD, RuntimeError, AssertionError, ImportError, SafetensorError) as error:
        raise BadModel(_cause(path, "weights", error)) from error
    missing = sorted(info.get("missing_keys") or ())
    if missing:
        # transformers would fill these at random and go on; every number after that would be noise.
        raise BadModel(
            f"The checkpoint {path} lacks {len(missing)} of the weights that the model needs, among them {missing[0]}; "
            "it belongs to another kind of model, or is incomplete: get it again."
        )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **common)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise BadModel(_cause(path, "tokenizer", error)) from error
    return model if plain is None else settle(model, plain), tokenizer


def load_model(
    path: str | os.PathLike[str],
    *,
    dtype: str = "auto",
    device: str | None = None,
    device_map: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    batch_size: int | Literal["auto"] = "auto",
    chat: bool = False,
) -> LanguageModel:
    """Load a model and its tokenizer from a folder or from the Hub.

    Parameters
    ----------
    path : folder, or Hub id; of an export in factors too (`resect export --format factored`), whose matrices are computed with as factors
    dtype : "auto" (as it is stored), "float32", "bfloat16", "float16", "float64"
    device : "cpu", "cuda", …; None takes a GPU where there is one
    device_map : handed to transformers (needs the `accelerate` extra); excludes `device`
    trust_remote_code : run code that comes with the model. Dangerous: only for models whose code you have read.

    Raises InputError for a dtype or device that is not there, BadModel (missing, truncated, or with weights that the checkpoint lacks),
    UnknownFamily, NotYet.
    """
    if device is not None and device_map is not None:
        raise InputError(f"device {device!r} and device_map {device_map!r} both say where the model goes; give one of them.")
    path = os.fspath(path)
    where = None if device_map is not None else usable(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model, tokenizer = load_parts(path, dtype=dtype, device_map=device_map, revision=revision, trust_remote_code=trust_remote_code)
    if where is not None:
        model.to(where)
    if tokenizer is None:
        raise BadModel(f"{path} has no tokenizer that could be read; a language model needs one (tokenizer.json beside config.json).")
    model.requires_grad_(False)
    return LanguageModel.of(model, tokenizer, batch_size=batch_size, name=path.rstrip("/").split("/")[-1], chat=chat)


def usable(device: str) -> torch.device:
    """The device of that name, if something can be put there. Raises InputError."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = textwrap.shorten(str(error), 160, placeholder=" …").rstrip(".")
        raise InputError(f"Nothing can be computed on the device {device!r}: {reason}. Give cpu, cuda, cuda:1, mps, or none.") from error


def _stated_family(path: str, revision: str | None) -> str | None:
    """The model_type that a configuration says, whether or not transformers knows it."""
    try:
        stated = transformers.PretrainedConfig.get_config_dict(path, revision=revision)[0].get("model_type")
    except _ODD:
        return None
    return stated if isinstance(stated, str) else None


def _cause(path: str, part: str, error: Exception | str) -> str:
    reason = textwrap.shorten(str(error) or type(error).__name__, 240, placeholder=" …").rstrip(".")
    if os.path.isdir(path):
        return f"The {part} of the folder {path} could not be loaded: {reason}. {_WAYS_OUT[part]}"
    return f"The {part} of the Hub id {path} could not be loaded: {reason}. Check the name and the network, or give a folder."
