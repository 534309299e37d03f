"""The stand-in of Slicer's segment editor: node, effects and undo are real, its buttons few."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from harness.mrml_painter import Painter
from harness.qt_mrml_widgets import MRMLWidget, segment_ids
from harness.qt_segment_effects import EFFECTS, VOLUME_EFFECTS
from harness.qt_standin import behaves_as, standin
from harness.qt_widgets import Widget, emit, parent_of

_LIST_HEIGHT = 120


@behaves_as("qMRMLSegmentEditorWidget")
class SegmentEditor(MRMLWidget):
    """Misuse that the real editor only logs is an error here."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        visible = ("segmentationNodeSelector", "sourceVolumeNodeSelector", "switchToSegmentationsButton")
        self._values = {f"{name}Visible": True for name in visible} | {
            "addRemoveSegmentButtonsVisible": True, "specifyGeometryButtonVisible": True, "readOnly": False,
            "show3DButtonVisible": True, "maskingSectionVisible": True, "unorderedEffectsVisible": True,
            "undoEnabled": True, "maximumNumberOfUndoStates": 10, "autoShowSourceVolumeNode": True,
            "jumpToSelectedSegmentEnabled": False, "effectColumnCount": 2,
        }  # fmt: skip
        self._node: Any = None
        self._order: list[str] = []
        self._effects = {name: standin("qSlicerSegmentEditorAbstractEffect")(self, name) for name in EFFECTS}
        self._active: Any = None
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._history = slicer.vtkSegmentationHistory()
        self._logic.SetSegmentationHistory(self._history)
        self._shortcuts: list[Any] = []
        self._observing_views = False
        self._filling = False
        self._build()

    def _build(self) -> None:
        policy = QtWidgets.QSizePolicy.Policy
        Widget.setSizePolicy(self, policy.Preferred, policy.Maximum)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._list = standin("qMRMLSegmentsTableView")(self)
        QtCore.QObject.setObjectName(self._list, "SegmentsTableView")
        self._list.selectionMode = QtWidgets.QAbstractItemView.SelectionMode.SingleSelection.value
        Widget.setFixedHeight(self._list, _LIST_HEIGHT)
        column.addWidget(self._list)
        grid = QtWidgets.QGridLayout()
        column.addLayout(grid)
        self._buttons = {}
        for name in EFFECTS:
            button = QtWidgets.QToolButton(self)
            button.setText(name)
            button.setCheckable(True)
            button.connect(
                "clicked(bool)", lambda on, name=name: self.setActiveEffectByName(name if on else "")
            )
            self._buttons[name] = button
        self._grid = grid
        self._list.connect("selectionChanged(QItemSelection,QItemSelection)", self._row_chosen)
        self._show()

    def _show(self) -> None:
        shown = self._order + [
            n for n in EFFECTS if n not in self._order and self._values["unorderedEffectsVisible"]
        ]
        for name, button in self._buttons.items():
            Widget.setVisible(button, name in shown)
            Widget.setEnabled(button, self._segmentation() is not None and not self._values["readOnly"])
            button.setChecked(self._active is self._effects[name])
            if name in shown:
                place = shown.index(name)
                self._grid.addWidget(button, place // 4, place % 4)
        self._filling = True
        if self._list.segmentationNode() is not self._segmentation():
            self._list.setSegmentationNode(self._segmentation())
        self._list.setSelectedSegmentIDs([self.currentSegmentID()])
        self._filling = False

    _readOnly_changed = _unorderedEffectsVisible_changed = lambda self, _value: self._show()

    def _row_chosen(self) -> None:
        chosen = self._list.selectedSegmentIDs()
        if chosen and not self._filling:
            self.setCurrentSegmentID(chosen[0])

    def _maximumNumberOfUndoStates_changed(self, count: int) -> None:
        self._history.SetMaximumNumberOfStates(count)

    def _node_or_raise(self) -> Any:
        if self._node is None:
            raise RuntimeError("qMRMLSegmentEditorWidget: setMRMLSegmentEditorNode() comes first")
        return self._node

    def setMRMLScene(self, scene: Any) -> None:
        super().setMRMLScene(scene)
        self._logic.SetMRMLScene(scene)
        if scene is None:
            self._node = None

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        if self.mrmlScene() is None:
            raise RuntimeError("qMRMLSegmentEditorWidget: setMRMLScene() comes first")
        self._node, self._active = node, None
        self._logic.SetSegmentEditorNode(node)
        self._observe_segmentation()
        self._show()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def _segmentation(self) -> Any:
        return self._node.GetSegmentationNode() if self._node is not None else None

    def _observe_segmentation(self) -> None:
        found = self._segmentation()
        self._history.RemoveAllStates()
        self._history.SetSegmentation(found.GetSegmentation() if found is not None else None)

    def setSegmentationNode(self, node: Any) -> None:
        if node is None and self._node is None:
            return
        if node is not None and node.GetScene() is not self.mrmlScene():
            raise RuntimeError("qMRMLSegmentEditorWidget: the segmentation is in no or another scene")
        if node is self._segmentation():
            return
        self._node_or_raise().SetAndObserveSegmentationNode(node)
        self._observe_segmentation()
        ids = segment_ids(node)
        self._node.SetSelectedSegmentID(ids[0] if ids else "")
        if node is None:
            self.setActiveEffect(None)
        self._show()
        emit(self, "segmentationNodeChanged(vtkMRMLSegmentationNode*)", node)

    def setSegmentationNodeID(self, id_: str) -> None:
        self.setSegmentationNode(self.mrmlScene().GetNodeByID(id_) if id_ else None)

    def segmentationNode(self) -> Any:
        return self._segmentation()

    def segmentationNodeID(self) -> str:
        return self._segmentation().GetID() if self._segmentation() else ""

    def setSourceVolumeNode(self, node: Any) -> None:
        if node is None and self._node is None:
            return
        if node is not None and self._segmentation() is None:
            raise RuntimeError(
                "qMRMLSegmentEditorWidget: setSegmentationNode() comes before setSourceVolumeNode()"
            )
        self._node_or_raise().SetAndObserveSourceVolumeNode(node)
        emit(self, "sourceVolumeNodeChanged(vtkMRMLVolumeNode*)", node)

    def sourceVolumeNode(self) -> Any:
        return self._node.GetSourceVolumeNode() if self._node is not None else None

    def sourceVolumeNodeID(self) -> str:
        return self.sourceVolumeNode().GetID() if self.sourceVolumeNode() else ""

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    def setCurrentSegmentID(self, id_: str) -> None:
        if id_ == self.currentSegmentID():
            return
        if id_ and id_ not in segment_ids(self._segmentation()):
            raise RuntimeError(f"qMRMLSegmentEditorWidget: no segment '{id_}'")
        self._node_or_raise().SetSelectedSegmentID(id_)
        self._show()
        emit(self, "currentSegmentIDChanged(QString)", id_)

    def selectSegmentAtOffset(self, offset: int) -> None:
        ids = segment_ids(self._segmentation())
        if ids:
            place = ids.index(self.currentSegmentID()) if self.currentSegmentID() in ids else 0
            self.setCurrentSegmentID(ids[(place + offset) % len(ids)])

    def selectNextSegment(self) -> None:
        self.selectSegmentAtOffset(1)

    def selectPreviousSegment(self) -> None:
        self.selectSegmentAtOffset(-1)

    def availableEffectNames(self) -> list[str]:
        return list(EFFECTS)

    def effectNameOrder(self) -> list[str]:
        return list(self._order)

    def setEffectNameOrder(self, names: list[str]) -> None:
        unknown = set(names) - set(EFFECTS)
        if unknown:
            raise RuntimeError(f"qMRMLSegmentEditorWidget: no effects {sorted(unknown)}")
        self._order = list(names)
        self._show()

    def effectCount(self) -> int:
        return len(EFFECTS)

    def effectByName(self, name: str) -> Any:
        return self._effects.get(name)

    def effectByIndex(self, index: int) -> Any:
        return self._effects[EFFECTS[index]]

    def activeEffect(self) -> Any:
        return self._active

    def setActiveEffectByName(self, name: str) -> None:
        if name and name not in self._effects:
            raise RuntimeError(f"qMRMLSegmentEditorWidget: no effect '{name}'")
        self.setActiveEffect(self._effects[name] if name else None)

    def setActiveEffect(self, effect: Any) -> None:
        if effect is None and self._node is None:
            return
        node = self._node_or_raise()
        usable = effect is not None and self._segmentation() is not None and not self._values["readOnly"]
        if usable and effect._values["name"] in VOLUME_EFFECTS and self.sourceVolumeNode() is None:
            usable = False
        self._active = effect if usable else None
        node.SetActiveEffectName(effect._values["name"] if usable else "")
        if usable:
            self._observing_views = True  # the real editor does so itself
        self._show()

    def setupViewObservations(self) -> None:
        self._observing_views = True

    def removeViewObservations(self) -> None:
        self._observing_views = False

    def installKeyboardShortcuts(self, parent: Any = None) -> None:
        self.uninstallKeyboardShortcuts()
        owner = parent or self.window()
        actions = {
            "Z": self.undo, "Y": self.redo, "Q": self.selectPreviousSegment, "W": self.selectNextSegment,
            "Esc": self._no_effect,
        }  # fmt: skip
        for digit, name in enumerate(EFFECTS[:9], start=1):
            actions[str(digit)] = lambda name=name: self.setActiveEffectByName(name)
        for keys, action in actions.items():
            shortcut = QtGui.QShortcut(QtGui.QKeySequence(keys), owner)
            shortcut.connect("activated()", action)
            self._shortcuts.append(shortcut)

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._shortcuts = []

    def _no_effect(self) -> None:
        self.setActiveEffect(None)

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        self._logic.Undo()
        self._show()

    def redo(self) -> None:
        self._logic.Redo()
        self._show()

    def updateWidgetFromMRML(self) -> None:
        self._show()


def painter(editor: Any) -> Painter:
    """Strokes in what an editor shows, with the editor's undo."""
    made = Painter(editor.mrmlSegmentEditorNode())
    made.logic = editor._logic
    editor._logic.SetMRMLScene(editor.mrmlScene())
    return made


def observes_views(editor: Any) -> bool:
    """Whether the editor listens to mouse events in the views; it must not once its module is left."""
    return bool(editor._observing_views)


def shortcuts_installed(editor: Any) -> bool:
    """Whether the editor's keys are live; they must not be once its module is left."""
    return bool(editor._shortcuts)
