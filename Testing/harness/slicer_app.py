"""What the application adds to Slicer's libraries: slicer.app, its window and modules."""

from __future__ import annotations

import sys
import types
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from harness import mrml_scene, qt_settings
from harness.qt_standin import behaves_as, standin
from harness.qt_table import RefusedError, known

VERSION = (5, 12)


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

    def startupEnvironment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

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


def add_to_slicer(application: Any) -> None:
    """slicer.app, slicer.i18n, slicer.ScriptedLoadableModule and the widget classes."""
    from harness import slicer_app_module

    slicer.app = application
    manager = standin("qSlicerLayoutManager")()
    application.setLayoutManager(manager)
    manager.setMRMLScene(slicer.mrmlScene)
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
