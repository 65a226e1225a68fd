"""What the settings of a job on languages point at: corpora, held-out text, counts, questions, parallel sentences, identifier and judge.

Opens them and refuses what is wrong; counts nothing and asks nothing.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from resect.core.errors import InputError
from resect.core.files import read_text
from resect.data.corpus import Corpus, by_language, check_language, corpus_of
from resect.data.language_id import LanguageFilter, LanguageIdentifier, check_known
from resect.evaluation.llm_judge import LLMJudge
from resect.evaluation.open_ended import likeliest
from resect.methods.lape.authors_files import read_lape_counts
from resect.methods.lape.counts import Counts
from resect.runs.recipe import Recipe


@dataclass
class LanguageText:
    """The documents of a corpus as a job reads them: at most `limit`, and only pure ones where that is wanted.

    Attributes
    ----------
    held : what was read of held-out text, by hash: held-out text adds to it, and must be read first; text that is counted leaves it out
    is_held : which of the two this is
    twice : how many documents the iteration begun last has left out since they are held out
    """

    language: str
    corpus: Corpus
    limit: int | None = None
    purity: LanguageFilter | None = None
    held: set[int] = field(default_factory=set)
    is_held: bool = False
    twice: int = 0

    def __iter__(self) -> Iterator[str]:
        self.twice, given = 0, False
        documents: Iterable[str] = islice(self.corpus, self.limit)
        for document in documents if self.purity is None else self.purity.filter(self.language, documents):
            if self.is_held:
                self.held.add(hash(document))
            elif hash(document) in self.held:
                self.twice += 1
                continue
            given = True
            yield document
        if not given:
            self._refuse_to_be_empty()

    def _refuse_to_be_empty(self) -> None:
        """Raises InputError where all there was has been left out."""
        if self.twice:
            raise InputError(
                f"All documents of {self.corpus.name} ({self.language}) stand in the held-out text too, so that none is left to be "
                f"counted: give other text of it (--corpus {self.language}=PATH), or other held-out text (--valid)."
            )
        left_out = 0 if self.purity is None else self.purity.left_out.get(self.language, 0)
        if left_out:
            raise InputError(
                f"All {left_out:,} documents of {self.corpus.name} ({self.language}) are in another language, as far as one can tell, and "
                "--purity leaves those out. Give other text, or leave --purity out."
            )

    def share(self) -> float | None:
        """How much of it has been read, from 0 to 1; None where nobody knows."""
        return self.corpus.share() if self.limit is None else min(1.0, self.corpus.documents_read / self.limit)


@dataclass(frozen=True)
class LanguageInputs:
    """What a recipe gives.

    Attributes
    ----------
    languages : all of them, in the order in which they were named
    counted, held : by language the text that is counted, and the held-out text
    loaded : counts that were recorded elsewhere, added; read by `counts_of`, since published ones need the model's shape
    questions, suffix : open questions, and what stands after them
    parallel : sentences that say the same in each language
    purity, held_purity : what leaves out impure text, and knows how much; None where that is not wanted
    """

    languages: tuple[str, ...]
    counted: Mapping[str, LanguageText]
    held: Mapping[str, LanguageText]
    loaded: tuple[Counts, ...]
    published: Mapping[str, str]
    questions: Mapping[str, tuple[str, ...]]
    suffix: Mapping[str, str]
    parallel: Mapping[str, tuple[str, ...]]
    checkpoints: Mapping[str, str]
    purity: LanguageFilter | None
    held_purity: LanguageFilter | None

    def counts_of(self, model: Any) -> list[Counts]:
        """Every counts that were recorded elsewhere. Raises InputError, WrongModel where they are of another model."""
        found = [*self.loaded, *([read_lape_counts(self.published, model)] if self.published else [])]
        for counts in found:
            counts.check(model)
        return found


def language_inputs(recipe: Recipe) -> LanguageInputs:
    """What the recipe gives, opened as far as can be before a model is loaded. Raises InputError, UnknownName."""
    corpora, valid = by_language(recipe.corpus, "--corpus"), by_language(recipe.valid, "--valid")
    published = by_language([entry for entry in recipe.counts if _names_language(entry)], "--counts")
    _refuse_one_for_two(published, "--counts")
    loaded = _loaded(entry for entry in recipe.counts if not _names_language(entry))
    languages = tuple(dict.fromkeys((*corpora, *(name for counts in loaded for name in counts.languages), *published)))
    _check_number(recipe, languages, corpora, valid)
    if recipe.purity:
        check_known(languages)
    purities = (LanguageFilter(LanguageIdentifier()), LanguageFilter(LanguageIdentifier())) if recipe.purity else (None, None)

    counted, held = {}, {}
    for name in languages:
        known: set[int] = set()
        if name in corpora:
            part = corpus_of(corpora[name], held_out="all" if name in valid else "kept")
            counted[name] = LanguageText(name, part, recipe.limit, purities[0], known)
        if not recipe.record_only:
            apart = corpus_of(valid[name]) if name in valid else corpus_of(corpora[name], held_out="held")
            held[name] = LanguageText(name, apart, recipe.limit, purities[1], known, is_held=True)
    return LanguageInputs(
        languages=languages,
        counted=counted,
        held=held,
        loaded=loaded,
        published=published,
        questions=_of_languages(recipe.questions, "--questions", languages, lambda path: _lines(path, recipe.limit)),
        suffix=_suffixes(recipe.suffix, languages),
        parallel=_parallel(recipe, languages),
        checkpoints=_checkpoints(recipe, languages),
        purity=purities[0],
        held_purity=purities[1],
    )


def judge_of(recipe: Recipe) -> LLMJudge | None:
    """The judge that a recipe names. Raises InputError for an address that is none."""
    return None if recipe.judge is None or recipe.judge_model is None else LLMJudge(recipe.judge, recipe.judge_model)


def identifier_or_none() -> tuple[LanguageIdentifier | None, str | None]:
    """A language identifier, or a sentence on how to get one."""
    try:
        return likeliest(), None
    except InputError as error:
        return None, f"In which language the model answers was not told: {error}"


def _check_number(recipe: Recipe, languages: tuple[str, ...], corpora: Mapping[str, str], valid: Mapping[str, str]) -> None:
    alike = {name.lower() for name in languages}
    if len(alike) < len(languages):
        raise InputError(f"The languages {', '.join(languages)} differ only in capitals somewhere; give each language one code.")
    for name in valid:
        if name not in languages:
            raise InputError(f"There is held-out text of {name} (--valid), but nothing to count: give --corpus {name}=PATH too.")
    if recipe.record_only:
        return
    if len(languages) < 2:
        raise InputError(
            f"There is text of one language only ({', '.join(languages) or 'none'}). What is specific to a language shows only beside "
            "others (the entropy over one language is undefined): give two or more, or --record-only to count now and merge later."
        )
    lacking = [name for name in languages if name not in valid and name not in corpora]
    if lacking:
        raise InputError(f"Of {', '.join(lacking)} there are counts, but no held-out text to measure on: give --valid {lacking[0]}=PATH.")


def _loaded(paths: Iterable[str]) -> tuple[Counts, ...]:
    """The counts of these files. Raises InputError, also for counts that would be added to themselves."""
    found: dict[str, Counts] = {}
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
            check_language(language)
        twice = next((other for other, held in found.items() if held == counts), None)
        if twice is not None or path in found:
            raise InputError(f"--counts {path}: these very counts are given twice (also as {twice or path}); give each once.")
        found[path] = counts
    return tuple(found.values())


def _refuse_one_for_two(paths: Mapping[str, str], flag: str) -> None:
    """Raises InputError where two languages are given the same file or folder."""
    seen: dict[str, str] = {}
    for name, path in paths.items():
        other = seen.setdefault(os.path.realpath(path), name)
        if other != name:
            raise InputError(f"{flag} gives {other} and {name} the same {path}; each language has one of its own.")


def _names_language(entry: str) -> bool:
    return "=" in entry and not Path(entry).exists()


def _of_languages(
    entries: Iterable[str], flag: str, languages: tuple[str, ...], read: Callable[[str], tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    paths = by_language(tuple(entries), flag)
    other = [name for name in paths if name not in languages]
    if other:
        raise InputError(f"{flag} names {', '.join(other)}, of which no text is counted; the languages are {', '.join(languages)}.")
    return {name: read(path) for name, path in paths.items()}


def _lines(path: str, limit: int | None = None) -> tuple[str, ...]:
    found = tuple(line.strip() for line in read_text(Path(path), "file").removeprefix("\ufeff").split("\n") if line.strip())[:limit]
    if not found:
        raise InputError(f"{path} holds no line of text.")
    return found


def _parallel(recipe: Recipe, languages: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The sentences of every language, without those places where some language has none."""
    whole = _of_languages(recipe.parallel, "--parallel", languages, lambda path: _every_line(path))
    numbers = {name: len(lines) for name, lines in whole.items()}
    if len(whole) == 1 or len(set(numbers.values())) > 1:
        told = ", ".join(f"{name} {number}" for name, number in numbers.items())
        raise InputError(f"--parallel wants the same sentences in two languages or more, line by line; there are {told} lines.")
    rows = [row for row in zip(*whole.values(), strict=True) if all(row)][: recipe.limit]
    return {name: tuple(row[place] for row in rows) for place, name in enumerate(whole)}


def _every_line(path: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in read_text(Path(path), "file").removeprefix("\ufeff").rstrip("\n").split("\n"))


def _suffixes(entries: Iterable[str], languages: tuple[str, ...]) -> dict[str, str]:
    """What stands after a question, by language; a text without a language is for all those that have none of their own."""
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if equals and name in languages:
            found[name] = text
        else:
            found = {**dict.fromkeys(languages, entry), **found}
    return {name: found.get(name, "") for name in languages}


def _checkpoints(recipe: Recipe, languages: tuple[str, ...]) -> dict[str, str]:
    found = by_language(recipe.checkpoint, "--checkpoint")
    _refuse_one_for_two(found, "--checkpoint")
    if found and set(found) != set(languages):
        raise InputError(f"pv wants a checkpoint for each of {', '.join(languages)}, and there are those of {', '.join(found)}.")
    return {name: found[name] for name in languages if name in found}
