"""The part of an image that holds something, as nnU-Net crops to it: all that is not zero."""

from __future__ import annotations

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import get_bbox_from_mask

Limits = list[list[int]]


def content(image: np.ndarray) -> tuple[np.ndarray, Limits]:
    """Where an image (C, z, y, x) is not zero in some channel: a mask (z, y, x), and its box.

    nnU-Net also fills the holes of the mask, which takes far longer and leaves the box as it is.

    Returns:
        The mask, and for each axis the first voxel and the one behind the last; all of an empty image.
    """
    mask = image[0] != 0
    for channel in image[1:]:
        mask |= channel != 0
    return mask, [[int(low), int(high)] for low, high in get_bbox_from_mask(mask)]


def values_in(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Values (C, n) of an image (C, z, y, x) in a mask.

    Channel by channel: a mask behind a slice makes numpy list the indices of all its voxels, 24 bytes each.
    """
    return np.stack([channel[mask] for channel in image])
