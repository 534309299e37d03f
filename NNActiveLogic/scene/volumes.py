"""The case's image as a volume node of ours; its window and level are the clinician's."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk

from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.client.values import Box, Case
from NNActiveLogic.scene import nodes
from NNActiveLogic.scene.grid import Grid, set_voxels, share_voxels, voxels
from NNActiveLogic.work import WorkError

_SHOWN = (0.5, 99.5)
"""Percentiles between which grey values are spread at first."""
_SAMPLE = 200_000
"""Voxels that are looked at for it: a large CT would take a quarter of a second."""


def show_image(
    case: Case, image: VoxelArray, focus: Box | None = None, role: nodes.Role = nodes.Role.IMAGE
) -> Any:
    """The volume node of a case; made unless it is there already, and then the role's other one goes.

    Args:
        case: whose grid the image has.
        image: channel 0 of the whole case.
        focus: where grey values should tell tissues apart at first; None for the whole image.
        role: `IMAGE` for the work on a patch, `SHOWN` for looking at a case beside it.

    Raises:
        WorkError: the voxels have another shape than the case.
    """
    node = image_of(case)
    if node is None:
        node = _made(case, image, focus, role)
    elif role == nodes.Role.IMAGE:
        node.SetAttribute(nodes.ROLE, role.value)
    for other in nodes.find_all(role):
        if other is not node:
            nodes.remove_node(other)
    return node


def image_of(case: Case) -> Any:
    """The volume node of a case, with the case's grid; None when it is not in the scene."""
    grid = Grid.of_case(case)
    return next((node for node in nodes_of(case) if Grid.of_volume(node).is_same(grid)), None)


def nodes_of(case: Case) -> list[Any]:
    """The volume nodes that were made for a case, also when somebody moved them since."""
    ours = (*nodes.find_all(nodes.Role.IMAGE), *nodes.find_all(nodes.Role.SHOWN))
    return [node for node in ours if node.GetAttribute(nodes.CASE) == case.id]


def _made(case: Case, image: VoxelArray, focus: Box | None, role: nodes.Role) -> Any:
    if image.values.shape != case.shape:
        raise WorkError(
            f"The image of {case.name} has {image.values.shape} voxels, {case.shape} were expected.",
            "Open the box again; if this stays, tell whoever runs the server.",
        )
    nodes.remove(role)  # before the next one takes its memory
    node = nodes.create("vtkMRMLScalarVolumeNode", case.name, role, saved=True)
    node.SetAttribute(nodes.CASE, case.id)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    fill(node, Grid.of_case(case), image.values)
    low, high = _window(image.values if focus is None else image.values[focus.slices])
    set_window(node, low, high)
    return node


def fill(node: Any, grid: Grid, values: np.ndarray, share: bool = False) -> None:
    """Give a volume node voxels (z, y, x) and their place; values that are no numbers become 0.

    A display node should have its automatic window off by now, or each voxel is looked at once more.

    Args:
        node: volume node.
        grid: where the voxels lie.
        values: of the shape of the grid.
        share: let the node use this very memory where it can; for voxels that nobody changes.

    Raises:
        ValueError: another shape than the grid.
    """
    if values.shape != grid.shape:
        raise ValueError(f"values: shape {values.shape}, the grid has {grid.shape}")
    image = vtk.vtkImageData()
    image.SetDimensions(*values.shape[::-1])
    dtype = _drawable(values.dtype)
    if share and dtype == values.dtype and values.flags.c_contiguous and _all_finite(values):
        share_voxels(image, values)
    else:
        set_voxels(image, values, dtype)
        if values.dtype.kind == "f":
            _clear_non_finite(voxels(image))
    node.SetIJKToRASMatrix(grid.matrix())
    node.SetAndObserveImageData(image)


def _all_finite(values: np.ndarray) -> bool:
    """Whether every value is a number; both extremes show what is none, and are found fast."""
    return values.size == 0 or bool(np.isfinite(values.min()) and np.isfinite(values.max()))


def _clear_non_finite(values: np.ndarray) -> None:
    for plane in values:  # plane by plane: masks of a large volume would not stay in the cache
        plane[~np.isfinite(plane)] = 0


def _drawable(dtype: np.dtype) -> np.dtype:
    """A type that VTK takes and that holds every value; it refuses bool, float16 and other byte orders."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float32 if dtype.itemsize < 8 else np.float64)
    return np.dtype(np.float64) if dtype.itemsize > 4 else dtype.newbyteorder("=")


def set_window(node: Any, low: float, high: float) -> None:
    """Spread the grey values from low to high."""
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, high)


def window_of(node: Any) -> tuple[float, float]:
    """Lowest and highest value between which grey values are spread."""
    display = node.GetDisplayNode()
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def _window(values: np.ndarray) -> tuple[float, float]:
    flat = values.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(sample, _SHOWN))
    return (low, high) if high > low else (low - 0.5, low + 0.5)
