"""Sliding-window prediction: one softmax array per pass, on the case's own grid.

Passes (members of an ensemble, flips, dropout passes) are computed and handed out one after the other, so
memory does not grow with their number. Tiles, Gaussian weights and the way back to the case's grid are
nnU-Net's; the probabilities agree with stock nnU-Net's for the same weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import nn

from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.plan import Plan
from nnactive_server.segmentation.prediction.flat import FlatTiles, background_where
from nnactive_server.segmentation.prediction.tiles import Tiles


class SlidingWindow:
    """Predicts logits tile by tile.

    Args:
        plan: tile size and labels.
        hardware: device and number format.
        step: distance of tiles in tile sizes, in (0, 1].
        mirror_axes: spatial axes over whose flips predictions are averaged; () for none.
        skip_flat: tiles that vary by at most this share of the image are background unseen; 0 for none.

    Attributes:
        flips: every combination of the mirror axes, none of them first.
    """

    def __init__(
        self,
        plan: Plan,
        hardware: Hardware,
        step: float,
        mirror_axes: Sequence[int] = (),
        skip_flat: float = 0.0,
    ) -> None:
        self._hardware = hardware
        self._skip_flat = skip_flat
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
        return self.together(network, [image], flips)[0]

    @torch.inference_mode()
    def together(
        self,
        network: nn.Module,
        images: Sequence[np.ndarray],
        flips: Sequence[tuple[int, ...]] | None = None,
    ) -> list[torch.Tensor]:
        """The logits of each of several images, whose tiles travel together; see `logits`."""
        padded, inside = zip(*(self._tiles.padded(image) for image in images), strict=True)
        sums = [self._empty(image.shape[1:]) for image in padded]
        flat = [self._flat(image) for image in images]
        self._add_tiles(network, padded, flips, sums, flat)
        found = []
        for (total, weight), left_out, box in zip(sums, flat, inside, strict=True):
            if left_out is not None:
                background_where(total, weight)
            total /= weight
            found.append(total[(slice(None), *box)])
        return found

    @torch.inference_mode()
    def planes(
        self, network: nn.Module, image: np.ndarray, flips: Sequence[tuple[int, ...]] | None = None
    ) -> Iterator[torch.Tensor]:
        """The same logits as planes (C, y, x) along the first axis, each as soon as it is complete.

        Only a tile's depth of the image and of the logits is in memory. Tiles travel in other batches than in
        `logits`, which changes results by rounding at most.

        Args:
            network: deep supervision off; nobody else may use it meanwhile.
            image: float32 (channels, z, y, x), may be memory-mapped.
            flips: as for `logits`.
        """
        depth, flat = self._tiles.shape[0], self._flat(image)
        starts = self._tiles.starts(self._tiles.padded_shape(image.shape[1:]))[0]
        total, weight = self._empty((depth, *self._tiles.padded_shape(image.shape[1:])[1:]))
        for start, following in zip(starts, [*starts[1:], starts[-1] + depth], strict=True):
            padded, (own, *plane) = self._tiles.padded(image[:, start : start + depth])
            self._add_tiles(network, [padded], flips, [(total, weight)], [flat])
            complete = following - start
            for z in range(own.start, min(own.stop, complete)):
                if flat is not None:
                    background_where(total[:, z], weight[z])
                yield (total[:, z] / weight[z])[(slice(None), *plane)]
            _move_up(total, 1, complete)
            _move_up(weight, 0, complete)

    def _flat(self, image: np.ndarray) -> FlatTiles | None:
        return FlatTiles(self._skip_flat, image) if self._skip_flat else None

    def _empty(self, shape: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Room for weighted logits (C, z, y, x) and weights (z, y, x)."""
        device = self._hardware.device
        return torch.zeros((self._classes, *shape), device=device), torch.zeros(tuple(shape), device=device)

    def _add_tiles(
        self,
        network: nn.Module,
        padded: Sequence[torch.Tensor],
        flips: Sequence[tuple[int, ...]] | None,
        sums: Sequence[tuple[torch.Tensor, torch.Tensor]],
        flat: Sequence[FlatTiles | None],
    ) -> None:
        """Add the weighted logits and the weights of all tiles of images, but for those that are flat."""
        flips = self.flips if flips is None else flips
        for number, box, tile in self._tiles.each(
            padded, lambda tiles, _: self._predict(network, tiles, flips), flat
        ):
            total, weight = sums[number]
            total[(slice(None), *box)] += tile * self._weights
            weight[box] += self._weights

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


@dataclass(frozen=True, eq=False)
class Pass:
    """One set of logits of a preprocessed image; computed when asked for. See `passes.py`.

    Attributes:
        window: how tiles are laid.
        network: ready to predict, deep supervision off.
        image: (channels, z, y, x) float32.
        flips: averaged; by default all of the window's.
        setting: what the network is put in while it predicts.
    """

    window: SlidingWindow
    network: nn.Module
    image: np.ndarray
    flips: Sequence[tuple[int, ...]] | None = None
    setting: Callable[[], AbstractContextManager[None]] = nullcontext

    def __call__(self) -> torch.Tensor:
        """Logits (C, z, y, x), see `SlidingWindow.logits`."""
        return self.together(())[0]

    def together(self, others: Sequence[Pass]) -> list[torch.Tensor]:
        """Its logits and those of passes that differ from it in their images alone."""
        with self.setting():
            images = [self.image, *(other.image for other in others)]
            return self.window.together(self.network, images, self.flips)

    @property
    def sees_only_voxels(self) -> bool:
        """Whether the network is the same for every image, so that passes may be computed together."""
        return self.setting is nullcontext

    def planes(self) -> Iterator[torch.Tensor]:
        """Logits (C, y, x) of one plane after the other, see `SlidingWindow.planes`."""
        with self.setting():
            yield from self.window.planes(self.network, self.image, self.flips)


def _move_up(values: torch.Tensor, axis: int, by: int) -> None:
    """Drop the first planes along an axis; those that follow move to the front, zeros come behind."""
    planes = values.movedim(axis, 0)
    for to, old in enumerate(range(by, len(planes))):
        planes[to] = planes[old]
    planes[max(0, len(planes) - by) :] = 0


def handed_out(members: Iterable[torch.Tensor], hardware: Hardware) -> Iterator[Any]:
    """Members' softmax as whoever folds them gets it: what lies on a device stays there."""
    for member in members:
        yield member if hardware.resident else member.cpu().numpy()


@torch.inference_mode()
def to_case_grid(logits: torch.Tensor, properties: dict[str, Any], plan: Plan) -> torch.Tensor:
    """Softmax (C, z, y, x) on the case's own grid; outside the predicted box it is background for sure.

    It is on the device of the logits, unless the plan, one from elsewhere, resamples in a way only CPUs know.
    """
    manager, configuration = plan.manager, plan.configuration
    on_device = {"device": logits.device} if plan.is_trilinear else {}
    resampled = configuration.resampling_fn_probabilities(
        logits if plan.is_trilinear else logits.cpu(),
        properties["shape_after_cropping_and_before_resampling"],
        configuration.spacing,
        [properties["spacing"][i] for i in manager.transpose_forward],
        **on_device,
    )
    softmax = torch.softmax(torch.as_tensor(resampled).float(), 0)
    shape = properties["shape_before_cropping"]
    box = tuple(slice(low, high) for low, high in properties["bbox_used_for_cropping"])
    if list(softmax.shape[1:]) != list(shape):
        whole = softmax.new_zeros((len(softmax), *shape))
        whole[0] = 1
        whole[(slice(None), *box)] = softmax
        softmax = whole
    return softmax.permute(0, *(axis + 1 for axis in manager.transpose_backward))
