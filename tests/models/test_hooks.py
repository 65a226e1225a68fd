"""Law 12: recording changes nothing, and what is seen is what the model computed."""

import pytest
import torch

import pico
from resect.models.anatomy import Anatomy
from resect.models.hooks import forward_hooks, gradient_hooks


@pytest.mark.parametrize("name", pico.PICO)
def test_logits_are_the_same_to_the_last_bit_while_everything_is_watched(name: str) -> None:
    model = pico.build(name)
    anatomy = Anatomy.of(model)
    plain = pico.output(name, model)
    seen = set()
    with forward_hooks(anatomy, (*anatomy.sites, *anatomy.moments), lambda site, values: seen.add(site)):
        watched = pico.output(name, model)
    assert torch.equal(plain, watched)
    assert seen == {*anatomy.sites, *anatomy.moments}
    assert torch.equal(pico.output(name, model), plain)


@pytest.mark.parametrize("name", pico.language_models)
def test_gradients_of_a_model_with_frozen_weights_are_those_of_autograd(name: str) -> None:
    model = pico.build(name, dtype=torch.float64)
    anatomy = Anatomy.of(model)
    batch = pico.inputs(name)
    site = anatomy.sites[-1]
    model.requires_grad_(True)
    kept = []
    handle = anatomy.module(site).register_forward_hook(lambda _module, _inputs, output: (output.retain_grad(), kept.append(output))[0])
    plain = model(**batch).logits
    plain.square().sum().backward()
    handle.remove()
    model.zero_grad()
    model.requires_grad_(False)
    seen = {}
    with gradient_hooks(anatomy, [site], lambda where, values, gradient: seen.update({where: (values, gradient)})):
        logits = model(**batch).logits
        logits.square().sum().backward()
    close = {
        "rtol": 1e-5,
        "atol": 1e-5,
    }  # attention takes another kernel where its position bias has a gradient, and parts of T5 are float32
    assert torch.allclose(logits, plain, **close)
    values, gradient = seen[site]
    part = anatomy.tap(site).part
    index = slice(None) if part is None else part if isinstance(part, slice) else list(part)
    assert torch.allclose(values, kept[0].detach()[..., index], **close)
    wanted = kept[0].grad[..., index]
    assert (gradient - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert all(weight.grad is None for weight in model.parameters())


def test_nothing_is_left_hanging_after_an_error() -> None:
    model = pico.build("llama")
    anatomy = Anatomy.of(model)

    def stop(_site: object, _values: object) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), forward_hooks(anatomy, anatomy.sites, stop):
        pico.output("llama", model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
