"""The reductions that LASER's authors chose: for three models and eight tasks, one each (the paper's Table 3).

Knows names, shapes and numbers; runs no model.
Source: Sharma, Ash, Misra 2024 (arXiv:2312.13558), Table 3. Differs from the source in: nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from resect.core.address import Site, Stack
from resect.core.errors import InputError, UnknownName
from resect.edits.matrices import ReduceRank
from resect.models.anatomy import Anatomy, anatomy_of

#: The paper's U_in (the gate, or `up` where there is none) and U_out (`down`).
Side = Literal["in", "out"]


@dataclass(frozen=True)
class ModelShape:
    """By which a model of the paper is recognised: its family and its sizes."""

    family: str
    layers: int
    d_model: int
    d_ff: int

    def __str__(self) -> str:
        return f"a {self.family} of {self.layers} layers, d_model {self.d_model}, d_ff {self.d_ff}"


#: The paper's models. Names do not identify them: a fine-tune has another one, and another model may have the same.
SHAPES: Mapping[str, ModelShape] = {
    "roberta-base": ModelShape("roberta", 12, 768, 3072),
    "gpt-j-6b": ModelShape("gptj", 28, 4096, 16384),
    "llama-2-7b": ModelShape("llama", 32, 4096, 11008),
}
_TABLE: Mapping[str, tuple[tuple[Side, int, float], tuple[Side, int, float], tuple[Side, int, float]]] = {
    "counterfact": (("in", 8, 0.8), ("in", 27, 0.01), ("in", 28, 0.05)),
    "hotpotqa": (("out", 2, 0.4), ("in", 27, 0.1), ("in", 27, 0.2)),
    "fever": (("in", 3, 0.4), ("in", 24, 0.01), ("in", 30, 0.2)),
    "bios/gender": (("in", 9, 0.9), ("in", 14, 0.01), ("in", 24, 0.01)),
    "bios/profession": (("in", 3, 0.9), ("in", 18, 0.01), ("out", 30, 0.4)),
    "epistemic": (("out", 1, 0.4), ("in", 26, 0.01), ("out", 28, 0.01)),
    "truthfulqa": (("in", 0, 0.01), ("in", 7, 0.8), ("in", 30, 0.05)),
    "wikidata": (("in", 7, 0.4), ("in", 27, 0.01), ("in", 27, 0.01)),
}
#: (model, task) to (side, layer from 0, ρ).
CHOICES: Mapping[tuple[str, str], tuple[Side, int, float]] = {
    (model, task): choice for task, row in _TABLE.items() for model, choice in zip(SHAPES, row, strict=True)
}


def published_reduction(model: Any, task_name: str) -> ReduceRank:
    """The authors' choice for this model and task.

    Parameters
    ----------
    model : LanguageModel, Hugging Face model or Anatomy; its family, layers, d_model and d_ff must be those of a model of the paper, which
        includes fine-tunes
    task_name : such as "counterfact" or "bios/gender"

    Raises InputError, with the reason, where the paper has no choice for the model; UnknownName where it has none for the task.
    """
    tasks = dict.fromkeys(task for _, task in CHOICES)
    if task_name not in tasks:
        hint = "The paper has no choice for another task; search instead: leave --published out."
        raise UnknownName("task of LASER's Table 3", task_name, tasks, hint)
    anatomy = anatomy_of(model)
    side, layer, rho = CHOICES[_matching_model(anatomy), task_name]
    role = "down" if side == "out" else "gate" if anatomy.gated else "up"
    return ReduceRank(Site(_stack(anatomy), layer, role), rho)


def _stack(anatomy: Anatomy) -> Stack:
    return next(iter(anatomy.layers))


def _matching_model(anatomy: Anatomy) -> str:
    """The name of the paper's model of this shape. Raises InputError."""
    own = ModelShape(anatomy.family, anatomy.layers[_stack(anatomy)], anatomy.d_model, anatomy.d_ff)
    for name, shape in SHAPES.items():
        if own == shape:
            return name
    of_family = [f"{name} is {shape}" for name, shape in SHAPES.items() if shape.family == own.family]
    reason = of_family[0] if of_family else f"none is of this family: {', '.join(SHAPES)}"
    raise InputError(
        f"LASER's authors published no choice for this model, {own}; of theirs, {reason}. "
        "The best layer of one model is not that of another: search instead, leave --published out."
    )
