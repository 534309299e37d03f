"""What the stand-ins of Slicer's small MRML widgets do, on a real scene."""

from __future__ import annotations

import weakref
from typing import Any

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from harness.qt_standin import behaves_as
from harness.qt_widgets import Widget, emit, parent_of


class InScene:
    """setMRMLScene() and its signal."""

    _scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        emit(self, "mrmlSceneChanged(vtkMRMLScene*)", scene)

    def mrmlScene(self) -> Any:
        return self._scene


@behaves_as("qMRMLWidget")
class MRMLWidget(InScene):
    """The root of most panels; hands the scene on through its signal."""


@behaves_as("qSlicerWidget")
class SlicerWidget:
    """As qMRMLWidget; it does not tell the scene."""

    setMRMLScene = InScene.setMRMLScene
    _scene: Any = None


@behaves_as("qMRMLNodeComboBox")
class NodeComboBox:
    """Nodes of some classes in the scene, with an entry for none and one for a new node."""

    _NEW = "+"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._values = {
            "addEnabled": True, "removeEnabled": True, "editEnabled": False, "renameEnabled": False,
            "noneEnabled": False, "noneDisplay": "None", "showChildNodeTypes": True, "showHidden": False,
            "selectNodeUponCreation": True, "nodeTypes": [], "hideChildNodeTypes": [],
        }  # fmt: skip
        self._scene: Any = None
        self._attributes: dict[str, dict[str, Any]] = {}
        self._entries: list[str] = []
        self._current = ""
        self._observed: list[tuple[Any, int]] = []
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox(self)
        layout.addWidget(self._box)
        Widget.setFocusProxy(self, self._box)
        Widget.setEnabled(self, False)
        self._box.connect("activated(int)", self._chosen)

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        stop_observing(self._observed)
        self._scene = scene
        Widget.setEnabled(self, scene is not None)
        self._current = ""
        if scene is not None:
            self._watch(scene)
        self._update()

    def mrmlScene(self) -> Any:
        return self._scene

    def _watch(self, scene: Any) -> None:
        me, observed = weakref.ref(self), self._observed

        def observer(added: bool) -> Any:
            def changed(_scene: Any, _event: str, node: Any = None) -> None:
                widget = me()
                if widget is None or not shiboken6.isValid(widget):
                    return
                if added or node is None or node.GetID() in widget._entries:
                    widget._node_event(node if added else None)

            changed.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
            return changed

        for event in (scene.NodeRemovedEvent, scene.EndBatchProcessEvent, scene.EndCloseEvent):
            observed.append((scene, scene.AddObserver(event, observer(added=False))))
        observed.append((scene, scene.AddObserver(scene.NodeAddedEvent, observer(added=True))))
        self.connect("destroyed()", lambda: stop_observing(observed))

    def _node_event(self, added: Any) -> None:
        if added is None:
            if not self._scene.IsClosing():
                self._update()
        elif self._shows(added) and not self._scene.IsBatchProcessing():
            self._update()
            emit(self, "nodeAdded(vtkMRMLNode*)", added)

    def _shows(self, node: Any) -> bool:
        kinds = self._values["nodeTypes"]
        if node is None or (node.GetHideFromEditors() and not self._values["showHidden"]):
            return False
        if any(node.IsA(kind) for kind in self._values["hideChildNodeTypes"]):
            return False
        children = self._values["showChildNodeTypes"]
        of_kind = any(node.IsA(kind) if children else node.GetClassName() == kind for kind in kinds)
        return of_kind and all(
            node.GetAttribute(name) is not None and (value is None or node.GetAttribute(name) == str(value))
            for kind, wanted in self._attributes.items()
            if node.IsA(kind)
            for name, value in wanted.items()
        )

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        count = self._scene.GetNumberOfNodes()
        return [node for node in map(self._scene.GetNthNode, range(count)) if self._shows(node)]

    def _update(self, *_changed: Any) -> None:
        """Build the list again; the choice stays where it can."""
        nodes = self._nodes()
        rows = [(self._values["noneDisplay"], "")] if self._values["noneEnabled"] else []
        rows += [(node.GetName() or node.GetID(), node.GetID()) for node in nodes]
        blocked = QtCore.QSignalBlocker(self._box)
        self._box.clear()
        new = [(f"Create new {kind[7:-4]}", self._NEW) for kind in self._values["nodeTypes"]]
        for text, _ in rows + (new if self._values["addEnabled"] else []):
            self._box.addItem(text)
        self._entries = [id_ for _, id_ in rows]
        del blocked
        kept = self._current if self._current in self._entries else ""
        if not kept and not self._values["noneEnabled"] and nodes:
            kept = nodes[0].GetID()
        self._choose(kept)

    _nodeTypes_changed = _noneEnabled_changed = _noneDisplay_changed = _addEnabled_changed = _update
    _showHidden_changed = _showChildNodeTypes_changed = _hideChildNodeTypes_changed = _update

    def _chosen(self, row: int) -> None:
        """By the user."""
        if row >= len(self._entries):
            self.addNode(self._values["nodeTypes"][row - len(self._entries)])
        else:
            self._choose(self._entries[row])

    def _choose(self, id_: str) -> None:
        blocked = QtCore.QSignalBlocker(self._box)
        self._box.setCurrentIndex(self._entries.index(id_) if id_ in self._entries else -1)
        del blocked
        if id_ == self._current:
            return
        self._current = id_
        node = self.currentNode()
        emit(self, "currentNodeChanged(vtkMRMLNode*)", node)
        emit(self, "currentNodeChanged(bool)", node is not None)
        emit(self, "currentNodeIDChanged(QString)", id_)

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node else "")

    def setCurrentNodeID(self, id_: str) -> None:
        self._choose(id_ if id_ in self._entries else "")

    def setCurrentNodeIndex(self, index: int) -> None:
        nodes = self._nodes()
        self._choose(nodes[index].GetID() if 0 <= index < len(nodes) else "")

    currentNodeID = property(lambda self: self._current, setCurrentNodeID)
    currentNodeId = currentNodeID

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addAttribute(self, kind: str, name: str, value: Any = None) -> None:
        self._attributes.setdefault(kind, {})[name] = value
        self._update()

    def removeAttribute(self, kind: str, name: str) -> None:
        self._attributes.get(kind, {}).pop(name, None)
        self._update()

    def addNode(self, kind: str | None = None) -> Any:
        kind = kind or self._values["nodeTypes"][0]
        node = self._scene.AddNewNodeByClass(kind, self._values.get("baseName") or "")
        emit(self, "nodeAddedByUser(vtkMRMLNode*)", node)
        if self._values["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self) -> None:
        if self._current:
            self._scene.RemoveNode(self.currentNode())


@behaves_as("qSlicerTerminologyNavigatorWidget")
class TerminologyNavigator:
    """Remembers the entry; a test chooses one with setTerminologyEntry()."""

    _entry: Any = None

    def setTerminologyEntry(self, entry: Any) -> bool:
        self._entry = slicer.vtkSlicerTerminologyEntry()
        self._entry.Copy(entry)
        return True

    def terminologyEntry(self, entry: Any) -> bool:
        if self._entry is None:
            return False
        entry.Copy(self._entry)
        return True


def stop_observing(observed: list[tuple[Any, int]]) -> None:
    for scene, tag in observed:
        scene.RemoveObserver(tag)
    observed.clear()


def segment_ids(node: Any) -> list[str]:
    """The ids of a segmentation's segments in order."""
    return list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
