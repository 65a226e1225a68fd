"""Counts equal those of plain hooks, one window at a time, and counting changes nothing (law 12)."""

from typing import Any

import numpy as np
import pytest
import torch

import pico
from resect.core.address import Site
from resect.core.errors import NotFinite, OutOfMemory
from resect.methods.lape.activation_counter import CPU_TOKENS, ActivationReducer, count_activations, run_stacks
from resect.methods.lape.counts import activation_sites
from resect.models.language_model import LanguageModel

WINDOW = 12


def language_model(name: str, dtype: torch.dtype = torch.float64) -> LanguageModel:
    return LanguageModel.of(pico.build(name, dtype=dtype), pico.tokenizer(name))


def windows_of(number: int, window: int = WINDOW, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(len(pico.SPECIALS), pico.VOCAB, (number, window)).astype(np.int32)


def inputs_of(model: LanguageModel, windows: np.ndarray) -> dict[str, torch.Tensor]:
    """The arguments of a call of the complete model, with its head: no window sees another."""
    ids = torch.from_numpy(windows.astype(np.int64))
    if model.kind != "encoder-decoder":
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    first, second = ids[:, : ids.shape[1] // 2], ids[:, ids.shape[1] // 2 :]
    start = torch.full((len(ids), 1), model.model.config.decoder_start_token_id)
    return {"input_ids": first, "attention_mask": torch.ones_like(first), "decoder_input_ids": torch.cat([start, second[:, :-1]], dim=1)}


def naive(model: LanguageModel, windows: np.ndarray, rows: int = 1) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], int]:
    """Counts, sums and the number of tokens from plain hooks on complete calls of a few rows each, with all values kept until the end."""
    anatomy, seen = model.anatomy, {str(site): [] for site in activation_sites(model)}
    handles = []
    for site in activation_sites(model):
        tap = anatomy.tap(site)

        def keep(_module: Any, _inputs: Any, output: torch.Tensor, site=site, part=tap.part) -> None:
            values = output if part is None else output[..., part if isinstance(part, slice) else list(part)]
            seen[str(site)].append(values.double().reshape(-1, values.shape[-1]).clone())

        handles.append(model.model.get_submodule(tap.path).register_forward_hook(keep))
    with torch.no_grad():
        for start in range(0, len(windows), rows):
            model.model(**inputs_of(model, windows[start : start + rows]))
    for handle in handles:
        handle.remove()
    by_site = {site: torch.cat(values).numpy() for site, values in seen.items()}
    tokens = {len(values) for values in by_site.values()}
    assert len(tokens) == 1
    return {s: (v > 0).sum(axis=0) for s, v in by_site.items()}, {s: v.sum(axis=0) for s, v in by_site.items()}, tokens.pop()


@pytest.mark.parametrize("name", pico.language_models)
def test_counts_equal_those_of_one_window_at_a_time_to_the_integer(name: str) -> None:
    model, windows = language_model(name), windows_of(7)
    active, sums, tokens = naive(model, windows)
    found = count_activations(model, windows, rows=3)
    assert found.tokens == tokens
    assert [str(site) for site in found.active] == list(active)
    for site in found.active:
        assert found.active[site].dtype == np.int64
        assert (found.active[site] == active[str(site)]).all()
        np.testing.assert_allclose(found.sums[site], sums[str(site)], rtol=1e-5, atol=1e-5)  # parts of T5 are float32
    assert 0 < sum(array.sum() for array in active.values()) < sum(array.size for array in active.values()) * tokens


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", pico.language_models)
def test_counts_of_other_dtypes_equal_plain_hooks_over_the_same_batches(name: str, dtype: torch.dtype) -> None:
    model, windows = language_model(name, dtype), windows_of(5)
    active, sums, tokens = naive(model, windows, rows=3)
    found = count_activations(model, windows, rows=3)
    assert found.tokens == tokens
    for site in found.active:
        assert (found.active[site] == active[str(site)]).all()
        np.testing.assert_allclose(found.sums[site], sums[str(site)], rtol=1e-6, atol=1e-4)


def test_many_tokens_are_reduced_in_pieces() -> None:
    model, windows = language_model("llama-biased"), windows_of(130)  # 1,560 tokens, three pieces and a rest
    active, sums, _ = naive(model, windows)
    found = count_activations(model, windows, rows=130)
    for site in found.active:
        assert (found.active[site] == active[str(site)]).all()
        np.testing.assert_allclose(found.sums[site], sums[str(site)], rtol=1e-5, atol=1e-5)


def test_float32_counts_are_exact_and_sums_nearly() -> None:
    model, windows = language_model("gpt2", torch.float32), windows_of(400, 64)
    active, sums, _ = naive(model, windows, rows=25)
    found = count_activations(model, windows, rows=25)
    for site in found.active:
        assert (found.active[site] == active[str(site)]).all()
        np.testing.assert_allclose(found.sums[site], sums[str(site)], rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("name", pico.language_models)
def test_counting_changes_nothing(name: str) -> None:
    model, windows = language_model(name, torch.float32), windows_of(3)
    weights = {path: tensor.clone() for path, tensor in model.model.state_dict().items()}
    hidden: list[torch.Tensor] = []
    stack = model.model.get_decoder() if model.kind == "encoder-decoder" else model.anatomy.backbone
    with torch.inference_mode():
        before = model.model(**inputs_of(model, windows)).logits
        run_stacks(model, torch.from_numpy(windows.astype(np.int64)))  # the plain pass, for the hidden states below
        handle = stack.register_forward_hook(lambda _module, _inputs, output: hidden.append(output[0].clone()))
        run_stacks(model, torch.from_numpy(windows.astype(np.int64)))
        count_activations(model, windows, rows=3)
        handle.remove()
        after = model.model(**inputs_of(model, windows)).logits
    assert torch.equal(hidden[0], hidden[1])
    assert torch.equal(before, after)
    assert all(torch.equal(tensor, weights[path]) for path, tensor in model.model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.model.modules())


def test_the_head_is_not_run() -> None:
    for name in ("llama", "t5", "bart", "roberta"):
        model = language_model(name)
        head = model.anatomy.head
        assert head is not None
        head.register_forward_hook(lambda *_: pytest.fail("the head was run"))
        count_activations(model, windows_of(2), rows=2)


class OutOfMemoryAbove(torch.nn.Module):
    """A module of a block that has memory for so many rows only, as a full device."""

    def __init__(self, inner: torch.nn.Module, rows: int) -> None:
        super().__init__()
        self.inner, self.rows = inner, rows

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if len(hidden) > self.rows:
            raise torch.OutOfMemoryError("full")
        return self.inner(hidden)


@pytest.mark.slow
def test_where_memory_runs_out_half_as_many_rows_are_run_and_counts_stay_exact() -> None:
    model, windows = language_model("llama"), windows_of(7)
    wanted = count_activations(model, windows, rows=7)
    model.model.model.layers[1].mlp.act_fn = OutOfMemoryAbove(model.model.model.layers[1].mlp.act_fn, 2)
    found = count_activations(model, windows, rows=7)
    for site in wanted.active:
        assert (found.active[site] == wanted.active[site]).all()
    model.model.model.layers[1].mlp.act_fn.rows = 0
    with pytest.raises(OutOfMemory, match="12 tokens"):
        count_activations(model, windows, rows=7)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_activations_that_are_not_finite_are_refused(bad: float) -> None:
    model = language_model("opt")
    with torch.no_grad():
        model.anatomy.weight("decoder.1.up")[3, 5] = bad
    with pytest.raises(NotFinite, match=r"decoder\.1\.act .*float32"):
        count_activations(model, windows_of(2), rows=2)


def test_one_window_of_two_tokens_is_enough() -> None:
    for name in ("llama", "t5", "bert"):
        found = count_activations(language_model(name), windows_of(1, 2), rows=4)
        assert found.tokens == (1 if name == "t5" else 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("strided", [False, True])
def test_both_reductions_count_exactly_and_do_not_change_the_values(dtype: torch.dtype, strided: bool) -> None:
    values = torch.randn(CPU_TOKENS, 30, generator=torch.Generator().manual_seed(0)).to(dtype)
    values[::5] = 0
    values[1::7] = -0.0
    values = values[:, ::2] if strided else values
    before = values.clone()
    wanted = (values > 0).sum(dim=0)
    for reduce in (ActivationReducer().by_products, ActivationReducer().by_sums):
        active, sums = reduce(values)
        assert torch.equal(active.long(), wanted)
        torch.testing.assert_close(sums.double(), values.double().sum(dim=0), rtol=1e-5, atol=1e-4)
    assert torch.equal(values, before)
    full = torch.full((40_000, 3), 2.0**-20, dtype=dtype)
    active, sums = ActivationReducer()(full)
    assert active.tolist() == [40_000.0] * 3
    assert sums.tolist() == [pytest.approx(40_000 * float(full[0, 0]))] * 3


class TestExperts:
    @pytest.mark.parametrize("name", pico.FEW_EXPERTS)
    def test_counts_are_those_of_a_loop_over_the_tokens_that_reach_each_expert(self, name):
        hf = pico.build(name, dtype=torch.float32)
        model = LanguageModel.of(hf, pico.tokenizer("causal"))
        windows = np.random.default_rng(0).integers(len(pico.SPECIALS), pico.VOCAB, (5, 12))
        counts = count_activations(model, windows, rows=2)
        expected: dict = {}
        for window in windows:  # one window at a time, from what the experts were given
            for site, (active, sums, reached) in naive_expert_counts(model, window).items():
                total = expected.setdefault(site, [0, 0, 0])
                for place, value in enumerate((active, sums, reached)):
                    total[place] = total[place] + value
        for site in counts.active:
            active, sums, reached = expected.get(site, (0, 0, 0))
            assert counts.reached[site] == reached
            assert (counts.active[site] == active).all()
            np.testing.assert_allclose(counts.sums[site], sums, rtol=1e-3, atol=1e-4)
        assert sum(counts.reached.values()) == 2 * 5 * 12 * 2  # two layers, two experts a token


def naive_expert_counts(model, window):
    """By site of an expert: the number of positions with act > 0, the sum of act, and the number of positions, of one window."""
    given, found = {}, {}
    layers = model.model.model.layers
    handles = [
        layer.mlp.experts.register_forward_pre_hook(lambda _module, arguments, number=number: given.update({number: arguments}))
        for number, layer in enumerate(layers)
    ]
    with torch.no_grad():
        model.model(input_ids=torch.tensor(window[None]))
    model.model.requires_grad_(False)
    for handle in handles:
        handle.remove()
    for number, (hidden, chosen, _weights) in given.items():
        experts = layers[number].mlp.experts
        for expert in range(4):
            states = hidden[(chosen == expert).any(-1)]
            if not len(states):
                continue
            if model.anatomy.family == "gpt_oss":
                gate = (states @ experts.gate_up_proj[expert] + experts.gate_up_proj_bias[expert])[:, ::2].clamp(max=experts.limit)
                act = gate * torch.sigmoid(gate * experts.alpha)
            else:
                act = torch.nn.functional.silu(states @ experts.gate_up_proj[expert][:40].T)
            site = Site.parse(f"decoder.{number}.expert{expert}.act")
            found[site] = ((act > 0).sum(0).numpy(), act.double().sum(0).numpy(), len(states))
    return found
