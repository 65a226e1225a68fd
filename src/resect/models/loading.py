"""Loads a LanguageModel from a folder, a Hub id or a GGUF file, and refuses checkpoints that transformers would accept with a warning.

Knows files and classes of transformers; does not know what the model is used for.
"""

import copy
import os
import struct
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # the error alone; transformers loads .bin files with weights_only=True, which raises it
from typing import Any, Literal

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file, get_checkpoint_shard_files

from resect.core.errors import BadModel, InputError

from .anatomy import Anatomy
from .discovery import kind_of
from .factored_linear import FactoredFiles, finish_loading
from .families import family_line
from .gguf_files import SUFFIX, check_gguf, gguf_names, gguf_parts
from .language_model import LanguageModel
from .packed_integers import unpacked_checkpoint
from .plain_weights import check_plain, is_plain, restore_transposed, to_plain_weights, transposed_names
from .quantization import UNPACKED, Quantization, note_origin, origin_of, stored_quantization
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
    "GGUF file": "transformers reads GGUF files of some architectures; for another one give the model's own folder or Hub id.",
    "tokenizer": "Get tokenizer.json again, next to config.json; for a model without one: pip install 'resect[sentencepiece]'.",
}


def load_config(path: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """Returns the configuration of a model; a folder with config.json alone, or a GGUF file, is enough. Raises BadModel."""
    folder = Path(path)
    if gguf_parts(path) is not None:
        return _gguf_config(path, revision)
    if folder.exists() and not (folder / "config.json").is_file():
        files = gguf_names(folder) if folder.is_dir() else ()
        way = (
            f"give one of its GGUF files: {', '.join(str(folder / name) for name in files)}"
            if files
            else "give the folder that contains it"
        )
        raise BadModel(f"{path} contains no config.json, so it is no Hugging Face model; {way}, or a Hub id.")
    if not folder.exists() and (path.startswith((".", "/", "~")) or path.count("/") > 1 or path.lower().endswith(SUFFIX)):
        what = "file" if path.lower().endswith(SUFFIX) else "folder"
        raise BadModel(f"There is no {what} {path}; give the folder of a model, or a Hub id such as google/flan-t5-base.")
    try:
        return transformers.AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
    except (*_LOADING_ERRORS, StrictDataclassError) as error:
        if "trust_remote_code" in str(error):
            raise BadModel(
                f"{path} brings code of its own, which is not run unless you allow it: --trust-remote-code (trust_remote_code=True), only "
                "for code that you have read."
            ) from error
        family = _stated_family(path, revision)
        if family is not None and family not in transformers.CONFIG_MAPPING:
            family_line(family)  # raises UnknownFamily, a clearer error than that of transformers
        raise BadModel(_cause(path, "configuration", error)) from error


def class_of(config: Any, anatomy: Anatomy) -> Any:
    """Returns the class that builds a model from this configuration, whose anatomy is known: with `from_config` and `from_pretrained`."""
    return CLASSES[anatomy.kind] if anatomy.is_listed else kind_of(config)[1]


def load_parts(
    path: str,
    *,
    dtype: str = "auto",
    device: torch.device | None = None,
    device_map: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    dequantize: bool = False,
) -> tuple[Any, Any]:
    """Returns the Hugging Face model and its tokenizer; also of a factored export, and of a GGUF file.

    `device`: where the model is put; None, or with a `device_map`: where transformers puts it. `dequantize`: with plain weights, whatever
    the checkpoint stores. Raises BadModel, UnknownFamily, NotYet, InputError, NotWritable.
    """
    if dtype not in DTYPES:
        raise InputError(f"The dtype {dtype!r} is not known; it is one of {', '.join(DTYPES)}.")
    config = load_config(path, revision=revision, trust_remote_code=trust_remote_code)
    quantization = stored_quantization(path, config)
    if quantization is not None:
        quantization.check_packages(path, dequantize=dequantize)
    anatomy = Anatomy.of_config(config)  # before gigabytes are read for an unknown family
    model_class = class_of(config, anatomy)
    checkpoint = _Checkpoint(path, revision, trust_remote_code, getattr(torch, dtype, "auto"))
    try:
        if quantization is None:
            model, info = checkpoint.load(model_class, config, device_map=device_map)
        else:
            place = device_map if device_map is not None or device is None else {"": device}
            model, info = checkpoint.load_quantised(model_class, config, quantization, place, dequantize=dequantize)
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
    if quantization is None and device is not None and device_map is None:
        model.to(device)
    if model.dtype == torch.float64 and model._can_set_experts_implementation():
        model.set_experts_implementation("eager")  # products grouped by expert do not exist in float64
    return model, checkpoint.tokenizer()


@dataclass(frozen=True)
class _Checkpoint:
    """The files of a model, and how they are read."""

    path: str
    revision: str | None
    trust_remote_code: bool
    dtype: torch.dtype | str

    @property
    def source(self) -> tuple[str, dict[str, Any]]:
        """What the functions of transformers are given: a folder or Hub id, and more arguments."""
        common: dict[str, Any] = {"revision": self.revision, "trust_remote_code": self.trust_remote_code}
        parts = gguf_parts(self.path)
        return (self.path, common) if parts is None else (parts[0], common | {"gguf_file": parts[1]})

    def load(self, model_class: Any, config: Any, **settings: Any) -> tuple[Any, dict[str, Any]]:
        """Returns the model, and what transformers says of the weights that it loaded."""
        path, common = self.source
        factored = FactoredFiles.find(path, getattr(config, "_commit_hash", None) or self.revision)
        loader, plain = (model_class, None) if factored is None else factored.loader(model_class, config, self.trust_remote_code)
        arguments = {"config": config, "dtype": self.dtype, "output_loading_info": True, **settings, **common}
        model, info = loader.from_pretrained(path, **arguments)
        return (model if plain is None else finish_loading(model, plain)), info

    def load_quantised(
        self, model_class: Any, config: Any, quantization: Quantization, place: Any, *, dequantize: bool
    ) -> tuple[Any, dict[str, Any]]:
        """Returns the same of quantised weights: as they are, or as plain ones."""
        if dequantize and quantization.method in UNPACKED:
            model, info = self._unpack(model_class, config, place)
        else:
            settings = quantization.loading_settings(config, dequantize=dequantize)
            model, info = self.load(model_class, config, device_map=place, **settings)
            if dequantize:
                model = to_plain_weights(model, quantization.method, None if isinstance(self.dtype, str) else self.dtype)
                restore_transposed(model, self._blueprint(model_class, config))
        if dequantize:
            check_plain(model, self.path)
        if all(is_plain(parameter) for parameter in model.parameters()):
            note_origin(model, quantization)
        return model, info

    def _unpack(self, model_class: Any, config: Any, place: Any) -> tuple[Any, dict[str, Any]]:
        """Returns the model of a checkpoint whose packed integers are read here."""
        files = Path(str(cached_file(self.path, "config.json", revision=self.revision))).parent
        _fetch_weights(self.path, self.revision)
        tensors = unpacked_checkpoint(files, dict(config.quantization_config))
        blueprint = self._blueprint(model_class, config)
        tensors |= {name: tensors[name].T for name in transposed_names(tensors, blueprint) if tensors[name].dim() == 2}
        dtype = self.dtype if isinstance(self.dtype, torch.dtype) else getattr(config, "dtype", None) or torch.float32
        settings = {"config": blueprint.config, "state_dict": tensors, "dtype": dtype, "device_map": place, "output_loading_info": True}
        model, info = type(blueprint).from_pretrained(None, **settings)  # an auto class needs a path
        model.config._name_or_path = self.path
        if model.can_generate() and (files / "generation_config.json").is_file():
            model.generation_config = transformers.GenerationConfig.from_pretrained(str(files))
        return model, info

    def _blueprint(self, model_class: Any, config: Any) -> Any:
        """Returns the model with plain weights, without values."""
        plain = copy.deepcopy(config)
        if hasattr(plain, "quantization_config"):
            del plain.quantization_config
        with torch.device("meta"):
            return model_class.from_config(plain, trust_remote_code=self.trust_remote_code)

    def tokenizer(self) -> Any:
        """Returns the tokenizer. Raises BadModel."""
        path, common = self.source
        try:
            return transformers.AutoTokenizer.from_pretrained(path, **common)
        except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
            raise BadModel(_cause(self.path, "tokenizer", error)) from error


def load_model(
    path: str | os.PathLike[str],
    *,
    dtype: str = "auto",
    device: str | None = None,
    device_map: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    dequantize: bool = False,
    batch_size: int | Literal["auto"] = "auto",
    **reading: Any,
) -> LanguageModel:
    """Load a model and its tokenizer from a folder, from the Hub, or from a GGUF file.

    Parameters
    ----------
    path : folder, Hub id, or GGUF file (also as OWNER/NAME/FILE.gguf on the Hub); also of a factored export (`resect export --format
        factored`), which computes with the factors
    dtype : "auto" (as stored), "float32", "bfloat16", "float16", "float64"
    device : "cpu", "cuda", …; None: a GPU where there is one
    device_map : passed to transformers (needs the `accelerate` extra); excludes `device`
    trust_remote_code : run code in the model's repository. Dangerous: only for models whose code you have read.
    dequantize : give a quantised model plain weights in `dtype`, into which every edit can be written; without it, edits of units are
        applied to the activations, and edits of whole matrices are refused (NotWritable)
    reading : how texts are read: chat, chat_kwargs, system, parse_special, as of `LanguageModel.of`

    Raises InputError for an unknown dtype or device, BadModel (missing, truncated, with weights that the checkpoint lacks, or quantised by
    a package that is not installed), UnknownFamily, NotYet, NotWritable where weights cannot be made plain. Warns where a folder has two
    sets of weights, and says which is loaded (in `notes` of the model too).
    """
    if device is not None and device_map is not None:
        raise InputError(f"device {device!r} and device_map {device_map!r} both name a device; give one of them.")
    path = os.fspath(path)
    two_sets = unused_weights(Path(path)) if os.path.isdir(path) else None
    target = None if device_map is not None else usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model, tokenizer = load_parts(
        path,
        dtype=dtype,
        device=target,
        device_map=device_map,
        revision=revision,
        trust_remote_code=trust_remote_code,
        dequantize=dequantize,
    )
    if tokenizer is None:
        raise BadModel(f"{path} has no readable tokenizer; a language model needs one (tokenizer.json next to config.json).")
    model.requires_grad_(False)
    loaded = LanguageModel.of(model, tokenizer, batch_size=batch_size, name=path.rstrip("/").split("/")[-1], **reading)
    origin = origin_of(model)
    loaded.loading_notes = () if origin is None else (origin.note(),)
    if two_sets is not None:
        loaded.loading_notes = (two_sets, *loaded.loading_notes)
        warnings.warn(two_sets, stacklevel=2)
    return loaded


def _gguf_config(path: str, revision: str | None) -> Any:
    """Returns the configuration in the metadata of a GGUF file. Raises BadModel."""
    Quantization("gguf").check_packages(path, dequantize=False)
    if Path(path).is_file():
        check_gguf(Path(path))
    folder, name = gguf_parts(path) or (path, "")
    try:
        return transformers.AutoConfig.from_pretrained(folder, gguf_file=name, revision=revision)
    except (*_LOADING_ERRORS, StrictDataclassError, struct.error) as error:
        raise BadModel(_cause(path, "GGUF file", error)) from error


def _fetch_weights(path: str, revision: str | None) -> None:
    """Download the weights of a Hub id next to its configuration; nothing for a folder."""
    if os.path.isdir(path):
        return
    index = cached_file(path, SAFE_WEIGHTS_INDEX_NAME, revision=revision, _raise_exceptions_for_missing_entries=False)
    if index is None:
        cached_file(path, SAFE_WEIGHTS_NAME, revision=revision)
    else:
        get_checkpoint_shard_files(path, index, revision=revision)


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
    if os.path.exists(path):
        kind = "folder" if os.path.isdir(path) else "file"
        return f"The {part} of the {kind} {path} could not be loaded: {reason}. {_ADVICE[part]}"
    return f"The {part} of the Hub id {path} could not be loaded: {reason}. Check the name and the network, or give a folder."
