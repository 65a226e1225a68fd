"""Batches of token ids through a Hugging Face model: log-probabilities of labels, with or without gradients.

Knows how each kind of model is called and how rows are padded; knows no text, no tokenizer and no batch size.

No padding ever stands between the real tokens of a row, since sliding windows count columns. Rows by themselves are padded behind;
prompts that share their work with several labels are padded in front, so that every label starts in the same column.
"""

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


@dataclass(frozen=True)
class PaddedRows:
    """A batch, ready to be fed, and where its labels are scored.

    `inputs` are the keyword arguments of the model. `mask` [rows, width] marks the real tokens that the main stack runs over (for an
    encoder-decoder: the decoder's), `encoder_mask` those of the encoder. `labels` [rows, longest label] with `label_mask`.
    """

    inputs: dict[str, Tensor]
    mask: Tensor
    encoder_mask: Tensor | None
    labels: Tensor
    label_mask: Tensor
    label_columns: Tensor | None


class Forward:
    """How one Hugging Face model is called.

    Parameters
    ----------
    model : the Hugging Face model, as it is
    kind : which rules hold
    pad : the id that fills up; any valid id will do, since it is masked
    start : the id that a decoder starts with (encoder-decoder only)
    """

    def __init__(self, model: Any, kind: Kind, pad: int, start: int | None) -> None:
        self.model, self.kind, self.pad, self.start = model, kind, pad, start
        #: Entered around a call of which only these columns [rows, scored] of the main stack are looked at.
        self.focus: Callable[[Tensor], AbstractContextManager[object]] = lambda columns: nullcontext()
        self._takes = frozenset(inspect.signature(model.forward).parameters)

    @property
    def device(self) -> torch.device:
        """Where ids are put: the device of the input embeddings."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    # Rows by themselves: what gradients are taken through.

    def rows(self, tokens: Sequence[Tokens]) -> PaddedRows:
        """Arrange tokens as one batch, one row each."""
        labels, label_mask = self.padded([row.label_ids for row in tokens])
        if self.kind == "encoder-decoder":
            ids, mask = self.padded([row.input_ids for row in tokens])
            decoder_ids = self.shifted(labels)
            inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": decoder_ids}
            return PaddedRows(inputs, label_mask, mask, labels, label_mask, None)
        if self.kind == "masked":
            fed, scored = [row.input_ids for row in tokens], [row.label_positions for row in tokens]
        else:
            fed = [row.input_ids + row.label_ids[:-1] for row in tokens]
            scored = [tuple(range(len(row.input_ids) - 1, len(row.input_ids) - 1 + len(row.label_ids))) for row in tokens]
        ids, mask = self.padded(fed)
        columns, _ = self.padded(scored, fill=ids.shape[1] - 1)
        return PaddedRows({"input_ids": ids, "attention_mask": mask}, mask, None, labels, label_mask, columns)

    def label_logprobs(self, rows: PaddedRows) -> Float[Tensor, "rows longest"]:
        """Log-probability of every label token, 0 where a row's label has ended."""
        return picked(self._label_logits(rows), rows.labels, rows.label_mask)

    @torch.inference_mode()
    def row_logprobs(self, tokens: Sequence[Tokens]) -> list[float]:
        """Total log-probability of every label, each in a row by itself."""
        totals: list[float] = self.label_logprobs(self.rows(tokens)).sum(dim=1).tolist()
        return totals

    @property
    def shuns_left_padding(self) -> bool:
        """Whether padding in front would give NaN: transformers masks float64 scores with a number that is -inf in its float32 softmax."""
        return self.kind == "causal" and self.model.dtype == torch.float64

    def _label_logits(self, rows: PaddedRows) -> Float[Tensor, "rows longest vocabulary"]:
        """Logits where labels are scored. The head runs from the first such column on, where the model can be told so."""
        if rows.label_columns is None:
            logits: Tensor = self.model(**rows.inputs, use_cache=False).logits
            return logits
        with self.focus(rows.label_columns):
            if self.kind == "masked":
                logits = self.model(**rows.inputs).logits
            else:
                keep = rows.mask.shape[1] - int(rows.label_columns.min())
                positions = self._positions(rows.mask)
                logits = self.model(**rows.inputs, **positions, use_cache=False, **self._head_columns(keep)).logits
        columns = rows.label_columns - (rows.mask.shape[1] - logits.shape[1])
        return logits[torch.arange(len(columns), device=logits.device)[:, None], columns.to(logits.device)]

    # Prompts shared by several labels: what choices are scored with.

    @torch.inference_mode()
    def shared_logprobs(self, prompts: Sequence[Ids], labels: Sequence[Sequence[Ids]]) -> list[list[float]]:
        """Log-probability of every label of every prompt. Each prompt is run once; its labels continue from its memory.

        Not for masked models, whose prompt changes with the length of the label.
        """
        first, memory, mask, extra = self._primed(prompts)
        start_logprobs = torch.log_softmax(_exact(first), dim=-1)
        totals = [[float(start_logprobs[row, label[0]]) for label in those] for row, those in enumerate(labels)]
        longer = [(row, column) for row, those in enumerate(labels) for column, label in enumerate(those) if len(label) > 1]
        if not longer:
            return totals
        rest, rest_mask = self.padded([labels[row][column][1:] for row, column in longer])
        fed, fed_mask = self.padded([labels[row][column][:-1] for row, column in longer])
        owners = [row for row, _ in longer]
        owner = torch.tensor(owners, device=fed.device)
        if owners != list(range(len(prompts))):
            memory.batch_select_indices(owner)
        logits = self._continued(fed, fed_mask, memory, mask[owner], {name: value[owner] for name, value in extra.items()})
        added = picked(logits, rest, rest_mask).sum(dim=1).tolist()
        for (row, column), more in zip(longer, added, strict=True):
            totals[row][column] += more
        return totals

    @torch.inference_mode()
    def filled_logprobs(self, prompts: Sequence[Tokens], labels: Sequence[Sequence[Ids]]) -> list[list[float]]:
        """Log-probability of every label at the masks of its prompt (masked models). Labels of one prompt are equally long."""
        rows = self.rows(prompts)
        logprobs = torch.log_softmax(_exact(self._label_logits(rows)), dim=-1)
        return [[float(logprobs[row, range(len(label)), label].sum()) for label in those] for row, those in enumerate(labels)]

    @torch.inference_mode()
    def first_token_ranks(self, tokens: Sequence[Tokens]) -> tuple[list[int], list[int]]:
        """The rank of each row's last label token (0: the most probable; of equals the lower id first), and the most probable token's id.

        A row whose logits hold NaN has rank −1.
        """
        rows = self.rows(tokens)
        last = torch.tensor([len(row.label_ids) - 1 for row in tokens])
        logits = self._label_logits(rows)
        logits = _exact(logits[torch.arange(len(tokens), device=logits.device), last.to(logits.device)])
        wanted = rows.labels.to(logits.device).gather(1, last.to(logits.device)[:, None])
        own = logits.gather(1, wanted)
        before = torch.arange(logits.shape[1], device=logits.device) < wanted
        ranks = ((logits > own) | ((logits == own) & before)).sum(dim=1)
        ranks = torch.where(logits.isnan().any(dim=1), -1, ranks)
        return ranks.tolist(), logits.argmax(dim=1).tolist()

    def _primed(self, prompts: Sequence[Ids]) -> tuple[Tensor, Any, Tensor, dict[str, Tensor]]:
        """Run the prompts: logits of the first label token [rows, vocabulary], the memory, its mask, what else goes on."""
        if self.kind == "causal":
            ids, mask = self.padded(prompts, left=True)
            inputs = {"input_ids": ids, "attention_mask": mask} | self._positions(mask)
            with self.focus(torch.full((len(prompts), 1), ids.shape[1] - 1, device=ids.device)):
                out = self.model(**inputs, use_cache=True, **self._head_columns(1))
            return out.logits[:, -1], out.past_key_values, mask, {}
        ids, mask = self.padded(prompts)
        hidden = self.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        start = torch.full((len(prompts), 1), self._start(), device=ids.device)
        out = self.model(encoder_outputs=(hidden,), attention_mask=mask, decoder_input_ids=start, use_cache=True)
        return out.logits[:, -1], out.past_key_values, mask, {"hidden": hidden}

    def _continued(self, fed: Tensor, fed_mask: Tensor, memory: Any, mask: Tensor, extra: dict[str, Tensor]) -> Tensor:
        if self.kind == "causal":
            whole = torch.cat([mask, fed_mask], dim=1)
            positions = {name: value[:, mask.shape[1] :] for name, value in self._positions(whole).items()}
            inputs = {"input_ids": fed, "attention_mask": whole} | positions
            logits: Tensor = self.model(**inputs, past_key_values=memory, use_cache=True).logits
            return logits
        out = self.model(
            encoder_outputs=(extra["hidden"],),
            attention_mask=mask,
            decoder_input_ids=fed,
            past_key_values=memory,
            use_cache=True,
        )
        continued: Tensor = out.logits
        return continued

    # Small parts.

    @property
    def chooses_logits(self) -> bool:
        """Whether the model can be told how many of the last positions its head is needed for."""
        return "logits_to_keep" in self._takes

    def _head_columns(self, width: int) -> dict[str, int]:
        return {"logits_to_keep": width} if self.chooses_logits else {}

    def _positions(self, mask: Tensor) -> dict[str, Tensor]:
        """Positions that count real tokens only. A family that takes none (ALiBi) counts its mask by itself."""
        if "position_ids" not in self._takes:
            return {}
        return {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)}

    def _start(self) -> int:
        if self.start is None:
            raise ValueError("An encoder-decoder needs the token that its decoder starts with.")
        return self.start

    def shifted(self, labels: Tensor) -> Tensor:
        """What a decoder is fed so that it predicts `labels`: its start token, and all but the last of them."""
        start = torch.full((labels.shape[0], 1), self._start(), device=labels.device)
        return torch.cat([start, labels[:, :-1]], dim=1)

    def padded(
        self, rows: Sequence[Ids], *, left: bool = False, fill: int | None = None
    ) -> tuple[Int[Tensor, "rows width"], Int[Tensor, "rows width"]]:
        """Ids and mask (1 = real) of rows of unequal length."""
        width = max(map(len, rows), default=0)
        fill = self.pad if fill is None else fill
        gaps = [width - len(row) for row in rows]

        def filled(parts: Sequence[Sequence[int]], filler: int) -> Int[Tensor, "rows width"]:
            whole = [[filler] * gap + list(part) if left else list(part) + [filler] * gap for gap, part in zip(gaps, parts, strict=True)]
            return torch.tensor(whole, dtype=torch.long, device=self.device).reshape(len(rows), width)

        return filled(rows, fill), filled([[1] * len(row) for row in rows], 0)


def picked(logits: Tensor, labels: Tensor, mask: Tensor) -> Float[Tensor, "rows longest"]:
    """Log-probability of each label token under its logits [rows, longest, vocabulary]; 0 where the mask is 0.

    Computed in float32 at least: a half-precision softmax over a vocabulary loses the differences that choices are told by.
    """
    logprobs = torch.log_softmax(_exact(logits), dim=-1)
    chosen = logprobs.gather(-1, labels.to(logits.device)[..., None]).squeeze(-1)
    return torch.where(mask.to(logits.device).bool(), chosen, torch.zeros_like(chosen))


def _exact(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
