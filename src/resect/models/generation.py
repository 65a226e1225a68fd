"""What a model says when no answer is laid before it: greedy text, filled masks, and how high the first token of an answer stands.

Knows how one model and its tokenizer are called; knows no batch size, no task and no metric.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from resect.core.errors import NotFinite

from .encoding import PromptEncoder, Tokens
from .families import Kind
from .forward import Forward


class Generation:
    """How one model is made to speak.

    Prompts are encoded once (`openings`, `first_tokens`) and can then be asked any number of times, each time in the same sequence of
    forward calls.
    """

    def __init__(self, model: Any, tokenizer: Any, kind: Kind, encoder: PromptEncoder, forward: Forward) -> None:
        self._model, self._tokenizer, self._kind = model, tokenizer, kind
        self._encoder, self._forward = encoder, forward

    def openings(self, prompts: Sequence[str], new_tokens: int) -> list[Tokens]:
        """The prompts as they are fed; those of a masked model with so many masks in place, those of others without a label."""
        if self._kind == "masked":
            return [self._encoder.masked(prompt, new_tokens) for prompt in prompts]
        return [Tokens(ids, ()) for ids in self._encoder.prompt_ids(prompts)]

    @torch.inference_mode()
    def said(self, openings: Sequence[Tokens], new_tokens: int, settings: dict[str, Any]) -> list[str]:
        """The greedy text after each opening, in one batch, special tokens left out. Raises NotFinite."""
        if self._kind == "masked":
            return self._filled(openings)
        if self._forward.shuns_left_padding:
            return self._by_length(openings, lambda like: self._greedy(like, new_tokens, settings))
        return self._greedy(openings, new_tokens, settings)

    def _by_length(self, openings: Sequence[Tokens], say: Callable[[Sequence[Tokens]], list[str]]) -> list[str]:
        """What is said after each opening, where only those of one length can stand in one batch."""
        said: dict[int, str] = {}
        for length in dict.fromkeys(len(row.input_ids) for row in openings):
            places = [place for place, row in enumerate(openings) if len(row.input_ids) == length]
            said |= zip(places, say([openings[place] for place in places]), strict=True)
        return [said[place] for place in range(len(openings))]

    def _greedy(self, openings: Sequence[Tokens], new_tokens: int, settings: dict[str, Any]) -> list[str]:
        rows, mask = self._forward.padded([row.input_ids for row in openings], left=self._kind == "causal")
        greedy: dict[str, Any] = {
            "do_sample": False,
            "num_beams": 1,
            "temperature": None,
            "top_p": None,
            "top_k": None,
            "pad_token_id": self._forward.pad,
        }
        greedy |= {"max_new_tokens": new_tokens, "logits_processor": [_without_nan]}
        out = self._model.generate(input_ids=rows, attention_mask=mask, **(greedy | settings))
        new = out[:, rows.shape[1] :] if self._kind == "causal" else out
        return [str(text) for text in self._tokenizer.batch_decode(new, skip_special_tokens=True)]

    def _filled(self, openings: Sequence[Tokens]) -> list[str]:
        rows = self._forward.rows(openings)
        logits = _without_nan(rows.inputs["input_ids"], self._model(**rows.inputs).logits)
        best = logits.argmax(dim=-1)
        found = [best[row, list(opening.label_positions)] for row, opening in enumerate(openings)]
        return [str(self._tokenizer.decode(ids, skip_special_tokens=True)) for ids in found]

    def first_tokens(self, prompts: Sequence[str], answers: Sequence[str]) -> tuple[list[Tokens], int]:
        """Prompts with the first token of each answer as their label, and how many answers have more tokens than one.

        What a tokenizer puts before every text (BART's BOS) is no token of an answer, but stands before it in the label. A masked model
        gets as many masks as the answer has tokens, and is asked at the first. Raises what encoding raises.
        """
        encoded = self._encoder.encode(prompts, answers)
        closed = self._kind == "encoder-decoder"
        before, behind = (len(self._encoder.prefix), len(self._encoder.suffix)) if closed else (0, 0)
        longer = sum(len(row.label_ids) - before - behind > 1 for row in encoded)
        return [Tokens(row.input_ids, row.label_ids[: before + 1], row.label_positions[:1]) for row in encoded], longer

    def ranks(self, rows: Sequence[Tokens]) -> list[tuple[int, str]]:
        """For each row of `first_tokens` the rank of its token from 0, and the most probable token as text, in one batch.

        Raises NotFinite.
        """
        ranks, best = self._forward.first_token_ranks(rows)
        if min(ranks) < 0:
            raise NotFinite(f"The logits after {sum(rank < 0 for rank in ranks)} of {len(ranks)} prompts hold NaN. {_WAY_OUT}")
        return [(rank, str(self._tokenizer.decode([token]))) for rank, token in zip(ranks, best, strict=True)]


_WAY_OUT = "The weights or the dtype are at fault: try --dtype float32, and look for NaN in the checkpoint."


def _without_nan(_ids: Tensor, logits: Tensor) -> Tensor:
    """The logits as they are: a processor of transformers that takes no NaN for an answer. Raises NotFinite."""
    if bool(torch.isnan(logits).any()):
        raise NotFinite(f"The model gives NaN where it should say a token. {_WAY_OUT}")
    return logits
