"""Export of discovered families: matrices without a role too are written into the checkpoint that was read."""

import pytest

import checkpoints
from resect.edits.matrices import ReduceRank
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.export.export import export
from resect.models.anatomy import Anatomy

NAMES = ("qwen3.5", "lfm2", "deberta", "albert", "marian", "gemma4", "codegen", "gpt-bigcode")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_is_loaded_is_the_model_with_the_plan_applied(tmp_path, name):
    model = checkpoints.saved(tmp_path / "base", name)
    anatomy = Anatomy.of(model)
    chosen = [site for site in anatomy.sites if site.layer == anatomy.sites[-1].layer or "." in site.role]
    plan = Plan((Scale({str(site): [0] for site in chosen}, 0.0), ReduceRank(anatomy.sites[0], 0.3))).for_model(model)
    done = export(plan, str(tmp_path / "base"), tmp_path / "out", device="cpu")
    assert done.to_json()["anew"] is None
    checkpoints.assert_applied(tmp_path / "out", name, model, plan)
