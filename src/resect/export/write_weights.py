"""Two ways to write an edited model: copies of the base's shards with the edited tensors in them, or all weights saved by transformers.

Both compute in the stored dtype, before anything is written; either can store matrices as factors. Knows no card and no check.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from resect.core.errors import Failure, StorageFailure
from resect.core.execution import Progress
from resect.core.files import write_json
from resect.edits.plan import Plan
from resect.models.anatomy import Anatomy
from resect.models.factored_linear import FACTORED_INDEX, FACTORED_WEIGHTS, FactoredFiles
from resect.models.weight_files import INDEX, SINGLE

from .base_checkpoint import BaseCheckpoint, stored_forms
from .checkpoint import CheckpointFiles
from .factoring import FactorSelection, install_factors, replacements_of, write_and_factor
from .safetensors_copy import EditedRows, copy_with_changes

#: Shards that are copied at a time: one is written while another is flushed to the disk.
COPIES_AT_ONCE = 4
STAGE = "writing weights"


@dataclass
class WrittenFiles:
    """The files of an export, by name. `resaved`: why transformers saved all weights, or None."""

    rewritten: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    resaved: str | None = None

    def copy(self, names: Sequence[str], source: Path, target: Path) -> None:
        """Copy files from one folder to another."""
        for name in names:
            _copy_file(source / name, target / name)
            self.copied.append(name)

    def link(self, source: Path, target: Path, name: str) -> None:
        """Create a hard link to a file, `name` in the folder `target`; copy it where that is not possible."""
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), target / name)  # resolved: the files of the Hub's cache are symbolic links
        except OSError:
            _copy_file(source, target / name)
            self.copied.append(name)
        else:
            self.linked.append(name)


@dataclass(frozen=True)
class ShardCopies:
    """Copies of the base's shards in which some tensors are edited or replaced. The model is never loaded.

    `edits`: edited tensors by stored name; `replacements`: stored name of a weight to the factors that replace it, by stored name.
    """

    base: BaseCheckpoint
    edits: dict[str, EditedRows]
    replacements: Mapping[str, Mapping[str, Tensor]]

    @classmethod
    def of(cls, base: BaseCheckpoint, plan: Plan, allow_other_model: bool, selection: FactorSelection | None) -> "ShardCopies":
        """Write the plan into memory-mapped tensors of the base. Raises WrongModel, NotWritable, Conflict."""
        meta_model, needed = base.meta_model, base.meta_model.needed_parameters(plan)
        meta_model.set_values({name: base.tensor(name) for name in needed})
        meta_model.check_values(plan, base.tensor, allow_other_model)
        changed, checked, factors = meta_model.changed_rows(plan), replace(plan, model=None), {}
        if selection is None:
            checked.write(meta_model.anatomy)
        else:
            factors = replacements_of(meta_model.model, write_and_factor(checked, meta_model.anatomy, selection))
        rows = {name: rows for name, rows in changed.items() if name not in factors}
        edits: dict[str, EditedRows] = {}
        for name, runs in rows.items():
            edits |= base.edits(name, meta_model.parameter(name).data, runs)
        meta_model.drop_values(needed)
        return cls(base, edits, base.as_stored(factors))

    @property
    def changed_shards(self) -> set[str]:
        """The shards in which tensors are edited or replaced."""
        return {self.base.files.tensors[name].file for name in (*self.edits, *self.replacements)}

    def bytes_needed(self, device: int) -> int:
        """Returns the bytes that writing takes on the device of that number."""
        files, changed = self.base.files, self.changed_shards
        shards = [shard for shard in files.shards if shard in changed or (files.folder / shard).stat().st_dev != device]
        saved = sum(files.tensors[name].size - _nbytes(tensors) for name, tensors in self.replacements.items())
        return sum(map(files.size, (*shards, *files.others))) - saved

    def write(self, folder: Path, progress: Progress) -> WrittenFiles:
        """Copy the shards that change, link the others, copy the other files. Raises OSError, StorageFailure."""
        written, files, changed = WrittenFiles(), self.base.files, self.changed_shards
        progress(STAGE, 0, len(files.shards))
        with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
            copies = {shard: pool.submit(self._copy_shard, shard, folder) for shard in files.shards if shard in changed}
            try:
                for done, shard in enumerate(files.shards, start=1):
                    if shard in copies:
                        copies[shard].result()
                        written.rewritten.append(self._exported_name(shard))
                    else:
                        written.link(files.folder / shard, folder, self._exported_name(shard))
                    progress(STAGE, done, len(files.shards))
            finally:
                pool.shutdown(cancel_futures=True)
        written.copy(files.others, files.folder, folder)
        if files.index is not None and self.replacements:
            self._write_index(folder / FACTORED_INDEX)
            written.rewritten.append(FACTORED_INDEX)
        elif files.index is not None:
            written.copy([files.index], files.folder, folder)
        return written

    def _copy_shard(self, shard: str, folder: Path) -> None:
        tensors = {name: info for name, info in self.base.files.tensors.items() if info.file == shard}
        edits = {name: self.edits.pop(name) for name in tensors if name in self.edits}  # so that their memory is freed afterwards
        copy_with_changes(self.base.files.folder / shard, tensors, edits, self.replacements, folder / self._exported_name(shard))

    def _exported_name(self, shard: str) -> str:
        """The name of a shard in the export: with factors, one that transformers does not look for."""
        if not self.replacements:
            return shard
        if self.base.files.index is None:
            return FACTORED_WEIGHTS
        return f"factored-{shard}" if shard == SINGLE else shard

    def _write_index(self, path: Path) -> None:
        """Write the index of an export with factors. Raises StorageFailure."""
        tensors = self.base.files.tensors
        weight_map: dict[str, str] = {}
        for name, info in tensors.items():
            weight_map |= dict.fromkeys(self.replacements.get(name, (name,)), self._exported_name(info.file))
        size = sum(info.size for name, info in tensors.items() if name not in self.replacements)
        size += sum(map(_nbytes, self.replacements.values()))
        write_json(path, {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))})


@dataclass
class ResavedModel:
    """The edited model, loaded, to be saved by transformers. `reason`: why; `is_factored`: some of its modules hold factors."""

    base: BaseCheckpoint
    reason: str
    model: Any
    is_factored: bool

    @classmethod
    def of(
        cls, base: BaseCheckpoint, plan: Plan, reason: str, allow_other_model: bool, selection: FactorSelection | None
    ) -> "ResavedModel":
        """Load the base and write the plan into it. Raises BadModel, WrongModel, NotWritable, Conflict."""
        model, _ = base.loading.load(base.files.folder)
        base.loading.cast_to_stored(model)
        if selection is None:
            plan.write(model, allow_other_model)
        else:
            plan.choose_forms(model, "weights", allow_other_model)
            factors = write_and_factor(replace(plan, model=None), Anatomy.of(model), selection)
            install_factors(model, FactoredFiles("", selection.matrices), factors)
        return cls(base, reason, model, selection is not None)

    def bytes_needed(self, device: int) -> int:
        """Returns the bytes that writing takes."""
        weights: int = sum(tensor.nbytes for tensor in self.model.parameters())
        return weights + sum(map(self.base.files.size, self.base.files.others))

    def write(self, folder: Path, progress: Progress) -> WrittenFiles:
        """Save the weights, and copy the base's other files. Raises OSError, StorageFailure, Failure."""
        files, written = self.base.files, WrittenFiles()
        sizes = [files.size(shard) for shard in files.shards]
        progress(STAGE, 0, 1)
        try:
            self.model.save_pretrained(folder, max_shard_size=max(sizes) if len(sizes) > 1 else 2 * sizes[0])
        except SafetensorError as error:
            raise StorageFailure(f"{folder} could not be written: {error}. Free space there, or give another folder with --to.") from error
        except ValueError as error:
            raise Failure(f"transformers could not save this model: {error}") from error
        self.model = None
        for path in folder.iterdir():
            if not path.name.endswith((".safetensors", INDEX)):
                path.unlink()  # the base's own configuration is copied instead
        written.copy(files.others, files.folder, folder)
        written.resaved = self.reason
        if self.is_factored:
            for name, factored in ((SINGLE, FACTORED_WEIGHTS), (INDEX, FACTORED_INDEX)):
                if (folder / name).exists():
                    (folder / name).rename(folder / factored)
        else:
            written.resaved += self._difference_in_forms(CheckpointFiles.read(folder))
        written.rewritten = sorted(path.name for path in folder.glob("*.safetensors"))
        progress(STAGE, 1, 1)
        return written

    def _difference_in_forms(self, saved: CheckpointFiles) -> str:
        """Returns a clause on the stored tensors whose name, shape or dtype is not the base's."""
        before, after = self.base.forms, stored_forms(saved)
        other = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return f"; {len(other)} stored tensors have other names, shapes or dtypes than the base's, {other[0]} among them" if other else ""


def prepare_weights(
    base: BaseCheckpoint, plan: Plan, allow_other_model: bool = False, selection: FactorSelection | None = None
) -> ShardCopies | ResavedModel:
    """Returns the base with the plan applied, ready to be written once: into copies of its shards where possible.

    `selection`: the matrices to store as factors. Raises WrongModel, NotWritable, Conflict, BadModel.
    """
    reason = base.why_not_shards(plan)
    if selection is not None and reason is None:
        reason = base.why_not_factors(FactoredFiles("", selection.matrices))
    if reason is None:
        return ShardCopies.of(base, plan, allow_other_model, selection)
    return ResavedModel.of(base, plan, reason, allow_other_model, selection)


def _nbytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
