"""Loads .ui files with stand-ins for ctk's and Slicer's widgets.

Qt's own loader would store a custom widget's properties as dynamic ones and cannot connect its signals; both
are done here, and names that the real class lacks are refused.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from harness import qt_meta, qt_pythonqt, qt_signals
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
        try:
            root = super().load(_buffer(_for_qt(ET.parse(path))), parent)
        finally:
            qt_pythonqt.loading = False
        if root is None:
            raise RefusedError(f"{path}: {self.errorString()}")
        _apply_properties(tree, root)
        _connect(tree, root)
        return root


def _for_qt(tree: ET.ElementTree) -> ET.ElementTree:
    """Without what Qt's loader cannot do."""
    kinds = _kinds(tree)
    for widget in tree.iter("widget"):
        for property_ in widget.findall("property"):
            if known(widget.get("class", "")) and property_.get("name") in _own(widget):
                widget.remove(property_)
    for connections in tree.iter("connections"):
        for element in connections.findall("connection"):
            if _ours(element, kinds):
                connections.remove(element)
    return tree


def _kinds(tree: ET.ElementTree) -> dict[str, str]:
    return {element.get("name", ""): element.get("class", "") for element in tree.iter("widget")}


def _own(widget: ET.Element) -> dict[str, str]:
    return api(widget.get("class", "")).all_properties()


def _ours(connection: ET.Element, kinds: dict[str, str]) -> bool:
    ends = connection.findtext("sender", ""), connection.findtext("receiver", "")
    return any(known(kinds.get(name, "")) for name in ends)


def _buffer(tree: ET.ElementTree) -> QtCore.QBuffer:
    made = QtCore.QBuffer()
    made.setData(ET.tostring(tree.getroot()))
    made.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    return made


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
        if not dynamic and name not in qt_meta.writable_properties(type(widget)):
            raise RefusedError(f"{class_name} '{element.get('name')}' has no property '{name}'")
        return
    reader = _READERS.get(value.tag)
    if reader is not None:
        setattr(widget, name, reader(value))
    elif value.tag not in SKIPPED_KINDS:
        raise RefusedError(f"{class_name}.{name}: <{value.tag}> is not understood")


def _connect(tree: ET.ElementTree, root: Any) -> None:
    kinds = _kinds(tree)
    for element in tree.iter("connection"):
        if _ours(element, kinds):
            sender = _object(root, element.findtext("sender", ""))
            receiver = _object(root, element.findtext("receiver", ""))
            slot = getattr(receiver, element.findtext("slot", "").split("(")[0])
            qt_signals.connect(sender, element.findtext("signal", ""), slot)
