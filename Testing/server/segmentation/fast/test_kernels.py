"""The compiled convolution and its weight gradient against torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import SegmentationError
from nnactive_server.segmentation.fast.kernels import convolve, weight_gradient
from nnactive_server.segmentation.hardware import torch_threads
from testkit.layers import draw

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))


def near(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@given(st.integers(1, 3), st.integers(1, 5), st.sampled_from([4, 8]), sizes, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_weight_gradient_is_torchs(batch, channels, outputs, size, seed):
    image = draw(batch, channels, *size, seed=seed)
    gradient = draw(batch, outputs, *size, seed=seed + 1)
    theirs = torch.nn.grad.conv3d_weight(image, (outputs, channels, 3, 3, 3), gradient, padding=1)
    near(weight_gradient(image, gradient), theirs)


@given(st.integers(1, 3), st.integers(1, 5), st.sampled_from([4, 8]), sizes, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_convolution_is_torchs(batch, channels, outputs, size, seed):
    image, weight = draw(batch, channels, *size, seed=seed), draw(outputs, channels, 3, 3, 3, seed=seed + 1)
    near(convolve(image, weight), torch.nn.functional.conv3d(image, weight, padding=1))


def test_rows_longer_than_a_block_are_summed_whole():
    image, gradient = draw(2, 3, 17, 19, 23), draw(2, 4, 17, 19, 23, seed=1)
    near(
        weight_gradient(image, gradient),
        torch.nn.grad.conv3d_weight(image, (4, 3, 3, 3, 3), gradient, padding=1),
    )


def test_views_of_larger_arrays_are_read_rightly():
    image, weight = draw(2, 6, 9, 5, 8)[:, ::2].transpose(2, 4), draw(3, 8, 3, 3, 3).transpose(0, 1)
    near(convolve(image, weight), torch.nn.functional.conv3d(image, weight, padding=1))
    gradient = draw(2, 8, 8, 5, 10)[..., 1:]
    near(
        weight_gradient(image, gradient),
        torch.nn.grad.conv3d_weight(image, (8, 3, 3, 3, 3), gradient, padding=1),
    )


def test_results_do_not_depend_on_threads_and_torchs_number_of_threads_stays():
    image, gradient, weight = draw(2, 8, 16, 16, 16), draw(2, 8, 16, 16, 16), draw(8, 8, 3, 3, 3)
    found = []
    for threads in (1, 2):
        with torch_threads(threads):
            found.append((weight_gradient(image, gradient), convolve(image, weight)))
            assert torch.get_num_threads() == threads
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"gradient": draw(2, 6, 5, 5, 5)},
        {"gradient": draw(2, 4, 5, 5, 6)},
        {"gradient": draw(1, 4, 5, 5, 5)},
        {"gradient": draw(2, 4, 5, 5, 5).double()},
        {"image": draw(2, 3, 5, 5, 5).half()},
    ],
)
def test_what_the_unchecked_loop_cannot_read_is_refused(change):
    values = {"image": draw(2, 3, 5, 5, 5), "gradient": draw(2, 4, 5, 5, 5)} | change
    with pytest.raises(SegmentationError, match="float32, fitting grids and a multiple of 4"):
        weight_gradient(**values)


@pytest.mark.parametrize("weight", [draw(4, 2, 3, 3, 3), draw(6, 3, 3, 3, 3), draw(4, 3, 3, 3, 1)])
def test_kernels_that_do_not_fit_are_refused(weight):
    with pytest.raises(SegmentationError, match="equal channels"):
        convolve(draw(2, 3, 5, 5, 5), weight)


def test_memory_that_is_used_again_keeps_nothing_of_what_was_in_it():
    large, small = draw(2, 8, 12, 13, 14), draw(1, 3, 4, 5, 6, seed=1)
    weights, few = draw(8, 8, 3, 3, 3), draw(4, 3, 3, 3, 3, seed=1)
    first = convolve(large, weights)
    kept = first.clone()
    near(convolve(small, few), torch.nn.functional.conv3d(small, few, padding=1))
    assert torch.equal(first, kept)
    assert torch.equal(convolve(large, weights), kept)
