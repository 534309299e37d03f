"""Opens a scripted module as the application does: load, setup, enter, exit, scene close, reload, quit."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from harness import mrml_scene, qt_dialogs, qt_faults, qt_settings, qt_signals, qt_steps, qt_widgets
from harness.qt_standin import behaves_as, standin, values_of
from harness.slicer_app_layout import FOUR_UP


@behaves_as("qSlicerScriptedLoadableModuleWidget")
class ModuleWidget:
    """The parent of a panel; makes the module's own widget object."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        QtWidgets.QVBoxLayout(self)
        self._widget: Any = None

    def self(self) -> Any:
        return self._widget

    def reload(self) -> None:
        """A new widget object from the module as it is in sys.modules now, in the same parent."""
        name = values_of(self)["moduleName"]
        self._widget = getattr(sys.modules[name], f"{name}Widget")(self)
        setattr(slicer.modules, f"{name}Widget", self._widget)
        self._widget.setup()


@dataclass
class Host:
    """One loaded module.

    Attributes:
        module: the imported module file.
        info: the application's object with title, categories and so on.
        parent: the widget that holds the panel.
    """

    module: ModuleType
    info: Any
    parent: Any

    @property
    def widget(self) -> Any:
        """The module's own widget object; another one after a reload."""
        return self.parent.self()

    @property
    def answers(self) -> qt_dialogs.Answers:
        """What the person will say to dialogs."""
        return qt_dialogs.answers

    @property
    def window(self) -> Any:
        """The main window."""
        return slicer.util.mainWindow()

    def show(self, width: int = 420, height: int = 900) -> None:
        """Put the panel on the (invisible) screen."""
        if self._area() is None:
            area = QtWidgets.QScrollArea()
            area.setWidgetResizable(True)
            area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            area.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
            area.setWidget(self.parent)
            self.window.setCentralWidget(area)
        self.window.resize(width, height)
        self.window.show()
        qt_steps.settle()

    def _area(self) -> Any:
        """The scrolled place of this panel; None while it is not shown."""
        area = self.window.centralWidget()
        return area if isinstance(area, QtWidgets.QScrollArea) and area.widget() is self.parent else None

    def enter(self) -> None:
        """The person selects the module."""
        values_of(self.parent)["isEntered"] = True
        self.widget.enter()
        qt_steps.settle()

    def exit(self) -> None:
        """The person selects another module."""
        values_of(self.parent)["isEntered"] = False
        self.widget.exit()
        qt_steps.settle()

    def reload(self) -> None:
        """The developer's Reload button."""
        self.widget.onReload()
        qt_steps.settle()

    def close_scene(self) -> None:
        """File > Close scene."""
        slicer.mrmlScene.Clear(False)
        qt_steps.settle()

    def quit(self) -> None:
        """The application ends: it tells so first, then takes the module down."""
        qt_signals.raw_attribute(slicer.app, "aboutToQuit").emit()
        self.unload()

    def unload(self) -> None:
        """As on reload and at the end; safe to call twice."""
        manager = slicer.app.moduleManager()
        name = self.module.__name__
        if manager.module(name) is not self.info:
            return
        qt_widgets.emit(manager, "moduleAboutToBeUnloaded(QString)", name)
        del manager._modules[name]
        for entry in (name.lower(), f"{name}Instance", f"{name}Widget"):
            vars(slicer.modules).pop(entry, None)
        area = self._area()
        if area is not None:
            area.takeWidget()
            self.window.takeCentralWidget().deleteLater()
        self.parent.deleteLater()
        qt_steps.settle()

    def stale_shortcuts(self) -> list[str]:
        """Keys of the main window that are still live; none may be after exit()."""
        found = QtCore.QObject.findChildren(self.window, QtGui.QShortcut)
        return [QtGui.QShortcut.key(one).toString() for one in found if QtGui.QShortcut.isEnabled(one)]


def load(path: Path, *, show: bool = True) -> Host:
    """Import a module file, make its module and widget objects and call setup().

    Raises:
        AssertionError: an exception reached the event loop meanwhile.
    """
    name = path.stem
    module = _import(name, path)
    info = standin("qSlicerScriptedLoadableModule")()
    values_of(info).update(path=str(path), name=name)
    about = getattr(module, name)(info)
    manager = slicer.app.moduleManager()
    manager._modules[name] = info
    parent = standin("qSlicerScriptedLoadableModuleWidget")()
    values_of(parent)["moduleName"] = name
    entry = SimpleNamespace(
        path=str(path), name=name, title=info.title, widgetRepresentation=lambda: parent, logic=lambda: None
    )
    setattr(slicer.modules, name.lower(), entry)
    setattr(slicer.modules, f"{name}Instance", about)
    parent.reload()
    parent.setMRMLScene(slicer.mrmlScene)
    host = Host(module, info, parent)
    if show:
        host.show()
    return host


def _import(name: str, path: Path) -> ModuleType:
    """As the application: the folder goes to sys.path, the file is run under its own name."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def session() -> Iterator[Callable[[Path], Host]]:
    """For a fixture: gives `load`, and unloads what it loaded; wrong at the end is what nobody saw before.

    Raises:
        AssertionError: an error in a slot, of VTK or MRML, a warning of Qt, a dialog that did not come.
    """
    bench = mrml_scene.start()
    bench.clear()
    bench.complaints()
    qt_settings.forget()
    qt_dialogs.answers.forget()
    qt_faults.take()
    slicer.app.layoutManager().setLayout(FOUR_UP)
    hosts: list[Host] = []

    def load_(path: Path, *, show: bool = True) -> Host:
        hosts.append(load(path, show=show))
        return hosts[-1]

    try:
        yield load_
    finally:
        for host in hosts:
            host.unload()
        bench.clear()
        qt_steps.settle()
    qt_dialogs.answers.check()
    assert bench.complaints() == []
