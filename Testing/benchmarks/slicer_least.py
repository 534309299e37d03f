"""What the machine does without our code: an image copied into VTK and drawn, a plain Segment Editor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from harness import mrml_scene
from harness.mrml_painter import Painter, whole_image
from harness.mrml_patches import a_case, a_view
from harness.views import Views
from NNActiveLogic.client.values import Box
from NNActiveLogic.scene import SceneAdapter

Shape = tuple[int, int, int]


def seconds_of(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def render(views: Views) -> None:
    for view in (*views.slices, views.threed):
        view.render()


def copy_and_draw(views: Views, values: np.ndarray) -> None:
    """One volume node with a copy of the voxels, shown and drawn once in every view."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "bare")
    image = vtk.vtkImageData()
    image.SetDimensions(*values.shape[::-1])
    image.AllocateScalars(vtk.VTK_SHORT, 1)
    numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(values.shape)[...] = values
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevelMinMax(-1000, 1000)
    node.SetAndObserveImageData(image)
    for view in views.slices:
        view.logic.GetSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    jump(views, [n // 2 for n in values.shape])
    render(views)


def jump(views: Views, index: list[int]) -> None:
    """Every slice view centred on a voxel (z, y, x) of an image with a plain grid."""
    for view in views.slices:
        view.node.JumpSliceByCentering(*(float(n) for n in reversed(index)))


def bare(views: Views, shape: Shape, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of another image, and of another place in the same one; leaves an empty scene."""
    values = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    other, same = [], []
    for number in range(repeats):
        other.append(seconds_of(lambda: copy_and_draw(views, values)))
        index = [n * (number + 1) // (repeats + 2) for n in shape]
        same.append(seconds_of(lambda index=index: (jump(views, index), render(views))))
        slicer.mrmlScene.RemoveNode(slicer.util.getNode("bare"))
    mrml_scene.start().clear()
    return other, same


def our_strokes(shape: Shape, size: Shape, repeats: int) -> Iterator[float]:
    """Seconds of a stroke in the box and of reading all of the box."""
    adapter, box = SceneAdapter(), _middle(shape, size)
    adapter.open(a_view(a_case(shape), np.zeros(shape, np.int16), box))
    for number in range(repeats):
        where = _stroke(shape, box, number)
        painter = Painter(adapter.editor_node)
        yield seconds_of(
            lambda painter=painter, where=where: (painter.paint("class-1", where), adapter.read())
        )
        assert (adapter.read().labels[where[box.slices]] == 1).all()
    adapter.leave()


def plain_strokes(shape: Shape, size: Shape, repeats: int) -> Iterator[float]:
    """The same stroke in a segmentation of the whole image, and the labels exported as most clients do."""
    image = slicer.util.addVolumeFromArray(np.zeros(shape, np.int16))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "plain")
    node.SetReferenceImageGeometryParameterFromVolumeNode(image)
    for name in ("class-1", "class-2"):
        node.GetSegmentation().AddEmptySegment(name, name)
    editor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "plain editor")
    editor.SetAndObserveSegmentationNode(node)
    editor.SetAndObserveSourceVolumeNode(image)
    # The border of another class far away: the label map reaches over the whole organ.
    corners = np.zeros(shape, bool)
    corners[0, 0, 0] = corners[-1, -1, -1] = True
    painter = Painter(editor)
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        whole_image(corners, image), node, "class-2"
    )

    def work(where: np.ndarray) -> None:
        painter.paint("class-1", where)
        for name in ("class-1", "class-2"):
            slicer.util.arrayFromSegmentBinaryLabelmap(node, name, image)

    for number in range(repeats):
        where = _stroke(shape, _middle(shape, size), number)
        yield seconds_of(lambda where=where: work(where))
    mrml_scene.start().clear()


def _middle(shape: Shape, size: Shape) -> Box:
    z, y, x = ((whole - part) // 2 for whole, part in zip(shape, size, strict=True))
    return Box((z, y, x), size)


def _stroke(shape: Shape, box: Box, number: int) -> np.ndarray:
    """A brush of up to eight voxels a side, at another place each time."""
    where = np.zeros(shape, bool)
    inside = where[box.slices]
    at = [number % max(1, n - 8) for n in box.size]
    inside[tuple(slice(low, low + 8) for low in at)] = True
    return where
