"""The methods on mixtures of experts, whole: each finds, changes and undoes what belongs to experts."""

import numpy as np
import pytest
import torch

import pico
from methods.laser.test_laser import task_of
from resect.core.address import ALL_EXPERTS, Site
from resect.core.errors import BadAddress, InputError
from resect.edits.effect_check import verify_effect
from resect.edits.matrices import PruneWeights, ReduceRank
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.methods.base import TaskInputs
from resect.methods.crispr.crispr import Crispr
from resect.methods.lape.lape import Lape
from resect.methods.laser.laser import Laser, feed_forward_matrices
from resect.models.anatomy import Anatomy
from resect.models.expert_globs import incomplete_experts, joined_experts
from resect.models.language_model import LanguageModel
from resect.runs.guard_limits import GuardLimits

JOINT = "decoder.1.experts.down"


def model_of(name="mixtral"):
    return LanguageModel.of(pico.build(name), pico.tokenizer(name), name=name, batch_size=8)


class TestGlobs:
    anatomy = Anatomy.of_config(pico.EXPERTS["mixtral"]())

    @pytest.mark.parametrize(
        ("glob", "taken"),
        [
            ("decoder.1.*.down", [JOINT]),
            (JOINT, [JOINT]),
            ("decoder.1.expert{0-3}.down", [JOINT]),
            ("decoder.1.{expert0,experts}.down", [JOINT]),
            ("decoder.1.expert2.down", ["decoder.1.expert2.down"]),
            ("decoder.1.expert[12].down", ["decoder.1.expert1.down", "decoder.1.expert2.down"]),
            ("decoder.1.*.{up,down}", ["decoder.1.experts.up", JOINT]),
            ("decoder.1.{o,router}", ["decoder.1.o", "decoder.1.router"]),
        ],
    )
    def test_a_role_of_all_experts_is_one_candidate(self, glob, taken):
        assert [str(site) for site in joined_experts((glob,), self.anatomy)] == taken

    def test_two_globs_of_half_the_experts_are_not_joined(self):
        sites = joined_experts(("decoder.1.expert[01].up", "decoder.1.expert[23].up"), self.anatomy)
        assert [site.expert for site in sites] == [0, 1, 2, 3]

    def test_a_part_of_the_experts_is_said(self):
        sites = joined_experts(("decoder.1.expert[12].down", "decoder.0.*.up"), self.anatomy)
        assert "2 of the 4 of decoder.1.experts.down" in incomplete_experts(sites, self.anatomy)
        assert incomplete_experts(joined_experts(("*.up",), self.anatomy), self.anatomy) == ""

    def test_a_glob_that_takes_none_is_refused(self):
        with pytest.raises(BadAddress):
            joined_experts(("decoder.1.expert9.up",), self.anatomy)


class TestEditsOfAllExperts:
    @pytest.mark.parametrize("make", [lambda site: ReduceRank(site, 0.3), lambda site: PruneWeights(site, 0.5, "random", seed=3)])
    def test_one_edit_is_that_of_each_matrix(self, make):
        model = pico.build("mixtral")
        together = make(JOINT)
        each = Plan(tuple(make(f"decoder.1.expert{number}.down") for number in range(4)))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with together.applied(model) as form:
            assert form == "weights"
            joint = {name: value.clone() for name, value in model.state_dict().items()}
        with each.applied(model):
            assert all(torch.equal(value, joint[name]) for name, value in model.state_dict().items())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert [name for name in joint if not torch.equal(joint[name], before[name])] == ["model.layers.1.mlp.experts.down_proj"]

    def test_the_identity_names_each_matrix(self):
        plan = Plan((ReduceRank(JOINT, 0.3),)).for_model(model_of())
        assert plan.model is not None
        assert [str(matrix.site) for matrix in plan.model.matrices] == [f"decoder.1.expert{number}.down" for number in range(4)]
        assert Plan.from_json(plan.to_json()) == plan

    def test_one_matrix_is_wanted_where_numbers_are_read(self):
        anatomy = Anatomy.of(pico.build("mixtral"))
        with pytest.raises(InputError, match="one matrix of each expert"):
            anatomy.weight(JOINT)
        assert anatomy.shape(JOINT) == (24, 40)
        assert Site.parse(JOINT).expert == ALL_EXPERTS


class TestLaser:
    def test_by_default_the_experts_of_a_layer_are_reduced_together(self):
        sites = feed_forward_matrices(Anatomy.of_config(pico.EXPERTS["qwen2-moe"]()))
        names = [site.in_block for site in sites if site.layer == 1]
        assert names == ["experts.gate", "experts.down", "shared.gate", "shared.down"]

    @pytest.mark.parametrize("settings", [{}, {"compose": True}, {"screen": "gradient", "screened": 2}])
    def test_the_search_gives_the_result_of_the_grid(self, settings):
        model, task = model_of(), task_of(groups=24)
        laser = Laser(rhos=(0.5, 0.0), sites=("decoder.*.experts.*", "decoder.1.expert1.up"), metric="logloss", **settings)
        found = laser.search(model, TaskInputs(task, ("some plain text",), GuardLimits.none()))
        assert any("1 of the 4" in note for note in found.notes)
        if settings:
            assert all(edit.site.is_routed for edit in found.plan.edits)
            return
        questions = laser.questions(model, task)
        grid = {edit: questions.answers(Plan((edit,))).mean for site in laser.sites_of(model) for edit in laser.edits(model, site)}
        best = min(grid.values())
        if best < questions.answers(Plan()).mean:
            (chosen,) = found.plan.edits
            assert grid[chosen] == best
        else:
            assert found.plan.is_empty


def test_crispr_cuts_neurons_of_experts_and_of_the_router():
    model, task = model_of(), task_of(groups=24)
    method = Crispr(n=6, samples=8, sites=("decoder.*.expert*.*", "*.router"))
    found = method.search(model, TaskInputs(task, guards=GuardLimits.none()))
    assert {site.role for edit in found.plan.edits for site in edit.sites} <= {"gate", "up", "down", "router"}
    assert any(site.is_routed for edit in found.plan.edits for site in edit.sites)
    before = pico.output("mixtral", model.model)
    with found.plan.applied(model):
        assert not torch.equal(pico.output("mixtral", model.model), before)
    assert torch.equal(pico.output("mixtral", model.model), before)


@pytest.mark.parametrize("name", pico.FEW_EXPERTS)
def test_lape_finds_units_of_experts_and_tells_how_many_tokens_reach_them(name, tmp_path):
    model = model_of(name)
    texts = {
        code: [" ".join(word * 3 for word in words)] * 30 for code, words in {"en": ("the", "of", "and"), "fr": ("été", "où", "ça")}.items()
    }
    recording = Lape(window=16).recording(model, texts)
    counts = recording.counts
    routed = [site for site in counts.sites if site.is_routed]
    assert set(counts.reached) == set(routed) == set(counts.sites)
    for layer in range(2):
        reached = sum(counts.reached[site] for site in routed if site.layer == layer)[:, 0]
        assert (reached == 2 * np.array(counts.tokens)).all()  # each token reaches two experts
    counts.save(tmp_path / "counts.safetensors")
    assert type(counts).load(tmp_path / "counts.safetensors") == counts
    assert (counts + counts).reached[routed[0]].tolist() == (2 * counts.reached[routed[0]]).tolist()
    assert "% of a language's tokens reach one" in counts.reach()
    (found,) = {type(units) for units in Lape(window=16).select(counts).values()}
    assert found.__name__ == "Neurons"


def test_an_expert_that_the_router_never_chooses_has_no_effect_and_is_no_error():
    hf = pico.build("gpt-oss")
    for layer in hf.model.layers:
        layer.mlp.router.bias.data[2] = -1e4
    model = LanguageModel.of(hf, pico.tokenizer("gpt-oss"), name="gpt-oss", batch_size=8)
    plan = Plan((Scale({"decoder.0.expert2.up": [1], "decoder.1.expert2.post": [3]}, 0.0),))
    effect = verify_effect(plan, model, lambda: pico.output("gpt-oss", hf).numpy())
    assert (effect.units_fired, effect.max_change) == (0, 0.0)
    sites = tuple(site for site in model.anatomy.sites if site.expert == 2)
    scores = Crispr(samples=4, sites=("*.expert2.*",)).locate(model, task_of(groups=24))
    assert all(not scores[site].any() for site in sites)
    counts = Lape(window=16).recording(model, {"en": ["and the of "] * 30}).counts
    assert [site.expert for site in counts.sites if not counts.reached[site].any()] == [2, 2]
    assert ", and 2 are reached by none" in counts.reach()
