"""Networks with the faster layers compute, and learn, what they did before."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from nnactive_server.segmentation.fast import compiled
from nnactive_server.segmentation.fast.convolution import FastConvolution
from nnactive_server.segmentation.fast.faster import make_faster
from nnactive_server.segmentation.fast.normalisation import FastNorm
from nnactive_server.segmentation.fast.transposed import FastTransposed
from testkit.layers import CPU

KINDS = (FastConvolution, FastTransposed, FastNorm)


@pytest.fixture(scope="module")
def networks(trained):
    """One with torch's layers, and the same with ours."""
    engine, _ = trained
    plain = engine._predictor.recipe.network()
    fast = deepcopy(plain)
    changed = make_faster(fast, CPU)
    counts = [sum(isinstance(module, kind) for module in fast.modules()) for kind in KINDS]
    assert min(counts) > 0
    assert changed == sum(counts)
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
        found = {name: weight.grad for name, weight in network.named_parameters()}
        gradients.append({"output": outputs[0].detach(), **found})
    # A bias in front of a norm has no gradient but rounding, ours none at all: compare by the size of all.
    size = max(float(value.abs().max()) for value in gradients[0].values())
    plain, fast = gradients
    without = {name for name in plain if fast[name] is None}
    assert without
    assert without <= {name for name in plain if "conv.bias" in name}
    for name, value in plain.items():
        ours = torch.zeros_like(value) if fast[name] is None else fast[name]
        torch.testing.assert_close(ours, value, rtol=1e-3, atol=1e-5 * size)


def test_a_norm_does_what_the_activation_behind_it_did(networks):
    _, fast = networks
    assert not any(isinstance(module, nn.LeakyReLU) for module in fast.modules())
    assert {module.slope for module in fast.modules() if isinstance(module, FastNorm)} == {0.01}
    alone = nn.Sequential(nn.InstanceNorm3d(4, affine=True), nn.Dropout(), nn.LeakyReLU())
    assert make_faster(alone, CPU) == 1
    assert isinstance(alone[2], nn.LeakyReLU)
    assert alone[0].slope == 1


@pytest.mark.parametrize(
    "hardware", [replace(CPU, autocast=torch.float16), replace(CPU, device=torch.device("meta"))]
)
def test_other_devices_and_number_formats_are_left_alone(hardware):
    assert make_faster(nn.Conv3d(8, 8, 3, padding=1), hardware) == 0


def test_without_a_threading_library_torchs_layers_stay_and_it_is_told(monkeypatch, caplog):
    def absent(*_):
        raise ValueError("No threading layer could be loaded.")

    monkeypatch.setattr(compiled, "_ones", absent)
    compiled.usable.cache_clear()
    try:
        assert make_faster(nn.Conv3d(8, 8, 3, padding=1), CPU) == 0
    finally:
        compiled.usable.cache_clear()
    assert "torch's own layers" in caplog.text


def test_the_first_use_in_a_process_leaves_torchs_number_of_threads():
    words = (
        "import torch; from dataclasses import replace; "
        "from nnactive_server.segmentation.fast.faster import make_faster; "
        "from nnactive_server.segmentation.hardware import detect; torch.set_num_threads(1); "
        "assert make_faster(torch.nn.Conv3d(8, 8, 3, padding=1), replace(detect(), "
        "device=torch.device('cpu'), autocast=None)) == 1; print(torch.get_num_threads())"
    )
    found = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "1"
