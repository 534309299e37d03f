"""Signals as PythonQt has them: `obj.connect('name(types)', f)` and `obj.name.connect(f)`.

A callback gets as many of the signal's arguments as it can take and never more than the signature has, so
'clicked()' hands over nothing. PythonQt only prints a warning for an unknown signal; here it is an error. A
signal with several signatures (also one that had several in Qt 5) must be connected by its full signature,
because which of them `obj.name.connect` takes is not the same everywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6.QtCore import QObject, SignalInstance

from harness.qt_meta import normalized, signals_named
from harness.qt_table import RefusedError, Signature, api

SEVERAL_IN_QT5 = {
    "QComboBox": {"activated", "currentIndexChanged", "highlighted"},
    "QSpinBox": {"valueChanged"},
    "QDoubleSpinBox": {"valueChanged"},
    "QButtonGroup": {"buttonClicked", "buttonPressed", "buttonReleased", "buttonToggled"},
    "QCompleter": {"activated", "highlighted"},
    "QProcess": {"finished", "error"},
    "QTextBrowser": {"highlighted"},
}
raw_attribute: Callable[[Any, str], Any] = QObject.__getattribute__
_connections: dict[tuple[int, str], list[tuple[Callable[..., Any], Callable[..., Any], Any]]] = {}
_watched: set[int] = set()


def types_of(signature: str) -> tuple[str, ...]:
    """The argument types of a normalized signature."""
    return Signature.parse(signature).types


def table_signals(kind: type, name: str) -> list[Signature]:
    """The signals of that name which a stand-in declares, from the class and its bases."""
    chain = [c for c in kind.__mro__ if "_api" in vars(c)]
    return api(chain[0].__name__).all_signals(name) if chain else []


def carrier_name(signal: Signature) -> str:
    """A stand-in keeps each signature as a Qt signal of its own."""
    clean = "".join(letter if letter.isalnum() else "_" for letter in ",".join(signal.types))
    return f"_signal_{signal.name}_{clean}"


def instance(obj: QObject, signature: str) -> tuple[SignalInstance, int]:
    """The Qt signal for a signature and how many arguments it hands over; RefusedError for an unknown one."""
    text = normalized(signature)
    name, types = text.split("(")[0], types_of(text)
    for signal in table_signals(type(obj), name):
        if signal.matches(types):
            return raw_attribute(obj, carrier_name(signal)), len(types)
    if text in signals_named(obj, name):
        found = raw_attribute(obj, name)
        return _overload(found, types), len(types)
    known = [str(s) for s in table_signals(type(obj), name)] + signals_named(obj, name)
    hint = f"; there is {', '.join(known)}" if known else ""
    raise RefusedError(f"signal '{signature}' does not exist on {type(obj).__name__}{hint}")


def _overload(found: SignalInstance, types: tuple[str, ...]) -> SignalInstance:
    """With one signature PySide offers no choice, and none is needed."""
    try:
        return found[types if len(types) != 1 else types[0]] if types else found
    except (KeyError, IndexError, TypeError):
        return found


def cut(callback: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The callback with at most `count` arguments, fewer when it takes fewer; counted as PythonQt counts."""
    code = getattr(callback, "__code__", None) or getattr(
        getattr(callback, "__func__", None), "__code__", None
    )
    if code is not None and not code.co_flags & inspect.CO_VARARGS:
        count = min(count, code.co_argcount - (1 if inspect.ismethod(callback) else 0))
    return lambda *arguments: callback(*arguments[:count])


def connect(obj: QObject, signature: str, *target: Any) -> bool:
    """`connect(signature, callable)` or `connect(signature, receiver, 'slot(types)')`."""
    if not isinstance(signature, str):
        raise TypeError("connect() wants the signature of a signal first, e.g. 'clicked()'")
    callback = _callable_of(target)
    signal, count = instance(obj, signature)
    slot = cut(callback, count)
    _watch(obj)
    handle = signal.connect(slot)
    _connections.setdefault((_address(obj), normalized(signature)), []).append((callback, slot, handle))
    return True


def disconnect(obj: QObject, signature: str, *target: Any) -> bool:
    """Undo connect(); False when that was not connected, as in PythonQt."""
    signal, _ = instance(obj, signature)
    wanted = _callable_of(target) if target else None
    kept = _connections.get((_address(obj), normalized(signature)), [])
    gone = [entry for entry in kept if wanted is None or entry[0] == wanted]
    for entry in gone:
        signal.disconnect(entry[1])
        kept.remove(entry)
    return bool(gone)


def _callable_of(target: tuple[Any, ...]) -> Callable[..., Any]:
    if len(target) == 2 and isinstance(target[0], QObject) and isinstance(target[1], str):
        slot: Callable[..., Any] = getattr(target[0], target[1].split("(")[0])
        return slot
    if len(target) == 1 and callable(target[0]):
        return target[0]
    raise TypeError("connect() wants a callable, or a receiver and the signature of its slot")


def _address(obj: QObject) -> int:
    return int(shiboken6.getCppPointer(obj)[0])


def _watch(obj: QObject) -> None:
    """Forget the connections of an object that is gone; its address may come back."""
    address = _address(obj)
    if address in _watched:
        return
    _watched.add(address)
    raw_attribute(obj, "destroyed").connect(lambda: _forget(address))


def _forget(address: int) -> None:
    _watched.discard(address)
    for key in [key for key in _connections if key[0] == address]:
        del _connections[key]


class BoundSignal:
    """What `obj.name` gives for a signal: connect, disconnect, emit; no [types] as PySide has it."""

    __slots__ = ("_name", "_obj")

    def __init__(self, obj: QObject, name: str) -> None:
        self._obj, self._name = obj, name

    def _signature(self) -> str:
        table = table_signals(type(self._obj), self._name)
        if table:
            found = [f"{s.name}({','.join(s.types)})" for s in table]
        else:
            found = [normalized(text) for text in signals_named(self._obj, self._name)]
            longest = max(found, key=len)
            # clicked() is clicked(bool) with its default: one signal
            found = [text for text in found if types_of(text) != types_of(longest)[: len(types_of(text))]] + [
                longest
            ]
        old = any(self._name in SEVERAL_IN_QT5.get(c.__name__, ()) for c in type(self._obj).__mro__)
        if len(found) > 1 or old:
            raise RefusedError(
                f"{type(self._obj).__name__}.{self._name} has more than one signature in some Slicer: "
                f"use connect('{found[0]}', ...)"
            )
        return found[0]

    def connect(self, callback: Callable[..., Any]) -> bool:
        return connect(self._obj, self._signature(), callback)

    def disconnect(self, *callback: Callable[..., Any]) -> bool:
        return disconnect(self._obj, self._signature(), *callback)

    def emit(self, *arguments: Any) -> None:
        signal, count = instance(self._obj, self._signature())
        if len(arguments) != count:
            raise TypeError(f"{self._signature()} emitted with {len(arguments)} arguments")
        signal.emit(*arguments)
