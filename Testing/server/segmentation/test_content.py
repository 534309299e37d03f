"""The part of an image that holds something."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

from nnactive_server.segmentation.content import content, values_in

IMAGES = hn.arrays(
    np.float32,
    st.tuples(st.integers(1, 2), *[st.integers(1, 6)] * 3),
    elements=st.sampled_from([0.0, 0.0, 0.0, 1.0, -2.5]),
)


@given(IMAGES)
def test_the_box_is_the_one_nnunet_crops_to(image):
    _, box = content(image)
    assert box == [list(map(int, limits)) for limits in crop_to_nonzero(image)[2]]


@given(IMAGES)
def test_the_mask_holds_what_is_not_zero_in_some_channel(image):
    mask, _ = content(image)
    np.testing.assert_array_equal(mask, (image != 0).any(0))
    np.testing.assert_array_equal(values_in(image, mask), image[:, mask])
