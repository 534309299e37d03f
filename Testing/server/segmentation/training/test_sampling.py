from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.rng import generator
from nnactive_server.segmentation.preprocessing import ANNOTATED, TrainingCase
from nnactive_server.segmentation.training.sampling import CropSampler

IGNORE = 3
extents = st.tuples(*[st.integers(3, 14)] * 3)


def training_case(label: np.ndarray, name: str = "a") -> TrainingCase:
    """A case whose image says where each voxel came from."""
    image = np.arange(1, label.size + 1, dtype=np.float32).reshape(1, *label.shape)
    positions = {c: np.argwhere(label == c).astype(np.int32) for c in (1, 2)}
    positions[ANNOTATED] = np.argwhere(label != IGNORE).astype(np.int32)
    return TrainingCase(name, image, label, positions, int((label != IGNORE).sum()))


def sparse_label(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    label = np.full(shape, IGNORE, np.uint8)
    start = [int(rng.integers(n)) for n in shape]
    box = tuple(slice(s, s + 2) for s in start)
    label[box] = rng.integers(0, 3, label[box].shape)
    return label


@given(extents, st.tuples(*[st.integers(2, 12)] * 3), st.integers(0, 5), st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_every_crop_holds_an_annotated_voxel_inside_the_inner_box(shape, inner, margin, seed):
    label = sparse_label(shape, seed)
    outer = tuple(n + margin for n in inner)
    sampler = CropSampler([training_case(label)], inner, outer, IGNORE, 0.3, True)
    image, crop = sampler.draw(generator("test", seed))
    low = margin // 2
    middle = crop[0][tuple(slice(low, low + n) for n in inner)]
    assert image.shape == (1, *outer)
    assert bool((middle != IGNORE).any())


@given(extents, st.tuples(*[st.integers(2, 20)] * 3), st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_crops_show_the_right_voxels_and_ignore_beyond_the_image(shape, inner, seed):
    label = sparse_label(shape, seed)
    case = training_case(label)
    image, crop = CropSampler([case], inner, inner, IGNORE, 0.3, True).draw(generator("test", seed))
    source = image[0].numpy().astype(int)
    inside = source > 0
    assert (crop[0].numpy()[~inside] == IGNORE).all()
    assert (crop[0].numpy()[inside] == label.ravel()[source[inside] - 1]).all()


def test_the_annotated_voxel_lies_anywhere_in_the_crop():
    label = np.full((40, 40, 40), IGNORE, np.uint8)
    label[20, 20, 20] = 0
    sampler = CropSampler([training_case(label)], (8, 8, 8), (8, 8, 8), IGNORE, 0.3, True)
    found = [tuple(np.argwhere(sampler.draw(generator("test", n))[1][0].numpy() == 0)[0]) for n in range(600)]
    counts = np.stack([np.bincount([where[axis] for where in found], minlength=8) for axis in range(3)])
    assert (counts > 600 / 8 / 2).all()


def test_cases_are_drawn_in_proportion_to_their_annotated_voxels_or_uniformly():
    small, large = np.full((2, 8, 8, 8), IGNORE, np.uint8)
    small[0, 0, 0] = 0
    large[:3, :, 0] = 0
    large[0, 0, 0] = IGNORE
    cases = [training_case(small), training_case(large)]

    def share_of_large(proportional: bool) -> float:
        sampler = CropSampler(cases, (8, 8, 8), (8, 8, 8), IGNORE, 0.0, proportional)
        crops = (sampler.draw(generator("test", n))[1] for n in range(400))
        return float(np.mean([(crop == 0).sum() > 1 for crop in crops]))

    assert share_of_large(True) == pytest.approx(23 / 24, abs=0.04)
    assert share_of_large(False) == pytest.approx(0.5, abs=0.1)


def test_foreground_crops_take_each_present_class_equally_often():
    label = np.zeros((30, 30, 30), np.uint8)
    label[:, :, :10] = 1
    label[29, 29, 29] = 2
    sampler = CropSampler([training_case(label)], (3, 3, 3), (3, 3, 3), IGNORE, 1.0, True)
    crops = [sampler.draw(generator("test", n))[1] for n in range(300)]
    assert np.mean([bool((crop == 2).any()) for crop in crops]) == pytest.approx(0.5, abs=0.1)


def test_nothing_annotated_is_an_error_that_says_what_to_do():
    label = np.full((8, 8, 8), IGNORE, np.uint8)
    with pytest.raises(SegmentationError, match="annotate at least one patch"):
        CropSampler([training_case(label)], (4, 4, 4), (4, 4, 4), IGNORE, 0.3, True)
