"""A small image, a box in it, and labels for the box."""

import numpy as np
import SimpleITK as sitk

from NNActiveLogic.client.values import Box

BOX = Box((2, 3, 4), (4, 5, 6))


def make_image(path, seed=0, shape=(12, 20, 24)):
    """An int16 image file and its voxels."""
    voxels = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    made = sitk.GetImageFromArray(voxels)
    made.SetSpacing((0.5, 1.5, 3.0))
    made.SetOrigin((10.0, -20.0, 30.0))
    sitk.WriteImage(made, str(path))
    return voxels


def crop(value=1):
    """Labels for the box."""
    made = np.zeros(BOX.size, np.uint8)
    made[1:3, 2:, 1] = value
    return made
