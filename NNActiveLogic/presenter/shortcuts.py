"""The one table of keyboard shortcuts, for the widget, the handbook and the tests."""

from __future__ import annotations

from dataclasses import dataclass

from NNActiveLogic.presenter import words


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A key and what it does.

    Attributes:
        key: as Qt writes it. The Segment Editor has the digits and most plain letters for itself, so every
            key here goes with a modifier. Slicer's window has Ctrl with 0 to 6, C, F, H, O, S, V, W, X, Y
            and Z; macOS keeps H, M, Q and the space bar. Where two claim a key, neither hears it.
        action: name of a method of `Session`, or of something the widget does by itself.
    """

    key: str
    action: str

    @property
    def sentence(self) -> str:
        """What it does, for people."""
        return words.say(getattr(words.ACTION, self.action))


SHORTCUTS = (
    Shortcut("Ctrl+Return", "accept"),
    Shortcut("Ctrl+Shift+Return", "confirm"),
    Shortcut("Ctrl+E", "empty"),
    Shortcut("Ctrl+K", "skip"),
    Shortcut("Ctrl+R", "refer"),
    Shortcut("Ctrl+Right", "next"),
    Shortcut("Ctrl+Left", "previous"),
    Shortcut("Ctrl+D", "heat"),
    Shortcut("Ctrl+U", "unsure"),
    Shortcut("Ctrl+J", "centre"),
)


def key_of(action: str) -> str:
    """The key of an action; raises KeyError when it has none."""
    return {shortcut.action: shortcut.key for shortcut in SHORTCUTS}[action]
