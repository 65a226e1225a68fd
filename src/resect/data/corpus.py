"""Corpora: the text of one language as a stream of documents, of any length, and the tenth of it that is held out.

Knows no file format, no token and no model; a language is a code.
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

from .documents import TEXT_FORMATS, DocumentSource, HubDataset, document_source, text_format

#: Which documents of a corpus are read: all, all but the held-out tenth, or that tenth.
CorpusPart = Literal["all", "train", "held-out"]
#: One document in so many is held out.
HELD_OUT_RATE = 10
#: The longest document, in characters: a tokenizer needs some hundred times the memory of the text that it encodes at once.
MAX_CHARACTERS = 2**20
#: Never change it: with another salt, one run would measure on what another has recorded on.
_SALT = b"resect:held:1"
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_SECOND_ENTRY = re.compile(r",\s*([A-Za-z][A-Za-z0-9_-]{0,31})=")
#: What results call random units, next to the units of languages.
_RESERVED = "random"


class Corpus:
    """A stream of documents: each iteration starts at the first one, and keeps one in memory. Made by `open_corpus`.

    A document is stripped of white space, never empty, and has at most 2^20 characters: a longer one is split, at white space where
    there is some. Iterating raises InputError that names file and line where a text is damaged, or where there is no document at all;
    Failure where the connection to the Hub is lost.

    Attributes
    ----------
    name : what messages call it
    documents_read : how many documents the iteration begun last has yielded
    """

    def __init__(self, sources: Sequence[DocumentSource], name: str, part: CorpusPart = "all") -> None:
        self.name, self.documents_read = name, 0
        self._sources, self._part = tuple(sources), part
        self._finished = 0  # sources that the iteration begun last has read to their end

    def __iter__(self) -> Iterator[str]:
        self.documents_read = self._finished = 0
        is_empty = True
        for number, source in enumerate(self._sources):
            self._finished, source.bytes_read = number, 0
            for document in (piece for text in source.documents() for piece in _pieces(text)):
                is_empty = False
                if self._part == "all" or is_held_out(document) == (self._part == "held-out"):
                    self.documents_read += 1
                    yield document
        self._finished = len(self._sources)
        if is_empty:
            raise InputError(f"{self.name} holds no text: every line or row of it is blank.")

    def share(self) -> float | None:
        """Returns how much of the text the iteration begun last has read, from 0 to 1, by bytes; None where its size is unknown."""
        sizes = [source.size for source in self._sources if source.size is not None]
        if len(sizes) < len(self._sources):
            return None
        read = sum(sizes[: self._finished]) + (self._sources[self._finished].bytes_read if self._finished < len(sizes) else 0)
        return min(1.0, read / max(1, sum(sizes)))


def is_held_out(document: str) -> bool:
    """Returns whether a document is in the held-out tenth: by its text alone, so that equal documents are in the same part."""
    digest = hashlib.blake2b(document.encode("utf-8"), digest_size=8, salt=_SALT).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_RATE == 0


def _pieces(document: str) -> Iterator[str]:
    """Yields a document as it is, or in pieces of at most MAX_CHARACTERS."""
    start = 0
    while len(document) - start > MAX_CHARACTERS:
        end = start + MAX_CHARACTERS
        blank = max(document.rfind(sign, start + MAX_CHARACTERS // 2, end) for sign in " \t\n")
        end = end if blank < 0 else blank
        if piece := document[start:end].strip():
            yield piece
        start = end
    if piece := document[start:].strip():
        yield piece


def open_corpus(spec: str, *, part: CorpusPart = "all") -> Corpus:
    """Returns the documents of files or of a data set on the Hub, in the order of `spec`; files of a folder or glob by name.

    Parameters
    ----------
    spec : a file, a folder (files right in it), a glob (`**` crosses folders), `hub:owner/name[@revision][/config][:split[:column]]`
        (default: split "train", column "text"), or several of these, separated by commas. Where a file of exactly that name exists, it is
        that file, whatever signs the name contains. .txt: a line is a document; .jsonl, .ndjson: an object a line, the document under
        "text"; both also .gz; .parquet: column "text". Blank lines, empty texts and nulls are skipped, and a byte order mark is dropped.
    part : "held-out": a tenth of the documents, chosen by a hash of their text with a constant salt; "train": all others; "all": both

    A data set on the Hub is streamed through `datasets` (an extra; it prefers a folder `owner/name` of the working folder); .parquet is
    read through pyarrow (the same extra). Raises InputError: nothing of that name (names near ones), a folder or glob without such
    files, a file in another format, an empty file, a missing column, an extra that is not installed.
    """
    is_one_name = bool(spec.strip()) and _exists(spec)
    entries = [spec] if is_one_name else [entry.strip() for entry in spec.split(",") if entry.strip()]
    if not entries:
        raise InputError(f"The corpus {spec!r} names nothing. {_what_a_corpus_is()}")
    sources: dict[object, DocumentSource] = {}
    for entry in entries:
        if entry.startswith("hub:") and not _exists(entry):
            sources.setdefault(entry, HubDataset(entry))
        else:
            try:
                sources |= {path: sources.get(path) or document_source(path) for path in _files(entry)}
            except OSError as error:
                raise InputError(f"{entry} cannot be read: {error.strerror}.") from error
    return Corpus(tuple(sources.values()), spec, part)


def check_language_code(code: str) -> str:
    """Returns the code of a language, as it is. Raises InputError where it is no file name of letters, digits, - and _, at most 32.

    "random" is refused too: results call the random controls so.
    """
    if code.lower() == _RESERVED:
        raise InputError(f"{code!r} is what results call random units, so that no language can have this code; give it another one.")
    if not _CODE.fullmatch(code):
        raise InputError(
            f"{code!r} is no code of a language: a letter, then letters, digits, - or _, at most 32 in all, such as en, zh-CN or en_news."
        )
    return code


def parse_corpus_entries(entries: Sequence[str], flag: str) -> dict[str, str]:
    """Returns the path of each language in entries such as "en=english.txt", in their order.

    Raises InputError that names `flag`: an entry without "=", language or path, a language twice (en and EN are one).
    """
    paths: dict[str, str] = {}
    for entry in entries:
        code, equals, path = (piece.strip() for piece in entry.partition("="))
        if not (equals and code and path):
            raise InputError(f"{flag} {entry!r}: it must be LANG=PATH, such as {flag} en=english.txt.")
        check_language_code(code)
        second = _SECOND_ENTRY.search(path)
        if second is not None and not Path(path).exists():
            raise InputError(
                f"{flag} {entry!r} names {code} and {second[1]} in one: put a blank between languages, {flag} {code}=… {second[1]}=…."
            )
        other = next((other for other in paths if other.lower() == code.lower()), None)
        if other is not None:
            same = f"{code} twice" if code == other else f"{other} and {code}, which are one language"
            raise InputError(
                f"{flag} names {same}. Several files of one language go into one entry: {flag} {other}=a.txt,b.txt, or a folder."
            )
        paths[code] = path
    return paths


def _what_a_corpus_is() -> str:
    return f"A corpus is a file, a folder, a glob ({', '.join(TEXT_FORMATS)}; .gz of text) or hub:owner/name."


def _exists(entry: str) -> bool:
    try:
        return _path(entry).exists()
    except OSError:  # longer than a name may be: several names, or none
        return False


def _path(entry: str) -> Path:
    # A shell leaves the ~ of en=~/text as it is.
    return Path(os.path.expanduser(entry))


def _files(entry: str) -> list[Path]:
    """Returns the files that a path, folder or glob names. Raises InputError, OSError."""
    path = _path(entry)
    if path.is_file():
        if text_format(path) is None:
            hint = "A file with a document a line may be called .txt."
            raise InputError(f"{path} is no file of text by its name. {_what_a_corpus_is()} {hint}")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty; a corpus needs text.")
        return [path]
    if path.exists() and not path.is_dir():
        formats = " or ".join(TEXT_FORMATS)
        raise InputError(f"{path} is a pipe or a device, and text is read more than once: save it as a file, {formats}.")
    if path.is_dir():
        inside = sorted(path.iterdir())
    elif any(sign in entry for sign in "*?["):
        inside = sorted(Path(name) for name in glob(str(path), recursive=True))
    else:
        raise InputError(_missing(path))
    files = [file for file in inside if file.is_file() and not file.name.startswith(".") and text_format(file)]
    if not files:
        below = " It holds folders; name their files with a glob such as **/*.txt." if any(file.is_dir() for file in inside) else ""
        raise InputError(f"{entry} holds no file of text.{below} {_what_a_corpus_is()}")
    filled = [file for file in files if file.stat().st_size]
    if not filled:
        which = "the one file of text in it is" if len(files) == 1 else f"all {len(files)} files of text in it are"
        raise InputError(f"{entry}: {which} empty.")
    return filled


def _missing(path: Path) -> str:
    """Returns the message for a path that does not exist: which part of it is missing, and which names there are similar."""
    missing = next(parent for parent in (path, *path.parents) if parent.parent.is_dir())
    try:
        near = get_close_matches(missing.name, os.listdir(missing.parent), n=3, cutoff=0.6)
    except OSError:
        near = []
    broken = "" if missing == path else f" (there is no {missing})"
    guess = f" Did you mean {' or '.join(str(missing.parent / name) for name in near)}?" if near else ""
    return f"There is no {path}{broken}.{guess} {_what_a_corpus_is()}"
