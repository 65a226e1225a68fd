"""Small models: sizes are divided as far as the relations between them hold, and what does not run is refused with the reason."""

import pytest
import torch
import transformers

import pico
from resect.core.errors import UnknownFamily
from resect.models.discovery import discover, kind_of
from resect.models.small_models import build_tiny
from resect.models.tiny_config import tiny_config


def _built(config, **options):
    return build_tiny(*kind_of(config), config, **options)


def test_heads_stay_longer_where_short_ones_break_a_relation():
    config = transformers.CONFIG_MAPPING["neomme"]()  # it rotates a quarter of a head, in steps of four entries
    with pytest.raises(ValueError, match="multiple of 4"):
        tiny_config(config)
    assert _built(config).config.head_dim == 16


def test_sizes_that_add_up_to_another_still_do():
    config = _built(transformers.ReformerConfig(is_decoder=False)).config
    assert sum(config.axial_pos_embds_dim) == config.hidden_size


def test_settings_of_single_layers_are_divided_as_the_others():
    config = transformers.CONFIG_MAPPING["gemma4_text"]()
    before, after = config.to_dict(), tiny_config(config).to_dict()
    by = before["head_dim"] // after["head_dim"]
    single = [(own["head_dim"], after["per_layer_config"][layer]["head_dim"]) for layer, own in before["per_layer_config"].items()]
    assert by > 1
    assert all(own == by * small for own, small in single)


def test_without_norms_weights_amplify_less():
    config = transformers.MobileBertConfig()
    assert bool(torch.isfinite(_built(config).logits()).all())


def test_the_reason_is_that_of_the_first_attempt():
    config = transformers.LlamaConfig(
        vocab_size=pico.VOCAB, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, hidden_act="none such"
    )
    with pytest.raises(UnknownFamily, match="No tiny model of it runs: KeyError"):
        _built(config)


def test_the_text_class_of_a_larger_model_is_found_from_its_part_of_the_configuration():
    config = transformers.Emu3Config(
        text_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 40}
    )
    whole, part = discover(config), discover(config.text_config)
    assert whole.stacks == part.stacks
