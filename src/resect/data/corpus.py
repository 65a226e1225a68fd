"""A corpus: text of one language as a stream of documents, longer than memory if need be, and the tenth of it that is held out.

Knows no file format, no token, no model, and no language but by its code.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from glob import glob
from pathlib import Path
from typing import Literal

from resect.core.errors import InputError

from .documents import ENDINGS, DocumentSource, HubText, document_source, ending_of

#: Which documents of a corpus are wanted: every one, all but a tenth, or that tenth.
HeldOut = Literal["all", "kept", "held"]
#: One document in so many is held out.
HELD_OUT = 10
#: The longest document, in characters: a tokenizer takes some hundred times as much memory as the text that it is given at once.
LONGEST = 2**20
#: Constant for ever: with another salt, what one run recorded on another would measure on.
_SALT = b"resect:held:1"
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_SECOND = re.compile(r",\s*([A-Za-z][A-Za-z0-9_-]{0,31})=")
#: What results call random units, beside the units of languages.
_TAKEN = "random"


class Corpus:
    """Documents as a stream: each iteration begins anew, and holds one document at a time. Made by `corpus_of`.

    A document has no white space around it, is never empty, and has at most 2^20 characters: a longer one is given as several, cut at
    white space where there is some. Iterating raises InputError that names file and line where a text is broken, or where there is no
    document at all; Failure where the Hub is lost on the way.
    """

    def __init__(self, sources: Sequence[DocumentSource], name: str, held_out: HeldOut = "all") -> None:
        #: What it is called when people are told of it.
        self.name = name
        #: How many documents the iteration begun last has given.
        self.documents_read = 0
        self._sources, self._held_out = tuple(sources), held_out
        self._closed = 0

    def __iter__(self) -> Iterator[str]:
        self.documents_read = self._closed = 0
        empty = True
        for closed, source in enumerate(self._sources):
            self._closed, source.read = closed, 0
            for document in (piece for whole in source.documents() for piece in _pieces(whole)):
                empty = False
                if self._held_out == "all" or is_held(document) == (self._held_out == "held"):
                    self.documents_read += 1
                    yield document
        self._closed = len(self._sources)
        if empty:
            raise InputError(f"{self.name} holds no text: every line or row of it is blank. A document is wanted in each.")

    def share(self) -> float | None:
        """How much of the text the iteration begun last has read, from 0 to 1, by bytes; None where nobody knows how much there is."""
        sizes = [source.size for source in self._sources if source.size is not None]
        if len(sizes) < len(self._sources):
            return None
        read = sum(sizes[: self._closed]) + (self._sources[self._closed].read if self._closed < len(sizes) else 0)
        return min(1.0, read / max(1, sum(sizes)))


def is_held(document: str) -> bool:
    """Whether a document is in the tenth that is held out: by its text alone, so that equal documents fall on one side."""
    digest = hashlib.blake2b(document.encode("utf-8"), digest_size=8, salt=_SALT).digest()
    return int.from_bytes(digest, "big") % HELD_OUT == 0


def _pieces(document: str) -> Iterator[str]:
    """A document as it is, or in pieces of at most LONGEST characters."""
    start = 0
    while len(document) - start > LONGEST:
        end = start + LONGEST
        blank = max(document.rfind(sign, start + LONGEST // 2, end) for sign in " \t\n")
        end = end if blank < 0 else blank
        if piece := document[start:end].strip():
            yield piece
        start = end
    if piece := document[start:].strip():
        yield piece


def corpus_of(spec: str, *, held_out: HeldOut = "all") -> Corpus:
    """The documents of files or of a data set of the Hub, in the order of `spec`; files of a folder or glob by name.

    Parameters
    ----------
    spec : a file, a folder (files right in it), a glob (`**` crosses folders), `hub:owner/name[@revision][/config][:split[:column]]`
        (split "train", column "text" unless said), or several of these with commas between. What exists under that name is taken as it
        is, whatever signs it holds. .txt: a line is a document; .jsonl, .ndjson: an object a line, the document under "text"; both also
        .gz; .parquet: column "text". Blank lines, empty texts and nulls are passed over; a byte order mark is dropped.
    held_out : "held": a tenth of the documents, chosen by a hash of their text with a constant salt; "kept": all others; "all": both

    A data set of the Hub is streamed through `datasets` (an extra; it takes a folder `owner/name` of the working folder first); .parquet is
    read through pyarrow (the same extra). Raises InputError: nothing of that name (names near ones), a folder or glob without such
    files, a file of another kind, an empty file, a column that is not there, an extra that is not installed.
    """
    whole = bool(spec.strip()) and _exists(spec)
    parts = [spec] if whole else [part.strip() for part in spec.split(",") if part.strip()]
    if not parts:
        raise InputError(f"The corpus {spec!r} names nothing. {_wanted()}")
    sources: dict[object, DocumentSource] = {}
    for part in parts:
        if part.startswith("hub:") and not _exists(part):
            sources.setdefault(part, HubText(part))
        else:
            try:
                sources |= {path: sources.get(path) or document_source(path) for path in _files(part)}
            except OSError as error:
                raise InputError(f"{part} cannot be read: {error.strerror}.") from error
    return Corpus(tuple(sources.values()), spec, held_out)


def check_language(code: str) -> str:
    """The code of a language, as it is. Raises InputError where it could not be a file's name: letters, digits, - and _, at most 32.

    Nor may it be "random", which is what the controls are called beside languages.
    """
    if code.lower() == _TAKEN:
        raise InputError(f"{code!r} is what results call random units, so that no language can be called so; give it another code.")
    if not _CODE.fullmatch(code):
        raise InputError(
            f"{code!r} is no code of a language: a letter, then letters, digits, - or _, at most 32 in all, such as en, zh-CN or en_news."
        )
    return code


def by_language(entries: Sequence[str], flag: str) -> dict[str, str]:
    """What stands behind each language in entries such as "en=english.txt", in their order.

    Raises InputError that names `flag`: an entry without "=", without a language or without a path, a language twice (en and EN are one).
    """
    found: dict[str, str] = {}
    for entry in entries:
        code, equals, path = (part.strip() for part in entry.partition("="))
        if not (equals and code and path):
            raise InputError(f"{flag} {entry!r}: LANG=PATH is wanted, such as {flag} en=english.txt.")
        check_language(code)
        second = _SECOND.search(path)
        if second is not None and not Path(path).exists():
            raise InputError(
                f"{flag} {entry!r} names {code} and {second[1]} in one: put a blank between languages, {flag} {code}=… {second[1]}=…."
            )
        twice = next((other for other in found if other.lower() == code.lower()), None)
        if twice is not None:
            same = f"{code} twice" if code == twice else f"{twice} and {code}, which are one language"
            raise InputError(
                f"{flag} names {same}. Several files of one language go into one entry: {flag} {twice}=a.txt,b.txt, or a folder."
            )
        found[code] = path
    return found


def _wanted() -> str:
    return f"A corpus is a file, a folder, a glob ({', '.join(ENDINGS)}; .gz of text) or hub:owner/name."


def _exists(part: str) -> bool:
    try:
        return _path(part).exists()
    except OSError:  # more signs than a name may have: several names, or none
        return False


def _path(part: str) -> Path:
    # A shell leaves the ~ of en=~/text as it is.
    return Path(os.path.expanduser(part))


def _files(part: str) -> list[Path]:
    """The files that a path, folder or glob names. Raises InputError, OSError."""
    path = _path(part)
    if path.is_file():
        if ending_of(path) is None:
            raise InputError(f"{path} is no file of text by its name. {_wanted()} A file with a document a line may be called .txt.")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty; a corpus needs text.")
        return [path]
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a pipe or a device, and text is read more than once: save it as a file, {' or '.join(ENDINGS)}.")
    if path.is_dir():
        inside = sorted(path.iterdir())
    elif any(sign in part for sign in "*?["):
        inside = sorted(Path(name) for name in glob(str(path), recursive=True))
    else:
        raise InputError(_missing(path))
    files = [file for file in inside if file.is_file() and not file.name.startswith(".") and ending_of(file)]
    if not files:
        below = " It holds folders; name their files with a glob such as **/*.txt." if any(file.is_dir() for file in inside) else ""
        raise InputError(f"{part} holds no file of text.{below} {_wanted()}")
    filled = [file for file in files if file.stat().st_size]
    if not filled:
        held = "the one file of text in it is" if len(files) == 1 else f"all {len(files)} files of text in it are"
        raise InputError(f"{part}: {held} empty.")
    return filled


def _missing(path: Path) -> str:
    """What to say of a path that does not exist: where it ends to exist, and what is called nearly so there."""
    known = next(parent for parent in (path, *path.parents) if parent.parent.is_dir())
    try:
        near = get_close_matches(known.name, os.listdir(known.parent), n=3, cutoff=0.6)
    except OSError:
        near = []
    broken = "" if known == path else f" (there is no {known})"
    guess = f" Did you mean {' or '.join(str(known.parent / name) for name in near)}?" if near else ""
    return f"There is no {path}{broken}.{guess} {_wanted()}"
