"""Reads files of data sets on the Hub through `datasets` (an extra). Knows no benchmark.

Files are read, not the data set: many data sets have a loading script, which `datasets` no longer runs. JSON lines are read as text: a
table would give every record the fields of all others (as None). So the records are the same as those of a local copy.
"""

import glob
import importlib
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from resect.core.errors import BadTask

from .records import Record, parse_json_lines


def hub_records(dataset: str, files: Sequence[str], instead: str) -> Iterator[Record]:
    """Returns the records of .jsonl or .parquet files of a data set on the Hub; offline, those of the newest copy in the Hub's cache.

    `dataset` may name a revision ("owner/name@refs/convert/parquet"); a file may be a pattern ("data/dev-*.parquet": names there contain
    hashes). `instead` says how to do without the Hub. HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are honoured.
    Raises BadTask where `datasets` is not installed, or nothing can be fetched.
    """
    try:
        return published_records(f"hf://datasets/{dataset}", files)
    except BadTask as error:
        cached = _cached_files(dataset.partition("@")[0], files)
        if cached is None:
            raise BadTask(f"{error} {instead}") from error
        return published_records(*cached)


def published_records(folder: str, files: Sequence[str]) -> Iterator[Record]:
    """Returns the records of files in a folder: a local one, or `hf://datasets/<id>`. Raises BadTask, before the first record.

    Files that all end in .parquet are tables (rows count from 1; a class label is its number), others are JSON lines.
    """
    paths = [posixpath.join(folder, file) for file in files]
    if all(path.lower().endswith(".parquet") for path in paths):
        tables = [_load("parquet", [path]) for path in paths]
        return (Record(f"{path}:{row}", values) for path, table in zip(paths, tables, strict=True) for row, values in enumerate(table, 1))
    texts = _load("text", paths, sample_by="document")["text"]
    return (record for path, text in zip(paths, texts, strict=True) for record in parse_json_lines(text, path))


def require_package(package: str, what: str) -> Any:
    """Returns a package of the extra `datasets`. Raises BadTask where it is not installed; `what` is what needs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = f"{what} is read through the package {package}, which is not installed: pip install 'resect[datasets]'."
        raise BadTask(missing) from error


def hub_errors() -> tuple[Any, ...]:
    """Returns what `datasets` raises where something cannot be fetched or read."""
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    # A lost connection raises the root of requests, httpx or httpx2, whichever this version of the Hub's client uses.
    return OSError, ValueError, HfHubHTTPError.__mro__[1], datasets.exceptions.DatasetsError


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, without its full stop; the error's class where there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _load(kind: str, paths: Sequence[str], **settings: str) -> Any:
    """Returns what `datasets` reads from the files of one kind. Raises BadTask."""
    datasets = require_package("datasets", paths[0])
    # `datasets` takes a path for a pattern: a folder named "runs [1]" would match nothing.
    patterns = [path if "://" in path else glob.escape(path) for path in paths]
    try:
        return datasets.load_dataset(kind, data_files=patterns, split="train", **settings)
    except hub_errors() as error:
        what = paths[0] if len(paths) == 1 else f"{paths[0]} (with {len(paths) - 1} more)"
        done = "fetched" if "://" in what else "read"
        raise BadTask(f"{what} could not be {done}: {first_line(error)}.") from error


def _cached_files(dataset: str, files: Sequence[str]) -> tuple[str, list[str]] | None:
    """Returns the newest snapshot in the Hub's cache that holds all files, and their names; None where there is none."""
    import huggingface_hub
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = huggingface_hub.scan_cache_dir(huggingface_hub.constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return None
    snapshots = []
    for repository in repositories:
        for revision in repository.revisions if (repository.repo_type, repository.repo_id) == ("dataset", dataset) else ():
            matches = [sorted(path for path in revision.snapshot_path.glob(file) if path.is_file()) for file in files]
            if all(matches):
                names = [path.relative_to(revision.snapshot_path).as_posix() for paths in matches for path in paths]
                snapshots.append((revision.last_modified, str(revision.snapshot_path), names))
    return max(snapshots)[1:] if snapshots else None
