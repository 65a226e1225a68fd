"""The base model as an export sees it: its files, its skeleton, and which tensor on disk is loaded into which parameter.

Knows nothing of how anything is written.
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
from resect.models.anatomy import Anatomy
from resect.models.factored_linear import DESCRIPTION, FactoredFiles
from resect.models.loading import load_config
from resect.models.storage import PLAIN_DTYPES

from .check_exact import Loading
from .checkpoint import Checkpoint, fetched, refuse_adapter, refuse_no_files
from .meta_model import Skeleton

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
#: What a tensor on disk is like: its dtype (a name, where it holds no plain numbers) and its shape.
Form = tuple[torch.dtype | str, tuple[int, ...]]


@dataclass(frozen=True)
class Original:
    """The base model.

    `forms`: name on disk to dtype and shape; `names`: name in memory to the names on disk that are loaded into it as they are; `name`: what
    people call it, a Hub id or the folder's own name.
    """

    name: str
    checkpoint: Checkpoint
    skeleton: Skeleton
    forms: Mapping[str, Form]
    names: Mapping[str, Sequence[str]]
    loading: Loading

    @classmethod
    def open(cls, source: str, revision: str | None = None, trust_remote_code: bool = False) -> "Original":
        """Find out everything that can be known without reading weights.

        Raises BadModel, which names the file that is at fault, UnknownFamily, NotYet, and NotWritable for quantised weights.
        """
        local = Path(source)
        if local.is_dir():
            refuse_adapter(local)
            refuse_no_files(local)
        config = load_config(source, revision=revision, trust_remote_code=trust_remote_code)
        _refuse_quantised(source, config)
        weights = getattr(config, "transformers_weights", None)
        folder = local if local.is_dir() else fetched(source, getattr(config, "_commit_hash", None) or revision, weights)
        _refuse_factored(folder)
        checkpoint = Checkpoint.of(folder, weights)
        skeleton = Skeleton.of(config, trust_remote_code)
        forms = forms_of(checkpoint)
        names = skeleton.names_of(forms)
        missing = skeleton.missing(names) if not skeleton.converts else []
        if missing:
            raise BadModel(
                f"The checkpoint {source} lacks {len(missing)} of the weights that the model needs, among them {missing[0]}; it belongs to "
                "another kind of model, or is incomplete: get it again."
            )
        plain = {name: dtype for name, (dtype, _) in forms.items() if isinstance(dtype, torch.dtype) and dtype in PLAIN_DTYPES}
        stored = {name: plain[found[0]] for name, found in names.items() if len(found) == 1 and found[0] in plain}
        widest = reduce(torch.promote_types, plain.values(), next(iter(plain.values()), torch.float32))
        name = local.resolve().name if local.is_dir() else source
        return cls(name, checkpoint, skeleton, forms, names, Loading(widest, stored, trust_remote_code))

    def checked(self, plan: Plan, allow_other_model: bool = False) -> Anatomy:
        """The anatomy, of a model that a plan fits as far as can be told without weights. Raises WrongModel, UnknownName."""
        self.skeleton.check(plan, allow_other_model)
        return self.skeleton.anatomy

    def why_anew(self, plan: Plan) -> str | None:
        """Why a plan cannot be written into the base's own files; None where it can."""
        if self.checkpoint.pickled:
            return f"the base's are in PyTorch's own format ({self.checkpoint.shards[0]}), and are safetensors now"
        for name in self.skeleton.needs(plan):
            held = self.names.get(name, ())
            alone = len(held) == 1 and held[0] not in self.checkpoint.twice
            if not alone or self.forms[held[0]][1] != tuple(self.skeleton.parameter(name).shape):
                return f"{name} is not one tensor of that shape in the base's files ({', '.join(held) or 'none of that name'})"
        return None

    def why_factors_anew(self, factoring: FactoredFiles) -> str | None:
        """Why factors cannot stand in the base's own files beside the names that these have; None where they can."""
        twin = Skeleton.of(self.skeleton.model.config, self.loading.trust_remote_code)
        names: dict[str, str] = {}
        for path in factoring.install(twin.model):
            inner = [name for name, _ in twin.model.get_submodule(path).named_parameters() if name != "bias"]
            names |= {self._beside(f"{path}.weight", name): f"{path}.{name}" for name in inner}
        found = twin.names_of(names)
        other = [disk for disk, memory in names.items() if found.get(memory) != [disk]]
        return f"transformers would not load {other[0]} into the factor of that name" if other else None

    def on_disk(self, replaced: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Parameters and the tensors that stand in their place, all by name in memory: the same by name on disk."""
        found = {}
        for name, tensors in replaced.items():
            path = name.removesuffix("weight")
            found[self.names[name][0]] = {self._beside(name, new.removeprefix(path)): tensor for new, tensor in tensors.items()}
        return found

    def _beside(self, weight: str, name: str) -> str:
        """The name on disk of what stands in the place of a weight, and is called `name` in its module."""
        return self.names[weight][0].removesuffix("weight") + name

    def tensor(self, name: str) -> Tensor:
        """What is loaded into a parameter that `why_anew` finds alone on disk, as a private view of its file: what is written into it
        stays in memory, and what is not looked at takes none. Raises NotWritable where it holds no plain numbers.
        """
        held = self.checkpoint.tensors[self.names[name][0]]
        dtype = _DTYPES.get(held.dtype)
        if dtype is None:
            raise NotWritable(f"{name} is stored as {held.dtype}, which cannot be edited; export from a model that is not quantised.")
        start = held.start - held.start % mmap.ALLOCATIONGRANULARITY
        with (self.checkpoint.folder / held.file).open("rb") as file:
            view = mmap.mmap(file.fileno(), held.stop - start, access=mmap.ACCESS_COPY, offset=start)
        return torch.frombuffer(view, dtype=dtype, count=math.prod(held.shape), offset=held.start - start).view(held.shape)


def forms_of(checkpoint: Checkpoint) -> dict[str, Form]:
    """Name on disk to dtype and shape. Raises BadModel for a file in PyTorch's format that is damaged."""
    if not checkpoint.pickled:
        return {name: (_DTYPES.get(held.dtype, held.dtype), held.shape) for name, held in checkpoint.tensors.items()}
    found: dict[str, Form] = {}
    for shard in checkpoint.shards:
        path = checkpoint.folder / shard
        try:
            tensors = torch.load(path, map_location="meta", weights_only=True)
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
            code = isinstance(error, UnpicklingError)  # whose own text is a page on how to run it
            reason = "what is no tensor is not run" if code else " ".join(str(error).split())[:160].rstrip(".") or "it is empty"
            raise BadModel(f"{path} is damaged, cut short, or holds more than weights ({reason}); get it again.") from error
        if not isinstance(tensors, Mapping):
            raise BadModel(f"{path} holds a {type(tensors).__name__}, not tensors by name; get it again.")
        found |= {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    return found


def _refuse_factored(folder: Path) -> None:
    if (folder / DESCRIPTION).is_file():
        raise NotWritable(
            f"{folder} keeps some matrices as factors ({DESCRIPTION}), and a checkpoint is made of the base model, whose name is in its "
            "card: give that one with --model, and the plan.json of this folder as the plan."
        )


def _refuse_quantised(source: str, config: Any) -> None:
    stated = getattr(config, "quantization_config", None)
    if stated is not None:
        how = stated.get("quant_method") if isinstance(stated, Mapping) else getattr(stated, "quant_method", None)
        raise NotWritable(
            f"{source} is quantised ({getattr(how, 'value', how)}), and its weights cannot be edited one by one; export from the model "
            "that it was made of, and quantise that."
        )
