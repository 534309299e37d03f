"""Convolutions of very few channels in 16 bits, with the gradient of their weights by own loops in float32.

In bfloat16, too, oneDNN computes that gradient at a fifth of the speed of its other work where image and
result have eight channels or fewer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.amp import custom_bwd, custom_fwd

from nnactive_server.segmentation.fast.convolution import DENSE, MIN_VOXELS, THIN, is_plain
from nnactive_server.segmentation.fast.kernels import weight_gradient


def fits(layer: nn.Module) -> bool:
    """Whether a layer can be a `MixedConvolution`."""
    thin = is_plain(layer) and max(layer.in_channels, layer.out_channels) <= THIN
    return thin and layer.stride == DENSE


class MixedConvolution(nn.Conv3d):
    """Kernel 3, padding 1, stride 1, under bfloat16 autocast on a CPU; without autocast torch's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """The convolution of (B, C, z, y, x)."""
        if not torch.is_autocast_enabled("cpu") or input[:, 0].numel() < MIN_VOXELS:
            return super().forward(input)
        out: torch.Tensor = _Convolve.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


class _Convolve(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any, image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(image, weight)
        return nn.functional.conv3d(image, weight, bias, padding=1)

    @staticmethod
    @custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        wants_image, wants_weight, wants_bias = ctx.needs_input_grad
        ones = [1] * 3
        return (
            torch.ops.aten.convolution_backward(
                gradient, image, weight, None, ones, ones, ones, False, [0] * 3, 1, (True, False, False)
            )[0]
            if wants_image
            else None,
            weight_gradient(image.float(), gradient.float()) if wants_weight else None,
            gradient.float().sum((0, 2, 3, 4)) if wants_bias else None,
        )
