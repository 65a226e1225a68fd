"""Edits, one by one: against plain torch on plain attributes, and refusals. Their laws are in `contracts`."""

import numpy as np
import pytest
import torch

import contracts
import pico
from resect.core.address import Neurons
from resect.core.errors import BadAddress, BadPlan, InputError, NotWritable, UnknownName, WrongModel
from resect.edits.base import Edit
from resect.edits.kinds import KINDS, from_json
from resect.edits.matrices import PruneWeights, ReduceRank
from resect.edits.neurons import Clamp, Scale, Shift, UnitValues
from resect.edits.plan import Plan
from resect.edits.svd import Decomposition, floor_of_share
from resect.models.anatomy import Anatomy

UNITS = [1, 7, 30]

# -- against plain torch -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["weights", "activations"])
def test_a_cut_row_of_llama_is_a_zeroed_row(form):
    on, by_hand = contracts.subject("llama-biased"), pico.build("llama-biased")
    with torch.no_grad():
        by_hand.model.layers[1].mlp.gate_proj.weight[UNITS] = 0
        by_hand.model.layers[1].mlp.gate_proj.bias[UNITS] = 0
    with Scale({"decoder.1.gate": UNITS}).applied(on.model, form):
        contracts.assert_close(on.logits(), pico.output("llama-biased", by_hand), on.base)


@pytest.mark.parametrize("form", ["weights", "activations"])
def test_a_scaled_value_row_of_gpt2_is_a_column_of_its_fused_weight(form):
    on, by_hand = contracts.subject("gpt2"), pico.build("gpt2")
    columns = [2 * 24 + unit for unit in (0, 5, 23)]
    with torch.no_grad():
        by_hand.transformer.h[0].attn.c_attn.weight[:, columns] *= 0.25
        by_hand.transformer.h[0].attn.c_attn.bias[columns] *= 0.25
    with Scale({"decoder.0.v": [0, 5, 23]}, 0.25).applied(on.model, form):
        contracts.assert_close(on.logits(), pico.output("gpt2", by_hand), on.base)


def test_a_cut_cross_attention_row_of_t5_is_a_zeroed_row():
    on, by_hand = contracts.subject("t5"), pico.build("t5")
    with torch.no_grad():
        by_hand.decoder.block[1].layer[1].EncDecAttention.k.weight[[3, 4]] = 0
    with Scale({"decoder.1.cross_k": [3, 4]}).applied(on.model) as form:
        assert form == "weights"
        assert torch.equal(on.logits(), pico.output("t5", by_hand))


@pytest.mark.parametrize("role", ["act", "post"])
@pytest.mark.parametrize("form", ["weights", "activations"])
def test_a_silenced_unit_of_bert_is_a_zeroed_column(form, role):
    on, by_hand = contracts.subject("bert"), pico.build("bert")
    with torch.no_grad():
        by_hand.bert.encoder.layer[0].output.dense.weight[:, UNITS] = 0
    for edit in (Scale({f"encoder.0.{role}": UNITS}), Clamp({f"encoder.0.{role}": UNITS}, 0)):
        with edit.applied(on.model, form):
            contracts.assert_close(on.logits(), pico.output("bert", by_hand), on.base)


@pytest.mark.parametrize(("name", "role"), [("bert", "post"), ("bert", "act"), ("llama", "post"), ("llama", "act"), ("opt", "post")])
def test_clamp_sets_values_and_shift_adds_to_them(name, role):
    on = contracts.subject(name)
    stack = next(iter(on.anatomy.layers))
    site = f"{stack}.1.{role}"
    tap, values_seen = on.anatomy.tap(site), []

    def watch(_module, *values):
        values_seen.append((values[0][0] if tap.when == "input" else values[1]).detach()[..., UNITS].clone())

    def values_with(edit):
        values_seen.clear()
        with edit.applied(on.model, "activations"):
            module = on.anatomy.module(site)
            handle = module.register_forward_pre_hook(watch) if tap.when == "input" else module.register_forward_hook(watch)
            on.logits()
            handle.remove()
        return values_seen[0]

    if role == "post" or on.anatomy.gated:
        base, expected = values_with(Shift({site: UNITS}, 0.0)), torch.tensor([0.5, -1.0, 2.0])
        assert torch.equal(values_with(Clamp({site: UNITS}, {site: [0.5, -1.0, 2.0]})), expected.expand_as(base))
        assert torch.equal(values_with(Shift({site: UNITS}, {site: [0.5, -1.0, 2.0]})), base + expected)


def test_the_rank_follows_the_fraction_as_written_in_decimals():
    assert floor_of_share(0.29, 100) == 29
    assert floor_of_share(0.57, 100) == 57
    assert floor_of_share(1e-05, 100_000) == 1
    assert ReduceRank("decoder.0.up", 0.01).rank((4096, 11008)) == 40
    assert ReduceRank("decoder.0.up", 0.0).rank((4096, 11008)) == 0


@pytest.mark.parametrize("shape", [(7, 12), (12, 7), (5, 5)])
def test_reduce_rank_is_the_nearest_matrix_of_that_rank(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, values, right = np.linalg.svd(weight.numpy(), full_matrices=False)
    for rho in (0.0, 0.3, 0.6, 0.99):
        edit, kept = ReduceRank("decoder.0.up", rho), floor_of_share(rho, min(shape))
        expected = (left[:, :kept] * values[:kept]) @ right[:kept]
        np.testing.assert_allclose(edit.reduced(weight).numpy(), expected, atol=1e-12)
        rest = ReduceRank("decoder.0.up", rho, "smallest").reduced(weight).numpy()
        split = len(values) - kept
        np.testing.assert_allclose(rest, (left[:, split:] * values[split:]) @ right[split:], atol=1e-12)
        first, second = Decomposition.of(weight).factors(kept)
        np.testing.assert_allclose((first @ second).numpy(), expected, atol=1e-12)


def test_half_precision_is_decomposed_in_float32():
    weight = torch.randn(20, 30, generator=torch.Generator().manual_seed(0)).bfloat16()
    edit = ReduceRank("decoder.0.up", 0.5)
    reduced = edit.reduced(weight)
    assert reduced.dtype == torch.bfloat16
    assert torch.equal(reduced, edit.reduced(weight.float()).bfloat16())


def test_pruning_drops_its_share_and_the_smallest_weights_first():
    weight = torch.tensor([[3.0, -1.0, 0.5], [1.0, 0.5, -4.0]])
    assert PruneWeights("decoder.0.up", 0.5).dropped_positions(weight).tolist() == [2, 4, 1]
    assert PruneWeights("decoder.0.up", 0.34).dropped_positions(weight).tolist() == [2, 4]
    assert PruneWeights("decoder.0.up", 0.2).dropped_positions(weight).tolist() == [2]  # of two equal ones the first
    assert PruneWeights("decoder.0.up", 0.0).dropped_positions(weight).numel() == 0
    assert sorted(PruneWeights("decoder.0.up", 1.0).dropped_positions(weight).tolist()) == list(range(6))
    one, other, again, elsewhere = (
        PruneWeights(site, 0.5, "random", seed).dropped_positions(torch.ones(20, 30)).tolist()
        for site, seed in (("decoder.0.up", 0), ("decoder.0.up", 1), ("decoder.0.up", 0), ("decoder.1.up", 0))
    )
    assert len(set(one)) == 300
    assert one == again
    assert one != other
    assert one != elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("name", pico.PICO)
def test_pruning_is_the_same_whatever_the_layout_and_the_dtype(name):
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        anatomy = Anatomy.of(pico.build(name, dtype=dtype))
        for site in {site.role: site for site in anatomy.sites}.values():
            weight = anatomy.weight(site).clone()
            flat = weight.double().flatten().numpy()
            count = floor_of_share(0.37, len(flat))
            expected = flat.copy()
            expected[np.argsort(np.abs(flat), kind="stable")[:count]] = 0
            with PruneWeights(site, 0.37).applied(anatomy):
                pruned = anatomy.weight(site).clone()
            assert pruned.dtype == dtype
            np.testing.assert_array_equal(pruned.double().flatten().numpy(), expected)
            with PruneWeights(site, 0.37, "random", seed=3).applied(anatomy):
                assert int((anatomy.weight(site) == 0).sum()) >= count
            assert torch.equal(anatomy.weight(site), weight)


def test_zero_times_infinity_is_zero():
    model = pico.build("llama")
    model.model.layers[0].mlp.up_proj.weight.data[3] = torch.inf
    for form in ("weights", "activations"):
        with Scale({"decoder.0.up": [3]}).applied(model, form):
            assert torch.isfinite(pico.output("llama", model)).all()


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_impossible_settings_are_refused():
    units = {"decoder.0.post": [1, 2]}
    for wrong in (
        lambda: Scale(units, float("nan")),
        lambda: Clamp(units, float("inf")),
        lambda: Shift(units, {"decoder.0.post": [1.0]}),
        lambda: Shift(units, {"decoder.0.post": [1.0, 2.0], "decoder.1.post": [1.0]}),
        lambda: Clamp({"decoder.0.up": [1]}, 0.0),
        lambda: ReduceRank("decoder.0.up", 1.0),
        lambda: ReduceRank("decoder.0.up", -0.1),
        lambda: ReduceRank("decoder.0.act", 0.1),
        lambda: PruneWeights("decoder.0.up", 1.1),
        lambda: PruneWeights("decoder.0.up", 0.1, "random"),
        lambda: PruneWeights("decoder.0.up", 0.1, seed=3),
    ):
        with pytest.raises(InputError):
            wrong()


def test_json_that_is_no_edit_is_refused():
    units = {"decoder.0.post": [1, 2]}
    for wrong, error, words in (
        ({"kind": "scal", "neurons": units}, BadPlan, "Did you mean 'scale'"),
        ({"kind": "scale", "neurons": units, "facter": 0}, BadPlan, "Did you mean 'factor'"),
        ({"kind": "scale"}, BadPlan, "needs neurons"),
        ({"neurons": units}, BadPlan, "kind"),
        ([], BadPlan, "kind"),
        ({"kind": "scale", "neurons": units, "factor": "0"}, InputError, "finite number"),
        ({"kind": "scale", "neurons": units, "factor": True}, InputError, "finite number"),
        ({"kind": "scale", "neurons": {"decoder.0.post": 3}}, InputError, "mapping"),
        ({"kind": "scale", "neurons": {"decoder.0.post": [-1]}}, BadAddress, "from 0 on"),
        ({"kind": "scale", "neurons": {"decoder.0.pots": [1]}}, UnknownName, "Did you mean 'post'"),
        ({"kind": "clamp", "neurons": units, "values": {"decoder.0.post": 3.0}}, InputError, "list"),
        ({"kind": "clamp", "neurons": units, "values": [1.0, 2.0]}, InputError, "finite number"),
        ({"kind": "reduce_rank", "site": 3, "rho": 0.1}, BadAddress, "address"),
        ({"kind": "reduce_rank", "site": "decoder.0.up", "rho": 0.1, "keep": "large"}, UnknownName, "largest"),
        (
            {"kind": "prune_weights", "site": "decoder.0.up", "fraction": 0.1, "select": "random", "seed": 1.5},
            InputError,
            "integer",
        ),
    ):
        with pytest.raises(error, match=words):
            from_json(wrong)


def test_json_has_the_public_keys():
    assert Scale({"decoder.3.up": [17, 5]}).to_json() == {
        "kind": "scale",
        "factor": 0.0,
        "neurons": {"decoder.3.up": [5, 17]},
    }
    assert ReduceRank("decoder.3.up", rho=0.01).to_json() == {
        "kind": "reduce_rank", "site": "decoder.3.up", "rho": 0.01, "keep": "largest",
    }  # fmt: skip
    shift = Shift({"decoder.3.post": [2, 1]}, {"decoder.3.post": np.float32([0.5, 1])})
    assert shift.to_json() == {
        "kind": "shift",
        "neurons": {"decoder.3.post": [1, 2]},
        "values": {"decoder.3.post": [0.5, 1.0]},
    }
    assert isinstance(shift.values, UnitValues)
    assert Shift({"decoder.3.post": [2, 1]}, [[0.5, 1]]) == shift
    assert from_json(shift.to_json()) == shift
    assert PruneWeights("decoder.3.up", fraction=1).to_json() == {
        "kind": "prune_weights", "site": "decoder.3.up", "fraction": 1.0, "select": "smallest",
    }  # fmt: skip
    assert set(KINDS) == {"scale", "clamp", "shift", "reduce_rank", "prune_weights"}
    assert str(Scale(Neurons(), -0.0).factor) == "0.0"


def test_sites_and_units_that_the_model_lacks_are_refused():
    on = contracts.subject("llama")
    with pytest.raises(WrongModel, match="unit 40"):
        Scale({"decoder.0.up": [40]}).write(on.model)
    with pytest.raises(UnknownName, match=r"decoder\.1\.up"):
        Scale({"decoder.2.up": [0]}).write(on.model)
    with pytest.raises(UnknownName):
        ReduceRank("encoder.0.up", 0.1).write(on.model)
    with pytest.raises(InputError, match="configuration alone"):
        Scale({"decoder.0.up": [0]}).write(Anatomy.of_config(on.model.config))
    with pytest.raises(InputError, match="no model"):
        Scale({"decoder.0.up": [0]}).write("llama")


def test_an_edit_without_a_weight_form_is_refused_as_weights_and_applied_by_hooks():
    llama = contracts.subject("llama")
    for edit, words in (
        (Clamp({"decoder.0.post": [1]}, 0.5), "no bias"),
        (Shift({"decoder.0.post": [1]}, 0.5), "no bias"),
        (Clamp({"decoder.0.act": [1]}, 0.5), "post = act · up"),
    ):
        with pytest.raises(NotWritable, match=words):
            edit.write(llama.model)
        with edit.applied(llama.model) as form:
            assert form == "activations"
    with Clamp({"decoder.0.act": [1]}, 0).applied(llama.model) as form:
        assert form == "weights"
    with pytest.raises(NotWritable, match="no activation form"):
        ReduceRank("decoder.0.up", 0.1).hooks(llama.model)


def test_a_parameter_that_is_used_in_two_places_is_not_written():
    model = pico.build("llama")
    layers = model.model.layers
    layers[1].mlp.up_proj.weight = layers[0].mlp.up_proj.weight
    base = contracts.bits(model)
    with pytest.raises(NotWritable, match="2 places"):
        Scale({"decoder.0.up": [1]}).write(model)
    with pytest.raises(NotWritable, match="2 places"), ReduceRank("decoder.0.up", 0.5).applied(model):
        pass
    with Scale({"decoder.0.up": [1]}).applied(model) as form:
        assert form == "activations"
    contracts.assert_same_bits(base, model)
    layers[1].mlp.up_proj = layers[0].mlp.up_proj
    assert "several places" in Scale({"decoder.0.up": [1]}).problems(model, "activations")[0]


def test_quantised_weights_are_edited_by_hooks():
    model = pico.build("llama")
    feed_forward = model.model.layers[0].mlp
    packed = feed_forward.down_proj.weight.to(torch.int8)
    feed_forward.down_proj.weight = torch.nn.Parameter(packed, requires_grad=False)
    for edit in (Scale({"decoder.0.down": [1]}), Scale({"decoder.0.act": [1]}), Clamp({"decoder.0.post": [1]}, 0)):
        with edit.applied(model) as form:
            assert form == "activations"
        with pytest.raises(NotWritable, match="int8"):
            edit.write(model)
    with pytest.raises(NotWritable, match="int8"), ReduceRank("decoder.0.down", 0.5).applied(model):
        pass
    plan = Plan((Scale({"decoder.0.down": [1]}),)).for_model(model)
    assert plan.to_json()["model"]["fingerprint"] == {}
    assert plan.check(model) == []


def test_several_obstacles_are_reported_as_the_first_and_a_number():
    on = contracts.subject("llama")
    shift = Shift({"decoder.0.post": [1], "decoder.1.post": [1]}, 0.5)
    assert len(shift.problems(on.model, "weights")) == 2
    with pytest.raises(NotWritable, match=r"decoder\.0\.post .*And 1 more"):
        shift.write(on.model)


def test_without_a_gate_units_at_act_and_at_post_are_the_same():
    on = contracts.subject("gpt2")
    both = Clamp({"decoder.0.act": [1, 2], "decoder.0.post": [2, 3]}, {"decoder.0.act": [1, 2], "decoder.0.post": [3, 4]})
    with both.applied(on.model) as form:
        assert form == "activations"
        one = on.logits()
    with Clamp({"decoder.0.post": [1, 2, 3]}, {"decoder.0.post": [1, 3, 4]}).applied(on.model) as form:
        assert form == "weights"
        contracts.assert_close(on.logits(), one, on.base)


def test_gradients_flow_through_hooks():
    on = contracts.subject("llama")
    arguments = pico.inputs("llama")
    with Scale({"decoder.0.up": UNITS}, 0.5).applied(on.model, "activations"):
        on.model(**arguments).logits.sum().backward()
    assert on.model.model.embed_tokens.weight.grad is not None
    on.model.zero_grad()


def test_every_kind_is_an_edit_with_a_json_name():
    assert all(issubclass(kind, Edit) and kind.kind == name for name, kind in KINDS.items())
