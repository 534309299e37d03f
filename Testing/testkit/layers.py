"""Layers as torch has them beside the faster ones."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import nn

from nnactive_server.segmentation.fast.faster import make_faster
from nnactive_server.segmentation.hardware import detect

CPU = replace(detect(), device=torch.device("cpu"), autocast=None)
"""Hardware on which the faster layers are used."""


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def faster(layer: nn.Module) -> nn.Module:
    """A copy of a layer, or of a norm with its activation, of the faster kind."""
    fast = deepcopy(layer)
    assert make_faster(fast, CPU) == 1
    return fast


def results(layer, image, gradient):
    """Output and the gradients of image and weights."""
    image = image.clone().requires_grad_()
    layer.zero_grad()
    out = layer(image)
    out.backward(gradient)
    return out.detach(), image.grad, *(weight.grad.clone() for weight in layer.parameters())


def near(ours, theirs, atol):
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=atol * max(1.0, float(other.abs().max())))
