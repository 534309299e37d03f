"""Networks with the faster convolutions compute, and learn, what they did before."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from nnactive_server.segmentation import kernels
from nnactive_server.segmentation.convolution import FastConvolution, make_faster
from nnactive_server.segmentation.hardware import detect

CPU = replace(detect(), device=torch.device("cpu"), autocast=None)


@pytest.fixture(scope="module")
def networks(trained):
    """One with torch's convolutions, and the same with ours."""
    engine, _ = trained
    plain = engine._recipe.network()
    fast = deepcopy(plain)
    changed = make_faster(fast, CPU)
    assert changed == sum(isinstance(module, FastConvolution) for module in fast.modules()) > 1
    return plain, fast


def test_names_and_weights_stay(networks):
    plain, fast = networks
    assert list(plain.state_dict()) == list(fast.state_dict())
    assert all(torch.equal(value, fast.state_dict()[name]) for name, value in plain.state_dict().items())


def test_outputs_and_all_gradients_are_the_same(networks):
    images = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    gradients = []
    for network in networks:
        network.zero_grad()
        outputs = network(images)
        sum(out.square().mean() for out in outputs).backward()
        gradients.append([outputs[0].detach(), *(weight.grad for weight in network.parameters())])
    # A bias in front of a norm has no gradient but rounding: compare by the size of all.
    size = max(float(value.abs().max()) for value in gradients[0])
    for plain, fast in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-5 * size)


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
        nn.Conv3d(8, 8, 3, padding=1, stride=2),
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


@pytest.mark.parametrize(
    "hardware", [replace(CPU, autocast=torch.bfloat16), replace(CPU, device=torch.device("meta"))]
)
def test_other_devices_and_number_formats_are_left_alone(hardware):
    assert make_faster(nn.Conv3d(8, 8, 3, padding=1), hardware) == 0


def test_a_layer_without_bias_and_one_whose_weights_rest_work():
    layer = nn.Conv3d(8, 8, 3, padding=1, bias=False)
    make_faster(layer, CPU)
    layer.weight.requires_grad_(False)
    image = torch.ones(1, 8, 12, 12, 12, requires_grad=True)
    layer(image).sum().backward()
    assert layer.weight.grad is None
    assert image.grad is not None


def test_without_a_threading_library_torchs_convolutions_stay_and_it_is_told(monkeypatch, caplog):
    def absent(*_):
        raise ValueError("No threading layer could be loaded.")

    monkeypatch.setattr(kernels, "_sums", absent)
    kernels.usable.cache_clear()
    try:
        assert make_faster(nn.Conv3d(8, 8, 3, padding=1), CPU) == 0
    finally:
        kernels.usable.cache_clear()
    assert "torch's own convolutions" in caplog.text
