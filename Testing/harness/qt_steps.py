"""What a test does with a panel: let events pass, wait, click, type, press keys, take a picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtTest, QtWidgets

from harness import qt_faults, qt_signals

LEFT = QtCore.Qt.MouseButton.LeftButton
_ROUNDS = 20
_WITH_TEXT = (QtWidgets.QLabel, QtWidgets.QAbstractButton)


def settle(rounds: int = _ROUNDS) -> None:
    """Let pending events, timers of 0 ms and deletions happen; raises what went wrong in slots."""
    for _ in range(rounds):
        QtCore.QCoreApplication.sendPostedEvents(None, 0)
        QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents)
        QtCore.QCoreApplication.sendPostedEvents(None, int(QtCore.QEvent.Type.DeferredDelete.value))
    qt_faults.check()


def wait_until(condition: Callable[[], Any], seconds: float = 5.0, what: str = "") -> Any:
    """Run the event loop until the condition holds, and give its value; AssertionError when it never does."""
    end = time.monotonic() + seconds
    while True:
        settle(1)
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.005)


def click(widget: Any) -> None:
    """Press a widget with the mouse, as a person can: it must be shown and enabled."""
    _usable(widget)
    QtTest.QTest.mouseClick(widget, LEFT, pos=_where(widget))
    settle()


def _where(widget: Any) -> QtCore.QPoint:
    """Check boxes and radio buttons hear only clicks on the mark; sections only on their header."""
    height = QtWidgets.QWidget.height(widget)
    if isinstance(widget, QtWidgets.QCheckBox | QtWidgets.QRadioButton | QtWidgets.QGroupBox):
        return QtCore.QPoint(10, height // 2 if not isinstance(widget, QtWidgets.QGroupBox) else 8)
    header = widget._header() if hasattr(type(widget), "_header") else height
    return QtCore.QPoint(QtWidgets.QWidget.width(widget) // 2, header // 2)


def _usable(widget: Any) -> None:
    name = QtCore.QObject.objectName(widget) or type(widget).__name__
    if not QtWidgets.QWidget.isVisible(widget):
        raise AssertionError(f"{name} is not shown: nobody can use it")
    if not QtWidgets.QWidget.isEnabled(widget):
        raise AssertionError(f"{name} is disabled: nobody can use it")


def type_text(widget: Any, text: str, *, clear: bool = True) -> None:
    """Type into a widget; what stood there goes first."""
    _usable(widget)
    target = QtWidgets.QWidget.focusProxy(widget) or widget
    QtWidgets.QWidget.setFocus(target)
    if clear:
        QtTest.QTest.keySequence(target, QtGui.QKeySequence(QtGui.QKeySequence.StandardKey.SelectAll))
        QtTest.QTest.keyClick(target, QtCore.Qt.Key.Key_Delete)
    QtTest.QTest.keyClicks(target, text)
    settle()


def press(widget: Any, keys: str) -> None:
    """Press keys such as 'Ctrl+Shift+N' in a widget's window; shortcuts hear them."""
    _usable(widget)
    window = QtWidgets.QWidget.window(widget)
    window.activateWindow()
    QtWidgets.QWidget.setFocus(widget)
    settle(3)
    QtTest.QTest.keySequence(widget, QtGui.QKeySequence(keys))
    settle()


def choose(combo_box: Any, text: str) -> None:
    """Choose an entry of a combo box or node selector as a person does; the signal for users comes, too."""
    _usable(combo_box)
    box = combo_box if isinstance(combo_box, QtWidgets.QComboBox) else combo_box._box
    row = QtWidgets.QComboBox.findText(box, text)
    if row < 0:
        entries = [QtWidgets.QComboBox.itemText(box, i) for i in range(QtWidgets.QComboBox.count(box))]
        raise AssertionError(f"no entry '{text}' among {entries}")
    QtWidgets.QComboBox.setCurrentIndex(box, row)
    qt_signals.instance(box, "activated(int)")[0].emit(row)
    settle()


def pick(menu: Any, part_of_text: str) -> None:
    """Choose an action of a menu that is open or belongs to a button."""
    actions = [action for action in menu.actions() if part_of_text in action.text]
    if len(actions) != 1:
        raise AssertionError(f"'{part_of_text}' fits {len(actions)} of {[a.text for a in menu.actions()]}")
    if not actions[0].enabled:
        raise AssertionError(f"'{actions[0].text}' is disabled: nobody can use it")
    actions[0].trigger()
    QtWidgets.QMenu.close(menu)
    settle()


def cut_off(root: Any) -> list[str]:
    """Shown labels and buttons below a widget that have less room than their text needs."""
    found = []
    for one in QtCore.QObject.findChildren(root, QtWidgets.QWidget):
        shown = QtWidgets.QWidget.isVisible(one) and isinstance(one, _WITH_TEXT)
        if not shown or hasattr(type(one), "_header"):  # a section, which holds others
            continue
        wraps = isinstance(one, QtWidgets.QLabel) and QtWidgets.QLabel.wordWrap(one)
        room, needed = QtWidgets.QWidget.size(one), type(one).sizeHint(one)
        if wraps:
            needed = QtCore.QSize(0, QtWidgets.QLabel.heightForWidth(one, room.width()))
        if needed.width() > room.width() or needed.height() > room.height():
            name = QtCore.QObject.objectName(one) or type(one).__name__
            found.append(
                f"{name} '{one.text}': {room.width()} x {room.height()}, wants {needed.width()} x "
                f"{needed.height()}"
            )
    return found


def grab(widget: Any, path: Path) -> Path:
    """A picture of a widget as PNG."""
    settle()
    if not QtWidgets.QWidget.grab(widget).save(str(path)):
        raise OSError(f"{path} was not written")
    return path


def live_timers(root: Any) -> list[Any]:
    """Running timers below an object; a module that was left or cleaned up has none."""
    timers = QtCore.QObject.findChildren(root, QtCore.QTimer)
    return [timer for timer in timers if QtCore.QTimer.isActive(timer)]
