"""Matrices that are stored as two factors: the modules that compute with them, and the file that lists them.

A folder with a `factored.json` is a Hugging Face checkpoint in which `X.weight` of some modules X is replaced by `X.left.weight` [out, r],
U·diag(S), and `X.right.weight` [r, in], Vᵀ, so that W [out, in] = left · right: r · (out + in) numbers instead of out · in. Always in that
orientation, also where W itself would be stored as [in, out]. A rank of 0 has neither. Where X has several roles in one weight, the
reduced ones have their factors under their role (`X.gate.left.weight`), and `X.rest.weight` has the other rows in order. Biases and
everything else are unchanged.

Knows modules and one file; does not know plans, or how factors are computed.
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
from .storage import at_least_float32

#: The file that lists the factored matrices, and its version; this and lower versions are read.
FACTORED_JSON, SCHEMA = "factored.json", 1
#: The files of the weights. Not the names that transformers looks for: without the factors it would fill in random numbers and go on.
FACTORED_WEIGHTS, FACTORED_INDEX = "factored.safetensors", "factored.safetensors.index.json"
_ADVICE = "export it again"


class FactoredWeight(nn.Module):
    """Replacement of a linear layer [out, in] of any class. Parameters are on the meta device until they are loaded.

    `transposed`: the replaced layer stores W as [in, out], as Conv1D does.
    """

    bias: nn.Parameter | None

    def __init__(self, out: int, inside: int, *, bias: bool, transposed: bool) -> None:
        super().__init__()
        self.out_features, self.in_features, self.transposed = out, inside, transposed
        self.register_parameter("bias", nn.Parameter(torch.empty(out, device="meta")) if bias else None)

    @property
    def weight(self) -> Tensor:
        """A tensor without values, with the shape and dtype of the matrix, which some models read. For W, see `dense`."""
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
        """Returns the text in a printed model."""
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}, bias={self.bias is not None}"

    def dense(self) -> Float[Tensor, "out inside"]:
        """Returns W = left · right, multiplied in float32 or better and rounded to the dtype of the factors."""
        if not self.rank:
            return torch.zeros(self.out_features, self.in_features, dtype=self.weight.dtype)
        left, right = self.left.weight.detach(), self.right.weight.detach()
        return (at_least_float32(left) @ at_least_float32(right)).to(left.dtype)

    def forward(self, values: Float[Tensor, "*batch inside"]) -> Float[Tensor, "*batch out"]:
        """Returns the layer's output for [*batch, in]."""
        result: Tensor = self.left(self.right(values)) if self.rank else values.new_zeros(*values.shape[:-1], self.out_features)
        return result if self.bias is None else result + self.bias


class PartlyFactoredLinear(FactoredWeight):
    """A fused linear layer in which the rows of some roles are factored; `rest` has the other rows, in their order.

    `parts`: role to its rows in the fused matrix, and its rank.
    """

    def __init__(
        self, out: int, inside: int, parts: Mapping[str, tuple[Sequence[int], int]], *, bias: bool = False, transposed: bool = False
    ) -> None:
        super().__init__(out, inside, bias=bias, transposed=transposed)
        self.roles = tuple(parts)
        for role, (rows, rank) in parts.items():
            self.add_module(role, FactoredLinear(len(rows), inside, rank))
        factored_rows = [row for rows, _ in parts.values() for row in rows]
        self.rest_rows = sorted(set(range(out)) - set(factored_rows))
        if self.rest_rows:
            self.rest = nn.Linear(inside, len(self.rest_rows), bias=False, device="meta")
        rows_of_pieces = [*factored_rows, *self.rest_rows]
        self._positions: list[int] | None = (
            None if rows_of_pieces == list(range(out)) else sorted(range(out), key=rows_of_pieces.__getitem__)
        )
        self._indices: dict[torch.device, Tensor] = {}  # by device: a list would be copied there at every call

    def dense(self) -> Float[Tensor, "out inside"]:
        """Returns the complete fused matrix W."""
        pieces = [part.dense() for part in self._parts()] + ([self.rest.weight.detach()] if self.rest_rows else [])
        return self._in_order(torch.cat([piece.to(pieces[-1]) for piece in pieces]), 0)

    def forward(self, values: Float[Tensor, "*batch inside"]) -> Float[Tensor, "*batch out"]:
        """Returns the layer's output for [*batch, in]."""
        pieces = [part(values) for part in self._parts()] + ([self.rest(values)] if self.rest_rows else [])
        result = self._in_order(torch.cat(pieces, -1), -1)
        return result if self.bias is None else result + self.bias

    def _parts(self) -> list[FactoredLinear]:
        return [module for module in map(self.get_submodule, self.roles) if isinstance(module, FactoredLinear)]

    def _in_order(self, pieces: Tensor, axis: int) -> Tensor:
        if self._positions is None:
            return pieces
        if pieces.device not in self._indices:
            with torch.inference_mode(False):  # a pass with gradients may follow one without
                self._indices[pieces.device] = torch.tensor(self._positions, device=pieces.device)
        return pieces.index_select(axis, self._indices[pieces.device])


@dataclass(frozen=True)
class FactoredMatrix:
    """One factored matrix: its site, the path of its module from the model, its shape [out, in] and its rank."""

    site: Site
    module: str
    shape: tuple[int, int]
    rank: int

    @classmethod
    def of(cls, site: Site, rank: int, anatomy: Anatomy) -> Self:
        """Returns the matrix at a site of this model."""
        return cls(site, anatomy.slot(site).path, anatomy.shape(site), rank)

    @property
    def numbers(self) -> int:
        """How many numbers its factors have."""
        return self.rank * sum(self.shape)

    @property
    def saved(self) -> int:
        """How many numbers fewer these are than those of the matrix itself."""
        return self.shape[0] * self.shape[1] - self.numbers

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object."""
        return {"site": str(self.site), "module": self.module, "shape": list(self.shape), "rank": self.rank}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Returns what `to_json` wrote. Raises InputError."""
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
    """The content of factored.json: the file of the weights (or their index), and the factored matrices in it."""

    weights: str
    matrices: tuple[FactoredMatrix, ...]

    def save(self, folder: Path) -> None:
        """Write factored.json. Raises StorageFailure."""
        head = {"schema": SCHEMA, "format": "factored", "weights": self.weights}
        write_json(folder / FACTORED_JSON, {**head, "matrices": [matrix.to_json() for matrix in self.matrices]})

    @classmethod
    def find(cls, path: str, revision: str | None = None) -> "FactoredFiles | None":
        """Returns the list of factored matrices of a folder or Hub id; None for plain checkpoints. Raises BadModel."""
        file = Path(path) / FACTORED_JSON if Path(path).exists() else _from_hub(path, revision)
        if file is None or not file.is_file():
            return None
        try:
            return cls._read(read_json(file, "list of factors"))
        except InputError as error:
            raise BadModel(f"{path} is a factored export with a damaged {FACTORED_JSON}: {error}; {_ADVICE}.") from error

    @classmethod
    def _read(cls, value: Any) -> "FactoredFiles":
        if (
            not isinstance(value, Mapping)
            or not isinstance(value.get("matrices"), list)
            or value.get("weights") not in (FACTORED_WEIGHTS, FACTORED_INDEX)
        ):
            raise InputError(f"it is an object with schema, weights ({FACTORED_WEIGHTS} or {FACTORED_INDEX}) and a list of matrices")
        schema = value.get("schema")
        if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
            raise InputError(f"its schema is {schema!r}, and this version of resect reads 1 to {SCHEMA}")
        matrices = tuple(map(FactoredMatrix.from_json, value["matrices"]))
        if len({matrix.site for matrix in matrices}) < len(matrices):
            raise InputError("a matrix is listed twice")
        return cls(str(value["weights"]), matrices)

    def install(self, model: nn.Module) -> list[str]:
        """Replace the modules with these matrices by modules for factors; returns their paths.

        Raises BadModel where the model does not have these matrices.
        """
        anatomy = Anatomy.of(model)
        for matrix in self.matrices:
            if matrix.site not in anatomy.sites or FactoredMatrix.of(matrix.site, matrix.rank, anatomy) != matrix:
                raise BadModel(
                    f"{FACTORED_JSON} lists {matrix.site} as {' × '.join(map(str, matrix.shape))} at {matrix.module}, which does not match "
                    f"the config.json of this {anatomy.family}; {_ADVICE}."
                )
        paths = by_module(self.matrices)
        for path, matrices in paths.items():
            model.set_submodule(path, _replacement(model.get_submodule(path), anatomy, matrices))
        return list(paths)

    def loader(self, auto_class: Any, config: Any, trust_remote_code: bool) -> tuple[Any, type]:
        """Returns a class whose `from_pretrained` loads such a folder, and the class of the loaded models (see `finish_loading`).

        `auto_class`: the auto class of transformers for this kind of model. The modules are replaced when the model has been constructed
        and has no weights yet, so that transformers itself loads the factors: dtypes, several files, device maps, and its report of
        missing weights. The configuration is changed to name the file of the weights.
        """
        with torch.device("meta"):
            plain = type(auto_class.from_config(config, trust_remote_code=trust_remote_code))
        config.transformers_weights = self.weights

        def construct(model: Any, *arguments: Any, **settings: Any) -> None:
            plain.__init__(model, *arguments, **settings)
            self.install(model)

        return type(plain.__name__, (plain,), {"__init__": construct, "__module__": plain.__module__}), plain


def finish_loading(model: Any, plain: type) -> Any:
    """Returns a loaded model with its plain class, whose state_dict and save_pretrained multiply the factors out."""
    model.__class__ = plain
    del model.config.transformers_weights
    for module in factored_modules(model).values():
        module.register_state_dict_post_hook(_multiply_out)
    return model


def factored_modules(model: nn.Module) -> dict[str, FactoredLinear | PartlyFactoredLinear]:
    """Returns the modules of a model with factors, by path, the outermost."""
    modules: dict[str, FactoredLinear | PartlyFactoredLinear] = {}
    for path, module in model.named_modules():
        if isinstance(module, FactoredLinear | PartlyFactoredLinear) and path.rpartition(".")[0] not in modules:
            modules[path] = module
    return modules


def by_module(matrices: Iterable[FactoredMatrix]) -> dict[str, list[FactoredMatrix]]:
    """Returns the matrices of each module, by its path."""
    groups: dict[str, list[FactoredMatrix]] = {}
    for matrix in matrices:
        groups.setdefault(matrix.module, []).append(matrix)
    return groups


def rows_of(anatomy: Anatomy, site: Site, out: int) -> list[int]:
    """Returns the rows of a matrix in its module, which has `out` of them."""
    rows = anatomy.slot(site).rows
    return list(rows) if isinstance(rows, tuple) else list(range(out))[slice(None) if rows is None else rows]


def rest_of(anatomy: Anatomy, sites: Iterable[Site], out: int) -> list[int]:
    """Returns the rows of that module that belong to none of these sites."""
    return sorted(set(range(out)) - {row for site in sites for row in rows_of(anatomy, site, out)})


def _replacement(old: nn.Module, anatomy: Anatomy, matrices: Sequence[FactoredMatrix]) -> nn.Module:
    slot, weight = anatomy.slot(matrices[0].site), old.get_parameter("weight")
    inside, out = weight.shape if slot.transposed else weight.shape[::-1]
    settings = {"bias": old.bias is not None, "transposed": slot.transposed}
    if slot.rows is None:
        return FactoredLinear(out, inside, matrices[0].rank, **settings)
    parts = {matrix.site.role: (rows_of(anatomy, matrix.site, out), matrix.rank) for matrix in matrices}
    return PartlyFactoredLinear(out, inside, parts, **settings)


def _multiply_out(module: Any, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    for name in [name for name in state if name.startswith(prefix) and name != f"{prefix}bias"]:
        del state[name]
    state[f"{prefix}weight"] = module.dense().T.contiguous() if module.transposed else module.dense()


def _from_hub(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import errors, hf_hub_download  # needed only here

    try:
        return Path(hf_hub_download(model, FACTORED_JSON, revision=revision))
    except (errors.EntryNotFoundError, OSError, ValueError):  # not available: loading the weights will report it
        return None
