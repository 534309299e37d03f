"""What can go wrong with a server on this computer, in sentences for the person at the screen."""

from __future__ import annotations


class LocalError(Exception):
    """Root of every error this room raises on purpose.

    Attributes:
        what: what failed, one sentence.
        advice: what to do, one sentence; may be empty.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"{what} {advice}".strip())
        self.what = what
        self.advice = advice


class Offline(LocalError):
    """What is to be downloaded cannot be reached."""


class NoSpace(LocalError):
    """The disk is full, or would be."""


class Damaged(LocalError):
    """What was downloaded is not what was expected."""


class Busy(LocalError):
    """Another Slicer on this computer does the same just now."""


class Cancelled(LocalError):
    """The user asked to stop; the next attempt goes on from what is there."""
