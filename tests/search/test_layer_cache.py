"""Law 10: a replay from any layer is a full run, to the last bit on the same batch, with a key/value cache too."""

import pytest

import pico
from resect.models.language_model import LanguageModel
from resect.search.layer_cache import FEED_FORWARD, LayerBoundary, LayerCache

PROMPTS = ["a longer prompt", "short", "something else"]
LABELS = ["yes", "n", "perhaps"]


def _run(model: LanguageModel):
    requests = model.encode_pairs([prompt for prompt in PROMPTS for _ in LABELS], LABELS * len(PROMPTS))
    return model._score_prompts(requests, list(range(len(requests.prompts))))


def _edited(model: LanguageModel, role: str, boundary: LayerBoundary):
    """A matrix of a layer, reversed and halved in place; returns what restores it."""
    site = next(s for s in model.anatomy.sites if (s.stack, s.layer, s.role) == (boundary.stack, boundary.layer, role))
    before = model.anatomy.weight(site).clone()
    model.anatomy.write(site, None, before.flip(0) * 0.5)
    return lambda: model.anatomy.write(site, None, before)


@pytest.mark.slow
@pytest.mark.parametrize("name", pico.language_models)
def test_a_replay_is_a_full_run_to_the_last_bit(name):
    model = LanguageModel.of(pico.build(name), pico.tokenizer(name))
    cache = LayerCache(model.anatomy)
    base = _run(model)
    outputs = None
    for stack, layers in model.anatomy.layers.items():
        for layer in range(layers):
            at = LayerBoundary(stack, layer)
            with cache.recording(at) as fresh:
                _run(model)
            if outputs is not None and outputs.boundary.stack == stack:  # recorded from the layer below, they are the same
                with cache.replaying(outputs, attention=True), cache.recording(at) as carried:
                    _run(model)
                fresh = carried
            outputs = fresh
            with cache.replaying(outputs, attention=True):
                assert _run(model) == base
            for role in [site.role for site in model.anatomy.sites if (site.stack, site.layer) == (stack, layer)]:
                restore = _edited(model, role, at)
                full = _run(model)
                with cache.replaying(outputs, attention=role in FEED_FORWARD):
                    assert _run(model) == full, f"{at} {role}"
                restore()
    assert _run(model) == base
    assert not [module for module in model.model.modules() if "forward" in module.__dict__]
