"""Classes that stand for ctk's, qMRML's and qSlicer's, made from the table of what the real ones offer.

A stand-in has the real class's properties, signals, enumerations and callable methods and nothing else; calls
are held against the argument counts and types. What a method does is written only where a module needs it
(`@behaves_as`); a method that returns nothing is merely noted otherwise (`calls_of`), one that returns a
value raises.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from harness import qt_pythonqt, qt_signals
from harness.qt_table import Api, RefusedError, Signature, api, known

Behaviour = TypeVar("Behaviour", bound=type)
MODULES = (QtCore, QtGui, QtWidgets)
QT_CLASSES: dict[str, type] = dict(qt_pythonqt.all_classes(MODULES))
_ABSTRACT = {"QAbstractButton": "QPushButton", "QVTKOpenGLNativeWidget": "QWidget"}
_NUMBERS: dict[str, Any] = {"bool": False, "int": 0, "double": 0.0, "float": 0.0, "QString": ""}
_SIGNAL_TYPES = {"bool": bool, "int": int, "double": float, "float": float, "QString": str}
_behaviours: dict[str, type] = {}
_made: set[str] = set()


def behaves_as(name: str) -> Callable[[Behaviour], Behaviour]:
    """Give a stand-in this behaviour; refuses public names that the real class does not offer."""

    def register(behaviour: Behaviour) -> Behaviour:
        found = api(name)
        own = {key for key in vars(behaviour) if not key.startswith("_")}
        qt = QT_CLASSES[_ABSTRACT.get(found.qt_base(), found.qt_base())]
        foreign = {
            key
            for key in own
            if not _offers(found, key) and key not in dir(qt) and not found.all_signals(key)
        }
        if foreign:
            raise RefusedError(f"the behaviour of {name} has names the real class lacks: {sorted(foreign)}")
        if name in _made:
            raise RuntimeError(f"{name} was made without this behaviour; import it in qt_start.application()")
        _behaviours[name] = behaviour
        return behaviour

    return register


def _offers(found: Api, name: str) -> bool:
    return bool(found.overloads(name)) or name in found.all_properties()


def calls_of(widget: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """The calls of methods on a stand-in that have no behaviour, oldest first.

    Others are not noted: the nodes they were given would never go.
    """
    calls: list[tuple[str, tuple[Any, ...]]] = vars(widget).setdefault("_calls", [])
    return calls


@cache
def standin(name: str) -> type:
    """The class that stands for ctk's or Slicer's class of this name."""
    _made.add(name)
    found = api(name)
    base = _base(found)
    made = type(base)(name, (base,), {"_api": found, "__module__": _module_of(name), **_members(found)})
    behaviour = _behaviours.get(name)
    if behaviour is not None:
        checked = {
            key: _checked(name, key, getattr(behaviour, key))
            for key in dir(behaviour)
            if callable(getattr(behaviour, key)) and found.overloads(key)
        }
        made = type(base)(name, (behaviour, made), {"_api": found, "__module__": _module_of(name), **checked})
    if not found.constructible and "__init__" not in vars(behaviour or object):
        made.__init__ = _refuse_construction  # type: ignore[misc]
    return made


def _module_of(name: str) -> str:
    return "ctk" if name.startswith("ctk") else "slicer"


def _base(found: Api) -> type:
    first = found.bases[0]
    if known(first):
        return standin(first)
    return QT_CLASSES[_ABSTRACT.get(first, first)] if first.startswith("Q") else QtCore.QObject


def _refuse_construction(self: Any, *_arguments: Any) -> None:
    raise RefusedError(f"{type(self).__name__} cannot be made from Python")


def _members(found: Api) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for signal in found.signals:
        carrier = QtCore.Signal(*[_SIGNAL_TYPES.get(kind, object) for kind in signal.types])
        members[qt_signals.carrier_name(signal)] = carrier
        members.setdefault(signal.name, QtCore.Signal(*[object] * len(signal.types)))
    for name, kind in found.properties.items():
        members[name] = _property(found.name, name, kind)
    for method in found.methods:
        if not any(hasattr(_behaviours.get(one.name), method.name) for one in found.chain[1:]):
            members.setdefault(method.name, _checked(found.name, method.name, None))
    for values in found.enums.values():
        for position, value in enumerate(values):
            members.setdefault(value, position)
    return members


def _property(owner: str, name: str, kind: str) -> property:
    type_, _, access = kind.rpartition(" ")

    def read(self: Any) -> Any:
        return values_of(self).get(name, _NUMBERS.get(type_, [] if type_ == "QStringList" else None))

    def write(self: Any, value: Any) -> None:
        if "w" not in access:
            raise RefusedError(f"{owner}.{name} is read only")
        if not accepts(type_, value):
            raise TypeError(f"{owner}.{name} wants {type_}, got {value!r}")
        values_of(self)[name] = value
        changed = getattr(self, f"_{name}_changed", None)
        if changed is not None:
            changed(value)

    return property(read, write)


def values_of(widget: Any) -> dict[str, Any]:
    """The property values of a stand-in; tests set what only the application may set."""
    values: dict[str, Any] = vars(widget).setdefault("_values", {})
    return values


def _checked(owner: str, name: str, behaviour: Callable[..., Any] | None) -> Callable[..., Any]:
    """A method that is held against its signatures before it does anything."""

    def method(self: Any, *arguments: Any) -> Any:
        overload = _overload(self, owner, name, arguments)
        if behaviour is not None:
            return behaviour(self, *arguments)
        calls_of(self).append((name, arguments))
        property_ = name[3:4].lower() + name[4:]
        if name.startswith("set") and len(arguments) == 1 and property_ in self._api.all_properties():
            setattr(self, property_, arguments[0])
            return None
        if overload.returns:
            raise NotImplementedError(f"the stand-in of {owner} has no behaviour for {overload} yet")
        return None

    method.__name__ = name
    return method


def _overload(self: Any, owner: str, name: str, arguments: tuple[Any, ...]) -> Signature:
    overloads = self._api.overloads(name) or api(owner).overloads(name)
    for found in overloads:
        if found.required <= len(arguments) <= len(found.types) and all(map(accepts, found.types, arguments)):
            return found
    given = ", ".join(type(argument).__name__ for argument in arguments)
    raise TypeError(f"{owner}.{name}({given}): there is {'; '.join(map(str, overloads))}")


def accepts(type_: str, value: Any) -> bool:
    """Whether PythonQt would convert the value to this C++ type; unknown types accept anything."""
    if type_ == "bool":
        return isinstance(value, bool | int)
    if type_ == "int":
        return isinstance(value, int) or hasattr(value, "value")
    if type_ in ("double", "float"):
        return isinstance(value, int | float)
    if type_ == "QString":
        return isinstance(value, str)
    if type_ == "QStringList":
        return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
    if type_.endswith("*"):
        return value is None or isinstance(value, _pointed(type_.removesuffix("*").strip()))
    return True


def _pointed(name: str) -> type:
    if known(name):
        return standin(name)
    if name in QT_CLASSES:
        return QT_CLASSES[name]
    found = getattr(slicer, name, object) if name.startswith("vtk") else object
    return found if isinstance(found, type) else object
