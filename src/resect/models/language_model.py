"""LanguageModel: causal, encoder-decoder and masked models behind the same few questions.

How probable is this continuation? What would the model say? How surprised is it by this text? Knows no task, no edit and no method.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from resect.core.address import Site
from resect.core.errors import InputError, NotFinite, PromptTooLong

from .anatomy import Anatomy
from .batching import Batcher
from .encoding import Ids, PromptEncoder, Tokens
from .families import Kind
from .forward import Forward
from .generation import Generation
from .prompt_pairs import PromptPairs, equal_length_texts, single_batch
from .text_windows import WINDOW, scored_rows


class LanguageModel:
    """A Hugging Face model with its tokenizer and its anatomy.

    The Hugging Face model stays itself and can be reached as `.model`: nothing is wrapped or replaced, only evaluation mode is set.

    Attributes
    ----------
    model, tokenizer : as they were given
    anatomy : Anatomy
    kind : "causal", "encoder-decoder" or "masked"
    speech : how it is made to say something
    batches : how much is run at once
    name : what people call it: Hub id or the folder's last part
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, batch_size: int | Literal["auto"] = "auto", name: str = "", chat: bool = False
    ) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.anatomy = Anatomy.of(model)
        self.kind: Kind = self.anatomy.kind
        self.encoder = PromptEncoder(tokenizer, self.kind, chat)
        config = model.config
        pad = next((token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None), 0)
        self.forward = Forward(model, self.kind, pad, getattr(config, "decoder_start_token_id", None))
        self.speech = Generation(model, tokenizer, self.kind, self.encoder, self.forward)
        self.batches = Batcher(model, self.anatomy, batch_size)
        model.eval()

    @classmethod
    def of(
        cls, model: Any, tokenizer: Any, *, batch_size: int | Literal["auto"] = "auto", name: str = "", chat: bool = False
    ) -> "LanguageModel":
        """A model that is already in memory (PEFT, quantised, edited, …).

        Parameters
        ----------
        batch_size : prompts run at once; "auto" finds it from the first work and halves it when memory runs out
        chat : wrap prompts in the tokenizer's own chat template

        Raises UnknownFamily, NotYet, BadModel.
        """
        return cls(model, tokenizer, batch_size=batch_size, name=name, chat=chat)

    def __repr__(self) -> str:
        return f"LanguageModel({self.name or type(self.model).__name__}, {self.kind}, {self.anatomy.family})"

    @property
    def mask_token(self) -> str:
        """What `{{ answer }}` renders as in a template: the mask token of a masked model, nothing for others."""
        return str(self.tokenizer.mask_token) if self.kind == "masked" else ""

    @property
    def context(self) -> int | None:
        """The most tokens that the model can be fed; None where its positions are relative and know no end."""
        config = self.model.config.get_text_config()
        names = ("max_position_embeddings", "n_positions", "seq_length") if self.anatomy.family not in ("t5", "mt5") else ()
        limits = [getattr(config, name) for name in names if isinstance(getattr(config, name, None), int)]
        if not limits:
            return None
        # RoBERTa numbers positions from the padding token's id + 1 on, and its table is that much larger than its context.
        offset = config.pad_token_id + 1 if self.anatomy.family == "roberta" else 0
        return int(limits[0]) - offset

    def fingerprint(self, sites: Sequence[Site | str]) -> dict[str, list[float]]:
        """Values of these sites' weights at fixed places, rounded to bfloat16: tells models apart whatever dtype they were loaded in."""
        from .fingerprint import fingerprint

        return fingerprint(self.anatomy, [Site.of(site) for site in sites])

    # How probable?

    def tokens(self, prompt: str, continuation: str) -> Tokens:
        """What is fed (`input_ids`) and what is scored (`label_ids`) for one pair. Raises InputError where no token is left."""
        return self.encoder.encode(*equal_length_texts(prompts=[prompt], continuations=[continuation]))[0]

    def requests(self, prompts: Sequence[str], continuations: Sequence[str]) -> PromptPairs:
        """Encode pairs, to be scored any number of times. Equal prompts share their work.

        Raises InputError for a continuation that becomes no token, PromptTooLong with the number of pairs that do not fit.
        """
        encoded = self.encoder.encode(*equal_length_texts(prompts=prompts, continuations=continuations))
        self.refuse_too_long(map(self.fed, encoded))
        return PromptPairs.of(encoded)

    def score(self, requests: PromptPairs) -> Float64[np.ndarray, " pairs"]:
        """Total log-probability (natural logarithm) of each pair's continuation. Raises NotFinite, OutOfMemory."""
        totals: list[list[float]] = [[] for _ in requests.prompts]
        # Longest first: what does not fit into memory shows at once, and rows of one batch have like length.
        order = sorted(range(len(requests.prompts)), key=lambda place: -len(requests.prompts[place]))
        for part, found in self.batches.run(order, lambda part: self._scored(requests, part), lambda place: len(requests.prompts[place])):
            for place, values in zip(part, found, strict=True):
                totals[place] = values
        return requests.gathered(totals)

    def score_batch(self, requests: PromptPairs) -> Float64[np.ndarray, " pairs"]:
        """The same in one batch, whatever memory says: the same sequence of forward calls each time. Raises NotFinite, OutOfMemory."""
        with single_batch(len(requests.prompts), max(map(len, requests.prompts), default=0)):
            return requests.gathered(self._scored(requests, range(len(requests.prompts))))

    def logprobs(self, prompts: Sequence[str], continuations: Sequence[str]) -> Float64[np.ndarray, " pairs"]:
        """Total log-probability (natural logarithm, in (-inf, 0]) of each continuation after its prompt.

        The end token counts where the kind of model writes one (encoder-decoder), and nothing is divided by a length.
        Raises InputError, PromptTooLong, NotFinite, OutOfMemory.
        """
        return self.score(self.requests(prompts, continuations))

    def _scored(self, requests: PromptPairs, part: Sequence[int]) -> list[list[float]]:
        labels = [[tokens.label_ids for tokens in requests.labels[place]] for place in part]
        if self.kind == "masked":
            return self.forward.filled_logprobs([requests.labels[place][0] for place in part], labels)
        if self.forward.shuns_left_padding:
            return [self.forward.row_logprobs(requests.labels[place]) for place in part]
        return self.forward.shared_logprobs([requests.prompts[place] for place in part], labels)

    def lengths(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[int]:
        """How many tokens each pair is fed as. Raises InputError for a continuation that becomes no token."""
        return [self.fed(tokens) for tokens in self.encoder.encode(prompts, continuations)]

    def fed(self, tokens: Tokens) -> int:
        """How many tokens one pair is fed as."""
        return len(tokens.input_ids) + (len(tokens.label_ids) - 1 if self.kind == "causal" else 0)

    def refuse_too_long(self, fed: Iterable[int], what: str = "prompts with their choices") -> None:
        """Raises PromptTooLong, with their number, where lengths in tokens go beyond the context."""
        limit, lengths = self.context, list(fed)
        too_long = 0 if limit is None else sum(length > limit for length in lengths)
        if too_long:
            raise PromptTooLong(
                f"{too_long} of {len(lengths)} {what} do not fit the model's context of {limit} tokens; the longest has {max(lengths)}. "
                "Nothing was cut and nothing was run: shorten the texts (or the --template around them), or take another model."
            )

    # What would it say?

    def generate(self, prompts: Sequence[str], max_new_tokens: int = 16, **settings: Any) -> list[str]:
        """What the model says after each prompt: greedy, special tokens left out, in the order of the prompts.

        A masked model fills `max_new_tokens` masks, each with its most probable token. `settings` go to `generate` of transformers
        (repetition_penalty=1.1, …). Raises PromptTooLong, NotFinite, OutOfMemory.
        """
        return self.say(self.openings(prompts, max_new_tokens), max_new_tokens, **settings)

    def openings(self, prompts: Sequence[str], max_new_tokens: int) -> list[Tokens]:
        """Encode prompts, to be gone on from any number of times. Raises PromptTooLong with the number of those that do not fit."""
        openings = self.speech.openings(equal_length_texts(prompts=prompts)[0], max_new_tokens)
        room = max_new_tokens if self.kind == "causal" else 0
        lengths = [len(opening.input_ids) + room for opening in openings]
        self.refuse_too_long(lengths, f"prompts with up to {max_new_tokens} new tokens")
        return openings

    def say(self, openings: Sequence[Tokens], max_new_tokens: int, **settings: Any) -> list[str]:
        """`generate` after prompts that are encoded already."""
        return self._in_batches(openings, lambda part: self.speech.said(part, max_new_tokens, settings), max_new_tokens)

    def first_ranks(self, rows: Sequence[Tokens]) -> list[tuple[int, str]]:
        """For each row of `speech.first_tokens` the rank of its token from 0, and the most probable token.

        Raises NotFinite, OutOfMemory.
        """
        return self._in_batches(rows, self.speech.ranks)

    def _in_batches(self, rows: Sequence[Tokens], ask: Callable[[Sequence[Tokens]], list[Any]], more: int = 0) -> list[Any]:
        """What is answered to each row, the longest first, in the order of the rows."""
        found: list[Any] = [None] * len(rows)
        order = sorted(range(len(rows)), key=lambda place: -len(rows[place].input_ids))
        work = lambda part: ask([rows[place] for place in part])
        for part, answers in self.batches.run(order, work, lambda place: len(rows[place].input_ids) + more):
            for place, answer in zip(part, answers, strict=True):
                found[place] = answer
        return found

    # How surprised is it?

    def perplexity(self, texts: Sequence[str], window: int | None = None) -> float:
        """Exponential of the mean negative log-probability of a token of `texts`; pseudo-perplexity for masked models (see `windows`).

        Parameters
        ----------
        texts : documents; each is opened by BOS and closed by EOS where the tokenizer defines them
        window : tokens read at once; default: the model's context, at most 512

        Raises InputError where the texts hold nothing to score, NotFinite, OutOfMemory.
        """
        return perplexity_of(*self.text_logprob(texts, window))

    def text_logprob(self, texts: Sequence[str], window: int | None = None) -> tuple[float, int]:
        """Total log-probability (natural logarithm) of `texts`, and the number of tokens that were scored. Raises as `perplexity`."""
        rows = self.text_rows(texts, window)
        return self.rows_logprob(rows), sum(len(row.label_ids) for row in rows)

    def text_rows(self, texts: Sequence[str], window: int | None = None) -> list[Tokens]:
        """The rows that the texts are scored in, the longest first. Raises InputError where the texts hold nothing to score."""
        limit = min(window or WINDOW, self.context or WINDOW)
        if limit < 2:
            raise InputError(f"A window of {limit} tokens leaves nothing to score; it needs 2 or more.")
        rows = list(self.window_rows(self.encoder.document_ids(texts), limit))
        if not rows:
            raise InputError("The text for the perplexity has no document of two tokens or more; nothing can be scored.")
        return sorted(rows, key=self.fed, reverse=True)

    def window_rows(self, documents: Iterable[Ids], window: int) -> Iterator[Tokens]:
        """The rows in which windows of at most `window` tokens of each document are scored, as `text_windows.scored_rows` says."""
        return scored_rows(documents, window, self.kind, self.tokenizer.mask_token_id, self.tokenizer.all_special_ids)

    def rows_logprob(self, rows: Sequence[Tokens]) -> float:
        """Total log-probability of the labels of rows of text. Raises NotFinite, OutOfMemory."""
        return sum(sum(logprobs) for _, logprobs in self.batched_logprobs(rows))

    def row_logprobs(self, rows: Sequence[Tokens]) -> Float64[np.ndarray, " rows"]:
        """Log-probability of the labels of each row of text, in the order of the rows. Raises NotFinite, OutOfMemory."""
        result = np.zeros(len(rows))
        for places, logprobs in self.batched_logprobs(rows):
            result[list(places)] = logprobs
        return result

    def batched_logprobs(self, rows: Sequence[Tokens], batches: Batcher | None = None) -> Iterator[tuple[Sequence[int], list[float]]]:
        """Yield batches of rows of text, the longest rows first: their places, and the log-probability of the labels of each.

        All text is scored here. `batches`: by default the model's own, which know the size that fits usual windows.
        Raises NotFinite, OutOfMemory.
        """
        order = sorted(range(len(rows)), key=lambda place: -self.fed(rows[place]))
        work = lambda part: self.batch_logprobs([rows[place] for place in part])
        return (batches or self.batches).run(order, work, lambda place: self.fed(rows[place]), purpose="text")

    def batch_logprobs(self, rows: Sequence[Tokens]) -> list[float]:
        """Log-probability of the labels of each row of text, in one batch. Raises NotFinite, and what torch raises without memory."""
        logprobs = self.forward.row_logprobs(rows)
        if not all(map(math.isfinite, logprobs)):
            raise NotFinite("The probability of the text is not finite: the model gives NaN or probability 0. Try --dtype float32.")
        return logprobs


def perplexity_of(logprob: float, tokens: int) -> float:
    """Exponential of the mean negative log-probability of a token. Raises NotFinite where it is beyond a float."""
    try:
        return math.exp(-logprob / tokens)
    except OverflowError as error:
        raise NotFinite(f"The perplexity is beyond all numbers: exp({-logprob / tokens:.0f}). The model is lost on this text.") from error
