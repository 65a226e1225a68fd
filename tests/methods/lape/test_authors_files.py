"""The published files of LAPE: read back as they were written, checked against the model, and never run."""

import os
import random

import numpy as np
import pytest
import torch

import pico
from resect.core.address import Neurons
from resect.core.errors import InputError, WrongModel
from resect.methods.lape.authors_files import PUBLISHED_ORDER, read_lape_counts, read_lape_neurons
from resect.methods.lape.counts import Counts
from resect.models.anatomy import Anatomy
from resect.models.language_model import LanguageModel

LANGUAGES = ("en", "zh", "fr")
UNITS = [[[3, 1], []], [[], [39]], [[0, 1, 2], [5]]]


def anatomy_of(name="llama"):
    return Anatomy.of_config(pico.PICO[name]())


def tensors(units=UNITS, dtype=torch.int64):
    return [[torch.tensor(layer, dtype=dtype) for layer in layers] for layers in units]


def saved(folder, value, **settings):
    path = folder / "units.pth"
    torch.save(value, path, **settings)
    return path


@pytest.mark.parametrize("settings", [{}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_units_are_read_by_language_and_layer(tmp_path, dtype, settings):
    found = read_lape_neurons(saved(tmp_path, tensors(dtype=dtype), **settings), LANGUAGES, anatomy_of())
    assert list(found) == list(LANGUAGES)
    assert found["en"] == Neurons({"decoder.0.act": [1, 3]})
    assert found["zh"] == Neurons({"decoder.1.act": [39]})
    assert found["fr"] == Neurons({"decoder.0.act": [0, 1, 2], "decoder.1.act": [5]})


@pytest.mark.parametrize("name", pico.PICO)
def test_every_layout_is_read_encoder_before_decoder(tmp_path, name):
    anatomy = anatomy_of(name)
    sites = [site for site in anatomy.moments if site.role == "act"]
    lists = [[[layer, anatomy.width(site) - 1] for layer, site in enumerate(sites)]]
    (found,) = read_lape_neurons(saved(tmp_path, tensors(lists)), ["en"], anatomy).values()
    assert dict(found) == {site: tuple(units) for site, units in zip(sites, lists[0], strict=True)}
    assert list(found) == sites


def test_the_model_may_be_given_in_any_form(tmp_path):
    path, hf = saved(tmp_path, tensors()), pico.build("llama")
    forms = (anatomy_of(), hf, LanguageModel.of(hf, pico.tokenizer("llama")))
    assert len({tuple(read_lape_neurons(path, LANGUAGES, form).items()) for form in forms}) == 1


def test_an_empty_layer_may_be_a_tensor_of_floats_and_tuples_are_lists(tmp_path):
    path = saved(tmp_path, ([torch.tensor([]), torch.tensor([2])],))
    assert read_lape_neurons(path, ["en"], anatomy_of()) == {"en": Neurons({"decoder.1.act": [2]})}


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (tensors()[:2], InputError, "units of 2 languages, and 3 are named: en, zh, fr.*en, zh"),
        ([], InputError, "units of 0 languages"),
        ([layers[:1] for layers in tensors()], WrongModel, "1 layers.*this model has 2"),
        (tensors([*UNITS[:2], [[0], [40]]]), WrongModel, "fr, layer 1: there is no unit 40; this model has 40 a layer, 0 to 39"),
        (tensors([[[-1], []], *UNITS[1:]]), WrongModel, "en, layer 0: there is no unit -1"),
        (tensors([[list(range(41)), []], *UNITS[1:]]), WrongModel, "41 units are named"),
        (tensors([[[3, 3], []], *UNITS[1:]]), InputError, "named twice"),
        ([[torch.tensor([0.5]), torch.tensor([1])]] * 3, InputError, "float32"),
        ([[torch.tensor([[1]]), torch.tensor([1])]] * 3, InputError, r"\[1, 1\]"),
        ([[torch.tensor([True]), torch.tensor([1])]] * 3, InputError, "bool"),
        ([[[1], [2]]] * 3, InputError, "not list"),
        ([[torch.tensor([1]).to_sparse(), torch.tensor([1])]] * 3, InputError, "tensor of unit indices"),
        ([[torch.tensor([1], device="meta"), torch.tensor([1])]] * 3, InputError, "tensor of unit indices"),
        ([torch.tensor([1])], InputError, "not a list of Tensor"),
        (torch.tensor([1]), InputError, "not a Tensor"),
        ({"n": 1}, InputError, "not a dict"),
    ],
)
def test_units_that_do_not_fit_are_refused_with_the_reason(tmp_path, value, error, words):
    with pytest.raises(error, match=words):
        read_lape_neurons(saved(tmp_path, value), LANGUAGES, anatomy_of())


def test_a_tensor_that_claims_more_than_the_file_holds_takes_no_memory(tmp_path):
    huge = torch.as_strided(torch.zeros(1, dtype=torch.int64), (2**50,), (0,))
    with pytest.raises(WrongModel, match=f"{2**50} units are named"):
        read_lape_neurons(saved(tmp_path, [[huge, huge]]), ["en"], anatomy_of())
    wide = torch.as_strided(torch.zeros(1, dtype=torch.int64), (2**40, 2**10), (0, 0))
    with pytest.raises(WrongModel, match="this model has 2 layers of 40"):
        read_lape_counts({"en": saved(tmp_path, {"n": 1, "over_zero": wide})}, anatomy_of())


@pytest.mark.parametrize("languages", [(), ("en", "EN", "fr"), "en", ("en", "", "fr")])
def test_languages_are_codes_each_named_once(tmp_path, languages):
    with pytest.raises(InputError, match=r"codes|once"):
        read_lape_neurons(saved(tmp_path, tensors()), languages, anatomy_of())


class MakesFolder:
    """Runs `os.mkdir` when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("settings", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}])
@pytest.mark.parametrize("wrapped", [lambda harm: harm, lambda harm: [[harm]], lambda harm: {"n": 3, "over_zero": harm, "extra": harm}])
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(tmp_path, wrapped, settings):
    path = saved(tmp_path, wrapped(MakesFolder(tmp_path / "harm")), **settings)
    with pytest.raises(InputError, match=r"units\.pth is no file of published units.*what is no tensor is not run"):
        read_lape_neurons(path, ["en"], anatomy_of())
    with pytest.raises(InputError, match=r"no file of published counts.*not run"):
        read_lape_counts({"en": path}, anatomy_of())
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_is_cut_off_or_damaged_is_refused(tmp_path, zipped):
    path = saved(tmp_path, tensors(), _use_new_zipfile_serialization=zipped)
    content, rng, anatomy = path.read_bytes(), random.Random(0), anatomy_of()
    for length in {0, 1, 2, 10, len(content) - 1, *(rng.randrange(len(content)) for _ in range(30))}:
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"units\.pth"):
            read_lape_neurons(path, LANGUAGES, anatomy)
    for _ in range(300):  # a changed byte makes the file refused, or leaves units of this model; no other outcome is right
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            found = read_lape_neurons(path, LANGUAGES, anatomy)
        except InputError:
            continue
        assert all(max(units) < 40 for neurons in found.values() for units in neurons.values())


def test_other_files_are_refused(tmp_path):
    text = tmp_path / "units.pth"
    text.write_text("no pickle at all")
    with pytest.raises(InputError, match="get it again"):
        read_lape_neurons(text, LANGUAGES, anatomy_of())
    with pytest.raises(InputError, match="No such file"):
        read_lape_neurons(tmp_path / "none.pth", LANGUAGES, anatomy_of())
    with pytest.raises(InputError, match="cannot be read"):
        read_lape_neurons(tmp_path, LANGUAGES, anatomy_of())
    text.write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(InputError, match="get it again"):
        read_lape_neurons(text, LANGUAGES, anatomy_of())


def test_the_order_of_the_authors_languages():
    assert PUBLISHED_ORDER == ("en", "zh", "fr", "es", "vi", "id", "ja")


# -- counts ----------------------------------------------------------------------------------------------------------


def counted(folder, language="en", n=9, dtype=torch.int32, shape=(2, 40), **more):
    path = folder / f"{language}.pth"
    over_zero = torch.randint(0, 10, shape, generator=torch.Generator().manual_seed(n), dtype=dtype)
    torch.save({"n": n, "over_zero": over_zero} | more, path)
    return path, over_zero.numpy()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_counts_are_read_and_other_keys_ignored(tmp_path, dtype):
    paths, arrays = zip(counted(tmp_path, "fr", 9, dtype, sum1=torch.zeros(3)), counted(tmp_path, "en", 20, dtype, note=["x"]), strict=True)
    found = read_lape_counts(dict(zip(("fr", "en"), paths, strict=True)), anatomy_of())
    assert isinstance(found, Counts)
    assert (found.languages, found.tokens, found.sums, found.model) == (("fr", "en"), (9, 20), None, None)
    for layer in (0, 1):
        active = found.active[f"decoder.{layer}.act"]
        assert active.dtype == np.int64
        assert np.array_equal(active, np.stack([array[layer] for array in arrays]))
    found.check(pico.build("llama"))


def test_counts_over_both_stacks_of_an_encoder_decoder(tmp_path):
    path, array = counted(tmp_path, shape=(4, 40))
    found = read_lape_counts({"en": path}, anatomy_of("t5"))
    assert [str(site) for site in found.sites] == ["encoder.0.act", "encoder.1.act", "decoder.0.act", "decoder.1.act"]
    assert np.array_equal(found.active["decoder.0.act"][0], array[2])


def test_the_number_of_tokens_may_be_a_tensor(tmp_path):
    path, _ = counted(tmp_path)
    torch.save({**torch.load(path, weights_only=True), "n": torch.tensor(9)}, path)
    assert read_lape_counts({"en": path}, anatomy_of()).tokens == (9,)


VALID = torch.ones(2, 40, dtype=torch.int32)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ({"n": 9, "over_zero": VALID[:, :39]}, WrongModel, "2 layers of 39 units, and this model has 2 layers of 40"),
        ({"n": 9, "over_zero": VALID[:1]}, WrongModel, "1 layers of 40"),
        ({"n": 9, "over_zero": VALID.T}, WrongModel, "40 layers of 2 units"),
        ({"n": 9, "over_zero": VALID.float()}, InputError, "float32"),
        ({"n": 9, "over_zero": VALID[0]}, InputError, r"\[40\]"),
        ({"n": 9, "over_zero": VALID.tolist()}, InputError, "not list"),
        ({"n": 9, "over_zero": -VALID}, InputError, "from -1 to -1.*32 bits"),
        ({"n": 9, "over_zero": 10 * VALID}, InputError, "from 10 to 10.*the 9 tokens"),
        ({"n": 0, "over_zero": 0 * VALID}, InputError, "from 1 on, not int 0"),
        ({"n": 9.0, "over_zero": VALID}, InputError, "not float 9.0"),
        ({"n": True, "over_zero": VALID}, InputError, "not bool"),
        ({"n": torch.tensor([9, 9]), "over_zero": VALID}, InputError, "whole number"),
        ({"n": 9}, InputError, r'\{"n": tokens, "over_zero".*not n'),
        ([VALID], InputError, "not list"),
    ],
)
def test_counts_that_do_not_fit_are_refused_with_the_reason(tmp_path, value, error, words):
    path = tmp_path / "en.pth"
    torch.save(value, path)
    with pytest.raises(error, match=words):
        read_lape_counts({"en": path}, anatomy_of())


def test_layers_of_unequal_width_fit_no_published_counts(tmp_path):
    with pytest.raises(WrongModel, match="5 layers of 36 or 40"):
        read_lape_counts({"en": counted(tmp_path, shape=(5, 40))[0]}, anatomy_of("bart"))
