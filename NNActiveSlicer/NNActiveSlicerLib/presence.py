"""Tells the presenter when somebody works: the mouse, the views or the drawing have moved."""

from __future__ import annotations

from typing import Any

import qt

from NNActiveLogic.scene import views
from NNActiveSlicerLib.panel import Panel, slot

INTERVAL_MS = 250
"""Much shorter than the pause after which time no longer counts."""


class Presence:
    """Looks now and then whether anything has moved; far cheaper than hearing every event of the windows.

    Args:
        panel: what the sections share.
        parent: widget that the timer belongs to.
    """

    def __init__(self, panel: Panel, parent: Any) -> None:
        self.panel = panel
        self._seen: tuple[int, ...] = ()
        self.timer = qt.QTimer(parent)
        self.timer.interval = INTERVAL_MS
        self.timer.connect("timeout()", self.look)

    @slot
    def look(self) -> None:
        """Compare with the last look."""
        opened = self.panel.presenter.opened
        if opened is None:
            return
        activity = opened.session.screen.activity
        activity.background(qt.QApplication.activeWindow() is None)
        place = qt.QCursor.pos()
        now = (place.x(), place.y(), self.panel.adapter.edits(), views.stamp())
        if now != self._seen:
            self._seen = now
            activity.input()
