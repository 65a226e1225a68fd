"""Files that the authors of LAPE publish: the units that they found, and the counts that these came from.

Both are PyTorch files, which can hold code: they are read with `weights_only=True`, which runs none, and every number is held against the
model. Knows these two formats; knows no text and no selection.
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
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import anatomy_of

from .counts import Counts

#: The order of the lists in the authors' files; those of six lists have no ja.
PUBLISHED_ORDER = ("en", "zh", "fr", "es", "vi", "id", "ja")
_WHOLE = (torch.int64, torch.int32)
#: What a damaged file, or one made to do harm, may end in while it is read.
_ODD = (
    OSError, UnpicklingError, EOFError, ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError,
    RuntimeError, SyntaxError, TypeError, ValueError, struct.error,
)  # fmt: skip
#: How to go on where shapes differ.
_OTHER = "Such files are of one model: give the one of this model"


def read_lape_neurons(path: str | os.PathLike[str], languages: Sequence[str], anatomy: Any) -> dict[str, Neurons]:
    """The units of a published file, by language.

    Parameters
    ----------
    path : a PyTorch file that holds `List[language][layer]` of tensors of unit indices, such as `llama-2-7b.neuron.pth`
    languages : of its lists, in their order: en, zh, fr, es, vi, id, ja in the authors' files, without ja where there are six lists
    anatomy : of the model that they are for (Anatomy, LanguageModel or Hugging Face model)

    Returns language to Neurons at `act`, in the order of `languages`.

    Raises InputError where the file cannot be read, holds anything else (nothing in it is run), or has not as many lists as there are
    languages; WrongModel where its layers or units are not those of the model.
    Source: github RUCAIBox/Language-Specific-Neurons, as METHODS.md, section 2, describes its files. Differs from the source in: the number
    of lists must be that of the languages, where the authors' script pairs what there is.
    """
    sites, names = _sites(anatomy), _names(languages)
    held = _loaded(path, "published units")
    if not _is_list(held) or not all(map(_is_list, held)):
        raise InputError(f"{path} holds no published units: a list by language of lists by layer is wanted, not {_shape_of(held)}.")
    if len(held) != len(names):
        usual = ", ".join(PUBLISHED_ORDER[: len(held)])
        raise InputError(
            f"{path} holds the units of {len(held)} languages, and {len(names)} are named: {', '.join(names)}. Name them all, "
            f"in the order of the file (the authors' own files of {len(held)} lists: {usual})."
        )
    return {name: _units(path, name, layers, sites) for name, layers in zip(names, held, strict=True)}


def read_lape_counts(paths: Mapping[str, str | os.PathLike[str]], model: Any) -> Counts:
    """Counts from published files, one a language.

    Parameters
    ----------
    paths : language to a PyTorch file that holds `{"n": tokens, "over_zero": integers [layers, units]}`; what else is in it is ignored
    model : the model that was counted (LanguageModel, Hugging Face model or Anatomy)

    Returns Counts without sums (LAVE and steering need counts recorded by resect), and without an identity: such a file does not say of
    which weights it is, only its shape is known.

    Raises InputError where a file cannot be read, holds anything else (nothing in it is run), or counts that cannot be; WrongModel
    where the shape is not the model's.
    Source: as `read_lape_neurons`. Differs from the source in: nothing.
    """
    sites, names = _sites(model), _names(tuple(paths))
    tokens: list[int] = []
    rows: list[np.ndarray] = []
    for name in names:
        number, counted = _counted(paths[name], sites)
        tokens.append(number)
        rows.append(counted)
    stacked = np.stack(rows)  # [languages, layers, units]
    return Counts(tuple(names), tuple(tokens), {site: stacked[:, layer] for layer, site in enumerate(sites)})


def _sites(model: Any) -> dict[Site, int]:
    """The layers of a model, in its order, and how many units each has."""
    anatomy: Anatomy = anatomy_of(model)
    return {site: anatomy.width(site) for site in anatomy.moments if site.role == "act"}


def _names(languages: Sequence[str]) -> list[str]:
    if isinstance(languages, str) or not all(isinstance(name, str) and name for name in languages):
        raise InputError(f"languages is a list of codes such as ['en', 'zh'], not {languages!r}.")
    twice = sorted({name for name in languages if [each.casefold() for each in languages].count(name.casefold()) > 1})
    if twice or not languages:
        raise InputError(f"Name each language once; {', '.join(twice) or 'none'} is given.")
    return list(languages)


def _loaded(path: str | os.PathLike[str], what: str) -> Any:
    """What a PyTorch file holds; nothing of it is run. Raises InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the form of a file, of which only the contents matter here
            return torch.load(path, map_location="cpu", weights_only=True)
    except _ODD as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"The file {path} of {what} cannot be read: {error.strerror}.") from error
        code = isinstance(error, UnpicklingError)  # whose own text is a page on how to run it
        reason = (
            "what is no tensor is not run; it may also be of a form that torch.save does not write by itself"
            if code
            else " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        )
        raise InputError(
            f"{path} is no file of {what}, or is damaged, cut short, or holds more than numbers ({reason}); get it again."
        ) from error


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _shape_of(value: Any) -> str:
    if not _is_list(value):
        return f"a {type(value).__name__}"
    odd = next((each for each in value if not _is_list(each)), None)
    return f"a list of {type(odd).__name__}"


def _units(path: Any, language: str, layers: Sequence[Any], sites: Mapping[Site, int]) -> Neurons:
    if len(layers) != len(sites):
        raise WrongModel(f"{path} has the units of {len(layers)} layers ({language}), and this model has {len(sites)}. {_OTHER}.")
    found: dict[Site | str, list[int]] = {}
    for layer, ((site, width), indices) in enumerate(zip(sites.items(), layers, strict=True)):
        where = f"{path}, {language}, layer {layer}"
        empty = _is_plain(indices, 1) and not len(indices)  # torch.tensor([]) is one of floats
        if not _is_plain(indices, 1) or not (empty or indices.dtype in _WHOLE):
            raise InputError(f"{where}: a tensor of unit indices, int64 [units], is wanted, not {_told(indices)}.")
        if len(indices) > width:
            raise WrongModel(f"{where}: {len(indices)} units are named, and this model has {width} a layer. {_OTHER}.")
        units = [] if empty else indices.tolist()
        wrong = next((unit for unit in units if not 0 <= unit < width), None)
        if wrong is not None:
            raise WrongModel(f"{where}: there is no unit {wrong}; this model has {width} a layer, 0 to {width - 1}. {_OTHER}.")
        if len(set(units)) < len(units):
            raise InputError(f"{where}: a unit stands there twice; the file is damaged: get it again.")
        found[site] = units
    return Neurons(found)


def _counted(path: Any, sites: Mapping[Site, int]) -> tuple[int, np.ndarray]:
    """The number of tokens and the counts [layers, units] of one file."""
    held = _loaded(path, "published counts")
    if not isinstance(held, Mapping) or not {"n", "over_zero"} <= set(held):
        keys = ", ".join(sorted(map(str, held))) if isinstance(held, Mapping) else type(held).__name__
        raise InputError(
            f'{path} holds no published counts: {{"n": tokens, "over_zero": integers [layers, units]}} is wanted, not {keys[:200]}.'
        )
    number, counted = _number(path, held["n"]), held["over_zero"]
    if not _is_plain(counted, 2) or counted.dtype not in _WHOLE:
        raise InputError(f'{path}: "over_zero" is a tensor of integers [layers, units], int32 or int64, not {_told(counted)}.')
    widths = list(sites.values())
    if len(set(widths)) > 1 or tuple(counted.shape) != (len(sites), widths[0]):
        there, here = f"{counted.shape[0]} layers of {counted.shape[1]} units", " or ".join(map(str, sorted(set(widths))))
        raise WrongModel(f"{path} has counts of {there}, and this model has {len(sites)} layers of {here}. {_OTHER}.")
    low, high = int(counted.min()), int(counted.max())
    if low < 0 or high > number:
        overflown = " (32 bits may have run over)" if low < 0 and counted.dtype == torch.int32 else ""
        raise InputError(
            f'{path}: "over_zero" goes from {low} to {high}, and every count lies between 0 and the {number} tokens of "n"{overflown}; '
            "count again."
        )
    return number, counted.to(torch.int64).numpy()


def _number(path: Any, value: Any) -> int:
    if isinstance(value, Tensor) and value.numel() == 1 and value.dtype in _WHOLE and value.device.type == "cpu":
        value = value.item()
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f'{path}: "n", the number of tokens, is a whole number from 1 on, not {_told(value)}.')
    return value


def _is_plain(value: Any, dimensions: int) -> bool:
    """Whether a value is a tensor of so many dimensions whose numbers are there to be read."""
    return type(value) is Tensor and value.layout == torch.strided and value.device.type == "cpu" and value.dim() == dimensions


def _told(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__} {value!r:.60}"
