"""A tiny model in the forms in which people have weights: quantised by libraries, or in the published layouts, written here by hand."""

import functools
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from torch import nn

import pico

GROUP = 32
#: What the loading of a scheme needs.
NEEDS = {
    "bitsandbytes-8": ("bitsandbytes", "accelerate"),
    "bitsandbytes-4": ("bitsandbytes", "accelerate"),
    "torchao-8": ("torchao", "accelerate"),
    "fp8": ("accelerate",),
    "compressed-tensors": ("compressed_tensors", "accelerate"),
    "gptq": (),
    "awq": (),
    "gguf-f32": ("gguf", "accelerate"),
    "gguf-q8": ("gguf", "accelerate"),
    "gguf-q4": ("gguf", "accelerate"),
}
#: Those that compute with quantised weights on a CPU, those that become plain when they are loaded, and those that need --dequantize.
COMPUTING = ("bitsandbytes-8", "bitsandbytes-4", "torchao-8")
PLAIN = ("fp8", "compressed-tensors", "gguf-q8", "gguf-q4")
UNPACKED = ("gptq", "awq")
QUANTISED = (*COMPUTING, *PLAIN, *UNPACKED)


def need(*names):
    """Skip a test where the packages of a scheme, or packages of these names, are not installed."""
    for name in names:
        for package in NEEDS.get(name, (name,) if name not in NEEDS else ()):
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"{package} is not installed (the extra `quantized`)")


@functools.cache
def tokenizer():
    """Returns a byte-level tokenizer with two merges: a GGUF file of one, or none, is not read as such."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate((*pico.SPECIALS, *alphabet, "he", "re"))}
    core = Tokenizer(BPE(vocab=vocab, merges=[("h", "e"), ("r", "e")], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    roles = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, **roles)


def build(seed=0, *, bias=False, dtype=torch.float32):
    """Returns a model whose sizes are multiples of a group."""
    sizes = {"vocab_size": len(tokenizer()), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "tie_word_embeddings": False}
    config = transformers.LlamaConfig(**sizes, **heads, **pico.IDS, attention_bias=bias, mlp_bias=bias)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1.0 + 0.2 * noise if parameter.dim() == 1 and "norm" in path else 0.2 * noise)
    return model.to(dtype).eval()


def build_gpt2():
    """Returns a GPT-2, whose layers store [in, out]."""
    ids = {"bos_token_id": pico.BOS, "eos_token_id": pico.EOS}
    config = transformers.GPT2Config(vocab_size=len(tokenizer()), n_positions=128, n_embd=64, n_inner=128, n_layer=2, n_head=4, **ids)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config).eval()


def save(folder, model=None):
    """Save a plain model and its tokenizer; returns the folder."""
    (model or build()).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return Path(folder)


def write(scheme, full, to):
    """Write the model in the folder `full` in another form; returns the path to load it from."""
    need(scheme)
    if scheme.startswith("gguf"):
        return write_gguf(full, Path(to) / f"{scheme}.gguf", {"f32": "F32", "q8": "Q8_0", "q4": "Q4_0"}[scheme[5:]])
    if scheme in COMPUTING:
        quantised = transformers.AutoModelForCausalLM.from_pretrained(full, quantization_config=config(scheme))
        quantised.save_pretrained(to)
        tokenizer().save_pretrained(to)
        return Path(to)
    pack, stated = _LAYOUTS[scheme]
    return _write_layout(full, Path(to), pack, stated)


def config(scheme):
    """Returns how transformers is told to quantise."""
    if scheme == "bitsandbytes-8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    if scheme == "bitsandbytes-4":
        return transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    from torchao.quantization import Int8WeightOnlyConfig

    return transformers.TorchAoConfig(Int8WeightOnlyConfig())


def _write_layout(full, to, pack, stated):
    to.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, tensor in load_file(Path(full) / "model.safetensors").items():
        path = name.removesuffix(".weight")
        is_transposed = path.endswith(("c_attn", "c_fc", "c_proj"))  # GPT-2's layers store [in, out]
        is_packed = name.endswith("weight") and tensor.dim() == 2 and (is_transposed or path.endswith("_proj"))
        matrix = tensor.T if is_transposed else tensor
        tensors |= {f"{path}.{part}": value for part, value in pack(matrix).items()} if is_packed else {name: tensor}
    save_file(tensors, to / "model.safetensors", {"format": "pt"})
    config = json.loads((Path(full) / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | {"quantization_config": stated}))
    tokenizer().save_pretrained(to)
    return to


# -- the published layouts, one value after the other --------------------------------------------------------------------


def levels(weight, bits=4):
    """Returns integers [out, in] from 0 on, and scales and zero points [out, groups] of groups of columns."""
    grouped = weight.float().reshape(weight.shape[0], -1, GROUP)
    low, high = grouped.amin(-1), grouped.amax(-1)
    scales = ((high - low) / (2**bits - 1)).half().float()
    zeros = (-low / scales).round().clamp(0, 2**bits - 1)
    integers = (grouped / scales[..., None]).round() + zeros[..., None]
    return integers.clamp(0, 2**bits - 1).int().reshape(weight.shape), scales, zeros.int()


def words(rows, bits, order=None):
    """Returns rows of unsigned integers as rows of 32-bit words, value by value; `order`: at which place of a word each value stands."""
    out = []
    for row in rows.tolist():
        if order is not None:
            row = [row[start + order[place]] for start in range(0, len(row), 8) for place in range(8)]
        stream = sum(value << (bits * place) for place, value in enumerate(row))
        out.append([(stream >> (32 * place)) & 0xFFFFFFFF for place in range(len(row) * bits // 32)])
    return torch.from_numpy(np.array(out, dtype=np.uint32).view(np.int32))


def pack_gptq(weight, bits=4):
    integers, scales, zeros = levels(weight, bits)
    zeros = zeros.clamp(min=1)  # what is stored is one less
    index = torch.arange(weight.shape[1]) // GROUP
    parts = {"qweight": words(integers, bits).T.contiguous(), "qzeros": words(zeros.T - 1, bits)}
    return parts | {"scales": scales.T.half().contiguous(), "g_idx": index.int()}


def pack_awq(weight):
    integers, scales, zeros = levels(weight)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    return {"qweight": words(integers.T, 4, order), "qzeros": words(zeros.T, 4, order), "scales": scales.T.half().contiguous()}


def pack_fp8(weight):
    blocks = weight.float().reshape(weight.shape[0] // GROUP, GROUP, -1, GROUP)
    scale = blocks.abs().amax((1, 3)) / 448
    return {"weight": (blocks / scale[:, None, :, None]).reshape(weight.shape).to(torch.float8_e4m3fn), "weight_scale_inv": scale}


def pack_compressed(weight):
    grouped = weight.float().reshape(weight.shape[0], -1, GROUP)
    scales = grouped.abs().amax(-1) / 7
    integers = ((grouped / scales[..., None]).round().clamp(-8, 7) + 8).int().reshape(weight.shape)
    return {"weight_packed": words(integers, 4), "weight_scale": scales, "weight_shape": torch.tensor(weight.shape)}


_WEIGHTS = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP, "dynamic": False}
_LAYOUTS = {
    "gptq": (pack_gptq, {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": False}),
    "awq": (pack_awq, {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"}),
    "fp8": (pack_fp8, {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [GROUP, GROUP]}),
    "compressed-tensors": (
        pack_compressed,
        {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": _WEIGHTS}},
        },
    ),
}


# -- GGUF ----------------------------------------------------------------------------------------------------------------

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(full, path, kind, architecture="llama"):
    """Write the Llama in the folder `full`, with its tokenizer, as llama.cpp converts it."""
    import gguf

    path.parent.mkdir(parents=True, exist_ok=True)
    config = transformers.AutoConfig.from_pretrained(full)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    _write_tokenizer(writer, transformers.AutoTokenizer.from_pretrained(full))
    quantised = gguf.GGMLQuantizationType[kind]
    for name, tensor in load_file(Path(full) / "model.safetensors").items():
        stem, values = name.removesuffix(".weight"), tensor.float().numpy()
        layer, _, inner = stem.removeprefix("model.layers.").partition(".") if stem.startswith("model.layers.") else ("", "", "")
        new = f"blk.{layer}.{_NAMES[inner]}.weight" if inner else f"{_NAMES[stem]}.weight"
        if inner.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if inner.endswith("q_proj") else config.num_key_value_heads
            values = values.reshape(heads, 2, len(values) // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)
        if inner and values.ndim == 2 and kind != "F32":
            writer.add_tensor(new, gguf.quants.quantize(values, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(new, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_tokenizer(writer, given):
    described = json.loads(given.backend_tokenizer.to_str())["model"]
    vocab = sorted(described["vocab"], key=described["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in described["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocab)
    writer.add_token_types([3 if token in given.all_special_tokens else 1 for token in vocab])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(given.bos_token_id)
    writer.add_eos_token_id(given.eos_token_id)
    writer.add_pad_token_id(given.pad_token_id)


def modules(model):
    """Returns the modules that a scheme may have quantised."""
    return [module for path, module in model.named_modules() if path.endswith("_proj") and isinstance(module, nn.Module)]
