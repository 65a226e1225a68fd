"""Models whose code comes with them: refused without the user's word, and discovered, edited and exported with it."""

import json

import pytest
import torch
import transformers

import pico
from resect.core.errors import BadModel
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.edits.verify_anatomy import verify_anatomy
from resect.export.export import export
from resect.models.loading import load_config, load_model

CONFIGURATION = """
from transformers import PretrainedConfig

class OwnConfig(PretrainedConfig):
    model_type = "own_of_a_test"

    def __init__(self, hidden_size=16, vocab_size=263, num_hidden_layers=2, **rest):
        super().__init__(**rest)
        self.hidden_size, self.vocab_size, self.num_hidden_layers = hidden_size, vocab_size, num_hidden_layers
"""
MODEL = """
import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from .configuration_own import OwnConfig

class OwnBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.widen, self.narrow = nn.Linear(width, 24), nn.Linear(24, width)

    def forward(self, hidden):
        return hidden + self.narrow(torch.relu(self.widen(hidden)))

class OwnForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(OwnBlock(config.hidden_size) for _ in range(config.num_hidden_layers))
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.words

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids=None, attention_mask=None, **_):
        hidden = self.words(input_ids)
        for block in self.blocks:
            hidden = block(hidden)
        return CausalLMOutput(logits=self.head(hidden))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model's folder with code, whose classes are found through its configuration."""
    monkeypatch.setenv("RESECT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    target = tmp_path / "model"
    target.mkdir()
    (target / "configuration_own.py").write_text(CONFIGURATION)
    (target / "modeling_own.py").write_text(MODEL)
    own = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    sizes = {"hidden_size": 16, "vocab_size": 263, "num_hidden_layers": 2}
    config = {"model_type": "own_of_a_test", "architectures": ["OwnForCausalLM"], "auto_map": own, **sizes}
    (target / "config.json").write_text(json.dumps(config))
    pico.tokenizer("causal").save_pretrained(target)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(load_config(str(target), trust_remote_code=True), trust_remote_code=True)
    transformers.PreTrainedModel.save_pretrained(model, tmp_path / "saved")
    (tmp_path / "saved" / "model.safetensors").rename(target / "model.safetensors")
    return target


def test_it_is_discovered_edited_and_exported_with_the_users_word_alone(folder, tmp_path):
    with pytest.raises(BadModel, match="trust_remote_code"):  # before anything of it is run
        load_model(folder)
    model = load_model(folder, trust_remote_code=True, device="cpu")
    assert [str(site) for site in model.anatomy.sites] == ["decoder.0.up", "decoder.0.down", "decoder.1.up", "decoder.1.down"]
    assert verify_anatomy(model.model.config).holds
    assert len(model.logprobs(["a question"] * 2, ["yes", "no"])) == 2
    plan = Plan((Scale({"decoder.1.up": [1, 2]}, 0.0),)).for_model(model)
    export(plan, str(folder), tmp_path / "out", trust_remote_code=True, device="cpu")
    ids = torch.tensor([[10, 20, 30]])
    with plan.applied(model), torch.no_grad():
        expected = model.model(input_ids=ids).logits
        exported = load_model(tmp_path / "out", trust_remote_code=True, device="cpu").model(input_ids=ids).logits
    assert torch.equal(exported, expected)
