"""What stands in the box, voxel for voxel, read from its segments; or why it cannot be read truthfully.

Labelmaps are read directly where they meet the box. Slicer's export would resample under a transform, number
the labels anew when a segment is hidden, and let the last of overlapping segments win without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import slicer

from NNActiveLogic.client.values import Box, Label
from NNActiveLogic.scene import segments
from NNActiveLogic.scene.grid import Grid, voxels
from NNActiveLogic.work import WorkError


def read_box(
    node: Any, image: Any, box: Box, labels: Sequence[Label]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels of the box, uint8 (z, y, x), and what is unsure, bool; None when nothing is.

    The cost depends on the box, not on the image.

    Args:
        node: the patch's segmentation.
        image: volume node of the case.
        box: voxels of the image.
        labels: classes; the first has value 1.

    Raises:
        WorkError: image or segmentation under a transform, segments that are removed, doubled, added or
            overlapping, or that lie on another grid.
    """
    refuse_transform(image, "The image")
    refuse_transform(node, "The segmentation")
    _refuse_other_source(node)
    names = {segments.class_tag(value): label.name for value, label in enumerate(labels, 1)}
    names[segments.UNSURE] = segments.UNSURE_NAME
    masks = _masks(node, Grid.of_volume(image), box, names)
    _refuse_overlap(masks, names)
    values = np.zeros(box.size, np.uint8)
    unsure = masks.pop(segments.UNSURE)
    for value in range(1, len(labels) + 1):
        values[masks[segments.class_tag(value)]] = value
    return values, unsure if unsure.any() else None


def refuse_transform(node: Any, what: str) -> None:
    """Raises WorkError when a node is under a transform: its voxels are not where the image's are."""
    transform = node.GetParentTransformNode()
    if transform is not None:
        raise WorkError(
            f"{what} is under the transform '{transform.GetName()}', so what is painted would lie elsewhere.",
            "In the Data module drag it out of the transform.",
        )


def _refuse_other_source(node: Any) -> None:
    source = node.GetSegmentation().GetSourceRepresentationName()
    if source != slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName():
        raise WorkError(
            f"The segmentation is kept as '{source}', which has no exact voxels.",
            "In the Segmentations module make 'Binary labelmap' the source representation.",
        )


def _masks(node: Any, grid: Grid, box: Box, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Voxels of the box, bool, by our tag."""
    segmentation = node.GetSegmentation()
    masks: dict[str, np.ndarray] = {}
    for identity, tag in segments.tags(node):
        if tag == segments.BOX:
            continue
        segment = segmentation.GetSegment(identity)
        mask = _mask(segment, grid, box)
        if tag in names and tag not in masks:
            masks[tag] = mask
        elif mask.any():
            _refuse_added(segment.GetName(), names.get(tag), int(mask.sum()))
    missing = [name for tag, name in names.items() if tag not in masks]
    if missing:
        raise WorkError(
            f"The segment of {_listed(missing)} was removed.",
            "Undo this, or open the box again; a class that does not occur keeps its empty segment.",
        )
    return masks


def _refuse_added(name: str, copy_of: str | None, count: int) -> None:
    which = f"is a second one of '{copy_of}'" if copy_of else "belongs to none of the classes"
    raise WorkError(
        f"The segment '{name}' with {_voxels(count)} in the box {which}.",
        "Add it to the segment of its class (Logical operators), or remove it.",
    )


def _mask(segment: Any, grid: Grid, box: Box) -> np.ndarray:
    """Voxels of the box that belong to a segment, bool (z, y, x)."""
    mask = np.zeros(box.size, bool)
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    image = segment.GetRepresentation(name)
    if image is None or image.IsEmpty():
        return mask
    offset = grid.offset_of(Grid.of_image(image))
    if offset is None:
        raise WorkError(
            f"The voxels of segment '{segment.GetName()}' are not those of the image.",
            "Undo the change of the segmentation's geometry, or open the box again.",
        )
    inside, source = [], []
    for start, size, first, count in zip(box.start, box.size, offset, voxels(image).shape, strict=True):
        low, high = max(start, first), min(start + size, first + count)
        if high <= low:
            return mask
        inside.append(slice(low - start, high - start))
        source.append(slice(low - first, high - first))
    mask[tuple(inside)] = voxels(image)[tuple(source)] == segment.GetLabelValue()
    return mask


def _refuse_overlap(masks: Mapping[str, np.ndarray], names: Mapping[str, str]) -> None:
    total = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for mask in masks.values():
        total += mask
    doubled = total > 1
    if not doubled.any():
        return
    found = []
    for first, second in combinations([tag for tag in masks if (masks[tag] & doubled).any()], 2):
        count = int((masks[first] & masks[second]).sum())
        if count:
            found.append(f"{names[first]} and {names[second]} in {_voxels(count)}")
    raise WorkError(
        f"Segments overlap: {'; '.join(found)}.",
        "Show all segments, then erase one of the two there or paint over it.",
    )


def _voxels(count: int) -> str:
    return "1 voxel" if count == 1 else f"{count} voxels"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(
        [", ".join(f"'{name}'" for name in names[:-1])] * (len(names) > 1) + [f"'{names[-1]}'"]
    )
