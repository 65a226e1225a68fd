"""Law 12: hooks change nothing, and they receive the values that the model computes."""

import pytest
import torch

import pico
from resect.models.anatomy import Anatomy
from resect.models.hooks import forward_hooks, gradient_hooks


@pytest.mark.parametrize("name", pico.PICO)
def test_logits_are_the_same_to_the_last_bit_with_hooks_everywhere(name: str) -> None:
    model = pico.build(name)
    anatomy = Anatomy.of(model)
    plain = pico.output(name, model)
    received = set()
    with forward_hooks(anatomy, (*anatomy.sites, *anatomy.moments), lambda site, values: received.add(site)):
        hooked = pico.output(name, model)
    assert torch.equal(plain, hooked)
    assert received == {*anatomy.sites, *anatomy.moments}
    assert torch.equal(pico.output(name, model), plain)


@pytest.mark.parametrize("name", pico.language_models)
def test_gradients_of_a_model_with_frozen_weights_are_those_of_autograd(name: str) -> None:
    model = pico.build(name, dtype=torch.float64)
    anatomy = Anatomy.of(model)
    batch = pico.inputs(name)
    site = anatomy.sites[-1]
    model.requires_grad_(True)
    outputs = []
    handle = anatomy.module(site).register_forward_hook(lambda _module, _inputs, output: (output.retain_grad(), outputs.append(output))[0])
    plain = model(**batch).logits
    plain.square().sum().backward()
    handle.remove()
    model.zero_grad()
    model.requires_grad_(False)
    received = {}
    with gradient_hooks(anatomy, [site], lambda at, values, gradient: received.update({at: (values, gradient)})):
        logits = model(**batch).logits
        logits.square().sum().backward()
    close = {
        "rtol": 1e-5,
        "atol": 1e-5,
    }  # attention uses another kernel where its position bias has a gradient, and parts of T5 are float32
    assert torch.allclose(logits, plain, **close)
    values, gradient = received[site]
    part = anatomy.tap(site).part
    index = slice(None) if part is None else part if isinstance(part, slice) else list(part)
    assert torch.allclose(values, outputs[0].detach()[..., index], **close)
    expected = outputs[0].grad[..., index]
    assert (gradient - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert all(weight.grad is None for weight in model.parameters())


def test_no_hook_is_left_after_an_error() -> None:
    model = pico.build("llama")
    anatomy = Anatomy.of(model)

    def stop(_site: object, _values: object) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), forward_hooks(anatomy, anatomy.sites, stop):
        pico.output("llama", model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
