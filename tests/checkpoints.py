"""Checkpoints of tiny models in several files, and law 7 for their exports: export, then load = applied."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import pico
from resect.core.address import Neurons
from resect.edits.matrices import PruneWeights, ReduceRank
from resect.edits.neurons import Clamp, Scale, Shift
from resect.edits.plan import Plan
from resect.models.anatomy import Anatomy

INDEX = "model.safetensors.index.json"


def saved(folder, name, *, dtype=torch.float32, shard="20KB", change=None):
    """Save a tiny model and its tokenizer in a folder; returns the model as transformers loads it from there."""
    model = pico.build(name, dtype=dtype)
    if change is not None:
        change(model)
    model.save_pretrained(folder, max_shard_size=shard)
    pico.tokenizer(name).save_pretrained(folder)
    return loaded(folder, name)


def units(anatomy, sites, share=0.2):
    rng = np.random.default_rng(3)
    return Neurons({site: rng.choice(anatomy.width(site), int(share * anatomy.width(site)), replace=False).tolist() for site in sites})


def plan_of(model):
    """Returns one edit of each kind that can be written into this model, of parts of the model that do not overlap."""
    anatomy = Anatomy.of(model)
    by_role = {site.role: site for site in anatomy.sites}  # of each role the last
    post, first = by_role["down"].at("post"), anatomy.sites[0].at("down")
    edits = [Scale(units(anatomy, [by_role["q"], by_role["v"], by_role["up"]]), 0.0)]
    edits += [Scale(units(anatomy, [first.at("act")]), -0.4), ReduceRank(by_role["o"], 0.4), PruneWeights(by_role["k"], 0.5)]
    if anatomy.has_bias(post.at("down")):
        edits += [Clamp({post: [1, 5]}, 0.7), Shift({post: [2, 8]}, -0.3)]
    else:
        edits.append(Clamp({post: [1, 5]}, 0.0))
    return Plan(edits).for_model(model)


def bits(model):
    """Returns dtype and bytes of every parameter and buffer, by name."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        name: (tensor.dtype, tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()) for name, tensor in tensors.items()
    }


def loaded(folder, name, dtype="auto"):
    """Returns the model as plain transformers loads it."""
    return pico.head_class(name).from_pretrained(folder, dtype=dtype).eval()


def assert_applied(folder, name, model, plan, dtype="auto"):
    """Law 7: the loaded model is the model with the plan applied, to the last bit, weights and logits."""
    again = loaded(folder, name, dtype)
    with plan.applied(model, "weights"):
        assert bits(again) == bits(model)
        assert torch.equal(pico.output(name, again), pico.output(name, model))


def headers(folder):
    """Returns the header of each file, byte for byte."""
    result = {}
    for path in sorted(folder.glob("*.safetensors")):
        content = path.read_bytes()
        result[path.name] = content[: 8 + int.from_bytes(content[:8], "little")]
    return result


def digests(folder):
    """Returns a digest of each file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.is_file()}


def rewrite(folder, change):
    """Replace all files of weights by one, with what `change` returns for all weights by name."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
        path.unlink()
    (folder / INDEX).unlink(missing_ok=True)
    save_file(change(tensors), folder / "model.safetensors", {"format": "pt"})


def as_bin(folder, shards=1):
    """Convert the weights to PyTorch's own format, in so many files."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
        path.unlink()
    (folder / INDEX).unlink(missing_ok=True)
    if shards == 1:
        torch.save(tensors, folder / "pytorch_model.bin")
        return
    names = sorted(tensors)
    files = {name: f"pytorch_model-{number % shards + 1:05}-of-{shards:05}.bin" for number, name in enumerate(names)}
    for file in set(files.values()):
        torch.save({name: tensors[name] for name in names if files[name] == file}, folder / file)
    index = {"metadata": {}, "weight_map": files}
    Path(folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
