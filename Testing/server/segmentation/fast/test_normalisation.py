"""Single instance norms of the faster kind, against torch's own."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nnactive_server.segmentation.fast.faster import make_faster
from nnactive_server.segmentation.hardware import torch_threads
from testkit import layers
from testkit.layers import CPU, draw, faster, results

near = partial(layers.near, atol=1e-4)
sizes = st.tuples(st.integers(1, 15), st.integers(1, 15), st.integers(2, 15))


def pair(channels, seed=0, slope=0.01):
    """torch's norm with random weights and leaky ReLU, and the same as ours."""
    norm = nn.InstanceNorm3d(channels, affine=True)
    with torch.no_grad():
        norm.weight.copy_(draw(channels, seed=seed))
        norm.bias.copy_(draw(channels, seed=seed + 1))
    plain = nn.Sequential(norm, nn.LeakyReLU(slope, inplace=True))
    return plain, faster(plain)


@given(st.integers(1, 3), st.integers(1, 5), sizes, st.integers(0, 99), st.sampled_from([0.0, 0.01, 1.0]))
@settings(max_examples=40, deadline=None)
def test_outputs_and_gradients_are_torchs(batch, channels, size, seed, slope):
    plain, fast = pair(channels, seed, slope)
    image = draw(batch, channels, *size, seed=seed + 2)
    # Rounding decides on which side of the bend a value lies that is almost 0.
    gradient = draw(batch, channels, *size, seed=seed + 3) * (plain(image).abs() > 1e-4)
    near(results(fast, image, gradient), results(plain, image, gradient))


def test_rows_longer_than_a_block_and_far_from_zero_are_exact():
    plain, fast = pair(4, slope=1.0)
    image, gradient = 1000 + draw(2, 4, 20, 21, 22), draw(2, 4, 20, 21, 22, seed=1)
    exact = deepcopy(plain).double()
    theirs = [value.float() for value in results(exact, image.double(), gradient.double())]
    near(results(fast, image, gradient), theirs)


def test_views_of_larger_arrays_are_read_rightly():
    plain, fast = pair(3)
    image, gradient = draw(2, 6, 9, 5, 8)[:, ::2].transpose(2, 4), draw(2, 3, 8, 5, 10)[..., 1:]
    near(results(fast, image, gradient), results(plain, image, gradient))


def test_nothing_that_is_not_finite_is_hidden():
    _, fast = pair(2)
    image = draw(1, 2, 4, 4, 4)
    image[0, 1, 2, 2, 2] = torch.nan
    out = fast(image)
    assert not out[0, 0].isnan().any()
    assert out[0, 1].isnan().all()


def test_results_do_not_depend_on_threads():
    _, fast = pair(8)
    image, gradient = draw(2, 8, 16, 16, 16), draw(2, 8, 16, 16, 16, seed=1)
    found = []
    for threads in (1, 2):
        with torch_threads(threads):
            found.append(results(fast, image, gradient))
            assert torch.get_num_threads() == threads
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_other_numbers_and_shapes_go_torchs_way():
    plain, fast = pair(3)
    with torch.inference_mode():
        near([fast(draw(3, 4, 5, 6))], [plain(draw(3, 4, 5, 6))])
        image = draw(2, 3, 4, 5, 6).double()
        near([fast.double()(image)], [plain.double()(image)])
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        fast.float()(draw(2, 3, 1, 1, 1))


@pytest.mark.parametrize(
    "layer",
    [
        nn.InstanceNorm3d(4),
        nn.InstanceNorm3d(4, affine=True, track_running_stats=True),
        nn.InstanceNorm2d(4, affine=True),
        nn.BatchNorm3d(4),
    ],
)
def test_other_norms_are_left_alone(layer):
    assert make_faster(layer, CPU) == 0
