"""Sliding-window prediction: one softmax array per member, on the case's own grid.

Members are predicted and handed out one after the other, so memory does not grow with their number. Tiles,
Gaussian weights and the way back to the case's grid are nnU-Net's; the probabilities agree with stock
nnU-Net's for the same weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from torch import nn

from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.plan import Plan

MIN_BATCH = 2
"""Fewest tiles per network call on a CPU. torch hands a small convolution with batch 1 to a slow kernel
instead of oneDNN: 0.109 s a tile against 0.036 s in a batch of 2 (40x56x40, 8 features, two cores)."""

BATCH_VOXELS = 2 * 32**3
"""Small tiles travel together up to this many voxels, so that a call is worth its overhead."""


class SlidingWindow:
    """Predicts logits tile by tile.

    Args:
        plan: tile size and labels.
        hardware: device and number format.
        step: distance of tiles in tile sizes, in (0, 1].
        mirror_axes: spatial axes over whose flips predictions are averaged; () for none.
    """

    def __init__(self, plan: Plan, hardware: Hardware, step: float, mirror_axes: Sequence[int] = ()) -> None:
        self._hardware = hardware
        self._tile = tuple(int(n) for n in plan.configuration.patch_size)
        self._classes = plan.labels.num_classes
        self._step = step
        self._batch = max(MIN_BATCH, BATCH_VOXELS // int(np.prod(self._tile)))
        self._flips = [
            axes for n in range(len(mirror_axes) + 1) for axes in itertools.combinations(mirror_axes, n)
        ]
        # On a CPU each thread predicts tiles of its own with one core: a network this small does not
        # keep several cores busy from inside.
        self._workers = hardware.threads if hardware.device.type == "cpu" else 1
        self._threads = ThreadPoolExecutor(self._workers, "tiles", _one_core if self._workers > 1 else None)
        self._weights = compute_gaussian(
            self._tile,
            sigma_scale=1 / 8,
            value_scaling_factor=10,
            dtype=torch.float32,
            device=hardware.device,
        )

    @torch.inference_mode()
    def logits(self, network: nn.Module, image: np.ndarray) -> torch.Tensor:
        """Logits (C, z, y, x) float32 of a preprocessed image (channels, z, y, x) of any size."""
        padded, inside = pad_nd_image(
            torch.from_numpy(np.array(image, dtype=np.float32)), self._tile, "constant", {"value": 0}, True
        )
        padded = padded.to(self._hardware.device)
        shape = tuple(padded.shape[1:])
        total = torch.zeros((self._classes, *shape), device=self._hardware.device)
        weight = torch.zeros(shape, device=self._hardware.device)
        for box, tile in self._tiles(network, padded):
            total[(slice(None), *box)] += tile * self._weights
            weight[box] += self._weights
        total /= weight
        return total[(slice(None), *inside[1:])]

    def _tiles(
        self, network: nn.Module, image: torch.Tensor
    ) -> Iterator[tuple[tuple[slice, ...], torch.Tensor]]:
        """Boxes and their logits, always in the same order; at most one batch per thread is in memory."""
        boxes = self._boxes(image.shape[1:])
        batches = [boxes[first : first + self._batch] for first in range(0, len(boxes), self._batch)]

        def predict(batch: Sequence[tuple[slice, ...]]) -> torch.Tensor:
            return self._predict(network, torch.stack([image[(slice(None), *box)] for box in batch]))

        for first in range(0, len(batches), self._workers):
            group = batches[first : first + self._workers]
            for batch, tiles in zip(group, self._threads.map(predict, group), strict=True):
                yield from zip(batch, tiles, strict=False)

    def _boxes(self, shape: Sequence[int]) -> list[tuple[slice, ...]]:
        starts = compute_steps_for_sliding_window(tuple(shape), self._tile, self._step)
        return [
            tuple(slice(first, first + n) for first, n in zip(corner, self._tile, strict=True))
            for corner in itertools.product(*starts)
        ]

    @torch.inference_mode()
    def _predict(self, network: nn.Module, tiles: torch.Tensor) -> torch.Tensor:
        """Mean logits (B, C, z, y, x) over the flips; B may come back larger than it went in."""
        if len(tiles) < MIN_BATCH and self._hardware.device.type == "cpu":
            tiles = tiles.expand(MIN_BATCH, *tiles.shape[1:]).contiguous()
        if self._hardware.channels_last:
            tiles = tiles.contiguous(memory_format=torch.channels_last_3d)
        total = self._flipped(network, tiles, self._flips[0])
        for axes in self._flips[1:]:
            total = total + self._flipped(network, tiles, axes)
        return total / len(self._flips)

    def _flipped(self, network: nn.Module, tiles: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
        """Logits (B, C, z, y, x) of tiles that the network sees turned over these spatial axes."""
        dims = [axis + 2 for axis in axes]
        with self._hardware.precision():
            out: torch.Tensor = network(tiles.flip(dims))
        return out.float().flip(dims)


def _one_core() -> None:
    """Runs in each new thread: torch's thread count belongs to the thread that sets it."""
    torch.set_num_threads(1)


def member_softmax(
    window: SlidingWindow,
    network: nn.Module,
    weights: Sequence[dict[str, torch.Tensor]],
    image: np.ndarray,
    properties: dict[str, Any],
    plan: Plan,
) -> Iterator[np.ndarray]:
    """For each member's weights, softmax (C, z, y, x) float32 on the case's own grid.

    Args:
        window: how tiles are laid.
        network: receives each member's weights in turn, deep supervision off.
        weights: one state dict per member.
        image: preprocessed image (channels, z, y, x).
        properties: of the preprocessed case.
        plan: for resampling and axis order.
    """
    network.eval()
    for state in weights:
        network.load_state_dict(state)
        yield to_case_grid(window.logits(network, image), properties, plan)


def to_case_grid(logits: torch.Tensor, properties: dict[str, Any], plan: Plan) -> np.ndarray:
    """Softmax (C, z, y, x) on the case's own grid; outside the predicted box it is background for sure."""
    manager, configuration = plan.manager, plan.configuration
    resampled = configuration.resampling_fn_probabilities(
        logits.cpu(),
        properties["shape_after_cropping_and_before_resampling"],
        configuration.spacing,
        [properties["spacing"][i] for i in manager.transpose_forward],
    )
    softmax = torch.softmax(torch.as_tensor(resampled).float(), 0).numpy()
    shape = properties["shape_before_cropping"]
    box = tuple(slice(low, high) for low, high in properties["bbox_used_for_cropping"])
    if list(softmax.shape[1:]) != list(shape):
        whole = np.zeros((softmax.shape[0], *shape), np.float32)
        whole[0] = 1
        whole[(slice(None), *box)] = softmax
        softmax = whole
    return softmax.transpose(0, *(axis + 1 for axis in manager.transpose_backward))
