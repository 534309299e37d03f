"""The patch's box, drawn in slices and in 3D; it cannot be moved or picked."""

from __future__ import annotations

from typing import Any

from NNActiveLogic.client.values import Box
from NNActiveLogic.scene import nodes
from NNActiveLogic.scene.grid import Grid, vtk_matrix

COLOUR = (1.0, 0.85, 0.0)


def show_box(grid: Grid) -> Any:
    """Draw the outline of a box, whole voxels, along the image's own axes.

    Args:
        grid: of the box.
    """
    node = nodes.find(nodes.Role.BOX) or _made()
    node.SetAndObserveObjectToNodeMatrix(vtk_matrix(grid.centre_to_ras))
    node.SetSize(*(float(edge) for edge in grid.extent_mm[::-1]))
    node.SetDisplayVisibility(True)
    return node


def hide_box() -> None:
    """Draw no box; its node stays for the next one, as every view takes a while to know a new one."""
    for node in nodes.find_all(nodes.Role.BOX):
        node.SetDisplayVisibility(False)


def _made() -> Any:
    node = nodes.create("vtkMRMLMarkupsROINode", "NNActive box", nodes.Role.BOX, hidden=True)
    node.CreateDefaultDisplayNodes()
    node.SetLocked(True)
    node.SetSelectable(False)
    _style(node.GetDisplayNode())
    return node


def _style(display: Any) -> None:
    display.SetSaveWithScene(False)
    display.SetHandlesInteractive(False)
    display.SetFillVisibility(False)
    display.SetOutlineVisibility(True)
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    display.SetGlyphScale(0)
    for paint in (display.SetColor, display.SetSelectedColor, display.SetActiveColor):
        paint(*COLOUR)


def with_margin(box: Box, whole: Grid, margin_mm: float) -> Box:
    """A box with its surroundings, as far as the image goes.

    Args:
        box: on the grid `whole`.
        whole: the image's grid.
        margin_mm: how much is added on each side.
    """
    starts, sizes = [], []
    edges = zip(box.start, box.size, whole.shape, whole.spacing, strict=True)
    for start, size, length, spacing in edges:
        more = round(margin_mm / float(spacing))
        first, last = max(0, start - more), min(length, start + size + more)
        starts.append(first)
        sizes.append(last - first)
    return Box((starts[0], starts[1], starts[2]), (sizes[0], sizes[1], sizes[2]))
