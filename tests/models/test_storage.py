"""Reading and writing matrices in every storage, and refusals before anything is touched."""

import copy

import accelerate
import pytest
import torch
from torch import nn

import pico
from resect.core.address import Site
from resect.core.errors import InputError, NotWritable
from resect.models.anatomy import Anatomy

every_family = pytest.mark.parametrize("name", pico.PICO)


def second_layer(anatomy: Anatomy) -> list[Site]:
    return [site for site in anatomy.sites if site.layer == 1]


@every_family
class TestReadingAndWriting:
    def test_locate_returns_exactly_the_entries_that_weight_returns(self, name):
        anatomy = Anatomy.of(pico.build(name))
        for site in second_layer(anatomy):
            out, inside = anatomy.shape(site)
            weight, transposed = anatomy.weight(site), anatomy.slot(site).transposed
            for rows in (None, [0], [out - 1, 1], torch.tensor([2])):
                for columns in (None, [inside - 1, 0]):
                    parameter, index = anatomy.locate(site, rows, columns)
                    stored = parameter.data[index]
                    expected = weight if rows is None else weight[torch.as_tensor(rows)]
                    expected = expected if columns is None else expected[:, columns]
                    assert torch.equal(stored.T if transposed else stored, expected)

    def test_write_then_read(self, name):
        anatomy = Anatomy.of(pico.build(name))
        for number, site in enumerate(second_layer(anatomy)):
            before = {each: anatomy.weight(each).clone() for each in second_layer(anatomy)}
            out, inside = anatomy.shape(site)
            values = torch.randn(2, inside, generator=torch.Generator().manual_seed(number))
            columns = torch.randn(out, 2, generator=torch.Generator().manual_seed(number))
            before[site][[out - 1, 1]] = values
            before[site][:, [inside - 1, 2]] = columns
            before[site][0] = 7.0
            anatomy.write(site, [out - 1, 1], values)
            anatomy.write_columns(site, [inside - 1, 2], columns)
            anatomy.write(site, [0], 7.0)
            for other, expected in before.items():  # this one as written, the others unchanged
                assert torch.equal(anatomy.weight(other), expected)
            full = torch.randn(out, inside, generator=torch.Generator().manual_seed(number))
            anatomy.write(site, None, full)
            assert torch.equal(anatomy.weight(site), full)

    def test_bias_write_then_read(self, name):
        anatomy = Anatomy.of(pico.build(name))
        for site in second_layer(anatomy):
            if not anatomy.has_bias(site):
                assert anatomy.bias(site) is None
                with pytest.raises(NotWritable, match="no bias"):
                    anatomy.write_bias(site, [0], 0.0)
                continue
            expected = {each: anatomy.bias(each) for each in second_layer(anatomy)}
            expected = {each: bias.clone() for each, bias in expected.items() if bias is not None}
            expected[site][[2, 0]] = torch.tensor([5.0, 6.0])
            anatomy.write_bias(site, [2, 0], torch.tensor([5.0, 6.0]))
            for each, bias in expected.items():
                assert torch.equal(anatomy.bias(each), bias)

    def test_a_zero_row_is_an_inactive_unit(self, name):
        model = pico.build(name)
        anatomy = Anatomy.of(model)
        base = pico.output(name, model)
        for site in second_layer(anatomy):
            units, tap = [0, 2, anatomy.width(site) - 1], anatomy.tap(site)

            def silent(_, __, output, tap=tap, units=units):
                part = range(output.shape[-1]) if tap.part is None else tap.part
                part = range(output.shape[-1])[part] if isinstance(part, slice) else part
                output = output.clone()
                output[..., [part[unit] for unit in units]] = 0.0
                return output

            handle = anatomy.module(site).register_forward_hook(silent)
            hooked = pico.output(name, model)
            handle.remove()
            kept = copy.deepcopy(model.state_dict())
            anatomy.write(site, units, 0.0)
            if anatomy.has_bias(site):
                anatomy.write_bias(site, units, 0.0)
            torch.testing.assert_close(pico.output(name, model), hooked, rtol=1e-4, atol=1e-5)
            assert not torch.equal(hooked, base), site
            model.load_state_dict(kept)
        assert torch.equal(pico.output(name, model), base)

    def test_slices_are_views(self, name):
        anatomy = Anatomy.of(pico.build(name))
        for site in anatomy.sites:
            weight, stored = anatomy.weight(site), anatomy.module(site).weight
            assert tuple(weight.shape) == anatomy.shape(site)
            assert not weight.requires_grad
            shares = weight.untyped_storage().data_ptr() == stored.untyped_storage().data_ptr()
            assert shares != isinstance(anatomy.slot(site).rows, tuple)


class TestRefusals:
    @pytest.mark.parametrize("rows", [[24], [0, -1]])
    def test_an_unknown_unit_is_refused(self, rows):
        anatomy = Anatomy.of(pico.build("gpt2"))
        before = anatomy.weight("decoder.0.k").clone()
        with pytest.raises(InputError, match=r"decoder\.0\.k: it has 24, 0 to 23"):
            anatomy.write("decoder.0.k", rows, 0.0)
        assert torch.equal(anatomy.weight("decoder.0.k"), before)

    def test_quantised_weights_are_not_touched(self):
        model = pico.build("llama")
        packed = nn.Parameter(torch.ones(24 * 24 // 2, 1, dtype=torch.uint8), requires_grad=False)
        model.model.layers[0].self_attn.q_proj.weight = packed
        anatomy = Anatomy.of(model)
        assert anatomy.shape("decoder.0.q") == (24, 24)
        for act in (lambda: anatomy.write("decoder.0.q", [0], 0.0), lambda: anatomy.locate("decoder.0.q")):
            with pytest.raises(NotWritable, match=r"decoder\.0\.q.*uint8"):
                act()
        assert torch.equal(packed, torch.ones_like(packed))
        model.model.layers[0].self_attn.q_proj.weight = nn.Parameter(torch.ones(24, 24).to(torch.float8_e4m3fn), False)
        with pytest.raises(NotWritable, match="float8"):
            Anatomy.of(model).write("decoder.0.q", [0], 0.0)

    def test_offloaded_weights_are_not_touched(self):
        model = pico.build("llama")
        accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
        with pytest.raises(NotWritable, match="offloaded"):
            Anatomy.of(model).write("decoder.0.q", [0], 0.0)

    def test_adapters_are_not_written_through(self):
        class Adapted(nn.Module):  # the shape that PEFT gives a layer
            def __init__(self, base_layer):
                super().__init__()
                self.base_layer = base_layer

        model = pico.build("llama-biased")
        attention = model.model.layers[0].self_attn
        attention.q_proj = Adapted(attention.q_proj)
        anatomy = Anatomy.of(model)
        with pytest.raises(NotWritable, match="merge_and_unload"):
            anatomy.write("decoder.0.q", [0], 0.0)
        with pytest.raises(NotWritable, match="merge_and_unload"):
            anatomy.write_bias("decoder.0.q", [0], 0.0)
        anatomy.write("decoder.0.k", [0], 0.0)
