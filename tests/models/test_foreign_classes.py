"""Discovery in classes that no one foresaw: what it finds is true, and what cannot be found is refused with the reason."""

from types import SimpleNamespace

import pytest
import torch
import transformers
from torch import nn

from resect.core.errors import BadModel, UnknownFamily
from resect.edits.verify_anatomy import verify_anatomy
from resect.models import discovery_cache
from resect.models.anatomy import Anatomy

WIDTH, VOCAB = 16, 60


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)

    def forward(self, hidden):
        return hidden + self.second(torch.relu(self.first(hidden)))


class NormBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, hidden):
        return self.norm(hidden)


class TrainingBlock(Block):
    """Computes something else in training."""

    def forward(self, hidden):
        return hidden if self.training else super().forward(hidden)


class NaNBlock(Block):
    def forward(self, hidden):
        return super().forward(hidden) / torch.zeros(())


def make_model(model_type, make_block, blocks=2):
    """A configuration whose class is registered with transformers: an embedding, blocks, and a head."""

    class Config(transformers.PretrainedConfig):
        def __init__(self, hidden_size=WIDTH, vocab_size=VOCAB, **rest):
            sizes = {"hidden_size": hidden_size, "vocab_size": vocab_size, "num_hidden_layers": blocks}
            super().__init__(**(rest | sizes))

    Config.model_type = model_type

    class Model(transformers.PreTrainedModel):
        config_class = Config

        def __init__(self, config):
            super().__init__(config)
            self.embedding, self.head = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB)
            self.blocks = nn.ModuleList(make_block() for _ in range(blocks)) if blocks else nn.Linear(WIDTH, WIDTH)
            self.post_init()

        def get_input_embeddings(self):
            return self.embedding

        def forward(self, input_ids=None, attention_mask=None, **_):
            hidden = self.embedding(input_ids)
            for block in self.blocks if blocks else (self.blocks,):
                hidden = block(hidden)
            return SimpleNamespace(logits=self.head(hidden))

    Model.__module__ = __name__
    transformers.AutoConfig.register(model_type, Config, exist_ok=True)
    transformers.AutoModelForCausalLM.register(Config, Model, exist_ok=True)
    return Config(), Model


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESECT_CACHE", str(tmp_path))
    monkeypatch.setattr(discovery_cache, "_in_memory", {})


@pytest.mark.parametrize(("name", "block"), [("resect-plain", Block), ("resect-training", TrainingBlock)])
def test_a_class_that_no_one_foresaw(name, block):
    config, model_class = make_model(name, block)
    anatomy = Anatomy.of(model_class(config))
    assert [site.role for site in anatomy.sites if site.layer == 1] == ["up", "down"]
    assert anatomy.slot("decoder.1.up").path == "blocks.1.first"
    verified = verify_anatomy(config)
    assert verified.holds
    assert verified.covered == 1


@pytest.mark.parametrize(
    ("name", "block", "blocks", "reason"),
    [
        ("resect-no-blocks", Block, 0, "no list of blocks"),
        ("resect-no-linear", NormBlock, 2, "no list of blocks with linear modules"),
        ("resect-nan", NaNBlock, 2, "NaN"),
    ],
)
def test_what_cannot_be_found_is_refused_with_the_reason(name, block, blocks, reason):
    config, _ = make_model(name, block, blocks)
    with pytest.raises(UnknownFamily, match=reason):
        Anatomy.of_config(config)


def test_a_model_on_meta_has_an_anatomy():
    config, model_class = make_model("resect-plain", Block)
    with torch.device("meta"):
        anatomy = Anatomy.of(model_class(config))
    assert anatomy.shape("decoder.0.down") == (WIDTH, 24)


def test_a_module_without_a_configuration_is_refused():
    with pytest.raises(BadModel, match="no config"):
        Anatomy.of(nn.Linear(2, 2))
