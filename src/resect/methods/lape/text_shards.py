"""A language's text as shards of full windows of tokens: read once, in order, with only the current shard in memory.

Knows documents and a tokenizer's rules; knows no model, and not what the windows are for.
"""

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from resect.core.errors import InputError
from resect.models.encoding import Ids, PromptEncoder
from resect.models.text_windows import WindowPacker

#: Tokens of a shard where the limit on tokens allows: minutes of work for a large model on a CPU, seconds on a GPU.
SHARD_TOKENS = 65_536
#: The least number of shards where the limit on tokens has as many windows, so that halves can be compared and stability measured.
SHARDS = 16
#: Documents and characters that are tokenized at once: enough to be fast, few enough to need little memory.
_DOCUMENTS, _CHARACTERS = 256, 2**18


@dataclass(frozen=True)
class TextShard:
    """Windows of token ids, and the digest of all windows up to and including these."""

    windows: Int32[np.ndarray, "windows window"]
    digest: str


class ShardedText:
    """The documents of one language, split into windows.

    Parameters
    ----------
    language : its code
    documents : texts; blank ones are skipped. A method `share()`, if there is one, returns how much was read (0 to 1, or None)
    encoder : encodes documents, opened by BOS and closed by EOS
    window : tokens of a window
    tokens : the largest number of tokens; None: all
    shard_tokens : tokens of a shard, at least one window; with a small limit so few that there are 16 shards

    Attributes
    ----------
    has_ended : whether the text was read to its end
    dropped : the number of tokens left over there, too few for a window

    Raises InputError for a single text in place of documents, and for fewer tokens than a window.
    """

    def __init__(
        self,
        language: str,
        documents: Iterable[str],
        encoder: PromptEncoder,
        window: int,
        tokens: int | None = None,
        shard_tokens: int = SHARD_TOKENS,
    ) -> None:
        if isinstance(documents, str | bytes):
            raise InputError(f"The text of {language} is a single {type(documents).__name__}; give its documents, in a list for example.")
        if tokens is not None and tokens < window:
            raise InputError(
                f"At most {tokens:,} tokens of {language} are less than one window of {window:,}. Allow more with --tokens, or give a "
                "smaller --window."
            )
        self.language, self.window = language, window
        self._documents, self._encoder = documents, encoder
        self._window_limit = None if tokens is None else tokens // window
        usual = max(1, shard_tokens // window)
        self._shard_windows = usual if self._window_limit is None else min(usual, math.ceil(self._window_limit / SHARDS))
        self._is_read = False
        self._reset()

    def shards(self) -> Iterator[TextShard]:
        """The shards, from the beginning of the text.

        Raises InputError for a document that is no text, and for an iterator of documents that was read before.
        """
        documents = iter(self._documents)
        if documents is self._documents and self._is_read:
            raise InputError(
                f"The text of {self.language} must be read from its beginning again, and is an iterator that can be read once. Give "
                "something that can be read again (a list, a Corpus), or begin anew with --fresh."
            )
        self._is_read = True
        self._reset()
        return self._shards(documents)

    def _reset(self) -> None:
        self.has_ended, self.dropped = False, 0
        self._documents_read, self._tokens_encoded, self._windows_packed = 0, 0, 0

    @property
    def packed_tokens(self) -> int:
        """The number of tokens in the windows so far."""
        return self._windows_packed * self.window

    def expected_tokens(self) -> int:
        """The number of tokens in all windows; where the length of the text is not known, twice as many as so far."""
        if self.has_ended:
            return self.packed_tokens
        share, limit = self._share(), None if self._window_limit is None else self._window_limit * self.window
        total = int(self._tokens_encoded / share) if share else 2 * self.packed_tokens if limit is None else limit
        return total if limit is None else min(total, limit)

    def _share(self) -> float | None:
        """The share of the documents that was encoded, from 0 to 1; None where it is not known."""
        own_share = getattr(self._documents, "share", None)
        if callable(own_share):
            share: float | None = own_share()
            return share
        return self._documents_read / max(1, len(self._documents)) if isinstance(self._documents, Sized) else None

    def _shards(self, documents: Iterator[str]) -> Iterator[TextShard]:
        packer, digest = WindowPacker(self.window), hashlib.blake2b(digest_size=16)
        packed = itertools.islice(packer.windows(self._encoded(documents)), self._window_limit)
        while windows_of_shard := list(itertools.islice(packed, self._shard_windows)):
            windows = np.array(windows_of_shard, dtype=np.int32)
            digest.update(windows.astype("<i4").tobytes())
            self._windows_packed += len(windows)
            yield TextShard(windows, digest.hexdigest())
        self.has_ended = self._windows_packed != self._window_limit
        self.dropped = packer.dropped

    def _encoded(self, documents: Iterator[str]) -> Iterator[Ids]:
        """The token ids of each document that is not blank."""
        for chunk in self._chunks(documents):
            try:
                encoded = self._encoder.encode_documents(chunk)
            except InputError as error:
                raise InputError(f"In the text of {self.language}: {error}") from error
            self._tokens_encoded += sum(map(len, encoded))
            yield from encoded

    def _chunks(self, documents: Iterator[str]) -> Iterator[list[str]]:
        """Documents in chunks that are tokenized at once."""
        chunk: list[str] = []
        characters = 0
        for document in documents:
            if not isinstance(document, str):
                raise InputError(f"A document of {self.language} is a {type(document).__name__}, not text: {document!r:.60}.")
            self._documents_read += 1
            if not document.strip():
                continue
            chunk.append(document)
            characters += len(document)
            if len(chunk) == _DOCUMENTS or characters >= _CHARACTERS:
                yield chunk
                chunk, characters = [], 0
        if chunk:
            yield chunk
