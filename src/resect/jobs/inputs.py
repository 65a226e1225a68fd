"""Opens what a recipe names: the model, tasks, plain text, corpora by language. Refuses what is wrong; computes nothing."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from resect.core.errors import BadRecipe, InputError, UnknownName
from resect.core.files import read_lines
from resect.data.corpus import open_corpus, parse_corpus_entries
from resect.data.corpus_text import CorpusText
from resect.data.language_id import LanguageFilter, LanguageIdentifier, check_supported
from resect.data.tasks.registry import load_task
from resect.data.tasks.task import Task
from resect.data.texts import PACKAGED_NAME, packaged_texts, read_texts
from resect.edits.verified import warn_where_laws_fail
from resect.evaluation.side_effects import SideEffects
from resect.models.language_model import LanguageModel
from resect.models.loading import load_model
from resect.models.plain_weights import stored_tensors
from resect.runs.chat_settings import reading_arguments
from resect.runs.guard_limits import GuardLimits
from resect.runs.recipe import Recipe


def model_of(recipe: Recipe) -> LanguageModel:
    """Returns the model of a recipe; a discovered anatomy is verified once. Raises what `load_model` raises."""
    model = load_model(**model_settings(recipe))
    warn_where_laws_fail(model.model)
    return model


def model_settings(recipe: Recipe) -> dict[str, Any]:
    """Returns the arguments of `load_model` for a recipe."""
    return {
        "path": recipe.model,
        "dtype": recipe.dtype,
        "device": recipe.device,
        "device_map": recipe.device_map,
        "revision": recipe.revision,
        "trust_remote_code": recipe.trust_remote_code,
        "dequantize": recipe.dequantize,
        "batch_size": recipe.batch_size,
        **reading_arguments(recipe.values),
    }


def weights_digest(model: LanguageModel) -> str:
    """Returns a digest of every weight: a fingerprint at some positions would miss a few neurons cut out of a checkpoint."""
    digest = hashlib.blake2b(digest_size=16)
    for name, _ in model.model.named_parameters():
        digest.update(name.encode())
        path, _, own = name.rpartition(".")
        for stored in stored_tensors(model.model.get_submodule(path), own):
            values: Any = stored.detach().cpu().flatten().contiguous().view(torch.uint8).numpy()
            digest.update(values)
    return digest.hexdigest()


# -- tasks and plain text ------------------------------------------------------------------------------------------------


def task_of(recipe: Recipe) -> Task:
    """Returns the task of a recipe, in the recipe's wording. Raises what `load_task` raises."""
    return task_named(recipe.task, tasks_of(recipe), recipe.values)


def tasks_of(recipe: Recipe) -> tuple[str, ...]:
    """Returns all names in a recipe that may be those of tasks: the task itself, those beside it, and those that the method names."""
    return (recipe.get("task", ""), *recipe.beside, *recipe.settings.named_tasks)


def other_task(name: str, recipe: Recipe) -> Task:
    """Returns a task that is read in addition to that of the recipe. Raises what loading it raises."""
    return task_named(name, tasks_of(recipe), recipe.values, by_name=True)


def task_named(name: str, tasks: Sequence[str], settings: Mapping[str, Any], *, by_name: bool = False) -> Task:
    """Returns one of several tasks, with the data and the wording that the settings give for it.

    `by_name`: only entries that name this task apply, not those that name none.
    Raises UnknownName for a TASK= that is none of the tasks, BadRecipe for two templates; what `load_task` raises.
    """
    data, template, instructions = (
        paths_for(name, tasks, settings.get(key) or (), by_name=by_name) for key in ("data", "template", "instructions")
    )
    for key, paths in (("template", template), ("instructions", instructions)):
        if len(paths) > 1:
            raise BadRecipe(f"The task {name} has several {key}: {', '.join(paths)}. Give one; TASK=FILE says for which task it is.")
    task = load_task(
        name,
        data=data or None,
        template=template[0] if template else None,
        instructions=instructions[0] if instructions else None,
        split_by=None if by_name else settings.get("split_by"),
    )
    limit = settings.get("limit")
    return task if limit is None else task.limited(limit)


def paths_for(task: str, tasks: Sequence[str], entries: Sequence[str], *, by_name: bool = False) -> tuple[str, ...]:
    """Returns the paths of [TASK=]PATH entries for one of several tasks: those that name it, or its family; else those that name none.

    >>> paths_for("glue/rte", ["bbq", "glue/rte"], ["one", "glue=two"])
    ('two',)
    >>> paths_for("bbq", ["bbq", "glue/rte"], ["one", "glue=two"])
    ('one',)

    Raises UnknownName for a TASK that is none of the tasks, where the entry is no path either.
    """
    named, unnamed = [], []
    for entry in entries:
        name, equals, path = entry.partition("=")
        meant = [known for known in tasks if known == name or known.startswith(f"{name}/")]
        if equals and not meant and "{" not in entry and not Path(entry).exists():
            raise UnknownName("task in front of a path,", name, tasks, f"({entry!r} is no path either.)")
        if not equals or not meant:
            unnamed.append(entry)
        elif task in meant:
            named.append(path)
    return tuple(named or (() if by_name else unnamed))


def side_effects_of(recipe: Recipe) -> SideEffects:
    """Returns what a recipe measures in addition to its comparison. Raises what loading texts and tasks raises."""
    return SideEffects(
        calibrate=tuple(kind for kind in recipe.get("calibrate", ()) if kind != "none"),
        generation=recipe.get("generation", False),
        texts=texts_of(recipe.text),
        text_name=text_name(recipe.text),
        tasks=tuple(other_task(name, recipe) for name in recipe.beside),
    )


def guards_of(recipe: Recipe) -> GuardLimits | None:
    """Returns what a recipe says that no candidate may cost; None where it says nothing. Raises BadRecipe."""
    entries = recipe.get("guard")
    return GuardLimits.parse(entries) if entries else None


def texts_of(paths: Sequence[str]) -> tuple[str, ...]:
    """Returns the documents of the files, or without files those that ship with the package. Raises InputError."""
    return read_texts(paths) if paths else packaged_texts()


def text_name(paths: Sequence[str]) -> str:
    """Returns the name of these texts in reports."""
    return ", ".join(Path(path).name for path in paths) or PACKAGED_NAME


# -- corpora by language -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpora:
    """The opened text of a recipe, by language.

    Attributes
    ----------
    languages : all languages, in the order in which the recipe names them
    texts, held_out : by language; `held_out` is empty where nothing is measured
    questions, suffix : open questions by language, and the text after each
    parallel : the same sentences in each language
    purity, held_out_purity : filters that leave out documents in other languages, and count them; None where that is not requested
    """

    languages: tuple[str, ...]
    texts: Mapping[str, CorpusText]
    held_out: Mapping[str, CorpusText]
    questions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    suffix: Mapping[str, str] = field(default_factory=dict)
    parallel: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    purity: LanguageFilter | None = None
    held_out_purity: LanguageFilter | None = None


def corpora_of(recipe: Recipe, extra_languages: Sequence[str] = (), *, measured: bool = True) -> Corpora:
    """Returns the corpora of a recipe, opened as far as is possible before a model is loaded.

    Parameters
    ----------
    extra_languages : languages that the method knows without text
    measured : whether anything is measured, which needs held-out text of two languages or more

    Raises InputError, UnknownName.
    """
    corpora, valid = parse_corpus_entries(recipe.corpus, "--corpus"), parse_corpus_entries(recipe.valid, "--valid")
    languages = tuple(dict.fromkeys((*corpora, *extra_languages)))
    _check_languages(languages, corpora, valid, measured=measured)
    if recipe.purity:
        check_supported(languages)
    purity, held_out_purity = (
        (LanguageFilter(LanguageIdentifier()), LanguageFilter(LanguageIdentifier())) if recipe.purity else (None, None)
    )
    texts, held_out = {}, {}
    for name in languages:
        hashes: set[int] = set()
        if name in corpora:
            corpus = open_corpus(corpora[name], part="all" if name in valid else "train")
            texts[name] = CorpusText(name, corpus, recipe.limit, purity, hashes)
        if measured:
            corpus = open_corpus(valid[name]) if name in valid else open_corpus(corpora[name], part="held-out")
            held_out[name] = CorpusText(name, corpus, recipe.limit, held_out_purity, hashes, is_held_out=True)
    return Corpora(
        languages=languages,
        texts=texts,
        held_out=held_out,
        questions=_files_by_language(recipe.questions, "--questions", languages, lambda path: _lines(path, recipe.limit)),
        suffix=_suffixes(recipe.suffix, languages),
        parallel=_parallel(recipe.parallel, languages, recipe.limit),
        purity=purity,
        held_out_purity=held_out_purity,
    )


def _check_languages(languages: tuple[str, ...], corpora: Mapping[str, str], valid: Mapping[str, str], *, measured: bool) -> None:
    if len({name.lower() for name in languages}) < len(languages):
        raise InputError(f"Two of the languages {', '.join(languages)} differ only in capitals; give each language one code.")
    for name in valid:
        if name not in languages:
            raise InputError(f"There is held-out text of {name} (--valid), but no other text of it: give --corpus {name}=PATH too.")
    if not measured:
        return
    if len(languages) < 2:
        raise InputError(
            f"There is text of one language only ({', '.join(languages) or 'none'}). What is specific to a language shows only in "
            "comparison with others (the entropy over one language is undefined): give two or more, or --record-only to count now and "
            "merge later."
        )
    missing = [name for name in languages if name not in valid and name not in corpora]
    if missing:
        raise InputError(f"There is no held-out text of {', '.join(missing)} to measure on: give --valid {missing[0]}=PATH.")


def _files_by_language(
    entries: Sequence[str], flag: str, languages: tuple[str, ...], read: Callable[[str], tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    paths = parse_corpus_entries(tuple(entries), flag)
    unknown = [name for name in paths if name not in languages]
    if unknown:
        raise InputError(f"{flag} names {', '.join(unknown)}, of which there is no text; the languages are {', '.join(languages)}.")
    return {name: read(path) for name, path in paths.items()}


def _lines(path: str, limit: int | None = None) -> tuple[str, ...]:
    lines = tuple(line.strip() for line in read_lines(Path(path)) if line.strip())[:limit]
    if not lines:
        raise InputError(f"{path} has no line of text.")
    return lines


def _parallel(entries: Sequence[str], languages: tuple[str, ...], limit: int | None) -> dict[str, tuple[str, ...]]:
    """Returns the sentences of every language, without the lines that are empty in some language."""
    lines = _files_by_language(entries, "--parallel", languages, lambda path: tuple(line.strip() for line in read_lines(Path(path))))
    counts = {name: len(sentences) for name, sentences in lines.items()}
    if len(lines) == 1 or len(set(counts.values())) > 1:
        numbers = ", ".join(f"{name} {number}" for name, number in counts.items())
        raise InputError(f"--parallel needs the same sentences in two languages or more, line by line; there are {numbers} lines.")
    rows = [row for row in zip(*lines.values(), strict=True) if all(row)][:limit]
    return {name: tuple(row[index] for row in rows) for index, name in enumerate(lines)}


def _suffixes(entries: Iterable[str], languages: tuple[str, ...]) -> dict[str, str]:
    """Returns the text after a question, by language; an entry without a language is for all those that have none of their own."""
    by_name: dict[str, str] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if equals and name in languages:
            by_name[name] = text
        else:
            by_name = {**dict.fromkeys(languages, entry), **by_name}
    return {name: by_name.get(name, "") for name in languages}
