"""Counts are integers that add up, are stored exactly, and belong to one model."""

import json

import numpy as np
import pytest
from safetensors import safe_open

import pico
import resect
from resect.core.errors import BadAddress, InputError, NotFinite, UnknownName, WrongModel
from resect.core.files import write_arrays
from resect.methods.lape.counts import Counts
from resect.models.fingerprint import ModelIdentity

RANDOM = np.random.default_rng(0)


def random_counts(languages=("en", "fr"), tokens=(9, 5), widths=(4, 3), seed=0, sums=True, model=None):
    random = np.random.default_rng(seed)
    active = {f"decoder.{layer}.act": random.integers(0, np.array(tokens)[:, None] + 1, (len(tokens), w)) for layer, w in enumerate(widths)}
    values = {site: random.normal(size=array.shape) for site, array in active.items()}
    return Counts(languages, tokens, active, values if sums else None, model)


def test_the_public_contract():
    counts = resect.Counts(languages=("en", "fr"), tokens=(9, 9), active={"decoder.0.act": np.array([[9, 0], [3, 1]])})
    assert counts.languages == ("en", "fr") and counts.tokens == (9, 9) and counts.units == 2
    assert counts.active["decoder.0.act"].dtype == np.int64 and [str(site) for site in counts.sites] == ["decoder.0.act"]
    assert counts.probabilities().tolist() == [[1.0, 0.0], [3 / 9, 1 / 9]]
    with pytest.raises(ValueError, match="read-only"):
        counts.active["decoder.0.act"][0, 0] = 1


def test_sites_are_in_model_order_whatever_the_given_order():
    active = {f"{stack}.{layer}.act": np.full((1, 2), layer) for stack in ("decoder", "encoder") for layer in (10, 2)}
    counts = Counts(("en",), (99,), active)
    assert [str(site) for site in counts.sites] == ["encoder.2.act", "encoder.10.act", "decoder.2.act", "decoder.10.act"]
    assert counts.neurons([0, 3, 7]).to_json() == {"encoder.2.act": [0], "encoder.10.act": [1], "decoder.10.act": [1]}


def test_added_counts_are_those_of_both_texts():
    a, b, c = (random_counts(seed=seed) for seed in range(3))
    assert (a + b).tokens == (18, 10)
    assert (a + b).active["decoder.1.act"].tolist() == (a.active["decoder.1.act"] + b.active["decoder.1.act"]).tolist()
    assert a + b == b + a
    assert all(np.array_equal(array, (a + (b + c)).active[site]) for site, array in ((a + b) + c).active.items())
    np.testing.assert_allclose((a + b).means(), (a.means() + b.means()) / 2)


def test_addition_unites_languages():
    a, b = random_counts(("en", "fr"), (9, 5)), random_counts(("ja", "fr"), (7, 6), seed=1)
    both = a + b
    assert both.languages == ("en", "fr", "ja") and both.tokens == (9, 11, 7)
    assert both.subset(["en"]) == a.subset(["en"]) and both.subset(["ja"]) == b.subset(["ja"])
    assert both.subset(["fr"]) == a.subset(["fr"]) + b.subset(["fr"])


def test_added_counts_have_sums_only_where_both_have_them():
    with pytest.warns(UserWarning, match="no sums"):
        both = random_counts() + random_counts(sums=False)
    assert both.sums is None
    with pytest.raises(InputError, match="record anew"):
        both.means()


def test_counts_of_two_models_are_not_added():
    with pytest.raises(WrongModel, match="two models"):
        random_counts() + random_counts(widths=(4, 4))
    one, other = (pico.build("llama", seed=seed) for seed in (0, 1))
    sites = [f"decoder.{layer}.act" for layer in range(2)]
    width = resect.Anatomy.of(one).width(sites[0])
    mine, theirs = (
        random_counts(widths=(width, width), model=ModelIdentity.of(each, [resect.Site.parse(site) for site in sites]))
        for each in (one, other)
    )
    assert (mine + mine).model == mine.model
    with pytest.raises(WrongModel, match="two models"):
        mine + theirs
    mine.check(one)
    with pytest.raises(WrongModel, match="These counts were made for"):
        mine.check(other)


def test_counts_of_other_shapes_are_refused_by_a_model():
    model = pico.build("llama")
    with pytest.raises(WrongModel, match="2 layers of 3, 4 units"):
        random_counts().check(model)
    with pytest.raises(WrongModel, match="1 layers"):
        random_counts(widths=(resect.Anatomy.of(model).d_ff,)).check(model)


@pytest.mark.parametrize("sums", [True, False])
def test_a_file_is_read_back_exactly(tmp_path, sums):
    counts = random_counts(("zh-CN", "en"), sums=sums)
    counts.save(tmp_path / "counts.safetensors")
    assert Counts.load(tmp_path / "counts.safetensors") == counts
    with safe_open(tmp_path / "counts.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["languages"]) == ["zh-CN", "en"]
        assert file.get_tensor("active/decoder.1.act").dtype == np.int64
        assert file.get_tensor("tokens").tolist() == [9, 5]
        assert ("sum/decoder.0.act" in file.keys()) == sums  # noqa: SIM118


def test_the_same_counts_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        random_counts().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "languages", "no list", "numbers", "tokens", "overflown", "shape", "identity", "NaN"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "counts.safetensors"
    arrays = {"tokens": np.array([9]), "active/decoder.0.act": np.zeros((1, 3), dtype=np.int64)}
    metadata = {"languages": '["en"]', "model": "null"}
    if damage == "languages":
        metadata["languages"] = "{"
    elif damage in ("no list", "numbers"):
        metadata["languages"] = '"en"' if damage == "no list" else "[1]"
    elif damage == "tokens":
        del arrays["tokens"]
    elif damage == "overflown":
        arrays["tokens"] = np.array([2**64 - 1], dtype=np.uint64)
    elif damage == "NaN":
        arrays["sum/decoder.0.act"] = np.full((1, 3), np.nan)
    elif damage == "shape":
        arrays["active/decoder.0.act"] = np.zeros((2, 3), dtype=np.int64)
    elif damage == "identity":
        metadata["model"] = '{"family": 3}'
    write_arrays(path, arrays, metadata)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"counts\.safetensors"):
        Counts.load(path)


@pytest.mark.parametrize(
    ("languages", "tokens", "array", "error"),
    [
        ((), (), np.zeros((0, 2), int), InputError),
        (("en", "en"), (1, 1), np.zeros((2, 2), int), InputError),
        (("en",), (1, 1), np.zeros((1, 2), int), InputError),
        (("en",), (1,), np.zeros((1, 2)), InputError),
        (("en",), (1,), np.zeros(2, int), InputError),
        (("en",), (1,), np.array([[2, 0]]), InputError),
        (("en",), (1,), np.array([[-1, 0]]), InputError),
    ],
)
def test_impossible_arrays_are_refused(languages, tokens, array, error):
    with pytest.raises(error):
        Counts(languages, tokens, {"decoder.0.act": array})


def test_impossible_sites_sums_and_tokens_are_refused():
    one = np.zeros((1, 2), int)
    with pytest.raises(BadAddress, match="at act"):
        Counts(("en",), (1,), {"decoder.0.up": one})
    with pytest.raises(InputError, match="at least one site"):
        Counts(("en",), (1,), {})
    with pytest.raises(NotFinite):
        Counts(("en",), (1,), {"decoder.0.act": one}, {"decoder.0.act": np.array([[np.nan, 0]])})
    with pytest.raises(InputError, match="do not fit"):
        Counts(("en",), (1,), {"decoder.0.act": one}, {"decoder.0.act": np.zeros((1, 3))})
    with pytest.raises(InputError, match="No token of en"):
        Counts(("en",), (0,), {"decoder.0.act": one}).probabilities()
    with pytest.raises(UnknownName, match="fr"):
        random_counts().row("fx")


def test_tokens_beyond_64_bits_and_a_folder_are_refused(tmp_path):
    many = Counts(("en",), (2**63 - 1,), {"decoder.0.act": np.zeros((1, 2), int)})
    with pytest.raises(InputError, match=r"2\^63"):
        many + many
    with pytest.raises(InputError, match=r"is a folder.*counts\.safetensors"):
        Counts.load(tmp_path)
