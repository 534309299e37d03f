"""3x3x3 convolutions of few channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv3d_input

from nnactive_server.segmentation.fast.kernels import ROWS, convolve, weight_gradient

MAX_CHANNELS = 128
"""Channels from which on oneDNN's gradient is as fast as ours (measured, AVX2)."""

THIN = 8
"""Channels up to which, on either side, our convolution is faster than oneDNN's as well (measured, AVX2)."""

MIN_VOXELS = 1024
"""Voxels of a batch from which on ours pays (measured): below, calls cost more than sums."""


def fits(layer: nn.Module) -> bool:
    """Whether a layer can be a `FastConvolution`."""
    return (
        type(layer) is nn.Conv3d
        and (layer.kernel_size, layer.stride, layer.dilation) == ((3, 3, 3), (1, 1, 1), (1, 1, 1))
        and (layer.padding, layer.padding_mode, layer.groups) == ((1, 1, 1), "zeros", 1)
        and max(layer.in_channels, layer.out_channels) < MAX_CHANNELS
        and layer.out_channels % ROWS == 0
    )


class FastConvolution(nn.Conv3d):
    """Kernel 3, stride 1, padding 1, float32 on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """The convolution of (B, C, z, y, x)."""
        if input[:, 0].numel() < MIN_VOXELS:
            return super().forward(input)
        out: torch.Tensor = _Convolve.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(image, weight)
        out = _convolved(image, weight)
        return out if bias is None else out.add_(bias.view(-1, 1, 1, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        wants_image, wants_weight, wants_bias = ctx.needs_input_grad
        gradient = gradient.contiguous()
        return (
            _input_gradient(image, weight, gradient) if wants_image else None,
            weight_gradient(image, gradient) if wants_weight else None,
            gradient.sum((0, 2, 3, 4)) if wants_bias else None,
        )


def _convolved(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    outputs, channels = weight.shape[:2]
    if min(outputs, channels) <= THIN and outputs % ROWS == 0:
        return convolve(image, weight)
    return nn.functional.conv3d(image, weight, padding=1)


def _input_gradient(image: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The same convolution of the output's gradient with the kernels turned round."""
    if min(weight.shape[:2]) <= THIN:
        return _convolved(gradient, weight.flip(2, 3, 4).transpose(0, 1))
    found: torch.Tensor = conv3d_input(image.shape, weight, gradient, padding=1)  # type: ignore[no-untyped-call]
    return found
