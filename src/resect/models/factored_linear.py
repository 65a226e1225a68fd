"""Matrices that are kept as two factors: the modules that compute with them, and the file that says which they are.

A folder with a `factored.json` is a Hugging Face checkpoint in which `X.weight` of some modules X gives way to `X.left.weight` [out, r],
U·diag(S), and `X.right.weight` [r, in], Vᵀ, so that W [out, in] = left · right: r · (out + in) numbers instead of out · in. Always in that
orientation, also where W itself would be stored as [in, out]. A rank of 0 has neither. Where X holds several roles in one weight, those
that are reduced have their factors under their role (`X.gate.left.weight`), and `X.rest.weight` holds the other rows in order. Biases, and
everything else, are as they were.

Knows modules and one file; nothing of plans, nor of how factors are found.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from resect.core.address import Site
from resect.core.errors import BadModel, InputError
from resect.core.files import read_json, write_json

from .anatomy import Anatomy

#: The file that says which matrices are factored, and the version of it that is written; this and lower ones are read.
DESCRIPTION, SCHEMA = "factored.json", 1
#: What holds the weights. Not the names that transformers looks for: without the factors it would fill in random numbers, and go on.
SINGLE, INDEX = "factored.safetensors", "factored.safetensors.index.json"
_AGAIN = "export it again"


class FactoredWeight(nn.Module):
    """What stands in the place of a linear layer [out, in] of whatever class. Parameters are on the meta device until they are loaded.

    `transposed`: the layer that it replaces keeps W as [in, out], as Conv1D does.
    """

    bias: nn.Parameter | None

    def __init__(self, out: int, inside: int, *, bias: bool, transposed: bool) -> None:
        super().__init__()
        self.out_features, self.in_features, self.transposed = out, inside, transposed
        self.register_parameter("bias", nn.Parameter(torch.empty(out, device="meta")) if bias else None)

    @property
    def weight(self) -> Tensor:
        """A tensor without values, with the shape and dtype of the matrix: models ask their layers for these. For W, see `dense`."""
        shape = (self.out_features, self.in_features)
        dtype = next((parameter.dtype for parameter in self.parameters()), torch.get_default_dtype())
        return torch.empty(shape[::-1] if self.transposed else shape, dtype=dtype, device="meta")


class FactoredLinear(FactoredWeight):
    """y = left · (right · x) + bias: a linear layer of rank r. Rank 0: y = bias."""

    def __init__(self, out: int, inside: int, rank: int, *, bias: bool = False, transposed: bool = False) -> None:
        super().__init__(out, inside, bias=bias, transposed=transposed)
        self.rank = rank
        if rank:
            self.left = nn.Linear(rank, out, bias=False, device="meta")
            self.right = nn.Linear(inside, rank, bias=False, device="meta")

    def extra_repr(self) -> str:
        """What a print of the model says of it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}, bias={self.bias is not None}"

    def dense(self) -> Float[Tensor, "out inside"]:
        """W = left · right, multiplied in float32 or better and rounded to the dtype of the factors."""
        if not self.rank:
            return torch.zeros(self.out_features, self.in_features, dtype=self.weight.dtype)
        left, right = self.left.weight.detach(), self.right.weight.detach()
        wide = torch.promote_types(left.dtype, torch.float32)
        return (left.to(wide) @ right.to(wide)).to(left.dtype)

    def forward(self, values: Float[Tensor, "*batch inside"]) -> Float[Tensor, "*batch out"]:
        """What the layer makes of [*batch, in]."""
        result: Tensor = self.left(self.right(values)) if self.rank else values.new_zeros(*values.shape[:-1], self.out_features)
        return result if self.bias is None else result + self.bias


class PartlyFactoredLinear(FactoredWeight):
    """A fused linear layer of which some roles' rows are factored; `rest` holds the other rows, in their order.

    `parts`: role to the rows that it has in the fused matrix, and its rank.
    """

    def __init__(
        self, out: int, inside: int, parts: Mapping[str, tuple[Sequence[int], int]], *, bias: bool = False, transposed: bool = False
    ) -> None:
        super().__init__(out, inside, bias=bias, transposed=transposed)
        self.roles = tuple(parts)
        for role, (rows, rank) in parts.items():
            self.add_module(role, FactoredLinear(len(rows), inside, rank))
        taken = [row for rows, _ in parts.values() for row in rows]
        self.rest_rows = sorted(set(range(out)) - set(taken))
        if self.rest_rows:
            self.rest = nn.Linear(inside, len(self.rest_rows), bias=False, device="meta")
        held = [*taken, *self.rest_rows]
        self._places: list[int] | None = None if held == list(range(out)) else sorted(range(out), key=held.__getitem__)
        self._order: dict[torch.device, Tensor] = {}  # by device: a list would be sent there anew at every call

    def dense(self) -> Float[Tensor, "out inside"]:
        """The whole fused matrix W."""
        pieces = [part.dense() for part in self._parts()] + ([self.rest.weight.detach()] if self.rest_rows else [])
        return self._in_order(torch.cat([piece.to(pieces[-1]) for piece in pieces]), 0)

    def forward(self, values: Float[Tensor, "*batch inside"]) -> Float[Tensor, "*batch out"]:
        """What the layer makes of [*batch, in]."""
        pieces = [part(values) for part in self._parts()] + ([self.rest(values)] if self.rest_rows else [])
        result = self._in_order(torch.cat(pieces, -1), -1)
        return result if self.bias is None else result + self.bias

    def _parts(self) -> list[FactoredLinear]:
        return [module for module in map(self.get_submodule, self.roles) if isinstance(module, FactoredLinear)]

    def _in_order(self, pieces: Tensor, axis: int) -> Tensor:
        if self._places is None:
            return pieces
        if pieces.device not in self._order:
            with torch.inference_mode(False):  # a pass with gradients may come after one without
                self._order[pieces.device] = torch.tensor(self._places, device=pieces.device)
        return pieces.index_select(axis, self._order[pieces.device])


@dataclass(frozen=True)
class FactoredMatrix:
    """One matrix that is kept as factors: its site, its module (as seen from the model), its shape [out, in] and its rank."""

    site: Site
    module: str
    shape: tuple[int, int]
    rank: int

    @classmethod
    def of(cls, site: Site, rank: int, anatomy: Anatomy) -> Self:
        """The matrix at a site of this model."""
        return cls(site, anatomy.slot(site).path, anatomy.shape(site), rank)

    @property
    def numbers(self) -> int:
        """How many numbers its factors are."""
        return self.rank * sum(self.shape)

    @property
    def saved(self) -> int:
        """How many numbers fewer these are than the matrix itself."""
        return self.shape[0] * self.shape[1] - self.numbers

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"site": str(self.site), "module": self.module, "shape": list(self.shape), "rank": self.rank}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `to_json` wrote. Raises InputError."""
        if not isinstance(value, Mapping) or not {"site", "module", "shape", "rank"} <= value.keys():
            raise InputError("a factored matrix has site, module, shape and rank")
        shape, rank = value["shape"], value["rank"]
        sizes = [*shape, rank] if isinstance(shape, list) else []
        if len(sizes) != 3 or not all(isinstance(size, int) and not isinstance(size, bool) for size in sizes):
            raise InputError(f"the shape and the rank of {value['site']} are integers")
        if not 0 <= rank <= min(shape):
            raise InputError(f"the rank of {value['site']} is from 0 to {min(shape)}, not {rank}")
        return cls(Site.parse(str(value["site"])), str(value["module"]), (shape[0], shape[1]), rank)


@dataclass(frozen=True)
class FactoredFiles:
    """What factored.json says: the file of the weights (or their index), and the matrices that are factored in it."""

    weights: str
    matrices: tuple[FactoredMatrix, ...]

    def save(self, folder: Path) -> None:
        """Write factored.json. Raises StorageFailure."""
        head = {"schema": SCHEMA, "format": "factored", "weights": self.weights}
        write_json(folder / DESCRIPTION, {**head, "matrices": [matrix.to_json() for matrix in self.matrices]})

    @classmethod
    def find(cls, path: str, revision: str | None = None) -> "FactoredFiles | None":
        """What the folder or Hub id says of its factors; None where it says nothing, as plain checkpoints do. Raises BadModel."""
        file = Path(path) / DESCRIPTION if Path(path).exists() else _from_hub(path, revision)
        if file is None or not file.is_file():
            return None
        try:
            return cls._read(read_json(file, "list of factors"))
        except InputError as error:
            raise BadModel(f"{path} is a factored export with a damaged {DESCRIPTION}: {error}; {_AGAIN}.") from error

    @classmethod
    def _read(cls, value: Any) -> "FactoredFiles":
        if not isinstance(value, Mapping) or not isinstance(value.get("matrices"), list) or value.get("weights") not in (SINGLE, INDEX):
            raise InputError(f"it is an object with schema, weights ({SINGLE} or {INDEX}) and a list of matrices")
        schema = value.get("schema")
        if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
            raise InputError(f"its schema is {schema!r}, and this version of resect reads 1 to {SCHEMA}")
        matrices = tuple(map(FactoredMatrix.from_json, value["matrices"]))
        if len({matrix.site for matrix in matrices}) < len(matrices):
            raise InputError("a matrix stands in it twice")
        return cls(str(value["weights"]), matrices)

    def install(self, model: nn.Module) -> list[str]:
        """Put modules with room for factors in the place of those that hold the matrices; returns their paths.

        Raises BadModel where the model has not these matrices.
        """
        anatomy = Anatomy.of(model)
        for matrix in self.matrices:
            if matrix.site not in anatomy.sites or FactoredMatrix.of(matrix.site, matrix.rank, anatomy) != matrix:
                raise BadModel(
                    f"{DESCRIPTION} says that {matrix.site} is {' × '.join(map(str, matrix.shape))} at {matrix.module}, which its "
                    f"config.json does not make of a {anatomy.family}; {_AGAIN}."
                )
        paths = by_module(self.matrices)
        for path, matrices in paths.items():
            model.set_submodule(path, _replacement(model.get_submodule(path), anatomy, matrices))
        return list(paths)

    def loader(self, maker: Any, config: Any, trust_remote_code: bool) -> tuple[Any, type]:
        """A class whose `from_pretrained` loads such a folder, and the class that its models are to have in the end.

        `maker`: the auto class of transformers that makes this kind of model. The modules are replaced where the model has just been made
        and is still without weights, so that transformers loads the factors itself: dtypes, several files, device maps, and its report of
        what is missing. The configuration is told where the weights are.
        """
        with torch.device("meta"):
            plain = type(maker.from_config(config, trust_remote_code=trust_remote_code))
        config.transformers_weights = self.weights

        def make(model: Any, *given: Any, **settings: Any) -> None:
            plain.__init__(model, *given, **settings)
            self.install(model)

        return type(plain.__name__, (plain,), {"__init__": make, "__module__": plain.__module__}), plain


def settle(model: Any, plain: type) -> Any:
    """A loaded model as it is to be used: of the plain class, and saved (state_dict, save_pretrained) with its matrices multiplied out."""
    model.__class__ = plain
    del model.config.transformers_weights
    for module in factored_modules(model).values():
        module.register_state_dict_post_hook(_multiply_out)
    return model


def factored_modules(model: nn.Module) -> dict[str, FactoredLinear | PartlyFactoredLinear]:
    """The modules of a model that hold factors, by path, the outermost."""
    found: dict[str, FactoredLinear | PartlyFactoredLinear] = {}
    for path, module in model.named_modules():
        if isinstance(module, FactoredLinear | PartlyFactoredLinear) and path.rpartition(".")[0] not in found:
            found[path] = module
    return found


def by_module(matrices: Iterable[FactoredMatrix]) -> dict[str, list[FactoredMatrix]]:
    """Path of a module to the matrices that it holds."""
    found: dict[str, list[FactoredMatrix]] = {}
    for matrix in matrices:
        found.setdefault(matrix.module, []).append(matrix)
    return found


def rows_of(anatomy: Anatomy, site: Site, out: int) -> list[int]:
    """The rows that a matrix has in the module that holds it, which has `out` of them."""
    rows = anatomy.slot(site).rows
    return list(rows) if isinstance(rows, tuple) else list(range(out))[slice(None) if rows is None else rows]


def rest_of(anatomy: Anatomy, sites: Iterable[Site], out: int) -> list[int]:
    """The rows of that module that belong to none of these sites."""
    return sorted(set(range(out)) - {row for site in sites for row in rows_of(anatomy, site, out)})


def _replacement(old: nn.Module, anatomy: Anatomy, held: Sequence[FactoredMatrix]) -> nn.Module:
    slot, weight = anatomy.slot(held[0].site), old.get_parameter("weight")
    inside, out = weight.shape if slot.transposed else weight.shape[::-1]
    like = {"bias": old.bias is not None, "transposed": slot.transposed}
    if slot.rows is None:
        return FactoredLinear(out, inside, held[0].rank, **like)
    return PartlyFactoredLinear(out, inside, {each.site.role: (rows_of(anatomy, each.site, out), each.rank) for each in held}, **like)


def _multiply_out(module: Any, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    for name in [name for name in state if name.startswith(prefix) and name != f"{prefix}bias"]:
        del state[name]
    state[f"{prefix}weight"] = module.dense().T.contiguous() if module.transposed else module.dense()


def _from_hub(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import errors, hf_hub_download  # needed only here

    try:
        return Path(hf_hub_download(model, DESCRIPTION, revision=revision))
    except (errors.EntryNotFoundError, OSError, ValueError):  # not to be had: the weights will say so too
        return None
