"""Attributes of Qt objects as PythonQt has them, put over PySide6 for the whole process.

A property is a value (`button.text`), its C++ setter stays a method (`button.setText`), dynamic properties
and child objects with a name are attributes, signals have connect, disconnect and emit. A name that Qt does
not know can neither be read nor set, except on classes written in Python. This is how Slicer's scripts use
PythonQt; a running PythonQt was not at hand to compare.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from types import BuiltinFunctionType
from typing import Any

from PySide6.QtCore import QObject, SignalInstance

from harness import qt_meta, qt_signals
from harness.qt_meta import qt_class
from harness.qt_table import RefusedError, api

raw = QObject.__getattribute__
raw_set = QObject.__mro__[1].__setattr__  # of Shiboken's base: once QObject is patched Python allows no other
loading = False
"""True while QUiLoader works: it stores children as attributes of the root."""

ONLY_PYSIDE = frozenset({"emit", "receivers"})
_special: dict[str, Callable[[QObject], Any]] = {
    "connect": lambda obj: lambda *a: qt_signals.connect(obj, *a),
    "disconnect": lambda obj: lambda *a: qt_signals.disconnect(obj, *a),
    "className": lambda obj: lambda: type(obj).__name__,
    "metaObject": lambda obj: lambda: qt_meta.meta_object(type(obj)),
    "name": lambda obj: raw(obj, "objectName")(),
}


def special(name: str, make: Callable[[QObject], Any]) -> None:
    """Answer this attribute of every Qt object so; for modal dialogs."""
    _special[name] = make


@cache
def is_wrapper(kind: type) -> bool:
    """Whether the class is Qt's or a stand-in, not one that a module derived from them."""
    return kind.__module__.startswith("PySide6.") or "_api" in vars(kind)


@cache
def qt_properties(kind: type) -> dict[str, tuple[bool, Callable[..., Any] | None, Callable[..., Any] | None]]:
    """Name -> (writable, C++ getter of the same name, C++ setter) of a Qt class and its bases."""
    found = {}
    for name, writable in qt_meta.writable_properties(kind).items():
        getter = getattr(kind, name, None)
        setter = getattr(kind, f"set{name[0].upper()}{name[1:]}", None)
        found[name] = (writable, getter if callable(getter) else None, setter)
    return found


@cache
def _in_python(kind: type, name: str) -> bool:
    """Defined by a class above Qt's: by the module itself or by a stand-in."""
    qt = qt_class(kind)
    for one in kind.__mro__:
        if one is qt:
            return False
        if name in vars(one):
            return True
    return False


def _get(self: QObject, name: str, own: Callable[..., Any] = raw) -> Any:
    if name.startswith("__"):
        return own(self, name)
    kind = type(self)
    if _in_python(kind, name):
        value = own(self, name)
        return qt_signals.BoundSignal(self, name) if isinstance(value, SignalInstance) else value
    if name in _special:
        return _special[name](self)
    found = qt_properties(qt_class(kind)).get(name)
    if found is not None:
        return _read(self, name, found[1])
    return _other(self, name, own)


def _read(self: QObject, name: str, getter: Callable[..., Any] | None) -> Any:
    if isinstance(getter, BuiltinFunctionType):  # a static one
        return getter()
    if getter is not None:
        return getter(self)
    return raw(self, "property")(name)


def _other(self: QObject, name: str, own: Callable[..., Any]) -> Any:
    """Methods, signals, dynamic properties, children."""
    if name not in ONLY_PYSIDE:
        try:
            value = own(self, name)
        except AttributeError:
            pass
        else:
            return qt_signals.BoundSignal(self, name) if isinstance(value, SignalInstance) else value
    if not name.startswith("_"):
        if name in _dynamic(self):
            return raw(self, "property")(name)
        for child in raw(self, "children")():
            if raw(child, "objectName")() == name:
                return child
    raise RefusedError(_why_missing(type(self), name))


def _dynamic(self: QObject) -> list[str]:
    return [bytes(name.data()).decode() for name in raw(self, "dynamicPropertyNames")()]


def _why_missing(kind: type, name: str) -> str:
    standin = next((c for c in kind.__mro__ if "_api" in vars(c)), None)
    return (
        api(standin.__name__).why_missing(name) if standin else f"{kind.__name__} has no attribute '{name}'"
    )


def _set(self: QObject, name: str, value: Any) -> None:
    kind = type(self)
    if name.startswith("_") or _in_python(kind, name) or isinstance(value, SignalInstance):
        raw_set(self, name, value)
    elif name == "name":
        raw(self, "setObjectName")(value)
    elif (found := qt_properties(qt_class(kind)).get(name)) is not None:
        _write(self, name, value, writable=found[0], setter=found[2])
    elif name in _dynamic(self):
        raw(self, "setProperty")(name, value)
    elif not is_wrapper(kind):
        raw_set(self, name, value)
    elif not loading:
        raise RefusedError(
            f"{_why_missing(kind, name)}; new attributes on C++ objects are not allowed"
            if not hasattr(qt_class(kind), name)
            else f"{kind.__name__}.{name} is a method or signal and cannot be set"
        )


def _write(
    self: QObject, name: str, value: Any, *, writable: bool, setter: Callable[..., Any] | None
) -> None:
    if not writable:
        raise RefusedError(f"{type(self).__name__}.{name} is read only")
    if setter is not None:
        setter(self, value)
    elif not raw(self, "setProperty")(name, value):
        raise TypeError(f"{type(self).__name__}.{name} does not accept {value!r}")


def all_classes(modules: tuple[Any, ...]) -> Iterator[tuple[str, type]]:
    """The Q classes of PySide6's modules; where two have the same name the first wins."""
    seen = set()
    for module in modules:
        for name in dir(module):
            value = getattr(module, name)
            if name.startswith("Q") and name not in seen and isinstance(value, type):
                seen.add(name)
                yield name, value


def scoped_enum(owner: Any, name: str) -> bool:
    """Whether `owner.name` is an enumeration; PythonQt has its values on the class."""
    found = getattr(owner, name, None)
    return isinstance(found, type) and issubclass(found, enum.Enum)


def install(classes: Iterable[type]) -> None:
    """Once in a process; PySide6 itself keeps working through class attributes."""
    if QObject.__getattribute__ is _get:
        return
    QObject.__getattribute__ = _get  # type: ignore[method-assign]
    for kind in classes:
        if not issubclass(kind, QObject):
            continue
        kind.__setattr__ = _set  # type: ignore[method-assign,assignment]  # not inherited from QObject
        if kind is not QObject and "__getattribute__" in vars(kind):
            # Of QMenu, QProcess and QFile, which have methods with and without an object of the same name.
            kind.__getattribute__ = _getting_by(kind.__getattribute__)  # type: ignore[method-assign]


def _getting_by(own: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, name: _get(self, name, own)
