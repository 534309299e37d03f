"""What the application adds to Slicer's libraries: slicer.app, its window, layout and modules."""

from __future__ import annotations

import sys
import types
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from harness import mrml_scene, qt_settings, qt_widgets
from harness.qt_standin import behaves_as, standin
from harness.qt_table import RefusedError, known

VERSION = (5, 12)
FOUR_UP = 3


@behaves_as("qSlicerApplication")
class Application:
    """One in a process; the event loop never runs on its own."""

    def __init__(self) -> None:
        super().__init__(["Slicer"])
        self._values = {
            "majorVersion": VERSION[0], "minorVersion": VERSION[1], "temporaryPath": "/tmp",
            "applicationName": "Slicer",
            "documentationBaseUrl": "https://slicer.readthedocs.io/en/latest/",
        }  # fmt: skip
        QtWidgets.QApplication.setApplicationName("Slicer")
        QtWidgets.QApplication.setQuitOnLastWindowClosed(False)
        self._modules = standin("qSlicerModuleManager")()
        self._layout: Any = None
        self._pauses = 0

    def processEvents(self, *_flags: Any) -> None:
        QtCore.QCoreApplication.processEvents()

    def testingEnabled(self) -> bool:
        """False: dialogs take the way they take for a person."""
        return False

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        return mrml_scene.start().logic

    def moduleLogic(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower()).logic()

    def moduleManager(self) -> Any:
        return self._modules

    def layoutManager(self) -> Any:
        return self._layout

    def setLayoutManager(self, manager: Any) -> None:
        self._layout = manager

    def settings(self) -> Any:
        return qt_settings.Settings()

    userSettings = revisionUserSettings = settings

    def pauseRender(self) -> None:
        self._pauses += 1

    def resumeRender(self) -> None:
        self._pauses -= 1

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"


def make_application() -> Any:
    """The application object; RuntimeError when another one is there already."""
    if QtCore.QCoreApplication.instance() is not None:
        raise RuntimeError("another QApplication is there: widget tests need a process of their own")
    mrml_scene.start()
    return standin("qSlicerApplication")()


@behaves_as("qSlicerModuleManager")
class ModuleManager:
    """Modules that a test has loaded."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._modules: dict[str, Any] = {}
        self._factory = standin("qSlicerModuleFactoryManager")()

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def modulesNames(self) -> list[str]:
        return list(self._modules)

    def factoryManager(self) -> Any:
        return self._factory


@behaves_as("qMRMLLayoutManager")
class LayoutManager:
    """The layout number and the slice and 3D views that a test gives."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._values = {"layout": FOUR_UP}
        self._slices: dict[str, Any] = {}
        self._threed: list[Any] = []

    def setLayout(self, number: int) -> None:
        if number != self._values["layout"]:
            self._values["layout"] = number
            qt_widgets.emit(self, "layoutChanged(int)", number)

    layout = property(lambda self: self._values["layout"], setLayout)
    threeDViewCount = property(lambda self: len(self._threed))
    tableViewCount = plotViewCount = property(lambda _self: 0)

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def layoutLogic(self) -> Any:
        found = getattr(self, "_logic", None)
        if found is None:
            self._logic = found = slicer.vtkMRMLLayoutLogic()
            found.SetMRMLScene(slicer.mrmlScene)
        return found

    def mrmlSliceLogics(self) -> Any:
        return mrml_scene.start().logic.GetSliceLogics()

    def sliceViewNames(self) -> list[str]:
        return list(self._slices)

    def sliceWidget(self, name: str) -> Any:
        return self._slices.get(name)

    def threeDWidget(self, which: Any) -> Any:
        return self._threed[which] if isinstance(which, int) and which < len(self._threed) else None

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.sliceLogic().FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        for widget in self._threed:
            widget.threeDView().resetFocalPoint()


@behaves_as("qMRMLSliceWidget")
class SliceWidget:
    """A slice view of the harness as the layout manager hands it out."""

    _view: Any = None

    def sliceLogic(self) -> Any:
        return self._view.logic

    def logic(self) -> Any:
        return self._view.logic

    def mrmlSliceNode(self) -> Any:
        return self._view.logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._view.logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._view.logic.FitSliceToBackground()


@behaves_as("qMRMLThreeDWidget")
class ThreeDWidget:
    """A 3D view of the harness."""

    _view: Any = None

    def mrmlViewNode(self) -> Any:
        return self._view.node

    def viewLogic(self) -> Any:
        return self._view.logic

    def threeDView(self) -> Any:
        found = vars(self).get("_threed_view")
        if found is None:
            self._threed_view = found = standin("qMRMLThreeDView")()
        return found


def show_views(views: Any) -> None:
    """Give the layout manager the views of `harness.views`, and none with None."""
    manager = slicer.app.layoutManager()
    manager._slices.clear()
    manager._threed.clear()
    if views is None:
        return
    for view in views.slices:
        widget = standin("qMRMLSliceWidget")()
        widget._view = view
        manager._slices[view.logic.GetSliceNode().GetLayoutName()] = widget
    threed = standin("qMRMLThreeDWidget")()
    threed._view = views.threed
    manager._threed.append(threed)


def add_to_slicer(application: Any) -> None:
    """slicer.app, slicer.i18n, slicer.ScriptedLoadableModule and the widget classes."""
    from harness import slicer_app_module

    slicer.app = application
    application.setLayoutManager(standin("qSlicerLayoutManager")())
    window = standin("qSlicerMainWindow")()
    QtCore.QObject.setObjectName(window, "qSlicerMainWindow")
    window.statusBar()
    application._window = window
    slicer.__getattr__ = _widget_class
    for name, module in (("i18n", _i18n()), ("ScriptedLoadableModule", slicer_app_module)):
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)


def _widget_class(name: str) -> Any:
    if name.startswith(("qMRML", "qSlicer")) and known(name):
        return standin(name)
    raise RefusedError(f"module 'slicer' has no attribute '{name}'")


translations: dict[str, str] = {}
"""Text -> what `_()` gives instead; a test that swaps every text finds those that are not translated."""


def _i18n() -> types.ModuleType:
    made = types.ModuleType("slicer.i18n")
    made.translate = lambda _context, text: _translated(text)  # type: ignore[attr-defined]
    made.tr = _translated  # type: ignore[attr-defined]
    made.getContext = lambda path: path  # type: ignore[attr-defined]
    return made


def _translated(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"_() wants the text itself, got {text!r}")
    return translations.get(text, f"{translations['*'].format(text)}" if "*" in translations else text)
