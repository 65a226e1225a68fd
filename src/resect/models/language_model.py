"""LanguageModel: causal, encoder-decoder and masked models behind one interface.

Log-probabilities of continuations, generated text, and the log-likelihood and perplexity of texts. Knows no task, no edit and no method.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float64
from torch import Tensor, nn

from resect.core.address import Site
from resect.core.errors import InputError, NotFinite, PromptTooLong

from .anatomy import Anatomy
from .batching import Batcher
from .chat_template import chat_template_of
from .encoding import Ids, PromptEncoder, Tokens
from .families import Kind
from .forward import Forward
from .generation import Generation
from .prompt_pairs import PromptPairs, check_texts, one_batch
from .text_windows import DEFAULT_WINDOW, scored_rows

Result = TypeVar("Result")


#: Families with relative positions alone, whatever their configurations say.
_WITHOUT_LIMIT = ("t5", "mt5", "umt5", "longt5", "switch_transformers")


def _position_offset(model: nn.Module) -> int:
    """Returns from which number on positions are counted: in RoBERTa and its kin behind that of the padding token."""
    tables = (module for path, module in model.named_modules() if path.endswith("position_embeddings") and isinstance(module, nn.Embedding))
    return next((table.padding_idx + 1 for table in tables if table.padding_idx is not None), 0)


class LanguageModel:
    """A Hugging Face model with its tokenizer and its anatomy.

    The Hugging Face model is `.model`: nothing is wrapped or replaced, only evaluation mode is set.

    Attributes
    ----------
    model, tokenizer : as they were given
    anatomy : Anatomy
    kind : "causal", "encoder-decoder" or "masked"
    encoder : encodes prompts and texts
    forward : runs forward passes of batches
    generation : generates text
    batcher : finds batch sizes
    name : Hub id, or the last part of the folder
    loading_notes : sentences for the user on the files that were loaded
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        batch_size: int | Literal["auto"] = "auto",
        name: str = "",
        chat: bool = False,
        chat_kwargs: Mapping[str, Any] | None = None,
        system: str | None = None,
        parse_special: bool = False,
    ) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.loading_notes: tuple[str, ...] = ()
        self.anatomy = Anatomy.of(model)
        self.kind: Kind = self.anatomy.kind
        template = chat_template_of(tokenizer, chat, chat_kwargs, system, parse_special)
        self.encoder = PromptEncoder(tokenizer, self.kind, template, parse_special)
        config = model.config
        pad = next((token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None), 0)
        self.forward = Forward(model, self.kind, pad, getattr(config, "decoder_start_token_id", None), self.anatomy.is_listed)
        self.generation = Generation(model, tokenizer, self.kind, self.encoder, self.forward)
        self.batcher = Batcher(model, self.anatomy, batch_size)
        model.eval()

    @classmethod
    def of(cls, model: Any, tokenizer: Any, **settings: Any) -> "LanguageModel":
        """Returns a model that is already in memory (PEFT, quantised, edited, …).

        Parameters
        ----------
        batch_size : prompts in a batch; "auto" (the default) finds it at the first batch and halves it when memory runs out
        name : the model's, in reports
        chat : put prompts into the tokenizer's own chat template, as the user's turn; texts that are scored are the assistant's first words
        chat_kwargs : variables of that template, such as {"enable_thinking": False}
        system : the system text in it
        parse_special : special tokens that prompts, choices and texts spell are these tokens; by default they are text

        Raises UnknownFamily, NotYet, BadModel; InputError for a chat template that is not there, or refuses these settings.
        """
        return cls(model, tokenizer, **settings)

    def __repr__(self) -> str:
        return f"LanguageModel({self.name or type(self.model).__name__}, {self.kind}, {self.anatomy.family})"

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user on how this model was loaded, and how its texts were read so far."""
        return (*self.loading_notes, *self.encoder.notes())

    @property
    def mask_token(self) -> str:
        """What `{{ answer }}` renders as in a template: the mask token of a masked model, "" for others."""
        return str(self.tokenizer.mask_token) if self.kind == "masked" else ""

    @property
    def context(self) -> int | None:
        """The longest input in tokens; None where positions are relative and unlimited."""
        config = self.model.config.get_text_config()
        names = ("max_position_embeddings", "n_positions", "seq_length") if self.anatomy.family not in _WITHOUT_LIMIT else ()
        limits = [getattr(config, name) for name in names if isinstance(getattr(config, name, None), int)]
        if not limits:
            return None
        return int(limits[0]) - _position_offset(self.model)

    def fingerprint(self, sites: Sequence[Site | str]) -> dict[str, list[float]]:
        """Returns values of these sites' weights at fixed positions, rounded to bfloat16: they identify a model whatever its dtype."""
        from .fingerprint import fingerprint

        return fingerprint(self.anatomy, [Site.of(site) for site in sites])

    # -- log-probabilities of continuations ----------------------------------------------------------------------------

    def tokens(self, prompt: str, continuation: str) -> Tokens:
        """Returns the input (`input_ids`) and the scored tokens (`label_ids`) of one pair. Raises InputError where no token is left."""
        return self.encoder.encode(*check_texts(prompts=[prompt], continuations=[continuation]))[0]

    def encode_pairs(self, prompts: Sequence[str], continuations: Sequence[str]) -> PromptPairs:
        """Returns encoded pairs, to be scored any number of times. Equal prompts are run once.

        Raises InputError for a continuation that becomes no token, PromptTooLong with the number of pairs that do not fit.
        """
        encoded = self.encoder.encode(*check_texts(prompts=prompts, continuations=continuations))
        self.check_lengths(map(self.input_length, encoded))
        return PromptPairs.of(encoded)

    def score_pairs(self, pairs: PromptPairs) -> Float64[np.ndarray, " pairs"]:
        """Returns the total log-probability (natural logarithm) of each pair's continuation. Raises NotFinite, OutOfMemory."""
        return pairs.gather(self._longest_first(list(map(len, pairs.prompts)), lambda indices: self._score_prompts(pairs, indices)))

    def score_pairs_in_one_batch(self, pairs: PromptPairs) -> Float64[np.ndarray, " pairs"]:
        """Returns the same from one batch: the same sequence of forward calls each time. Raises NotFinite, OutOfMemory."""
        with one_batch(len(pairs.prompts), max(map(len, pairs.prompts), default=0)):
            return pairs.gather(self._score_prompts(pairs, range(len(pairs.prompts))))

    def logprobs(self, prompts: Sequence[str], continuations: Sequence[str]) -> Float64[np.ndarray, " pairs"]:
        """Returns the total log-probability (natural logarithm, in (-inf, 0]) of each continuation after its prompt.

        The end token is included where the kind of model generates one (encoder-decoder), and nothing is divided by a length.
        Raises InputError, PromptTooLong, NotFinite, OutOfMemory.
        """
        return self.score_pairs(self.encode_pairs(prompts, continuations))

    def _score_prompts(self, pairs: PromptPairs, indices: Sequence[int]) -> list[list[float]]:
        labels = [[tokens.label_ids for tokens in pairs.labels[index]] for index in indices]
        if self.kind == "masked":
            return self.forward.mask_logprobs([pairs.labels[index][0] for index in indices], labels)
        if self.forward.needs_right_padding:
            return [self.forward.row_logprobs(pairs.labels[index]) for index in indices]
        return self.forward.shared_prompt_logprobs([pairs.prompts[index] for index in indices], labels)

    def pair_lengths(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[int]:
        """Returns the length of each pair's input in tokens. Raises InputError for a continuation that becomes no token."""
        return [self.input_length(tokens) for tokens in self.encoder.encode(prompts, continuations)]

    def input_length(self, tokens: Tokens) -> int:
        """Returns the length of one pair's input in tokens."""
        return len(tokens.input_ids) + (len(tokens.label_ids) - 1 if self.kind == "causal" else 0)

    def check_lengths(self, lengths: Iterable[int], what: str = "prompts with their choices") -> None:
        """Raises PromptTooLong, with their number, where lengths in tokens exceed the context."""
        limit, lengths = self.context, list(lengths)
        too_long = 0 if limit is None else sum(length > limit for length in lengths)
        if too_long:
            raise PromptTooLong(
                f"{too_long} of {len(lengths)} {what} do not fit the model's context of {limit} tokens; the longest has {max(lengths)}. "
                "Nothing was cut and nothing was run: shorten the texts (or the --template around them), or take another model."
            )

    # -- generated text ------------------------------------------------------------------------------------------------

    def generate(self, prompts: Sequence[str], max_new_tokens: int = 16, **settings: Any) -> list[str]:
        """Returns the greedy text after each prompt, without special tokens, in the order of the prompts.

        A masked model fills `max_new_tokens` masks, each with its most probable token. `settings` go to `generate` of transformers
        (repetition_penalty=1.1, …). Raises PromptTooLong, NotFinite, OutOfMemory.
        """
        return self.generate_encoded(self.encode_prompts(prompts, max_new_tokens), max_new_tokens, **settings)

    def encode_prompts(self, prompts: Sequence[str], max_new_tokens: int) -> list[Tokens]:
        """Returns encoded prompts, to be continued any number of times. Raises PromptTooLong with the number of those that do not fit."""
        encoded = self.generation.encode_prompts(check_texts(prompts=prompts)[0], max_new_tokens)
        room = max_new_tokens if self.kind == "causal" else 0
        self.check_lengths([len(prompt.input_ids) + room for prompt in encoded], f"prompts with up to {max_new_tokens} new tokens")
        return encoded

    def generate_encoded(self, prompts: Sequence[Tokens], max_new_tokens: int, **settings: Any) -> list[str]:
        """Returns the same as `generate`, for encoded prompts."""
        lengths = [len(prompt.input_ids) + max_new_tokens for prompt in prompts]
        generate = lambda indices: self.generation.generate([prompts[index] for index in indices], max_new_tokens, settings)
        return self._longest_first(lengths, generate)

    def continue_prompts(
        self, prompts: Sequence[Tokens], max_new_tokens: int, draws: Float64[Tensor, "prompts new"] | None = None
    ) -> list[Ids]:
        """Returns the ids after each prompt: the most probable ones, or sampled by `draws` (see `Generation.continue_prompts`).

        Raises NotFinite, OutOfMemory.
        """

        def continued(indices: Sequence[int]) -> list[Ids]:
            drawn = None if draws is None else draws[list(indices)]
            return self.generation.continue_prompts([prompts[index] for index in indices], max_new_tokens, drawn)

        return self._longest_first([len(prompt.input_ids) + max_new_tokens for prompt in prompts], continued)

    def first_token_ranks(self, rows: Sequence[Tokens]) -> list[tuple[int, str]]:
        """Returns for each row of `generation.encode_first_tokens` the rank of its token from 0, and the most probable token.

        Raises NotFinite, OutOfMemory.
        """
        rank = lambda indices: self.generation.first_token_ranks([rows[index] for index in indices])
        return self._longest_first([len(row.input_ids) for row in rows], rank)

    def _longest_first(self, lengths: Sequence[int], work: Callable[[Sequence[int]], Sequence[Result]]) -> list[Result]:
        """Returns the result for each index, computed in batches of indices, the longest first.

        What does not fit into memory shows at once then, and rows of one batch have similar lengths.
        """
        results: dict[int, Result] = {}
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        for indices, batch_results in self.batcher.map_batches(order, work, lengths.__getitem__):
            results |= zip(indices, batch_results, strict=True)
        return [results[index] for index in range(len(lengths))]

    # -- log-likelihood of texts ---------------------------------------------------------------------------------------

    def perplexity(self, texts: Sequence[str], window: int | None = None) -> float:
        """Returns exp(mean negative log-probability of a token); pseudo-perplexity for masked models (see `text_windows`).

        Parameters
        ----------
        texts : documents; each begins with BOS and ends with EOS where the tokenizer defines them
        window : tokens of a forward pass; default: the model's context, at most 512

        Raises InputError where the texts contain nothing to score, NotFinite, OutOfMemory.
        """
        return perplexity_of(*self.text_logprob(texts, window))

    def text_logprob(self, texts: Sequence[str], window: int | None = None) -> tuple[float, int]:
        """Returns the total log-probability (natural logarithm) of texts, and the number of scored tokens. Raises as `perplexity`."""
        rows = self.text_rows(texts, window)
        return self.total_logprob(rows), sum(len(row.label_ids) for row in rows)

    def text_rows(self, texts: Sequence[str], window: int | None = None) -> list[Tokens]:
        """Returns the rows in which texts are scored, the longest first. Raises InputError where they contain nothing to score."""
        limit = min(window or DEFAULT_WINDOW, self.context or DEFAULT_WINDOW)
        if limit < 2:
            raise InputError(f"A window of {limit} tokens leaves nothing to score; it needs 2 or more.")
        rows = list(self.window_rows(self.encoder.encode_documents(texts), limit))
        if not rows:
            raise InputError("The text for the perplexity has no document of two tokens or more; nothing can be scored.")
        return sorted(rows, key=self.input_length, reverse=True)

    def window_rows(self, documents: Iterable[Ids], window: int) -> Iterator[Tokens]:
        """Returns the rows in which windows of at most `window` tokens of each document are scored (see `text_windows.scored_rows`)."""
        return scored_rows(documents, window, self.kind, self.tokenizer.mask_token_id, self.tokenizer.all_special_ids)

    def total_logprob(self, rows: Sequence[Tokens]) -> float:
        """Returns the total log-probability of the labels of rows of text. Raises NotFinite, OutOfMemory."""
        return sum(sum(logprobs) for _, logprobs in self.logprobs_by_batch(rows))

    def row_logprobs(self, rows: Sequence[Tokens]) -> Float64[np.ndarray, " rows"]:
        """Returns the log-probability of the labels of each row of text, in the order of the rows. Raises NotFinite, OutOfMemory."""
        result = np.zeros(len(rows))
        for indices, logprobs in self.logprobs_by_batch(rows):
            result[list(indices)] = logprobs
        return result

    def logprobs_by_batch(self, rows: Sequence[Tokens], batcher: Batcher | None = None) -> Iterator[tuple[Sequence[int], list[float]]]:
        """Yields for each batch of rows of text, the longest rows first, their indices and the log-probability of each row's labels.

        All text is scored here. `batcher`: by default the model's own, which knows the batch size for usual windows.
        Raises NotFinite, OutOfMemory.
        """
        order = sorted(range(len(rows)), key=lambda index: -self.input_length(rows[index]))
        score = lambda indices: self.one_batch_logprobs([rows[index] for index in indices])
        return (batcher or self.batcher).map_batches(order, score, lambda index: self.input_length(rows[index]), purpose="text")

    def one_batch_logprobs(self, rows: Sequence[Tokens]) -> list[float]:
        """Returns the log-probability of each row's labels, in one batch. Raises NotFinite, and torch's errors where memory runs out."""
        logprobs = self.forward.row_logprobs(rows)
        if not all(map(math.isfinite, logprobs)):
            raise NotFinite("The probability of the text is not finite: the model gives NaN or probability 0. Try --dtype float32.")
        return logprobs


def perplexity_of(logprob: float, tokens: int) -> float:
    """Returns the exponential of the mean negative log-probability of a token. Raises NotFinite where a float cannot represent it."""
    try:
        return math.exp(-logprob / tokens)
    except OverflowError as error:
        raise NotFinite(
            f"The perplexity is too large to represent: exp({-logprob / tokens:.0f}). The model does not predict this text at all."
        ) from error
