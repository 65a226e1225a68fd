"""Plans: values with an order and an identity. Their laws are in `contracts`."""

import json
import os
import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import contracts
import pico
from resect.core.errors import BadPlan, Conflict, InputError, NotWritable, UnknownName, WrongModel
from resect.edits.matrices import PruneWeights, ReduceRank
from resect.edits.neurons import Clamp, Scale, Shift
from resect.edits.plan import Plan

UP = Scale({"decoder.1.up": [5, 17]})
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
ROLES = st.sampled_from(["q", "up", "down", "act", "post"])
SITES = st.builds("{}.{}.{}".format, st.sampled_from(["encoder", "decoder"]), st.integers(0, 99), ROLES)
MATRICES = SITES.filter(lambda site: not site.endswith(("act", "post")))
UNITS = st.dictionaries(SITES, st.sets(st.integers(0, 10**6), min_size=1, max_size=5), max_size=3)


@st.composite
def valued(draw, kind):
    moments = SITES.filter(lambda site: site.endswith(("act", "post")))
    units = draw(st.dictionaries(moments, st.sets(st.integers(0, 99), min_size=1, max_size=4), max_size=3))
    lists = {site: draw(st.lists(NUMBERS, min_size=len(indices), max_size=len(indices))) for site, indices in units.items()}
    return kind(units, draw(st.one_of(NUMBERS, st.just(lists))))


EDITS = st.one_of(
    st.builds(Scale, UNITS, NUMBERS),
    valued(Clamp),
    valued(Shift),
    st.builds(ReduceRank, MATRICES, st.floats(0, 1, exclude_max=True), st.sampled_from(["largest", "smallest"])),
    st.builds(PruneWeights, MATRICES, st.floats(0, 1)),
    st.builds(PruneWeights, MATRICES, st.floats(0, 1), st.just("random"), st.integers(0, 2**40)),
)

# -- a value -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(EDITS, max_size=4))
def test_json_is_the_plan(edits):
    plan = Plan(edits)
    text = json.dumps(plan.to_json())
    again = Plan.from_json(json.loads(text))
    assert again == plan
    assert (hash(again), again.digest) == (hash(plan), plan.digest)
    assert json.dumps(again.to_json()) == text
    assert pickle.loads(pickle.dumps(plan)) == plan  # noqa: S301 - our own


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(EDITS, max_size=2), min_size=3, max_size=3))
def test_addition_is_that_of_sequences(parts):
    a, b, c = map(Plan, parts)
    assert (a + b) + c == a + (b + c)
    assert a + Plan() == a == Plan() + a
    assert (a + b).edits == a.edits + b.edits


@pytest.mark.slow
def test_the_digest_is_the_same_in_every_process():
    plan = Plan((UP, Clamp({"decoder.0.post": [3], "decoder.1.post": [1]}, {"decoder.1.post": [0.1], "decoder.0.post": [2]})))
    plan = plan.for_model(contracts.subject("llama").model)
    code = "import json, sys; from resect.edits.plan import Plan; print(Plan.from_json(json.load(sys.stdin)).digest)"
    seed = str(1 + int(os.environ.get("PYTHONHASHSEED", "random") == "1"))  # another one than this process has
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(plan.to_json()), env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == plan.digest
    assert (plan + Plan((UP,))).digest != plan.digest


def test_save_and_load(tmp_path):
    plan = Plan((UP, ReduceRank("decoder.0.down", 0.01))).for_model(contracts.subject("llama").model)
    path = tmp_path / "plan.json"
    plan.save(path)
    assert Plan.load(path) == plan
    assert list(json.loads(path.read_text())) == ["schema", "model", "edits"]
    assert str(tmp_path) not in path.read_text()
    first = path.read_bytes()
    plan.save(path)
    assert path.read_bytes() == first


def test_files_that_are_no_plan_are_refused(tmp_path):
    path = tmp_path / "plan.json"
    with pytest.raises(BadPlan, match=r"plan\.json"):
        Plan.load(path)
    text = json.dumps(Plan((UP,)).for_model(contracts.subject("llama").model).to_json())
    for end in range(0, len(text), 37):
        path.write_text(text[:end])
        with pytest.raises(BadPlan, match=r"plan\.json"):
            Plan.load(path)
    for wrong, words in (
        ("[]", "list of edits"),
        ("{}", "list of edits"),
        ('{"schema": 2, "edits": []}', "newer"),
        ('{"schema": "1", "edits": []}', "schema"),
        ('{"edits": [], "modle": null}', "Did you mean 'model'"),
        ('{"edits": [{"kind": "scale", "neurons": {"decoder.0.upp": [1]}}]}', r"edit 0.*Did you mean 'up'"),
        ('{"edits": [{"kind": "scales", "neurons": {}}]}', r"edit 0.*Did you mean 'scale'"),
        ('{"edits": [], "model": 3}', "family"),
        ('{"edits": [], "model": {"family": "t5", "shapes": {"decoder.0.up": [1]}}}', "out, in"),
        ('{"edits": [], "model": {"family": "t5", "shapes": {"decoder.0.upp": [1, 2]}}}', "role"),
        ('{"edits": [], "model": {"family": "t5", "shapes": {}, "fingerprint": {"decoder.0.up": [1]}}}', "fingerprint"),
        ('{"edits": [], "model": {"family": "t5", "shapes": {"decoder.0.up": ["a", 2]}}}', "numbers"),
    ):
        path.write_text(wrong)
        with pytest.raises(BadPlan, match=words) as raised:
            Plan.load(path)
        assert "plan.json" in str(raised.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadPlan, match="UTF-8"):
        Plan.load(path)


def test_a_plan_names_each_site_once():
    plan = Plan((UP, ReduceRank("decoder.0.down", 0.1), UP))
    assert list(map(str, plan.sites)) == ["decoder.1.up", "decoder.0.down"]
    assert not plan.is_empty
    assert Plan([UP]) == Plan((UP,))


# -- identity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "t5", "gpt2", "bert", "falcon-40b"])
def test_law_9_a_wrong_model_is_refused_first(name):
    model, other = pico.build(name), pico.build(name, seed=1)
    stack = next(iter(contracts.subject(name).anatomy.layers))
    plan = Plan((Scale({f"{stack}.0.q": [1]}), Scale({f"{stack}.1.post": [2]}), ReduceRank(f"{stack}.1.up", 0.5))).for_model(model)
    before = contracts.bits(other)
    for apply in (lambda: plan.applied(other).__enter__(), lambda: plan.write(other)):
        with pytest.raises(WrongModel, match="allow-other-model"):
            apply()
    assert "allow-other-model" in plan.check(other)[0]
    contracts.assert_same_bits(before, other)
    with plan.applied(other, allow_other_model=True):
        assert contracts.bits(other).keys() == before.keys()
    plan.write(other, allow_other_model=True).restore()
    contracts.assert_same_bits(before, other)
    assert plan.check(other, allow_other_model=True) == []
    assert plan.check(model) == []


def test_another_family_or_shape_is_refused_even_if_another_model_is_allowed():
    plan = Plan((Scale({"decoder.1.v": [1]}),)).for_model(pico.build("llama"))
    for other in ("qwen2", "llama-gqa", "gpt2-inner"):
        with pytest.raises(WrongModel):
            plan.write(pico.build(other))
    with pytest.raises(WrongModel, match=r"decoder\.1\.v"):
        plan.write(pico.build("llama-gqa"), allow_other_model=True)


def test_a_plan_without_identity_fits_every_model_with_its_shapes():
    for name in ("llama", "gpt2", "opt", "t5"):
        with Plan((UP,)).applied(pico.build(name)) as forms:
            assert forms == ("weights",)
    with pytest.raises(WrongModel, match="unit 99"):
        Plan((Scale({"decoder.1.up": [99]}),)).write(pico.build("llama"))
    with pytest.raises(UnknownName):
        Plan((UP,)).write(pico.build("bert"))


def test_the_identity_does_not_depend_on_the_dtype_it_was_loaded_in():
    float32 = pico.build("llama")
    plan = Plan((UP, Scale({"decoder.0.post": [1]}))).for_model(float32)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert plan.check(pico.build("llama", dtype=dtype)) == []
        other_way = Plan((UP,)).for_model(pico.build("llama", dtype=dtype))
        assert other_way.check(float32) == []
        plan + other_way
    assert plan.model.family == "llama"
    assert list(map(str, plan.model.shapes)) == ["decoder.0.down", "decoder.1.up"]


def test_adding_plans_unites_their_identities():
    model, other = pico.build("llama"), pico.build("llama", seed=1)
    first, second = Plan((UP,)).for_model(model), Plan((ReduceRank("decoder.0.q", 0.5),)).for_model(model)
    assert (first + second).model == (second + first).model == Plan((UP, *second.edits)).for_model(model).model
    assert (first + Plan((UP,))).model == first.model == (Plan((UP,)) + first).model
    with pytest.raises(WrongModel, match="two models"):
        first + Plan((UP,)).for_model(other)
    with pytest.raises(WrongModel, match="cannot be added"):
        first + Plan((UP,)).for_model(pico.build("qwen2"))
    united = first + second
    assert Plan.from_json(united.to_json()) == united


def test_plans_can_be_applied_inside_each_other():
    """The fingerprint is of the unedited model, also while it is edited."""
    model = pico.build("llama")
    before = contracts.bits(model)
    first = Plan((ReduceRank("decoder.1.up", 0.0),)).for_model(model)
    second = Plan((UP, ReduceRank("decoder.1.up", 0.5))).for_model(model)
    with first.applied(model):
        assert second.for_model(model) == second
        with second.applied(model), first.applied(model):
            assert first.check(model) == []
    contracts.assert_same_bits(before, model)
    first.write(model)  # permanently: this is another model now
    with pytest.raises(WrongModel):
        second.write(model)


def test_no_path_is_in_a_plan():
    names = {"/models/llama-2": "llama-2", "./runs/out": "out", "a/b/c": "c", "org/llama-2": "org/llama-2"}
    for name, expected in names.items():
        model = pico.build("llama")
        model.config._name_or_path = name
        assert Plan((UP,)).for_model(model).to_json()["model"]["name"] == expected
    assert "name" not in Plan((UP,)).for_model(pico.build("llama")).to_json()["model"]


# -- order -------------------------------------------------------------------------------------------------------------

AT = {"encoder.0.post": [1, 2, 3]}


@pytest.mark.parametrize("other", [
    Scale({"encoder.0.post": [3]}), Scale({"encoder.0.act": [3]}), Clamp(AT, 0.0), Shift(AT, 0.1), Clamp(AT, 0.2),
    ReduceRank("encoder.0.down", 0.5), PruneWeights("encoder.0.down", 0.5),
])  # fmt: skip
@pytest.mark.parametrize("folded", [Shift(AT, 0.5), Clamp(AT, 0.5)])
def test_an_edit_folded_into_a_bias_conflicts_with_edits_of_its_columns(folded, other):
    on = contracts.subject("bert")
    before = contracts.bits(on.model)
    for edits in ((folded, other), (other, folded)):
        for apply in (lambda plan: plan.write(on.model), lambda plan: plan.applied(on.model).__enter__()):
            with pytest.raises(Conflict, match=r"encoder\.0\.down"):
                apply(Plan(edits))
        assert "encoder.0.down" in Plan(edits).check(on.model)[0]
    contracts.assert_same_bits(before, on.model)


def test_edits_without_a_common_column_are_applied_together():
    on = contracts.subject("bert")
    units = (Scale({"encoder.0.post": [4]}), Scale({"encoder.1.post": [3]}), Shift({"encoder.0.act": [5]}, 1.0))
    matrices = (Scale({"encoder.0.down": [3]}, 0.5), ReduceRank("encoder.0.up", 0.5), ReduceRank("encoder.1.down", 0.5))
    for other in (*units, *matrices):
        for edits in ((Shift(AT, 0.5), other), (other, Shift(AT, 0.5))):
            with Plan(edits).applied(on.model, "weights"):
                written = on.logits()
            if other.activation_changes(on.anatomy) is not None:
                with Plan(edits).applied(on.model, "activations"):
                    contracts.assert_close(on.logits(), written, on.base)


def test_hooks_apply_in_plan_order():
    on, at = contracts.subject("llama"), {"decoder.0.post": [1, 2]}
    logits, one, three = {}, Clamp(at, 1.0), Clamp(at, 3.0)
    plans = {
        "clamp, scale": (one, Scale(at, 3.0)),
        "scale, clamp": (Scale(at, 3.0), one),
        "three": (three,),
        "one": (one,),
    }
    for name, edits in plans.items():
        for form in ("auto", "activations"):
            with Plan(edits).applied(on.model, form) as forms:
                assert forms[0] == "activations" or name == "clamp, scale"
                logits[name, form] = on.logits()
    for form in ("auto", "activations"):
        contracts.assert_close(logits["clamp, scale", form], logits["three", "auto"], on.base)
        contracts.assert_close(logits["scale, clamp", form], logits["one", "auto"], on.base)


def test_a_matrix_is_not_reduced_after_a_scaling_by_hooks():
    on, at = contracts.subject("llama"), {"decoder.0.post": [1, 2]}
    plan = Plan((Scale(at, 3.0), Clamp(at, 1.0), ReduceRank("decoder.0.down", 0.5)))
    with pytest.raises(Conflict, match="put it first"), plan.applied(on.model):
        pass
    with Plan((plan.edits[2], *plan.edits[:2])).applied(on.model) as forms:
        assert forms == ("weights", "activations", "activations")
    with Plan((Scale(at, 3.0), ReduceRank("decoder.0.down", 0.5))).applied(on.model) as forms:
        assert forms == ("weights", "weights")


def test_all_edits_that_are_not_possible_are_named_at_once():
    on = contracts.subject("llama")
    plan = Plan((UP, Shift({"decoder.0.post": [1]}, 0.5), Clamp({"decoder.1.act": [1]}, 0.5)))
    with pytest.raises(NotWritable) as raised:
        plan.write(on.model)
    assert "Edit 1" in str(raised.value)
    assert "Edit 2" in str(raised.value)
    assert plan.check(on.model) == []
    assert len(plan.check(on.model, "weights")) == 1
    assert plan.check("llama")[0].endswith("give a LanguageModel or a Hugging Face model.")


def test_a_plan_that_fails_half_way_is_undone():
    model = pico.build("llama")
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = torch.nan
    before = contracts.bits(model)
    with pytest.raises(Exception, match="NaN"):
        Plan((Scale({"decoder.0.up": [1]}), Shift({"decoder.0.post": [2]}, 1.0), ReduceRank("decoder.1.up", 0.5))).applied(
            model
        ).__enter__()
    contracts.assert_same_bits(before, model)
    assert contracts.hooks(model) == 0


def test_generate_and_save_work_on(tmp_path):
    model = pico.build("llama")
    with Plan((UP,)).applied(model):
        model.generate(**pico.inputs("llama"), max_new_tokens=2)
        model.save_pretrained(tmp_path)
        written = contracts.bits(model)
    again = type(model).from_pretrained(tmp_path)
    contracts.assert_same_bits(written, again)


def test_a_plan_is_made_of_edits():
    with pytest.raises(InputError, match="made of edits"):
        Plan(iter(("scale",)))
