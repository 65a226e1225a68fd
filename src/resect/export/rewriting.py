"""Two ways to put an edited model into files: into copies of the base's own, only the bytes that change; or all anew.

Both do the arithmetic in the dtype that is stored, before anything is written. Know no card and no check.
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

from ..errors import Failure, StorageFailure
from ..plan import Plan
from ..work import Progress
from .checkpoint import INDEX, Checkpoint, Stored
from .original import Original, forms_of
from .proof import write_as_stored

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

    def link(self, name: str, source: Path, target: Path) -> None:
        """Give a file a second name, or copy it where that cannot be."""
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link((source / name).resolve(), target / name)  # resolved: the files of the Hub's cache are symbolic links
        except OSError:
            self.copy([name], source, target)
        else:
            self.linked.append(name)


class Rewriting(Protocol):
    """An edited model that waits to be written."""

    def room(self, device: int) -> int:
        """Bytes that writing it takes on the disk of that number (as os.stat has it)."""

    def put(self, folder: Path, progress: Progress) -> Files:
        """Write it into an empty folder, with the base's other files, and let go of it. Raises OSError, StorageFailure, Failure."""


def rewriting(original: Original, plan: Plan, allow_other_model: bool = False) -> Rewriting:
    """The base with the plan applied, in place where that is possible.

    Raises WrongModel, UnknownName, NotWritable, Conflict, BadModel.
    """
    original.skeleton.check(plan, allow_other_model)
    reason = original.why_anew(plan)
    if reason is None:
        return InPlace.of(original, plan, allow_other_model)
    return Anew.of(original, plan, reason, allow_other_model)


@dataclass(frozen=True)
class InPlace:
    """The few tensors that a plan is about, edited: private copies of pages of the base's mapped files.

    `patches`: file to where in it a parameter is stored, its name in memory, and the positions on its first axis that change.
    """

    original: Original
    patches: Mapping[str, Sequence[tuple[Stored, str, Sequence[range]]]]

    @classmethod
    def of(cls, original: Original, plan: Plan, allow_other_model: bool = False) -> "InPlace":
        """Write the plan into the tensors that it is about. Raises WrongModel, NotWritable, Conflict."""
        skeleton, checkpoint = original.skeleton, original.checkpoint
        skeleton.fill({name: original.tensor(name) for name in skeleton.needs(plan)})
        skeleton.check_values(plan, original.tensor, allow_other_model)
        written = skeleton.written(plan)
        for name, runs in written.items():
            values = skeleton.parameter(name).data
            for run in runs:  # makes these pages private, one tensor after the other: pages that are only read may be counted by the MiB
                values[run.start : run.stop] = values[run.start : run.stop].clone()
        replace(plan, model=None).write(skeleton.anatomy)
        patches: dict[str, list[tuple[Stored, str, Sequence[range]]]] = {}
        for name, runs in written.items():
            held = checkpoint.tensors[original.names[name][0]]
            patches.setdefault(held.file, []).append((held, name, runs))
        return cls(original, patches)

    def room(self, device: int) -> int:
        """Bytes that writing it takes on the disk of that number."""
        checkpoint = self.original.checkpoint
        shards = [file for file in checkpoint.shards if file in self.patches or (checkpoint.folder / file).stat().st_dev != device]
        return sum(map(checkpoint.size, (*shards, *checkpoint.others)))

    def put(self, folder: Path, progress: Progress) -> Files:
        """Copy the files that change and overwrite the bytes that do, link the others, copy what stands beside. Raises OSError."""
        files, checkpoint = Files(), self.original.checkpoint
        progress(STAGE, 0, len(checkpoint.shards))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            written = {shard: pool.submit(self._rewrite, shard, folder) for shard in checkpoint.shards if shard in self.patches}
            try:
                for done, shard in enumerate(checkpoint.shards, start=1):
                    if shard in written:
                        written[shard].result()
                        files.rewritten.append(shard)
                        self.original.skeleton.empty(name for _, name, _ in self.patches[shard])
                    else:
                        files.link(shard, checkpoint.folder, folder)
                    progress(STAGE, done, len(checkpoint.shards))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        files.copy(([checkpoint.index] if checkpoint.index else []) + list(checkpoint.others), checkpoint.folder, folder)
        return files

    def _rewrite(self, shard: str, folder: Path) -> None:
        copy_file(self.original.checkpoint.folder / shard, folder / shard)
        with (folder / shard).open("r+b") as file:
            for held, name, runs in self.patches[shard]:
                overwrite(file, held, self.original.skeleton.parameter(name).data, runs)
            file.flush()
            os.fsync(file.fileno())  # now, while the next file is being copied


@dataclass
class Anew:
    """The whole edited model, to be saved as transformers saves it."""

    original: Original
    reason: str
    model: Any

    @classmethod
    def of(cls, original: Original, plan: Plan, reason: str, allow_other_model: bool = False) -> "Anew":
        """Load the base and write the plan into it. Raises BadModel, WrongModel, NotWritable, Conflict."""
        model, _ = original.loading.parts(original.checkpoint.folder)
        write_as_stored(plan, model, original.loading, allow_other_model)
        return cls(original, reason, model)

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
        files.anew = self.reason + self._what_differs(Checkpoint.of(folder))
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
