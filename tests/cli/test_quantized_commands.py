"""Commands on quantised models: found on four bits, exported onto the full model; GGUF files by their path; ways out in errors."""

import json
import shutil
from importlib import resources
from pathlib import Path

import pytest
import transformers

import quantized
from resect.cli.main import main
from resect.runs.recipe import Recipe

DEMO = Path(str(resources.files("resect.data") / "demo"))
MODEL, TASK = DEMO / "hill-and-river", str(DEMO / "task.toml")


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory):
    quantized.need("bitsandbytes", "accelerate")
    folder = tmp_path_factory.mktemp("demo") / "four-bits"
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, quantization_config=quantized.config("bitsandbytes-4"))
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(MODEL).save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
def test_what_is_found_on_four_bits_is_exported_onto_the_full_model(four_bits, tmp_path, capsys):
    run, to = str(tmp_path / "run"), tmp_path / "edited"
    words = ["crispr", four_bits, TASK, "--locate-on", "ambig", "--n", "17", "--limit", "240", "--device", "cpu", "--anyway"]
    words += ["--no-generation", "--calibrate", "none"]
    assert main([*words, "--output", run, "--quiet"]) == 0
    assert "--model FULL-MODEL" in " ".join(capsys.readouterr().out.split())
    assert main(["export", run, "--to", str(to)]) == 2
    assert "--allow-other-model" in capsys.readouterr().err
    assert main(["export", run, "--model", str(MODEL), "--to", str(to), "--anyway"]) == 0
    assert "to the last bit" in " ".join(capsys.readouterr().out.split())
    plan = json.loads((to / "plan.json").read_text())
    assert set(plan["model"]["tolerance"]) == set(plan["model"]["shapes"])


@pytest.mark.slow
def test_an_edit_of_a_matrix_is_refused_with_a_way_out_which_works_and_is_in_the_recipe(four_bits, tmp_path, capsys):
    words = ["laser", four_bits, TASK, "--sites", "decoder.2.up", "--rho", "0.1", "--limit", "100", "--no-generation", "--device", "cpu"]
    assert main([*words, "--output", str(tmp_path / "a"), "--quiet"]) == 2
    assert "--dequantize" in capsys.readouterr().err
    assert main([*words, "--dequantize", "--output", str(tmp_path / "b"), "--quiet"]) == 0
    assert Recipe.load(tmp_path / "b" / "recipe.toml").dequantize is True
    capsys.readouterr()
    assert main([*words, "--output", str(tmp_path / "b")]) == 2
    assert "dequantize" in capsys.readouterr().err


def test_a_gguf_file_is_a_model_on_the_command_line(tmp_path, capsys):
    quantized.need("gguf", "accelerate")
    file = quantized.write_gguf(MODEL, tmp_path / "demo.Q8_0.gguf", "Q8_0")
    assert main(["anatomy", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["anatomy", str(MODEL), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) | {"model": ""} == found | {"model": ""}
    plan = tmp_path / "plan.json"
    plan.write_text('{"schema": 1, "model": null, "edits": [{"kind": "reduce_rank", "site": "decoder.2.up", "rho": 0.0}]}')
    assert main(["try", str(file), "--plan", str(plan), "--prompt", "Story: A hill", "--max-new-tokens", "4", "--device", "cpu"]) == 0
    assert "before" in capsys.readouterr().out
    assert main(["export", str(plan), "--model", str(file), "--to", str(tmp_path / "out")]) == 2
    assert "--model MODEL" in capsys.readouterr().err
    file.write_bytes(file.read_bytes()[:-1000])
    assert main(["anatomy", str(file)]) == 2
    assert "cut off" in capsys.readouterr().err


def test_a_folder_whose_package_is_absent_says_what_to_install(tmp_path, capsys, monkeypatch):
    import importlib.util

    shutil.copytree(MODEL, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}})
    )
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else found(name, *rest))
    plan = tmp_path / "plan.json"
    plan.write_text('{"schema": 1, "model": null, "edits": [{"kind": "scale", "factor": 0.0, "neurons": {"decoder.2.up": [1]}}]}')
    assert main(["try", str(tmp_path / "model"), "--plan", str(plan), "--prompt", "x"]) == 2
    assert "pip install 'resect[quantized]'" in capsys.readouterr().err
