"""nnU-Net's default augmentation for batches that lie on the training device.

What happens to a crop is drawn on the host, as a few numbers; voxels are worked on where they lie. So nothing
waits for the device, and crops that nothing happens to cost nothing. Kinds, order, probabilities and ranges
are those of nnU-Net 2.8 (`nnUNetTrainer.get_training_transforms`); tests compare each step with nnU-Net's own
on the same numbers, and the distributions of the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from nnactive_server.core.patch import Index3, index3

Affine = np.ndarray
"""(3, 3): from an offset in the crop to one in the image, voxels (z, y, x)."""

SCALES = (0.7, 1.4)
NOISE = (0.0, 0.1)
SIGMAS = (0.5, 1.0)
FACTORS = (0.75, 1.25)
GAMMAS = (0.7, 1.5)
RESOLUTIONS = (0.5, 1.0)
_TAPS = 7
"""Of the widest blur, that of a sigma of 1."""
_SMALL = 1e-7


@dataclass(frozen=True, slots=True)
class Rules:
    """What may happen to crops of a plan.

    Attributes:
        rotation: largest angle round an axis in radians.
        in_slices: rotate and scale within slices only (nnU-Net's dummy 2D augmentation of thick slices).
        flips: spatial axes along which crops may be mirrored.
        resample: also what resamples: rotation, scaling, blur and low resolution.
    """

    rotation: float
    in_slices: bool
    flips: tuple[int, ...]
    resample: bool


@dataclass(frozen=True, slots=True)
class Draw:
    """What happens to one crop; None, or empty, for nothing.

    Attributes:
        affine: rotation and scaling.
        noise: standard deviation of the noise added.
        blur: standard deviations (z, y, x) in voxels, by channel.
        brightness: factor of each channel.
        contrast: factor of each channel's distance from its mean.
        resolution: share of the voxels along an axis that are left, by channel.
        inverted_gamma: exponent of each channel, upside down.
        gamma: exponent of each channel.
        flips: spatial axes.
    """

    affine: Affine | None = None
    noise: float | None = None
    blur: tuple[tuple[int, tuple[float, float, float]], ...] = ()
    brightness: tuple[float, ...] = ()
    contrast: tuple[float, ...] = ()
    resolution: tuple[tuple[int, float], ...] = ()
    inverted_gamma: tuple[float, ...] = ()
    gamma: tuple[float, ...] = ()
    flips: tuple[int, ...] = ()


def draw(rng: np.random.Generator, rules: Rules, channels: int) -> Draw:
    """Draw what happens to a crop."""

    def happens(probability: float) -> bool:
        return bool(rng.random() < probability)

    def factors(low: float, high: float) -> tuple[float, ...]:
        """One a channel; below and above 1 with the same probability."""
        ranges = [(low, 1.0) if happens(0.5) else (1.0, high) for _ in range(channels)]
        return tuple(float(rng.uniform(*limits)) for limits in ranges)

    resample = rules.resample
    return Draw(
        affine=_affine(rng, rules) if resample else None,
        noise=float(rng.uniform(*NOISE)) if happens(0.1) else None,
        blur=tuple((c, _sigmas(rng)) for c in range(channels) if happens(0.5))
        if resample and happens(0.2)
        else (),
        brightness=factors(*FACTORS) if happens(0.15) else (),
        contrast=factors(*FACTORS) if happens(0.15) else (),
        resolution=tuple((c, float(rng.uniform(*RESOLUTIONS))) for c in range(channels) if happens(0.5))
        if resample and happens(0.25)
        else (),
        inverted_gamma=factors(*GAMMAS) if happens(0.1) else (),
        gamma=factors(*GAMMAS) if happens(0.3) else (),
        flips=tuple(axis for axis in rules.flips if happens(0.5)),
    )


def _sigmas(rng: np.random.Generator) -> tuple[float, float, float]:
    z, y, x = rng.uniform(*SIGMAS, size=3)
    return float(z), float(y), float(x)


def _affine(rng: np.random.Generator, rules: Rules) -> Affine | None:
    rotates, scales = rng.random() < 0.2, rng.random() < 0.2
    if not rotates and not scales:
        return None
    angles = rng.uniform(-rules.rotation, rules.rotation, size=3) if rotates else np.zeros(3)
    scale = rng.uniform(*SCALES) if scales else 1.0
    if rules.in_slices:
        return rotation_matrix((float(angles[0]), 0.0, 0.0)) @ np.diag((1.0, scale, scale))
    return rotation_matrix(angles.tolist()) * scale


def rotation_matrix(angles: Sequence[float]) -> Affine:
    """Rotation (3, 3) round z, then y, then x, by angles in radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = (i for i in range(3) if i != axis)
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def augment(images: torch.Tensor, draws: Sequence[Draw], generator: torch.Generator) -> torch.Tensor:
    """Everything between rotation and mirroring: what changes intensities and leaves labels alone.

    Args:
        images: (B, C, z, y, x) float32; changed in place.
        draws: what happens to each.
        generator: of the images' device, for noise.

    Returns:
        `images`.
    """
    for image, chosen in zip(images, draws, strict=True):
        if chosen.noise is not None:
            image += torch.empty_like(image).normal_(0, chosen.noise, generator=generator)
        for channel, sigmas in chosen.blur:
            image[channel] = blurred(image[channel], sigmas)
    _each(images, [d.brightness for d in draws], lambda rows, factors: rows * factors)
    _each(images, [d.contrast for d in draws], contrasted)
    for image, chosen in zip(images, draws, strict=True):
        for channel, share in chosen.resolution:
            image[channel] = coarser(image[channel], share)
    _each(images, [d.inverted_gamma for d in draws], lambda rows, exponents: -curved(-rows, exponents))
    _each(images, [d.gamma for d in draws], curved)
    return images


def mirrored(arrays: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """Arrays (B, C, z, y, x), each turned over its axes."""
    return torch.stack(
        [a.flip([axis + 1 for axis in d.flips]) if d.flips else a for a, d in zip(arrays, draws, strict=True)]
    )


def _each(
    images: torch.Tensor,
    numbers: Sequence[tuple[float, ...]],
    work: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    """Change the images that have numbers, one a channel, all in one call: `work(rows, numbers)`."""
    chosen = [index for index, found in enumerate(numbers) if found]
    if not chosen:
        return
    where = torch.tensor(chosen).to(images.device, non_blocking=True)
    values = torch.tensor([numbers[index] for index in chosen], dtype=images.dtype)
    rows = images[where].flatten(2)
    done = work(rows, values.to(images.device, non_blocking=True)[..., None])
    images[where] = done.view(len(chosen), *images.shape[1:])


def contrasted(rows: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Rows (n, C, voxels) whose distances from their mean are multiplied (n, C, 1), in the range they had."""
    mean, (low, high) = rows.mean(2, keepdim=True), rows.aminmax(dim=2, keepdim=True)
    return torch.minimum(torch.maximum((rows - mean) * factors + mean, low), high)


def curved(rows: torch.Tensor, exponents: torch.Tensor) -> torch.Tensor:
    """Rows (n, C, voxels) raised to powers (n, C, 1) within their range; mean and spread stay."""
    mean, spread = rows.mean(2, keepdim=True), rows.std(2, keepdim=True)
    low, high = rows.aminmax(dim=2, keepdim=True)
    out = ((rows - low) / (high - low).clamp(min=_SMALL)).pow(exponents) * (high - low) + low
    now = out.std(2, keepdim=True).clamp(min=_SMALL)
    return (out - out.mean(2, keepdim=True)) * (spread / now) + mean


def blurred(volume: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    """A volume (z, y, x) smoothed by a Gaussian of these standard deviations, mirrored at its border."""
    out = volume[None, None]
    for axis, sigma in enumerate(sigmas):
        kernel = _gaussian(sigma).to(volume.device, non_blocking=True)
        shape, pad = [1, 1, 1], [0] * 6
        shape[axis] = len(kernel)
        pad[4 - 2 * axis] = pad[5 - 2 * axis] = len(kernel) // 2
        out = functional.conv3d(functional.pad(out, pad, mode="reflect"), kernel.view(1, 1, *shape))
    return out[0, 0]


def _gaussian(sigma: float) -> torch.Tensor:
    """Weights of a blur: the nearest odd number of taps to six sigmas and a half, as nnU-Net has it."""
    taps = min(_TAPS, 2 * int((6 * sigma + 0.5) / 2) + 1)
    at = torch.arange(taps, dtype=torch.float32) - taps // 2
    weights = torch.exp(-0.5 * (at / sigma) ** 2)
    return weights / weights.sum()


def coarser(volume: torch.Tensor, share: float) -> torch.Tensor:
    """A volume (z, y, x) as if taken with `share` of the voxels along each axis."""
    small = [round(n * share) for n in volume.shape]
    taken = functional.interpolate(volume[None, None], small, mode="nearest-exact")
    return functional.interpolate(taken, volume.shape, mode="trilinear")[0, 0]


def margins(affine: Affine, size: Sequence[int]) -> Index3:
    """Voxels (z, y, x) that a rotated and scaled crop reads beyond itself on each side."""
    needed = np.abs(affine) @ np.array(size)
    return index3([max(0, int(np.ceil((need - n) / 2)) + 1) for need, n in zip(needed, size, strict=True)])


def resampled(
    image: torch.Tensor, label: torch.Tensor, affine: Affine, size: Sequence[int], labels: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """A rotated and scaled crop round the middle of a box.

    Args:
        image: (C, z, y, x) float32; 0 beyond.
        label: (1, z, y, x); the last of `labels` beyond.
        affine: from an offset in the crop to one in the box.
        size: voxels (z, y, x) of the crop.
        labels: all values that may occur. A voxel gets the one with the largest share of its neighbours.

    Returns:
        Image (C, *size) and label (1, *size).
    """
    grid = _grid(affine, size, image.shape[1:], image.device)
    crop = functional.grid_sample(image[None], grid, align_corners=False)[0]
    values = torch.tensor(labels, dtype=label.dtype).to(label.device, non_blocking=True)
    # Only the last value counts beyond the box: its share is 1 there.
    shares = (label == values[:, None, None, None]).float()
    shares[-1] -= 1
    found = functional.grid_sample(shares[None], grid, align_corners=False)[0]
    found[-1] += 1
    return crop, values[found.argmax(0, keepdim=True)]


def _grid(affine: Affine, size: Sequence[int], box: Sequence[int], device: torch.device) -> torch.Tensor:
    """Places (1, z, y, x, 3) in a box as `grid_sample` wants them: in halves of the box, x first."""
    axes = [torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2 for n in size]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    halves = np.asarray(affine) / (np.array(box)[:, None] / 2)
    turn = torch.from_numpy(halves.T.astype(np.float32)).to(device, non_blocking=True)
    return (offsets @ turn).flip(-1)[None]
