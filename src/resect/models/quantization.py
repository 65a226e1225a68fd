"""How a model was quantised: by which method, into how many bits, which packages load it, and how far its values are from the full ones.

Knows configurations and the models that were loaded by them; reads no weight (see `plain_weights`).
"""

import dataclasses
import importlib.util
import inspect
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import transformers
from torch import nn

from resect.core.errors import BadModel

from .gguf_files import SUFFIX, bits_per_weight

EXTRA = "pip install 'resect[quantized]'"
#: The packages, as they are imported, that transformers needs for a method; those of the extra `quantized` first.
_EXTRA_PACKAGES = {
    "bitsandbytes": ("bitsandbytes", "accelerate"),
    "torchao": ("torchao", "accelerate"),
    "gguf": ("gguf", "accelerate"),
    "compressed-tensors": ("compressed_tensors", "accelerate"),
    "fp8": ("accelerate",),
    "mxfp4": ("accelerate",),
}
_OTHER_PACKAGES = {"gptq": ("optimum", "gptqmodel"), "awq": ("gptqmodel",), "hqq": ("hqq",), "quanto": ("optimum.quanto",)}
#: Methods whose checkpoints are unpacked here, without their packages.
UNPACKED = ("gptq", "awq")
#: Methods that are unpacked while they are loaded, whether or not that is asked for: what else their libraries do depends on the device,
#: and on whether the model has computed already.
ALWAYS_PLAIN = ("gguf", "compressed-tensors")
#: The largest deviation of a matrix from the full one, by the fewest bits a weight (see `Quantization.tolerance`). Measured deviations
#: are less than half of it: up to 0.04 for 8 bits, 0.07 for 5, 0.17 for 4. Two models have about 1.4.
_TOLERANCES = ((7.5, 0.1), (5.0, 0.2), (3.5, 0.35), (2.5, 0.5), (0.0, 0.7))
#: The bits of a weight where a method has one number of them, or its configuration says none.
_BITS = {"fp8": 8.0, "fbgemm_fp8": 8.0, "mxfp8": 8.0, "eetq": 8.0, "mxfp4": 4.0, "nvfp4": 4.0, "fp_quant": 4.0, "bitnet": 1.6, "aqlm": 2.0}

_origins: "WeakKeyDictionary[nn.Module, Quantization | None]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Quantization:
    """The method by which weights were quantised, as `quant_method` names it, and the bits of a weight (None: unknown).

    `is_plain`: whether the model computes with plain numbers, which were unpacked from the quantised ones.
    """

    method: str
    bits: float | None = None
    is_plain: bool = False

    @classmethod
    def of_config(cls, config: Any) -> "Quantization | None":
        """Returns what a configuration says; None where the weights are not quantised."""
        stated = getattr(config, "quantization_config", None)
        text = getattr(config, "get_text_config", lambda: None)() if stated is None else None
        stated = getattr(text, "quantization_config", None) if stated is None else stated
        if stated is None:
            return None
        values = dict(stated) if isinstance(stated, Mapping) else dict(stated.to_dict())
        method = values.get("quant_method")
        name = str(getattr(method, "value", method) or "bitsandbytes")
        if name == "gguf":
            file = Path(str(getattr(config, "_name_or_path", ""))) / str(values.get("gguf_file") or "")
            return cls.of_gguf(file) if file.is_file() else cls(name, None, is_plain=True)
        return cls(name, _stated_bits(name, values))

    @classmethod
    def of_gguf(cls, file: Path) -> "Quantization | None":
        """Returns the quantisation of a GGUF file; None where its weights are plain numbers. Raises BadModel for a damaged file."""
        bits = bits_per_weight(file)
        return None if bits is None else cls("gguf", bits, is_plain=True)

    @property
    def tolerance(self) -> float:
        """How far the values of a matrix may be from those of the full model: the root mean square of the differences, as a share of that
        of the values. 0: no further than rounding, since AWQ rescales the channels of a matrix, and its values are no approximation.
        """
        if self.method == "awq":
            return 0.0
        return next(share for least, share in _TOLERANCES if (self.bits or 0.0) >= least)

    def note(self) -> str:
        """Returns a sentence for the user of a model that was loaded so."""
        bits = "" if self.bits is None else f", {self.bits:g} bits a weight"
        if self.is_plain:
            return f"The plain weights were unpacked from quantised ones ({self.method}{bits}); plans are exported onto the full model."
        return (
            f"The weights are quantised ({self.method}{bits}): edits of units are applied to activations, edits of whole matrices need "
            "--dequantize, and plans are exported onto the full model."
        )

    def check_packages(self, source: str, *, dequantize: bool) -> None:
        """Raises BadModel where packages that load such a model are not installed, with what to install."""
        if dequantize and self.method in UNPACKED:
            return
        for packages, extra in ((_EXTRA_PACKAGES, True), (_OTHER_PACKAGES, False)):
            missing = [name for name in packages.get(self.method, ()) if not _is_installed(name)]
            if missing:
                ways = EXTRA if extra else f"pip install {' '.join(name.replace('.', '-') for name in missing)}"
                other = ", --dequantize (dequantize=True), which does without," if self.method in UNPACKED else ""
                raise BadModel(
                    f"{source} is quantised ({self.method}); to load it needs {' and '.join(missing)}, not installed here: {ways}{other} "
                    "or give the unquantised model."
                )

    def loading_settings(self, config: Any, *, dequantize: bool) -> dict[str, Any]:
        """Returns more arguments of `from_pretrained`, and changes `config`, so that transformers unpacks the weights where it can do so.

        That is where it is asked for, and with `ALWAYS_PLAIN`.
        """
        if self.method == "bitsandbytes":  # says at every product that its inputs are cast
            logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        if not (dequantize or self.method in ALWAYS_PLAIN) or not _has_dequantize(self.method):
            return {}
        if self.method == "gguf":
            return {"quantization_config": transformers.GgufConfig(dequantize=True)}
        stated = getattr(config, "quantization_config", None)
        if isinstance(stated, Mapping):
            config.quantization_config = {**stated, "dequantize": True}
        return {}


def stored_quantization(path: str, config: Any) -> Quantization | None:
    """Returns how the weights at `path` (a folder, a Hub id, a GGUF file) are quantised; None where they are plain."""
    if path.lower().endswith(SUFFIX) and Path(path).is_file():
        return Quantization.of_gguf(Path(path))
    return Quantization.of_config(config)


def note_origin(model: nn.Module, quantization: Quantization) -> None:
    """Note that a model computes with plain numbers that were unpacked from quantised ones: its configuration no longer says so."""
    _origins[model] = dataclasses.replace(quantization, is_plain=True)


def origin_of(model: nn.Module | None) -> Quantization | None:
    """Returns how the weights of a loaded model were quantised; None where they were not, or nothing says so."""
    if model is None:
        return None
    if model not in _origins:
        _origins[model] = Quantization.of_config(getattr(model, "config", None))
    return _origins[model]


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the parent of a submodule
        return False


def _has_dequantize(method: str) -> bool:
    """Returns whether transformers has a setting `dequantize` for this method."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    config_class = AUTO_QUANTIZATION_CONFIG_MAPPING.get(method)
    return config_class is not None and "dequantize" in inspect.signature(config_class).parameters


def _stated_bits(method: str, values: Mapping[str, Any]) -> float | None:
    """Returns the fewest bits of a weight that a quantisation_config states."""
    if method == "bitsandbytes":
        return 4.0 if values.get("load_in_4bit") else 8.0
    if method in _BITS:
        return _BITS[method]
    if method == "compressed-tensors":
        groups = (values.get("config_groups") or {}).values()
        weights = [group.get("weights") or {} for group in groups if isinstance(group, Mapping)]
        return min((float(group["num_bits"]) for group in weights if group.get("num_bits")), default=None)
    if method == "torchao":
        named = re.findall(r"(?:u?int|float)x?(\d)", str(values.get("quant_type")).lower())
        return min(map(float, named), default=None)
    for key in ("bits", "nbits", "w_bit", "num_bits"):
        if isinstance(values.get(key), int | float):
            return float(values[key])
    named = re.findall(r"\d", str(values.get("weights", "")))
    return float(named[0]) if named else None
