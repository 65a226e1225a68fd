"""PV: changes of weights, against a reference with both models in memory; other checkpoints are refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import checkpoints
import pico
from resect.core.address import Site
from resect.core.errors import BadModel, InputError, NotFinite, NotWritable, WrongModel
from resect.core.execution import MemoryJournal, Workers
from resect.methods.lape.parameter_variation import parameter_changes
from resect.models.anatomy import Anatomy
from resect.models.language_model import LanguageModel


def tuned_checkpoint(folder, name, language, *, dtype=torch.float32, shard="20KB", change=None):
    """A checkpoint of a pico model whose every weight moved a little; some units of the first layer more than others."""
    model = pico.build(name, dtype=dtype)
    generator = torch.Generator().manual_seed(len(language) + ord(language[0]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator).to(parameter)
        if change is not None:
            change(Anatomy.of(model))
    model.save_pretrained(folder / language, max_shard_size=shard)
    return str(folder / language)


def unit_weights(anatomy, site):
    """All weights of each unit, [units, weights]."""
    parts = [anatomy.weight(site.at("down")).T]
    for matrix in (site.at("gate"), site.at("up")):
        if matrix in anatomy.sites:
            bias = anatomy.bias(matrix)
            parts += [anatomy.weight(matrix), *([] if bias is None else [bias[:, None]])]
    return torch.cat(parts, dim=1).double()


@pytest.mark.slow
@pytest.mark.parametrize("name", pico.PICO)
def test_changes_are_those_of_both_models_in_memory(tmp_path, name):
    base = pico.build(name)
    paths = {language: tuned_checkpoint(tmp_path, name, language) for language in ("fr", "en")}
    reported = []
    found = parameter_changes(base, paths, workers=Workers(progress=lambda stage, done, total: reported.append((done, total))))
    own = Anatomy.of(base)
    sites = [site for site in own.moments if site.role == "act"]
    assert (found.languages, tuple(found.by_site)) == (("fr", "en"), tuple(sites))
    for row, path in enumerate(paths.values()):
        other = Anatomy.of(pico.head_class(name).from_pretrained(path))
        for site in sites:
            old, new = unit_weights(own, site), unit_weights(other, site)
            assert found.by_site[site][row] == pytest.approx(((new - old).norm(dim=1) / old.norm(dim=1)).numpy(), rel=1e-9)
    assert found.all_units().shape == (2, sum(map(own.width, sites)))
    assert np.array_equal(found.all_units()[:, : own.width(sites[0])], found.by_site[sites[0]])
    assert sorted(reported) == reported and set(reported) == {(done, 2 * len(sites)) for done in range(2 * len(sites) + 1)}


def test_a_matrix_of_many_chunks_is_compared_as_one(tmp_path):
    config = pico.PICO["llama"]()
    config.intermediate_size, config.num_hidden_layers = 12_000, 1
    base, other = (pico.head_class("llama").from_config(config) for _ in range(2))
    other.save_pretrained(tmp_path)
    old, new = (unit_weights(Anatomy.of(model), Site.parse("decoder.0.act")) for model in (base, other))
    expected = (new - old).norm(dim=1) / old.norm(dim=1)
    assert parameter_changes(base, {"en": str(tmp_path)}).all_units()[0] == pytest.approx(expected.numpy(), rel=1e-9)


def test_only_the_changed_unit_has_a_change(tmp_path):
    def restore_all_but_one(anatomy):
        base = Anatomy.of(pico.build("llama"))
        for site in anatomy.sites:
            anatomy.write(site, None, base.weight(site))
        anatomy.write("decoder.1.gate", [7], 2 * base.weight("decoder.1.gate")[7])

    found = parameter_changes(pico.build("llama"), {"en": tuned_checkpoint(tmp_path, "llama", "en", change=restore_all_but_one)})
    assert np.flatnonzero(found.all_units()[0]).tolist() == [40 + 7]


def test_stored_changes_are_not_computed_again_unless_the_checkpoint_changed(tmp_path):
    base, journal, reported = pico.build("llama"), MemoryJournal(), []
    paths = {language: tuned_checkpoint(tmp_path, "llama", language, shard="1GB") for language in ("en", "fr")}
    first = parameter_changes(base, paths, workers=Workers(journal=journal))
    Anatomy.of(base).write("decoder.0.up", [2], 9.0)  # would show if it were compared again
    workers = Workers(journal=journal, progress=lambda stage, done, total: reported.append((done, total)))
    again = parameter_changes(base, paths, workers=workers)
    assert np.array_equal(again.all_units(), first.all_units())
    assert reported == [(0, 4), (2, 4), (4, 4)]
    checkpoints.rewrite(tmp_path / "fr", lambda tensors: {name: 2 * tensor for name, tensor in tensors.items()})
    moved = parameter_changes(base, paths, workers=Workers(journal=journal)).all_units() != first.all_units()
    assert moved.any(axis=1).tolist() == [False, True]


def test_a_unit_of_zeros_has_the_change_0_or_1(tmp_path):
    def zero(anatomy, units):
        for role in ("gate", "up"):
            anatomy.write(f"decoder.0.{role}", units, 0.0)
        anatomy.write_columns("decoder.0.down", units, 0.0)

    base = pico.build("llama")
    path = tuned_checkpoint(tmp_path, "llama", "en", change=lambda anatomy: zero(anatomy, [3]))
    zero(Anatomy.of(base), [3, 4])
    assert parameter_changes(base, {"en": path}).all_units()[0, 3:5].tolist() == [0.0, 1.0]


def test_rounding_does_not_count_as_change(tmp_path):
    path = tuned_checkpoint(tmp_path, "llama", "en", change=lambda anatomy: anatomy.write("decoder.0.up", [2], 5.0))
    base = pico.head_class("llama").from_pretrained(path, dtype=torch.bfloat16)
    Anatomy.of(base).write("decoder.0.up", [2], 1.0)
    assert np.flatnonzero(parameter_changes(base, {"en": path}).all_units()).tolist() == [2]


def test_names_on_disk_may_have_another_prefix(tmp_path):
    path = tuned_checkpoint(tmp_path, "gpt2", "en", shard="1GB")
    expected = parameter_changes(pico.build("gpt2"), {"en": path}).all_units()
    file = tmp_path / "en" / "model.safetensors"
    for prefix in ("", "model.transformer."):
        tensors = {name.replace("model.transformer.", "transformer."): tensor for name, tensor in load_file(file).items()}
        renamed = {prefix + name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        save_file(renamed, file, {"format": "pt"})
        model = LanguageModel.of(pico.build("gpt2"), pico.tokenizer("gpt2"))
        assert np.array_equal(parameter_changes(model, {"en": path}).all_units(), expected)
        save_file(tensors, file, {"format": "pt"})


def test_the_model_itself_is_no_tuned_checkpoint(tmp_path):
    pico.build("llama").save_pretrained(tmp_path)
    with pytest.raises(BadModel, match=r"\(en\) are those of the model itself"):
        parameter_changes(pico.build("llama"), {"en": str(tmp_path)})
    with pytest.raises(InputError, match="--checkpoint"):
        parameter_changes(pico.build("llama"), {})


def test_another_model_is_refused(tmp_path):
    with pytest.raises(WrongModel, match=r"\(en\) is a mistral.*here, a llama"):
        parameter_changes(pico.build("llama"), {"en": tuned_checkpoint(tmp_path, "mistral", "en")})
    smaller = pico.PICO["llama"]()
    smaller.intermediate_size = 36
    pico.head_class("llama").from_config(smaller).save_pretrained(tmp_path / "small")
    with pytest.raises(WrongModel, match=r"decoder\.0\.gate is \(36, 24\); here, a llama, it is \(40, 24\)"):
        parameter_changes(pico.build("llama"), {"en": str(tmp_path / "small")})


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda tensors: {k: v for k, v in tensors.items() if "1.mlp.up_proj" not in k},
            WrongModel,
            r"1\.mlp\.up_proj\.weight is not there",
        ),
        (lambda tensors: {k: v[:30] if "up_proj" in k else v for k, v in tensors.items()}, WrongModel, r"\[30, 24\]; plain.*\[40, 24\]"),
        (lambda tensors: {k: v.to(torch.int8) if "up_proj" in k else v for k, v in tensors.items()}, WrongModel, r"int8.*unquantised"),
        (lambda tensors: {k: v * float("nan") for k, v in tensors.items()}, NotFinite, "NaN"),
        (
            lambda tensors: {prefix + k.removeprefix("model."): v.clone() for k, v in tensors.items() for prefix in ("a.", "b.")},
            WrongModel,
            r"may be [ab]\.layers.* or ",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, change, error, words):
    path = tuned_checkpoint(tmp_path, "llama", "en")
    checkpoints.rewrite(tmp_path / "en", change)
    with pytest.raises(error, match=words):
        parameter_changes(pico.build("llama"), {"en": path})


def test_files_that_cannot_be_read_are_refused(tmp_path):
    base, path = pico.build("llama"), tuned_checkpoint(tmp_path, "llama", "en")
    folder = tmp_path / "en"
    shards = sorted(folder.glob("*.safetensors"))
    shards[1].write_bytes(shards[1].read_bytes()[:-100])
    with pytest.raises(BadModel, match="damaged or cut short"):
        parameter_changes(base, {"en": path})
    shards[1].unlink()
    with pytest.raises(BadModel, match="missing"):
        parameter_changes(base, {"en": path})
    for index in ({"weight_map": {"x": "../x.safetensors"}}, {"weight_map": {}}, [1]):
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(BadModel, match="no index"):
            parameter_changes(base, {"en": path})
    (folder / "model.safetensors.index.json").write_text("{")
    with pytest.raises(BadModel, match="no JSON"):
        parameter_changes(base, {"en": path})
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(BadModel, match="save_pretrained"):
        parameter_changes(base, {"en": path})
    with pytest.raises(BadModel, match="There is no folder"):
        parameter_changes(base, {"en": str(tmp_path / "nowhere")})


def test_a_model_without_values_is_refused(tmp_path):
    with pytest.raises(NotWritable, match="meta"):
        parameter_changes(pico.build_on_meta("llama"), {"en": tuned_checkpoint(tmp_path, "llama", "en")})
