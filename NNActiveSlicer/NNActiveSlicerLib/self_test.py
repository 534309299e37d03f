"""What the module's own test looks at, inside Slicer: labels and volumes, voxel by voxel."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from NNActiveLogic.client.arrays import ArrayInfo, VoxelArray
from NNActiveLogic.client.values import Box, Case, Label, Patch
from NNActiveLogic.scene import outgoing
from NNActiveLogic.scene.adapter import SceneAdapter
from NNActiveLogic.work import PatchView

_SHAPE = (12, 16, 20)
_BOX = Box((3, 4, 5), (6, 7, 8))
_OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, -1.0)
"""Turned about the body's axis, and left-handed."""


def paintAndRead() -> tuple[np.ndarray, np.ndarray]:
    """Paint in the box of an image, and read what would be sent: label values (z, y, x), twice."""
    rng = np.random.default_rng(0)
    painted = rng.integers(0, 3, _BOX.size).astype(np.uint8)
    adapter = SceneAdapter()
    adapter.open(_view())
    try:
        for value in (1, 2):
            _paint(adapter, value, painted)
        return painted, adapter.read().labels
    finally:
        adapter.leave()


def differences() -> list[str]:
    """What a volume's file does not have in common with it; empty when it is the same."""
    import SimpleITK

    values = np.random.default_rng(1).integers(-1000, 1000, _SHAPE).astype(np.int16)
    place = np.diag([-0.5, 1.5, 3.0, 1.0])
    place[:3, 3] = (12.0, -7.0, 30.0)
    volume = slicer.util.addVolumeFromArray(values, place, "self test")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nrrd"
        outgoing.take(volume).write(path)
        image = SimpleITK.ReadImage(str(path))
        read = SimpleITK.GetArrayFromImage(image)
    slicer.mrmlScene.RemoveNode(volume)
    found = {
        "voxels": np.array_equal(read, values),
        "spacing": np.allclose(image.GetSpacing(), (0.5, 1.5, 3.0)),
        "origin": np.allclose(image.GetOrigin(), (-12.0, 7.0, 30.0)),
        "direction": np.allclose(image.GetDirection(), (1, 0, 0, 0, -1, 0, 0, 0, 1)),
    }
    return [name for name, same in found.items() if not same]


def _view() -> PatchView:
    case = Case("case", "self test", _SHAPE, (3.0, 1.5, 0.5), (4.0, -9.0, 2.0), _OBLIQUE, 0, 1, None, None)
    image = np.random.default_rng(2).integers(0, 500, _SHAPE).astype(np.int16)
    info = ArrayInfo(image.dtype.str, _SHAPE, case.spacing, case.origin, case.direction, (0, 0, 0), None)
    patch = Patch("p", "", "case", 0, 1, _BOX, "", None, None, None, "", "placed", "open", 0, None)
    return PatchView(patch, case, (Label("first"), Label("second")), VoxelArray(image, info, ""))


def _paint(adapter: Any, value: int, painted: np.ndarray) -> None:
    node, image = adapter.segmentation_node, adapter.image_node
    whole = np.zeros(_SHAPE, np.uint8)
    whole[_BOX.slices] = painted == value
    name = ("first", "second")[value - 1]
    segment = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(whole, node, segment, image)
