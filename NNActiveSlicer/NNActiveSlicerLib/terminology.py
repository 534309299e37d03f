"""What a structure is called in a terminology such as SNOMED CT, in Slicer's own writing."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

_SEPARATOR = "~"
_TYPE = 2
"""Place of the structure itself in the entry, after the context and the category."""


def choose(parent: Any, name: str, current: str) -> str:
    """Ask for a term; what was there stays when the person cancels.

    Args:
        parent: widget over which the window opens.
        name: of the structure.
        current: entry so far; may be empty.

    Returns:
        Slicer's serialized entry, or plain text where Slicer's selector is missing.
    """
    selector = getattr(slicer, "qSlicerTerminologyNavigatorWidget", None)
    if selector is None:
        title, question = _("Terminology"), _("Term for '{name}':").format(name=name)
        text = qt.QInputDialog.getText(parent, title, question, qt.QLineEdit.Normal, current)
        return text.strip() or current
    return _chosen(parent, selector(), current) or current


def meaning(entry: str) -> str:
    """A term for people: the name of the structure, or the text as it is."""
    parts = entry.split(_SEPARATOR)
    return parts[_TYPE].split("^")[-1] if len(parts) > _TYPE else entry


def _chosen(parent: Any, navigator: Any, current: str) -> str:
    entry = slicer.vtkSlicerTerminologyEntry()
    if _SEPARATOR in current:
        slicer.modules.terminologies.logic().DeserializeTerminologyEntry(current, entry)
        navigator.setTerminologyEntry(entry)
    dialog = qt.QDialog(parent)
    dialog.windowTitle = _("Terminology")
    buttons = qt.QDialogButtonBox()
    buttons.setStandardButtons(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
    buttons.connect("accepted()", dialog.accept)
    buttons.connect("rejected()", dialog.reject)
    layout = qt.QVBoxLayout(dialog)
    layout.addWidget(navigator)
    layout.addWidget(buttons)
    if not dialog.exec_() or not navigator.terminologyEntry(entry):
        return ""
    return str(slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(entry))
