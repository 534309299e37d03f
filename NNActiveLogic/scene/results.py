"""Whole cases and a model's predictions of them, for looking only, beside the work on a patch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.client.values import Box, Case, Label
from NNActiveLogic.scene import heatmap, nodes, views, volumes
from NNActiveLogic.scene.colours import class_colour
from NNActiveLogic.scene.grid import Grid, oriented_image
from NNActiveLogic.work import WorkError

_MARGIN = 1.05
"""Field of view by the image's longest edge in the plane."""


def show_case(case: Case, image: VoxelArray) -> Any:
    """A whole case in the views, to look at; the volume node.

    A patch that is open stays as it is: when it is of another case, it is hidden until the adapter's
    `centre()`.

    Raises:
        WorkError: the voxels have another shape than the case.
    """
    volume = volumes.show_image(case, image, role=nodes.Role.SHOWN)
    of_patch = volume.GetAttribute(nodes.ROLE) == nodes.Role.IMAGE
    hide_predictions(case)
    views.show_background(volume)
    _show_patch(of_patch)
    if of_patch:
        heatmap.put_back()
    else:
        nodes.remove(nodes.Role.RENDERING)
        heatmap.hide_legend()
    views.go_to(volume, Grid.of_case(case), _MARGIN)
    return volume


def show_prediction(
    case: Case, labels: Sequence[Label], prediction: VoxelArray, image: VoxelArray | None = None
) -> Any:
    """The segmentation node of a prediction; one that was shown before goes.

    Args:
        case: whose grid the prediction has.
        labels: classes; the first has value 1.
        prediction: label values (z, y, x), of the whole image or a box in it.
        image: channel 0 of the case, shown behind it as by `show_case`; None leaves the views as they are.

    Raises:
        WorkError: values that are no class, or an image of another shape.
    """
    values = prediction.values
    if values.size and values.max() > len(labels):
        raise WorkError(
            "The prediction holds a class that the project does not have.", "Tell whoever runs the server."
        )
    volume = None if image is None else show_case(case, image)
    nodes.remove(nodes.Role.PREDICTION)
    model = f" by model {prediction.info.model}" if prediction.info.model else ""
    name = f"Prediction of {case.name}{model}"
    node = nodes.create("vtkMRMLSegmentationNode", name, nodes.Role.PREDICTION, saved=True)
    node.SetAttribute(nodes.CASE, case.id)
    node.CreateDefaultDisplayNodes()
    if volume is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    box = _content(values, prediction.info.start)
    inner = tuple(
        slice(at - first, at - first + size)
        for at, first, size in zip(box.start, prediction.info.start, box.size, strict=True)
    )
    shared = oriented_image(values[inner].astype(np.uint8), Grid.of_case(case), box)
    for value, label in enumerate(labels, 1):
        node.GetSegmentation().AddSegment(_segment(label, value, shared), f"class-{value}")
    return node


def hide_predictions(besides: Case | None = None) -> None:
    """Hide predictions of other cases, or all: a box is drawn by what the image shows."""
    for node in nodes.find_all(nodes.Role.PREDICTION):
        if besides is None or node.GetAttribute(nodes.CASE) != besides.id:
            node.SetDisplayVisibility(False)


def remove_prediction() -> None:
    """Take the prediction out of the scene."""
    nodes.remove(nodes.Role.PREDICTION)


def back_to_work() -> None:
    """Show the open patch again, and no prediction."""
    _show_patch(True)
    hide_predictions()


def _show_patch(visible: bool) -> None:
    segments = nodes.find_all(nodes.Role.SEGMENTS)
    # The box of a patch that was closed is still there, hidden.
    for node in (*segments, *nodes.find_all(nodes.Role.BOX)):
        node.SetDisplayVisibility(visible and bool(segments))


def _segment(label: Label, value: int, shared: Any) -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(label.name)
    segment.SetColor(*class_colour(label, value))
    segment.SetLabelValue(value)
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segment.AddRepresentation(name, shared)
    return segment


def _content(values: np.ndarray, start: Sequence[int]) -> Box:
    """The smallest box on the image's grid that holds every labelled voxel; one voxel when there is none."""
    firsts, sizes = [], []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(values.any(axis=others))
        low, high = (int(found[0]), int(found[-1])) if found.size else (0, 0)
        firsts.append(start[axis] + low)
        sizes.append(high - low + 1)
    return Box((firsts[0], firsts[1], firsts[2]), (sizes[0], sizes[1], sizes[2]))
