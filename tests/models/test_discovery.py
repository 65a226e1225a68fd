"""Discovery: it finds what the table says, and in families without a line what is true of them."""

import itertools
import json

import pytest
import torch
import transformers

import pico
from resect.core.errors import NotYet, UnknownFamily, UnknownName
from resect.edits.verify_anatomy import verify_anatomy
from resect.models import discovery_cache
from resect.models.anatomy import Anatomy
from resect.models.anatomy_parts import Slot
from resect.models.discovery import discover
from resect.models.discovery_cache import from_json, to_json
from resect.models.fused_rows import FusedRows, rule_of
from resect.models.tiny_config import tiny_config

#: A Decision Transformer reads no text, so that nothing can be found of it.
LISTED = tuple(
    pytest.param(name, marks=pytest.mark.slow) if pico.KINDS[name] == "encoder-decoder" else name
    for name in pico.PICO
    if name != "decision-transformer"
)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESECT_CACHE", str(tmp_path))
    monkeypatch.setattr(discovery_cache, "_in_memory", {})


@pytest.mark.parametrize("name", LISTED)
def test_discovery_finds_what_the_table_says(name):
    config, model = pico.PICO[name](), pico.build_on_meta(name)
    listed, found = Anatomy.of(model), Anatomy(discover(config), config, model)
    for value in ("family", "kind", "layers", "sites", "moments", "d_model", "d_ff", "gated"):
        assert getattr(found, value) == getattr(listed, value), value
    for site in listed.sites:
        assert found.slot(site) == listed.slot(site)
        assert found.shape(site) == listed.shape(site)
    for site in (*listed.sites, *listed.moments):
        assert found.tap(site) == listed.tap(site)
    assert [id(module) for module in found.embeddings] == [id(module) for module in listed.embeddings]
    assert found.covered == 1


def _small(make, **settings):
    sizes = {"vocab_size": pico.VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
    return make(**(sizes | pico.IDS | settings))


_BART = {"vocab_size": pico.VOCAB, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 44, "max_position_embeddings": 64}  # fmt: skip
_ATTENTION, _GATED, _PLAIN = "q k v o", "gate up down act post", "up down act post"
_DECODER = f"{_ATTENTION} cross_q cross_k cross_v cross_o {_PLAIN}"
_MLA = {"q_lora_rank": 12, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}
#: By name: a configuration, and by stack the roles of its last block.
UNLISTED = {
    "gemma": (lambda: _small(transformers.GemmaConfig, num_key_value_heads=2, head_dim=8), {"decoder": f"{_ATTENTION} {_GATED}"}),
    "olmo3": (lambda: _small(transformers.Olmo3Config, num_key_value_heads=2), {"decoder": f"{_ATTENTION} {_GATED}"}),
    "starcoder2": (lambda: _small(transformers.Starcoder2Config, num_key_value_heads=2), {"decoder": f"{_ATTENTION} {_PLAIN}"}),
    "cohere": (lambda: _small(transformers.CohereConfig), {"decoder": f"{_ATTENTION} {_GATED}"}),
    "distilbert": (lambda: transformers.DistilBertConfig(vocab_size=pico.VOCAB, dim=32, n_layers=2, n_heads=4, hidden_dim=40),
                   {"encoder": f"{_ATTENTION} {_PLAIN}"}),
    "deberta-v2": (lambda: _small(transformers.DebertaV2Config, relative_attention=True, pos_att_type=["c2p", "p2c"]),
                   {"encoder": f"{_ATTENTION} {_PLAIN} attention.self.pos_key_proj attention.self.pos_query_proj"}),
    "albert": (lambda: _small(transformers.AlbertConfig, embedding_size=16, num_hidden_layers=3), {"encoder": f"{_ATTENTION} {_PLAIN}"}),
    "mbart": (lambda: transformers.MBartConfig(**_BART), {"encoder": f"{_ATTENTION} {_PLAIN}", "decoder": _DECODER}),
    "minicpm3": (lambda: _small(transformers.MiniCPM3Config, **_MLA),
                 {"decoder": f"q o {_GATED} self_attn.kv_a_proj_with_mqa self_attn.kv_b_proj self_attn.q_a_proj"}),
    "mamba": (lambda: _small(transformers.MambaConfig, state_size=4), {"decoder": "mixer.in_proj mixer.out_proj mixer.x_proj"}),
    "ctrl": (lambda: transformers.CTRLConfig(vocab_size=pico.VOCAB, n_embd=32, dff=40, n_layer=2, n_head=4, n_positions=64),
             {"decoder": f"{_ATTENTION} {_PLAIN}"}),
    # A short text replaces the module of its attention.
    "big-bird": (lambda: _small(transformers.BigBirdConfig, block_size=4), {"encoder": f"{_ATTENTION} {_PLAIN}"}),
    # Without norms, values grow from block to block.
    "mobilebert": (lambda: _small(transformers.MobileBertConfig, num_hidden_layers=6, embedding_size=16, intra_bottleneck_size=16,
                                  num_feedforward_networks=2),
                   {"encoder": f"{_ATTENTION} bottleneck.attention.dense bottleneck.input.dense ffn.0.intermediate.dense "
                               "ffn.0.output.dense intermediate.dense output.bottleneck.dense output.dense"}),
    # Its class for text is built from a part of its configuration.
    "emu3": (lambda: transformers.Emu3Config(text_config={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                                                          "num_key_value_heads": 2, "intermediate_size": 40}),
             {"decoder": f"{_ATTENTION} {_GATED}"}),
    "bitnet": (lambda: _small(transformers.BitNetConfig, num_key_value_heads=2),  # a norm inside the feed-forward block
               {"decoder": f"{_ATTENTION} mlp.down_proj mlp.gate_proj mlp.up_proj"}),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLISTED)
def test_the_roles_of_families_without_a_line(name):
    make, expected = UNLISTED[name]
    config = make()
    anatomy = Anatomy.of_config(config)
    assert not anatomy.is_listed
    for stack, roles in expected.items():
        last = [site.role for site in (*anatomy.sites, *anatomy.moments) if site.stack == stack and site.layer == anatomy.layers[stack] - 1]
        assert sorted(last) == sorted(roles.split())
    assert set(expected) == set(anatomy.layers)
    with torch.device("meta"):
        auto = {"encoder": transformers.AutoModelForMaskedLM, "decoder": transformers.AutoModelForCausalLM}
        auto_class = transformers.AutoModelForSeq2SeqLM if len(expected) == 2 else auto[next(iter(expected))]
        assert Anatomy.of(auto_class.from_config(config)).sites == anatomy.sites


_EXPERT = "gate up down act post"
#: By name of a mixture of experts: the addresses in its last block, those of experts of the first one.
MIXTURES = {
    "mixtral": "q k v o router",
    "qwen2-moe": "q k v o router mlp.shared_expert_gate shared",
    "qwen3-moe": "q k v o router",
    "gpt-oss": "q k v o router",
    "deepseek-v3": "q o router self_attn.kv_a_proj_with_mqa self_attn.kv_b_proj self_attn.q_a_proj shared",
    "llama4": "q k v o router shared",
    "granite-moe": "q k v o router",
}


class TestMixturesOfExperts:
    @pytest.mark.parametrize("name", pico.EXPERTS)
    def test_each_expert_has_its_matrices_and_moments(self, name):
        config = pico.EXPERTS[name]()
        anatomy = Anatomy.of_config(config)
        last = [site for site in (*anatomy.sites, *anatomy.moments) if site.layer == anatomy.layers["decoder"] - 1]
        outside = [[f"shared.{role}" for role in _EXPERT.split()] if name == "shared" else [name] for name in MIXTURES[name].split()]
        assert sorted(site.in_block for site in last if not site.is_routed) == sorted(itertools.chain(*outside))
        for expert in range(4):
            assert sorted(site.role for site in last if site.expert == expert) == sorted(_EXPERT.split())
        assert anatomy.covered == 1
        assert Anatomy.of(pico.build_on_meta(name)).sites == anatomy.sites
        assert list(anatomy.sites) == sorted(anatomy.sites, key=lambda site: site.model_order)

    @pytest.mark.parametrize("name", pico.EXPERTS)
    def test_the_layout_survives_the_cache(self, name):
        layout = discover(pico.EXPERTS[name]())
        assert from_json(json.loads(json.dumps(to_json(layout)))) == layout

    @pytest.mark.parametrize(
        "name", [name if name in pico.FEW_EXPERTS else pytest.param(name, marks=pytest.mark.slow) for name in pico.EXPERTS]
    )
    def test_the_laws_hold(self, name):
        verified = verify_anatomy(pico.EXPERTS[name]())
        assert verified.holds, [(law.name, law.failed) for law in verified.laws if law.failed]
        assert all(law.checked for law in verified.laws)
        assert verified.covered == 1

    def test_a_site_that_does_not_exist_is_refused_with_the_number_of_experts(self):
        anatomy = Anatomy.of_config(pico.EXPERTS["mixtral"]())
        with pytest.raises(UnknownName, match=r"experts of layer 1 are 0 to 3"):
            anatomy.check("decoder.1.expert4.up")
        with pytest.raises(UnknownName, match="no experts"):
            Anatomy.of_config(pico.PICO["llama"]()).check("decoder.1.expert0.up")

    def test_rows_of_a_fused_expert_may_alternate(self):
        anatomy = Anatomy.of_config(pico.EXPERTS["gpt-oss"]())
        assert anatomy.slot("decoder.0.expert1.gate").rows == tuple(range(0, 80, 2))
        assert anatomy.slot("decoder.0.expert1.up").rows == tuple(range(1, 80, 2))
        assert anatomy.slot("decoder.0.expert1.up").transposed
        assert anatomy.up_offset("decoder.0.expert1.post") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", UNLISTED)
def test_the_laws_hold_in_families_without_a_line(name):
    verified = verify_anatomy(UNLISTED[name][0]())
    assert verified.holds, [(law.name, law.failed) for law in verified.laws if law.failed]
    assert all(law.checked for law in verified.laws if law.name != "moments")
    assert verified.covered == (pytest.approx(0.91, abs=0.01) if name == "mamba" else 1)


def test_the_laws_see_what_is_wrong(monkeypatch):
    right = Anatomy.slot
    wrong = lambda self, site: Slot(right(self, site).path, slice(0, 24), True) if str(site).endswith(".k") else right(self, site)
    monkeypatch.setattr(Anatomy, "slot", wrong)
    failed = {law.name for law in verify_anatomy(pico.PICO["gpt2"]()).laws if law.failed}
    assert failed == {"fused rows"}


#: By name: a configuration whose blocks are in several lists, and the roles of its first blocks.
SEVERAL_LISTS = {
    "xlm": (lambda: transformers.XLMConfig(vocab_size=pico.VOCAB, emb_dim=32, n_layers=2, n_heads=4),
            (_ATTENTION, _PLAIN, _ATTENTION, _PLAIN)),
    "funnel": (lambda: transformers.FunnelConfig(vocab_size=pico.VOCAB, block_sizes=[1, 2], num_decoder_layers=1, d_model=32, n_head=4,
                                                 d_head=8, d_inner=40),
               (f"{_ATTENTION} {_PLAIN}",) * 4),
    "hrm": (lambda: _small(transformers.CONFIG_MAPPING["hrm_text"], num_layers_per_stack=2, num_key_value_heads=4),
            (f"{_ATTENTION} self_attn.gate_proj {_GATED}",) * 4),
}  # fmt: skip


class TestBlocksInSeveralLists:
    @pytest.mark.parametrize("name", SEVERAL_LISTS)
    def test_they_are_one_stack_in_the_order_in_which_they_compute(self, name):
        make, expected = SEVERAL_LISTS[name]
        anatomy = Anatomy.of_config(make())
        (stack,) = anatomy.layers
        assert anatomy.layers[stack] == len(expected)
        for layer, roles in enumerate(expected):
            found = [site.role for site in (*anatomy.sites, *anatomy.moments) if site.layer == layer]
            assert sorted(found) == sorted(roles.split())
        assert any("lists" in sentence for sentence in anatomy.not_covered)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", SEVERAL_LISTS)
    def test_the_laws_hold(self, name):
        verified = verify_anatomy(SEVERAL_LISTS[name][0]())
        assert verified.holds, [(law.name, law.failed) for law in verified.laws if law.failed]

    def test_a_model_with_another_head_has_the_same_blocks(self):
        config = SEVERAL_LISTS["xlm"][0]()
        with torch.device("meta"):
            model = transformers.XLMModel(config)
        anatomy = Anatomy.of(model)
        assert anatomy.slot("encoder.3.up").path == "ffns.1.lin1"
        assert anatomy.sites == Anatomy.of_config(config).sites


class TestBlocksThatAreUsedSeveralTimes:
    def test_a_shared_block_is_one_site_and_is_said(self):
        anatomy = Anatomy.of_config(UNLISTED["albert"][0]())
        assert anatomy.layers == {"encoder": 1}
        assert any("several times" in sentence for sentence in anatomy.not_covered)


class TestRefusals:
    def test_experts_that_are_modules_of_their_own(self):
        config = transformers.SwitchTransformersConfig(vocab_size=pico.VOCAB, d_model=32, d_kv=8, d_ff=40, num_layers=2, num_heads=4,
                                                       num_decoder_layers=2, num_experts=4, num_sparse_encoder_layers=1)  # fmt: skip
        with pytest.raises(NotYet, match="experts"):
            Anatomy.of_config(config)

    def test_what_has_no_text(self):
        with pytest.raises(UnknownFamily, match=r"'vit'.*no class for text"):
            Anatomy.of_config(transformers.ViTConfig())

    def test_a_configuration_that_no_model_can_be_built_from(self):
        with pytest.raises(UnknownFamily, match="cannot be built"):
            Anatomy.of_config(_small(transformers.GemmaConfig, hidden_act="no such function"))

    def test_a_model_without_a_list_of_blocks(self):
        with pytest.raises(UnknownFamily, match="no list of blocks"):
            Anatomy.of_config(_small(transformers.SqueezeBertConfig, embedding_size=32))


class TestTheRowsOfFusedWeights:
    config = transformers.LlamaConfig(num_attention_heads=4, hidden_size=32)

    @pytest.mark.parametrize(
        ("rows", "rule"),
        [
            ({"gate": range(5), "up": range(5, 10)}, FusedRows("stacked", ("gate", "up"))),
            ({"up": range(5), "gate": range(5, 10)}, FusedRows("stacked", ("up", "gate"))),
            ({"gate": range(0, 10, 2), "up": range(1, 10, 2)}, FusedRows("alternating", ("gate", "up"))),
            ({"gate": [0, 1, 4, 5, 8], "up": [2, 3, 6, 7, 9]}, None),
        ],
    )
    def test_a_rule_is_found_only_if_it_gives_these_rows(self, rows, rule):
        assert rule_of({role: list(own) for role, own in rows.items()}, 10, 0, 5, self.config) == rule

    def test_a_rule_holds_at_other_sizes(self):
        assert FusedRows("stacked", ("q", "k", "v")).rows({"q": 6, "k": 2, "v": 2}, self.config)["v"] == slice(8, 10)


class TestTheCache:
    def test_a_layout_survives(self, tmp_path):
        config = UNLISTED["mbart"][0]()
        layout = discovery_cache.discovered_layout(config)
        assert from_json(json.loads(json.dumps(to_json(layout)))) == layout
        (file,) = (tmp_path / "anatomies").iterdir()
        discovery_cache._in_memory.clear()
        assert discovery_cache.discovered_layout(config) == layout
        file.write_text("{", encoding="utf-8")
        discovery_cache._in_memory.clear()
        assert discovery_cache.discovered_layout(config) == layout
        assert json.loads(file.read_text(encoding="utf-8"))["family"] == "mbart"

    def test_other_sizes_are_another_entry_and_another_name_is_not(self):
        one, other = _small(transformers.GemmaConfig), _small(transformers.GemmaConfig, intermediate_size=44)
        assert discovery_cache.configuration_hash(one) != discovery_cache.configuration_hash(other)
        other = _small(transformers.GemmaConfig)
        other._name_or_path = "elsewhere"
        assert discovery_cache.configuration_hash(one) == discovery_cache.configuration_hash(other)


def test_nothing_random_is_left_behind():
    state = torch.random.get_rng_state()
    discover(UNLISTED["distilbert"][0]())
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_tiny_configuration_keeps_the_relations_of_sizes():
    config = transformers.LlamaConfig(num_attention_heads=32, num_key_value_heads=8, hidden_size=4096, intermediate_size=11008)
    for small in (tiny_config(config), tiny_config(config, larger=True)):
        assert 1 < small.num_key_value_heads < small.num_attention_heads
        assert small.hidden_size == small.num_attention_heads * small.head_dim
        assert small.num_hidden_layers == config.num_hidden_layers
        assert small.vocab_size <= 256
    assert tiny_config(config).hidden_size < tiny_config(config, larger=True).hidden_size < 1024
