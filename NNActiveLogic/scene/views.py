"""What slice and 3D views show: planes along the image's axes, the box in the middle, context around it."""

from __future__ import annotations

from typing import Any

import numpy as np

from NNActiveLogic.scene import nodes
from NNActiveLogic.scene.grid import Grid

CONTEXT = 1.6
"""Field of view by the box's longest edge in the plane."""
_OBLIQUE = "Reformat"
_USUAL = "NNActive.Orientation"
_DISTANCE = 3.2
"""Distance of the 3D camera by the box's diagonal."""


def show_background(image: Any) -> None:
    """The image in every slice view, alone; overlays are put on afterwards."""
    for composite in nodes.of_class("vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(image.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)


def background() -> Any:
    """The volume in the slice views; None when they are empty."""
    for composite in nodes.of_class("vtkMRMLSliceCompositeNode"):
        if composite.GetBackgroundVolumeID():
            return composite.GetScene().GetNodeByID(composite.GetBackgroundVolumeID())
    return None


def go_to(image: Any, box: Grid, context: float = CONTEXT) -> None:
    """Turn, centre and zoom every view.

    Args:
        image: whose axes the slices follow; a patch of an oblique image would be cut askew otherwise.
        box: grid of the patch's box.
        context: field of view by the box's extent; 1 fits the box exactly.
    """
    for node in nodes.of_class("vtkMRMLSliceNode"):
        told = node.StartModify()  # views hear of it once
        align(node, image)
        _centre(node, box, context)
        node.EndModify(told)
    for camera in nodes.of_class("vtkMRMLCameraNode"):
        _look_at(camera, box)


def align(node: Any, image: Any) -> None:
    """Turn a slice view to the nearest plane of the image's own axes.

    Starts from the view's usual orientation, or turns of earlier oblique images would add up.
    """
    orientation = node.GetOrientation()
    if orientation != _OBLIQUE:
        node.SetAttribute(_USUAL, orientation)
    _turn_back(node)
    node.RotateToVolumePlane(image)


def turn_back() -> None:
    """Give slice views that follow an oblique image their usual orientation again.

    Best before a scene is closed: Slicer would make them all axial.
    """
    for node in nodes.of_class("vtkMRMLSliceNode"):
        _turn_back(node)
        node.RemoveAttribute(_USUAL)


def _turn_back(node: Any) -> None:
    usual = node.GetAttribute(_USUAL) or node.GetDefaultOrientation()
    if usual and node.GetOrientation() == _OBLIQUE:
        node.SetOrientation(usual)


def _centre(node: Any, box: Grid, context: float) -> None:
    # Slices go through voxel centres: halfway between two it would be chance which one is shown.
    middle = (box.shape[0] // 2, box.shape[1] // 2, box.shape[2] // 2)
    node.JumpSliceByCentering(*(float(value) for value in box.to_ras(middle)))
    width, height, _ = node.GetDimensions()
    if width < 1 or height < 1:
        return  # a view that was never shown
    across, up = _extent_in_plane(node, box)
    field = max(across, up * width / height) * context
    node.SetFieldOfView(field, field * height / width, node.GetFieldOfView()[2])
    _centre_in_plane(node, box.centre_ras)


def _centre_in_plane(node: Any, point: np.ndarray) -> None:
    """Move a slice within its plane so that a point is in the middle."""
    matrix = node.GetSliceToRAS()
    normal = np.array([matrix.GetElement(row, 2) for row in range(3)])
    position = np.array([matrix.GetElement(row, 3) for row in range(3)])
    moved = point + normal * float(np.dot(position - point, normal))
    for row in range(3):
        matrix.SetElement(row, 3, float(moved[row]))
    node.UpdateMatrices()


def _extent_in_plane(node: Any, box: Grid) -> tuple[float, float]:
    """Width and height (mm) that a box takes in a slice view."""
    matrix = node.GetSliceToRAS()
    z, y, x = box.shape
    corners = np.array([box.to_ras((a * z, b * y, c * x)) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    axes = np.array([[matrix.GetElement(row, column) for row in range(3)] for column in range(2)])
    spread = np.ptp(corners @ axes.T, axis=0)
    return float(spread[0]), float(spread[1])


def _look_at(node: Any, box: Grid) -> None:
    """Move a 3D camera so that the box is in the middle; it keeps the direction it looks in."""
    camera = node.GetCamera()
    away = np.array(camera.GetPosition()) - np.array(camera.GetFocalPoint())
    length = float(np.linalg.norm(away))
    away = away / length if length > 0 else np.array([0.0, 1.0, 0.0])
    distance = _DISTANCE * float(np.linalg.norm(box.extent_mm))
    node.SetFocalPoint(*box.centre_ras)
    node.SetPosition(*(box.centre_ras + distance * away))
    node.ResetClippingRange()


def stamp() -> int:
    """A number that changes whenever a view is scrolled, moved, turned or zoomed."""
    watched = [*nodes.of_class("vtkMRMLSliceNode"), *nodes.of_class("vtkMRMLCameraNode")]
    return max((int(node.GetMTime()) for node in watched), default=0)
