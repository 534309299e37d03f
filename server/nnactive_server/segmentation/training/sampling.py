"""Training crops: each holds an annotated voxel, placed anywhere in it; what lies outside is ignored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.patch import Index3, index3
from nnactive_server.segmentation.preprocessing import ANNOTATED, TrainingCase


class CropSampler:
    """Draws crops from annotated cases.

    Each crop is `outer` voxels large, the room that rotation and scaling need, around an `inner` box, the
    crop the network finally sees. Voxels beyond the image hold 0 in the image and the ignore id in the
    label: nnU-Net trains them as background, which teaches a network to cut structures off at borders.

    Args:
        cases: annotated cases; those without an annotated voxel on the plan's grid are passed over.
        inner: voxels (z, y, x) of the crop.
        outer: voxels (z, y, x) before augmentation, at least `inner`.
        ignore: label value for voxels nobody annotated.
        foreground_share: share of crops centred on a foreground voxel of a class drawn uniformly
            from those present in the case.
        proportional: draw cases in proportion to their annotated voxels instead of uniformly.

    Attributes:
        cases: those that crops are drawn from.
    """

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        inner: Sequence[int],
        outer: Sequence[int],
        ignore: int,
        foreground_share: float,
        proportional: bool,
    ) -> None:
        self.cases = [case for case in cases if case.annotated_voxels]
        if not self.cases:
            raise SegmentationError("no annotated voxel in any case; annotate at least one patch first")
        self._inner = index3(inner)
        self._outer = index3(outer)
        self._ignore = ignore
        self._foreground_share = foreground_share
        weights = np.array([case.annotated_voxels if proportional else 1 for case in self.cases], float)
        self._probabilities = weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """An image crop (C, z, y, x) float32 and its label (1, z, y, x) int16, `outer` voxels large."""
        number, start = self.place(rng)
        case, around = self.cases[number], zip(start, self._inner, self._outer, strict=True)
        first = index3([s - (outer - inner) // 2 for s, inner, outer in around])
        image = _cut(case.image, first, self._outer, 0)
        label = _cut(case.label[None], first, self._outer, self._ignore)
        return torch.from_numpy(image.astype(np.float32)), torch.from_numpy(label.astype(np.int16))

    def place(self, rng: np.random.Generator) -> tuple[int, Index3]:
        """Draw a case, by its number in `cases`, and the first voxel of an inner box; may be negative."""
        number = int(rng.choice(len(self.cases), p=self._probabilities))
        return number, self._start(self.cases[number], rng)

    def _start(self, case: TrainingCase, rng: np.random.Generator) -> Index3:
        centred = bool(case.classes) and rng.random() < self._foreground_share
        group = case.classes[rng.integers(len(case.classes))] if centred else ANNOTATED
        positions = case.positions[group]
        voxel = positions[rng.integers(len(positions))]
        starts = []
        for axis, (inner, extent) in enumerate(zip(self._inner, case.label.shape, strict=True)):
            offset = inner // 2 if centred else int(rng.integers(inner))
            # The crop stays inside the image where it fits; a larger crop has the image in its middle.
            room = extent - inner
            starts.append(min(max(int(voxel[axis]) - offset, 0), room) if room >= 0 else room // 2)
        return index3(starts)


def _cut(array: np.ndarray, start: Index3, size: Index3, fill: int) -> np.ndarray:
    """A box of a (C, z, y, x) array, filled where it lies beyond it."""
    out = np.full((array.shape[0], *size), fill, dtype=array.dtype)
    source, target = overlap(start, size, array.shape[1:])
    out[(slice(None), *target)] = array[(slice(None), *source)]
    return out


def overlap(
    start: Sequence[int], size: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a box and an array have voxels in common: in the array, and in the box; empty when nowhere."""
    source = [
        slice(min(max(0, s), n), max(0, min(n, s + d))) for s, d, n in zip(start, size, shape, strict=True)
    ]
    target = [slice(box.start - s, box.stop - s) for box, s in zip(source, start, strict=True)]
    if any(box.start >= box.stop for box in source):
        return (slice(0, 0),) * len(source), (slice(0, 0),) * len(source)
    return tuple(source), tuple(target)
