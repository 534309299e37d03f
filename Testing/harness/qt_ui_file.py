"""Loads .ui files with stand-ins for ctk's and Slicer's widgets.

Qt's own loader stores a custom widget's properties as dynamic ones and cannot connect its signals; both are done again
here, and names that the real class lacks are refused.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from harness import qt_pythonqt, qt_signals
from harness.qt_standin import standin
from harness.qt_table import RefusedError, api, known

_READERS: dict[str, Callable[[ET.Element], Any]] = {
    "bool": lambda element: element.text == "true",
    "number": lambda element: int(element.text or 0),
    "double": lambda element: float(element.text or 0),
    "string": lambda element: element.text or "",
    "cstring": lambda element: element.text or "",
    "stringlist": lambda element: [text.text or "" for text in element.findall("string")],
}
SKIPPED_KINDS = ("enum", "set", "iconset", "sizepolicy", "font", "rect", "size")


class UiLoader(QtUiTools.QUiLoader):
    """`qt.QUiLoader` as slicer.util.loadUI() uses it."""

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        if known(class_name):
            made = standin(class_name)(parent)
            QtCore.QObject.setObjectName(made, name)
            return made
        if not class_name.startswith("Q") or not hasattr(QtWidgets, class_name):
            raise RefusedError(f"{name}: no widget class '{class_name}'")
        return super().createWidget(class_name, parent, name)

    def load(self, file: Any, parent: Any = None) -> Any:
        path = file if isinstance(file, str) else QtCore.QFile.fileName(file)
        tree = ET.parse(path)
        qt_pythonqt.loading = True
        handler = QtCore.qInstallMessageHandler(_quiet)
        try:
            root = super().load(path, parent)
        finally:
            QtCore.qInstallMessageHandler(handler)
            qt_pythonqt.loading = False
        if root is None:
            raise RefusedError(f"{path}: {self.errorString()}")
        _apply_properties(tree, root)
        _connect(tree, root)
        return root


def _quiet(_kind: Any, _context: Any, text: str) -> None:
    """Qt complains about connections of stand-ins, which are made right after."""
    if "No such s" not in text:  # signal or slot
        raise RefusedError(text)


def _object(root: Any, name: str) -> Any:
    found = (
        root
        if QtCore.QObject.objectName(root) == name
        else QtCore.QObject.findChild(root, QtCore.QObject, name)
    )
    if found is None:
        raise RefusedError(f"no object '{name}' in the .ui file")
    return found


def _apply_properties(tree: ET.ElementTree, root: Any) -> None:
    for element in tree.iter("widget"):
        class_name = element.get("class", "")
        if not known(class_name):
            continue
        widget = _object(root, element.get("name", ""))
        for property_ in element.findall("property"):
            _apply(widget, class_name, property_)


def _apply(widget: Any, class_name: str, element: ET.Element) -> None:
    name, value = element.get("name", ""), element[0]
    dynamic = element.get("stdset") == "0"
    if name not in api(class_name).all_properties():
        if not dynamic and name not in qt_pythonqt.qt_properties(qt_pythonqt._qt_class(type(widget))):
            raise RefusedError(f"{class_name} '{element.get('name')}' has no property '{name}'")
        return
    reader = _READERS.get(value.tag)
    if reader is not None:
        QtCore.QObject.setProperty(widget, name, None)  # the dynamic one
        setattr(widget, name, reader(value))
    elif value.tag not in SKIPPED_KINDS:
        raise RefusedError(f"{class_name}.{name}: <{value.tag}> is not understood")


def _connect(tree: ET.ElementTree, root: Any) -> None:
    for element in tree.iter("connection"):
        sender = _object(root, element.findtext("sender", ""))
        receiver = _object(root, element.findtext("receiver", ""))
        signal, slot = element.findtext("signal", ""), element.findtext("slot", "")
        if not any("_api" in vars(type(one)) for one in (sender, receiver)):
            continue  # Qt's loader has made it
        qt_signals.connect(sender, signal, getattr(receiver, slot.split("(")[0]))
