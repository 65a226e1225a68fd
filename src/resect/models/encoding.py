"""Encoding: from text to the token ids of a model's input, and those that are scored.

Knows the tokenizer and the kind of model; knows neither weights nor batches. The rules, by kind:

causal            prompt, one blank where neither side has white space, continuation; encoded together and split at the length of the
                  prompt alone, as lm-evaluation-harness does; white space at the prompt's end goes to the continuation; no end token.
encoder-decoder   the encoder reads the prompt with its end token; the continuation with its end token is the label.
masked            as many mask tokens as the continuation has tokens, at the prompt's mask token, else at its end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from resect.core.errors import BadModel, InputError

from .families import Kind

Ids = tuple[int, ...]


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
    chat : whether each prompt is first put into the tokenizer's own chat template, as one user message
    """

    tokenizer: Any
    kind: Kind
    chat: bool = False
    prefix: Ids = field(init=False)
    suffix: Ids = field(init=False)

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

    def encode(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of each (prompt, continuation). Raises InputError for a continuation that becomes no token."""
        prompts = [self._in_chat_template(prompt) for prompt in prompts]
        if self.kind == "encoder-decoder":
            ids = zip(self._encode_plain(prompts), self._encode_plain(continuations), strict=True)
        else:
            ids = zip(*self._split_joint(prompts, continuations), strict=True)
        encoded = []
        for prompt, continuation, (head, label) in zip(prompts, continuations, ids, strict=True):
            if not label or not continuation.strip():
                raise InputError(f"The choice {continuation!r} becomes no token at all; give it some text.")
            encoded.append(self._arrange(prompt, head, label))
        return encoded

    def encode_open_prompts(self, prompts: Sequence[str]) -> list[Ids]:
        """Returns the inputs of prompts that the model continues: without white space at their end (causal)."""
        prompts = [self._in_chat_template(prompt) for prompt in prompts]
        texts = [prompt.rstrip() for prompt in prompts] if self.kind == "causal" else prompts
        plain = self._encode_plain(texts)
        return [self._leading_ids(prompt, ids) + ids + self.suffix for prompt, ids in zip(prompts, plain, strict=True)]

    def encode_documents(self, texts: Sequence[str]) -> list[Ids]:
        """Returns each text as a document: with BOS before and EOS after it where the tokenizer defines them (masked: CLS, SEP)."""
        if self.kind == "masked":
            return [self.prefix + ids + self.suffix for ids in self._encode_plain(texts)]
        before = () if self.tokenizer.bos_token_id is None else (self.tokenizer.bos_token_id,)
        after = () if self.tokenizer.eos_token_id is None else (self.tokenizer.eos_token_id,)
        return [before + ids + after for ids in self._encode_plain(texts)]

    def _in_chat_template(self, prompt: str) -> str:
        if not self.chat:
            return prompt
        if not getattr(self.tokenizer, "chat_template", None):
            raise InputError("--chat-template is set, but this model's tokenizer has no chat template; leave the flag out.")
        message = [{"role": "user", "content": prompt}]
        return str(self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))

    def _encode_plain(self, texts: Iterable[str]) -> list[Ids]:
        """Returns ids without special tokens; equal texts are encoded once."""
        texts = list(texts)
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return []
        try:
            "\n".join(distinct).encode("utf-8")
        except UnicodeEncodeError as error:
            near = error.object[max(0, error.start - 30) : error.start].rpartition("\n")[2]
            raise InputError(f"A text is no Unicode: half of a surrogate pair follows {near!r}. Correct that text.") from error
        ids = self.tokenizer(distinct, add_special_tokens=False, verbose=False)["input_ids"]
        table = {text: tuple(encoded) for text, encoded in zip(distinct, ids, strict=True)}
        return [table[text] for text in texts]

    def _split_joint(self, prompts: Sequence[str], continuations: Sequence[str]) -> tuple[list[Ids], list[Ids]]:
        """Returns ids of the prompts without white space at their end, and ids of the continuations as they are in the joint text.

        With kind "masked" only the text before the mask counts as prompt.
        """
        heads, joint_texts = [], []
        for prompt, continuation in zip(prompts, continuations, strict=True):
            before = prompt if self.kind == "causal" else self._around_mask(prompt)[0]
            blank = " " if before and not before[-1].isspace() and not continuation[:1].isspace() else ""
            heads.append(before.rstrip())
            joint_texts.append(before + blank + continuation)
        head_ids, joint_ids = self._encode_plain(heads), self._encode_plain(joint_texts)
        return head_ids, [ids[len(head) :] for head, ids in zip(head_ids, joint_ids, strict=True)]

    def _arrange(self, prompt: str, head: Ids, label: Ids) -> Tokens:
        if self.kind == "encoder-decoder":
            return Tokens(self.prefix + head + self.suffix, self.prefix + label + self.suffix)
        if self.kind == "causal":
            leading = self._leading_ids(prompt, head)
            if not leading and not head:
                raise InputError("An empty prompt needs a token to begin with, and this tokenizer has neither BOS nor EOS.")
            return Tokens(leading + head, label)
        return replace(self.with_masks(prompt, len(label)), label_ids=label)

    def with_masks(self, prompt: str, masks: int) -> Tokens:
        """Returns the prompt with so many masks, for a masked model; the label ids are the masks themselves."""
        mask = self.tokenizer.mask_token_id
        ids = self.prefix + self._encode_plain([self._around_mask(prompt)[1]])[0] + self.suffix
        start = ids.index(mask)
        mask_ids = (mask,) * masks
        return Tokens(ids[:start] + mask_ids + ids[start + 1 :], mask_ids, tuple(range(start, start + masks)))

    def _around_mask(self, prompt: str) -> tuple[str, str]:
        """Returns the text before the mask, and the prompt with exactly one mask."""
        mask = str(self.tokenizer.mask_token)
        if prompt.count(mask) == 1:
            return prompt.split(mask)[0], prompt
        if mask in prompt:
            raise InputError(f"A prompt contains {prompt.count(mask)} mask tokens {mask}; exactly one, or none, can be filled.")
        blank = " " if prompt and not prompt[-1].isspace() else ""
        return prompt, prompt + blank + mask

    def _leading_ids(self, prompt: str, head: Ids) -> Ids:
        """Returns the special tokens before a prompt; none where its text already begins with them, as chat templates do."""
        bos = self.tokenizer.bos_token
        if self.kind != "causal" or not self.prefix:
            fallback = () if self.kind != "causal" or head else self._any_first_token()
            return self.prefix or fallback
        return () if bos and prompt.startswith(bos) else self.prefix

    def _any_first_token(self) -> Ids:
        candidates = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return next(((token,) for token in candidates if token is not None), ())


def _special_tokens(tokenizer: Any) -> tuple[Ids, Ids]:
    """Returns the ids that the tokenizer adds before and after a text. Measured, since not all tokenizers have an attribute for them."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return tuple(full[:start]), tuple(full[start + len(plain) :])
    raise BadModel("The tokenizer encodes a text differently with and without special tokens; it cannot be used.")
