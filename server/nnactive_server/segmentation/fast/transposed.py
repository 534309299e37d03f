"""Transposed convolutions to few channels, by which a network's decoder comes back to the full resolution.

torch's forward pass to 8 channels takes several times as long as ours (measured, AVX2).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv3d_weight

from nnactive_server.core.patch import index3
from nnactive_server.segmentation.fast.convolution import MIN_VOXELS, THIN
from nnactive_server.segmentation.fast.spreading import INPUTS, OUTPUTS, transposed_convolution


def fits(layer: nn.Module) -> bool:
    """Whether a layer can be a `FastTransposed`."""
    return (
        type(layer) is nn.ConvTranspose3d
        and layer.kernel_size == layer.stride
        and (layer.padding, layer.output_padding) == ((0, 0, 0), (0, 0, 0))
        and (layer.dilation, layer.groups) == ((1, 1, 1), 1)
        and layer.out_channels <= THIN
        and layer.out_channels % OUTPUTS == 0
        and layer.in_channels % INPUTS == 0
    )


class FastTransposed(nn.ConvTranspose3d):
    """Kernel as large as the stride, float32 on a CPU."""

    def forward(  # type: ignore[override]  # an output size can only be the one there is
        self,
        input: torch.Tensor,  # noqa: A002 - torch's name
    ) -> torch.Tensor:
        """The transposed convolution of (B, C, z, y, x)."""
        if input[:, 0].numel() * math.prod(self.stride) < MIN_VOXELS:
            return super().forward(input)
        out: torch.Tensor = _Transposed.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(image, weight)
        out = transposed_convolution(image, weight)
        return out if bias is None else out.add_(bias.view(-1, 1, 1, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # Image and output change places: the convolution with the same weights, and its gradient.
        image, weight = ctx.saved_tensors
        wants_image, wants_weight, wants_bias = ctx.needs_input_grad
        gradient, stride = gradient.contiguous(), index3(weight.shape[2:])
        return (
            functional.conv3d(gradient, weight, stride=stride) if wants_image else None,
            conv3d_weight(gradient, weight.shape, image, stride) if wants_weight else None,  # type: ignore[no-untyped-call]
            gradient.sum((0, 2, 3, 4)) if wants_bias else None,
        )
