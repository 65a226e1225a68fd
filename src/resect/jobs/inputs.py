"""What settings point at: the model, the tasks, the plain text. Loads them; asks nothing and keeps nothing."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from resect.core.errors import BadRecipe, UnknownName
from resect.data.tasks.base import Task
from resect.data.tasks.registry import load_task
from resect.data.texts import SHIPPED, read_texts, shipped
from resect.evaluation.side_effects import SideEffects
from resect.models.language_model import LanguageModel
from resect.models.loading import load_model
from resect.runs.recipe import Recipe


def model_of(recipe: Recipe) -> LanguageModel:
    """The model of a recipe. Raises what `load_model` raises."""
    return load_model(**model_settings(recipe))


def model_settings(recipe: Recipe) -> dict[str, Any]:
    """What `load_model` is given for a recipe."""
    return {
        "path": recipe.model,
        "dtype": recipe.dtype,
        "device": recipe.device,
        "device_map": recipe.device_map,
        "revision": recipe.revision,
        "trust_remote_code": recipe.trust_remote_code,
        "batch_size": recipe.batch_size,
        "chat": recipe.chat_template,
    }


def weights_digest(model: LanguageModel) -> str:
    """Of every weight that can be read, since a fingerprint at some places would not see a few neurons cut out of a checkpoint."""
    digest = hashlib.blake2b(digest_size=16)
    for name, parameter in model.model.named_parameters():
        digest.update(name.encode())
        if type(parameter.data) is torch.Tensor and parameter.device.type != "meta":
            values: Any = parameter.data.cpu().flatten().contiguous().view(torch.uint8).numpy()
            digest.update(values)
    return digest.hexdigest()


def task_of(recipe: Recipe) -> Task:
    """The task of a recipe, in the recipe's words. Raises what `load_task` raises."""
    return task_named(recipe.task, (recipe.task, *recipe.beside), vars(recipe))


def task_named(name: str, tasks: Sequence[str], settings: Mapping[str, Any], *, by_name: bool = False) -> Task:
    """One of several tasks, with the data and the wording that the settings give for it.

    `by_name`: only what is given for this very task counts, not what is given for no task in particular.
    Raises UnknownName for a TASK= that is none of the tasks, BadRecipe for two templates; what `load_task` raises.
    """
    data, template, instructions = (
        given_for(name, tasks, settings.get(key) or (), by_name=by_name) for key in ("data", "template", "instructions")
    )
    for key, found in (("template", template), ("instructions", instructions)):
        if len(found) > 1:
            raise BadRecipe(f"The task {name} has several {key}: {', '.join(found)}. Give one; TASK=FILE says for which task it is.")
    task = load_task(
        name,
        data=data or None,
        template=template[0] if template else None,
        instructions=instructions[0] if instructions else None,
        split_by=None if by_name else settings.get("split_by"),
    )
    limit = settings.get("limit")
    return task if limit is None else task.limited(limit)


def given_for(task: str, tasks: Sequence[str], given: Sequence[str], *, by_name: bool = False) -> tuple[str, ...]:
    """The paths of [TASK=]PATH entries for one of several tasks: those that name it, or its family; else those that name none.

    >>> given_for("glue/rte", ["bbq", "glue/rte"], ["here", "glue=there"])
    ('there',)
    >>> given_for("bbq", ["bbq", "glue/rte"], ["here", "glue=there"])
    ('here',)

    Raises UnknownName for a TASK that is none of the tasks (and the whole no path either).
    """
    named, plain = [], []
    for entry in given:
        name, equals, path = entry.partition("=")
        whose = [each for each in tasks if each == name or each.startswith(f"{name}/")]
        if equals and not whose and "{" not in entry and not Path(entry).exists():
            raise UnknownName("task in front of a path,", name, tasks, f"({entry!r} is no path either.)")
        if not equals or not whose:
            plain.append(entry)
        elif task in whose:
            named.append(path)
    return tuple(named or (() if by_name else plain))


def side_effects_of(recipe: Recipe, *, must: bool = False) -> SideEffects:
    """What a recipe wants beside its comparison. Raises what loading texts and tasks raises."""
    return SideEffects(
        calibrate=tuple(kind for kind in recipe.calibrate if kind != "none"),  # type: ignore[misc]
        generation=recipe.generation,
        texts=texts_of(recipe.text),
        text_name=text_name(recipe.text),
        tasks=tuple(task_named(name, (recipe.task, *recipe.beside), vars(recipe), by_name=True) for name in recipe.beside),
        must=must,
    )


def texts_of(paths: Sequence[str]) -> tuple[str, ...]:
    """The documents of the files, or those that ship with the package. Raises InputError."""
    return read_texts(paths) if paths else shipped()


def text_name(paths: Sequence[str]) -> str:
    """What people call the texts."""
    return ", ".join(Path(path).name for path in paths) or SHIPPED
