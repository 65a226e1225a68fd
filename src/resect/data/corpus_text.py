"""The documents of a corpus as a job reads them: limited, in one language only where that is requested, and without held-out ones.

Knows no token and no model.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from resect.core.errors import InputError

from .corpus import Corpus
from .language_id import LanguageFilter


@dataclass
class CorpusText:
    """Documents of one language, as a stream that can be read again.

    Attributes
    ----------
    language : its code
    limit : at most so many documents
    purity : leaves out documents in other languages; None: all documents are read
    held_out_hashes : hashes of the held-out documents: held-out text adds to them, and must be read first; other text leaves them out
    is_held_out : which of the two this is
    duplicates : how many documents the iteration begun last has left out because they are held out
    """

    language: str
    corpus: Corpus
    limit: int | None = None
    purity: LanguageFilter | None = None
    held_out_hashes: set[int] = field(default_factory=set)
    is_held_out: bool = False
    duplicates: int = 0

    def __iter__(self) -> Iterator[str]:
        self.duplicates, is_empty = 0, True
        documents: Iterable[str] = islice(self.corpus, self.limit)
        for document in documents if self.purity is None else self.purity.filter(self.language, documents):
            if self.is_held_out:
                self.held_out_hashes.add(hash(document))
            elif hash(document) in self.held_out_hashes:
                self.duplicates += 1
                continue
            is_empty = False
            yield document
        if is_empty:
            self._refuse_to_be_empty()

    def _refuse_to_be_empty(self) -> None:
        """Raises InputError where every document was left out."""
        if self.duplicates:
            raise InputError(
                f"All documents of {self.corpus.name} ({self.language}) are in the held-out text too, so that none is left: give other "
                f"text of it (--corpus {self.language}=PATH), or other held-out text (--valid)."
            )
        left_out = 0 if self.purity is None else self.purity.left_out.get(self.language, 0)
        if left_out:
            raise InputError(
                f"All {left_out:,} documents of {self.corpus.name} ({self.language}) seem to be in another language, and --purity leaves "
                "those out. Give other text, or leave --purity out."
            )

    def share(self) -> float | None:
        """How much of it has been read, from 0 to 1; None where its length is not known."""
        return self.corpus.share() if self.limit is None else min(1.0, self.corpus.documents_read / self.limit)
