"""The FAMILIES table against real modules: a tiny model of per_group family proves every line."""

from collections.abc import Sequence

import pytest
import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

import pico
from resect.core.address import Site
from resect.core.errors import NotYet, UnknownFamily
from resect.models.anatomy import Anatomy
from resect.models.anatomy_parts import Tap
from resect.models.families import covered_families, family_line

every_family = pytest.mark.parametrize("name", pico.PICO)


def values_at(model, name, taps: Sequence[Tap], change=None) -> list[list[torch.Tensor]]:
    """Returns the values at per_group tap during one run of the model. `change`: a tap, and a function that replaces its values."""
    values: list[list[torch.Tensor]] = [[] for _ in taps]
    handles = []

    def part(tap, tensor):
        return tensor if tap.part is None else tensor[..., tap.part if isinstance(tap.part, slice) else list(tap.part)]

    def hook(tap, act):
        module = model.get_submodule(tap.path)
        if tap.when == "input":
            return module.register_forward_pre_hook(lambda _, inputs: act(inputs[0]))
        return module.register_forward_hook(lambda _, __, output: act(output))

    for tap, tensors in zip(taps, values, strict=True):
        handles.append(hook(tap, lambda tensor, tap=tap, tensors=tensors: tensors.append(part(tap, tensor).clone())))
    if change is not None:
        tap, new = change

        def replace_part(tensor):
            result = tensor.clone()
            index = slice(None) if tap.part is None else tap.part if isinstance(tap.part, slice) else list(tap.part)
            result[..., index] = new(part(tap, tensor))
            return result

        handles.append(hook(tap, replace_part))
    try:
        pico.output(name, model)
    finally:
        for handle in handles:
            handle.remove()
    return values


def at(model, name, tap: Tap, change=None) -> torch.Tensor:
    (tensors,) = values_at(model, name, [tap], change)
    assert len(tensors) == 1, f"{tap.path} runs {len(tensors)} times"
    return tensors[0]


def attentions(anatomy: Anatomy) -> list[tuple[Site, Site, Site, Site]]:
    """Returns (q, k, v, o) of every attention of the second layer of per_group stack, including cross attention."""
    return [
        tuple(Site(stack, 1, f"{prefix}{role}") for role in "qkvo")
        for stack in anatomy.layers
        for prefix in ("", "cross_")
        if Site(stack, 1, f"{prefix}q") in anatomy.sites
    ]


@every_family
class TestTheTable:
    def test_the_tap_of_a_matrix_is_its_output(self, name):
        model = pico.build(name)
        anatomy = Anatomy.of(model)
        after = [anatomy.tap(site) for site in anatomy.sites]
        before = [Tap(tap.path, "input", None, tap.flat) for tap in after]
        assert {tap.when for tap in after} == {"output"}
        results = zip(anatomy.sites, values_at(model, name, before), values_at(model, name, after), strict=True)
        for site, (inputs,), (outputs,) in results:
            expected = inputs @ anatomy.weight(site).T
            bias = anatomy.bias(site)
            expected = expected if bias is None else expected + bias
            torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)

    def test_post_is_act_times_up(self, name):
        model = pico.build(name)
        anatomy = Anatomy.of(model)
        assert [site.role for site in anatomy.moments] == ["act", "post"] * sum(anatomy.layers.values())
        for site in anatomy.moments[::2]:
            roles = ["act", "post", "up", "gate" if anatomy.gated else "up"]
            taps = [anatomy.tap(site.at(role)) for role in roles]
            (act,), (post,), (up,), (before,) = values_at(model, name, taps)
            activation = anatomy.module(site)
            torch.testing.assert_close(act, activation(before))
            torch.testing.assert_close(post, act * up if anatomy.gated else act)
            assert act.shape[-1] == anatomy.width(site) == anatomy.width(site.at("post"))
            assert post.std() > 0

    def test_taps_are_flat_where_the_table_says_so(self, name):
        model = pico.build(name)
        anatomy = Anatomy.of(model)
        taps = [anatomy.tap(site) for site in (*anatomy.sites, *anatomy.moments)]
        for tap, tensors in zip(taps, values_at(model, name, taps), strict=True):
            assert [tensor.dim() for tensor in tensors] == [2 if tap.flat else 3], tap.path

    def test_no_two_sites_have_the_same_tap(self, name):
        anatomy = Anatomy.of(pico.build(name))
        activations = [id(anatomy.module(site)) for site in anatomy.moments if site.role == "act"]
        assert len(set(activations)) == len(activations)
        places = {(tap.path, tap.when, str(tap.part)) for tap in map(anatomy.tap, (*anatomy.sites, *anatomy.moments))}
        assert len(places) == len(anatomy.sites) + len(anatomy.moments)

    def test_o_reads_only_v(self, name):
        model = pico.build(name)
        anatomy = Anatomy.of(model)
        for _, _, v, o in attentions(anatomy):
            read = Tap(anatomy.tap(o).path, "input", None, False)
            assert at(model, name, read).abs().min() > 0
            anatomy.write(v, None, 0.0)
            if anatomy.has_bias(v):
                anatomy.write_bias(v, None, 0.0)
            assert at(model, name, read).abs().max() == 0

    def test_a_query_changes_its_own_token_and_a_key_or_value_several(self, name):
        model = pico.build(name)
        anatomy = Anatomy.of(model)
        for q, k, v, o in attentions(anatomy):
            read = Tap(anatomy.tap(o).path, "input", None, False)
            before = at(model, name, read)

            def changed_tokens(site, position, read=read, before=before):
                def shift(tensor):
                    tensor = tensor.clone()
                    tensor[:, position] += torch.linspace(-2, 2, tensor.shape[-1])
                    return tensor

                difference = (at(model, name, read, (anatomy.tap(site), shift)) - before).abs().amax((0, 2))
                return [token for token, change in enumerate(difference.tolist()) if change > 1e-4]

            assert changed_tokens(q, 1) == [1]
            assert len(changed_tokens(k, 0)) > 1
            assert len(changed_tokens(v, 0)) > 1

    def test_units_are_ordered_by_head(self, name):
        model = pico.build(name)
        anatomy = Anatomy.of(model)
        normed_over_heads = anatomy.family == "olmo2"
        for q, k, v, o in attentions(anatomy):
            read = Tap(anatomy.tap(o).path, "input", None, False)
            before = at(model, name, read)
            heads, head_dim = _heads(model.config, q)
            for site in (v,) if normed_over_heads else (q, k, v):
                groups = anatomy.width(site) // head_dim
                for group in range(groups):

                    def shift(tensor, group=group, head_dim=head_dim):
                        tensor = tensor.clone()
                        noise = torch.linspace(-2, 2, head_dim) * torch.arange(1, tensor.shape[1] + 1)[:, None]
                        tensor[..., group * head_dim : (group + 1) * head_dim] += noise
                        return tensor

                    difference = (at(model, name, read, (anatomy.tap(site), shift)) - before).abs().amax((0, 1))
                    per_head = difference.view(heads, head_dim).amax(1) > 1e-4
                    per_group = heads // groups
                    assert per_head.nonzero().flatten().tolist() == list(range(group * per_group, (group + 1) * per_group)), site

    def test_every_linear_of_the_blocks_is_covered_row_by_row(self, name):
        model = pico.build(name)
        anatomy = Anatomy.of(model)
        rows: dict[str, list[int]] = {}
        for site in anatomy.sites:
            slot = anatomy.slot(site)
            module = anatomy.module(site)
            assert slot.transposed == isinstance(module, Conv1D)
            out = module.weight.shape[1 if slot.transposed else 0]
            own_rows = range(out) if slot.rows is None else range(out)[slot.rows] if isinstance(slot.rows, slice) else slot.rows
            assert len(own_rows) == anatomy.width(site)
            rows.setdefault(slot.path, []).extend(own_rows)
        expected = {
            path: module.weight.shape[1 if isinstance(module, Conv1D) else 0]
            for path, module in model.named_modules()
            if isinstance(module, nn.Linear | Conv1D)
            and any(piece.isdigit() for piece in path.split("."))
            and not path.startswith(("model.vision_tower", "predict_action"))
        }
        assert {path: sorted(own_rows) for path, own_rows in rows.items()} == {path: list(range(out)) for path, out in expected.items()}


def _heads(config, q: Site) -> tuple[int, int]:
    """Returns (heads, head_dim), from the configuration by other rules than the table's."""
    config = getattr(config, "text_config", config)
    if config.model_type == "bart":
        heads = {"encoder": 4, "decoder": 2}[q.stack]
        return heads, config.d_model // heads
    heads = 4
    return heads, {"t5": 8, "mt5": 8}.get(config.model_type) or getattr(config, "head_dim", None) or config.hidden_size // heads


class TestRefusals:
    def test_an_unknown_family_is_refused(self):
        with pytest.raises(UnknownFamily, match=r"'lama'.*llama.*CONTRIBUTING\.md, \"Add a family\""):
            family_line("lama")

    def test_every_covered_family_has_a_tiny_model(self):
        assert set(covered_families()) == {pico.PICO[name]().model_type for name in pico.PICO}

    @pytest.mark.parametrize(
        ("config", "why"),
        [
            (transformers.GPT2Config(add_cross_attention=True), "add_cross_attention"),
            (transformers.BertConfig(is_decoder=True), "is_decoder"),
            (transformers.BertConfig(chunk_size_feed_forward=2), "chunk_size_feed_forward"),
            (transformers.BloomConfig(slow_but_exact=True, pretraining_tp=2), "slow_but_exact"),
        ],
    )
    def test_layouts_that_hooks_cannot_observe_are_refused(self, config, why):
        with pytest.raises(NotYet, match=why):
            Anatomy.of_config(config)
