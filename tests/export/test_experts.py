"""Export of mixtures of experts: the names, shapes and dtypes of the stored tensors stay, whatever transformers makes of them in memory."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import checkpoints
import pico
from resect.core.errors import InputError
from resect.edits.matrices import ReduceRank
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.export.export import export
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import ModelIdentity

NAMES = [name if name in pico.FEW_EXPERTS else pytest.param(name, marks=pytest.mark.slow) for name in pico.EXPERTS]


def forms(folder):
    """File, shape and dtype of each stored tensor."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: (path.name, file.get_slice(name).get_shape(), file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118
    return found


def plan_of(model):
    """Edits of two experts, of the router, and of attention, in the last layer."""
    anatomy = Anatomy.of(model)
    last = anatomy.layers["decoder"] - 1
    site = lambda name: f"decoder.{last}.{name}"
    edits = (
        Scale({site("expert0.up"): [1, 2], site("expert3.down"): [3], site("router"): [1], site("o"): [0]}, 0.0),
        Scale({site("expert1.act"): [5]}, 0.5),
        ReduceRank(site("expert2.gate"), 0.3),
    )
    touched = [address for edit in edits for address in edit.sites]
    return Plan(edits, ModelIdentity.of(anatomy, touched))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_the_stored_tensors_keep_their_names_shapes_and_dtypes(tmp_path, name, dtype):
    base, to = tmp_path / "base", tmp_path / "out"
    model = checkpoints.saved(base, name, dtype=dtype)
    plan = plan_of(model)
    done = export(plan, str(base), to, verify=dtype == torch.float32, device="cpu")
    assert forms(to) == forms(base)
    assert done.to_json()["anew"] is None  # no weight but those that the plan touches was loaded
    checkpoints.assert_applied(to, name, model, plan)
    before, after = (
        {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()} for folder in (base, to)
    )
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert 1 < len(changed) <= 8


def test_three_rounds_of_export_change_nothing_else(tmp_path):
    base = tmp_path / "0"
    model = checkpoints.saved(base, "mixtral")
    plan = plan_of(model)
    once = forms(base), json.loads((base / "config.json").read_text())
    for turn in range(3):
        export(Plan(plan.edits), str(tmp_path / str(turn)), tmp_path / str(turn + 1), device="cpu")
    assert (forms(tmp_path / "3"), json.loads((tmp_path / "3" / "config.json").read_text())) == once


def test_a_checkpoint_that_stores_all_experts_together_stays_so(tmp_path):
    base = tmp_path / "base"
    model = checkpoints.saved(base, "mixtral")
    for path in base.glob("*.safetensors*"):
        path.unlink()
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, base / "model.safetensors", metadata={"format": "pt"})
    plan = plan_of(model)
    export(plan, str(base), tmp_path / "out", device="cpu")
    assert forms(tmp_path / "out") == forms(base)
    checkpoints.assert_applied(tmp_path / "out", "mixtral", model, plan)


def test_experts_are_not_stored_as_factors(tmp_path):
    checkpoints.saved(tmp_path / "base", "mixtral")
    with pytest.raises(InputError, match="one parameter holds the matrices of all experts"):
        export(Plan((ReduceRank("decoder.1.expert2.gate", 0.1),)), str(tmp_path / "base"), tmp_path / "out", as_format="factored")
