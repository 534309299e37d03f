"""Errors that Qt and VTK would only print: exceptions in slots, timers, event handlers and observers."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType
from typing import Any

found: list[BaseException] = []
_HARMLESS = (
    "propagateSizeHints",
    "This plugin does not support raise()",  # said of menus
    "This plugin does not support grabbing the keyboard",
    "Error calling Python override",
    "QFontDatabase: Cannot find font directory",
)


class UnseenError(AssertionError):
    """An exception reached the event loop, where the application would print it and go on."""


def _keep(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    found.append(error.with_traceback(trace))


def listen() -> None:
    """Collect them from now on; PySide and VTK hand them to `sys.excepthook`."""
    sys.excepthook = _keep


def hear_qt(_kind: Any, _context: Any, text: str) -> None:
    """Warnings of Qt are errors, but for those of a screen that does not exist."""
    if not any(known in text for known in _HARMLESS):
        found.append(RuntimeError(f"Qt: {text}"))


def add(error: BaseException) -> None:
    """Remember an error that code under test might swallow."""
    found.append(error)


def check() -> None:
    """Raise UnseenError with every traceback since the last call."""
    if not found:
        return
    texts = ["".join(traceback.format_exception(error)) for error in found]
    found.clear()
    raise UnseenError("\n".join(texts))


def take() -> list[BaseException]:
    """The errors so far, for a test that expects them; forgets them."""
    errors = list(found)
    found.clear()
    return errors
