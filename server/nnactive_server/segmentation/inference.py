"""Sliding-window prediction: one softmax array per pass, on the case's own grid.

Passes (members of an ensemble, flips, dropout passes) are computed and handed out one after the other, so
memory does not grow with their number. Tiles, Gaussian weights and the way back to the case's grid are
nnU-Net's; the probabilities agree with stock nnU-Net's for the same weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import nn

from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.plan import Plan
from nnactive_server.segmentation.tiles import Tiles

Pass = Callable[[], torch.Tensor]
"""Computes one set of logits (C, z, y, x) of a preprocessed image; see `passes.py`."""


class SlidingWindow:
    """Predicts logits tile by tile.

    Args:
        plan: tile size and labels.
        hardware: device and number format.
        step: distance of tiles in tile sizes, in (0, 1].
        mirror_axes: spatial axes over whose flips predictions are averaged; () for none.

    Attributes:
        flips: every combination of the mirror axes, none of them first.
    """

    def __init__(self, plan: Plan, hardware: Hardware, step: float, mirror_axes: Sequence[int] = ()) -> None:
        self._hardware = hardware
        self._tiles = Tiles(plan, hardware, step)
        self._classes = plan.labels.num_classes
        self.flips: list[tuple[int, ...]] = [
            axes for n in range(len(mirror_axes) + 1) for axes in itertools.combinations(mirror_axes, n)
        ]
        self._weights = compute_gaussian(
            self._tiles.shape,
            sigma_scale=1 / 8,
            value_scaling_factor=10,
            dtype=torch.float32,
            device=hardware.device,
        )

    @torch.inference_mode()
    def logits(
        self, network: nn.Module, image: np.ndarray, flips: Sequence[tuple[int, ...]] | None = None
    ) -> torch.Tensor:
        """Logits (C, z, y, x) float32 of a preprocessed image (channels, z, y, x) of any size.

        Args:
            network: deep supervision off.
            image: float32.
            flips: the tuples of spatial axes to flip tiles over, averaged; by default all of the window's.
        """
        flips = self.flips if flips is None else flips
        padded, inside = self._tiles.padded(image)
        shape = tuple(padded.shape[1:])
        total = torch.zeros((self._classes, *shape), device=self._hardware.device)
        weight = torch.zeros(shape, device=self._hardware.device)
        for box, tile in self._tiles.each(padded, lambda tiles, _: self._predict(network, tiles, flips)):
            total[(slice(None), *box)] += tile * self._weights
            weight[box] += self._weights
        total /= weight
        return total[(slice(None), *inside)]

    def _predict(
        self, network: nn.Module, tiles: torch.Tensor, flips: Sequence[tuple[int, ...]]
    ) -> Sequence[torch.Tensor]:
        """Mean logits (C, z, y, x) over the flips, for each tile."""
        total = self._flipped(network, tiles, flips[0])
        for axes in flips[1:]:
            total = total + self._flipped(network, tiles, axes)
        return (total / len(flips)).unbind()

    def _flipped(self, network: nn.Module, tiles: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
        """Logits (B, C, z, y, x) of tiles that the network sees turned over these spatial axes."""
        dims = [axis + 2 for axis in axes]
        with self._hardware.precision():
            out: torch.Tensor = network(tiles.flip(dims))
        return out.float().flip(dims)


def pass_softmax(passes: Iterable[Pass], properties: dict[str, Any], plan: Plan) -> Iterator[np.ndarray]:
    """For each pass, softmax (C, z, y, x) float32 on the case's own grid; made when asked for.

    Args:
        passes: see `passes.py`.
        properties: of the preprocessed case.
        plan: for resampling and axis order.
    """
    for compute in passes:
        yield to_case_grid(compute(), properties, plan)


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
