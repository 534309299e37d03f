"""The segmentation of a patch: one segment a class, one for what is unsure, and a hidden one that is the box.

Segments are known by a tag of ours: names belong to the clinician, and IDs change when a scene is loaded.
The segmentation's grid is the box only, so a brush stroke costs the same in small and in large images and
has no voxel outside to paint; the hidden segment, in which alone the editor may paint, holds that line when
an effect extends the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import slicer
import vtk

from NNActiveLogic.client.values import Box, Label
from NNActiveLogic.scene import nodes
from NNActiveLogic.scene.colours import class_colour
from NNActiveLogic.scene.grid import Grid, oriented_image, voxels

TAG = "NNActive.Segment"
UNSURE = "unsure"
BOX = "box"
UNSURE_NAME = "Unsure"
_UNSURE_COLOUR = (0.75, 0.75, 0.75)
_TERMINOLOGY_PARTS = 7
"""Parts of a terminology entry as Slicer writes it, between `~`."""


def class_tag(value: int) -> str:
    """Our tag of the class with a label value."""
    return f"class-{value}"


def create(
    image: Any, box: Box, labels: Sequence[Label], values: np.ndarray, unsure: np.ndarray | None
) -> Any:
    """A segmentation of the box with what is known of it.

    Args:
        image: volume node of the case.
        box: voxels of the image.
        labels: classes; the first has value 1.
        values: label values of the box, uint8 (z, y, x).
        unsure: voxels that are open, bool (z, y, x); None for none.
    """
    nodes.remove(nodes.Role.SEGMENTS)
    node = nodes.create("vtkMRMLSegmentationNode", "NNActive patch", nodes.Role.SEGMENTS, saved=True)
    grid = Grid.of_volume(image)
    # Sets which volume the segmentation belongs to, and the volume's grid, which gives way to the box.
    node.SetReferenceImageGeometryParameterFromVolumeNode(image)
    top = len(labels) + 1
    shared = oriented_image(values if unsure is None else np.where(unsure, np.uint8(top), values), grid, box)
    segmentation = node.GetSegmentation()
    segmentation.SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(),
        slicer.vtkSegmentationConverter.SerializeImageGeometry(shared),
    )
    for value, label in enumerate(labels, 1):
        segment = _segment(label.name, class_colour(label, value), class_tag(value), shared, value)
        _describe(segment, label)
        segmentation.AddSegment(segment, class_tag(value))
    segmentation.AddSegment(_segment(UNSURE_NAME, _UNSURE_COLOUR, UNSURE, shared, top), UNSURE)
    whole = oriented_image(np.ones(box.size, np.uint8), grid, box)
    segmentation.AddSegment(_segment("Box", (1.0, 0.85, 0.0), BOX, whole, 1), BOX)
    _style(node)
    return node


def connect_editor(segmentation_node: Any, image: Any) -> Any:
    """Our own parameter node of the Segment Editor, set so that only the box can be painted.

    It stays between patches: brush sizes are kept in it. The editor of Slicer's own module has another one.
    """
    editor = nodes.find(nodes.Role.EDITOR)
    if editor is None:
        editor = nodes.create("vtkMRMLSegmentEditorNode", "NNActive editor", nodes.Role.EDITOR, hidden=True)
    editor.SetAndObserveSegmentationNode(segmentation_node)
    editor.SetAndObserveSourceVolumeNode(image)
    editor.SetSelectedSegmentID(_first(segmentation_node, class_tag(1)))
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID(_first(segmentation_node, BOX))
    # Otherwise painting would eat the hidden segment, and with it the right to paint there again.
    editor.SetOverwriteMode(editor.OverwriteVisibleSegments)
    editor.SetSourceVolumeIntensityMask(False)
    return editor


def take_up(segmentation_node: Any) -> None:
    """Go on in a segmentation that came with a loaded scene; others of ours go."""
    for other in nodes.find_all(nodes.Role.SEGMENTS):
        if other is not segmentation_node:
            nodes.remove_node(other)
    segmentation_node.CreateDefaultDisplayNodes()
    segmentation_node.SetDisplayVisibility(True)
    _hide_box(segmentation_node)


def mend_box(segmentation_node: Any, image: Any, box: Box) -> None:
    """Give the segment that is the box all its voxels again.

    The editor of Slicer's own module overwrites hidden segments, too; where it did, ours could not paint.
    """
    identity = next(iter(segment_ids(segmentation_node, BOX)), "")
    if not identity:
        return
    segment = segmentation_node.GetSegmentation().GetSegment(identity)
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    labelmap = segment.GetRepresentation(name)
    size = int(np.prod(box.size))
    held = labelmap is not None and not labelmap.IsEmpty()
    if held and np.count_nonzero(voxels(labelmap) == segment.GetLabelValue()) == size:
        return
    whole = oriented_image(np.ones(box.size, np.uint8), Grid.of_volume(image), box)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(whole, segmentation_node, identity, logic.MODE_REPLACE)


def segment_ids(segmentation_node: Any, tag: str) -> list[str]:
    """IDs of the segments with a tag of ours; a copied segment has its tag too."""
    return [identity for identity, found in tags(segmentation_node) if found == tag]


def tags(segmentation_node: Any) -> list[tuple[str, str]]:
    """ID and our tag of every segment, in their order; the tag is empty for others' segments."""
    segmentation = segmentation_node.GetSegmentation()
    return [(identity, _tag(segmentation.GetSegment(identity))) for identity in segmentation.GetSegmentIDs()]


def is_whole(segmentation_node: Any, image: Grid, box: Box, classes: int) -> bool:
    """Whether every segment of ours is there and the hidden one is this box, so that work can go on in it.

    Args:
        segmentation_node: may have come with a loaded scene.
        image: grid of the case.
        box: voxels of the image.
        classes: how many there are.
    """
    found = {tag for _, tag in tags(segmentation_node)}
    if not found >= {class_tag(value) for value in range(1, classes + 1)} | {UNSURE, BOX}:
        return False
    segment = segmentation_node.GetSegmentation().GetSegment(_first(segmentation_node, BOX))
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    labelmap = segment.GetRepresentation(name)
    return (
        labelmap is not None and not labelmap.IsEmpty() and image.crop(box).is_same(Grid.of_image(labelmap))
    )


class EditCounter:
    """Counts changes of a segmentation.

    A stroke over several classes is told once for each: what comes within `pause` seconds counts once.
    """

    def __init__(self, segmentation_node: Any, clock: Callable[[], float], pause: float = 0.1) -> None:
        self.count = 0
        self._clock = clock
        self._pause = pause
        self._last = -pause
        segmentation = segmentation_node.GetSegmentation()
        # It holds this counter; were it held in turn, neither would go in good order.
        self._watched = vtk.vtkWeakReference()
        self._watched.Set(segmentation)
        events = (slicer.vtkSegmentation.SourceRepresentationModified, slicer.vtkSegmentation.SegmentRemoved)
        self._observers = [segmentation.AddObserver(event, self._changed) for event in events]

    def stop(self) -> None:
        """Watch no longer."""
        segmentation = self._watched.Get()
        for observer in self._observers if segmentation is not None else ():
            segmentation.RemoveObserver(observer)
        self._observers = []

    def _changed(self, _caller: Any, _event: str) -> None:
        now = self._clock()
        self.count += now - self._last >= self._pause
        self._last = now


def _segment(name: str, colour: tuple[float, ...], tag: str, image: Any, value: int) -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*colour)
    segment.SetTag(TAG, tag)
    segment.SetLabelValue(value)
    segment.AddRepresentation(
        slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName(), image
    )
    return segment


def _describe(segment: Any, label: Label) -> None:
    """Give a segment its terminology when there is one in Slicer's own writing."""
    entry = label.terminology
    if isinstance(entry, str) and entry.count("~") == _TERMINOLOGY_PARTS - 1:
        segment.SetTag(segment.GetTerminologyEntryTagName(), entry)


def _style(node: Any) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetOpacity2DFill(0.2)  # the heat map lies under it
    display.SetOpacity2DOutline(1.0)
    display.SetSliceIntersectionThickness(2)
    display.SetPreferredDisplayRepresentationName2D(
        slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    )
    _hide_box(node)


def _hide_box(node: Any) -> None:
    """Painting overwrites what is visible, so a visible box would be eaten."""
    node.GetDisplayNode().SetSegmentVisibility(_first(node, BOX), False)


def _first(node: Any, tag: str) -> str:
    return segment_ids(node, tag)[0]


def _tag(segment: Any) -> str:
    found = vtk.mutable("")
    return str(found) if segment.GetTag(TAG, found) else ""
