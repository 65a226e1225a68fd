"""Files that the authors of LAPE publish: selected units, and the counts from which they are selected.

Both are PyTorch files, which can contain code: they are read with `weights_only=True`, which runs none, and every number is checked against
the model. Knows these two formats; knows no text and no selection.
"""

import os
import struct
import warnings
from collections.abc import Mapping, Sequence
from pickle import UnpicklingError  # the error alone; torch.load(weights_only=True) raises it
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resect.core.address import Neurons, Site
from resect.core.errors import InputError, WrongModel
from resect.models.anatomy import Anatomy, anatomy_of

from .counts import Counts, activation_sites

#: The order of the lists in the authors' files; files of six lists have no ja.
PUBLISHED_ORDER = ("en", "zh", "fr", "es", "vi", "id", "ja")
_INTEGERS = (torch.int64, torch.int32)
#: What reading a damaged or malicious file may raise.
_READ_ERRORS = (
    OSError, UnpicklingError, EOFError, ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError,
    RuntimeError, SyntaxError, TypeError, ValueError, struct.error,
)  # fmt: skip
#: How to go on where shapes differ.
_OTHER_MODEL = "Such files are of one model: give the file of this one"


def read_lape_neurons(path: str | os.PathLike[str], languages: Sequence[str], anatomy: Any) -> dict[str, Neurons]:
    """The units of a published file, by language.

    Parameters
    ----------
    path : a PyTorch file of `List[language][layer]` of tensors of unit indices, such as `llama-2-7b.neuron.pth`
    languages : of its lists, in their order: en, zh, fr, es, vi, id, ja in the authors' files, without ja where there are six lists
    anatomy : of the model that they are for (Anatomy, LanguageModel or Hugging Face model)

    Returns language to Neurons at `act`, in the order of `languages`.

    Raises InputError where the file cannot be read, contains anything else (nothing in it is run), or has not as many lists as there are
    languages; WrongModel where its layers or units are not those of the model.
    Source: github RUCAIBox/Language-Specific-Neurons, by its files. Differs from the source in: the number
    of lists must be that of the languages, where the authors' script pairs as many as there are of both.
    """
    widths, names = _widths(anatomy), _checked_names(languages)
    content = _loaded(path, "published units")
    if not _is_list(content) or not all(map(_is_list, content)):
        raise InputError(f"{path} has no published units: a list by language of lists by layer is wanted, not {_list_type(content)}.")
    if len(content) != len(names):
        usual = ", ".join(PUBLISHED_ORDER[: len(content)])
        raise InputError(
            f"{path} has the units of {len(content)} languages, and {len(names)} are named: {', '.join(names)}. Name them all, "
            f"in the order of the file (the authors' own files of {len(content)} lists: {usual})."
        )
    return {name: _language_units(path, name, layers, widths) for name, layers in zip(names, content, strict=True)}


def read_lape_counts(paths: Mapping[str, str | os.PathLike[str]], model: Any) -> Counts:
    """Counts from published files, one for each language.

    Parameters
    ----------
    paths : language to a PyTorch file of `{"n": tokens, "over_zero": integers [layers, units]}`; other keys are ignored
    model : the model that was recorded (LanguageModel, Hugging Face model or Anatomy)

    Returns Counts without sums (LAVE and steering need counts recorded by resect), and without an identity: such a file does not tell the
    weights, only the shape of its model is known.

    Raises InputError where a file cannot be read, contains anything else (nothing in it is run), or impossible counts; WrongModel where the
    shape is not the model's.
    Source: as `read_lape_neurons`. Differs from the source in: nothing.
    """
    widths, names = _widths(model), _checked_names(tuple(paths))
    tokens, rows = zip(*(_language_counts(paths[name], widths) for name in names), strict=True)
    by_layer = np.stack(rows)  # [languages, layers, units]
    return Counts(tuple(names), tokens, {site: by_layer[:, layer] for layer, site in enumerate(widths)})


def _widths(model: Any) -> dict[Site, int]:
    """The sites of a model's activations, in its order, and how many units each has."""
    anatomy: Anatomy = anatomy_of(model)
    return {site: anatomy.width(site) for site in activation_sites(anatomy)}


def _checked_names(languages: Sequence[str]) -> list[str]:
    if isinstance(languages, str) or not all(isinstance(name, str) and name for name in languages):
        raise InputError(f"languages is a list of codes such as ['en', 'zh'], not {languages!r}.")
    folded = [name.casefold() for name in languages]
    twice = sorted({name for name in languages if folded.count(name.casefold()) > 1})
    if twice or not languages:
        raise InputError(f"Name each language once; {', '.join(twice) or 'none'} is given.")
    return list(languages)


def _loaded(path: str | os.PathLike[str], what: str) -> Any:
    """The content of a PyTorch file; nothing in it is run. Raises InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the format of a file, of which only the content matters here
            return torch.load(path, map_location="cpu", weights_only=True)
    except _READ_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"The file {path} of {what} cannot be read: {error.strerror}.") from error
        reason = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        if isinstance(error, UnpicklingError):  # its own text is a page on how to run the code in the file
            reason = "what is no tensor is not run; it may also be in a format that torch.save does not write by itself"
        raise InputError(
            f"{path} is no file of {what}, or is damaged, cut short, or contains more than numbers ({reason}); get it again."
        ) from error


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _list_type(value: Any) -> str:
    if not _is_list(value):
        return f"a {type(value).__name__}"
    other = next((item for item in value if not _is_list(item)), None)
    return f"a list of {type(other).__name__}"


def _language_units(path: Any, language: str, layers: Sequence[Any], widths: Mapping[Site, int]) -> Neurons:
    if len(layers) != len(widths):
        raise WrongModel(f"{path} has the units of {len(layers)} layers ({language}), and this model has {len(widths)}. {_OTHER_MODEL}.")
    units: dict[Site | str, list[int]] = {}
    for layer, ((site, width), indices) in enumerate(zip(widths.items(), layers, strict=True)):
        units[site] = _layer_units(f"{path}, {language}, layer {layer}", indices, width)
    return Neurons(units)


def _layer_units(where: str, indices: Any, width: int) -> list[int]:
    is_empty = _is_plain(indices, 1) and not len(indices)  # torch.tensor([]) is a tensor of floats
    if not _is_plain(indices, 1) or not (is_empty or indices.dtype in _INTEGERS):
        raise InputError(f"{where}: a tensor of unit indices, int64 [units], is wanted, not {_description(indices)}.")
    if len(indices) > width:
        raise WrongModel(f"{where}: {len(indices)} units are named, and this model has {width} a layer. {_OTHER_MODEL}.")
    units: list[int] = [] if is_empty else indices.tolist()
    wrong = next((unit for unit in units if not 0 <= unit < width), None)
    if wrong is not None:
        raise WrongModel(f"{where}: there is no unit {wrong}; this model has {width} a layer, 0 to {width - 1}. {_OTHER_MODEL}.")
    if len(set(units)) < len(units):
        raise InputError(f"{where}: a unit is named twice; the file is damaged: get it again.")
    return units


def _language_counts(path: Any, widths: Mapping[Site, int]) -> tuple[int, np.ndarray]:
    """The number of tokens and the counts [layers, units] of one file."""
    content = _loaded(path, "published counts")
    if not isinstance(content, Mapping) or not {"n", "over_zero"} <= set(content):
        keys = ", ".join(sorted(map(str, content))) if isinstance(content, Mapping) else type(content).__name__
        raise InputError(
            f'{path} has no published counts: {{"n": tokens, "over_zero": integers [layers, units]}} is wanted, not {keys[:200]}.'
        )
    tokens, counts = _token_number(path, content["n"]), content["over_zero"]
    if not _is_plain(counts, 2) or counts.dtype not in _INTEGERS:
        raise InputError(f'{path}: "over_zero" is a tensor of integers [layers, units], int32 or int64, not {_description(counts)}.')
    sizes = sorted(set(widths.values()))
    if len(sizes) > 1 or tuple(counts.shape) != (len(widths), sizes[0]):
        there, here = f"{counts.shape[0]} layers of {counts.shape[1]} units", " or ".join(map(str, sizes))
        raise WrongModel(f"{path} has counts of {there}, and this model has {len(widths)} layers of {here}. {_OTHER_MODEL}.")
    low, high = int(counts.min()), int(counts.max())
    if low < 0 or high > tokens:
        overflow = " (32 bits may have overflowed)" if low < 0 and counts.dtype == torch.int32 else ""
        raise InputError(
            f'{path}: "over_zero" goes from {low} to {high}, and every count is between 0 and the {tokens} tokens of "n"{overflow}; '
            "count again."
        )
    return tokens, counts.to(torch.int64).numpy()


def _token_number(path: Any, value: Any) -> int:
    if isinstance(value, Tensor) and value.numel() == 1 and value.dtype in _INTEGERS and value.device.type == "cpu":
        value = value.item()
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f'{path}: "n", the number of tokens, is a whole number from 1 on, not {_description(value)}.')
    return value


def _is_plain(value: Any, dimensions: int) -> bool:
    """Whether a value is a tensor of so many dimensions whose numbers are in memory."""
    return type(value) is Tensor and value.layout == torch.strided and value.device.type == "cpu" and value.dim() == dimensions


def _description(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__} {value!r:.60}"
