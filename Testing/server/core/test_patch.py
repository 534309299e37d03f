from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_server.core.patch import Patch, fit_size

starts = st.tuples(*[st.integers(0, 6)] * 3)
sizes = st.tuples(*[st.integers(1, 5)] * 3)
patches = st.builds(Patch, starts, sizes)


@given(patches, patches)
def test_overlap_counts_the_voxels_both_boxes_hold(first, second):
    marks = np.zeros((12, 12, 12), int)
    marks[first.slices] += 1
    marks[second.slices] += 1
    assert first.overlap(second) == second.overlap(first) == int((marks == 2).sum())


@given(patches, st.tuples(*[st.integers(1, 12)] * 3))
def test_a_patch_is_inside_when_no_voxel_is_lost(patch, shape):
    assert patch.inside(shape) == (np.zeros(shape)[patch.slices].size == patch.voxels)


@given(sizes, st.tuples(*[st.integers(1, 9)] * 3))
def test_a_patch_never_exceeds_its_image(size, shape):
    assert all(n <= min(p, s) for n, p, s in zip(fit_size(size, shape), size, shape, strict=True))
    assert Patch((0, 0, 0), fit_size(size, shape)).inside(shape)


@pytest.mark.parametrize(
    ("start", "size", "told"),
    [
        ((-1, 0, 0), (2, 2, 2), "must not be negative"),
        ((0, 0, 0), (2, 0, 2), "at least 1"),
        ((0, 0), (2, 2, 2), "three whole numbers"),
        ((0, 0, 0.5), (2, 2, 2), "three whole numbers"),
    ],
)
def test_impossible_boxes_are_refused(start, size, told):
    with pytest.raises(ValueError, match=told):
        Patch(start, size)


def test_patches_are_values():
    assert Patch([1, 2, 3], np.array([4, 5, 6])) == Patch((1, 2, 3), (4, 5, 6))
    assert len({Patch((1, 2, 3), (4, 5, 6)), Patch((1, 2, 3), (4, 5, 6))}) == 1
