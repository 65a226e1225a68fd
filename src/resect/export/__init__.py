"""Plan to checkpoint: a folder that plain transformers loads, with the plan in its weights, its card beside them, and a proof.

Where names in memory and on disk map one to one, only the bytes that change are written, and the model is never loaded whole; else all is
loaded and saved anew, and that is said. One file a part of the work; knows no command line and prints nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import Failure
from ..figures import count
from ..files import write_text
from ..loading import usable
from ..plan import Plan
from ..store import Run
from ..work import Progress, silent
from . import proof
from .card import card, front_matter
from .checkpoint import CARD, PLAN, Checkpoint
from .original import Original
from .rewriting import Files, rewriting
from .staging import check_target, refuse_too_little_room, staged, writing


@dataclass(frozen=True)
class Exported:
    """What an export did. Files are named as they stand in `folder`.

    `rewritten`: weights of which something changed; `linked`: weights that are one file with the base's; `copied`: other files;
    `left_out`: what the base has and the export has not. `anew`: why all weights were saved anew, or None. `verified`: None where that was
    not asked for. `is_copy`: the plan was empty.
    """

    folder: Path
    rewritten: tuple[str, ...]
    linked: tuple[str, ...]
    copied: tuple[str, ...]
    left_out: tuple[str, ...]
    anew: str | None
    verified: bool | None
    is_copy: bool

    def sentences(self) -> list[str]:
        """What people should know of it."""
        told = [f"The checkpoint is in {self.folder}."]
        if self.is_copy:
            told.append("The plan is empty: the weights are the base model's, unchanged.")
        if self.anew is not None:
            told.append(f"All weights were saved anew: {self.anew}.")
        elif self.rewritten:
            told.append(f"{count(len(self.rewritten), 'files')} of weights rewritten.")
        if self.linked:
            linked = count(len(self.linked), "files")
            told.append(f"{linked} of weights linked, not copied: one file with the base's, so replace it, but never write into it.")
        if self.left_out:
            told.append(f"Left out, since they hold or describe unedited weights: {', '.join(self.left_out)}.")
        if self.verified:
            told.append("Checked: loaded again, its weights and logits equal those of the base with the plan applied, to the last bit.")
        else:
            told.append("It was not loaded again to be checked.")
        return told

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the names above."""
        files = {name: list(getattr(self, name)) for name in ("rewritten", "linked", "copied", "left_out")}
        return {"folder": str(self.folder), **files, "anew": self.anew, "verified": self.verified, "is_copy": self.is_copy}


def export(
    plan: Plan,
    source: str,
    to: str | Path,
    *,
    run: Run | None = None,
    base_model: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    device: str | None = None,
    verify: bool = True,
    allow_other_model: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Write a checkpoint that is the base model with the plan applied, in the dtypes that the base is stored in.

    Parameters
    ----------
    source : the base model: a folder, or a Hub id
    to : the new folder; it appears when all is written and checked, and not before
    run : where the plan comes from; its numbers go into the card where its plan is this one
    base_model : the base's Hub id, for the card; default: `source`, of a folder only its own name
    trust_remote_code : run code that comes with the model. Dangerous: only for models whose code you have read.
    device : where the check computes its logits; None takes a GPU where there is one
    verify : load base and export, one after the other, and compare weights, logits and tokenizer to the last bit
    allow_other_model : let a model pass whose values are not those that the plan was made for, but whose shapes are

    Raises before anything is written: InputError for `to`, BadModel, UnknownFamily, NotYet, WrongModel, UnknownName, NotWritable, Conflict.
    Then StorageFailure for a disk that is full, and NoEffect, NotFinite, Failure where the check finds fault; nothing is left under the
    name `to` in any of these cases.
    """
    target = check_target(Path(to), Path(source) if Path(source).is_dir() else None)
    where = usable(device or ("cuda" if torch.cuda.is_available() else "cpu")) if verify else None
    original = Original.open(source, revision, trust_remote_code)
    waiting = rewriting(original, plan, allow_other_model)
    refuse_too_little_room(target, waiting.room)
    with staged(target) as part:
        with writing(target):
            files = waiting.put(part, progress)
        _describe(part, plan, original, run, base_model or original.name)
        if where is not None:
            _check(part, plan, original, files, where, allow_other_model, progress)
    named = (tuple(files.rewritten), tuple(files.linked), tuple(files.copied), original.checkpoint.left_out)
    return Exported(Path(to), *named, files.anew, None if where is None else True, plan.is_empty)


def _describe(part: Path, plan: Plan, original: Original, run: Run | None, base_model: str) -> None:
    """Write the plan and the card. A run's numbers are told where its plan is this one. Raises StorageFailure."""
    plan.save(part / PLAN)
    told_by = None if run is None else _run_of(plan, run)
    told = card(
        plan.to_json(),
        base_model=base_model,
        base_front_matter=front_matter(original.checkpoint.folder / CARD),
        recipe=None if told_by is None else told_by.recipe,
        comparison=None if told_by is None else told_by.comparison(),
        environment=None if told_by is None else told_by.environment(),
    )
    write_text(part / CARD, told)


def _run_of(plan: Plan, run: Run) -> Run | None:
    """The finished run whose numbers are those of this very plan: of several trials the one that found it, for on top stand their means."""
    runs = [each for each in (*run.parts(), run) if each.is_finished]
    return next((each for each in runs if Plan.from_json(each.plan_json()).digest == plan.digest), None)


def _check(
    part: Path, plan: Plan, original: Original, files: Files, device: torch.device, allow_other_model: bool, progress: Progress
) -> None:
    """Raises Failure where the export is not the base with the plan applied; NoEffect, NotFinite."""
    progress("checking", 0, 2)
    if files.anew is None and Checkpoint.of(part).tensors != original.checkpoint.tensors:
        raise Failure("The names, shapes or places of the tensors on disk are not the base's any more; nothing was left.")
    expected = proof.evidence_of_base(original.checkpoint.folder, plan, original.loading, device, allow_other_model)
    progress("checking", 1, 2)
    proof.check_same(expected, proof.evidence_of_export(part, original.loading, device))
    progress("checking", 2, 2)
