"""The base model of an export: its files, its meta model, and which stored tensor is loaded into which parameter.

Knows nothing of how an export is written.
"""

import math
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from pickle import UnpicklingError  # the error alone; torch.load(weights_only=True) raises it
from typing import Any

import torch
from torch import Tensor

from resect.core.errors import BadModel, NotWritable
from resect.edits.plan import Plan
from resect.models.factored_linear import FACTORED_JSON, FactoredFiles
from resect.models.gguf_files import gguf_parts
from resect.models.loading import load_config
from resect.models.quantization import Quantization
from resect.models.storage import PLAIN_DTYPES

from .check_exact import LoadingOptions
from .checkpoint import CheckpointFiles, download, refuse_adapter, refuse_special_files
from .converted_weights import ConvertedWeights
from .meta_model import MetaModel
from .safetensors_copy import EditedRows

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
#: The dtype (its name, where it is none of the plain ones) and the shape of a stored tensor.
Form = tuple[torch.dtype | str, tuple[int, ...]]


@dataclass(frozen=True)
class BaseCheckpoint:
    """The base model of an export.

    Attributes
    ----------
    name : a Hub id, or the folder's own name
    files : its files
    meta_model : the model without weights
    forms : name of a stored tensor to its dtype and shape
    stored_names : name of a parameter to the names of the stored tensors that are loaded into it without conversion
    converted : the parameters that are joined from several stored tensors
    loading : how it is loaded for comparisons
    """

    name: str
    files: CheckpointFiles
    meta_model: MetaModel
    forms: Mapping[str, Form]
    stored_names: Mapping[str, Sequence[str]]
    converted: ConvertedWeights
    loading: LoadingOptions

    @classmethod
    def open(cls, source: str, revision: str | None = None, trust_remote_code: bool = False) -> "BaseCheckpoint":
        """Read everything but the weights. `source`: a folder, or a Hub id; a GGUF file is refused.

        Raises BadModel, which names the damaged file, UnknownFamily, NotYet, and NotWritable for quantised or factored weights.
        """
        local = Path(source)
        if local.is_dir():
            refuse_adapter(local)
            refuse_special_files(local)
        config = load_config(source, revision=revision, trust_remote_code=trust_remote_code)
        _refuse_quantised(source, config)
        weights = getattr(config, "transformers_weights", None)
        folder = local if local.is_dir() else download(source, getattr(config, "_commit_hash", None) or revision, weights)
        _refuse_factored(folder)
        files = CheckpointFiles.read(folder, weights)
        meta_model = MetaModel.of(config, trust_remote_code)
        forms = stored_forms(files)
        stored_names = meta_model.stored_names(forms)
        missing = meta_model.missing(stored_names) if not meta_model.converts else []
        if missing:
            raise BadModel(
                f"The checkpoint {source} lacks {len(missing)} of the weights that the model needs, among them {missing[0]}; it belongs to "
                "another kind of model, or is incomplete: download it again."
            )
        plain = {name: dtype for name, (dtype, _) in forms.items() if isinstance(dtype, torch.dtype) and dtype in PLAIN_DTYPES}
        stored = {name: plain[names[0]] for name, names in stored_names.items() if len(names) == 1 and names[0] in plain}
        converted = meta_model.converted_weights(forms)
        for parameter, sources in converted.sources.items():
            dtype, *others = {plain.get(source) for source, _ in sources}
            if dtype is not None and not others:
                stored[parameter] = dtype
        widest = reduce(torch.promote_types, plain.values(), next(iter(plain.values()), torch.float32))
        name = local.resolve().name if local.is_dir() else source
        return cls(name, files, meta_model, forms, stored_names, converted, LoadingOptions(widest, stored, trust_remote_code))

    def why_not_shards(self, plan: Plan) -> str | None:
        """Returns why a plan cannot be written into copies of the base's shards; None where it can."""
        if self.files.pickled:
            return f"the base's are in PyTorch's own format ({self.files.shards[0]}), and are safetensors now"
        for name in self.meta_model.needed_parameters(plan):
            if name in self.converted.sources:
                if not self.converted.returns_the_stored(name, self.stored_tensor):
                    return f"the base's files store {name} in parts that transformers would not save as they are"
                continue
            stored = self.stored_names.get(name, ())
            is_single = len(stored) == 1 and stored[0] not in self.files.duplicates
            if not is_single or self.forms[stored[0]][1] != tuple(self.meta_model.parameter(name).shape):
                return f"{name} is not one tensor of that shape in the base's files ({', '.join(stored) or 'none of that name'})"
        return None

    def why_not_factors(self, factored: FactoredFiles) -> str | None:
        """Returns why factors cannot be stored in copies of the base's shards, under names like the base's; None where they can."""
        twin = MetaModel.of(self.meta_model.model.config, self.loading.trust_remote_code)
        names: dict[str, str] = {}
        for path in factored.install(twin.model):
            inner = [name for name, _ in twin.model.get_submodule(path).named_parameters() if name != "bias"]
            names |= {self._sibling(f"{path}.weight", name): f"{path}.{name}" for name in inner}
        loaded = twin.stored_names(names)
        other = [stored for stored, parameter in names.items() if loaded.get(parameter) != [stored]]
        return f"transformers would not load {other[0]} into the factor of that name" if other else None

    def as_stored(self, replacements: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Translate names of parameters, and of the tensors that replace each, into names of stored tensors."""
        stored = {}
        for name, tensors in replacements.items():
            path = name.removesuffix("weight")
            stored[self.stored_names[name][0]] = {self._sibling(name, new.removeprefix(path)): tensor for new, tensor in tensors.items()}
        return stored

    def _sibling(self, weight: str, name: str) -> str:
        """The stored name of a parameter `name` in the module of a weight."""
        return self.stored_names[weight][0].removesuffix("weight") + name

    def tensor(self, name: str) -> Tensor:
        """Returns the values of a parameter that `why_not_shards` accepted: a copy where it is joined from several stored tensors."""
        if name in self.converted.sources:
            return self.converted.joined(name, self.stored_tensor)
        return self.stored_tensor(self.stored_names[name][0])

    def edits(self, name: str, values: Tensor, rows: Sequence[range]) -> dict[str, EditedRows]:
        """Returns the stored tensors that differ, by name, where a parameter has these values, other ones than before in these rows."""
        if name in self.converted.sources:
            return dict(self.converted.edits(name, values, self.stored_tensor))
        return {self.stored_names[name][0]: EditedRows(values, rows)}

    def stored_tensor(self, name: str) -> Tensor:
        """Returns a stored tensor, memory-mapped copy-on-write.

        Only pages that are read or changed take memory, and changes never reach the file. Raises NotWritable where it is quantised.
        """
        info = self.files.tensors[name]
        dtype = _DTYPES.get(info.dtype)
        if dtype is None:
            raise NotWritable(f"{name} is stored as {info.dtype}, which cannot be edited; export from a model that is not quantised.")
        start = info.start - info.start % mmap.ALLOCATIONGRANULARITY
        with (self.files.folder / info.file).open("rb") as file:
            view = mmap.mmap(file.fileno(), info.stop - start, access=mmap.ACCESS_COPY, offset=start)
        return torch.frombuffer(view, dtype=dtype, count=math.prod(info.shape), offset=info.start - start).view(info.shape)


def stored_forms(files: CheckpointFiles) -> dict[str, Form]:
    """Returns name to dtype and shape of every stored tensor. Raises BadModel for a damaged file in PyTorch's format."""
    if not files.pickled:
        return {name: (_DTYPES.get(info.dtype, info.dtype), info.shape) for name, info in files.tensors.items()}
    forms: dict[str, Form] = {}
    for shard in files.shards:
        path = files.folder / shard
        try:
            tensors = torch.load(path, map_location="meta", weights_only=True)
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
            is_code = isinstance(error, UnpicklingError)  # whose own text explains at length how to run it
            reason = (
                "other objects than tensors are not loaded" if is_code else " ".join(str(error).split())[:160].rstrip(".") or "it is empty"
            )
            raise BadModel(f"{path} is damaged, truncated, or holds more than weights ({reason}); download it again.") from error
        if not isinstance(tensors, Mapping):
            raise BadModel(f"{path} holds a {type(tensors).__name__}, not tensors by name; download it again.")
        forms |= {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    return forms


def _refuse_factored(folder: Path) -> None:
    if (folder / FACTORED_JSON).is_file():
        raise NotWritable(
            f"{folder} stores some matrices as factors ({FACTORED_JSON}); export from the base model, which its card names: give that "
            "one with --model, and the plan.json of this folder as the plan."
        )


def _refuse_quantised(source: str, config: Any) -> None:
    quantization = Quantization("gguf") if gguf_parts(source) is not None else Quantization.of_config(config)
    if quantization is not None:
        raise NotWritable(
            f"{source} is quantised ({quantization.method}), and an edited copy of it cannot be written; export onto the full model that "
            "it was made of (--model MODEL), and quantise the result. A plan that was found on quantised weights fits that model as it is; "
            "where it is refused, --allow-other-model compares shapes alone."
        )
