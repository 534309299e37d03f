"""Training cases on the training device, as much of them as fits a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nnactive_server.core.patch import Index3, index3
from nnactive_server.segmentation.preprocessing import TrainingCase
from nnactive_server.segmentation.training.sampling import overlap

BUDGET = 0.4
"""Share of the device's free memory that cases may take; the rest is the networks'."""


@dataclass(frozen=True, slots=True)
class _Held:
    """The part of a case that is kept.

    Attributes:
        image: (C, z, y, x) float32, on the device or, where that is too small, on the host.
        label: (1, z, y, x) uint8 or int16, where the image is.
        first: its first voxel in the case.
        shape: voxels (z, y, x) of the case.
    """

    image: torch.Tensor
    label: torch.Tensor
    first: Index3
    shape: Index3

    @property
    def bytes(self) -> int:
        return self.image.nbytes + self.label.nbytes


class ResidentCases:
    """Annotated cases, cut down to what training can ever read of them.

    That is what lies within a crop's reach of an annotated voxel. Cases go to the device in order until the
    budget is used up; the others stay in pinned host memory, and their crops travel when they are drawn.

    Args:
        cases: annotated ones.
        reach: voxels (z, y, x) that a crop reads at most to any side of an annotated voxel.
        ignore: label where nobody annotated, and beyond the image.
        device: of the training.
        budget: bytes on the device.

    Attributes:
        resident: how many of the cases lie on the device.
    """

    def __init__(
        self, cases: Sequence[TrainingCase], reach: Index3, ignore: int, device: torch.device, budget: int
    ) -> None:
        self._device, self._ignore = device, ignore
        self._held, self.resident = [], 0
        for case in cases:
            part = _part(case, reach, ignore)
            fits = part.bytes <= budget
            if fits:
                part = _Held(part.image.to(device), part.label.to(device), part.first, part.shape)
                budget -= part.bytes
                self.resident += 1
            elif device.type == "cuda":
                part = _Held(part.image.pin_memory(), part.label.pin_memory(), part.first, part.shape)
            self._held.append(part)

    def box(self, case: int, start: Sequence[int], size: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (C, *size) float32 and label (1, *size) int16 on the device.

        Beyond the image: 0 and the ignore id.

        Args:
            case: its number.
            start: first voxel (z, y, x); may be negative.
            size: voxels (z, y, x).
        """
        held = self._held[case]
        inside = [s - first for s, first in zip(start, held.first, strict=True)]
        source, target = overlap(inside, size, held.image.shape[1:])
        image = torch.zeros((held.image.shape[0], *size), device=self._device)
        label = torch.full((1, *size), self._ignore, dtype=torch.int16, device=self._device)
        whole = slice(None)
        image[(whole, *target)] = held.image[(whole, *source)].to(self._device, non_blocking=True)
        label[(whole, *target)] = held.label[(whole, *source)].to(self._device, non_blocking=True).short()
        return image, label


def _part(case: TrainingCase, reach: Index3, ignore: int) -> _Held:
    """What lies within reach of what is annotated."""
    known = case.label != ignore
    boxes = []
    for axis, (extent, far) in enumerate(zip(case.label.shape, reach, strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        where = np.flatnonzero(known.any(axis=others))
        boxes.append(slice(max(0, int(where[0]) - far), min(extent, int(where[-1]) + far + 1)))
    # Copies: a stored image is read from the disk as it is used.
    image = np.array(case.image[(slice(None), *boxes)], dtype=np.float32)
    label = np.array(case.label[tuple(boxes)][None])
    first = index3([box.start for box in boxes])
    return _Held(torch.from_numpy(image), torch.from_numpy(label), first, index3(case.label.shape))


def device_budget(device: torch.device) -> int:
    """Bytes that cases may take on this device."""
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return int(BUDGET * free)
