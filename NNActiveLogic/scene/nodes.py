"""Our nodes in the scene: known by attributes that are saved with it, never by name.

Nodes are looked up each time: a scene may be closed or loaded at any moment.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import slicer

ROLE = "NNActive.Role"
CASE = "NNActive.Case"
PATCH = "NNActive.Patch"
REVISION = "NNActive.Revision"


class Role(StrEnum):
    """What a node is for; saved in scenes, so names stay."""

    IMAGE = "image"
    HEAT = "heat"
    RENDERING = "rendering"
    BOX = "box"
    SEGMENTS = "segments"
    EDITOR = "editor"
    PREDICTION = "prediction"
    CURVES = "curves"
    SHOWN = "shown"
    POINT = "point"
    ROUGH = "rough"


_CLASSES: dict[Role, tuple[str, ...]] = {
    Role.IMAGE: ("vtkMRMLScalarVolumeNode",),
    Role.HEAT: ("vtkMRMLScalarVolumeNode",),
    Role.RENDERING: ("vtkMRMLVolumeRenderingDisplayNode", "vtkMRMLVolumePropertyNode"),
    Role.BOX: ("vtkMRMLMarkupsROINode",),
    Role.SEGMENTS: ("vtkMRMLSegmentationNode",),
    Role.EDITOR: ("vtkMRMLSegmentEditorNode",),
    Role.PREDICTION: ("vtkMRMLSegmentationNode",),
    Role.CURVES: ("vtkMRMLTableNode", "vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode"),
    Role.SHOWN: ("vtkMRMLScalarVolumeNode",),
    Role.POINT: ("vtkMRMLMarkupsFiducialNode",),
    Role.ROUGH: ("vtkMRMLMarkupsROINode",),
}
"""What nodes of a role are. Nodes are looked up some thirty times for each patch, and a scene has hundreds of
nodes: asked for by class, the rest of them is passed over in C++."""


def create(class_name: str, name: str, role: Role, *, saved: bool = False, hidden: bool = False) -> Any:
    """A new node of ours.

    Args:
        class_name: MRML class.
        name: as people see it.
        role: what it is for.
        saved: whether it is kept in scene files.
        hidden: whether it is left out of Slicer's node lists. Slice views and the Segment Editor choose
            from such lists, so what they show must not be hidden.
    """
    node = slicer.mrmlScene.CreateNodeByClass(class_name)
    node.UnRegister(None)
    if not any(node.IsA(known) for known in _CLASSES[role]):
        raise ValueError(f"a {class_name} would not be found by the role '{role}'")
    node.SetName(slicer.mrmlScene.GenerateUniqueName(name))
    node.SetAttribute(ROLE, role.value)
    node.SetSaveWithScene(saved)
    node.SetHideFromEditors(hidden)
    return slicer.mrmlScene.AddNode(node)


def find(role: Role) -> Any:
    """The newest node of a role; None when there is none."""
    found = find_all(role)
    return found[-1] if found else None


def find_all(role: Role) -> list[Any]:
    """All nodes of a role, as a scene that was added to another may bring a second one."""
    found = (node for name in _CLASSES[role] for node in of_class(name))
    return [node for node in found if node.GetAttribute(ROLE) == role.value]


def remove(role: Role) -> None:
    """Remove what a role has, with display and storage."""
    for node in find_all(role):
        remove_node(node)


def remove_node(node: Any) -> None:
    """Remove a node with its display and storage nodes; nothing happens when it is gone already."""
    scene = slicer.mrmlScene
    if node is None or not scene.IsNodePresent(node):
        return
    helpers = []
    if node.IsA("vtkMRMLDisplayableNode"):
        helpers += [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        helpers += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    scene.RemoveNode(node)
    for helper in helpers:
        if helper is not None and scene.IsNodePresent(helper):
            scene.RemoveNode(helper)


def of_class(class_name: str) -> list[Any]:
    """The scene's nodes of a class."""
    found = slicer.mrmlScene.GetNodesByClass(class_name)
    found.UnRegister(None)
    return [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]
