"""Anatomy: sites, shapes and counts, with and without weights, with any head."""

import pytest
import torch
import transformers
from torch import nn

import pico
from resect.core.address import MATRIX_ROLES
from resect.core.errors import BadModel, InputError, NotWritable, UnknownName
from resect.models.anatomy import Anatomy, anatomy_of
from resect.models.anatomy_parts import NeuronCount, Slot
from resect.models.language_model import LanguageModel

every_family = pytest.mark.parametrize("name", pico.PICO)


@every_family
class TestWithoutWeights:
    def test_meta_and_configuration_agree_with_the_model(self, name):
        model, config = pico.build(name), pico.PICO[name]()
        full, meta, alone = Anatomy.of(model), Anatomy.of(pico.build_on_meta(name)), Anatomy.of_config(config)
        for other in (meta, alone):
            for value in (
                "family",
                "kind",
                "sites",
                "moments",
                "neurons",
                "layers",
                "d_model",
                "d_ff",
                "gated",
                "not_covered",
            ):
                assert getattr(other, value) == getattr(full, value), value
            assert other.neurons.to_json() == full.neurons.to_json()
            assert other.parameters == full.parameters == sum(parameter.numel() for parameter in model.parameters())
            for site in full.sites:
                assert other.shape(site) == full.shape(site) == tuple(full.weight(site).shape)
                assert other.slot(site).rows == full.slot(site).rows
        assert full.kind == pico.KINDS[name]
        assert all(meta.weight(site).is_meta for site in meta.sites)
        with pytest.raises(NotWritable, match="meta"):
            meta.write(meta.sites[0], [0], 0.0)
        with pytest.raises(InputError, match="configuration"):
            alone.weight(alone.sites[0])

    def test_neurons_add_up(self, name):
        anatomy = Anatomy.of_config(pico.PICO[name]())
        assert anatomy.neurons.total == sum(anatomy.neurons.by_role.values()) == sum(map(anatomy.width, anatomy.sites))
        assert set(anatomy.neurons.by_role) <= set(MATRIX_ROLES)
        assert anatomy.neurons == anatomy.neurons.total

    def test_model_order(self, name):
        sites = Anatomy.of_config(pico.PICO[name]()).sites
        keys = [(site.stack != "encoder", site.layer, MATRIX_ROLES.index(site.role)) for site in sites]
        assert keys == sorted(keys)


@every_family
def test_embeddings_head_and_backbone(name):
    model = pico.build(name)
    anatomy = Anatomy.of(model)
    model.requires_grad_(False)
    for module in anatomy.embeddings:
        module.register_forward_hook(lambda _, __, output: output.requires_grad_())
    logits = []
    taps = [anatomy.module(site) for site in anatomy.moments]
    moved = []
    for module in taps:
        module.register_forward_hook(lambda _, inputs, output: moved.append(inputs[0].requires_grad))
    with torch.enable_grad():
        result = model(**pico.inputs(name))
        logits.append(result.action_preds if name == "decision-transformer" else result.logits)
    assert logits[0].requires_grad
    assert all(moved)
    assert (anatomy.head is None) == (name == "decision-transformer")
    assert any(module is anatomy.backbone for module in model.modules())


class TestCountsOfThePaper:
    @pytest.mark.parametrize(
        ("d_model", "d_ff", "layers", "heads", "total"),
        [(768, 2048, 12, 12, 227_328), (1024, 2816, 24, 16, 614_400), (2048, 5120, 24, 32, 1_179_648)],
    )
    def test_flan_t5(self, d_model, d_ff, layers, heads, total):
        config = transformers.T5Config(
            d_model=d_model, d_ff=d_ff, num_layers=layers, num_heads=heads, d_kv=64, feed_forward_proj="gated-gelu"
        )
        assert Anatomy.of_config(config).neurons == total

    @pytest.mark.real
    @pytest.mark.parametrize(("folder", "total"), [("bbq-t5", 8_448), ("bbq-llama", 6_080)])
    def test_small_models(self, shared, folder, total):
        path = shared / "models" / folder
        if not path.is_dir():
            pytest.skip(f"{folder} is not here")
        anatomy = Anatomy.of_config(transformers.AutoConfig.from_pretrained(path))
        assert anatomy.neurons == total
        with torch.device("meta"):
            auto = transformers.AutoModelForSeq2SeqLM if folder == "bbq-t5" else transformers.AutoModelForCausalLM
            assert Anatomy.of(auto.from_config(transformers.AutoConfig.from_pretrained(path))).sites == anatomy.sites

    def test_count_is_a_number(self):
        count = NeuronCount.of({"q": 2, "up": 3})
        assert count + 1 == 6
        assert count.to_json() == {"total": 5, "by_role": {"q": 2, "up": 3}}


class TestWithAnyHead:
    @pytest.mark.parametrize(
        ("name", "auto"),
        [
            ("llama", "AutoModel"), ("llama", "AutoModelForSequenceClassification"), ("gpt2", "AutoModel"),
            ("llama", "AutoModelForQuestionAnswering"), ("gpt2", "AutoModelForTokenClassification"),
            ("t5", "AutoModel"), ("bart", "AutoModel"), ("bart", "AutoModelForSequenceClassification"),
            ("bert", "AutoModel"), ("bert", "AutoModelForSequenceClassification"), ("bert", "AutoModelForPreTraining"),
            ("opt", "AutoModel"), ("falcon-40b", "AutoModelForSequenceClassification"), ("gemma3", "AutoModel"),
            ("modernbert", "AutoModelForTokenClassification"),
        ],
    )  # fmt: skip
    def test_the_sites_are_the_same(self, name, auto):
        with torch.device("meta"):
            model = getattr(transformers, auto).from_config(pico.PICO[name]())
        anatomy = Anatomy.of(model)
        assert anatomy.sites == Anatomy.of_config(model.config).sites
        assert all(tuple(anatomy.weight(site).shape) == anatomy.shape(site) for site in anatomy.sites)

    def test_a_model_inside_another(self):
        outer = nn.Module()
        outer.inner = pico.build("gpt2")
        outer.config = outer.inner.config
        assert Anatomy.of(outer).slot("decoder.0.k") == Slot("inner.transformer.h.0.attn.c_attn", slice(24, 48), True)

    @pytest.mark.parametrize(
        ("model_class", "name", "lacking"),
        [(transformers.T5EncoderModel, "t5", "decoder"), (transformers.BartForCausalLM, "bart", "encoder")],
    )
    def test_a_missing_stack_is_reported(self, model_class, name, lacking):
        anatomy = Anatomy.of(model_class(pico.PICO[name]()))
        assert lacking not in anatomy.layers
        assert len(anatomy.layers) == 1
        assert any(lacking in sentence for sentence in anatomy.not_covered)


class TestRefusals:
    def test_what_is_no_model_is_refused(self):
        with pytest.raises(BadModel, match="no config"):
            Anatomy.of(nn.Linear(2, 2))
        bare = nn.Linear(2, 2)
        bare.config = pico.PICO["llama"]()
        with pytest.raises(BadModel, match="nowhere"):
            Anatomy.of(bare)

    def test_pruned_weights_are_refused(self):
        model = pico.build("llama")
        model.model.layers[1].mlp.up_proj = nn.Linear(24, 39, bias=False)
        with pytest.raises(BadModel, match=r"decoder\.1\.up.*\[39, 24\].*\[40, 24\]"):
            Anatomy.of(model)

    @pytest.mark.parametrize(
        ("name", "site", "suggestion"),
        [
            ("gpt2", "decoder.1.gate", None), ("gpt2", "decoder.7.up", "decoder.1.up"),
            ("llama", "encoder.0.up", "decoder.0.up"), ("bart", "encoder.1.cross_q", "encoder.1.q"),
            ("llama", "decoder.1.expert3.down", "decoder.1.down"),
        ],
    )  # fmt: skip
    def test_an_unknown_site_is_refused_with_the_nearest(self, name, site, suggestion):
        with pytest.raises(UnknownName) as caught:
            Anatomy.of_config(pico.PICO[name]()).check(site)
        assert f"'{site}'" in str(caught.value)
        assert suggestion is None or caught.value.suggestion == suggestion
        assert ("no gate" in str(caught.value)) == site.endswith("gate")

    def test_a_moment_is_no_matrix(self):
        anatomy = Anatomy.of(pico.build("llama"))
        for method in (anatomy.weight, anatomy.shape, anatomy.slot, anatomy.locate):
            with pytest.raises(UnknownName, match="moment"):
                method("decoder.0.act")
        with pytest.raises(UnknownName, match="role"):
            anatomy.check("decoder.0.upp")


def test_the_anatomy_of_an_anatomy_a_language_model_or_a_module():
    model = pico.build("llama")
    anatomy = Anatomy.of(model)
    assert anatomy_of(anatomy) is anatomy
    wrapped = LanguageModel.of(model, pico.tokenizer("llama"))
    assert anatomy_of(wrapped) is wrapped.anatomy
    assert anatomy_of(model).family == "llama"
    with pytest.raises(InputError, match="no model"):
        anatomy_of(3)
