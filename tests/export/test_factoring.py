"""Matrices are stored as factors where that is exact and smaller; others stay dense, which is reported. Deviations are small."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import checkpoints
import pico
from resect.core.errors import InputError, NotFinite, NotWritable, UnknownName, WrongModel
from resect.edits.matrices import PruneWeights, ReduceRank
from resect.edits.neurons import Clamp, Scale, Shift
from resect.edits.plan import Plan
from resect.edits.svd import Decomposition
from resect.export.export import export
from resect.export.factoring import FactorSelection, factors_of
from resect.models.anatomy import Anatomy
from resect.models.factored_linear import FACTORED_INDEX, FACTORED_JSON, FACTORED_WEIGHTS, factored_modules, rows_of
from resect.models.loading import load_model

LAYOUTS = ["t5", "bart", "llama-gqa", "gemma3", "phi3", "gpt2", "gpt-neox", "falcon-40b", "modernbert"]
RHO = {"q": 0.3, "k": 0.0, "v": 0.3, "o": 0.2, "gate": 0.2, "up": 0.3, "down": 0.3}


def plan_of(model):
    """The last layer of each stack reduced, role by role, and units cut in the layer before it."""
    anatomy = Anatomy.of(model)
    last = [site for site in anatomy.sites if site.layer == anatomy.layers[site.stack] - 1]
    cuts = checkpoints.units(anatomy, [site for site in anatomy.sites if site.layer == 0 and site.role in ("v", "up")])
    return Plan([Scale(cuts, 0.5), *(ReduceRank(site, RHO[site.role.removeprefix("cross_")]) for site in last)]).for_model(model)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A checkpoint in several files that is not changed, its model, and a plan for it."""
    folder = tmp_path_factory.mktemp("base") / "llama"
    model = checkpoints.saved(folder, "llama")
    return folder, model, plan_of(model)


def factored(plan, base, to, **settings):
    return export(plan, str(base), to, as_format="factored", device="cpu", **settings)


# -- what is loaded again ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float32) for name in LAYOUTS), *((name, torch.bfloat16) for name in LAYOUTS[::3]), ("t5", torch.float16)],
)
def test_what_is_loaded_is_near_the_model_with_the_plan_applied(tmp_path, name, dtype):
    base, to = tmp_path / "base", tmp_path / "out"
    model = checkpoints.saved(base, name, dtype=dtype)
    plan, before = plan_of(model), checkpoints.digests(base)
    done = factored(plan, base, to)
    assert (done.resaved, done.verified, done.factoring.dense) == (None, True, ())
    assert checkpoints.digests(base) == before
    step = torch.finfo(dtype).eps / 2
    assert done.deviation.matrix < 3 * step + 1e-6
    again, anatomy = load_model(str(to), device="cpu").model, Anatomy.of(model)
    with plan.applied(model, "weights"):
        plain = checkpoints.bits(model)
        values = checkpoints.bits(again)
        assert {key: values[key] for key in values if key in plain} == {key: plain[key] for key in plain if key in values}
        for matrix in done.factoring.matrices:
            dense = factored_modules(again)[matrix.module].dense()
            mine, wanted = dense[rows_of(anatomy, matrix.site, len(dense))], anatomy.weight(matrix.site)
            assert (mine.double() - wanted.double()).norm() <= (4 * step + 1e-6) * wanted.double().norm()
        far = (pico.output(name, again).double() - pico.output(name, model).double()).abs().max()
        assert far < 100 * step * pico.output(name, model).abs().max()


def test_only_the_factors_take_the_place_of_a_matrix(llama, tmp_path):
    base, model, _ = llama
    done = factored(Plan((ReduceRank("decoder.1.up", 0.2),)), base, tmp_path / "out", verify=False)
    before, after = ({}, {})
    for folder, found in ((base, before), (tmp_path / "out", after)):
        for path in folder.glob("*.safetensors"):
            found |= load_file(path)
    assert before.keys() - after.keys() == {"model.layers.1.mlp.up_proj.weight"}
    assert after.keys() - before.keys() == {"model.layers.1.mlp.up_proj.left.weight", "model.layers.1.mlp.up_proj.right.weight"}
    assert all(torch.equal(before[name], after[name]) for name in before.keys() & after.keys())
    left, right = (after[f"model.layers.1.mlp.up_proj.{side}.weight"] for side in ("left", "right"))
    found = Decomposition.of(model.get_parameter("model.layers.1.mlp.up_proj.weight").data)
    torch.testing.assert_close(left.norm(dim=0), found.values[:4])  # U·diag(S): its columns are as long as the singular values
    torch.testing.assert_close(right @ right.T, torch.eye(4), rtol=0, atol=1e-6)  # V: orthonormal
    assert len(done.rewritten) == 2  # the one file, and the index
    assert FACTORED_INDEX in done.rewritten
    assert len(done.linked) >= 3
    index = json.loads((tmp_path / "out" / FACTORED_INDEX).read_text())
    assert index["weight_map"].keys() == after.keys()
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in after.values())
    assert not (tmp_path / "out" / checkpoints.INDEX).exists()


def test_sizes_are_those_of_the_files(tmp_path):
    checkpoints.saved(tmp_path / "base", "llama", shard="1GB")
    done = factored(Plan((ReduceRank("decoder.1.up", 0.2), ReduceRank("decoder.1.v", 0.0))), tmp_path / "base", tmp_path / "out")
    assert done.rewritten == (FACTORED_WEIGHTS,)
    files = [(tmp_path / "base" / "model.safetensors").stat().st_size, (tmp_path / "out" / FACTORED_WEIGHTS).stat().st_size]
    assert done.factoring.weight_bytes == tuple(files)
    assert done.factoring.matrix_bytes == (4 * (40 * 24 + 24 * 24), 4 * 4 * (40 + 24))
    assert abs((files[0] - files[1]) - (done.factoring.matrix_bytes[0] - done.factoring.matrix_bytes[1])) < 1000  # but for the header
    result = json.loads(json.dumps(done.to_json()))
    assert (result["format"], result["factored"]["bytes"]["weights"]) == ("factored", {"before": files[0], "after": files[1]})
    assert [matrix["rank"] for matrix in result["factored"]["matrices"]] == [4, 0]
    assert result["factored"]["nearness"]["matrix"] <= result["factored"]["nearness"]["matrix_bound"]


def test_a_plain_export_reports_its_format(llama, tmp_path):
    result = export(Plan(), str(llama[0]), tmp_path / "out", verify=False).to_json()
    assert (result["format"], result["factored"]) == ("checkpoint", None)
    with pytest.raises(UnknownName, match=r"Unknown format of an export 'factord'. Did you mean 'factored'"):
        export(Plan(), str(llama[0]), tmp_path / "other", as_format="factord")


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 3])
def test_weights_in_pytorchs_format_are_kept_as_factors_too(llama, tmp_path, shards):
    base = shutil.copytree(llama[0], tmp_path / "base")
    checkpoints.as_bin(base, shards)
    done = factored(llama[2], base, tmp_path / "out")
    assert "PyTorch's own format" in done.resaved
    assert done.verified
    assert not any(path.name.startswith("model.safetensors") or path.suffix == ".bin" for path in (tmp_path / "out").iterdir())
    with llama[2].applied(llama[1], "weights"):
        torch.testing.assert_close(
            pico.output("llama", load_model(str(tmp_path / "out"), device="cpu").model),
            pico.output("llama", llama[1]),
            rtol=1e-4,
            atol=1e-4,
        )


def test_names_without_the_base_models_prefix_stay_so(tmp_path):
    base = tmp_path / "base"
    checkpoints.saved(base, "gpt2")
    checkpoints.rewrite(base, lambda tensors: {key.removeprefix("transformer."): tensor for key, tensor in tensors.items()})
    done = factored(Plan((ReduceRank("decoder.1.q", 0.2),)), base, tmp_path / "out")
    assert (done.resaved, done.verified) == (None, True)
    with safe_open(tmp_path / "out" / FACTORED_WEIGHTS, "pt") as file:
        found = {name for name in file.keys() if "1.attn.c_attn" in name}  # noqa: SIM118
    inner = ("bias", "q.left.weight", "q.right.weight", "rest.weight")
    assert found == {f"h.1.attn.c_attn.{name}" for name in inner}


# -- which matrices ------------------------------------------------------------------------------------------------------


def chosen(*edits, name="llama"):
    selection = FactorSelection.of(Plan(edits), Anatomy.of(pico.build_on_meta(name)))
    return {number: (str(matrix.site), matrix.rank) for number, matrix in selection.edits.items()}, selection.dense


def test_a_matrix_is_kept_as_factors_where_nothing_changes_it_later():
    up, down = "decoder.1.up", "decoder.1.down"
    assert chosen(Scale({up: [1]}), ReduceRank(up, 0.2)) == ({1: (up, 4)}, ())
    assert chosen(ReduceRank(up, 0.5), ReduceRank(up, 0.2), ReduceRank(down, 0.2)) == ({1: (up, 4), 2: (down, 4)}, ())
    assert chosen(ReduceRank(up, 0.2), Scale({down: [1]})) == ({0: (up, 4)}, ())
    assert chosen(ReduceRank("decoder.0.q", 0.2), Scale({"decoder.0.v": [1]}), name="gpt2")[0] == {0: ("decoder.0.q", 4)}


def test_one_that_is_changed_later_or_would_not_be_smaller_stays_dense_and_is_reported():
    selected, dense = chosen(ReduceRank("decoder.1.down", 0.2), Scale({"decoder.1.post": [3]}), ReduceRank("decoder.1.up", 0.2))
    assert selected == {2: ("decoder.1.up", 4)}
    assert dense == ("decoder.1.down stays dense: a scale (edit 1) changes it after its rank is reduced",)
    _, dense = chosen(ReduceRank("decoder.1.q", 0.5), ReduceRank("decoder.1.up", 0.2))
    assert dense == ("decoder.1.q stays dense: at rank 12, its factors have no fewer numbers than its 24 × 24",)


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ((), "the plan is empty"),
        ((Scale({"decoder.1.up": [1]}),), "no edit of the plan reduces a rank"),
        ((ReduceRank("decoder.1.up", 0.9),), r"decoder\.1\.up stays dense: at rank 21"),
    ],
)
def test_a_plan_of_which_nothing_can_be_kept_is_refused_with_the_way_out(llama, tmp_path, edits, why):
    with pytest.raises(InputError, match=f"Nothing of this plan can be stored as factors \\({why}.*leave out --format factored"):
        factored(Plan(edits), llama[0], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_stays_dense_is_written_and_reported(llama, tmp_path):
    base, model, _ = llama
    plan = Plan((ReduceRank("decoder.1.down", 0.2), Scale({"decoder.1.post": [3]}, 0.5), ReduceRank("decoder.1.up", 0.2))).for_model(model)
    done = factored(plan, base, tmp_path / "out")
    assert "Decoder.1.down stays dense: a scale (edit 1)" in " ".join(done.sentences())
    weight = Anatomy.of(load_model(str(tmp_path / "out"), device="cpu").model).weight("decoder.1.down")
    with plan.applied(model, "weights"):
        assert torch.equal(weight, Anatomy.of(model).weight("decoder.1.down"))
    assert "decoder.1.down stays dense" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_earlier_edits_of_the_matrix_and_its_bias_are_in_the_factors(tmp_path):
    model = checkpoints.saved(tmp_path / "base", "gpt2")
    first = (Scale({"decoder.1.up": [1, 7]}, 3.0), PruneWeights("decoder.1.up", 0.3), ReduceRank("decoder.1.q", 0.4))
    constants = (Clamp({"decoder.0.post": [1, 5]}, 0.7), Shift({"decoder.0.post": [2]}, -0.3))
    plan = Plan((*first, ReduceRank("decoder.1.up", 0.2), ReduceRank("decoder.1.q", 0.2), Scale({"decoder.1.k": [2]}), *constants))
    done = factored(plan.for_model(model), tmp_path / "base", tmp_path / "out")
    assert [(str(matrix.site), matrix.rank) for matrix in done.factoring.matrices] == [("decoder.1.up", 4), ("decoder.1.q", 4)]
    with plan.applied(model, "weights"):
        torch.testing.assert_close(
            pico.output("gpt2", load_model(str(tmp_path / "out"), device="cpu").model), pico.output("gpt2", model), rtol=1e-4, atol=1e-4
        )


# -- the factors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("edit", [ReduceRank("decoder.0.up", 0.3), ReduceRank("decoder.0.up", 0.3, keep="smallest")])
@pytest.mark.parametrize("shape", [(40, 90), (90, 40)])
def test_rounding_factors_costs_two_roundings(edit, dtype, shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    left, right = factors_of(edit, weight)
    assert (left.shape, right.shape, left.dtype, right.dtype) == ((shape[0], 12), (12, shape[1]), dtype, dtype)
    exact = Decomposition.of(weight.double()).matrix(12, edit.keep)
    u = torch.finfo(dtype).eps / 2
    arithmetic = torch.finfo(torch.promote_types(dtype, torch.float32)).eps * 8
    assert (left.double() @ right.double() - exact).norm() <= (2 * u + u * u + arithmetic) * exact.norm()


def test_the_authors_approximation_has_factors_too():
    weight = torch.randn(40, 90, generator=torch.Generator().manual_seed(0))
    edit = ReduceRank("decoder.0.up", 0.3, variant="official", seed=3)
    left, right = factors_of(edit, weight)
    torch.testing.assert_close(left @ right, edit.reduced(weight), rtol=1e-4, atol=1e-5)


# -- refused -------------------------------------------------------------------------------------------------------------


def test_a_factored_folder_is_refused_as_a_base(llama, tmp_path):
    factored(Plan((ReduceRank("decoder.1.up", 0.2),)), llama[0], tmp_path / "first", verify=False)
    for as_format in ("checkpoint", "factored"):
        with pytest.raises(NotWritable, match=r"stores some matrices as factors.*give that one with --model, and the plan\.json"):
            export(Plan((ReduceRank("decoder.0.up", 0.2),)), str(tmp_path / "first"), tmp_path / "out", as_format=as_format)
    again = export(Plan.load(tmp_path / "first" / "plan.json"), str(llama[0]), tmp_path / "dense", device="cpu")
    assert again.verified


def test_a_wrong_model_and_nan_in_a_matrix_are_refused(llama, tmp_path):
    checkpoints.saved(tmp_path / "other", "llama", change=lambda model: model.model.layers[1].mlp.up_proj.weight.data.mul_(1.5))
    with pytest.raises(WrongModel):
        factored(llama[2], tmp_path / "other", tmp_path / "out")
    checkpoints.saved(tmp_path / "ill", "llama", change=lambda model: model.model.layers[1].mlp.up_proj.weight.data[3].fill_(torch.nan))
    with pytest.raises(NotFinite, match=r"decoder\.1\.up of shape"):
        factored(Plan((ReduceRank("decoder.1.up", 0.2),)), tmp_path / "ill", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_head_is_no_site():
    with pytest.raises(InputError):
        chosen(ReduceRank("decoder.0.lm_head", 0.2))


# -- the card -----------------------------------------------------------------------------------------------------------


def test_the_card_says_how_to_load_it_and_what_was_saved(llama, tmp_path):
    done = factored(llama[2], llama[0], tmp_path / "out", verify=False, base_model="someone/base")
    card = (tmp_path / "out" / "README.md").read_text()
    for text in (
        "plain transformers cannot load it",
        "resect.load_model(",
        "library_name: resect",
        "base_model: someone/base",
        "instead of",
    ):
        assert text in card
    for matrix in done.factoring.matrices:
        assert f"`{matrix.site}`" in card
    assert "it is loaded as the base is" not in card
    assert str(tmp_path) not in card + (tmp_path / "out" / FACTORED_JSON).read_text()
    assert "not loaded again" in done.sentences()[-1]
    assert any("resect.load_model" in sentence for sentence in done.sentences())


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("name", ["bbq-llama", "bbq-t5"])
def test_real_models(shared, tmp_path, name):
    base = shared / "models" / name
    model = load_model(str(base), device="cpu")
    plan = Plan((ReduceRank("decoder.1.up", 0.1), ReduceRank("decoder.2.down", 0.05)))
    done = factored(plan, base, tmp_path / "out")
    assert (done.resaved, done.verified, len(done.factoring.matrices)) == (None, True, 2)
    again = load_model(str(tmp_path / "out"), device="cpu")
    pairs = (["Who was it? Answer:", "The old man and"], ["the old man", "the sea"])
    with plan.applied(model):
        torch.testing.assert_close(torch.tensor(model.logprobs(*pairs)), torch.tensor(again.logprobs(*pairs)), rtol=1e-4, atol=1e-4)
    assert (tmp_path / "out" / "instructions.txt").exists()
