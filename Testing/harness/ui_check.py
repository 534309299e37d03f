"""Checks of .ui files and of the module code that uses them, without opening a window.

`ui_problems(path)` and `module_problems(path, ui_path)` give sentences; an empty list is good.
"""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.qt_meta import SIGNAL, SLOT, normalized, signatures, writable_properties
from harness.qt_pythonqt import scoped_enum
from harness.qt_standin import QT_CLASSES
from harness.qt_table import Signature, api, known

SCENE = "mrmlSceneChanged(vtkMRMLScene*)", "setMRMLScene(vtkMRMLScene*)"
OF_QT_DESIGNER = {"Line": "QFrame"}
SIZES = {"minimumSize", "maximumSize", "baseSize", "sizeIncrement", "geometry"}
BUTTONS = {"QAbstractButton"}
SECTIONS = {"ctkCollapsibleButton"}
INPUTS = {
    "QLineEdit", "QComboBox", "QAbstractSpinBox", "QAbstractSlider", "QAbstractItemView", "QTextEdit",
    "QPlainTextEdit", "ctkSliderWidget", "ctkRangeWidget", "ctkPathLineEdit", "qMRMLNodeComboBox",
}  # fmt: skip
FOR_PEOPLE = {
    "text", "title", "toolTip", "statusTip", "whatsThis", "placeholderText", "windowTitle", "accessibleName",
    "accessibleDescription", "suffix", "prefix", "noneDisplay", "defaultText", "specialValueText",
}  # fmt: skip
SHOWN_CALLS = {
    "setText", "setToolTip", "setTitle", "setPlaceholderText", "setWindowTitle", "setAccessibleName",
    "showMessage", "errorDisplay", "warningDisplay", "infoDisplay", "confirmOkCancelDisplay",
    "confirmYesNoDisplay", "showStatusMessage", "setHorizontalHeaderLabels", "addItems", "addItem",
    "setStatusTip", "setFormat",
}  # fmt: skip
TRANSLATING = {"_", "tr", "translate"}


@dataclass(frozen=True)
class Kind:
    """What a widget class offers, from the table or from Qt itself."""

    name: str

    @property
    def qt(self) -> Any:
        name = api(self.name).qt_base() if known(self.name) else OF_QT_DESIGNER.get(self.name, self.name)
        return QT_CLASSES.get("QWidget" if name == "QVTKOpenGLNativeWidget" else name)

    def exists(self) -> bool:
        return known(self.name) or self.qt is not None

    def is_a(self, names: set[str]) -> bool:
        chain = {one.name for one in api(self.name).chain} if known(self.name) else set()
        return bool(names & (chain | {one.__name__ for one in self.qt.__mro__}))

    def properties(self) -> dict[str, bool]:
        """Name -> writable."""
        found = dict(writable_properties(self.qt))
        if known(self.name):
            found |= {name: "w" in kind.split()[-1] for name, kind in api(self.name).all_properties().items()}
        return found

    def has_signal(self, signature: str) -> bool:
        text = normalized(signature)
        types = Signature.parse(text).types
        if known(self.name) and any(s.matches(types) for s in api(self.name).all_signals(text.split("(")[0])):
            return True
        return text in signatures(self.qt, SIGNAL)

    def has_slot(self, signature: str) -> bool:
        text = normalized(signature)
        name, types = text.split("(")[0], Signature.parse(text).types
        if known(self.name) and any(s.matches(types) for s in api(self.name).overloads(name)):
            return True
        return text in signatures(self.qt, SLOT)

    def offers(self, name: str) -> bool:
        """Whether Python finds an attribute of this name."""
        if known(self.name) and (api(self.name).overloads(name) or api(self.name).all_signals(name)):
            return True
        return (
            name in self.properties() or hasattr(self.qt, name) or name in ("connect", "disconnect", "name")
        )

    def why_missing(self, name: str) -> str:
        return (
            api(self.name).why_missing(name) if known(self.name) else f"{self.name} has no attribute '{name}'"
        )


def ui_problems(path: Path) -> list[str]:
    """Everything wrong with a .ui file."""
    tree = ET.parse(path)
    root = tree.find("widget")
    if root is None:
        return ["the file has no widget"]
    widgets = {element.get("name", ""): element for element in tree.iter("widget")}
    unknown = [f"{n}: no widget class {w.get('class')}" for n, w in widgets.items() if not _kind(w).exists()]
    if unknown:
        return unknown
    found = [*_names(tree), *_custom_widgets(tree, widgets), *_connections(tree, widgets)]
    for name, element in widgets.items():
        found += [f"{name}: {text}" for text in _widget(element, is_root=element is root, tree=tree)]
    return found + list(_scenes(tree, widgets, root))


def _kind(element: ET.Element) -> Kind:
    return Kind(element.get("class", ""))


def _names(tree: ET.ElementTree) -> Iterator[str]:
    count = Counter(element.get("name") for element in tree.iter("widget"))
    yield from (f"{name}: the name is used {times} times" for name, times in count.items() if times > 1)


def _custom_widgets(tree: ET.ElementTree, widgets: dict[str, ET.Element]) -> Iterator[str]:
    declared = {element.findtext("class") for element in tree.iter("customwidget")}
    used = {element.get("class", "") for element in widgets.values() if known(element.get("class", ""))}
    yield from (f"{name}: not declared as custom widget" for name in sorted(used - declared))
    yield from (f"{name}: declared as custom widget and not used" for name in sorted(declared - used))


def _connections(tree: ET.ElementTree, widgets: dict[str, ET.Element]) -> Iterator[str]:
    for element in tree.iter("connection"):
        sender, receiver = element.findtext("sender", ""), element.findtext("receiver", "")
        signal, slot = element.findtext("signal", ""), element.findtext("slot", "")
        missing = [name for name in (sender, receiver) if name not in widgets]
        if missing:
            yield f"connection of {missing[0]}: there is no such widget"
            continue
        if not _kind(widgets[sender]).has_signal(signal):
            yield f"{sender}: {widgets[sender].get('class')} has no signal {signal}"
        if not _kind(widgets[receiver]).has_slot(slot):
            yield f"{receiver}: {widgets[receiver].get('class')} has no slot {slot}"
        given, wanted = (Signature.parse(normalized(text)).types for text in (signal, slot))
        if wanted != given[: len(wanted)]:
            yield f"{sender}: {signal} does not fit {slot}"


def _widget(element: ET.Element, *, is_root: bool, tree: ET.ElementTree) -> Iterator[str]:
    kind = _kind(element)
    offered = kind.properties()
    given = {p.get("name", ""): p for p in element.findall("property")}
    for name, property_ in given.items():
        if property_.get("stdset") == "0" and name not in offered:
            continue  # a dynamic property, such as SlicerParameterName
        if name not in offered:
            if (kind.name, name) != ("QLabel", "buddy"):  # which only .ui files have
                yield f"{kind.name} has no property {name}"
        elif not offered[name]:
            yield f"{kind.name}.{name} is read only"
    yield from _look(given, is_root=is_root)
    yield from _words(given, element)
    yield from _accessible(kind, element, given, tree)


def _look(given: dict[str, ET.Element], *, is_root: bool) -> Iterator[str]:
    for name in SIZES & set(given):
        if not (is_root and name == "geometry"):
            yield f"{name} is a fixed size in pixels; use a layout or a size policy"
    for name in ("styleSheet", "font", "palette"):
        if name in given:
            yield f"{name} is of our own; Slicer's style decides"


def _words(given: dict[str, ET.Element], element: ET.Element) -> Iterator[str]:
    texts = [(name, property_) for name, property_ in given.items() if name in FOR_PEOPLE]
    texts += [("text", p) for item in (*element.findall("item"), *element.findall("column")) for p in item]
    for name, property_ in texts:
        for string in property_.iter("string"):
            if string.get("notr") == "true" and re.search("[A-Za-z]{2}", string.text or ""):
                yield f"{name} '{string.text}' is marked as not to be translated"


def _accessible(
    kind: Kind, element: ET.Element, given: dict[str, ET.Element], tree: ET.ElementTree
) -> Iterator[str]:
    is_button = kind.is_a(BUTTONS) and not kind.is_a(SECTIONS)
    is_input = kind.is_a(INPUTS)
    if (is_button or is_input) and not _text(given.get("toolTip")):
        yield "has no tool tip"
    named = _text(given.get("accessibleName")) or (is_button and _text(given.get("text")))
    if is_input and not named:
        named = element.get("name") in {text.text for text in tree.iter("cstring")}  # buddy of a label
    if (is_button or is_input) and not named:
        yield "has neither a text nor an accessible name nor a label whose buddy it is"


def _text(element: ET.Element | None) -> str:
    return (element.findtext("string") or "").strip() if element is not None else ""


def _scenes(tree: ET.ElementTree, widgets: dict[str, ET.Element], root: ET.Element) -> Iterator[str]:
    connected = {
        element.findtext("receiver")
        for element in tree.iter("connection")
        if element.findtext("sender") == root.get("name")
        and (element.findtext("signal"), element.findtext("slot")) == SCENE
    }
    for name, element in widgets.items():
        if element is not root and _kind(element).has_slot(SCENE[1]) and name not in connected:
            yield f"{name}: the root's {SCENE[0]} is not connected to its {SCENE[1]}: it stays empty"


def module_problems(path: Path, ui_path: Path | None = None) -> list[str]:
    """Everything wrong with how a module file uses Qt and the widgets of its .ui file."""
    tree = ast.parse(path.read_text("utf-8"), str(path))
    widgets = {e.get("name", ""): _kind(e) for e in ET.parse(ui_path).iter("widget")} if ui_path else {}
    actions = {e.get("name", "") for e in ET.parse(ui_path).iter("action")} if ui_path else set()
    found = []
    for node in ast.walk(tree):
        use = _ui_use(node, widgets, actions, checked=ui_path is not None)
        wrong = (*_qt_use(node), *use, *_texts(node))
        found.extend(f"{path.name}:{node.lineno}: {text}" for text in wrong)
    return found


def _qt_use(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names) if any(n.name.startswith(("PySide", "PyQt")) for n in names):
            yield "Slicer has no PySide; use qt"
        case ast.ImportFrom(module=str(module)) if module.startswith(("PySide", "PyQt")):
            yield "Slicer has no PySide; use qt"
        case ast.Attribute(
            value=ast.Attribute(value=ast.Attribute(value=ast.Name("qt"), attr=owner), attr=name)
        ):
            kind = _qt_namespace(owner)
            if kind is not None and scoped_enum(kind, name):
                yield f"qt.{owner}.{name}.{node.attr}: value on the class: qt.{owner}.{node.attr}"
        case ast.Attribute(value=ast.Name("qt"), attr=name) if _qt_namespace(name) is None:
            yield f"there is no qt.{name}"
        case ast.Attribute(value=ast.Name("ctk"), attr=name) if not known(name):
            yield f"ctk.{name} is not in the table"
        case ast.Call(func=ast.Attribute(value=ast.Name("qt" | "ctk"), attr=name), keywords=[_, *_]):
            yield f"{name}(): PythonQt takes no named arguments"
        case ast.Call(func=ast.Attribute(value=ast.Subscript(value=ast.Attribute()), attr="connect")):
            yield "PythonQt's signals have no [types]; use connect('signal(types)', f)"


def _qt_namespace(name: str) -> Any:
    if name == "Qt":
        from PySide6.QtCore import Qt

        return Qt
    return QT_CLASSES.get(name) or {"QUiLoader": object}.get(name)


def _ui_use(node: ast.AST, widgets: dict[str, Kind], actions: set[str], *, checked: bool) -> Iterator[str]:
    if not checked:
        return
    match node:
        case ast.Attribute(value=ast.Attribute(value=ast.Name("self"), attr="ui"), attr=name):
            if name not in widgets and name not in actions:
                yield f"self.ui.{name} is not in the .ui file"
        case ast.Attribute(
            value=ast.Attribute(value=ast.Attribute(value=ast.Name("self"), attr="ui"), attr=name),
            attr=attribute,
        ) if name in widgets and not widgets[name].offers(attribute):
            yield f"self.ui.{name}: {widgets[name].why_missing(attribute)}"
        case ast.Call(
            func=ast.Attribute(
                value=ast.Attribute(value=ast.Attribute(value=ast.Name("self"), attr="ui"), attr=name),
                attr="connect" | "disconnect",
            ),
            args=[ast.Constant(value=str(signal)), *_],
        ) if name in widgets and not widgets[name].has_signal(signal):
            yield f"self.ui.{name}: {widgets[name].name} has no signal {signal}"
        case ast.Call(
            func=ast.Attribute(value=ast.Attribute(value=ast.Attribute(attr="ui"), attr=name)),
            keywords=[_, *_],
        ) if name in widgets:
            yield f"self.ui.{name}: PythonQt takes no named arguments"


def _texts(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Assign(targets=[ast.Attribute(attr=name)], value=value) if name in FOR_PEOPLE:
            yield from _untranslated(value)
        case ast.Call(func=ast.Attribute(attr=name), args=arguments) if name in SHOWN_CALLS:
            for argument in arguments:
                yield from _untranslated(argument)
        case ast.Call(func=ast.Name(id=name), args=[argument, *_]) if name in TRANSLATING:
            if not isinstance(argument, ast.Constant) and name != "translate":
                yield f"{name}(): lupdate finds only plain texts; use .format() after it"


def _untranslated(value: ast.expr) -> Iterator[str]:
    if isinstance(value, ast.List):
        for element in value.elts:
            yield from _untranslated(element)
    elif isinstance(value, ast.JoinedStr):
        words = "".join(part.value for part in value.values if isinstance(part, ast.Constant))
        if re.search("[A-Za-z]{2}", words):
            yield f"the text '{words}' is not translated"
    elif (
        isinstance(value, ast.Constant)
        and isinstance(value.value, str)
        and re.search("[A-Za-z]{2}", value.value)
    ):
        yield f"the text '{value.value}' is not translated"
