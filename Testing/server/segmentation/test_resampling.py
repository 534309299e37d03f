from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet

from nnactive_server.segmentation import resampling
from nnactive_server.segmentation.resampling import resample_image, resample_labels, spline_matrix

# As nnU-Net's planner writes them.
IMAGE = partial(resample_data_or_seg_to_shape, is_seg=False, order=3, order_z=0, force_separate_z=None)
LABEL = partial(resample_data_or_seg_to_shape, is_seg=True, order=1, order_z=0, force_separate_z=None)
SCORE = partial(resample_data_or_seg_to_shape, is_seg=False, order=1, order_z=0, force_separate_z=None)

EVEN = (1.0, 1.0, 1.0)
THICK = [(5.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 5.0)]

shapes = st.tuples(*[st.integers(1, 17)] * 3)
spacings = st.sampled_from([EVEN, *THICK])


def random_image(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)


def random_labels(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Lumps of three classes and an ignore id, some of them a voxel small."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, [-(-n // 3) for n in shape]).astype(np.uint8)
    lumps = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(slice(n) for n in shape)].copy()
    lumps[rng.random(shape) < 0.1] = 2
    return lumps


@settings(max_examples=50, deadline=None)
@given(shapes, shapes, spacings, spacings, st.integers(0, 99))
def test_images_are_resampled_as_nnunet_does(before, after, spacing, wanted, seed):
    image = random_image(before, seed)
    theirs = IMAGE(image, after, spacing, wanted)
    ours = resample_image(image, after, spacing, wanted, IMAGE)
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


@settings(max_examples=50, deadline=None)
@given(shapes, shapes, spacings, spacings, st.integers(0, 99))
def test_labels_are_resampled_as_nnunet_does(before, after, spacing, wanted, seed):
    labels = random_labels(before, seed)
    theirs = LABEL(labels[None], after, spacing, wanted)[0]
    ours = resample_labels(labels, after, spacing, wanted, LABEL)
    assert ours.dtype == labels.dtype
    scores = SCORE(np.stack([labels == value for value in range(4)]).astype(float), after, spacing, wanted)
    differ = ours != theirs  # nnU-Net sees no tie where rounding, another one here, broke it
    chosen = [np.take_along_axis(scores, made[None].astype(int), 0)[0][differ] for made in (ours, theirs)]
    np.testing.assert_allclose(*chosen, rtol=0, atol=1e-9)


@pytest.mark.parametrize("spacing", [EVEN, *THICK])
@pytest.mark.parametrize("after", [(22, 9, 30), (7, 34, 11)])
def test_labels_in_slabs_are_those_of_the_whole(monkeypatch, spacing, after):
    labels = random_labels((11, 17, 15), 5)
    whole = resample_labels(labels, after, spacing, EVEN, LABEL)
    monkeypatch.setattr(resampling, "SLAB_VOXELS", 1)
    np.testing.assert_array_equal(resample_labels(labels, after, spacing, EVEN, LABEL), whole)


def test_a_spline_never_leaves_the_range_of_the_image():
    image = np.zeros((1, 8, 8, 8), np.float32)
    image[:, 4:] = 1
    out = resample_image(image, (20, 20, 20), EVEN, EVEN, IMAGE)
    assert (out.min(), out.max()) == (0, 1)


def test_what_has_the_shape_already_is_left_as_it_is():
    image, labels = random_image((5, 6, 7), 0), random_labels((5, 6, 7), 0)
    assert resample_image(image, (5, 6, 7), EVEN, THICK[0], IMAGE) is image
    assert resample_labels(labels, (5, 6, 7), EVEN, THICK[0], LABEL) is labels


def test_a_plan_with_another_way_of_resampling_has_its_way():
    image, labels = random_image((9, 9, 9), 1), random_labels((9, 9, 9), 1)
    way = partial(resample_torch_fornnunet, is_seg=False, force_separate_z=False)
    np.testing.assert_array_equal(
        resample_image(image, (12, 6, 9), EVEN, EVEN, way), way(image, (12, 6, 9), EVEN, EVEN)
    )
    way = partial(resample_torch_fornnunet, is_seg=True, force_separate_z=False)
    np.testing.assert_array_equal(
        resample_labels(labels, (12, 6, 9), EVEN, EVEN, way),
        np.asarray(way(labels[None], (12, 6, 9), EVEN, EVEN)[0]),
    )


def test_the_matrix_of_a_spline_keeps_constants():
    for order in (0, 1, 3):
        np.testing.assert_allclose(spline_matrix(9, 14, order).sum(1), 1, atol=1e-12)
