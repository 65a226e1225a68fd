"""A language's text as shards of full windows of tokens: read once, in order, nothing of it held but what is being cut.

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

#: Tokens of a shard where nothing asks for fewer: minutes of work for a large model on a CPU, seconds on a GPU.
SHARD_TOKENS = 65_536
#: At least so many shards, where the limit on tokens has so many windows: halves can be compared, and a set's moves watched.
SHARDS = 16
#: Documents, and characters, that go to the tokenizer at once: enough for it to be fast, few enough to be nothing in memory.
_DOCUMENTS, _CHARACTERS = 256, 2**18


@dataclass(frozen=True)
class TextShard:
    """Some windows of token ids, and the digest of all windows up to these."""

    windows: Int32[np.ndarray, "windows window"]
    digest: str


class LanguageText:
    """The documents of one language, cut into windows.

    Parameters
    ----------
    language : what people call it
    documents : texts; blank ones are skipped. A `share()` method, if there is one, tells how much was read (0 to 1, or None)
    encoder : how a document becomes token ids, opened and closed
    window : tokens of a window
    tokens : at most so many; None: all there are
    shard_tokens : tokens of a shard, at least a window's; with a small limit so few that there are 16 shards

    `ended`: whether the text was read to its end; `dropped`: how many tokens were left there, too few for a window.

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
        self._limit = None if tokens is None else tokens // window
        usual = max(1, shard_tokens // window)
        self._shard = usual if self._limit is None else min(usual, math.ceil(self._limit / SHARDS))
        self.ended, self.dropped = False, 0
        #: So far: documents read, tokens that they became, full windows that were cut of these.
        self._read, self._encoded, self._windows = 0, 0, 0
        self._begun = False

    def shards(self) -> Iterator[TextShard]:
        """The shards from the beginning on.

        Raises InputError for what is no text, and for documents that can be read only once and were.
        """
        documents = iter(self._documents)
        if documents is self._documents and self._begun:
            raise InputError(
                f"The text of {self.language} must be read from its beginning again, and is an iterator that can be read once. Give "
                "something that can be read again (a list, a Corpus), or begin anew with --fresh."
            )
        self.ended, self.dropped, self._begun = False, 0, True
        self._read, self._encoded, self._windows = 0, 0, 0
        return self._shards(documents)

    @property
    def cut(self) -> int:
        """How many tokens of full windows were cut so far."""
        return self._windows * self.window

    def expected(self) -> int:
        """How many tokens of full windows there will be; as many again as there were, where nothing tells how long the text is."""
        if self.ended:
            return self.cut
        share, limit = self._share(), None if self._limit is None else self._limit * self.window
        whole = int(self._encoded / share) if share else 2 * self.cut if limit is None else limit
        return whole if limit is None else min(whole, limit)

    def _share(self) -> float | None:
        """How much of the documents was encoded, from 0 to 1; None where that cannot be told."""
        told = getattr(self._documents, "share", None)
        if callable(told):
            share: float | None = told()
            return share
        return self._read / max(1, len(self._documents)) if isinstance(self._documents, Sized) else None

    def _shards(self, documents: Iterator[str]) -> Iterator[TextShard]:
        packing, digest = WindowPacker(self.window), hashlib.blake2b(digest_size=16)
        windows = itertools.islice(packing.windows(self._ids(documents)), self._limit)
        while held := list(itertools.islice(windows, self._shard)):
            found = np.array(held, dtype=np.int32)
            digest.update(found.astype("<i4").tobytes())
            self._windows += len(found)
            yield TextShard(found, digest.hexdigest())
        self.ended = self._windows != self._limit
        self.dropped = packing.dropped

    def _ids(self, documents: Iterator[str]) -> Iterator[Ids]:
        """The ids of each document that is not blank."""
        for piece in self._pieces(documents):
            try:
                encoded = self._encoder.document_ids(piece)
            except InputError as error:
                raise InputError(f"In the text of {self.language}: {error}") from error
            self._encoded += sum(map(len, encoded))
            yield from encoded

    def _pieces(self, documents: Iterator[str]) -> Iterator[list[str]]:
        """Documents in pieces that are tokenized at once."""
        piece: list[str] = []
        characters = 0
        for document in documents:
            if not isinstance(document, str):
                raise InputError(f"A document of {self.language} is a {type(document).__name__}, not text: {document!r:.60}.")
            self._read += 1
            if not document.strip():
                continue
            piece.append(document)
            characters += len(document)
            if len(piece) == _DOCUMENTS or characters >= _CHARACTERS:
                yield piece
                piece, characters = [], 0
        if piece:
            yield piece
