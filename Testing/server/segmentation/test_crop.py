"""Crops that a profile bounds: within the bound, poolable, and cheap to cover images with."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

from nnactive_server.segmentation.crop import bounded_crop, pooled, tile_voxels

ISOTROPIC = np.ones(3)
STEP = 0.75
edges = st.integers(1, 90)
images = st.lists(st.tuples(edges, edges, edges), min_size=1, max_size=4).map(np.array)
spacings = st.tuples(*[st.sampled_from([0.5, 0.8, 1.0, 2.5, 5.0])] * 3).map(np.array)


def work(crop, shapes):
    return tile_voxels([np.array([n]) for n in crop], shapes, STEP).item()


@settings(deadline=None, max_examples=60)
@given(images, spacings, st.integers(8**3, 40**3))
def test_a_crop_is_poolable_and_within_its_bound_wherever_one_is(shapes, spacing, bound):
    crop = bounded_crop(shapes, spacing, bound, STEP)
    assert pooled(crop, spacing) == crop
    median = np.maximum(np.round(np.median(shapes, axis=0)).astype(int), 1)
    whole = pooled(median, spacing)
    assert all(n <= largest for n, largest in zip(crop, whole, strict=True))
    least = pooled(np.minimum(whole, 4), spacing)
    assert np.prod(crop) <= max(bound, np.prod(least))


@settings(deadline=None, max_examples=100)
@given(images, st.tuples(*[st.integers(2, 60)] * 3), st.floats(0.3, 1))
def test_work_is_what_nnunets_sliding_window_does(shapes, crop, step):
    seen = []
    for shape in shapes:
        padded = np.maximum(shape, crop)
        starts = compute_steps_for_sliding_window(tuple(padded), crop, step)
        seen.append(np.prod([len(axis) for axis in starts]) * np.prod(crop))
    assert tile_voxels([np.array([n]) for n in crop], shapes, step).item() == pytest.approx(np.mean(seen))


@pytest.mark.parametrize("shapes", [[(36, 50, 35)], [(30, 44, 28), (36, 50, 35), (43, 58, 47)]])
def test_no_other_crop_of_the_same_size_thickness_and_depth_needs_much_less_work(shapes):
    shapes, bound = np.array(shapes), 32**3
    crop = bounded_crop(shapes, ISOTROPIC, bound, STEP)
    others = [
        work(other, shapes)
        for other in itertools.product(range(16, 65, 4), repeat=3)
        if 0.75 * bound <= np.prod(other) <= bound
        and max(other) <= 2 * min(other)
        and pooled(other, ISOTROPIC) == other
        and sum(n >= 32 for n in other) >= 2  # three poolings of two axes, as many resolutions as 32x32x32
        and np.all(other <= np.array(pooled(np.median(shapes, axis=0), ISOTROPIC)))
    ]
    assert len(others) > 4
    assert sum(n >= 32 for n in crop) >= 2
    assert work(crop, shapes) <= 1.05 * min(others)
    assert work(crop, shapes) < 0.9 * work((32, 32, 32), shapes)


def test_images_that_fit_keep_nnunets_crop():
    assert bounded_crop(np.array([(20, 30, 28)]), ISOTROPIC, 32**3, STEP) == (20, 32, 28)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (5, 0.8, 0.8)])
def test_of_large_images_the_crop_is_about_a_cube_in_millimetres(spacing):
    spacing = np.array(spacing)
    lengths = bounded_crop(np.array([(400, 512, 512)]), spacing, 32**3, STEP) * spacing
    assert max(lengths) <= 2 * min(lengths)


def test_of_thin_images_the_crop_takes_all_slices():
    crop = bounded_crop(np.array([(3, 256, 256)]), np.array([5, 0.8, 0.8]), 32**3, STEP)
    assert crop[0] == 3
    assert 0.75 * 32**3 <= np.prod(crop) <= 32**3


def test_below_what_can_be_pooled_the_least_crop_is_taken():
    assert bounded_crop(np.array([(40, 40, 40)]), ISOTROPIC, 10, STEP) == (4, 4, 4)
