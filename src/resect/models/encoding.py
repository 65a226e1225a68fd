"""Encoding: from text to the token ids of a model's input, and those that are scored.

Knows the tokenizer and the kind of model; knows neither weights nor batches. The rules, by kind:

causal            prompt, one blank where neither side has white space, continuation; encoded together and split at the length of the
                  prompt alone, as lm-evaluation-harness does; white space at the prompt's end goes to the continuation; no end token.
encoder-decoder   the encoder reads the prompt with its end token; the continuation with its end token is the label.
masked            as many mask tokens as the continuation has tokens, at the prompt's mask token, else at its end.

Special tokens that a text spells: those of a template are tokens (see `MarkedText`), and those of data are text, unless `parse_special` is
set. A plain text is data, but for the mask that a masked model is to fill.

In a chat template the prompt is the user's turn, encoded as it is served: with one BOS, up to the place of the assistant's first words, the
white space before it included. The continuation is these words.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from resect.core.errors import BadModel, InputError
from resect.core.execution import json_digest
from resect.core.marked_text import MarkedText, joined, overlaps, piece

from .chat_template import ChatTemplate
from .families import Kind
from .special_tokens import Ids, ReadTexts, SpecialTokens

__all__ = ["Ids", "PromptEncoder", "Tokens"]


@dataclass(frozen=True)
class Tokens:
    """One prompt and one continuation as token ids: `input_ids` are the input, `label_ids` are scored.

    `label_positions` is for masked models only: the positions of the masks in `input_ids`.
    """

    input_ids: Ids
    label_ids: Ids
    label_positions: Ids = ()


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes texts with a tokenizer by the rules of one kind of model.

    Parameters
    ----------
    tokenizer : any Hugging Face tokenizer
    kind : decides the rules, see the top of this module
    chat : the chat template that each prompt is put into as the user's turn; None: prompts are encoded as they are
    parse_special : whether special tokens that data spell are these tokens

    Attributes
    ----------
    prefix, suffix : the special tokens around a text
    special : the tokenizer's special tokens
    """

    tokenizer: Any
    kind: Kind
    chat: ChatTemplate | None = None
    parse_special: bool = False
    prefix: Ids = field(init=False)
    suffix: Ids = field(init=False)
    special: SpecialTokens = field(init=False, repr=False, compare=False)
    _read: ReadTexts = field(default_factory=ReadTexts, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        prefix, suffix = _special_tokens(self.tokenizer)
        end = self.tokenizer.eos_token_id
        if self.kind == "causal":
            suffix = ()  # some tokenizers end every text; a prompt that is to be continued must not end
        elif self.kind == "encoder-decoder" and not suffix and end is not None:
            suffix = (end,)
        if self.kind == "masked" and self.tokenizer.mask_token_id is None:
            raise BadModel("The model is a masked one, but its tokenizer has no mask token, so that it cannot be used.")
        object.__setattr__(self, "prefix", prefix)
        object.__setattr__(self, "suffix", suffix)
        object.__setattr__(self, "special", SpecialTokens(self.tokenizer))

    @property
    def wording(self) -> str | bool:
        """A digest of all settings of how texts are read; False where these are the default ones."""
        if self.chat is None:
            return json_digest(["parse_special"]) if self.parse_special else False
        return json_digest([self.chat.source, dict(self.chat.kwargs), self.chat.system, self.parse_special])

    def notes(self) -> list[str]:
        """Returns sentences for the user on how the texts so far were read."""
        notes = self.chat.notes() if self.chat is not None else []
        if self.chat is None and self._read.has_prompts and getattr(self.tokenizer, "chat_template", None):
            notes.append(
                "The model has a chat template, and its prompts were not put into it: a chat model mostly answers better in it "
                "(--chat-template)."
            )
        spelled = self._read.sentence(self.parse_special)
        return notes if spelled is None else [*notes, spelled]

    def encode(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of each (prompt, continuation). Raises InputError for a continuation that becomes no token."""
        worded, labels = self._worded(prompts), [self._as_answer(continuation) for continuation in continuations]
        if self.kind == "encoder-decoder":
            ids = zip(self._encode_plain(worded), self._encode_plain(labels), strict=True)
        else:
            ids = zip(*self._split_joint(worded, labels), strict=True)
        encoded = []
        for prompt, continuation, (head, label) in zip(worded, labels, ids, strict=True):
            if not label or not continuation.strip():
                raise InputError(f"The choice {str(continuation)!r} becomes no token at all; give it some text.")
            encoded.append(self._arrange(prompt, head, label))
        return encoded

    def encode_open_prompts(self, prompts: Sequence[str]) -> list[Ids]:
        """Returns the inputs of prompts that the model continues: without white space at their end (causal, outside a chat template)."""
        worded = self._worded(prompts)
        plain = self._encode_plain(map(_without_end_blanks, worded) if self.kind == "causal" and self.chat is None else worded)
        return [self._leading_ids(ids) + ids + self.suffix for ids in plain]

    def encode_documents(self, texts: Sequence[str]) -> list[Ids]:
        """Returns each text as a document: with BOS before and EOS after it where the tokenizer defines them (masked: CLS, SEP)."""
        plain = self._encode_plain([self._marked(text) for text in texts])
        if self.kind == "masked":
            return [self.prefix + ids + self.suffix for ids in plain]
        before = () if self.tokenizer.bos_token_id is None else (self.tokenizer.bos_token_id,)
        after = () if self.tokenizer.eos_token_id is None else (self.tokenizer.eos_token_id,)
        if not self.parse_special:
            return [before + ids + after for ids in plain]
        return [(() if ids[:1] == before else before) + ids + (() if ids[-1:] == after else after) for ids in plain]

    # -- what is data, and what is a template ------------------------------------------------------------------------------

    def _marked(self, text: str, is_prompt: bool = False) -> str:
        """Returns a text in which exactly those special tokens are marked that it spells and that are text; counts them."""
        spans = self.special.spans(text)
        if not spans:
            return str(text)
        data = text.data if isinstance(text, MarkedText) else ((0, len(text)),)
        as_text = [span for span in spans if overlaps(span, data)]
        if is_prompt and self.kind == "masked":
            masks = {span for span in spans if text[span[0] : span[1]] == str(self.tokenizer.mask_token)}
            if masks.issubset(as_text):  # no template has one: the text says itself where the answer goes
                as_text = [span for span in as_text if span not in masks]
        if as_text:
            self._read.add(text, tuple(as_text))
        return str(text) if self.parse_special or not as_text else MarkedText(text, as_text)

    def _worded(self, prompts: Sequence[str]) -> list[str]:
        """Returns prompts as the model reads them: marked, and in the chat template; equal ones once."""
        self._read.has_prompts |= bool(prompts)
        worded: dict[tuple[str, Any], str] = {}
        keys = [(str(prompt), getattr(prompt, "data", None)) for prompt in prompts]
        for key, prompt in zip(keys, prompts, strict=True):
            if key not in worded:
                marked = self._marked(prompt, is_prompt=True)
                data = getattr(marked, "data", ())
                worded[key] = marked if self.chat is None else self.chat.wrapped(MarkedText(marked, data))
        return [worded[key] for key in keys]

    def _as_answer(self, continuation: str) -> str:
        """Returns a marked continuation; in a chat template without blanks before it, since the template has its own."""
        marked = self._marked(continuation)
        return marked if self.chat is None else piece(marked, len(marked) - len(marked.lstrip()), len(marked))

    def _encode_plain(self, texts: Iterable[str]) -> list[Ids]:
        """Returns ids without special tokens around the texts; equal texts are encoded once."""
        texts = [text if getattr(text, "data", ()) else str(text) for text in texts]
        keys = [(text, getattr(text, "data", ())) for text in texts]
        _refuse_surrogates(texts)
        plain = list(dict.fromkeys(text for text, data in keys if not data))
        ids = self.tokenizer(plain, add_special_tokens=False, verbose=False)["input_ids"] if plain else []
        table: dict[tuple[str, Any], Ids] = {(text, ()): tuple(encoded) for text, encoded in zip(plain, ids, strict=True)}
        for key in keys:
            if key not in table:
                table[key] = self.special.encode_as_text(MarkedText(*key))
        return [table[key] for key in keys]

    def _split_joint(self, prompts: Sequence[str], continuations: Sequence[str]) -> tuple[list[Ids], list[Ids]]:
        """Returns ids of the prompts without white space at their end, and ids of the continuations as they are in the joint text.

        With kind "masked" only the text before the mask counts as prompt; in a chat template the white space at its end, too.
        """
        if self.kind == "causal" and self.chat is not None:
            return self._split_in_chat(prompts, continuations, self.chat.separator)
        heads, joint_texts = [], []
        for prompt, continuation in zip(prompts, continuations, strict=True):
            before = prompt if self.kind == "causal" else self._around_mask(prompt)[0]
            heads.append(_without_end_blanks(before))
            joint_texts.append(joined(before, _blank(before, continuation), continuation))
        head_ids, joint_ids = self._encode_plain(heads), self._encode_plain(joint_texts)
        return head_ids, [ids[len(head) :] for head, ids in zip(head_ids, joint_ids, strict=True)]

    def _split_in_chat(self, prompts: Sequence[str], answers: Sequence[str], separator: str | None) -> tuple[list[Ids], list[Ids]]:
        """Returns ids of the prompts as they are served, and ids of the answers, which follow them after the template's own white space."""
        words = [
            joined(_blank(prompt, answer) if separator is None else separator, answer)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        head_ids = self._encode_plain(prompts)
        joint_ids = self._encode_plain([joined(prompt, word) for prompt, word in zip(prompts, words, strict=True)])
        labels = [
            # Where the two would be joined into one token, the model has already read the prompt without it.
            ids[len(head) :] if ids[: len(head)] == head else self.special.encode_continuation(word)
            for head, ids, word in zip(head_ids, joint_ids, words, strict=True)
        ]
        return head_ids, labels

    def _arrange(self, prompt: str, head: Ids, label: Ids) -> Tokens:
        if self.kind == "encoder-decoder":
            return Tokens(self.prefix + head + self.suffix, self.prefix + label + self.suffix)
        if self.kind == "causal":
            leading = self._leading_ids(head)
            if not leading and not head:
                raise InputError("An empty prompt needs a token to begin with, and this tokenizer has neither BOS nor EOS.")
            return Tokens(leading + head, label)
        return replace(self._filled_with_masks(prompt, len(label)), label_ids=label)

    def with_masks(self, prompt: str, masks: int) -> Tokens:
        """Returns the prompt with so many masks, for a masked model; the label ids are the masks themselves."""
        return self._filled_with_masks(self._worded([prompt])[0], masks)

    def _filled_with_masks(self, prompt: str, masks: int) -> Tokens:
        mask = self.tokenizer.mask_token_id
        ids = self.prefix + self._encode_plain([self._around_mask(prompt)[1]])[0] + self.suffix
        start = ids.index(mask)
        mask_ids = (mask,) * masks
        return Tokens(ids[:start] + mask_ids + ids[start + 1 :], mask_ids, tuple(range(start, start + masks)))

    def _around_mask(self, prompt: str) -> tuple[str, str]:
        """Returns the text before the mask, and the prompt with exactly one mask; masks that are data are text."""
        mask, data = str(self.tokenizer.mask_token), getattr(prompt, "data", ())
        masks = [found.span() for found in re.finditer(re.escape(mask), prompt) if not overlaps(found.span(), data)]
        if len(masks) == 1:
            return piece(prompt, 0, masks[0][0]), prompt
        if masks:
            raise InputError(f"A prompt contains {len(masks)} mask tokens {mask}; exactly one, or none, can be filled.")
        blank = " " if prompt and not prompt[-1].isspace() else ""
        return prompt, joined(prompt, blank, mask)

    def _leading_ids(self, head: Ids) -> Ids:
        """Returns the special tokens before a prompt; none where its text already has them, as chat templates do."""
        if self.kind != "causal" or not self.prefix:
            fallback = () if self.kind != "causal" or head else self._any_first_token()
            return self.prefix or fallback
        bos = self.tokenizer.bos_token_id
        has_them = head[: len(self.prefix)] == self.prefix or (bos is not None and head[:1] == (bos,))
        return () if has_them or (self.chat is not None and bos in self.prefix and bos in head) else self.prefix

    def _any_first_token(self) -> Ids:
        candidates = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return next(((token,) for token in candidates if token is not None), ())


def _refuse_surrogates(texts: Sequence[str]) -> None:
    """Raises InputError for a text that cannot be encoded as UTF-8."""
    try:
        "\n".join(texts).encode("utf-8")
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 30) : error.start].rpartition("\n")[2]
        raise InputError(f"A text is no Unicode: half of a surrogate pair follows {near!r}. Correct that text.") from error


def _without_end_blanks(text: str) -> str:
    return piece(text, 0, len(text.rstrip()))


def _blank(before: str, after: str) -> str:
    """Returns the blank between two texts: one where neither side has white space."""
    return " " if before and not before[-1].isspace() and not after[:1].isspace() else ""


def _special_tokens(tokenizer: Any) -> tuple[Ids, Ids]:
    """Returns the ids that the tokenizer adds before and after a text. Measured, since not all tokenizers have an attribute for them."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return tuple(full[:start]), tuple(full[start + len(plain) :])
    raise BadModel("The tokenizer encodes a text differently with and without special tokens; it cannot be used.")
