"""Puts `qt`, `ctk` and Slicer's widgets in place of what the application has, for the whole process."""

from __future__ import annotations

import atexit
import os
import sys
import types
from functools import cache
from typing import Any

ENVIRONMENT = {
    "QT_QPA_PLATFORM": "offscreen",
    "QT_ENABLE_HIGHDPI_SCALING": "0",
    "VTK_DEFAULT_OPENGL_WINDOW": "vtkEGLRenderWindow",
}
HELP = "`make system` installs or names what is missing"


def why_not() -> str:
    """Why the widget tests cannot run here; empty when they can."""
    _set_environment()
    try:
        import PySide6.QtGui
        import PySide6.QtUiTools  # noqa: F401
        import slicer  # noqa: F401
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed (pip: PySide6-Essentials, slicer-core)"
    except ImportError as error:
        return f"Qt does not start: {error} ({HELP})"
    return "" if _has_font() else f"no font to draw with ({HELP})"


def _set_environment() -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _has_font() -> bool:
    """Without an application Qt cannot list fonts, so ask for one."""
    application()
    from PySide6.QtGui import QFontDatabase

    return bool(QFontDatabase.families())


@cache
def application() -> Any:
    """The one application object, a stand-in of qSlicerApplication; patches Qt on the first call."""
    _set_environment()
    from PySide6 import QtCore

    from harness import (  # the order matters: behaviours before the classes are made
        qt_dialogs,
        qt_faults,
        qt_mrml_widgets,  # noqa: F401
        qt_pythonqt,
        qt_segment_editor,  # noqa: F401
        qt_segments_table,  # noqa: F401
        qt_standin,
        qt_widgets,  # noqa: F401
        slicer_app,
        slicer_app_host,  # noqa: F401
        slicer_app_layout,  # noqa: F401
    )

    qt_faults.listen()
    made = slicer_app.make_application()
    qt_pythonqt.install([*qt_standin.QT_CLASSES.values(), *_other_classes()])
    qt_dialogs.install()
    QtCore.qInstallMessageHandler(qt_faults.hear_qt)
    atexit.register(QtCore.qInstallMessageHandler, None)
    sys.modules["qt"] = _qt_module()
    sys.modules["ctk"] = _class_module("ctk")
    slicer_app.add_to_slicer(made)
    return made


def _other_classes() -> list[type]:
    from PySide6 import QtUiTools

    return [QtUiTools.QUiLoader]


def _qt_module() -> types.ModuleType:
    """Qt's classes and `Qt`, without PySide's own names (Signal, Slot, Property ...)."""
    from PySide6 import QtCore

    from harness import qt_settings, qt_standin, qt_ui_file

    made = types.ModuleType("qt")
    made.__dict__.update(qt_standin.QT_CLASSES)
    made.__dict__.update(
        Qt=QtCore.Qt,
        QSettings=qt_settings.Settings,
        QUiLoader=qt_ui_file.UiLoader,
        QTimer=qt_standin.QT_CLASSES["QTimer"],
    )
    return made


def _class_module(prefix: str) -> types.ModuleType:
    from harness import qt_standin

    def find(name: str) -> type:
        if name.startswith("__") or not name.startswith(prefix):
            raise AttributeError(f"module '{prefix}' has no attribute '{name}'")
        return qt_standin.standin(name)

    made = types.ModuleType(prefix)
    made.__getattr__ = find  # type: ignore[method-assign]
    return made
