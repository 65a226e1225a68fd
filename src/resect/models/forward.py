"""Forward passes of batches of token ids: log-probabilities of labels, with or without gradients.

Knows how each kind of model is called and how rows are padded; knows no text, no tokenizer and no batch size.

There is never padding between the real tokens of a row, since sliding windows count columns. Rows are padded on the right; prompts that
several labels share are padded on the left, so that every label starts in the same column.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .encoding import Ids, Tokens
from .families import Kind
from .storage import at_least_float32


@dataclass(frozen=True)
class PaddedBatch:
    """A padded batch, and the positions at which its labels are scored.

    `inputs` are the keyword arguments of the model. `mask` [rows, width] marks the real tokens of the main stack (of an encoder-decoder:
    the decoder), `encoder_mask` those of the encoder. `labels` [rows, longest label] with `label_mask`.
    """

    inputs: dict[str, Tensor]
    mask: Tensor
    encoder_mask: Tensor | None
    labels: Tensor
    label_mask: Tensor
    label_columns: Tensor | None


class Forward:
    """Runs one Hugging Face model.

    Parameters
    ----------
    model : the Hugging Face model, as it is
    kind : decides how it is called
    pad_id : the id of padding; any valid id, since padding is masked
    start_id : the first id of a decoder (encoder-decoder only)
    is_listed : whether it is known that prompts can be padded on the left and continued from a cache; otherwise that is tried

    Attributes
    ----------
    scored_columns_context : makes a context manager around a call of which only these columns [rows, scored] of the main stack are used
    """

    def __init__(self, model: Any, kind: Kind, pad_id: int, start_id: int | None, is_listed: bool = True) -> None:
        self.model, self.kind, self.pad_id, self.start_id = model, kind, pad_id, start_id
        self._is_listed = is_listed
        self.scored_columns_context: Callable[[Tensor], AbstractContextManager[object]] = lambda columns: nullcontext()
        self._arguments = frozenset(inspect.signature(model.forward).parameters)

    @property
    def device(self) -> torch.device:
        """The device of the inputs: that of the input embeddings or, where accelerate offloads them, the one that they are copied to."""
        embeddings = self.model.get_input_embeddings()
        place = embeddings.weight.device
        if place.type == "meta":
            place = getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None) or place
        return torch.device(place)

    # -- single rows: also for gradients -------------------------------------------------------------------------------

    def collate(self, tokens: Sequence[Tokens]) -> PaddedBatch:
        """Returns a batch with one row for each prompt and label."""
        labels, label_mask = self.pad_rows([row.label_ids for row in tokens])
        if self.kind == "encoder-decoder":
            ids, mask = self.pad_rows([row.input_ids for row in tokens])
            decoder_ids = self.shift_right(labels)
            arguments = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": decoder_ids}
            return PaddedBatch(arguments, label_mask, mask, labels, label_mask, None)
        if self.kind == "masked":
            inputs, scored = [row.input_ids for row in tokens], [row.label_positions for row in tokens]
        else:
            inputs = [row.input_ids + row.label_ids[:-1] for row in tokens]
            scored = [tuple(range(len(row.input_ids) - 1, len(row.input_ids) - 1 + len(row.label_ids))) for row in tokens]
        ids, mask = self.pad_rows(inputs)
        columns, _ = self.pad_rows(scored, fill=ids.shape[1] - 1)
        return PaddedBatch({"input_ids": ids, "attention_mask": mask}, mask, None, labels, label_mask, columns)

    def label_logprobs(self, batch: PaddedBatch) -> Float[Tensor, "rows longest"]:
        """Returns the log-probability of every label token, 0 after the end of a row's label."""
        return gather_logprobs(self._label_logits(batch), batch.labels, batch.label_mask)

    @torch.inference_mode()
    def row_logprobs(self, tokens: Sequence[Tokens]) -> list[float]:
        """Returns the total log-probability of every label, each in its own row."""
        totals: list[float] = self.label_logprobs(self.collate(tokens)).sum(dim=1).tolist()
        return totals

    @property
    def needs_right_padding(self) -> bool:
        """Whether prompts cannot be padded on the left and continued from a cache, so that each label runs with its prompt.

        In float64: transformers masks scores with a number that is -inf in its float32 softmax. In a discovered family: where it was tried,
        and gave an error or other numbers. A state-space model has no cache of single tokens.
        """
        if self.kind == "causal" and self.model.dtype == torch.float64:
            return True
        return self.kind != "masked" and not self._is_listed and not self._continues_prompts

    @functools.cached_property
    def _continues_prompts(self) -> bool:
        """Whether labels have the same log-probability behind a prompt that is padded and continued, and in rows of their own."""
        prompts, labels = ((1, 2, 3), (3, 4, 2, 1, 5, 6)), (((2, 3), (4, 5, 1)), ((1, 2), (3,)))
        rows = [Tokens(prompt, label) for prompt, own in zip(prompts, labels, strict=True) for label in own]
        context, self.scored_columns_context = self.scored_columns_context, lambda columns: nullcontext()
        try:
            expected = self.row_logprobs(rows)
            together = [value for own in self.shared_prompt_logprobs(prompts, labels) for value in own]
        except Exception:  # noqa: BLE001 - code of any model type may fail in any way
            return False
        finally:
            self.scored_columns_context = context
        tolerance = 1e-3 if self.model.dtype == torch.float32 else 3e-2
        return all(abs(one - other) <= tolerance * max(1.0, abs(one)) for one, other in zip(expected, together, strict=True))

    def _label_logits(self, batch: PaddedBatch) -> Float[Tensor, "rows longest vocabulary"]:
        """Returns the logits at which labels are scored. The head runs from the first such column on, where the model can limit it."""
        if batch.label_columns is None:
            logits: Tensor = self.model(**batch.inputs, use_cache=False).logits
            return logits
        with self.scored_columns_context(batch.label_columns):
            if self.kind == "masked":
                logits = self.model(**batch.inputs).logits
            else:
                keep = batch.mask.shape[1] - int(batch.label_columns.min())
                positions = self._positions(batch.mask)
                logits = self.model(**batch.inputs, **positions, use_cache=False, **self._limit_logits(keep)).logits
        columns = batch.label_columns - (batch.mask.shape[1] - logits.shape[1])
        return logits[torch.arange(len(columns), device=logits.device)[:, None], columns.to(logits.device)]

    # -- prompts that several labels share: for choices ----------------------------------------------------------------

    @torch.inference_mode()
    def shared_prompt_logprobs(self, prompts: Sequence[Ids], labels: Sequence[Sequence[Ids]]) -> list[list[float]]:
        """Returns the log-probability of every label of every prompt. Each prompt is run once; its labels continue from its cache.

        Not for masked models, whose prompt changes with the length of the label.
        """
        first, cache, mask, encoder_states = self._run_prompts(prompts)
        first_logprobs = torch.log_softmax(at_least_float32(first), dim=-1)
        totals = [[float(first_logprobs[row, label[0]]) for label in own] for row, own in enumerate(labels)]
        longer = [(row, column) for row, own in enumerate(labels) for column, label in enumerate(own) if len(label) > 1]
        if not longer:
            return totals
        rest, rest_mask = self.pad_rows([labels[row][column][1:] for row, column in longer])
        ids, ids_mask = self.pad_rows([labels[row][column][:-1] for row, column in longer])
        prompt_rows = [row for row, _ in longer]
        prompt_index = torch.tensor(prompt_rows, device=ids.device)
        if prompt_rows != list(range(len(prompts))):
            cache.batch_select_indices(prompt_index)
        states = None if encoder_states is None else encoder_states[prompt_index]
        logits = self._continue_prompts(ids, ids_mask, cache, mask[prompt_index], states)
        rest_logprobs = gather_logprobs(logits, rest, rest_mask).sum(dim=1).tolist()
        for (row, column), logprob in zip(longer, rest_logprobs, strict=True):
            totals[row][column] += logprob
        return totals

    @torch.inference_mode()
    def mask_logprobs(self, prompts: Sequence[Tokens], labels: Sequence[Sequence[Ids]]) -> list[list[float]]:
        """Returns the log-probability of every label at the masks of its prompt (masked models). Labels of one prompt are equally long."""
        logprobs = torch.log_softmax(at_least_float32(self._label_logits(self.collate(prompts))), dim=-1)
        return [[float(logprobs[row, range(len(label)), label].sum()) for label in own] for row, own in enumerate(labels)]

    @torch.inference_mode()
    def first_token_ranks(self, tokens: Sequence[Tokens]) -> tuple[list[int], list[int]]:
        """Returns the rank of each row's last label token (0: the most probable; of equal ones the lower id first), and the id of the most
        probable token.

        A row with NaN in its logits has rank −1.
        """
        batch = self.collate(tokens)
        last = torch.tensor([len(row.label_ids) - 1 for row in tokens])
        logits = self._label_logits(batch)
        logits = at_least_float32(logits[torch.arange(len(tokens), device=logits.device), last.to(logits.device)])
        label = batch.labels.to(logits.device).gather(1, last.to(logits.device)[:, None])
        own = logits.gather(1, label)
        before = torch.arange(logits.shape[1], device=logits.device) < label
        ranks = ((logits > own) | ((logits == own) & before)).sum(dim=1)
        ranks = torch.where(logits.isnan().any(dim=1), -1, ranks)
        return ranks.tolist(), logits.argmax(dim=1).tolist()

    def _run_prompts(self, prompts: Sequence[Ids]) -> tuple[Tensor, Any, Tensor, Tensor | None]:
        """Returns logits of the first label token [rows, vocabulary], the key/value cache, the prompts' mask, and the encoder's states."""
        if self.kind == "causal":
            ids, mask = self.pad_rows(prompts, left=True)
            inputs = {"input_ids": ids, "attention_mask": mask} | self._positions(mask)
            with self.scored_columns_context(torch.full((len(prompts), 1), ids.shape[1] - 1, device=ids.device)):
                out = self.model(**inputs, use_cache=True, **self._limit_logits(1))
            return out.logits[:, -1], out.past_key_values, mask, None
        ids, mask = self.pad_rows(prompts)
        states = self.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        start = torch.full((len(prompts), 1), self._start(), device=ids.device)
        out = self.model(encoder_outputs=(states,), attention_mask=mask, decoder_input_ids=start, use_cache=True)
        return out.logits[:, -1], out.past_key_values, mask, states

    def _continue_prompts(self, ids: Tensor, ids_mask: Tensor, cache: Any, mask: Tensor, encoder_states: Tensor | None) -> Tensor:
        if self.kind == "causal":
            full_mask = torch.cat([mask, ids_mask], dim=1)
            positions = {name: value[:, mask.shape[1] :] for name, value in self._positions(full_mask).items()}
            inputs, encoded = {"input_ids": ids, "attention_mask": full_mask} | positions, {}
        else:
            inputs = {"attention_mask": mask, "decoder_input_ids": ids}
            encoded = {"encoder_outputs": (encoder_states,)}
        logits: Tensor = self.model(**inputs, **encoded, past_key_values=cache, use_cache=True).logits
        return logits

    # -- parts ---------------------------------------------------------------------------------------------------------

    @property
    def can_limit_logits(self) -> bool:
        """Whether the model can compute logits for the last positions alone."""
        return "logits_to_keep" in self._arguments

    def _limit_logits(self, width: int) -> dict[str, int]:
        return {"logits_to_keep": width} if self.can_limit_logits else {}

    def _positions(self, mask: Tensor) -> dict[str, Tensor]:
        """Returns positions that count real tokens only. A family without this argument (ALiBi) computes them from the mask."""
        if "position_ids" not in self._arguments:
            return {}
        return {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)}

    def _start(self) -> int:
        if self.start_id is None:
            raise ValueError("An encoder-decoder needs the first token of its decoder.")
        return self.start_id

    def shift_right(self, labels: Tensor) -> Tensor:
        """Returns a decoder's input for predicting `labels`: its start token, and all but the last of them."""
        start = torch.full((labels.shape[0], 1), self._start(), device=labels.device)
        return torch.cat([start, labels[:, :-1]], dim=1)

    def pad_rows(
        self, rows: Sequence[Ids], *, left: bool = False, fill: int | None = None
    ) -> tuple[Int[Tensor, "rows width"], Int[Tensor, "rows width"]]:
        """Returns ids and mask (1 = real) of rows of unequal length."""
        width = max(map(len, rows), default=0)
        fill = self.pad_id if fill is None else fill
        gaps = [width - len(row) for row in rows]

        def filled(parts: Sequence[Sequence[int]], filler: int) -> Int[Tensor, "rows width"]:
            full = [[filler] * gap + list(part) if left else list(part) + [filler] * gap for gap, part in zip(gaps, parts, strict=True)]
            return torch.tensor(full, dtype=torch.long, device=self.device).reshape(len(rows), width)

        return filled(rows, fill), filled([[1] * len(row) for row in rows], 0)


def gather_logprobs(logits: Tensor, labels: Tensor, mask: Tensor) -> Float[Tensor, "rows longest"]:
    """Returns the log-probability of each label token under its logits [rows, longest, vocabulary]; 0 where the mask is 0.

    Computed in float32 at least: a half-precision softmax over a vocabulary loses the differences between choices.
    """
    logprobs = torch.log_softmax(at_least_float32(logits), dim=-1)
    chosen = logprobs.gather(-1, labels.to(logits.device)[..., None]).squeeze(-1)
    return torch.where(mask.to(logits.device).bool(), chosen, torch.zeros_like(chosen))
