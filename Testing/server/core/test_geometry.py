from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nnactive_server.core.geometry import Geometry

numbers = st.floats(-200, 200)


@st.composite
def grids(draw) -> Geometry:
    turn = Rotation.from_euler("xyz", [draw(st.floats(-3, 3)) for _ in range(3)]).as_matrix()
    flips = np.diag([draw(st.sampled_from((1.0, -1.0))) for _ in range(3)])
    return Geometry(
        tuple(draw(st.integers(1, 60)) for _ in range(3)),
        tuple(draw(st.floats(0.2, 6)) for _ in range(3)),
        tuple(draw(numbers) for _ in range(3)),
        tuple((turn @ flips).ravel()),
    )


@given(grids(), st.tuples(numbers, numbers, numbers))
@settings(max_examples=100, deadline=None)
def test_world_and_index_are_inverse(grid, index):
    np.testing.assert_allclose(grid.world_to_index(grid.index_to_world(index)), index, atol=1e-6)


@given(grids(), st.tuples(*[st.integers(0, 50)] * 3))
@settings(max_examples=100, deadline=None)
def test_world_positions_are_those_of_itk(grid, index):
    image = sitk.Image(*grid.shape[::-1], sitk.sitkUInt8)
    image.SetSpacing(grid.spacing[::-1])
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    expected = image.TransformContinuousIndexToPhysicalPoint([float(i) for i in index[::-1]])
    np.testing.assert_allclose(grid.index_to_world(index), expected, atol=1e-6)


@given(grids())
@settings(max_examples=50, deadline=None)
def test_a_grid_does_not_differ_from_itself_but_from_a_shifted_one(grid):
    assert grid.differences(grid) == []
    shifted = Geometry(grid.shape, grid.spacing, (grid.origin[0] + 1.0, *grid.origin[1:]), grid.direction)
    assert any("origin" in text for text in grid.differences(shifted))


def test_another_shape_is_told_first():
    axes = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    a = Geometry((4, 5, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), axes)
    b = Geometry((4, 5, 7), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), axes)
    assert a.differences(b) == ["shape (z, y, x) (4, 5, 6) against (4, 5, 7)"]
