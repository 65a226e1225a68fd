"""Plain text as rows of tokens. For perplexity: which tokens are read, and which are asked about, by kind of model.

causal            windows of text; every token but a window's first is scored.
encoder-decoder   the first half of a window is read, the second scored.
masked            pseudo-perplexity (Salazar et al. 2020, arXiv:1910.14659): each token scored with itself masked. Another quantity: it
                  compares a model with itself before and after, not with models of other kinds.

For counting activations (`WindowPacker`) documents are joined and cut into full windows, so that there is no padding and no short row.

Knows token ids; knows no model and no text.
"""

from collections.abc import Callable, Collection, Iterable, Iterator

from resect.core.errors import InputError

from .encoding import Ids, Tokens
from .families import Kind

#: Tokens of a window where the model's context is not shorter; and the longest window where whole contexts are read.
WINDOW, LONGEST_WINDOW = 512, 4096


def full_window(context: int | None, kind: Kind, window: int | None = None) -> int:
    """Tokens of one forward pass where documents are joined: `window`, or by default the context, at most 4,096 (unlimited: 512).

    An encoder-decoder reads half of them with its encoder, half with its decoder; its default is even.
    Raises InputError for fewer than 2, or more than the context.
    """
    if window is None:
        usual = min(context or WINDOW, LONGEST_WINDOW)
        return usual - usual % 2 if kind == "encoder-decoder" else usual
    if window < 2 or (context is not None and window > context):
        allowed = "2 or more" if context is None else f"2 to {context:,}, this model's context"
        raise InputError(f"A window of {window:,} tokens is not possible; allowed are {allowed}. Give another --window, or leave it out.")
    return window


def scored_rows(documents: Iterable[Ids], window: int, kind: Kind, mask: int | None, special: Collection[int]) -> Iterator[Tokens]:
    """The rows of all documents, each cut into windows of at most `window` tokens; a piece of one token is left out.

    `mask` and `special` (ids that are never asked about) matter for masked models only.
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
                for place, token in enumerate(piece):
                    if token not in special:
                        yield Tokens((*piece[:place], mask, *piece[place + 1 :]), (token,), (place,))


def sliding_rows(ids: Ids, window: int, stride: int) -> list[Tokens]:
    """The rows of windows that overlap: each moves on by `stride` tokens, and scores those that no earlier window has scored.

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


def row_chunks(rows: Iterable[Tokens], tokens: Callable[[Tokens], int], most: int) -> Iterator[list[Tokens]]:
    """The rows in chunks of at most `most` tokens, counted by `tokens`, and at least one row."""
    chunk: list[Tokens] = []
    size = 0
    for row in rows:
        if chunk and size + tokens(row) > most:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += tokens(row)
    if chunk:
        yield chunk


class WindowPacker:
    """Documents joined and cut into full windows.

    `dropped`: how many tokens were left over after the last document, too few for a window; 0 until then.
    """

    def __init__(self, window: int) -> None:
        self.window, self.dropped = window, 0

    def windows(self, documents: Iterable[Ids]) -> Iterator[Ids]:
        """Windows of exactly `window` tokens, as the documents come; a document may span several, and several may share one.

        >>> packing = WindowPacker(3)
        >>> list(packing.windows([(1, 2), (3, 4, 5, 6, 7)])), packing.dropped
        ([(1, 2, 3), (4, 5, 6)], 1)
        """
        held: list[int] = []
        for ids in documents:
            held.extend(ids)
            whole = len(held) - len(held) % self.window
            for start in range(0, whole, self.window):
                yield tuple(held[start : start + self.window])
            del held[:whole]
        self.dropped = len(held)
