"""The tiny models themselves: built from a seed alone, with matching tokenizers."""

import pytest
import torch

import pico


class TestPico:
    @pytest.mark.parametrize("name", pico.PICO)
    def test_same_seed_same_model(self, name):
        first, again, other = (pico.output(name, pico.build(name, seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.allclose(first, other)
        assert first.isfinite().all()
        assert first.std() > 0.1

    @pytest.mark.parametrize("name", pico.language_models)
    def test_tokenizer_fits_the_model(self, name):
        tokenizer, config = pico.tokenizer(name), pico.PICO[name]()
        config = getattr(config, "text_config", config)
        assert len(tokenizer) <= config.vocab_size
        assert tokenizer.decode(tokenizer("Où? 😀 b\n").input_ids, skip_special_tokens=True) == "Où? 😀 b\n"
        ids = tokenizer("ab").input_ids
        ends = {"causal": (), "encoder-decoder": (pico.EOS,), "masked": (pico.SEP,)}[pico.KINDS[name]]
        assert tuple(ids[len(ids) - len(ends) :]) == ends
        assert (tokenizer.mask_token is not None) == (pico.KINDS[name] == "masked")
        assert pico.tokenizer("causal", bos=True)("ab").input_ids[0] == pico.BOS
