"""Two ways to put an edited model into files: into copies of the base's own, only the bytes that change; or all anew.

Both do the arithmetic in the dtype that is stored, before anything is written; either can keep matrices as factors. Know no card and no
check.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from resect.core.errors import Failure, StorageFailure
from resect.core.execution import Progress
from resect.core.files import write_json
from resect.edits.plan import Plan
from resect.models.anatomy import Anatomy
from resect.models.factored_linear import INDEX as FACTORED_INDEX
from resect.models.factored_linear import SINGLE as FACTORED_SINGLE
from resect.models.factored_linear import FactoredFiles

from . import factoring
from .base_model import Original, forms_of
from .checkpoint import INDEX, SINGLE, Checkpoint, Stored
from .factoring import Choice
from .safetensors_copy import bytes_of, rebuild

#: Bytes that are written at once.
CHUNK = 2**25
#: Files that are copied side by side.
AT_ONCE = 4
STAGE = "writing weights"


@dataclass
class Files:
    """What became of the base's files, by name. `anew`: why all weights were saved anew, or None."""

    rewritten: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    anew: str | None = None

    def copy(self, names: Sequence[str], source: Path, target: Path) -> None:
        """Copy some files."""
        for name in names:
            copy_file(source / name, target / name)
            self.copied.append(name)

    def link(self, source: Path, target: Path, name: str) -> None:
        """Give a file a second name, in the folder `target`, or copy it where that cannot be."""
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), target / name)  # resolved: the files of the Hub's cache are symbolic links
        except OSError:
            copy_file(source, target / name)
            self.copied.append(name)
        else:
            self.linked.append(name)


class Rewriting(Protocol):
    """An edited model that waits to be written."""

    def room(self, device: int) -> int:
        """Bytes that writing it takes on the disk of that number (as os.stat has it)."""

    def put(self, folder: Path, progress: Progress) -> Files:
        """Write it into an empty folder, with the base's other files, and let go of it. Raises OSError, StorageFailure, Failure."""


def rewriting(original: Original, plan: Plan, allow_other_model: bool = False, choice: Choice | None = None) -> Rewriting:
    """The base with the plan applied, in place where that is possible. `choice`: the matrices that are kept as factors.

    Raises WrongModel, UnknownName, NotWritable, Conflict, BadModel.
    """
    original.skeleton.check(plan, allow_other_model)
    reason = original.why_anew(plan)
    if choice is not None and reason is None:
        reason = original.why_factors_anew(FactoredFiles("", choice.matrices))
    if reason is None:
        return InPlace.of(original, plan, allow_other_model, choice)
    return Anew.of(original, plan, reason, allow_other_model, choice)


@dataclass(frozen=True)
class InPlace:
    """The few tensors that a plan is about, edited: private copies of pages of the base's mapped files.

    `patches`: file to where in it a parameter is stored, its name in memory, and the positions on its first axis that change. `replaced`:
    names on disk to the tensors, by name on disk, that stand there instead: factors.
    """

    original: Original
    patches: Mapping[str, Sequence[tuple[Stored, str, Sequence[range]]]]
    replaced: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, original: Original, plan: Plan, allow_other_model: bool = False, choice: Choice | None = None) -> "InPlace":
        """Write the plan into the tensors that it is about. Raises WrongModel, NotWritable, Conflict."""
        skeleton, checkpoint = original.skeleton, original.checkpoint
        skeleton.fill({name: original.tensor(name) for name in skeleton.needs(plan)})
        skeleton.check_values(plan, original.tensor, allow_other_model)
        written = skeleton.written(plan)
        for name, runs in written.items():
            values = skeleton.parameter(name).data
            for run in runs:  # makes these pages private, one tensor after the other: pages that are only read may be counted by the MiB
                values[run.start : run.stop] = values[run.start : run.stop].clone()
        replaced = {}
        if choice is None:
            replace(plan, model=None).write(skeleton.anatomy)
        else:
            factors = factoring.write(replace(plan, model=None), skeleton.anatomy, choice)
            replaced = original.on_disk(factoring.by_parameter(skeleton.model, factors))
        patches: dict[str, list[tuple[Stored, str, Sequence[range]]]] = {}
        for name, runs in written.items():
            disk = original.names[name][0]
            if disk not in replaced:
                held = checkpoint.tensors[disk]
                patches.setdefault(held.file, []).append((held, name, runs))
        return cls(original, patches, replaced)

    def room(self, device: int) -> int:
        """Bytes that writing it takes on the disk of that number."""
        checkpoint = self.original.checkpoint
        shards = [file for file in checkpoint.shards if self._changes(file) or (checkpoint.folder / file).stat().st_dev != device]
        fewer = sum(checkpoint.tensors[name].stop - checkpoint.tensors[name].start - bytes_of(new) for name, new in self.replaced.items())
        return sum(map(checkpoint.size, (*shards, *checkpoint.others))) - fewer

    def put(self, folder: Path, progress: Progress) -> Files:
        """Copy the files that change and overwrite the bytes that do, link the others, copy what stands beside. Raises OSError."""
        files, checkpoint = Files(), self.original.checkpoint
        progress(STAGE, 0, len(checkpoint.shards))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            written = {shard: pool.submit(self._rewrite, shard, folder) for shard in checkpoint.shards if self._changes(shard)}
            try:
                for done, shard in enumerate(checkpoint.shards, start=1):
                    if shard in written:
                        written[shard].result()
                        files.rewritten.append(self._called(shard))
                        self.original.skeleton.empty(name for _, name, _ in self.patches.get(shard, ()))
                    else:
                        files.link(checkpoint.folder / shard, folder, self._called(shard))
                    progress(STAGE, done, len(checkpoint.shards))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        files.copy(checkpoint.others, checkpoint.folder, folder)
        if checkpoint.index and not self.replaced:
            files.copy([checkpoint.index], checkpoint.folder, folder)
        elif checkpoint.index:
            self._write_index(folder)
            files.rewritten.append(FACTORED_INDEX)
        return files

    def _changes(self, shard: str) -> bool:
        return shard in self.patches or any(self.original.checkpoint.tensors[name].file == shard for name in self.replaced)

    def _called(self, shard: str) -> str:
        """The name of a file in the export: with factors, none that transformers looks for."""
        if not self.replaced:
            return shard
        if self.original.checkpoint.index is None:
            return FACTORED_SINGLE
        return f"factored-{shard}" if shard == SINGLE else shard

    def _rewrite(self, shard: str, folder: Path) -> None:
        source, target = self.original.checkpoint.folder / shard, folder / self._called(shard)
        patches = self.patches.get(shard, ())
        held = {name: place for name, place in self.original.checkpoint.tensors.items() if place.file == shard}
        if held.keys() & self.replaced.keys():
            moved = rebuild(source, held, self.replaced, target)
            now = {place: moved[name] for name, place in held.items() if name in moved}
            patches = [(now[place], name, runs) for place, name, runs in patches]
        else:
            copy_file(source, target)
        with target.open("r+b") as file:
            for place, name, runs in patches:
                overwrite(file, place, self.original.skeleton.parameter(name).data, runs)
            file.flush()
            os.fsync(file.fileno())  # now, while the next file is being copied

    def _write_index(self, folder: Path) -> None:
        """The list of the files' tensors, by the name under which a factored export has it. Raises StorageFailure."""
        listed: dict[str, str] = {}
        for name, place in self.original.checkpoint.tensors.items():
            listed |= dict.fromkeys(self.replaced.get(name, (name,)), self._called(place.file))
        size = sum(place.stop - place.start for name, place in self.original.checkpoint.tensors.items() if name not in self.replaced)
        size += sum(map(bytes_of, self.replaced.values()))
        write_json(folder / FACTORED_INDEX, {"metadata": {"total_size": size}, "weight_map": dict(sorted(listed.items()))})


@dataclass
class Anew:
    """The whole edited model, to be saved as transformers saves it. `is_factored`: some of its modules hold factors."""

    original: Original
    reason: str
    model: Any
    is_factored: bool = False

    @classmethod
    def of(cls, original: Original, plan: Plan, reason: str, allow_other_model: bool = False, choice: Choice | None = None) -> "Anew":
        """Load the base and write the plan into it. Raises BadModel, WrongModel, NotWritable, Conflict."""
        model, _ = original.loading.parts(original.checkpoint.folder)
        original.loading.narrow(model)
        if choice is None:
            plan.write(model, allow_other_model)
        else:
            plan.forms_for(model, "weights", allow_other_model)
            factors = factoring.write(replace(plan, model=None), Anatomy.of(model), choice)
            factoring.fill(model, FactoredFiles("", choice.matrices), factors)
        return cls(original, reason, model, choice is not None)

    def room(self, device: int) -> int:
        """Bytes that writing it takes."""
        checkpoint = self.original.checkpoint
        weights: int = sum(tensor.nbytes for tensor in self.model.parameters())
        return weights + sum(map(checkpoint.size, checkpoint.others))

    def put(self, folder: Path, progress: Progress) -> Files:
        """Save the weights, and copy the base's other files. Raises OSError, StorageFailure, Failure."""
        checkpoint = self.original.checkpoint
        sizes = [checkpoint.size(shard) for shard in checkpoint.shards]
        progress(STAGE, 0, 1)
        try:
            self.model.save_pretrained(folder, max_shard_size=max(sizes) if len(sizes) > 1 else 2 * sizes[0])
        except SafetensorError as error:
            raise StorageFailure(f"{folder} could not be written: {error}. Make room there, or give another folder with --to.") from error
        except ValueError as error:
            raise Failure(f"transformers could not save this model anew: {error}") from error
        self.model = None
        files = Files()
        for path in sorted(folder.iterdir()):
            if path.name.endswith(".safetensors"):
                files.rewritten.append(path.name)
            elif path.name != INDEX:
                path.unlink()  # the base's own configuration is passed on, as it is
        files.copy(checkpoint.others, checkpoint.folder, folder)
        files.anew = self.reason + ("" if self.is_factored else self._what_differs(Checkpoint.of(folder)))
        for name, factored in ((SINGLE, FACTORED_SINGLE), (INDEX, FACTORED_INDEX)) if self.is_factored else ():
            if (folder / name).exists():
                (folder / name).rename(folder / factored)
                files.rewritten = [factored if file == name else file for file in files.rewritten]
        progress(STAGE, 1, 1)
        return files

    def _what_differs(self, saved: Checkpoint) -> str:
        """A clause on how many tensors are not named, shaped and typed on disk as the base's."""
        before, now = self.original.forms, forms_of(saved)
        other = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        return f"; {len(other)} tensors have other names, shapes or dtypes on disk than the base's, {other[0]} among them" if other else ""


def overwrite(file: BinaryIO, held: Stored, values: Tensor, runs: Sequence[range]) -> None:
    """Put positions on the first axis of a tensor into the bytes where it is stored."""
    size = (held.stop - held.start) // len(values)
    step = max(1, CHUNK // size)
    for run in runs:
        for first in range(run.start, run.stop, step):
            content: Any = values[first : min(first + step, run.stop)].contiguous().view(torch.uint8).numpy()
            file.seek(held.start + first * size)
            file.write(content)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file inside the kernel where that can be: faster, and on some file systems without taking room."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if hasattr(os, "copy_file_range"):
        with contextlib.suppress(OSError), source.open("rb") as here, target.open("wb") as there:
            while os.copy_file_range(here.fileno(), there.fileno(), CHUNK):
                pass
            if here.tell() == os.fstat(here.fileno()).st_size:
                return
    shutil.copyfile(source, target)
