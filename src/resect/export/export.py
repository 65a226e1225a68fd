"""Export: writes a plan into a checkpoint that plain transformers loads, with its model card, and verifies it.

Where each parameter is one stored tensor, copies of the base's shards get the edited tensors, and the model is never loaded; else
transformers loads and saves all weights, and the result says so. As "factored", matrices whose rank a plan reduces are stored as two
factors, and only `resect.load_model` loads the folder. Knows no command line and prints nothing.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from resect.core.errors import Failure, InputError, UnknownName
from resect.core.execution import Progress, no_progress
from resect.core.number_format import plural
from resect.edits.plan import Plan
from resect.models.factored_linear import FACTORED_INDEX, FACTORED_WEIGHTS, FactoredFiles
from resect.models.loading import usable_device
from resect.runs.run_folder import Run

from .base_checkpoint import BaseCheckpoint
from .card_inputs import CardInputs
from .check_exact import EditedBase, compare_exact, probe_export
from .check_factored import Deviation, compare_factored, factored_reference
from .checkpoint import CARD, CheckpointFiles
from .factoring import FactoringSummary, FactorSelection
from .staging import check_free_space, check_target, staged_folder, storage_errors
from .write_weights import prepare_weights

#: A checkpoint that plain transformers loads, or one that stores matrices of reduced rank as factors.
Format = Literal["checkpoint", "factored"]
MIB = 2**20


@dataclass(frozen=True)
class ExportResult:
    """What an export did. Files are named as in `folder`.

    Attributes
    ----------
    rewritten : files of weights in which something changed
    linked : files of weights that are hard links to the base's
    copied : other files
    left_out : files of the base that the export lacks
    resaved : why transformers saved all weights, or None
    verified : None where no check was requested
    is_copy : whether the plan was empty
    factoring : what is stored as factors, or None
    deviation : the deviation that the check of these factors measured, or None
    verdict : that of the run on the plan, in a word, or None
    """

    folder: Path
    rewritten: tuple[str, ...]
    linked: tuple[str, ...]
    copied: tuple[str, ...]
    left_out: tuple[str, ...]
    resaved: str | None
    verified: bool | None
    is_copy: bool
    factoring: FactoringSummary | None = None
    deviation: Deviation | None = None
    verdict: str | None = None

    def sentences(self) -> list[str]:
        """Returns what users should know of it."""
        sentences = [f"The checkpoint is in {self.folder}."]
        if self.is_copy:
            sentences.append("The plan is empty: the weights are the base model's, unchanged.")
        if self.resaved is not None:
            sentences.append(f"All weights were saved again by transformers: {self.resaved}.")
        elif self.rewritten:
            sentences.append(f"{plural(len(self.rewritten), 'files')} of weights rewritten.")
        if self.linked:
            linked = plural(len(self.linked), "files")
            sentences.append(
                f"{linked} of weights linked, not copied: the same file as the base's, so replace it, but never write into it."
            )
        if self.left_out:
            sentences.append(f"Left out, since they hold or describe unedited weights: {', '.join(self.left_out)}.")
        if self.verdict is not None:
            sentences.append(f"Verdict of its run: {self.verdict}.")
        elif not self.is_copy:
            sentences.append("No run with a verdict comes with this plan: what it does to the model's answers is not known here.")
        if self.factoring is not None:
            sentences += _factoring_sentences(self.folder, self.factoring)
        if self.deviation is not None:
            sentences.append(self.deviation.sentence())
        elif self.verified:
            sentences.append(
                "Checked: loaded again, its weights and logits equal those of the base with the plan applied, to the last bit."
            )
        else:
            sentences.append("It was not loaded again to be checked.")
        return sentences

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON object that the command prints; its keys are older than some of the names here."""
        files = {name: list(getattr(self, name)) for name in ("rewritten", "linked", "copied", "left_out")}
        factored = None if self.factoring is None else self.factoring.to_json()
        if factored is not None and self.deviation is not None:
            factored["nearness"] = asdict(self.deviation)
        form = {"format": "checkpoint" if self.factoring is None else "factored", "factored": factored}
        return {"folder": str(self.folder), **files, "anew": self.resaved, "verified": self.verified, "is_copy": self.is_copy, **form}


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
    anyway: bool = False,
    progress: Progress = no_progress,
) -> ExportResult:
    """Write a checkpoint that is the base model with the plan applied, in the dtypes in which the base is stored.

    Parameters
    ----------
    source : the base model: a folder, or a Hub id
    to : the new folder, which appears when everything is written and checked. "~" is the home folder
    as_format : "checkpoint", which plain transformers loads; or "factored": each matrix whose rank the plan reduces, where no later edit
        changes it and the factors are smaller, is stored as U·diag(S) and Vᵀ; `resect.load_model(to)` loads it, plain transformers does not
    run : the run that the plan comes from; the card reports its results where its plan is this one
    base_model : the base's Hub id, for the card; default: `source`, of a folder only its own name
    trust_remote_code : run code that comes with the model. Dangerous: only for models whose code you have read.
    device : where the check computes logits; None takes a GPU where there is one
    verify : load base and export, in turn, and compare weights, logits and tokens: to the last bit; for factors, see `check_factored`
    allow_other_model : accept a model with other values than the plan was made for, if its shapes fit
    anyway : export a plan of which the verdict of its run is that it damages the model

    Raises before anything is written: InputError for `to`, for a plan that damages, and for one of which nothing can be stored as factors,
    BadModel, UnknownFamily, NotYet, WrongModel, UnknownName, NotWritable, Conflict, RunMismatch for a run with damaged results. Then
    StorageFailure for a full disk, and NoEffect, NotFinite, Failure where the check fails; in none of these cases is anything left under
    the name `to`.
    """
    if as_format not in get_args(Format):
        raise UnknownName("format of an export", str(as_format), get_args(Format))
    try:
        folder = Path(to).expanduser()  # after an equals sign, a shell leaves "~" alone
    except RuntimeError as error:
        raise InputError(f"The folder {to} names a home folder that does not exist; write it out.") from error
    target = check_target(folder, Path(source) if Path(source).is_dir() else None)
    check_device = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu")) if verify else None
    base = BaseCheckpoint.open(source, revision, trust_remote_code)
    card = CardInputs.of(plan, base.files.folder / CARD, run, base_model or base.name)
    if not anyway:
        card.refuse_damage()
    base.meta_model.check(plan, allow_other_model)
    selection = FactorSelection.of(plan, base.meta_model.anatomy) if as_format == "factored" else None
    weights = prepare_weights(base, plan, allow_other_model, selection)
    check_free_space(target, weights.bytes_needed)
    with staged_folder(target) as part:
        with storage_errors(target):
            written = weights.write(part, progress)
        factoring = None if selection is None else _describe_factors(part, selection, base)
        card.save(part, None if factoring is None else factoring.to_json())
        deviation = None
        if check_device is not None:
            if selection is None and written.resaved is None:
                _check_layout(part, base)
            edited_base = EditedBase(base.files.folder, plan, base.loading, check_device, allow_other_model)
            deviation = _check(part, edited_base, selection, progress)
    files = (tuple(written.rewritten), tuple(written.linked), tuple(written.copied), base.files.left_out)
    verified = None if check_device is None else True
    return ExportResult(folder, *files, written.resaved, verified, plan.is_empty, factoring, deviation, card.verdict)


def _describe_factors(part: Path, selection: FactorSelection, base: BaseCheckpoint) -> FactoringSummary:
    """Write the list of factored matrices. Raises StorageFailure."""
    weights = FACTORED_INDEX if (part / FACTORED_INDEX).exists() else FACTORED_WEIGHTS
    FactoredFiles(weights, selection.matrices).save(part)
    return FactoringSummary.of(selection, base, CheckpointFiles.read(part, weights))


def _factoring_sentences(folder: Path, factoring: FactoringSummary) -> list[str]:
    (dense, factored), (before, after) = factoring.matrix_bytes, factoring.weight_bytes
    pairs = plural(len(factoring.matrices), "pairs")
    return [
        f"{pairs} of factors in the place of matrices: {factored / MIB:,.2f} instead of {dense / MIB:,.2f} MiB.",
        f"All weights: {after / MIB:,.2f} instead of {before / MIB:,.2f} MiB.",
        *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in factoring.dense),
        f"Load it with resect.load_model({str(folder)!r}); plain transformers finds no weights in it.",
    ]


def _check_layout(part: Path, base: BaseCheckpoint) -> None:
    """Raises Failure where the stored tensors of a copy have other names, dtypes, shapes or files than the base's."""
    before, after = (
        {name: (info.file, info.dtype, info.shape) for name, info in files.tensors.items()}
        for files in (base.files, CheckpointFiles.read(part))
    )
    if after != before:
        raise Failure("The names, dtypes, shapes or files of the stored tensors are not the base's any more; nothing was left.")


def _check(part: Path, base: EditedBase, selection: FactorSelection | None, progress: Progress) -> Deviation | None:
    """Returns the deviation of factors. Raises Failure where the export is not the base with the plan applied; NoEffect, NotFinite."""
    progress("checking", 0, 2)
    deviation = None
    if selection is None:
        expected = base.probe()
        progress("checking", 1, 2)
        compare_exact(expected, probe_export(part, base.loading, base.device))
    else:
        reference = factored_reference(base, selection.matrices)
        progress("checking", 1, 2)
        deviation = compare_factored(reference, part, base.loading, base.device, selection.matrices)
    progress("checking", 2, 2)
    return deviation
