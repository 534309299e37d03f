"""Keyboard shortcuts: live while the module is open, gone when it is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from NNActiveLogic.presenter.shortcuts import SHORTCUTS
from NNActiveSlicerLib.panel import Panel, slot


class Keys:
    """The shortcuts of `presenter.shortcuts` for what the sections entered in `panel.actions`."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self._live: list[Any] = []

    def install(self) -> None:
        """Make them live; nothing happens without a main window."""
        self.remove()
        window = slicer.util.mainWindow()
        if window is None:
            return
        for shortcut in SHORTCUTS:
            action = self.panel.actions.get(shortcut.action)
            if action is not None:
                self._live.append(self._make(window, shortcut.key, action))

    def remove(self) -> None:
        """Let go of them."""
        for one in self._live:
            one.enabled = False
            one.setParent(None)
            one.deleteLater()
        self._live.clear()

    def _make(self, window: Any, key: str, action: Callable[[], Any]) -> Any:
        made = qt.QShortcut(window)
        made.setKey(qt.QKeySequence(key))
        made.connect("activated()", lambda: self._run(action))
        return made

    @slot
    def _run(self, action: Callable[[], Any]) -> None:
        action()
