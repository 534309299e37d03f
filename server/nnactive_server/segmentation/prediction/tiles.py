"""Tiles that cover a preprocessed image, and the threads that a network sees them in.

Prediction and embedding share where tiles lie, in what batches they travel and in what order results come
back. Both the batches and the order are the same for any number of threads, and so are the results.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

from nnactive_server.core.patch import Index3, index3
from nnactive_server.segmentation.hardware import Hardware, torch_threads
from nnactive_server.segmentation.plan import Plan

MIN_BATCH = 2
"""Fewest tiles per network call on a CPU. torch hands a small convolution with batch 1 to a slow kernel
instead of oneDNN: 0.109 s a tile against 0.036 s in a batch of 2 (40x56x40, 8 features, two cores)."""

BATCH_VOXELS = 2 * 32**3
"""Small tiles travel together up to this many voxels, so that a call is worth its overhead."""
DEVICE_BATCH_VOXELS = 2 * 128**3
"""The same on a GPU, which small batches cannot fill; as many voxels as nnU-Net trains with at once."""

Box = tuple[slice, ...]
Skip = Callable[[torch.Tensor], bool]
T = TypeVar("T")


class Tiles:
    """Cuts images into tiles of a plan's size and has them worked on in batches.

    Args:
        plan: tile size.
        hardware: device and threads.
        step: distance of tiles in tile sizes, in (0, 1].

    Attributes:
        shape: voxels of a tile (z, y, x).
    """

    def __init__(self, plan: Plan, hardware: Hardware, step: float) -> None:
        self.shape: Index3 = index3(plan.configuration.patch_size)
        self._hardware = hardware
        self._step = step
        on_cpu = hardware.device.type == "cpu"
        fewest = MIN_BATCH if on_cpu else 1
        voxels = BATCH_VOXELS if on_cpu else DEVICE_BATCH_VOXELS
        full = max(MIN_BATCH, voxels // int(np.prod(self.shape)))
        self._batch = fewest if hardware.frugal else full
        # On a CPU each thread predicts tiles of its own with one core: a network this small does not
        # keep several cores busy from inside.
        self._workers = hardware.threads if on_cpu and not hardware.frugal else 1
        self._threads = ThreadPoolExecutor(self._workers, "tiles", _one_core if on_cpu else None)

    def padded(self, image: np.ndarray) -> tuple[torch.Tensor, Box]:
        """An image (channels, z, y, x) on the device, at least as large as a tile, and where it lies in that.

        The box has one slice for each of (z, y, x).
        """
        tensor = torch.from_numpy(np.array(image, dtype=np.float32))
        padded, inside = pad_nd_image(tensor, self.shape, "constant", {"value": 0}, True)
        return padded.to(self._hardware.device), tuple(slice(s.start, s.stop) for s in inside[1:])

    def padded_shape(self, shape: Sequence[int]) -> Index3:
        """Voxels (z, y, x) of what `padded` makes of an image of this shape."""
        return index3([max(pair) for pair in zip(shape, self.shape, strict=True)])

    def starts(self, shape: Sequence[int]) -> list[list[int]]:
        """First voxels of the tiles on each axis of a padded image; a tile lies at every combination."""
        found: list[list[int]] = compute_steps_for_sliding_window(tuple(shape), self.shape, self._step)
        return found

    def each(
        self,
        images: Sequence[torch.Tensor],
        work: Callable[[torch.Tensor, Sequence[Box]], Iterable[T]],
        skip: Sequence[Skip | None] = (),
    ) -> Iterator[tuple[int, Box, T]]:
        """Boxes of padded images and what `work` makes of them, always in the same order.

        Tiles of several images travel in the same batches. At most one batch per thread is in memory.

        Args:
            images: (channels, z, y, x) each.
            work: gets tiles (B, channels, z, y, x) and their boxes, in inference mode; returns one result for
                each box. B is the larger of the number of boxes and `MIN_BATCH`. Called in several threads.
            skip: for each image what tells tiles (channels, z, y, x) that are left out.

        Yields:
            The number of the image, the box, and its result.
        """
        boxes = [
            (number, box)
            for number, (image, left_out) in enumerate(itertools.zip_longest(images, skip))
            for box in self._boxes(image, left_out)
        ]
        batches = [boxes[first : first + self._batch] for first in range(0, len(boxes), self._batch)]

        def run(batch: Sequence[tuple[int, Box]]) -> list[T]:
            # Inference mode belongs to a thread.
            with torch.inference_mode():
                return list(work(self._stacked(images, batch), [box for _, box in batch]))

        for first in range(0, len(batches), self._workers):
            group = batches[first : first + self._workers]
            for batch, results in zip(group, self._threads.map(run, group), strict=True):
                for (number, box), result in zip(batch, results, strict=False):
                    yield number, box, result

    def _boxes(self, image: torch.Tensor, skip: Skip | None) -> list[Box]:
        boxes = [
            tuple(slice(first, first + n) for first, n in zip(corner, self.shape, strict=True))
            for corner in itertools.product(*self.starts(image.shape[1:]))
        ]
        return boxes if skip is None else [box for box in boxes if not skip(image[(slice(None), *box)])]

    def _stacked(self, images: Sequence[torch.Tensor], batch: Sequence[tuple[int, Box]]) -> torch.Tensor:
        tiles = torch.stack([images[number][(slice(None), *box)] for number, box in batch])
        if len(tiles) < MIN_BATCH and self._hardware.device.type == "cpu":
            tiles = tiles.expand(MIN_BATCH, *tiles.shape[1:]).contiguous()
        return self._hardware.arranged(tiles)


def tile_threads(hardware: Hardware) -> AbstractContextManager[None]:
    """While tiles are worked on: on a CPU each thread has one core; a second one waiting would only spin."""
    return torch_threads(1 if hardware.device.type == "cpu" else hardware.threads)


def _one_core() -> None:
    """Runs in each new thread: torch's thread count belongs to the thread that sets it."""
    torch.set_num_threads(1)
