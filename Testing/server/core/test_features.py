from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import QueryError
from nnactive_server.core.features import FeatureGrid, cell_counts
from nnactive_server.core.patch import Patch

shapes = st.tuples(*[st.integers(1, 9)] * 3)
cells = st.tuples(*[st.integers(1, 5)] * 3)


def grid_of(shape, cell, features=2, seed=0) -> FeatureGrid:
    values = np.random.default_rng(seed).normal(size=(features, *cell_counts(shape, cell)))
    return FeatureGrid(values.astype(np.float32), cell, shape)


def voxels_of(grid: FeatureGrid) -> np.ndarray:
    """Every voxel with the features of its cell, (D, z, y, x) float64."""
    values = grid.values.astype(np.float64)
    for axis, size in enumerate(grid.cell, start=1):
        values = values.repeat(size, axis=axis)
    z, y, x = grid.shape
    return values[:, :z, :y, :x]


@st.composite
def boxes_inside(draw, shape):
    size = [draw(st.integers(1, n)) for n in shape]
    return Patch([draw(st.integers(0, n - k)) for n, k in zip(shape, size, strict=True)], size)


@settings(deadline=None, max_examples=200)
@given(st.data(), shapes, cells, st.integers(1, 3))
def test_the_mean_of_a_box_is_the_mean_of_its_voxels(data, shape, cell, features):
    grid = grid_of(shape, cell, features)
    boxes = data.draw(st.lists(boxes_inside(shape), max_size=5))
    voxels = voxels_of(grid)
    means = grid.box_means(boxes)
    assert means.shape == (len(boxes), features)
    assert means.dtype == np.float64
    for box, mean in zip(boxes, means, strict=True):
        expected = voxels[(slice(None), *box.slices)].reshape(features, -1).mean(axis=1)
        np.testing.assert_allclose(mean, expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=100)
@given(st.data(), shapes, cells)
def test_a_grid_of_boxes_has_the_means_of_its_boxes(data, shape, cell):
    grid = grid_of(shape, cell)
    size = tuple(data.draw(st.integers(1, n)) for n in shape)
    last = [n - k for n, k in zip(shape, size, strict=True)]
    starts = [np.array(data.draw(st.lists(st.integers(0, n), min_size=1, max_size=4))) for n in last]
    means = grid.grid_means(starts, size)
    assert means.shape == (2, *map(len, starts))
    for place in np.ndindex(*map(len, starts)):
        box = Patch([axis[i] for axis, i in zip(starts, place, strict=True)], size)
        expected = grid.box_means([box])[0]
        np.testing.assert_allclose(means[(slice(None), *place)], expected, rtol=1e-12, atol=1e-12)


@given(shapes, cells)
def test_cells_tile_the_image(shape, cell):
    counts = cell_counts(shape, cell)
    assert all((n - 1) * c < size <= n * c for n, c, size in zip(counts, cell, shape, strict=True))


@given(st.data(), shapes, cells, st.floats(-1e6, 1e6, width=32))
def test_constant_features_stay_constant_to_the_last_digit(data, shape, cell, value):
    grid = FeatureGrid(np.full((1, *cell_counts(shape, cell)), value, dtype=np.float32), cell, shape)
    assert grid.box_means([data.draw(boxes_inside(shape))])[0, 0] == value


def test_a_cut_off_cell_counts_only_the_voxels_it_has():
    grid = FeatureGrid(np.array([1.0, 5.0], dtype=np.float32).reshape(1, 1, 1, 2), (1, 1, 3), (1, 1, 4))
    assert grid.box_means([Patch((0, 0, 0), (1, 1, 4))])[0, 0] == (3 * 1 + 1 * 5) / 4
    assert grid.box_means([Patch((0, 0, 2), (1, 1, 2))])[0, 0] == 3


@pytest.mark.parametrize("box", [Patch((0, 0, 3), (1, 1, 2)), Patch((2, 0, 0), (1, 1, 1))])
def test_boxes_outside_the_image_are_refused(box):
    with pytest.raises(QueryError, match=r"outside the image of \(2, 3, 4\)"):
        grid_of((2, 3, 4), (1, 2, 3)).box_means([box])


def test_a_grid_that_begins_outside_the_image_is_refused():
    starts = [np.array([0]), np.array([-1, 0]), np.array([0])]
    with pytest.raises(QueryError, match="outside the image"):
        grid_of((2, 3, 4), (1, 2, 3)).grid_means(starts, (1, 1, 1))


@pytest.mark.parametrize(
    ("values", "cell", "told"),
    [
        (np.zeros((1, 2, 2, 2)), (2, 2, 3), r"has \(2, 2, 1\) cells"),
        (np.zeros((2, 2, 2)), (2, 2, 2), r"features of shape \(2, 2, 2\)"),
        (np.zeros((0, 2, 2, 2)), (2, 2, 2), r"features of shape \(0, 2, 2, 2\)"),
        (np.full((1, 2, 2, 2), math.nan), (2, 2, 2), "not finite"),
        (np.full((1, 2, 2, 2), math.inf), (2, 2, 2), "not finite"),
        (np.zeros((1, 2, 2, 2)), (0, 2, 2), r"feature cell \(0, 2, 2\)"),
        (np.zeros((1, 2, 2, 2)), (2, 2), r"feature cell \(2, 2\)"),
    ],
)
def test_features_that_do_not_fit_the_image_are_refused(values, cell, told):
    with pytest.raises(QueryError, match=told):
        FeatureGrid(values, cell, (3, 4, 3))
