"""Where the clinician points and draws: a click that becomes a patch's box, rough boxes that give sizes.

Marks are markups of ours that are never saved. Whether one was placed is asked (`taken`) by whoever has a
timer: a mark that was removed while a view still tells of the click would be used after its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import slicer

from NNActiveLogic.client.values import Box, Case, Float3, Index3
from NNActiveLogic.scene import nodes, volumes
from NNActiveLogic.scene.colours import Colour
from NNActiveLogic.scene.grid import Grid, as_array
from NNActiveLogic.scene.reading import refuse_transform
from NNActiveLogic.work import WorkError

_CLASS = "NNActive.Class"
_SMALLEST_MM = 0.1
_FILL = 0.15
"""Opacity of a rough box: the structure in it must be seen."""


class Picker:
    """Asks for one point in the views, with the mouse cursor that Slicer shows for placing."""

    @property
    def waiting(self) -> bool:
        """Whether a click is still awaited; no longer when the clinician pressed Esc."""
        mark = nodes.find(nodes.Role.POINT)
        return mark is not None and (mark.GetNumberOfDefinedControlPoints() > 0 or _is_placing())

    def begin(self, name: str, colour: Colour) -> None:
        """Await a click; one that was awaited before is not any more.

        Args:
            name: is shown at the cursor, such as the class that a box is placed for.
            colour: of the mark.
        """
        self.cancel()
        mark = nodes.create("vtkMRMLMarkupsFiducialNode", name, nodes.Role.POINT, hidden=True)
        mark.SetControlPointLabelFormat(name)
        _place(mark, colour)

    def taken(self) -> np.ndarray | None:
        """Where was clicked (RAS, mm), once; None before and after."""
        mark = nodes.find(nodes.Role.POINT)
        if mark is None or mark.GetNumberOfDefinedControlPoints() < 1:
            return None
        point = _point(mark, 0)
        self.cancel()
        return point

    def cancel(self) -> None:
        """Await no click any more."""
        if nodes.find(nodes.Role.POINT) is not None:
            _stop_placing()
            nodes.remove(nodes.Role.POINT)


def box_at(point_ras: Sequence[float] | np.ndarray, case: Case, size: Index3) -> Box:
    """The box of a patch with a point in its middle, moved and cut so that it lies in the image.

    Args:
        point_ras: mm, RAS.
        case: whose image it is.
        size: voxels (z, y, x), as the project has them.

    Raises:
        WorkError: the point is outside the image; or the image in the views is not where it belongs, so that
            the click was on something else.
    """
    for volume in volumes.nodes_of(case):
        refuse_transform(volume, "The image")
        if not Grid.of_volume(volume).is_same(Grid.of_case(case)):
            raise WorkError("The case's image was moved in the scene.", "Remove it, and show the case again.")
    index = Grid.of_case(case).to_index(np.asarray(point_ras, float))
    if (index < -0.5).any() or (index > np.asarray(case.shape) - 0.5).any():
        raise WorkError("That point is outside the image.", "Click into the image.")
    return Box.around(index.tolist(), size, case.shape)


def box_of(mark: Any, case: Case, size: Index3) -> Box:
    """The same for a markups point, line, curve or ROI of the clinician's own: its middle counts.

    Raises:
        WorkError: there is nothing in it yet, or it is outside the image.
    """
    return box_at(_middle(mark), case, size)


def begin_rough_box(name: str, colour: Colour) -> Any:
    """Have the clinician draw a box round a structure of a class; with two clicks, or as Slicer has it."""
    _drop_unfinished()
    node = nodes.create("vtkMRMLMarkupsROINode", name, nodes.Role.ROUGH, hidden=True)
    node.SetAttribute(_CLASS, name)
    _place(node, colour)
    return node


def rough_sizes(grid: Grid) -> dict[str, tuple[Float3, ...]]:
    """Sizes (z, y, x; mm) of the rough boxes by class; those that are not finished are left out.

    Args:
        grid: of the image that they were drawn in.
    """
    found: dict[str, tuple[Float3, ...]] = {}
    for node in nodes.find_all(nodes.Role.ROUGH):
        if _is_finished(node):
            name = str(node.GetAttribute(_CLASS))
            found[name] = (*found.get(name, ()), size_of(node, grid))
    return found


def remove_rough_boxes(name: str | None = None) -> None:
    """Remove the rough boxes of a class, or all."""
    _drop_unfinished()
    for node in nodes.find_all(nodes.Role.ROUGH):
        if name in (None, node.GetAttribute(_CLASS)):
            nodes.remove_node(node)


def size_of(roi: Any, grid: Grid) -> Float3:
    """Edges (z, y, x; mm) of an ROI, each counted to the image's axis that it lies nearest to.

    A box drawn along the world's axes in an oblique image is not made larger by that: it is rough anyway.

    Args:
        roi: markups ROI; may be under a transform.
        grid: of the image.

    Raises:
        WorkError: it has no extent.
    """
    edges = as_array(roi.GetObjectToWorldMatrix())[:3, :3] * np.asarray(roi.GetSize())
    lengths = np.linalg.norm(edges, axis=0)
    if lengths.min() < _SMALLEST_MM:
        raise WorkError(f"The box '{roi.GetName()}' has no extent.", "Draw it round the structure.")
    near = np.abs((edges / lengths).T @ grid.axes)
    best = max(permutations(range(3)), key=lambda order: sum(near[order[at], at] for at in range(3)))
    z, y, x = (float(lengths[edge]) for edge in best)
    return z, y, x


def _middle(mark: Any) -> np.ndarray:
    if mark is not None and mark.IsA("vtkMRMLMarkupsROINode") and min(mark.GetSize()) > 0:
        centre = np.zeros(3)
        mark.GetCenterWorld(centre)
        return centre
    points = [
        _point(mark, number)
        for number in range(mark.GetNumberOfControlPoints() if mark is not None else 0)
        if mark.GetNthControlPointPositionStatus(number) == mark.PositionDefined
    ]
    if not points:
        raise WorkError("Nothing was placed yet.", "Click into the image.")
    middle: np.ndarray = np.mean(points, axis=0)
    return middle


def _point(mark: Any, number: int) -> np.ndarray:
    point = np.zeros(3)
    mark.GetNthControlPointPositionWorld(number, point)
    return point


def _is_finished(node: Any) -> bool:
    return bool(node.GetNumberOfDefinedControlPoints()) and min(node.GetSize()) >= _SMALLEST_MM


def _drop_unfinished() -> None:
    """A box whose drawing was broken off would wait for its second click for ever."""
    for node in nodes.find_all(nodes.Role.ROUGH):
        if not _is_finished(node):
            _stop_placing()
            nodes.remove_node(node)


def _place(mark: Any, colour: Colour) -> None:
    mark.CreateDefaultDisplayNodes()
    display = mark.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetFillOpacity(_FILL)
    for paint in (display.SetColor, display.SetSelectedColor, display.SetActiveColor):
        paint(*colour)
    slicer.modules.markups.logic().SetActiveList(mark)
    # Not the logic's StartPlaceMode: that places single points, whatever the active list is.
    _interaction().SwitchToSinglePlaceMode()


def _interaction() -> Any:
    return slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")


def _is_placing() -> bool:
    node = _interaction()
    return node is not None and node.GetCurrentInteractionMode() == node.Place


def _stop_placing() -> None:
    if _is_placing():
        _interaction().SwitchToViewTransformMode()
