"""Plan to checkpoint: a folder that plain transformers loads, with the plan in its weights, its card beside them, and a proof.

Where names in memory and on disk map one to one, only the bytes that change are written, and the model is never loaded whole; else all is
loaded and saved anew, and that is said. As "factored", matrices whose rank a plan reduces are kept as two factors, and the folder is loaded
by `resect.load_model` alone. One file a part of the work; knows no command line and prints nothing.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from resect.core.errors import Failure, InputError, UnknownName
from resect.core.execution import Progress, no_progress
from resect.core.number_format import plural
from resect.edits.plan import Plan
from resect.models.factored_linear import INDEX, SINGLE, FactoredFiles
from resect.models.loading import usable
from resect.runs.run_folder import Run

from . import check_exact
from . import check_factored as nearness
from .base_model import Original
from .card_inputs import Told
from .check_factored import Nearness
from .checkpoint import CARD, Checkpoint
from .factoring import Choice, Saving
from .staging import check_target, refuse_too_little_room, staged, writing
from .write_weights import Files, rewriting

#: What may be written: a checkpoint that plain transformers loads, or one that keeps matrices of reduced rank as factors.
Format = Literal["checkpoint", "factored"]
MIB = 2**20


@dataclass(frozen=True)
class Exported:
    """What an export did. Files are named as they stand in `folder`.

    `rewritten`: weights of which something changed; `linked`: weights that are one file with the base's; `copied`: other files;
    `left_out`: what the base has and the export has not. `anew`: why all weights were saved anew, or None. `verified`: None where that was
    not asked for. `is_copy`: the plan was empty. `saving`: what is kept as factors, and `nearness`: how near the check found these; None
    elsewhere.
    """

    folder: Path
    rewritten: tuple[str, ...]
    linked: tuple[str, ...]
    copied: tuple[str, ...]
    left_out: tuple[str, ...]
    anew: str | None
    verified: bool | None
    is_copy: bool
    saving: Saving | None = None
    nearness: Nearness | None = None

    def sentences(self) -> list[str]:
        """What people should know of it."""
        told = [f"The checkpoint is in {self.folder}."]
        if self.is_copy:
            told.append("The plan is empty: the weights are the base model's, unchanged.")
        if self.anew is not None:
            told.append(f"All weights were saved anew: {self.anew}.")
        elif self.rewritten:
            told.append(f"{plural(len(self.rewritten), 'files')} of weights rewritten.")
        if self.linked:
            linked = plural(len(self.linked), "files")
            told.append(f"{linked} of weights linked, not copied: one file with the base's, so replace it, but never write into it.")
        if self.left_out:
            told.append(f"Left out, since they hold or describe unedited weights: {', '.join(self.left_out)}.")
        if self.saving is not None:
            told += _of_factors(self.folder, self.saving)
        if self.nearness is not None:
            told.append(self.nearness.sentence())
        elif self.verified:
            told.append("Checked: loaded again, its weights and logits equal those of the base with the plan applied, to the last bit.")
        else:
            told.append("It was not loaded again to be checked.")
        return told

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the names above."""
        files = {name: list(getattr(self, name)) for name in ("rewritten", "linked", "copied", "left_out")}
        factored = None if self.saving is None else self.saving.to_json()
        if factored is not None and self.nearness is not None:
            factored["nearness"] = asdict(self.nearness)
        told = {"format": "checkpoint" if self.saving is None else "factored", "factored": factored}
        return {"folder": str(self.folder), **files, "anew": self.anew, "verified": self.verified, "is_copy": self.is_copy, **told}


def export(
    plan: Plan,
    source: str,
    to: str | Path,
    *,
    as_format: Format = "checkpoint",
    run: Run | None = None,
    base_model: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    device: str | None = None,
    verify: bool = True,
    allow_other_model: bool = False,
    progress: Progress = no_progress,
) -> Exported:
    """Write a checkpoint that is the base model with the plan applied, in the dtypes that the base is stored in.

    Parameters
    ----------
    source : the base model: a folder, or a Hub id
    to : the new folder; it appears when all is written and checked, and not before. "~" is the home folder
    as_format : "checkpoint", which plain transformers loads; or "factored": each matrix whose rank the plan reduces, where no later edit
        changes it and that saves numbers, is kept as U·diag(S) and Vᵀ; `resect.load_model(to)` loads it, plain transformers does not
    run : where the plan comes from; its numbers go into the card where its plan is this one
    base_model : the base's Hub id, for the card; default: `source`, of a folder only its own name
    trust_remote_code : run code that comes with the model. Dangerous: only for models whose code you have read.
    device : where the check computes its logits; None takes a GPU where there is one
    verify : load base and export, in turn, and compare weights, logits and tokenizer: to the last bit; factors as `nearness` says
    allow_other_model : let a model pass whose values are not those that the plan was made for, but whose shapes are

    Raises before anything is written: InputError for `to`, and for a plan of which nothing can be kept as factors, BadModel, UnknownFamily,
    NotYet, WrongModel, UnknownName, NotWritable, Conflict, RunMismatch for a run whose numbers are damaged. Then StorageFailure for a disk
    that is full, and NoEffect, NotFinite, Failure where the check finds fault; nothing is left under the name `to` in any of these cases.
    """
    folder = _asked(to, as_format)
    target = check_target(folder, Path(source) if Path(source).is_dir() else None)
    where = usable(device or ("cuda" if torch.cuda.is_available() else "cpu")) if verify else None
    original = Original.open(source, revision, trust_remote_code)
    told = Told.of(plan, original.checkpoint.folder / CARD, run, base_model or original.name)
    choice = Choice.of(plan, original.checked(plan, allow_other_model)) if as_format == "factored" else None
    waiting = rewriting(original, plan, allow_other_model, choice)
    refuse_too_little_room(target, waiting.room)
    with staged(target) as part:
        with writing(target):
            files = waiting.put(part, progress)
        saving = None if choice is None else _describe_factors(part, choice, original)
        told.save(part, None if saving is None else saving.to_json())
        near = None if where is None else _check(part, plan, original, files, where, allow_other_model, progress, choice)
    named = (tuple(files.rewritten), tuple(files.linked), tuple(files.copied), original.checkpoint.left_out)
    return Exported(folder, *named, files.anew, None if where is None else True, plan.is_empty, saving, near)


def _asked(to: str | Path, as_format: str) -> Path:
    """The path with the home folder in place of "~", which a shell leaves alone after an equals sign. Raises InputError, UnknownName."""
    if as_format not in get_args(Format):
        raise UnknownName("format of an export", str(as_format), get_args(Format))
    try:
        return Path(to).expanduser()
    except RuntimeError as error:
        raise InputError(f"The folder {to} names a home folder that cannot be found; write it out.") from error


def _describe_factors(part: Path, choice: Choice, original: Original) -> Saving:
    """Write down which matrices are factors. Raises StorageFailure."""
    weights = INDEX if (part / INDEX).exists() else SINGLE
    FactoredFiles(weights, choice.matrices).save(part)
    return Saving.of(choice, original, Checkpoint.of(part, weights))


def _of_factors(folder: Path, saving: Saving) -> list[str]:
    """What people should know of an export with factors."""
    (dense, kept), (before, after) = saving.matrices, saving.weights
    return [
        f"{plural(len(saving.kept), 'pairs')} of factors in the place of matrices: {kept / MIB:,.2f} instead of {dense / MIB:,.2f} MiB.",
        f"All weights: {after / MIB:,.2f} instead of {before / MIB:,.2f} MiB.",
        *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in saving.dense),
        f"Load it with resect.load_model({str(folder)!r}); plain transformers finds no weights in it.",
    ]


def _check(
    part: Path, plan: Plan, original: Original, files: Files, device: torch.device, allow_other_model: bool, progress: Progress,
    choice: Choice | None,
) -> Nearness | None:  # fmt: skip
    """Raises Failure where the export is not the base with the plan applied; NoEffect, NotFinite."""
    progress("checking", 0, 2)
    if choice is None and files.anew is None and Checkpoint.of(part).tensors != original.checkpoint.tensors:
        raise Failure("The names, shapes or places of the tensors on disk are not the base's any more; nothing was left.")
    given = (original.checkpoint.folder, plan, original.loading, device, allow_other_model)
    near = None
    if choice is None:
        expected = check_exact.evidence_of_base(*given)
        progress("checking", 1, 2)
        check_exact.check_same(expected, check_exact.evidence_of_export(part, original.loading, device))
    else:
        base = nearness.evidence_of_base(*given, choice.matrices)
        progress("checking", 1, 2)
        near = nearness.check_near(base, part, original.loading, device, choice.matrices)
    progress("checking", 2, 2)
    return near
