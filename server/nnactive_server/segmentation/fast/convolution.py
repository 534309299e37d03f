"""3x3x3 convolutions of few channels."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from nnactive_server.core.patch import Index3, index3
from nnactive_server.segmentation.fast.kernels import ROWS, convolve, weight_gradient
from nnactive_server.segmentation.fast.spreading import INPUTS, OUTPUTS, input_gradient

MAX_CHANNELS = 128
"""Channels from which on oneDNN's gradient is as fast as ours (measured, AVX2)."""

THIN = 8
"""Channels up to which, on either side, all our loops are faster than oneDNN's (measured, AVX2)."""

DENSE: Index3 = (1, 1, 1)
"""The stride of most."""

MIN_VOXELS = 256
"""Voxels of a batch from which on ours pays (measured): below, calls cost more than sums."""


def fits(layer: nn.Module) -> bool:
    """Whether a layer can be a `FastConvolution`."""
    return is_plain(layer) and (_fits_strided(layer) if max(layer.stride) > 1 else _fits_dense(layer))


def is_plain(layer: nn.Module) -> TypeGuard[nn.Conv3d]:
    """Whether a layer is a convolution with kernel 3 and padding 1 that our loops can do."""
    return (
        type(layer) is nn.Conv3d
        and (layer.kernel_size, layer.dilation, layer.groups) == ((3, 3, 3), (1, 1, 1), 1)
        and (layer.padding, layer.padding_mode) == ((1, 1, 1), "zeros")
        and layer.out_channels % math.lcm(ROWS, INPUTS) == 0
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


def _fits_dense(layer: nn.Conv3d) -> bool:
    return max(layer.in_channels, layer.out_channels) < MAX_CHANNELS


def _fits_strided(layer: nn.Conv3d) -> bool:
    return max(layer.stride) == 2 and layer.in_channels <= THIN and layer.in_channels % OUTPUTS == 0


class FastConvolution(nn.Conv3d):
    """Kernel 3, padding 1, stride 1 or 2 along each axis, float32 on a CPU.

    Attributes:
        before_norm: an instance norm follows, which takes away whatever the bias adds: it is left out.
    """

    before_norm = False

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """The convolution of (B, C, z, y, x); of few voxels, or an uneven grid, torch's."""
        stride = index3(self.stride)
        uneven = any(n % step for n, step in zip(input.shape[2:], stride, strict=True))
        if uneven or input[:, 0].numel() < MIN_VOXELS:
            return super().forward(input)
        bias = None if self.before_norm else self.bias
        out: torch.Tensor = _Convolve.apply(input, self.weight, bias, stride)  # type: ignore[no-untyped-call]
        return out


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Index3
    ) -> torch.Tensor:
        ctx.save_for_backward(image, weight)
        ctx.stride = stride
        out = _convolved(image, weight, stride)
        return out if bias is None else out.add_(bias.view(-1, 1, 1, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        wants_image, wants_weight, wants_bias, _ = ctx.needs_input_grad
        gradient = gradient.contiguous()
        return (
            _input_gradient(weight, gradient, ctx.stride) if wants_image else None,
            weight_gradient(image, gradient, ctx.stride) if wants_weight else None,
            gradient.sum((0, 2, 3, 4)) if wants_bias else None,
            None,
        )


def _convolved(image: torch.Tensor, weight: torch.Tensor, stride: Index3 = DENSE) -> torch.Tensor:
    outputs, channels = weight.shape[:2]
    if stride == DENSE and min(outputs, channels) <= THIN and outputs % ROWS == 0:
        return convolve(image, weight)
    # Called directly: for a small batch of one torch takes a loop of its own that is five times slower.
    out: torch.Tensor = torch.mkldnn_convolution(image, weight, None, [1] * 3, list(stride), [1] * 3, 1)
    return out


def _input_gradient(weight: torch.Tensor, gradient: torch.Tensor, stride: Index3) -> torch.Tensor:
    if stride != DENSE:
        return input_gradient(gradient, weight, stride)
    # The same convolution of the output's gradient with the kernels turned round.
    return _convolved(gradient, weight.flip(2, 3, 4).transpose(0, 1).contiguous())
