"""What Qt itself says about its classes: properties, signals and slots, read once per class.

Only a class's own meta object is asked. An object's `metaObject()` gives the same wrapper with the object as
its owner, and the wrapper dies with it, for every later reader.
"""

from __future__ import annotations

from functools import cache

from PySide6.QtCore import QMetaMethod, QMetaObject, QObject

SIGNAL, SLOT = QMetaMethod.MethodType.Signal, QMetaMethod.MethodType.Slot


def normalized(signature: str) -> str:
    """Without spaces, const and &, as Qt compares signatures."""
    return bytes(QMetaObject.normalizedSignature(signature).data()).decode()


@cache
def qt_class(kind: type) -> type:
    """The nearest class of Qt; stand-ins and Python classes in between bring their own properties."""
    return next(one for one in kind.__mro__ if one.__module__.startswith("PySide6."))


def meta_object(kind: type) -> QMetaObject:
    """Of the nearest class of Qt."""
    found: QMetaObject = qt_class(kind).staticMetaObject  # type: ignore[attr-defined]
    return found


@cache
def writable_properties(kind: type) -> dict[str, bool]:
    """Name -> writable, of a Qt class and its bases."""
    meta = meta_object(kind)
    found = (meta.property(index) for index in range(meta.propertyCount()))
    return {one.name(): one.isWritable() for one in found}


@cache
def signatures(kind: type, of: QMetaMethod.MethodType) -> tuple[str, ...]:
    """Signals or slots of a Qt class and its bases, as Qt writes them."""
    meta = meta_object(kind)
    found = (meta.method(index) for index in range(meta.methodCount()))
    return tuple(bytes(one.methodSignature().data()).decode() for one in found if one.methodType() == of)


def signals_named(obj: QObject, name: str) -> list[str]:
    """The signatures of a signal of an object's class."""
    return [text for text in signatures(type(obj), SIGNAL) if text.split("(")[0] == name]
