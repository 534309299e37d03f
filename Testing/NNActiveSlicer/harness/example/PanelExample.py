"""A small scripted module with what a real one uses; the harness is tried out on it."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

ADDRESS = "PanelExample/Address"
PAINT_EFFECTS = ["Paint", "Erase", "Draw"]


class PanelExample(ScriptedLoadableModule):
    """Title and texts."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Panel example")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.contributors = ["A. Person (Some Place)"]


class PanelExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Counts clicks, asks for a name, paints."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: PanelExampleLogic | None = None
        self.shortcut: Any = None
        self.ticks = 0

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/PanelExample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = PanelExampleLogic()
        self.timer = qt.QTimer(self.parent)
        self.timer.interval = 10
        self.timer.connect("timeout()", self.onTick)
        self._connect()
        self._setupEditor()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        slicer.app.connect("aboutToQuit()", self.onQuit)
        self.ui.addressEdit.text = slicer.util.settingsValue(ADDRESS, "http://localhost:8000")
        self._update()

    def _connect(self) -> None:
        self.ui.startButton.connect("clicked(bool)", self.onStart)
        self.ui.addressEdit.textChanged.connect(self.onAddress)
        self.ui.imageSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onImage)
        self.ui.opacitySlider.connect("valueChanged(double)", self.onOpacity)
        self.ui.measureCombo.connect("currentIndexChanged(int)", self._update)
        self.ui.questionButton.connect("clicked()", self.onQuestion)

    def _setupEditor(self) -> None:
        editor = self.ui.editor
        self.editorNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        editor.setMRMLSegmentEditorNode(self.editorNode)
        editor.setEffectNameOrder(PAINT_EFFECTS)
        editor.unorderedEffectsVisible = False
        editor.maximumNumberOfUndoStates = 5

    def enter(self) -> None:
        self.shortcut = qt.QShortcut(slicer.util.mainWindow())
        self.shortcut.setKey(qt.QKeySequence("Ctrl+Shift+S"))
        self.shortcut.connect("activated()", self.onStart)
        self.ui.editor.installKeyboardShortcuts()

    def exit(self) -> None:
        self.timer.stop()
        self.ui.editor.setActiveEffect(None)
        self.ui.editor.uninstallKeyboardShortcuts()
        self.ui.editor.removeViewObservations()
        if self.shortcut is not None:
            self.shortcut.setParent(None)
            self.shortcut = None

    def cleanup(self) -> None:
        self.exit()
        self.removeObservers()
        slicer.app.disconnect("aboutToQuit()", self.onQuit)

    def onQuit(self) -> None:
        self.timer.stop()

    def onSceneStartClose(self, _caller: Any, _event: str) -> None:
        self.ui.editor.setSegmentationNode(None)
        self.ui.editor.setMRMLSegmentEditorNode(None)

    def onStart(self, checked: bool = False) -> None:  # noqa: ARG002
        self.timer.start()
        slicer.util.showStatusMessage(_("Started"))

    def onTick(self) -> None:
        self.ticks += 1
        self.ui.progressBar.value = self.ticks
        if self.ticks >= 5:
            self.timer.stop()

    def onAddress(self, text: str) -> None:
        qt.QSettings().setValue(ADDRESS, text)

    def onImage(self, node: Any) -> None:
        self.ui.imageLabel.text = node.GetName() if node is not None else ""
        self._update()

    def onOpacity(self, value: float) -> None:
        self.logic.opacity = value

    def onQuestion(self) -> None:
        if slicer.util.confirmYesNoDisplay(_("Send the annotation?")):
            slicer.util.errorDisplay(_("The server does not answer."))

    def _update(self, *_arguments: Any) -> None:
        self.ui.startButton.enabled = self.ui.imageSelector.currentNode() is not None


class PanelExampleLogic(ScriptedLoadableModuleLogic):
    """Holds a number."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.opacity = 0.5


class PanelExampleTest(ScriptedLoadableModuleTest):
    """Run by the self test button."""

    def test_logic(self) -> None:
        assert PanelExampleLogic().opacity == 0.5
