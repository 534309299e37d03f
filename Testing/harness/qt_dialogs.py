"""Dialogs that would wait for a person: a test says beforehand what the person answers.

A dialog that nobody announced raises in the code that opens it and fails the test at its end, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtGui, QtWidgets

from harness import qt_faults

STATIC = {
    QtWidgets.QMessageBox: ("about", "critical", "information", "question", "warning"),
    QtWidgets.QFileDialog: (
        "getExistingDirectory", "getOpenFileName", "getOpenFileNames", "getSaveFileName",
    ),
    QtWidgets.QInputDialog: ("getDouble", "getInt", "getItem", "getMultiLineText", "getText"),
    QtWidgets.QColorDialog: ("getColor",),
}  # fmt: skip


class UnexpectedDialogError(AssertionError):
    """A dialog that the test did not announce."""


@dataclass
class Answers:
    """What the person at the screen will say, and what was shown."""

    coming: list[tuple[str, Any]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def expect(self, part_of_text: str, answer: Any = QtWidgets.QMessageBox.StandardButton.Ok) -> None:
        """The next dialog's text has this in it; `answer` is a button, a text, or what exec gives back."""
        self.coming.append((part_of_text, answer))

    def answer(self, text: str) -> Any:
        """For a dialog that opens now."""
        self.shown.append(text)
        if self.coming and self.coming[0][0].lower() in text.lower():
            return self.coming.pop(0)[1]
        wanted = f"; expected was one with '{self.coming[0][0]}'" if self.coming else ""
        error = UnexpectedDialogError(f"a dialog opens that the test did not expect: {text!r}{wanted}")
        qt_faults.add(error)
        raise error

    def forget(self) -> None:
        """Nothing is expected and nothing was shown."""
        self.coming.clear()
        self.shown.clear()

    def check(self) -> None:
        """AssertionError when an announced dialog did not come."""
        waiting = [text for text, _ in self.coming]
        self.forget()
        if waiting:
            raise AssertionError(f"these dialogs did not open: {waiting}")


answers = Answers()


def text_of(dialog: Any) -> str:
    """Title and texts of a dialog."""
    parts = [QtWidgets.QWidget.windowTitle(dialog)]
    if isinstance(dialog, QtWidgets.QMessageBox):
        parts += [QtWidgets.QMessageBox.text(dialog), QtWidgets.QMessageBox.informativeText(dialog)]
        parts += [QtWidgets.QMessageBox.detailedText(dialog)]
    else:
        parts += [QtWidgets.QLabel.text(label) for label in dialog.findChildren(QtWidgets.QLabel)]
    return "\n".join(part for part in parts if part)


def _execute(dialog: Any) -> Any:
    answer = answers.answer(text_of(dialog))
    return answer(dialog) if callable(answer) else answer


def _static(owner: str, name: str) -> Any:
    def opens(*arguments: Any) -> Any:
        texts = [argument for argument in arguments if isinstance(argument, str)]
        return answers.answer("\n".join([f"{owner}.{name}", *texts]))

    return staticmethod(opens)


def install() -> None:
    """No dialog waits from now on."""
    for kind, names in STATIC.items():
        for name in names:
            setattr(kind, name, _static(kind.__name__, name))
    for kind in (QtWidgets.QDialog, QtWidgets.QMessageBox, QtWidgets.QFileDialog, QtWidgets.QProgressDialog):
        kind.exec = kind.exec_ = _execute  # type: ignore[attr-defined]
    for kind in (QtWidgets.QMenu, QtGui.QDrag):
        kind.exec = kind.exec_ = _menu  # type: ignore[attr-defined]


def _menu(menu: Any, *_position: Any) -> Any:
    chosen = answers.answer(f"{type(menu).__name__}")
    actions = menu.actions() if hasattr(menu, "actions") else []
    return next((action for action in actions if action.text == chosen), None)
