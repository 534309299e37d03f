"""Strided and transposed convolutions of the faster kind, against torch's own."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nnactive_server.core.errors import SegmentationError
from nnactive_server.segmentation.fast.faster import make_faster
from nnactive_server.segmentation.fast.spreading import input_gradient, transposed_convolution
from nnactive_server.segmentation.hardware import torch_threads
from testkit import layers
from testkit.layers import CPU, draw, faster, results

near = partial(layers.near, atol=1e-5)
steps = st.tuples(*[st.integers(1, 2)] * 3).filter(lambda stride: max(stride) == 2)
grids = st.tuples(*[st.integers(4, 9)] * 3)


def learned(layer, image):
    """Its results, by random gradients of the output."""
    with torch.no_grad():
        shape = layer(image).shape
    return results(layer, image, draw(*shape, seed=1))


@given(st.integers(1, 2), st.sampled_from([2, 8]), st.sampled_from([4, 16]), steps, grids, st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_strided_convolution_computes_and_learns_as_torchs(batch, channels, outputs, stride, grid, bias):
    plain = nn.Conv3d(channels, outputs, 3, padding=1, stride=stride, bias=bias)
    image = draw(batch, channels, *(n * step for n, step in zip(grid, stride, strict=True)))
    near(learned(faster(plain), image), learned(plain, image))


@given(st.integers(1, 2), st.sampled_from([4, 16]), st.sampled_from([2, 8]), steps, grids, st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_transposed_convolution_computes_and_learns_as_torchs(batch, channels, outputs, stride, grid, bias):
    plain = nn.ConvTranspose3d(channels, outputs, stride, stride, bias=bias)
    image = draw(batch, channels, *grid)
    near(learned(faster(plain), image), learned(plain, image))


def test_images_that_a_stride_does_not_divide_go_torchs_way():
    plain = nn.Conv3d(8, 16, 3, padding=1, stride=2)
    image = draw(2, 8, 9, 12, 11)
    near(learned(faster(plain), image), learned(plain, image))


def test_results_do_not_depend_on_threads():
    down, up = nn.Conv3d(8, 16, 3, padding=1, stride=2), nn.ConvTranspose3d(16, 8, 2, stride=2)
    image, found = draw(2, 8, 16, 16, 16), []
    for threads in (1, 2):
        with torch_threads(threads):
            # The gradients of the transposed convolution are torch's, whose sums depend on threads.
            half, *gradients = learned(faster(down), image)
            found.append([half, *gradients, faster(up)(half).detach()])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


@pytest.mark.parametrize(
    "layer",
    [
        nn.ConvTranspose3d(16, 16, 2, stride=2),
        nn.ConvTranspose3d(8, 8, 3, stride=2),
        nn.ConvTranspose3d(8, 8, 2, stride=2, output_padding=1),
        nn.ConvTranspose3d(8, 8, 2, stride=2, groups=2),
        nn.ConvTranspose3d(6, 8, 2, stride=2),
        nn.ConvTranspose3d(8, 3, 2, stride=2),
    ],
)
def test_other_transposed_convolutions_are_left_alone(layer):
    assert make_faster(layer, CPU) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"image": draw(1, 6, 4, 4, 4)},
        {"image": draw(1, 4, 4, 4, 4).double()},
        {"weight": draw(4, 3, 2, 2, 2)},
        {"weight": draw(4, 2, 2, 2, 2).half()},
    ],
)
def test_what_the_unchecked_loop_cannot_read_is_refused(change):
    values = {"image": draw(1, 4, 4, 4, 4), "weight": draw(4, 2, 2, 2, 2)} | change
    with pytest.raises(SegmentationError, match="multiples of 4 and 2"):
        transposed_convolution(**values)


def test_a_gradient_through_another_kernel_is_refused():
    with pytest.raises(SegmentationError, match="3x3x3"):
        input_gradient(draw(1, 4, 4, 4, 4), draw(4, 2, 2, 2, 2), (2, 2, 2))
