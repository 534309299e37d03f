"""Training batches: made sample by sample on the host, or all together on the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from nnactive_server.core.patch import Index3, index3
from nnactive_server.core.rng import Key, generator, small_seed
from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.training.augmentation import (
    SCALES,
    Rules,
    augment,
    draw,
    margins,
    mirrored,
    resampled,
)
from nnactive_server.segmentation.training.resident import ResidentCases, device_budget
from nnactive_server.segmentation.training.sampling import CropSampler

if TYPE_CHECKING:
    from nnactive_server.segmentation.training.recipe import Recipe

REDRAWS = 8
"""How often a crop is drawn again when rotation or scaling moved every annotated voxel out of it."""

Batch = tuple[torch.Tensor, list[torch.Tensor]]
"""Images (B, C, z, y, x) and targets (B, 1, z, y, x) per resolution, on the device."""


class Batches(Protocol):
    """Gives the batch of each step; the same for the same key."""

    def draw(self, *key: Key) -> Batch:
        """The batch of a step.

        Args:
            key: of all random draws.
        """


def make_batches(recipe: Recipe, sampler: CropSampler, hardware: Hardware, spare: bool = False) -> Batches:
    """The kind of batches that suits the hardware.

    Args:
        recipe, sampler, hardware: see the classes.
        spare: leave the device's memory to the network; batches are the same.
    """
    if not hardware.resident:
        return HostBatches(recipe, sampler, hardware)
    return DeviceBatches(recipe, sampler, hardware, 0 if spare else device_budget(hardware.device))


class HostBatches:
    """nnU-Net's own transforms on the processor, one crop after the other.

    Args:
        recipe: transforms and batch size.
        sampler: draws crops.
        hardware: where batches go.
    """

    def __init__(self, recipe: Recipe, sampler: CropSampler, hardware: Hardware) -> None:
        self._sampler, self._hardware = sampler, hardware
        self._ignore, self._size = recipe.plan.labels.ignore, recipe.batch
        self._transforms = recipe.transforms()

    def draw(self, *key: Key) -> Batch:
        """See `Batches`."""
        rng = generator("crops", *key)
        with seeded("augmentation", *key):
            samples = [self._augmented(rng) for _ in range(self._size)]
        targets = [torch.stack(level) for level in zip(*(t for _, t in samples), strict=True)]
        images = torch.stack([image for image, _ in samples])
        device = self._hardware.device
        return self._hardware.arranged(images.to(device)), [target.to(device) for target in targets]

    def _augmented(self, rng: np.random.Generator) -> tuple[torch.Tensor, list[torch.Tensor]]:
        for _ in range(REDRAWS):
            image, label = self._sampler.draw(rng)
            out = self._transforms(image=image, segmentation=label)
            if bool((out["segmentation"][0] != self._ignore).any()):
                break
        return out["image"], out["segmentation"]


class DeviceBatches:
    """Crops are cut and augmented where the cases lie; the host only draws numbers and never waits.

    A crop out of which rotation moved every annotated voxel is not drawn again, as finding out would mean
    waiting; it then teaches nothing, as in stock nnU-Net.

    Args:
        recipe: geometry, rules and batch size.
        sampler: places crops.
        hardware: the device.
        budget: bytes that cases may take on it.
    """

    def __init__(self, recipe: Recipe, sampler: CropSampler, hardware: Hardware, budget: int) -> None:
        self._sampler, self._hardware, self._crop = sampler, hardware, recipe.crop
        self._rules, self._size, self._levels = recipe.rules, recipe.batch, recipe.levels
        labels = recipe.plan.labels
        self._labels = [0, *labels.foreground, labels.ignore]
        reach = _reach(self._rules, self._crop)
        self.cases = ResidentCases(sampler.cases, reach, labels.ignore, hardware.device, budget)
        self._noise = torch.Generator(hardware.device)

    def draw(self, *key: Key) -> Batch:
        """See `Batches`."""
        rng = generator("crops", *key)
        self._noise.manual_seed(small_seed("augmentation", *key))
        channels = self._sampler.cases[0].image.shape[0]
        draws = [draw(rng, self._rules, channels) for _ in range(self._size)]
        crops = [self._cut(rng, chosen.affine) for chosen in draws]
        images = augment(torch.stack([image for image, _ in crops]), draws, self._noise)
        labels = mirrored(torch.stack([label for _, label in crops]), draws)
        return self._hardware.arranged(mirrored(images, draws)), self._levels(labels)

    def _cut(self, rng: np.random.Generator, affine: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor]:
        number, start = self._sampler.place(rng)
        if affine is None:
            return self.cases.box(number, start, self._crop)
        beyond = margins(affine, self._crop)
        first = [s - m for s, m in zip(start, beyond, strict=True)]
        size = [n + 2 * m for n, m in zip(self._crop, beyond, strict=True)]
        return resampled(*self.cases.box(number, first, size), affine, self._crop, self._labels)


def _reach(rules: Rules, crop: Index3) -> Index3:
    """Voxels that a crop reads at most to any side of the annotated voxel it holds.

    Turned by any angle, a crop is nowhere longer than its diagonal.
    """
    if not rules.resample:
        return crop
    turning = np.array(crop, float) * ((0, 1, 1) if rules.in_slices else (1, 1, 1))
    longest = np.where(turning > 0, max(SCALES) * np.linalg.norm(turning), crop)
    return index3([n + max(0, int(np.ceil((far - n) / 2))) + 1 for n, far in zip(crop, longest, strict=True)])


@contextmanager
def seeded(*key: Key) -> Iterator[None]:
    """Fix the global generators of torch and numpy, which nnU-Net's parts draw from, inside the block."""
    before = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would note, with a traceback each time, what to tell devices that are never used.
        torch.default_generator.manual_seed(small_seed(*key))
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.manual_seed_all(small_seed(*key))
        np.random.seed(small_seed(*key))  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002
