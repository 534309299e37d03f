"""A model's whole prediction of a case, shown as a segmentation that is for looking only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.client.values import Box, Case, Label
from NNActiveLogic.scene import nodes, views, volumes
from NNActiveLogic.scene.colours import class_colour
from NNActiveLogic.scene.grid import Grid, oriented_image
from NNActiveLogic.work import WorkError


def show_prediction(
    case: Case, labels: Sequence[Label], prediction: VoxelArray, image: VoxelArray | None = None
) -> Any:
    """The segmentation node of a prediction; one that was shown before goes.

    Args:
        case: whose grid the prediction has.
        labels: classes; the first has value 1.
        prediction: label values (z, y, x), of the whole image or a box in it.
        image: channel 0 of the case, shown behind it; None leaves the views as they are.

    Raises:
        WorkError: values that are no class.
    """
    values = prediction.values
    if values.size and values.max() > len(labels):
        raise WorkError(
            "The prediction holds a class that the project does not have.", "Tell whoever runs the server."
        )
    nodes.remove(nodes.Role.PREDICTION)
    model = f" by model {prediction.info.model}" if prediction.info.model else ""
    name = f"Prediction of {case.name}{model}"
    node = nodes.create("vtkMRMLSegmentationNode", name, nodes.Role.PREDICTION, saved=True)
    node.SetAttribute(nodes.CASE, case.id)
    node.CreateDefaultDisplayNodes()
    if image is not None:
        volume = volumes.show_image(case, image)
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        views.show_background(volume)
    box = _content(values, prediction.info.start)
    inner = tuple(
        slice(at - first, at - first + size)
        for at, first, size in zip(box.start, prediction.info.start, box.size, strict=True)
    )
    shared = oriented_image(values[inner].astype(np.uint8), Grid.of_case(case), box)
    for value, label in enumerate(labels, 1):
        node.GetSegmentation().AddSegment(_segment(label, value, shared), f"class-{value}")
    return node


def remove_prediction() -> None:
    """Take the prediction out of the scene."""
    nodes.remove(nodes.Role.PREDICTION)


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
