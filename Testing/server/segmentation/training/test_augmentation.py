"""Augmentation on the device: each step against nnU-Net's own on the same numbers, and what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import blur_dimension
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform, create_affine_matrix_3d
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.rng import generator
from nnactive_server.segmentation.training.augmentation import (
    Draw,
    Rules,
    augment,
    blurred,
    coarser,
    contrasted,
    draw,
    margins,
    mirrored,
    resampled,
    rotation_matrix,
)
from nnactive_server.segmentation.training.batches import seeded

FULL = Rules(np.pi / 6, False, (0, 1, 2), True)
IGNORE = 3


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(*shape, seed=0):
    return torch.nn.functional.avg_pool3d(noise(*shape, seed=seed)[None], 3, 1, 1)[0]


def whole(image, work, numbers):
    """A step on one image (C, z, y, x)."""
    return work(image.flatten(1)[None], torch.tensor(numbers)[None, :, None]).view(image.shape)


@pytest.mark.parametrize("factors", [(0.8, 1.2), (1.25, 0.75)])
def test_contrast_is_nnunets(factors):
    image = smooth(2, 7, 8, 9)
    theirs = ContrastTransform(1.0, True, False)._apply_to_image(
        image.clone(), apply_to_channel=torch.tensor([0, 1]), multipliers=torch.tensor(factors)
    )
    torch.testing.assert_close(whole(image, contrasted, factors), theirs)


@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("exponents", [(0.7, 1.5), (1.2, 0.9)])
def test_gamma_is_nnunets(exponents, upside_down):
    image = smooth(2, 7, 8, 9)
    theirs = GammaTransform(1.0, 0, False, 1, 1)._apply_to_image(
        image.clone(),
        apply_to_channel=torch.tensor([0, 1]),
        retain_stats=torch.tensor([True, True]),
        invert_image=torch.tensor([upside_down] * 2),
        gamma=torch.tensor(exponents),
    )
    key = "inverted_gamma" if upside_down else "gamma"
    ours = augment(image.clone()[None], [Draw(**{key: exponents})], torch.Generator())[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@given(st.tuples(*[st.floats(0.5, 1.0)] * 3))
@settings(max_examples=25, deadline=None)
def test_blur_is_nnunets(sigmas):
    image = noise(1, 9, 10, 11)
    theirs = image
    for axis, sigma in enumerate(sigmas):
        theirs = blur_dimension(theirs, sigma, axis)
    torch.testing.assert_close(blurred(image[0], sigmas), theirs[0], rtol=1e-4, atol=1e-5)


@given(st.floats(0.5, 1.0))
@settings(max_examples=25, deadline=None)
def test_low_resolution_is_nnunets(share):
    image = noise(1, 9, 10, 11)
    theirs = SimulateLowResolutionTransform(1.0, False, True, None)._apply_to_image(
        image.clone(), apply_to_channel=[0], scales=torch.tensor([[share] * 3], dtype=torch.float64)
    )
    torch.testing.assert_close(coarser(image[0], share), theirs[0])


ANGLES = st.tuples(*[st.floats(-np.pi / 6, np.pi / 6)] * 3)


@pytest.mark.parametrize("size", [(12, 10, 8), (9, 9, 9)])
@pytest.mark.parametrize("seed", range(10))
def test_rotation_and_scaling_are_nnunets(seed, size):
    """Drawn at random: where two labels have exactly equal shares, as without rotation, either may win."""
    rng = generator(seed, "turn")
    angles, scale = rng.uniform(-np.pi / 6, np.pi / 6, 3), rng.uniform(0.7, 1.4)
    box = tuple(n + 6 for n in size)
    image = smooth(1, *box)
    label = torch.from_numpy(generator(1, "blocks").integers(0, 4, (1, 5, 5, 5)).astype(np.int16))
    label = label.repeat_interleave(5, 1).repeat_interleave(5, 2).repeat_interleave(5, 3)
    label = label[:, : box[0], : box[1], : box[2]].contiguous()
    affine = create_affine_matrix_3d(angles, [scale] * 3)
    theirs = SpatialTransform(
        size, 0, False, border_mode_seg="constant", padding_value_seg=IGNORE, p_rotation=1, p_scaling=1
    )
    parameters = _with_affine(theirs, image, affine)
    crop, found = resampled(image, label, affine, size, [0, 1, 2, IGNORE])
    torch.testing.assert_close(crop, theirs._apply_to_image(image, **parameters), rtol=1e-3, atol=1e-4)
    expected = theirs._apply_to_segmentation(label, **parameters)
    # Theirs rounds shares to half precision.
    assert float((found != expected).float().mean()) < 0.005


def _with_affine(transform, image, affine):
    import batchgeneratorsv2.transforms.spatial.spatial as module

    before, module.create_affine_matrix_3d = module.create_affine_matrix_3d, lambda *_: affine
    try:
        with seeded("any"):
            return transform.get_parameters(image=image)
    finally:
        module.create_affine_matrix_3d = before


def test_our_rotations_are_rotations_round_the_named_axis():
    for axis in range(3):
        angles = [0.0, 0.0, 0.0]
        angles[axis] = 0.3
        matrix = rotation_matrix(angles)
        assert matrix[axis, axis] == 1
        assert np.allclose(matrix @ matrix.T, np.eye(3))
        assert np.linalg.det(matrix) == pytest.approx(1)


@given(ANGLES, st.floats(0.7, 1.4))
@settings(max_examples=50, deadline=None)
def test_a_crop_reads_no_further_than_its_margins(angles, scale):
    """What lies beyond the margins has no influence."""
    size, affine = (8, 6, 7), rotation_matrix(angles) * scale
    beyond = margins(affine, size)
    box = tuple(n + 2 * (m + 2) for n, m in zip(size, beyond, strict=True))
    image, label = noise(1, *box), torch.zeros(1, *box, dtype=torch.int16)
    inner = (slice(None), slice(2, -2), slice(2, -2), slice(2, -2))
    near = resampled(image[inner], label[inner], affine, size, [0, 1, IGNORE])
    far = resampled(image, label, affine, size, [0, 1, IGNORE])
    torch.testing.assert_close(near[0], far[0], rtol=1e-4, atol=1e-4)
    assert torch.equal(near[1], far[1])


def test_beyond_the_image_nothing_is_known():
    image, label = torch.ones(1, 4, 4, 4), torch.ones(1, 4, 4, 4, dtype=torch.int16)
    crop, found = resampled(image, label, np.eye(3), (8, 8, 8), [0, 1, IGNORE])
    assert torch.equal(found[0, 2:6, 2:6, 2:6], label[0])
    found[0, 2:6, 2:6, 2:6] = IGNORE
    assert (found == IGNORE).all()
    assert crop.sum() == 64


def test_what_happens_is_drawn_as_often_and_as_strongly_as_in_nnunet():
    draws = [draw(generator(7, n), FULL, 2) for n in range(6000)]

    def share(happened):
        return np.mean([bool(happened(d)) for d in draws])

    expected = {
        "noise": 0.1, "brightness": 0.15, "contrast": 0.15, "inverted_gamma": 0.1, "gamma": 0.3,
        "blur": 0.2 * 0.75, "resolution": 0.25 * 0.75, "affine": 1 - 0.8**2,
    }  # fmt: skip
    for name, probability in expected.items():
        found = share(lambda d, name=name: _happened(getattr(d, name)))
        assert found == pytest.approx(probability, abs=0.02), name
    for axis in range(3):
        assert share(lambda d, axis=axis: axis in d.flips) == pytest.approx(0.5, abs=0.025)
    contrast = np.array([f for d in draws for f in d.contrast])
    assert 0.75 <= contrast.min() < 0.78 < 1.22 < contrast.max() <= 1.25
    assert np.mean(contrast < 1) == pytest.approx(0.5, abs=0.05)
    gamma = np.array([f for d in draws for f in d.gamma])
    assert np.mean(gamma < 1) == pytest.approx(0.5, abs=0.04)
    assert np.mean(gamma[gamma > 1]) == pytest.approx(1.25, abs=0.03)
    sigma = np.array([s for d in draws for _, s in d.blur])
    assert 0.5 <= sigma.min() < sigma.max() <= 1.0
    assert np.ptp(sigma, axis=1).mean() > 0.1
    scales = np.array([np.cbrt(np.linalg.det(d.affine)) for d in draws if d.affine is not None])
    assert 0.7 <= scales.min() < scales.max() <= 1.4
    assert np.mean(np.isclose(scales, 1)) == pytest.approx(0.2 * 0.8 / 0.36, abs=0.04)


def _happened(value):
    return value is not None and (not isinstance(value, tuple) or len(value) > 0)


def test_slices_are_turned_and_scaled_within_themselves():
    rules = Rules(np.pi, True, (0, 1, 2), True)
    found = [d.affine for n in range(300) if (d := draw(generator(1, n), rules, 1)).affine is not None]
    assert found
    assert all(np.array_equal(matrix[0], (1, 0, 0)) for matrix in found)
    assert all(np.array_equal(matrix[:, 0], (1, 0, 0)) for matrix in found)


def test_light_augmentation_resamples_nothing():
    rules = Rules(np.pi / 6, False, (0, 1, 2), False)
    draws = [draw(generator(3, n), rules, 2) for n in range(300)]
    assert not any(d.affine is not None or d.blur or d.resolution for d in draws)
    assert any(d.gamma for d in draws)


def test_crops_that_nothing_happens_to_stay_bit_for_bit():
    images = noise(3, 1, 6, 6, 6)
    busy = Draw(
        noise=0.1, blur=((0, (1.0, 1.0, 1.0)),), brightness=(1.1,), gamma=(1.2,), resolution=((0, 0.5),)
    )
    done = augment(images.clone(), [Draw(), busy, Draw()], torch.Generator().manual_seed(0))
    assert torch.equal(done[0], images[0])
    assert torch.equal(done[2], images[2])
    assert not torch.allclose(done[1], images[1])


def test_noise_has_the_drawn_spread_and_follows_its_generator():
    images = torch.zeros(1, 1, 32, 32, 32)
    one, two = (
        augment(images.clone(), [Draw(noise=0.05)], torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(one, two)
    assert float(one.std()) == pytest.approx(0.05, rel=0.02)


def test_images_and_labels_are_mirrored_alike():
    images = noise(2, 1, 3, 4, 5)
    draws = [Draw(flips=(0, 2)), Draw()]
    done = mirrored(images, draws)
    assert torch.equal(done[0, 0], images[0, 0].flip(0, 2))
    assert torch.equal(done[1], images[1])
