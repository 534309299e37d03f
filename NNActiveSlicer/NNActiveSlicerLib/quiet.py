"""Drawing without telling: a widget that is set by the panel emits nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet(*widgets: Any) -> Iterator[None]:
    """None of these widgets emits anything meanwhile."""
    before = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, blocked in zip(widgets, before, strict=True):
            widget.blockSignals(blocked)


def say(label: Any, text: str) -> None:
    """Write into a label, and hide it while there is nothing to say."""
    if label.text != text:
        label.text = text
    label.visible = bool(text)


def advance(bar: Any, fraction: float | None) -> None:
    """How far a progress bar is, from 0 to 1; None is 0. Its steps are in the .ui file."""
    bar.value = round(bar.maximum * (fraction or 0.0))
