"""Convolutions under bfloat16 autocast: torch's own result, weights' gradients by the loops in float32."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from nnactive_server.segmentation.fast.faster import make_faster
from nnactive_server.segmentation.fast.mixed import MixedConvolution
from testkit.layers import CPU, draw, near, results

MIXED = replace(CPU, autocast=torch.bfloat16)


def pair(layer: nn.Module) -> tuple[nn.Module, nn.Module]:
    fast = deepcopy(layer)
    assert make_faster(fast, MIXED) == 1
    return fast, layer


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_a_layer_computes_and_learns_what_torchs_does(channels, bias, batch):
    ours, theirs = pair(nn.Conv3d(channels, 8, 3, padding=1, bias=bias))
    image = draw(batch, channels, 6, 9, 8)
    gradient = draw(batch, 8, 6, 9, 8, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = (results(layer, image, gradient.bfloat16()) for layer in (ours, theirs))
    assert [value.dtype for value in found] == [value.dtype for value in expected]
    near(found, expected, atol=2e-2)
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0)


def test_its_weights_gradient_is_nearer_to_the_true_one_than_torchs():
    ours, theirs = pair(nn.Conv3d(8, 8, 3, padding=1))
    image, gradient = (draw(2, 8, 12, 12, 12, seed=seed).bfloat16().float() for seed in (0, 1))
    true = results(theirs, image, gradient)[2]
    with torch.autocast("cpu", torch.bfloat16):
        off = [(results(layer, image, gradient.bfloat16())[2] - true).abs().max() for layer in (ours, theirs)]
    assert off[0] <= off[1]


def test_without_autocast_it_is_torchs():
    ours, theirs = pair(nn.Conv3d(8, 8, 3, padding=1))
    image, gradient = draw(2, 8, 8, 8, 8), draw(2, 8, 8, 8, 8, seed=1)
    for one, other in zip(results(ours, image, gradient), results(theirs, image, gradient), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(8, 16, 3, padding=1),
        nn.Conv3d(16, 8, 3, padding=1),
        nn.Conv3d(8, 8, 3, padding=1, stride=2),
        nn.Conv3d(8, 6, 3, padding=1),
        nn.Conv3d(8, 8, 1),
        nn.InstanceNorm3d(8, affine=True),
        nn.ConvTranspose3d(8, 8, 2, 2),
    ],
    ids=repr,
)
def test_layers_that_onednn_is_good_at_are_left_alone(layer):
    assert make_faster(layer, MIXED) == 0


def test_a_network_keeps_its_weights_and_its_result(trained):
    engine, _ = trained
    plain = engine._predictor.recipe.network()
    fast = deepcopy(plain)
    make_faster(fast, MIXED)
    thin = [module for module in fast.modules() if isinstance(module, MixedConvolution)]
    assert thin
    assert list(fast.state_dict()) == list(plain.state_dict())
    image = draw(1, 1, 16, 16, 16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for ours, theirs in zip(fast(image), plain(image), strict=True):
            torch.testing.assert_close(ours, theirs)
