"""Export: what is loaded again is the model with the plan applied, and nothing is left where that cannot be."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import checkpoints
import pico
from resect.core.address import Neurons
from resect.core.errors import BadModel, InputError, NoEffect, NotWritable, StorageFailure, UnknownName, WrongModel
from resect.edits.matrices import ReduceRank
from resect.edits.neurons import Clamp, Scale, Shift
from resect.edits.plan import Plan
from resect.export.export import export
from resect.models.fingerprint import ModelIdentity
from resect.models.loading import load_model
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

LAYOUTS = ["t5", "bart", "llama-gqa", "gemma3", "phi3", "opt-350m", "gpt2", "gptj", "gpt-neox", "bloom", "falcon-7b", "bert", "modernbert"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A checkpoint in several files that is not changed, its model, and a plan for it."""
    folder = tmp_path_factory.mktemp("base") / "llama"
    model = checkpoints.saved(folder, "llama")
    return folder, model, checkpoints.plan_of(model)


@pytest.fixture
def copy(llama, tmp_path):
    """A copy of the checkpoint, to be changed."""
    return shutil.copytree(llama[0], tmp_path / "base")


def nothing_is_left(target):
    """Whether neither a checkpoint nor a part of one exists."""
    return not target.exists() and [path for path in target.parent.iterdir() if path.name.startswith(f".{target.name}")] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, torch.float32) for name in LAYOUTS), *((name, torch.bfloat16) for name in LAYOUTS[::3])]
)
def test_what_is_loaded_is_the_model_with_the_plan_applied(tmp_path, name, dtype):
    base, to = tmp_path / "base", tmp_path / "out"
    model = checkpoints.saved(base, name, dtype=dtype)
    plan, before = checkpoints.plan_of(model), checkpoints.digests(base)
    done = export(plan, str(base), to, verify=dtype == torch.float32, device="cpu")
    checkpoints.assert_applied(to, name, model, plan)
    assert (done.resaved, done.verified, done.is_copy) == (None, True if dtype == torch.float32 else None, False)
    assert checkpoints.digests(base) == before  # the base's files are mapped, never written into
    assert checkpoints.headers(to) == checkpoints.headers(base)  # names, shapes, dtypes and metadata, byte for byte
    assert sorted(done.rewritten + done.linked) == sorted(path.name for path in base.glob("*.safetensors"))
    assert done.rewritten
    assert all((to / file).samefile(base / file) for file in done.linked)
    assert not any((to / file).samefile(base / file) for file in done.rewritten)
    assert {"config.json", "tokenizer.json", checkpoints.INDEX} <= set(done.copied)
    assert not any((to / file).samefile(base / file) for file in done.copied)
    assert Plan.load(to / "plan.json") == plan


def test_only_touched_tensors_change(llama, tmp_path):
    base, _, _ = llama
    done = export(Plan((Scale({"decoder.1.up": [3, 4, 20]}),)), str(base), tmp_path / "out", verify=False)
    assert len(done.rewritten) == 1
    assert len(done.linked) >= 3
    for path in base.glob("*.safetensors"):
        before, after = load_file(path), load_file(tmp_path / "out" / path.name)
        for name, tensor in before.items():
            if name == "model.layers.1.mlp.up_proj.weight":
                tensor[[3, 4, 20]] = 0.0
            assert torch.equal(tensor, after[name])


@pytest.mark.slow
def test_a_checkpoint_in_one_file(tmp_path):
    model = checkpoints.saved(tmp_path / "base", "gpt2", shard="1GB")
    plan = checkpoints.plan_of(model)
    done = export(plan, str(tmp_path / "base"), tmp_path / "out", device="cpu")
    assert (done.rewritten, done.linked) == (("model.safetensors",), ())
    checkpoints.assert_applied(tmp_path / "out", "gpt2", model, plan)


def test_the_arithmetic_is_that_of_each_tensors_own_dtype(tmp_path):
    model = pico.build("llama")
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(torch.float32 if name.endswith(("norm.weight", "o_proj.weight")) else torch.bfloat16)
    model.save_pretrained(tmp_path / "base")
    pico.tokenizer("llama").save_pretrained(tmp_path / "base")
    plan = checkpoints.plan_of(model)
    assert export(plan, str(tmp_path / "base"), tmp_path / "out", device="cpu").verified
    plan.write(model)
    checkpoints.assert_applied(tmp_path / "out", "llama", model.float(), Plan(), "float32")


@pytest.mark.slow
def test_a_dtype_that_transformers_widens_on_loading_stays_as_stored(tmp_path):
    model = checkpoints.saved(tmp_path / "base", "t5", dtype=torch.float16)
    assert checkpoints.loaded(tmp_path / "base", "t5").encoder.block[0].layer[1].DenseReluDense.wo.weight.dtype == torch.float32
    plan = checkpoints.plan_of(model)
    assert export(plan, str(tmp_path / "base"), tmp_path / "out", device="cpu").verified
    assert checkpoints.headers(tmp_path / "out") == checkpoints.headers(tmp_path / "base")


def test_a_configuration_that_states_another_dtype_changes_nothing(copy, llama, tmp_path):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"dtype": "float16"}))
    _, model, plan = llama
    assert export(plan, str(copy), tmp_path / "out", device="cpu").verified
    checkpoints.assert_applied(tmp_path / "out", "llama", model, plan, "float32")


# -- names on disk that are not those in memory -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "bloom", "llama-gqa"])
def test_names_without_the_base_models_prefix_stay_so(tmp_path, name):
    base = tmp_path / "base"
    model = checkpoints.saved(base, name)
    prefix = f"{model.base_model_prefix}."
    checkpoints.rewrite(base, lambda tensors: {key.removeprefix(prefix): tensor for key, tensor in tensors.items()})
    plan = checkpoints.plan_of(model)
    done = export(plan, str(base), tmp_path / "out", device="cpu")
    assert done.resaved is None
    assert checkpoints.headers(tmp_path / "out") == checkpoints.headers(base)
    checkpoints.assert_applied(tmp_path / "out", name, model, plan)


@pytest.mark.slow
def test_names_that_transformers_renames_on_loading_stay_so(tmp_path):
    base = tmp_path / "base"
    model = checkpoints.saved(base, "bert")
    legacy = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def renamed(key):
        return next((key.replace(new, old) for new, old in legacy.items() if new in key), key)

    checkpoints.rewrite(base, lambda tensors: {renamed(key): tensor for key, tensor in tensors.items()})
    plan = checkpoints.plan_of(model)
    assert export(plan, str(base), tmp_path / "out", device="cpu").resaved is None
    assert any("gamma" in key for key in load_file(tmp_path / "out" / "model.safetensors"))
    checkpoints.assert_applied(tmp_path / "out", "bert", model, plan)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 3])
def test_weights_in_pytorchs_format_become_safetensors(copy, llama, tmp_path, shards):
    _, model, plan = llama
    checkpoints.as_bin(copy, shards)
    done = export(plan, str(copy), tmp_path / "out", device="cpu")
    assert "PyTorch's own format" in done.resaved
    assert done.verified
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".bin") == []
    assert done.rewritten == tuple(sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")))
    assert (tmp_path / "out" / "config.json").read_bytes() == (copy / "config.json").read_bytes()
    checkpoints.assert_applied(tmp_path / "out", "llama", model, plan)
    assert any("saved again by transformers" in sentence for sentence in done.sentences())


@pytest.mark.slow
def test_what_transformers_saves_keeps_its_dtypes(tmp_path):
    model = checkpoints.saved(tmp_path / "base", "t5", dtype=torch.float16)
    checkpoints.as_bin(tmp_path / "base")
    plan = checkpoints.plan_of(model)
    assert export(plan, str(tmp_path / "base"), tmp_path / "out", device="cpu").verified
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.float16}


def test_a_tensor_in_two_files_is_saved_by_transformers(copy, llama, tmp_path):
    _, model, plan = llama
    shards = sorted(copy.glob("*.safetensors"))
    tensors = [load_file(path) for path in shards]
    place, key = next((at, name) for at, shard in enumerate(tensors) for name in shard if "layers.1.mlp.up_proj" in name)
    other = (place + 1) % len(shards)
    save_file(tensors[other] | {key: tensors[place][key]}, shards[other], {"format": "pt"})
    done = export(plan, str(copy), tmp_path / "out", device="cpu")
    assert key in done.resaved
    checkpoints.assert_applied(tmp_path / "out", "llama", model, plan)


# -- other files --------------------------------------------------------------------------------------------------------


def test_an_empty_plan_gives_a_copy_and_the_result_says_so(llama, tmp_path):
    base, model, _ = llama
    done = export(Plan().for_model(model), str(base), tmp_path / "out", device="cpu")
    assert (done.is_copy, done.rewritten, done.verified) == (True, (), True)
    assert "The plan is empty" in " ".join(done.sentences())
    assert "Nothing: the plan is empty" in (tmp_path / "out" / "README.md").read_text()
    checkpoints.assert_applied(tmp_path / "out", "llama", model, Plan())


def test_unedited_weights_in_other_formats_are_left_out_and_small_files_are_not(copy, llama, tmp_path):
    for name in (
        "pytorch_model.bin",
        "tf_model.h5",
        "model.gguf",
        "consolidated.safetensors",
        "original/weights.pth",
        "original/params.json",
    ):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes(b"unedited")
    for name in ("LICENSE", "modeling_mine.py", "additional_chat_templates/tools.jinja", ".gitattributes", "__pycache__/x.pyc"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(name)
    (copy / "README.md").write_text("---\nlicense: mit\nlanguage: [en, no]\npipeline_tag: text-generation\n---\n# Base\nunedited numbers\n")
    (copy / "plan.json").write_text("{}")
    done = export(llama[2], str(copy), tmp_path / "out", base_model="someone/base", verify=False)
    left = ("README.md", "consolidated.safetensors", "model.gguf", "original/", "plan.json", "pytorch_model.bin", "tf_model.h5")
    assert done.left_out == left
    assert {"LICENSE", "modeling_mine.py", "additional_chat_templates/tools.jinja"} <= set(done.copied)
    out = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert out == {*done.rewritten, *done.linked, *done.copied, "README.md", "plan.json"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: mit" in card
    assert "base_model: someone/base" in card
    assert "unedited numbers" not in card
    assert done.to_json()["left_out"] == list(left)
    assert "not loaded again" in done.sentences()[-1]


def test_the_card_reports_a_runs_results_where_the_plan_is_its_own(llama, tmp_path):
    base, _, plan = llama
    estimate = {"mean": 0.8125, "interval": [0.7, 0.9], "std_over_instructions": 0.0, "by_tag": {}}
    comparison = {"schema": 1, "task": "ages", "metric": "accuracy", "n_examples": 9, "n_instructions": 1, "n_groups": 9, "base": estimate}
    with Run.open(tmp_path / "run", Recipe(model=str(base), task="bbq/age", seed=77)) as run:
        export(plan, str(base), tmp_path / "unfinished", run=run, verify=False)
        run.keep_plan(plan)
        run.keep_comparison(comparison)
        export(plan, str(base), tmp_path / "own", run=run, verify=False)
        export(Plan(), str(base), tmp_path / "other", run=run, verify=False)
    own, other, unfinished = ((tmp_path / name / "README.md").read_text() for name in ("own", "other", "unfinished"))
    assert "81.2 %" in own
    assert "resect crispr llama bbq/age --seed 77" in own
    assert not any(text in card for text in ("81.2 %", "--seed") for card in (other, unfinished))


def test_of_several_trials_the_card_reports_the_one_that_found_the_plan(llama, tmp_path):
    base, _, plan = llama
    comparison = lambda mean: {
        "schema": 1,
        "task": "ages",
        "metric": "accuracy",
        "n_examples": 9,
        "n_instructions": 1,
        "n_groups": 9,
        "base": {"mean": mean, "interval": [0.0, 1.0], "std_over_instructions": 0.0, "by_tag": {}},
    }
    with Run.open(tmp_path / "run", Recipe(model=str(base), task="bbq/age", trials=2)) as run:
        for number, found, mean in ((1, plan, 0.4375), (2, Plan(), 0.5625)):
            with run.part(number, Recipe(model=str(base), task="bbq/age", seed=number)) as part:
                part.keep_plan(found)
                part.keep_comparison(comparison(mean))
        run.keep_plan(plan)
        run.keep_comparison(comparison(0.8125))
        export(plan, str(base), tmp_path / "out", run=run, verify=False)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "43.8 %" in card
    assert "--seed 1" in card
    assert "81.2 %" not in card


def test_no_path_of_this_machine_is_in_what_is_written(llama, tmp_path):
    base, _, plan = llama
    done = export(plan, str(base), tmp_path / "out", verify=False)
    for name in (*done.copied, "README.md", "plan.json"):
        assert str(base.parent) not in (tmp_path / "out" / name).read_text()
    assert "base_model: llama" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_a_script_that_knows_only_transformers_loads_it(tmp_path):
    models = {"llama": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM", "bert": "AutoModelForMaskedLM"}
    applied = {}
    for name in models:
        model = checkpoints.saved(tmp_path / name, name)
        plan = checkpoints.plan_of(model)
        export(plan, str(tmp_path / name), tmp_path / f"{name}-out", verify=False)
        ids = pico.tokenizer(name)("Who was it?", return_tensors="pt").input_ids
        with plan.applied(model, "weights"), torch.no_grad():
            applied[name] = model(input_ids=ids, **({"decoder_input_ids": ids} if name == "t5" else {})).logits
    code = """
import sys, torch, transformers
for name, kind in zip(sys.argv[2::2], sys.argv[3::2]):
    folder = f"{sys.argv[1]}/{name}-out"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(transformers, kind).from_pretrained(folder)
    ids = tokenizer("Who was it?", return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(input_ids=ids, **({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})).logits
    torch.save(logits, f"{folder}.pt")
    if name != "bert":
        model.generate(ids, max_new_tokens=3)
assert not [name for name in sys.modules if name.startswith("resect")]
"""
    words = [word for pair in models.items() for word in pair]
    subprocess.run([sys.executable, "-c", code, tmp_path, *words], check=True, capture_output=True, timeout=120)
    for name, logits in applied.items():
        assert torch.equal(logits, torch.load(tmp_path / f"{name}-out.pt", weights_only=True))


# -- refused before anything is written ----------------------------------------------------------------------------------


def test_what_has_no_weight_form_is_refused(llama, tmp_path):
    base, _, _ = llama
    for edit in (Shift({"decoder.0.post": [1]}, 1.0), Clamp({"decoder.0.post": [1]}, 1.0)):
        with pytest.raises(NotWritable, match="no bias"):
            export(Plan((edit,)), str(base), tmp_path / "out")
    assert nothing_is_left(tmp_path / "out")


def test_a_quantised_checkpoint_is_refused(copy, llama, tmp_path):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq", "bits": 4}}))
    with pytest.raises(NotWritable, match=r"quantised \(gptq\).*export onto the full model"):
        export(llama[2], str(copy), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("pickled", [False, True])
def test_another_model_is_refused_first(llama, tmp_path, pickled):
    checkpoints.saved(tmp_path / "other", "llama", change=lambda model: model.model.layers[1].mlp.up_proj.weight.data.mul_(2))
    if pickled:
        checkpoints.as_bin(tmp_path / "other")
    plan = llama[2] + Plan((Shift({"decoder.0.post": [1]}, 1.0),))
    with pytest.raises(WrongModel, match="other values"):
        export(plan, str(tmp_path / "other"), tmp_path / "out")
    checkpoints.saved(tmp_path / "family", "qwen2")
    with pytest.raises(WrongModel, match="qwen2"):
        export(plan, str(tmp_path / "family"), tmp_path / "out")
    assert nothing_is_left(tmp_path / "out")
    assert export(llama[2], str(tmp_path / "other"), tmp_path / "out", allow_other_model=True, device="cpu").verified


def test_sites_and_units_that_are_not_there_are_refused(llama, tmp_path):
    for plan, error in ((Scale({"decoder.9.up": [1]}), UnknownName), (Scale({"decoder.0.up": [999]}), WrongModel)):
        with pytest.raises(error):
            export(Plan((plan,)), str(llama[0]), tmp_path / "out")


def test_targets_that_are_taken_are_refused_with_the_way_out(llama, tmp_path):
    base, _, plan = llama
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("x")
    for to, message in (
        (tmp_path / "file", "is a file; give a new folder with --to"),
        (tmp_path / "full", r"not empty \(it contains notes\.txt\); give a new folder with --to"),
        (base, "is the base model's own folder"),
        (base / "edited", "is inside the base model's own folder"),
    ):
        with pytest.raises(InputError, match=message):
            export(plan, str(base), to)
    assert not (base / "edited").exists()
    (tmp_path / "empty").mkdir()
    export(plan, str(base), tmp_path / "empty", verify=False)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    export(plan, str(base), tmp_path / "link", verify=False)
    assert (tmp_path / "elsewhere" / "config.json").exists()


def test_a_checkpoint_that_lacks_weights_is_refused(copy, tmp_path):
    checkpoints.rewrite(copy, lambda tensors: {name: tensor for name, tensor in tensors.items() if "layernorm" not in name})
    with pytest.raises(BadModel, match=r"lacks 4 of the weights .* among them model\.layers\.0\.input_layernorm\.weight"):
        export(Plan((Scale({"decoder.1.up": [1]}),)), str(copy), tmp_path / "out", verify=False)


def test_a_tensor_of_another_shape_than_the_configuration_says_is_refused(copy, tmp_path):
    name = "model.layers.1.mlp.up_proj.weight"
    checkpoints.rewrite(copy, lambda tensors: tensors | {name: tensors[name][:-1].clone()})
    with pytest.raises(BadModel, match="weights of the folder"):
        export(Plan((Scale({"decoder.1.up": [1]}),)), str(copy), tmp_path / "out")


def test_a_device_that_is_not_there_is_refused(llama, tmp_path):
    with pytest.raises(InputError, match="on the device 'cdua'"):
        export(llama[2], str(llama[0]), tmp_path / "out", device="cdua")


def test_a_model_that_reads_no_text_is_refused(tmp_path):
    pico.build("decision-transformer").save_pretrained(tmp_path / "base")
    with pytest.raises(BadModel, match="No causal language model can be made"):
        export(Plan(), str(tmp_path / "base"), tmp_path / "out")


# -- refused after it was written, or while ------------------------------------------------------------------------------


def test_a_plan_without_effect_is_a_failure_that_leaves_nothing(llama, tmp_path):
    with pytest.raises(NoEffect):
        export(Plan((Scale({"decoder.1.up": [1, 2]}, 1.0),)), str(llama[0]), tmp_path / "out", device="cpu")
    assert nothing_is_left(tmp_path / "out")


@pytest.mark.parametrize("pickled", [False, True])
def test_a_full_disk_is_a_failure_that_leaves_nothing(copy, llama, tmp_path, pickled):
    """A limit on file size takes the place of a full disk: the same OSError from the same calls."""
    if pickled:
        checkpoints.as_bin(copy)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, hard))
        with pytest.raises(StorageFailure, match="could not be written"):
            export(llama[2], str(copy), tmp_path / "out", verify=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert nothing_is_left(tmp_path / "out")


@pytest.mark.slow
def test_a_kill_leaves_nothing_under_the_final_name_and_the_next_export_sweeps(llama, tmp_path):
    base, model, plan = llama
    plan.save(tmp_path / "plan.json")
    code = """
import os, sys
from resect import Plan
from resect.export.export import export
def die(stage, done, total):
    if done == 1:
        os.kill(os.getpid(), 9)
export(Plan.load(sys.argv[1]), sys.argv[2], sys.argv[3], verify=False, progress=die)
"""
    command = [sys.executable, "-c", code, tmp_path / "plan.json", base, tmp_path / "out"]
    assert subprocess.run(command, check=False, capture_output=True, timeout=120).returncode == -9
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.part").is_dir()
    export(plan, str(base), tmp_path / "out", verify=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "plan.json"]
    checkpoints.assert_applied(tmp_path / "out", "llama", model, plan)


# -- real models ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("name", ["bbq-llama", "bbq-t5"])
def test_real_models(shared, tmp_path, name):
    base = shared / "models" / name
    model = load_model(str(base), device="cpu")
    edits = (Scale({"decoder.1.up": [3, 50], "decoder.2.post": [7]}), ReduceRank("decoder.0.o", 0.3))
    plan = Plan(edits, ModelIdentity.of(model, [site for edit in edits for site in edit.sites]))
    done = export(plan, str(base), tmp_path / "out", device="cpu")
    assert (done.resaved, done.verified) == (None, True)
    assert "instructions.txt" in done.copied
    again = load_model(str(tmp_path / "out"), device="cpu")
    pairs = (["Who was it? Answer:", "The old man and"], ["the old man", "the sea"])
    with plan.applied(model):
        assert model.logprobs(*pairs).tolist() == again.logprobs(*pairs).tolist()


# -- from the Hub's cache ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_hub_id_is_taken_from_the_cache(llama, tmp_path):
    """What the cache holds after a download: blobs, and a snapshot of links to them. No network: HF_HUB_OFFLINE."""
    base, model, _ = llama
    commit, repository = "0123456789" * 4, tmp_path / "hub" / "models--someone--tiny-llama"
    snapshot = repository / "snapshots" / commit
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    for path in base.iterdir():
        blob = repository / "blobs" / path.name[::-1]
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))
    plan = Plan((Scale(Neurons({"decoder.1.up": [1, 2, 3]})), ReduceRank("decoder.1.o", 0.5))).for_model(model)
    plan.save(tmp_path / "plan.json")
    code = """
import sys, json
from resect import Plan
from resect.export.export import export
print(json.dumps(export(Plan.load(sys.argv[1]), "someone/tiny-llama", sys.argv[2], device="cpu").to_json()))
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    command = [sys.executable, "-c", code, tmp_path / "plan.json", tmp_path / "out"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=environment).stdout
    done = json.loads(out.splitlines()[-1])
    assert done["verified"]
    assert done["linked"]
    assert not any(path.is_symlink() for path in Path(tmp_path / "out").iterdir())
    assert "base_model: someone/tiny-llama" in (tmp_path / "out" / "README.md").read_text()
    checkpoints.assert_applied(tmp_path / "out", "llama", model, plan)


def test_a_hub_id_that_is_not_there_is_refused(llama, tmp_path):
    with pytest.raises(BadModel, match="Hub id nobody/nothing could not be loaded"):
        export(llama[2], "nobody/nothing", tmp_path / "out")
