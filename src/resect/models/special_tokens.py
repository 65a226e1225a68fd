"""Special tokens: where a text spells them, and how a text is encoded such that what it spells stays text.

Knows a tokenizer; knows no model, and not what is data and what is a template.
"""

import itertools
import re
from collections import Counter
from typing import Any

from resect.core.marked_text import MarkedText, Spans, piece

Ids = tuple[int, ...]
#: Texts in front of a piece from the middle of a text, such that no tokenizer takes it for a beginning, or joins the two.
_ANCHORS = ("\n", "1", ".")


class SpecialTokens:
    """The special tokens of a tokenizer.

    Attributes
    ----------
    ids : by spelling
    spellings : a pattern of all spellings, the longest first; None where there are none
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", None) or {}
        self.ids = {str(token): int(number) for number, token in added.items() if getattr(token, "special", False)}
        named = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=False)
        self.ids |= {str(token): int(number) for token, number in named}
        self.ids = {spelling: number for spelling, number in self.ids.items() if spelling.strip()}
        longest_first = sorted(self.ids, key=lambda spelling: (-len(spelling), spelling))
        self.spellings = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def spans(self, text: str) -> Spans:
        """Returns where a text spells a special token."""
        return () if self.spellings is None else tuple(found.span() for found in self.spellings.finditer(text))

    def encode_as_text(self, text: MarkedText) -> Ids:
        """Returns the ids of a text whose data are spellings of special tokens, which are text; other spellings in it are tokens."""
        if self.spans(text) == text.data:
            ids = self._ids_without_special_tokens(text)
            if ids is not None and {self.ids[text[start:stop]] for start, stop in text.data}.isdisjoint(ids):
                return ids
        # Split after the first character of each spelling. Some tokenizers have these spellings in their vocabulary of text, too.
        cuts = [0, *(start + 1 for start, _ in text.data), len(text)]
        pieces = [str(piece(text, start, stop)) for start, stop in itertools.pairwise(cuts)]
        ids = self.encode(pieces[0])
        for rest in pieces[1:]:
            ids += self.encode_continuation(rest)
        return ids

    def encode(self, text: str) -> Ids:
        """Returns the ids of a text, in which what it spells are tokens, without special tokens around it."""
        return tuple(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def encode_continuation(self, text: str) -> Ids:
        """Returns the ids of a text that continues another one: without the blank that some tokenizers put before every text."""
        for anchor in _ANCHORS:
            before, both = self.encode(anchor), self.encode(anchor + text)
            if before and both[: len(before)] == before:
                return both[len(before) :]
        return self.encode(text)

    def _ids_without_special_tokens(self, text: str) -> Ids | None:
        """Returns the ids of a text in which nothing is a special token; None where the tokenizer cannot be told so."""
        try:
            encoded = self._tokenizer(str(text), add_special_tokens=False, split_special_tokens=True, verbose=False)
        except (TypeError, ValueError, NotImplementedError):
            return None
        return tuple(encoded["input_ids"])


class ReadTexts:
    """What was read so far: the texts that spell special tokens, each counted once, and whether there were prompts."""

    def __init__(self) -> None:
        self.has_prompts = False
        self._texts: set[int] = set()
        self._by_spelling: Counter[str] = Counter()

    def add(self, text: str, spans: Spans) -> None:
        """Counts the spellings at these spans of a text, unless the text was counted before."""
        if hash(text) not in self._texts:
            self._texts.add(hash(text))
            self._by_spelling.update(text[start:stop] for start, stop in spans)

    def sentence(self, parse_special: bool) -> str | None:
        """Returns which special tokens were spelled, and how they were read; None where there were none."""
        if not self._texts:
            return None
        listed = [f"{spelling} {number:,}" for spelling, number in sorted(self._by_spelling.items(), key=lambda pair: (-pair[1], pair[0]))]
        more = [f"{len(listed) - 5:,} others"] if len(listed) > 5 else []
        how = "as these tokens (--parse-special)" if parse_special else "as text; --parse-special reads it as these tokens"
        number = f"{len(self._texts):,} texts of the data spell" if len(self._texts) > 1 else "One text of the data spells"
        return f"{number} special tokens of the tokenizer ({', '.join([*listed[:5], *more])}). This was read {how}."
