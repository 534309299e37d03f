"""Prediction of cases whose whole softmax arrays do not fit in memory: slab by slab on the case's own grid.

First each pass's logits on the plan's grid go to a temporary file, plane by plane as they are complete. Then
one slab of the case's grid after the other is made from these files: for each pass its planes are resampled
and become a softmax. In memory are a tile's depth of logits at first, a slab for each array later.

Resampling is trilinear, so it can be done for each plane alone: between two planes along the first axis, then
inside the plane. It is what torch does with the whole array, up to the order of additions.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch.nn import functional

from nnactive_server.core.errors import NoSpace
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Index3, index3
from nnactive_server.core.slabs import Slab
from nnactive_server.segmentation.hardware import Hardware, torch_threads
from nnactive_server.segmentation.plan import Plan
from nnactive_server.segmentation.prediction.inference import Pass, handed_out
from nnactive_server.segmentation.prediction.tiles import tile_threads

COPIES = 5
"""Softmax arrays (C, z, y, x) float32 that predicting and folding a whole case takes at its peak: logits,
resampled logits, softmax, softmax in the uncropped image, and the sum over members. Measured without
cropping, on a plan's grid with half the voxels: 3.6."""

SLAB_COPIES = 5
"""The same for a slab: a member, the sum over members, maps that are written, and room for planes. Measured:
4.2."""

MAX_PLANES = 32
"""Thicker slabs save nothing; chunks of stored maps are no thicker either."""

_STEPS = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Grids:
    """A case's own grid and the plan's grid, and the way from one to the other.

    All shapes are in the plan's order of axes.

    Attributes:
        classes: background included.
        predicted: voxels on the plan's grid.
        shape: voxels of the whole case.
        box: what is predicted of it, first and last-but-one voxel of each axis; all else is background.
        backward: for each of the case's axes (z, y, x) the plan's axis.
    """

    classes: int
    predicted: Index3
    shape: Index3
    box: tuple[tuple[int, int], ...]
    backward: Index3

    @classmethod
    def of(cls, properties: dict[str, Any], plan: Plan) -> Grids:
        """Read from the properties of a preprocessed case."""
        return cls(
            plan.labels.num_classes,
            index3(properties["shape_on_plan_grid"]),
            index3(properties["shape_before_cropping"]),
            tuple((low, high) for low, high in properties["bbox_used_for_cropping"]),
            index3(plan.manager.transpose_backward),
        )

    @property
    def case_shape(self) -> Index3:
        """Voxels of the case in its own order of axes (z, y, x)."""
        return index3([self.shape[axis] for axis in self.backward])

    @property
    def cut_axis(self) -> int:
        """The case's axis that slabs cut: the plan's first, along which logits are stored."""
        return self.backward.index(0)

    @property
    def whole_bytes(self) -> int:
        """Memory that the arrays of the whole case take at the peak."""
        return COPIES * 4 * self.classes * max(_count(self.shape), _count(self.predicted))

    @property
    def logit_bytes(self) -> int:
        """Of one pass's logits in memory."""
        return 4 * self.classes * _count(self.predicted)

    @property
    def file_bytes(self) -> int:
        """Of one pass's logits on disk."""
        return self.logit_bytes // 2

    def planes(self, memory: int) -> int:
        """Planes of a slab whose arrays fit in this many bytes; at least one."""
        plane = SLAB_COPIES * 4 * self.classes * _count(self.shape[1:])
        return max(1, min(MAX_PLANES, self.shape[0], memory // plane))


def needs_slabs(grids: Grids, plan: Plan, hardware: Hardware) -> bool:
    """Whether a case is predicted in slabs: its whole arrays would take more than the hardware's limit.

    A plan from elsewhere, whose probabilities are resampled in another way, is always predicted whole.
    """
    return grids.whole_bytes > hardware.prediction_bytes and plan.is_trilinear


def predict_slabs(
    passes: Sequence[Pass], grids: Grids, folder: Path, hardware: Hardware, monitor: Monitor
) -> Iterator[Slab]:
    """A case in slabs whose arrays fit into the hardware's memory for prediction.

    Args:
        passes: see `passes.py`.
        grids: of the case.
        folder: on the disk to use for temporary files.
        hardware: device, threads and memory.
        monitor: asked often whether to stop.

    Raises:
        NoSpace: the disk has not enough space.
        Cancelled: asked to stop.
    """
    shape, axis = grids.case_shape, grids.cut_axis
    thickness = grids.planes(hardware.prediction_bytes)
    softmax = SlabSoftmax(grids, hardware.device)
    with ExitStack() as opened:
        with tile_threads(hardware):
            files = opened.enter_context(stored_logits(passes, grids, folder, monitor))
        for start in range(0, shape[axis], thickness):
            monitor.check()
            stop = min(start + thickness, shape[axis])
            with torch_threads(hardware.threads):
                yield Slab(
                    shape, axis, start, thickness, handed_out(softmax.members(files, start, stop), hardware)
                )


class LogitFile:
    """Logits of one pass on the plan's grid in a file, plane by plane along the first axis, two bytes each.

    In each voxel the highest logit is taken off all of them, which changes no softmax, not even a resampled
    one. What is left lies between 0 and the plane's lowest value and is stored in 65535 equal steps. With
    logits that span 100, a probability is off by less than 0.0004. float16 would be off ten times as far
    where neighbours are sure of different classes and resampling lies between them.
    """

    def __init__(self, stream: IO[bytes], grids: Grids) -> None:
        self._stream = stream
        self._plane = (grids.classes, *grids.predicted[1:])
        self._steps: list[float] = []

    def append(self, logits: torch.Tensor) -> None:
        """Add the logits (C, y, x) of the next plane; what is not finite makes the whole plane NaN."""
        below = logits.amax(0) - logits
        self._steps.append(float(below.max()) / _STEPS)
        steps = below.div_(self._steps[-1] or 1.0).nan_to_num_(0.0, 0.0, 0.0).round_()
        self._stream.write(steps.cpu().numpy().astype(np.uint16).data)

    def plane(self, number: int) -> torch.Tensor:
        """Logits (C, y, x) float32 of a plane."""
        values = _count(self._plane)
        self._stream.seek(2 * values * number)
        read = np.fromfile(self._stream, np.uint16, values).reshape(self._plane)
        return torch.from_numpy(read.astype(np.float32)).mul_(-self._steps[number])


@contextmanager
def stored_logits(
    passes: Sequence[Pass], grids: Grids, folder: Path, monitor: Monitor
) -> Iterator[list[LogitFile]]:
    """Compute all passes and keep their logits in temporary files until the block ends.

    The files have no name: the system removes them however this process ends.

    Args:
        passes: see `passes.py`.
        grids: of the case.
        folder: on the disk to use.
        monitor: asked after each plane whether to stop.

    Raises:
        NoSpace: the disk has not enough space.
        Cancelled: asked to stop.
    """
    check_space(folder, len(passes) * grids.file_bytes)
    with ExitStack() as opened:
        files = []
        for compute in passes:
            stream = opened.enter_context(tempfile.TemporaryFile(dir=folder, prefix=".logits-"))
            files.append(LogitFile(stream, grids))
            with _full_disk_named(folder, len(passes) * grids.file_bytes):
                for plane in compute.planes():
                    monitor.check()
                    files[-1].append(plane)
                stream.flush()
        yield files


def check_space(folder: Path, needed: int) -> None:
    """Raises NoSpace when a disk has less than this many bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoSpace(
            f"{folder}: predicting a case of this size takes {_gigabytes(needed)} of temporary disk space, "
            f"{_gigabytes(free)} are free; make room and start again"
        )


class SlabSoftmax:
    """Makes the softmax of a slab from a file of logits.

    Args:
        grids: of the case.
        device: that resamples.
    """

    def __init__(self, grids: Grids, device: torch.device) -> None:
        self._grids, self._device = grids, device
        low, high = grids.box[0]
        self._sources = sources(grids.predicted[0], high - low)
        self._size = [stop - start for start, stop in grids.box[1:]]

    @torch.inference_mode()
    def members(self, files: Sequence[LogitFile], start: int, stop: int) -> Iterator[torch.Tensor]:
        """For each file the softmax (C, z, y, x) float32 of some planes, in the case's order of axes.

        Args:
            files: of the members.
            start: first plane along the axis that is cut.
            stop: the one behind the last.
        """
        for file in files:
            yield self._slab(file, start, stop)

    def _slab(self, file: LogitFile, start: int, stop: int) -> torch.Tensor:
        (low, high), rows, columns = self._grids.box
        shape = (self._grids.classes, stop - start, *self._grids.shape[1:])
        slab = torch.zeros(shape, device=self._device)
        slab[0] = 1
        planes = _Planes(file, self._device)
        for z in range(max(start, low), min(stop, high)):
            first, second, share = self._sources[z - low]
            logits = planes.between(first, second, share)
            slab[:, z - start, slice(*rows), slice(*columns)] = torch.softmax(self._resampled(logits), 0)
        return slab.permute(0, *(axis + 1 for axis in self._grids.backward))

    def _resampled(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (C, y, x) of a plane in the case's own pixels."""
        if list(logits.shape[1:]) == self._size:
            return logits
        return functional.interpolate(logits[None], self._size, mode="bilinear", align_corners=False)[0]


class _Planes:
    """Planes of a file, of which neighbours share the two they lie between."""

    def __init__(self, file: LogitFile, device: torch.device) -> None:
        self._file, self._device = file, device
        self._kept: dict[int, torch.Tensor] = {}

    def between(self, first: int, second: int, share: float) -> torch.Tensor:
        """Logits between two planes, `share` of the second."""
        if share == 0:
            return self._plane(first, first)
        return self._plane(first, first) * (1 - share) + self._plane(second, first) * share

    def _plane(self, number: int, oldest: int) -> torch.Tensor:
        self._kept = {kept: plane for kept, plane in self._kept.items() if kept >= oldest}
        if number not in self._kept:
            self._kept[number] = self._file.plane(number).to(self._device)
        return self._kept[number]


def sources(length: int, wanted: int) -> list[tuple[int, int, float]]:
    """For each place on a resampled axis the two places it lies between, and the share of the second.

    As torch's linear interpolation with `align_corners=False`, in its float32.

    Args:
        length: of the axis as it is.
        wanted: its length afterwards.
    """
    scale = np.float32(length) / np.float32(wanted)
    places = np.maximum(np.float64(scale) * (np.arange(wanted) + 0.5) - 0.5, 0).astype(np.float32)
    first = np.minimum(places.astype(int), length - 1)
    second = np.minimum(first + 1, length - 1)
    share = np.clip(places - first.astype(np.float32), 0, 1)
    return [(int(a), int(b), float(part)) for a, b, part in zip(first, second, share, strict=True)]


@contextmanager
def _full_disk_named(folder: Path, needed: int) -> Iterator[None]:
    """Another process may fill the disk meanwhile."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise NoSpace(
            f"{folder}: the disk became full while a case was predicted, which takes {_gigabytes(needed)} of "
            "temporary space; make room and start again"
        ) from problem


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
