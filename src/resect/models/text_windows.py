"""Plain text as rows of tokens: for perplexity, and for counting activations.

For perplexity the kind of model decides which tokens are the context, and which are scored:

causal            windows of text; every token but a window's first is scored.
encoder-decoder   the encoder reads the first half of a window, and the second half is scored.
masked            pseudo-perplexity (Salazar et al. 2020, arXiv:1910.14659): each token is scored with itself masked. This is another
                  quantity: it compares a model with its edited form, not with models of other kinds.

For counting activations (`WindowPacker`) documents are joined and split into full windows, so that there is no padding and no short row.

Knows token ids; knows no model and no text.
"""

from collections.abc import Callable, Collection, Iterable, Iterator

from resect.core.errors import InputError

from .encoding import Ids, Tokens
from .families import Kind

#: Tokens of a window for perplexity, unless the model's context is shorter; and the longest window for counting.
DEFAULT_WINDOW, MAX_WINDOW = 512, 4096


def window_size(context: int | None, kind: Kind, window: int | None = None) -> int:
    """Returns the tokens of one forward pass where documents are joined: `window`, by default the context, at most 4,096 (unlimited: 512).

    An encoder-decoder reads half of them with its encoder and half with its decoder; its default is even.
    Raises InputError for fewer than 2, or more than the context.
    """
    if window is None:
        usual = min(context or DEFAULT_WINDOW, MAX_WINDOW)
        return usual - usual % 2 if kind == "encoder-decoder" else usual
    if window < 2 or (context is not None and window > context):
        allowed = "2 or more" if context is None else f"2 to {context:,}, this model's context"
        raise InputError(f"A window of {window:,} tokens is not possible; allowed are {allowed}. Give another --window, or leave it out.")
    return window


def scored_rows(documents: Iterable[Ids], window: int, kind: Kind, mask: int | None, special: Collection[int]) -> Iterator[Tokens]:
    """Yields the rows of all documents, each split into windows of at most `window` tokens; a window of one token is left out.

    `mask` and `special` (ids that are never scored) matter for masked models only.
    """
    for ids in documents:
        for start in range(0, len(ids), window):
            piece = ids[start : start + window]
            if len(piece) < 2:
                continue
            if kind == "causal":
                yield Tokens(piece[:1], piece[1:])
            elif kind == "encoder-decoder":
                yield Tokens(piece[: len(piece) // 2], piece[len(piece) // 2 :])
            elif mask is not None:
                for position, token in enumerate(piece):
                    if token not in special:
                        yield Tokens((*piece[:position], mask, *piece[position + 1 :]), (token,), (position,))


def sliding_rows(ids: Ids, window: int, stride: int) -> list[Tokens]:
    """Returns the rows of overlapping windows: each starts `stride` tokens later, and scores those that no earlier window has scored.

    >>> [(row.input_ids, row.label_ids) for row in sliding_rows((1, 2, 3, 4, 5, 6, 7), 4, 2)]
    [((1,), (2, 3, 4)), ((3, 4), (5, 6)), ((5, 6), (7,))]
    """
    rows, done = [], 1
    for start in range(0, len(ids), stride):
        end = min(start + window, len(ids))
        if end > done:
            rows.append(Tokens(ids[start:done], ids[done:end]))
        done = max(done, end)
        if end == len(ids):
            break
    return rows


def row_chunks(rows: Iterable[Tokens], length: Callable[[Tokens], int], max_tokens: int) -> Iterator[list[Tokens]]:
    """Yields the rows in chunks of at most `max_tokens` tokens (`length` counts a row's), but at least one row."""
    chunk: list[Tokens] = []
    size = 0
    for row in rows:
        if chunk and size + length(row) > max_tokens:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += length(row)
    if chunk:
        yield chunk


class WindowPacker:
    """Joins documents and splits them into full windows.

    `dropped`: how many tokens were left after the last document, too few for a window; 0 until then.
    """

    def __init__(self, window: int) -> None:
        self.window, self.dropped = window, 0

    def windows(self, documents: Iterable[Ids]) -> Iterator[Ids]:
        """Yields windows of exactly `window` tokens; a document may span several, and several may share one.

        >>> packer = WindowPacker(3)
        >>> list(packer.windows([(1, 2), (3, 4, 5, 6, 7)])), packer.dropped
        ([(1, 2, 3), (4, 5, 6)], 1)
        """
        buffer: list[int] = []
        for ids in documents:
            buffer.extend(ids)
            end = len(buffer) - len(buffer) % self.window
            for start in range(0, end, self.window):
                yield tuple(buffer[start : start + self.window])
            del buffer[:end]
        self.dropped = len(buffer)
