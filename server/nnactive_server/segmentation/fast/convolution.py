"""3x3x3 convolutions of few channels."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from nnactive_server.core.patch import Index3
from nnactive_server.segmentation.fast.kernels import ROWS, convolve, weight_gradient

MAX_CHANNELS = 128
"""Channels from which on oneDNN's gradient is as fast as ours (measured, AVX2)."""

THIN = 8
"""Channels up to which, on either side, all our loops are faster than oneDNN's (measured, AVX2)."""

MIN_VOXELS = 256
"""Voxels of a batch from which on ours pays (measured): below, calls cost more than sums."""


def is_plain(layer: nn.Module) -> TypeGuard[nn.Conv3d]:
    """Whether a layer is a 3x3x3 convolution as oneDNN knows them, with padding 1 and any stride."""
    return (
        type(layer) is nn.Conv3d
        and (layer.kernel_size, layer.dilation, layer.groups) == ((3, 3, 3), (1, 1, 1), 1)
        and (layer.padding, layer.padding_mode) == ((1, 1, 1), "zeros")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


def fits(layer: nn.Module) -> bool:
    """Whether a layer can be a `FastConvolution`."""
    return (
        is_plain(layer)
        and layer.stride == (1, 1, 1)
        and max(layer.in_channels, layer.out_channels) < MAX_CHANNELS
        and layer.out_channels % ROWS == 0
    )


class FastConvolution(nn.Conv3d):
    """Kernel 3, stride 1, padding 1, float32 on a CPU.

    Attributes:
        before_norm: an instance norm follows, which takes away whatever the bias adds: it is left out.
    """

    before_norm = False

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """The convolution of (B, C, z, y, x)."""
        if input[:, 0].numel() < MIN_VOXELS:
            return super().forward(input)
        bias = None if self.before_norm else self.bias
        out: torch.Tensor = _Convolve.apply(input, self.weight, bias)  # type: ignore[no-untyped-call]
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
            _input_gradient(weight, gradient) if wants_image else None,
            weight_gradient(image, gradient) if wants_weight else None,
            gradient.sum((0, 2, 3, 4)) if wants_bias else None,
        )


def _convolved(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    outputs, channels = weight.shape[:2]
    if min(outputs, channels) <= THIN and outputs % ROWS == 0:
        return convolve(image, weight)
    return onednn(image, weight, None)


def onednn(
    image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Index3 = (1, 1, 1)
) -> torch.Tensor:
    """Convolution with kernel 3 and padding 1 by oneDNN; for a small batch of one torch has a slow loop."""
    out: torch.Tensor = torch.mkldnn_convolution(image, weight, bias, [1] * 3, list(stride), [1] * 3, 1)
    return out


def _input_gradient(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The same convolution of the output's gradient with the kernels turned round."""
    return _convolved(gradient, weight.flip(2, 3, 4).transpose(0, 1).contiguous())
