"""Instance norms with the leaky ReLU behind them: two passes over each channel, where torch takes several.

y = w (x - mean) / sqrt(var + eps) + b for each sample and channel over its voxels (Ulyanov et al. 2016,
"Instance normalization"), with the biased variance, as torch has it; then y or, where it is negative, a
`slope` of it.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from nnactive_server.segmentation.fast.compiled import SUMS, compiled, share_threads

_BLOCK = 2048
"""Voxels that are summed in single precision; their sums are added up in double."""


def fits(layer: nn.Module) -> bool:
    """Whether a layer can be a `FastNorm`."""
    return type(layer) is nn.InstanceNorm3d and layer.affine and not layer.track_running_stats


class FastNorm(nn.InstanceNorm3d):
    """With weights and without running statistics, float32 on a CPU.

    Attributes:
        slope: of the leaky ReLU behind it; 1 when there is none.
    """

    slope = 1.0

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """The norm of (B, C, z, y, x); others go torch's way."""
        if input.ndim != 5 or input.dtype != torch.float32 or input[0, 0].numel() < 2:
            return nn.functional.leaky_relu(super().forward(input), self.slope)
        out: torch.Tensor = _Normalise.apply(input, self.weight, self.bias, self.eps, self.slope)  # type: ignore[no-untyped-call]
        return out

    def take_over(self, activation: nn.LeakyReLU) -> None:
        """Do what the activation behind does, which from now on does nothing."""
        self.slope = activation.negative_slope
        activation.__class__ = nn.Identity  # type: ignore[assignment]


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, slope: float
    ) -> torch.Tensor:
        image = image.contiguous()
        out = torch.empty_like(image)
        share_threads()
        mean, scale = _normalise(_rows(image), _plain(weight), _plain(bias), eps, slope, _rows(out))
        ctx.save_for_backward(image, weight, bias, torch.from_numpy(mean), torch.from_numpy(scale))
        ctx.slope = slope
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        image, weight, bias, mean, scale = ctx.saved_tensors
        gradient = gradient.contiguous()
        out = torch.empty_like(image)
        share_threads()
        sums = _gradients(
            _rows(image),
            _rows(gradient),
            mean.numpy(),
            scale.numpy(),
            _plain(weight),
            _plain(bias),
            ctx.slope,
            _rows(out),
        )
        by_sample = torch.from_numpy(sums).view(2, *image.shape[:2]).sum(1)
        return out, by_sample[0], by_sample[1], None, None


def _rows(image: torch.Tensor) -> np.ndarray:
    """(B, C, z, y, x) as (B * C, voxels), without a copy."""
    rows: np.ndarray = image.detach().view(image.shape[0] * image.shape[1], -1).numpy()
    return rows


def _plain(weight: torch.Tensor) -> np.ndarray:
    values: np.ndarray = weight.detach().numpy()
    return values


@compiled(fastmath=SUMS)
def _normalise(
    image: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float, slope: float, out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fill `out` (rows, n); mean and 1 / standard deviation of each row."""
    rows, n = image.shape
    means, scales = np.empty(rows, np.float32), np.empty(rows, np.float32)
    for r in numba.prange(rows):
        total = 0.0
        for start in range(0, n, _BLOCK):
            block = np.float32(0)
            for i in range(start, min(start + _BLOCK, n)):
                block += image[r, i]
            total += float(block)
        mean = np.float32(total / n)
        squares = 0.0
        for start in range(0, n, _BLOCK):
            block = np.float32(0)
            for i in range(start, min(start + _BLOCK, n)):
                away = image[r, i] - mean
                block += away * away
            squares += float(block)
        scale = np.float32(1 / np.sqrt(squares / n + eps))
        channel = r % len(weight)
        factor, leak = scale * weight[channel], np.float32(slope)
        for i in range(n):
            value = (image[r, i] - mean) * factor + bias[channel]
            out[r, i] = value if value > 0 else value * leak
        means[r], scales[r] = mean, scale
    return means, scales


@compiled(fastmath=SUMS)
def _gradients(
    image: np.ndarray,
    gradient: np.ndarray,
    means: np.ndarray,
    scales: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    slope: float,
    out: np.ndarray,
) -> np.ndarray:
    """Fill `out` (rows, n) with the image's gradient; those of weight and bias (2, rows)."""
    rows, n = image.shape
    sums = np.empty((2, rows), np.float32)
    for r in numba.prange(rows):
        mean, scale, leak = means[r], scales[r], np.float32(slope)
        factor, shift = scale * weight[r % len(weight)], bias[r % len(weight)]
        total, along = 0.0, 0.0
        for start in range(0, n, _BLOCK):
            block, moment = np.float32(0), np.float32(0)
            for i in range(start, min(start + _BLOCK, n)):
                away = image[r, i] - mean
                given = gradient[r, i] * (np.float32(1) if away * factor + shift > 0 else leak)
                block += given
                moment += given * away
            total += float(block)
            along += float(moment)
        sums[0, r], sums[1, r] = along * scale, total
        level, along_each = np.float32(total / n), np.float32(along * scale * scale / n)
        for i in range(n):
            away = image[r, i] - mean
            given = gradient[r, i] * (np.float32(1) if away * factor + shift > 0 else leak)
            out[r, i] = factor * (given - level - away * along_each)
    return sums
