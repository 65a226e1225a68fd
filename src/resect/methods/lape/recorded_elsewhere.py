"""Counts that were recorded elsewhere, and checkpoints tuned on one language: files that LAPE's settings name, opened and checked."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from resect.core.errors import InputError
from resect.data.corpus import check_language_code, parse_corpus_entries

from .counts import Counts


def split_entries(entries: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The counts files of resect, and by language those of the authors' code. Raises InputError for one file given for two languages."""
    published = [entry for entry in entries if "=" in entry and not Path(entry).exists()]
    paths = parse_corpus_entries(tuple(published), "--counts")
    refuse_shared_files(paths, "--counts")
    return tuple(entry for entry in entries if entry not in published), paths


def load_counts(paths: Iterable[str]) -> tuple[Counts, ...]:
    """The counts of these files. Raises InputError, also for counts that would be added to themselves."""
    loaded: dict[str, Counts] = {}
    for path in paths:
        try:
            counts = Counts.load(path)
        except InputError as error:
            if Path(path).suffix in (".pt", ".pth", ".bin") and Path(path).exists():
                raise InputError(
                    f"{path} holds no counts as resect writes them. If they are of the authors' code, say of which language: "
                    f"--counts en={path}."
                ) from error
            raise
        for language in counts.languages:
            check_language_code(language)
        same = next((other for other, others_counts in loaded.items() if others_counts == counts), None)
        if same is not None or path in loaded:
            raise InputError(f"--counts {path}: these very counts are given twice (also as {same or path}); give each once.")
        loaded[path] = counts
    return tuple(loaded.values())


def checkpoints_by_language(entries: Sequence[str], languages: Sequence[str]) -> dict[str, str]:
    """A checkpoint for each language, in their order; none where none is given. Raises InputError where one is missing or shared."""
    paths = parse_corpus_entries(tuple(entries), "--checkpoint")
    refuse_shared_files(paths, "--checkpoint")
    if paths and set(paths) != set(languages):
        raise InputError(f"pv needs a checkpoint for each of {', '.join(languages)}; there are those of {', '.join(paths)}.")
    return {name: paths[name] for name in languages if name in paths}


def refuse_shared_files(paths: Mapping[str, str], flag: str) -> None:
    """Raises InputError where two languages are given the same file or folder."""
    seen: dict[str, str] = {}
    for name, path in paths.items():
        other = seen.setdefault(os.path.realpath(path), name)
        if other != name:
            raise InputError(f"{flag} gives {other} and {name} the same {path}; each language needs its own.")
