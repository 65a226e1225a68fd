"""Identities: the same for one model in every dtype, and different for different models.

`test_plan` tests how plans use them.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import contracts
import pico
from resect.core.address import Site
from resect.core.errors import UnknownName, WrongModel
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import N_VALUES, MatrixFingerprint, ModelIdentity, fingerprint, nearly_equal

BFLOAT16 = st.integers(0, 0x7F7F).map(lambda bits: torch.tensor(bits, dtype=torch.int16).view(torch.bfloat16).item())


@pytest.mark.parametrize("name", pico.PICO)
def test_every_matrix_has_values_of_its_own(name):
    on = contracts.subject(name)
    values_of = fingerprint(on.anatomy, on.anatomy.sites)
    assert list(values_of) == list(map(str, on.anatomy.sites))
    assert all(len(values) == N_VALUES for values in values_of.values())
    assert len({tuple(values) for values in values_of.values()}) == len(values_of)
    site = on.anatomy.sites[-1]
    entries = set(on.anatomy.weight(site).bfloat16().float().flatten().tolist())
    assert set(values_of[str(site)]) <= entries
    assert len(set(values_of[str(site)])) > N_VALUES // 2


@pytest.mark.parametrize("name", ["t5", "llama-gqa", "gpt2", "bloom", "phi3", "modernbert"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_does_not_matter(name, dtype):
    on = contracts.subject(name)
    ModelIdentity.of(on.model, on.anatomy.sites).check(pico.build(name, dtype=dtype))


def test_moments_have_the_fingerprint_of_down():
    on = contracts.subject("llama")
    assert list(fingerprint(on.anatomy, [Site.parse("decoder.1.act"), Site.parse("decoder.1.post")])) == ["decoder.1.down"]
    with pytest.raises(UnknownName):
        fingerprint(on.anatomy, [Site.parse("decoder.9.act")])


def test_matrices_without_values_are_left_out_and_not_compared():
    anatomy = Anatomy.of(pico.build_on_meta("llama"))
    assert fingerprint(anatomy, anatomy.sites) == {}
    bare = ModelIdentity.of(anatomy, anatomy.sites)
    assert bare.to_json()["fingerprint"] == {}
    bare.check(contracts.subject("llama").model)
    full = contracts.subject("llama").identity
    full.check(anatomy)
    assert (bare | full) == (full | bare) == full


@given(BFLOAT16, st.sampled_from([1, -1]))
def test_one_step_of_bfloat16_is_tolerated_and_no_more(value, sign):
    def moved(steps):
        bits = torch.tensor(value, dtype=torch.bfloat16).view(torch.int16) + steps
        return sign * bits.view(torch.bfloat16).item()

    assert nearly_equal([sign * value], [moved(0)])
    assert nearly_equal([sign * value], [moved(1)])
    assert nearly_equal([moved(1)], [sign * value])
    if 1e-4 < value < 1e38:
        assert not nearly_equal([sign * value], [moved(2)])
        assert not nearly_equal([sign * value], [-sign * value])
    assert not nearly_equal([value], [value, value])


def test_identities_have_one_order():
    matrices = [MatrixFingerprint(Site.parse(site), (2, 3), ()) for site in ("decoder.10.up", "decoder.2.up", "encoder.3.q", "decoder.2.q")]
    identity = ModelIdentity("t5", tuple(matrices))
    assert identity == ModelIdentity("t5", tuple(reversed(matrices)))
    assert list(identity.to_json()["shapes"]) == ["encoder.3.q", "decoder.2.q", "decoder.2.up", "decoder.10.up"]
    with pytest.raises(WrongModel, match="shape"):
        identity | ModelIdentity("t5", (MatrixFingerprint(Site.parse("decoder.2.q"), (2, 4), ()),))
