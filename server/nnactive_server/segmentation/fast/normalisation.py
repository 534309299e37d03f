"""Instance norms: two passes over each channel, where torch takes several and copies.

y = w (x - mean) / sqrt(var + eps) + b for each sample and channel over its voxels (Ulyanov et al. 2016,
"Instance normalization"), with the biased variance, as torch has it.
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
    """With weights and without running statistics, float32 on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """The norm of (B, C, z, y, x); others go torch's way."""
        if input.ndim != 5 or input.dtype != torch.float32 or input[0, 0].numel() < 2:
            return super().forward(input)
        out: torch.Tensor = _Normalise.apply(input, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return out


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> torch.Tensor:
        image = image.contiguous()
        out = torch.empty_like(image)
        share_threads()
        mean, scale = _normalise(_rows(image), _plain(weight), _plain(bias), eps, _rows(out))
        ctx.save_for_backward(image, weight, torch.from_numpy(mean), torch.from_numpy(scale))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        image, weight, mean, scale = ctx.saved_tensors
        gradient = gradient.contiguous()
        out = torch.empty_like(image)
        share_threads()
        sums = _gradients(
            _rows(image), _rows(gradient), mean.numpy(), scale.numpy(), _plain(weight), _rows(out)
        )
        by_sample = torch.from_numpy(sums).view(2, *image.shape[:2]).sum(1)
        return out, by_sample[0], by_sample[1], None


def _rows(image: torch.Tensor) -> np.ndarray:
    """(B, C, z, y, x) as (B * C, voxels), without a copy."""
    rows: np.ndarray = image.detach().view(image.shape[0] * image.shape[1], -1).numpy()
    return rows


def _plain(weight: torch.Tensor) -> np.ndarray:
    values: np.ndarray = weight.detach().numpy()
    return values


@compiled(fastmath=SUMS)
def _normalise(
    image: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float, out: np.ndarray
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
        factor = scale * weight[channel]
        for i in range(n):
            out[r, i] = (image[r, i] - mean) * factor + bias[channel]
        means[r], scales[r] = mean, scale
    return means, scales


@compiled(fastmath=SUMS)
def _gradients(
    image: np.ndarray,
    gradient: np.ndarray,
    means: np.ndarray,
    scales: np.ndarray,
    weight: np.ndarray,
    out: np.ndarray,
) -> np.ndarray:
    """Fill `out` (rows, n) with the image's gradient; those of weight and bias (2, rows)."""
    rows, n = image.shape
    sums = np.empty((2, rows), np.float32)
    for r in numba.prange(rows):
        mean, scale = means[r], scales[r]
        total, along = 0.0, 0.0
        for start in range(0, n, _BLOCK):
            block, moment = np.float32(0), np.float32(0)
            for i in range(start, min(start + _BLOCK, n)):
                block += gradient[r, i]
                moment += gradient[r, i] * (image[r, i] - mean)
            total += float(block)
            along += float(moment)
        sums[0, r], sums[1, r] = along * scale, total
        factor = scale * weight[r % len(weight)]
        level, slope = np.float32(total / n), np.float32(along * scale * scale / n)
        for i in range(n):
            out[r, i] = factor * (gradient[r, i] - level - (image[r, i] - mean) * slope)
    return sums
