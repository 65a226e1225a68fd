"""What is scored is the same, whatever is left out elsewhere."""

import pytest
import torch

import pico
from resect.models.language_model import LanguageModel
from resect.search.scored_positions import ScoredPositions

PROMPTS = ["a longer prompt", "short"]
LABELS = ["yes", "n"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", pico.language_models)
def test_scored_positions_come_out_the_same(name, dtype):
    model = LanguageModel.of(pico.build(name, dtype=dtype), pico.tokenizer(name))
    requests = model.encode_pairs([prompt for prompt in PROMPTS for _ in LABELS], LABELS * len(PROMPTS))
    places = list(range(len(requests.prompts)))
    whole = model._score_prompts(requests, places)
    model.forward.scored_columns_context = ScoredPositions(model.anatomy, head=not model.forward.can_limit_logits)
    narrow = model._score_prompts(requests, places)
    for before, after in zip(whole, narrow, strict=True):
        assert after == pytest.approx(before, rel=1e-9 if dtype is torch.float64 else 1e-4)
    assert not [module for module in model.model.modules() if "forward" in module.__dict__]


def test_it_computes_less():
    model = LanguageModel.of(pico.build("llama"), pico.tokenizer("llama"))
    module = model.anatomy.module("decoder.1.down")
    with ScoredPositions(model.anatomy, head=False)(torch.tensor([[3], [2]])):
        found = module.forward(torch.ones(2, 4, module.weight.shape[1]))
    assert [[bool(found[row, column].any()) for column in range(4)] for row in range(2)] == [
        [False] * 3 + [True],
        [False, False, True, False],
    ]
