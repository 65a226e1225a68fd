"""Two sets of weights in one folder, one file and an index of several: which of them is loaded, and whether they are of one model.

Knows names of files, and the names and shapes of tensors in safetensors files; reads no weight.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from resect.core.errors import BadModel

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
Shapes = Mapping[str, tuple[int, ...]]


def unused_weights(folder: Path) -> str | None:
    """Returns a sentence that says which weights are loaded, where a folder has both one file and an index of several; None elsewhere.

    transformers takes the one file, and so do loading and export. Raises BadModel where the two differ in a shape, or share no name: one
    of them is left from another model.
    """
    if not (folder / SINGLE).is_file() or not (folder / INDEX).is_file():
        return None
    used, listed = _shapes(folder / SINGLE), _listed_shapes(folder)
    said = f"{folder} has both {SINGLE} and {INDEX}; the weights are those of {SINGLE}, as transformers takes them"
    if used is None or listed is None:  # damage of what is loaded is reported by the loading itself
        return f"{said}. Files that the index names are missing or damaged: delete it."
    differing = sorted(name for name in used.keys() & listed.keys() if used[name] != listed[name])
    if differing:
        name = differing[0]
        raise BadModel(
            f"{folder} has two sets of weights, {SINGLE} and those of {INDEX}, and {len(differing)} tensors differ in shape: {name} is "
            f"{_written(used[name])} in the one and {_written(listed[name])} in the others. One set is left from another model: delete it."
        )
    if not used.keys() & listed.keys():
        raise BadModel(f"{folder} has two sets of weights, {SINGLE} and those of {INDEX}, without a common name: delete the wrong one.")
    other = used.keys() ^ listed.keys()
    only = f", and {len(other)} tensors are in one of the two alone, {min(other)} among them" if other else ""
    return f"{said}{only}. Delete the set that is not meant: they may hold other values."


def _listed_shapes(folder: Path) -> Shapes | None:
    """Returns name to shape of the tensors that the index lists; None where one cannot be read."""
    try:
        files = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(map(str, files)):
        part = _shapes(folder / file)
        if part is None:
            return None
        shapes |= part
    return shapes


def _shapes(path: Path) -> Shapes | None:
    """Returns name to shape of the tensors of a file; None where it cannot be read."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  no mapping
    except (OSError, SafetensorError):
        return None


def _written(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "a number"
