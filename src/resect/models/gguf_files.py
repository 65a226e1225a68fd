"""GGUF files as models: which path names one, whether it is complete, and how many bits its weights have.

transformers reads configuration, tokenizer and weights out of such a file, and computes with plain numbers afterwards. Knows the table
at the head of a file; reads no weight.
"""

from pathlib import Path
from typing import Any

from resect.core.errors import BadModel

SUFFIX = ".gguf"
_AGAIN = "Get the file again."


def gguf_parts(path: str) -> tuple[str, str] | None:
    """Returns the folder or Hub id of a GGUF file, and its name there; None where `path` names no such file.

    >>> gguf_parts("owner/name/model.Q4_0.gguf"), gguf_parts("owner/name")
    (('owner/name', 'model.Q4_0.gguf'), None)
    """
    file = Path(path).expanduser()
    if not path.lower().endswith(SUFFIX) or file.is_dir():
        return None
    if file.is_file():
        return str(file.parent), file.name
    owner, *rest = path.split("/")
    if len(rest) < 2 or not owner or owner.startswith((".", "~")):
        return None
    return f"{owner}/{rest[0]}", "/".join(rest[1:])


def gguf_names(folder: Path) -> tuple[str, ...]:
    """Returns the names of the GGUF files in a folder."""
    return tuple(sorted(file.name for file in folder.glob(f"*{SUFFIX}")))


def check_gguf(file: Path) -> None:
    """Raises BadModel for a file that is no GGUF file, or is cut off."""
    _reader(file)


def bits_per_weight(file: Path) -> float | None:
    """Returns the bits of a weight of the coarsest matrix in a GGUF file; None where all are plain numbers of 16 bits or more.

    Raises BadModel for a damaged file.
    """
    from gguf import GGML_QUANT_SIZES  # an extra, of which `check_packages` says so

    bits = []
    for tensor in _reader(file).tensors:
        block, size = GGML_QUANT_SIZES[tensor.tensor_type]
        if len(tensor.shape) > 1 and 8 * size / block < 16:
            bits.append(8 * size / block)
    return min(bits, default=None)


def _reader(file: Path) -> Any:
    """Returns the parsed table of a file. Raises BadModel."""
    from gguf import GGUFReader

    try:
        return GGUFReader(file)
    except (ValueError, KeyError, IndexError, OverflowError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:120].rstrip(".")
        raise BadModel(f"{file} is no complete GGUF file: it is damaged or cut off ({reason}). {_AGAIN}") from error
