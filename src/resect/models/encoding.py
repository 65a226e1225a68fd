"""From text to token ids: what a model is fed, and what of it is scored.

Knows the tokenizer and the kind of model; knows neither weights nor batches. The rules, by kind:

causal            prompt, one blank where neither side has white space, continuation; encoded as a whole and cut at the prompt's own
                  length, as lm-evaluation-harness does; white space that ends the prompt goes to the continuation; no end token.
encoder-decoder   prompt with its end token to the encoder; continuation with its end token is the label.
masked            as many mask tokens as the continuation has tokens, where the prompt holds one mask token, else at its end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from resect.core.errors import BadModel, InputError

from .families import Kind

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Tokens:
    """One prompt and one continuation as token ids: `input_ids` as fed, `label_ids` as scored.

    `label_positions` is for masked models only: where in `input_ids` the masks stand.
    """

    input_ids: Ids
    label_ids: Ids
    label_positions: Ids = ()


@dataclass(frozen=True)
class PromptEncoder:
    """A tokenizer, used by the rules of one kind of model.

    Parameters
    ----------
    tokenizer : any Hugging Face tokenizer
    kind : decides the rules, see the head of this module
    chat : whether each prompt is first wrapped in the tokenizer's own chat template, as one message of the user
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
            suffix = ()  # some tokenizers close every text; what is to be continued must stay open
        elif self.kind == "encoder-decoder" and not suffix and end is not None:
            suffix = (end,)
        if self.kind == "masked" and self.tokenizer.mask_token_id is None:
            raise BadModel("The model is a masked one, but its tokenizer has no mask token; nothing could be asked of it.")
        object.__setattr__(self, "prefix", prefix)
        object.__setattr__(self, "suffix", suffix)

    def encode(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[Tokens]:
        """The tokens of each (prompt, continuation). Raises InputError for a continuation that becomes no token."""
        prompts = [self._wrapped(prompt) for prompt in prompts]
        if self.kind == "encoder-decoder":
            cut = zip(self._bare(prompts), self._bare(continuations), strict=True)
        else:
            cut = zip(*self._cut(prompts, continuations), strict=True)
        encoded = []
        for prompt, continuation, (head, label) in zip(prompts, continuations, cut, strict=True):
            if not label or not continuation.strip():
                raise InputError(f"The choice {continuation!r} becomes no token at all; give it some text.")
            encoded.append(self._arranged(prompt, head, label))
        return encoded

    def prompt_ids(self, prompts: Sequence[str]) -> list[Ids]:
        """What is fed when the model itself is to go on: the prompt without the white space that ends it (causal)."""
        prompts = [self._wrapped(prompt) for prompt in prompts]
        texts = [prompt.rstrip() for prompt in prompts] if self.kind == "causal" else prompts
        bare = self._bare(texts)
        return [self._opening(prompt, ids) + ids + self.suffix for prompt, ids in zip(prompts, bare, strict=True)]

    def document_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Each text as a document: opened by BOS and closed by EOS where the tokenizer defines such tokens (masked: CLS, SEP)."""
        if self.kind == "masked":
            return [self.prefix + ids + self.suffix for ids in self._bare(texts)]
        opening = () if self.tokenizer.bos_token_id is None else (self.tokenizer.bos_token_id,)
        closing = () if self.tokenizer.eos_token_id is None else (self.tokenizer.eos_token_id,)
        return [opening + ids + closing for ids in self._bare(texts)]

    def _wrapped(self, prompt: str) -> str:
        if not self.chat:
            return prompt
        if not getattr(self.tokenizer, "chat_template", None):
            raise InputError("--chat-template was asked for, but this model's tokenizer has no chat template; leave the flag out.")
        message = [{"role": "user", "content": prompt}]
        return str(self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))

    def _bare(self, texts: Iterable[str]) -> list[Ids]:
        """Ids without special tokens; equal texts are encoded once."""
        texts = list(texts)
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return []
        try:
            "\n".join(distinct).encode("utf-8")
        except UnicodeEncodeError as error:
            near = error.object[max(0, error.start - 30) : error.start].rpartition("\n")[2]
            raise InputError(f"A text is not valid Unicode: half of a surrogate pair stands after {near!r}. Mend that text.") from error
        ids = self.tokenizer(distinct, add_special_tokens=False, verbose=False)["input_ids"]
        table = {text: tuple(encoded) for text, encoded in zip(distinct, ids, strict=True)}
        return [table[text] for text in texts]

    def _cut(self, prompts: Sequence[str], continuations: Sequence[str]) -> tuple[list[Ids], list[Ids]]:
        """Ids of the prompts without closing white space, and ids of the continuations as the whole text has them.

        With kind "masked" only what stands before the mask counts as prompt.
        """
        heads, wholes = [], []
        for prompt, continuation in zip(prompts, continuations, strict=True):
            before = prompt if self.kind == "causal" else self._around_mask(prompt)[0]
            joint = " " if before and not before[-1].isspace() and not continuation[:1].isspace() else ""
            heads.append(before.rstrip())
            wholes.append(before + joint + continuation)
        head_ids, whole_ids = self._bare(heads), self._bare(wholes)
        return head_ids, [whole[len(head) :] for head, whole in zip(head_ids, whole_ids, strict=True)]

    def _arranged(self, prompt: str, head: Ids, label: Ids) -> Tokens:
        if self.kind == "encoder-decoder":
            return Tokens(self.prefix + head + self.suffix, self.prefix + label + self.suffix)
        if self.kind == "causal":
            opening = self._opening(prompt, head)
            if not opening and not head:
                raise InputError("An empty prompt needs a token to begin with, and this tokenizer has neither BOS nor EOS.")
            return Tokens(opening + head, label)
        return replace(self.masked(prompt, len(label)), label_ids=label)

    def masked(self, prompt: str, masks: int) -> Tokens:
        """The prompt with so many masks in place, for a masked model; the label ids are the masks themselves."""
        mask = self.tokenizer.mask_token_id
        fed = self.prefix + self._bare([self._around_mask(prompt)[1]])[0] + self.suffix
        where = fed.index(mask)
        filling = (mask,) * masks
        return Tokens(fed[:where] + filling + fed[where + 1 :], filling, tuple(range(where, where + masks)))

    def _around_mask(self, prompt: str) -> tuple[str, str]:
        """The text before the mask, and the whole text with exactly one mask."""
        mask = str(self.tokenizer.mask_token)
        if prompt.count(mask) == 1:
            return prompt.split(mask)[0], prompt
        if mask in prompt:
            raise InputError(f"A prompt holds {prompt.count(mask)} mask tokens {mask}; exactly one, or none, can be filled.")
        joint = " " if prompt and not prompt[-1].isspace() else ""
        return prompt, prompt + joint + mask

    def _opening(self, prompt: str, head: Ids) -> Ids:
        """The tokens that open a prompt; none where its text already opens with them, as chat templates do."""
        opens = self.tokenizer.bos_token
        if self.kind != "causal" or not self.prefix:
            fallback = () if self.kind != "causal" or head else self._any_start()
            return self.prefix or fallback
        return () if opens and prompt.startswith(opens) else self.prefix

    def _any_start(self) -> Ids:
        starts = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return next(((token,) for token in starts if token is not None), ())


def _special_tokens(tokenizer: Any) -> tuple[Ids, Ids]:
    """What the tokenizer puts before and behind a text by itself. Measured, since no attribute tells it for all tokenizers."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return tuple(full[:start]), tuple(full[start + len(bare) :])
    raise BadModel("The tokenizer encodes a text differently with and without special tokens; it cannot be used.")
