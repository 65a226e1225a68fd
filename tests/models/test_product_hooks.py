"""Products inside of a module: the same values whichever implementation computes them, equal to naive ones, and changed exactly."""

import pytest
import torch
from torch import nn

import pico
from naive import naive_experts
from resect.core.errors import NotYet
from resect.edits.neurons import Clamp, Scale, Shift
from resect.models.anatomy import Anatomy
from resect.models.hooks import forward_hooks, gradient_hooks
from resect.models.product_hooks import register_product_hook

IMPLEMENTATIONS = ("eager", "grouped_mm", "batched_mm")
SWITCHABLE = [name for name in pico.EXPERTS if name != "llama4"]


def recorded(model, anatomy, name, sites):
    values = {}
    with forward_hooks(anatomy, sites, lambda site, own: values.setdefault(site, own.clone())):
        pico.output(name, model)
    return values


@pytest.mark.parametrize("name", pico.EXPERTS)
def test_logits_are_the_same_to_the_last_bit_with_hooks_everywhere(name):
    model = pico.build(name)
    anatomy = Anatomy.of(model)
    for implementation in IMPLEMENTATIONS if name in SWITCHABLE else IMPLEMENTATIONS[:1]:
        if name in SWITCHABLE:
            model.set_experts_implementation(implementation)
        plain, received = pico.output(name, model), set()
        with forward_hooks(anatomy, (*anatomy.sites, *anatomy.moments), lambda site, values, received=received: received.add(site)):
            assert torch.equal(pico.output(name, model), plain)
        assert torch.equal(pico.output(name, model), plain)
        assert {site for site in received if not site.is_routed} == {
            site for site in (*anatomy.sites, *anatomy.moments) if not site.is_routed
        }
        assert any(site.is_routed for site in received)


@pytest.mark.parametrize("name", SWITCHABLE)
def test_each_implementation_shows_the_same_values(name):
    model = pico.build(name)
    anatomy = Anatomy.of(model)
    sites, seen = [site for site in (*anatomy.sites, *anatomy.moments) if site.is_routed or site.role == "router"], {}
    for implementation in IMPLEMENTATIONS:
        model.set_experts_implementation(implementation)
        seen[implementation] = recorded(model, anatomy, name, sites)
    for implementation in IMPLEMENTATIONS[1:]:
        assert seen[implementation].keys() == seen["eager"].keys()
        for site, values in seen["eager"].items():
            # Rows of one expert may come in another order.
            own, other = (torch.sort(each, dim=0).values for each in (values, seen[implementation][site]))
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", pico.EXPERTS)
def test_what_is_recorded_is_the_naive_product_at_the_tokens_that_the_router_chose(name):
    model = pico.build(name)
    anatomy = Anatomy.of(model)
    site = next(site for site in anatomy.sites if site.is_routed and site.role == "up" and site.layer == anatomy.layers["decoder"] - 1)
    given = []
    experts = anatomy.module(site)
    handle = experts.register_forward_pre_hook(lambda _module, arguments: given.append([each.clone() for each in arguments]))
    values = recorded(model, anatomy, name, [site.__class__(site.stack, site.layer, "up", number) for number in range(4)])
    handle.remove()
    hidden, *routing = given[0]
    for at, own in values.items():
        if routing:
            chosen = (routing[0] == at.expert).any(-1)
            tokens = hidden.reshape(-1, hidden.shape[-1])[chosen]
        else:  # Llama 4 gives each expert all tokens, multiplied by 0 where they are not routed to it
            tokens = hidden.view(4, -1, hidden.shape[-1])[at.expert]
            tokens = tokens[(tokens != 0).any(-1)]
        bias = anatomy.bias(at)
        expected = tokens @ anatomy.weight(at).T + (0 if bias is None else bias)
        torch.testing.assert_close(torch.sort(own, dim=0).values, torch.sort(expected, dim=0).values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_are_those_of_a_loop_over_tokens(implementation):
    dtype = torch.float64 if implementation == "eager" else torch.float32  # grouped products are not there in float64
    reference = pico.build("mixtral", dtype=torch.float64)
    seen = naive_experts(reference)
    reference(**pico.inputs("mixtral")).logits.square().sum().backward()
    model = pico.build("mixtral", dtype=dtype).requires_grad_(False)
    model.set_experts_implementation(implementation)
    anatomy = Anatomy.of(model)
    sites, received = [site for site in anatomy.sites if site.is_routed and site.role == "up"], {}
    with gradient_hooks(anatomy, sites, lambda site, values, gradient: received.update({site: (values, gradient)})):
        model(**pico.inputs("mixtral")).logits.square().sum().backward()
    assert {(site.layer, site.expert) for site in received} == {(layer, expert) for layer, expert, role in seen if role == "up"}
    for site, (values, gradient) in received.items():
        for own, value_of in ((values, lambda value: value.detach()), (gradient, lambda value: value.grad)):
            expected = torch.zeros(12, 40, dtype=torch.float64)
            for token, value in seen[site.layer, site.expert, "up"].items():
                expected[token] = value_of(value)
            assert (own - expected).abs().max() <= (1e-9 if dtype == torch.float64 else 1e-4) * expected.abs().max()


@pytest.mark.parametrize("name", pico.EXPERTS)
def test_a_change_at_an_expert_leaves_tokens_alone_that_do_not_reach_it(name):
    """Behind the last layer nothing mixes tokens: exactly the logits of the routed tokens change, whatever the change."""
    model = pico.build(name)
    anatomy = Anatomy.of(model)
    last = anatomy.layers["decoder"] - 1
    post = [site for site in anatomy.moments if site.is_routed and site.layer == last and site.role == "post"]
    base, reached = pico.output(name, model).flatten(0, 1), {}
    with gradient_hooks(anatomy, post, lambda site, values, gradient: reached.update({site: (values != 0).any(-1)})), torch.enable_grad():
        model(**pico.inputs(name)).logits.sum().backward()
    assert reached
    for site, tokens in reached.items():
        units = {str(site): range(0, anatomy.width(site), 3)}
        for edit in (Shift(units, 3.0), Clamp(units, 2.0), Scale(units, -2.0)):
            with edit.applied(model, "activations"):
                changed = (pico.output(name, model).flatten(0, 1) != base).any(-1)
            assert torch.equal(changed, tokens)


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, values):
        return values.sum(-1, keepdim=True)  # no product is seen


def test_a_module_whose_products_are_not_seen_is_refused():
    module = Fused()
    handle = register_product_hook(module, "weight", "output", lambda product: None)
    with pytest.raises(NotYet, match="experts_implementation"):
        module(torch.randn(2, 4))
    handle.remove()
    module(torch.randn(2, 4))


def test_no_hook_and_no_mode_is_left_after_an_error():
    model = pico.build("mixtral")
    anatomy = Anatomy.of(model)

    def stop(_site, _values):
        raise KeyError("stop")

    with pytest.raises(KeyError), forward_hooks(anatomy, [site for site in anatomy.sites if site.is_routed], stop):
        pico.output("mixtral", model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.overrides._len_torch_function_stack() == 0
