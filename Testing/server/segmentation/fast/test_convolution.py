"""Single convolutions of the faster kind."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from nnactive_server.segmentation.fast.faster import make_faster
from testkit.layers import CPU


def test_the_images_gradient_is_torchs_too():
    plain = nn.Conv3d(8, 12, 3, padding=1)
    fast = deepcopy(plain)
    assert make_faster(fast, CPU) == 1
    images = [torch.randn(2, 8, 9, 10, 11, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    for layer, image in zip((plain, fast), images, strict=True):
        layer(image.requires_grad_()).square().sum().backward()
    torch.testing.assert_close(images[1].grad, images[0].grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(16, 16, 3, padding=1, stride=2),
        nn.Conv3d(8, 8, 3, padding=1, stride=3),
        nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1)),
        nn.Conv3d(8, 8, 3, padding=1, groups=2),
        nn.Conv3d(8, 8, 3, padding=2, dilation=2),
        nn.Conv3d(8, 8, 3, padding=1, padding_mode="replicate"),
        nn.Conv3d(8, 3, 3, padding=1),
        nn.Conv3d(8, 256, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1),
    ],
)
def test_other_convolutions_are_left_alone(layer):
    assert make_faster(layer, CPU) == 0


def test_a_layer_without_bias_and_one_whose_weights_rest_work():
    layer = nn.Conv3d(8, 8, 3, padding=1, bias=False)
    make_faster(layer, CPU)
    layer.weight.requires_grad_(False)
    image = torch.ones(1, 8, 12, 12, 12, requires_grad=True)
    layer(image).sum().backward()
    assert layer.weight.grad is None
    assert image.grad is not None
