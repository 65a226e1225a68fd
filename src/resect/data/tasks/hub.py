"""Files of a data set on the Hub, fetched through `datasets` (an extra). Knows no benchmark.

Files are asked for, not the data set: many carry a loading script, which `datasets` no longer runs. JSON lines are asked for as texts:
a table would give every record the fields of all others (as None). So the records are the same as those of a local copy.
"""

import glob
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from resect.core.errors import BadTask

from .records import Record, parse_jsonl


def hub_records(dataset: str, files: Sequence[str], instead: str) -> Iterator[Record]:
    """The records of .jsonl or .parquet files of a data set on the Hub; of the newest copy in the Hub's cache where it cannot be reached.

    `dataset` may name a revision ("owner/name@refs/convert/parquet"), a file be a pattern ("data/dev-*.parquet": names there hold hashes).
    `instead` says how to do without the Hub. HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE mean what they always mean.
    Raises BadTask where `datasets` is not installed, or nothing can be fetched.
    """
    try:
        return published_records(f"hf://datasets/{dataset}", files)
    except BadTask as error:
        kept = _kept_files(dataset.partition("@")[0], files)
        if kept is None:
            raise BadTask(f"{error} {instead}") from error
        return published_records(*kept)


def published_records(folder: str, files: Sequence[str]) -> Iterator[Record]:
    """The records of files in a folder: a local one, or `hf://datasets/<id>`. Raises BadTask, before the first record.

    Files that all end in .parquet are tables (rows count from 1; a class label is its number), others are JSON lines.
    """
    paths = [posixpath.join(folder, file) for file in files]
    if all(path.lower().endswith(".parquet") for path in paths):
        tables = [_load("parquet", [path]) for path in paths]
        return (Record(f"{path}:{row}", values) for path, table in zip(paths, tables, strict=True) for row, values in enumerate(table, 1))
    texts = _load("text", paths, sample_by="document")["text"]
    return (record for path, text in zip(paths, texts, strict=True) for record in parse_jsonl(text, path))


def _load(kind: str, paths: Sequence[str], **settings: str) -> Any:
    """What `datasets` reads from the files of one kind. Raises BadTask."""
    try:
        import datasets
    except ImportError as error:
        missing = (
            "The Hub and .parquet files are read through the package datasets, which is not installed: pip install 'resect[datasets]'."
        )
        raise BadTask(missing) from error
    from huggingface_hub.errors import HfHubHTTPError

    # What a lost connection raises: the root of requests, httpx or httpx2, whichever this version of the Hub's client uses.
    http_error: Any = HfHubHTTPError.__mro__[1]
    # `datasets` takes a path for a pattern: a folder named "runs [1]" would match nothing.
    patterns = [path if "://" in path else glob.escape(path) for path in paths]
    try:
        return datasets.load_dataset(kind, data_files=patterns, split="train", **settings)
    except (OSError, ValueError, http_error, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        what = paths[0] if len(paths) == 1 else f"{paths[0]} (with {len(paths) - 1} more)"
        done = "fetched" if "://" in what else "read"
        raise BadTask(f"{what} could not be {done}: {reason[0].rstrip('.')}.") from error


def _kept_files(dataset: str, files: Sequence[str]) -> tuple[str, list[str]] | None:
    """The newest snapshot in the Hub's cache that holds all files, and their names; None where there is none."""
    import huggingface_hub
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = huggingface_hub.scan_cache_dir(huggingface_hub.constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return None
    snapshots = []
    for repository in repositories:
        for revision in repository.revisions if (repository.repo_type, repository.repo_id) == ("dataset", dataset) else ():
            found = [sorted(path for path in revision.snapshot_path.glob(file) if path.is_file()) for file in files]
            if all(found):
                names = [path.relative_to(revision.snapshot_path).as_posix() for paths in found for path in paths]
                snapshots.append((revision.last_modified, str(revision.snapshot_path), names))
    return max(snapshots)[1:] if snapshots else None
