"""Generation: greedy text, filled masks, and the rank of an answer's first token.

Knows how one model and its tokenizer are called; knows no batch size, no task and no metric.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from resect.core.errors import NotFinite

from .encoding import Ids, PromptEncoder, Tokens
from .families import Kind
from .forward import Forward

Result = TypeVar("Result")


class Generation:
    """Generates text with one model.

    Prompts are encoded once (`encode_prompts`, `encode_first_tokens`), and can then be run any number of times, each time in the same
    sequence of forward calls.
    """

    def __init__(self, model: Any, tokenizer: Any, kind: Kind, encoder: PromptEncoder, forward: Forward) -> None:
        self._model, self._tokenizer, self._kind = model, tokenizer, kind
        self._encoder, self._forward = encoder, forward

    def encode_prompts(self, prompts: Sequence[str], new_tokens: int) -> list[Tokens]:
        """Returns the prompts as inputs; those of a masked model with so many masks, those of others without a label."""
        if self._kind == "masked":
            return [self._encoder.with_masks(prompt, new_tokens) for prompt in prompts]
        return [Tokens(ids, ()) for ids in self._encoder.encode_open_prompts(prompts)]

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Tokens], new_tokens: int, settings: dict[str, Any]) -> list[str]:
        """Returns the greedy text after each prompt, in one batch, without special tokens. Raises NotFinite."""
        if self._kind == "masked":
            return self._fill_masks(prompts)
        if self._forward.needs_right_padding:
            generate = lambda indices: self._generate_greedily([prompts[index] for index in indices], new_tokens, settings)
            return self._by_length(prompts, generate)
        return self._generate_greedily(prompts, new_tokens, settings)

    @torch.inference_mode()
    def continue_prompts(self, prompts: Sequence[Tokens], new_tokens: int, draws: Float64[Tensor, "rows new"] | None = None) -> list[Ids]:
        """Returns the ids after each prompt, up to the end token and with it, in one batch, without any penalty on repetition.

        Parameters
        ----------
        draws : for each row and token a number in [0, 1), by which the token is sampled at temperature 1 (the inverse of the distribution
            function, over the ids in their order), the same whatever the other rows; None: the most probable token

        Not for masked models. Raises NotFinite.
        """
        settings: dict[str, Any] = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}

        def new_ids(indices: Sequence[int]) -> list[Ids]:
            sampler = {} if draws is None else {"logits_processor": [_refuse_nan, _Sampler(draws[list(indices)])]}
            rows = self._new_ids([prompts[index] for index in indices], new_tokens, settings | sampler)
            return [self._until_end(row) for row in rows.tolist()]

        indices = range(len(prompts))
        return self._by_length(prompts, new_ids) if self._forward.needs_right_padding else new_ids(indices)

    def _until_end(self, ids: Sequence[int]) -> Ids:
        """Returns ids up to the first end token and with it; without a decoder's start token."""
        end = self._model.generation_config.eos_token_id
        ends = set(end) if isinstance(end, list | tuple) else {end}
        new = ids if self._kind == "causal" else ids[1:]
        length = next((place + 1 for place, token in enumerate(new) if token in ends), len(new))
        return tuple(new[:length])

    def _by_length(self, prompts: Sequence[Tokens], generate: Callable[[Sequence[int]], Sequence[Result]]) -> list[Result]:
        """Returns the result for each prompt, by its index, where a batch needs prompts of equal length."""
        results: dict[int, Result] = {}
        for length in dict.fromkeys(len(prompt.input_ids) for prompt in prompts):
            indices = [index for index, prompt in enumerate(prompts) if len(prompt.input_ids) == length]
            results |= zip(indices, generate(indices), strict=True)
        return [results[index] for index in range(len(prompts))]

    def _generate_greedily(self, prompts: Sequence[Tokens], new_tokens: int, settings: dict[str, Any]) -> list[str]:
        new = self._new_ids(prompts, new_tokens, settings)
        return [str(text) for text in self._tokenizer.batch_decode(new, skip_special_tokens=True)]

    def _new_ids(self, prompts: Sequence[Tokens], new_tokens: int, settings: dict[str, Any]) -> Int[Tensor, "rows new"]:
        """Returns the greedy ids after each prompt, padded after the end token; of an encoder-decoder with the decoder's start token."""
        rows, mask = self._forward.pad_rows([prompt.input_ids for prompt in prompts], left=self._kind == "causal")
        greedy: dict[str, Any] = {
            "do_sample": False,
            "num_beams": 1,
            "temperature": None,
            "top_p": None,
            "top_k": None,
            "pad_token_id": self._forward.pad_id,
        }
        greedy |= {"max_new_tokens": new_tokens, "logits_processor": [_refuse_nan]}
        out: Tensor = self._model.generate(input_ids=rows, attention_mask=mask, **(greedy | settings))
        return out[:, rows.shape[1] :] if self._kind == "causal" else out

    def _fill_masks(self, prompts: Sequence[Tokens]) -> list[str]:
        batch = self._forward.collate(prompts)
        logits = _refuse_nan(batch.inputs["input_ids"], self._model(**batch.inputs).logits)
        best = logits.argmax(dim=-1)
        filled = [best[row, list(prompt.label_positions)] for row, prompt in enumerate(prompts)]
        return [str(self._tokenizer.decode(ids, skip_special_tokens=True)) for ids in filled]

    def encode_first_tokens(self, prompts: Sequence[str], answers: Sequence[str]) -> tuple[list[Tokens], int]:
        """Returns prompts with the first token of each answer as their label, and how many answers have more tokens than one.

        The token that a tokenizer puts before every text (BART's BOS) is no token of an answer, but part of the label. A masked model has
        as many masks as the answer has tokens, and the first is ranked. Raises what encoding raises.
        """
        encoded = self._encoder.encode(prompts, answers)
        has_special_tokens = self._kind == "encoder-decoder"
        before, after = (len(self._encoder.prefix), len(self._encoder.suffix)) if has_special_tokens else (0, 0)
        longer = sum(len(row.label_ids) - before - after > 1 for row in encoded)
        return [Tokens(row.input_ids, row.label_ids[: before + 1], row.label_positions[:1]) for row in encoded], longer

    def first_token_ranks(self, rows: Sequence[Tokens]) -> list[tuple[int, str]]:
        """Returns for each row of `encode_first_tokens` the rank of its token from 0, and the most probable token as text, in one batch.

        Raises NotFinite.
        """
        ranks, best = self._forward.first_token_ranks(rows)
        if min(ranks) < 0:
            raise NotFinite(f"The logits after {sum(rank < 0 for rank in ranks)} of {len(ranks)} prompts are NaN. {_ADVICE}")
        return [(rank, str(self._tokenizer.decode([token]))) for rank, token in zip(ranks, best, strict=True)]


_ADVICE = "The cause is in the weights or the dtype: try --dtype float32, and check the checkpoint for NaN."


def _refuse_nan(_ids: Tensor, logits: Tensor) -> Tensor:
    """Returns the logits as they are: a logits processor of transformers. Raises NotFinite for NaN."""
    if bool(torch.isnan(logits).any()):
        raise NotFinite(f"The model gives NaN instead of the next token. {_ADVICE}")
    return logits


class _Sampler:
    """A logits processor of transformers that leaves one token of each row possible: the one that this row's next number draws."""

    def __init__(self, draws: Float64[Tensor, "rows new"]) -> None:
        self._draws, self._step = draws, 0

    def __call__(self, _ids: Tensor, logits: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
        """Returns 0 for the drawn token and −∞ for all others. Sampled on the CPU in float64, so that a device changes little."""
        below = logits.detach().to("cpu", torch.float64).softmax(dim=1).cumsum(dim=1)
        drawn = torch.searchsorted(below, self._draws[:, self._step, None] * below[:, -1:], right=True).clamp(max=logits.shape[1] - 1)
        self._step += 1
        return torch.full_like(logits, -torch.inf).scatter(1, drawn.to(logits.device), 0.0)
