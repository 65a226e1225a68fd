"""The files that LAPE's settings name: counts that were recorded before, and checkpoints tuned on one language. Knows no model."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from resect.core.errors import InputError
from resect.data.corpus import check_language_code, parse_corpus_entries

from .counts import Counts


def counts_files(entries: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The counts files of resect, and by language those of the authors' code. Raises InputError for one file given for two languages."""
    published = [entry for entry in entries if "=" in entry and not Path(entry).exists()]
    paths = parse_corpus_entries(tuple(published), "--counts")
    _check_distinct(paths, "--counts")
    return tuple(entry for entry in entries if entry not in published), paths


def load_counts(paths: Iterable[str]) -> tuple[Counts, ...]:
    """The counts of these files. Raises InputError, also for counts that are given twice."""
    loaded: dict[str, Counts] = {}
    for path in paths:
        try:
            counts = Counts.load(path)
        except InputError as error:
            if Path(path).suffix in (".pt", ".pth", ".bin") and Path(path).exists():
                raise InputError(
                    f"{path} is no file of counts that resect wrote. If it is of the authors' code, name its language: --counts en={path}."
                ) from error
            raise
        for language in counts.languages:
            check_language_code(language)
        same = next((other for other, other_counts in loaded.items() if other_counts == counts), None)
        if same is not None or path in loaded:
            raise InputError(f"--counts {path}: the same counts are given twice (also as {same or path}); give them once.")
        loaded[path] = counts
    return tuple(loaded.values())


def checkpoints_by_language(entries: Sequence[str], languages: Sequence[str]) -> dict[str, str]:
    """A checkpoint for each language, in their order; none where none is given. Raises InputError where one is missing or shared."""
    paths = parse_corpus_entries(tuple(entries), "--checkpoint")
    _check_distinct(paths, "--checkpoint")
    if paths and set(paths) != set(languages):
        raise InputError(f"pv needs a checkpoint for each of {', '.join(languages)}; given are those of {', '.join(paths)}.")
    return {language: paths[language] for language in languages if language in paths}


def _check_distinct(paths: Mapping[str, str], flag: str) -> None:
    """Raises InputError where two languages are given the same file or folder."""
    language_of: dict[str, str] = {}
    for language, path in paths.items():
        other = language_of.setdefault(os.path.realpath(path), language)
        if other != language:
            raise InputError(f"{flag} gives {other} and {language} the same {path}; each language needs its own.")
