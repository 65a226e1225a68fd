"""Keeps what discovery found: in memory, and in the user's cache, under a hash of the configuration and of the code that computes.

An entry that cannot be read is discovered again.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resect.core.address import STACKS
from resect.core.errors import StorageFailure
from resect.core.files import write_json

from .discovery import discover
from .families import Rows
from .layout import BlockLayout, ExpertsLayout, MatrixPart, ModelLayout, MomentPart, StackLayout

#: Changed whenever discovery finds something else in the same model.
VERSION = 7
_NOT_OF_THE_MODULES = ("_name_or_path", "_commit_hash", "transformers_version", "dtype", "torch_dtype", "quantization_config")
_in_memory: dict[str, ModelLayout] = {}


def default_folder() -> Path:
    """Returns $RESECT_CACHE/anatomies, else $XDG_CACHE_HOME/resect/anatomies, else ~/.cache/resect/anatomies."""
    own, shared = os.environ.get("RESECT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).expanduser() / "anatomies"
    return (Path(shared) if shared else Path.home() / ".cache") / "resect" / "anatomies"


def discovered_layout(config: Any) -> ModelLayout:
    """Returns the layout of a configuration, discovered once. Raises UnknownFamily, NotYet."""
    key = configuration_hash(config)
    if key not in _in_memory:
        path = default_folder() / f"{config.model_type}-{key[:32]}.json"
        layout = _read(path)
        if layout is None:
            layout = discover(config)
            _write(path, layout)
        _in_memory[key] = layout
    return _in_memory[key]


def configuration_hash(config: Any) -> str:
    """Returns a hash of everything that decides which modules a model has, and how they compute."""
    import torch
    import transformers

    values = {name: value for name, value in config.to_dict().items() if name not in _NOT_OF_THE_MODULES}
    versions = [VERSION, transformers.__version__, torch.__version__, type(config).__name__]
    return hashlib.sha256(json.dumps([versions, values], sort_keys=True, default=str).encode()).hexdigest()


def _write(path: Path, layout: ModelLayout) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, to_json(layout))
    except (OSError, StorageFailure):
        return  # a cache that cannot be written costs time, and nothing else


def _read(path: Path) -> ModelLayout | None:
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def to_json(layout: ModelLayout) -> dict[str, Any]:
    """Returns a layout as plain data: each different block once, and their numbers by layer."""
    stacks = {}
    for stack, own in layout.stacks.items():
        different = list({id(block): block for block in own.blocks}.values())
        numbers = {id(block): number for number, block in enumerate(different)}
        stacks[stack] = {
            "path": own.path,
            "block_paths": list(own.block_paths),
            "embeddings": list(own.embeddings),
            "d_model": own.d_model,
            "d_ff": own.d_ff,
            "kinds": [_block_to_json(block) for block in different],
            "blocks": [numbers[id(block)] for block in own.blocks],
        }
    return {
        "family": layout.family,
        "kind": layout.kind,
        "stacks": stacks,
        "not_covered": list(layout.not_covered),
        "covered": layout.covered,
    }


def from_json(value: dict[str, Any]) -> ModelLayout:
    """Returns the layout that `to_json` wrote. Raises KeyError, TypeError, ValueError, AttributeError for anything else."""
    stacks = {}
    for stack in STACKS:
        if stack in value["stacks"]:
            own = value["stacks"][stack]
            kinds = [_block_from_json(kind) for kind in own["kinds"]]
            blocks = tuple(kinds[number] for number in own["blocks"])
            stacks[stack] = StackLayout(
                own["path"], blocks, tuple(own["embeddings"]), own["d_model"], own["d_ff"], tuple(own["block_paths"])
            )
    return ModelLayout(value["family"], value["kind"], stacks, tuple(value["not_covered"]), is_listed=False, covered=value["covered"])


def _block_to_json(block: BlockLayout) -> dict[str, Any]:
    experts = block.experts
    value = _parts_to_json(block.matrices, block.moments)
    if experts is not None:
        own = {"number": experts.number, "offset": experts.offset}
        value["experts"] = own | _parts_to_json(experts.matrices, experts.moments)
    return value


def _block_from_json(value: dict[str, Any]) -> BlockLayout:
    experts = value.get("experts")
    of_experts = None if experts is None else ExpertsLayout(experts["number"], *_parts_from_json(experts), experts["offset"])
    return BlockLayout(*_parts_from_json(value), of_experts)


def _parts_to_json(matrices: Mapping[str, MatrixPart], moments: Mapping[str, MomentPart]) -> dict[str, Any]:
    return {
        "matrices": {name: dataclasses.asdict(part) | {"rows": _rows_to_json(part.rows)} for name, part in matrices.items()},
        "moments": {name: dataclasses.asdict(part) for name, part in moments.items()},
    }


def _parts_from_json(value: dict[str, Any]) -> tuple[dict[str, MatrixPart], dict[str, MomentPart]]:
    matrices = {}
    for name, part in value["matrices"].items():
        shape, stored = part["shape"], tuple(part["stored"])
        matrices[name] = MatrixPart(**part | {"rows": _rows_from_json(part["rows"]), "shape": (shape[0], shape[1]), "stored": stored})
    return matrices, {name: MomentPart(**part) for name, part in value["moments"].items()}


def _rows_to_json(rows: Rows) -> Any:
    return {"start": rows.start, "stop": rows.stop} if isinstance(rows, slice) else rows


def _rows_from_json(rows: Any) -> Rows:
    if rows is None:
        return None
    return slice(rows["start"], rows["stop"]) if isinstance(rows, dict) else tuple(rows)
