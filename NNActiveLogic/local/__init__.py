"""A server on this very computer, in a private folder outside Slicer: the standard library and requests.

`LocalServer` finds one, sets one up, starts it and ends it. Nothing here asks anybody
anything: the presenter does that before it calls `LocalServer.set_up`.
"""

from NNActiveLogic.local.errors import Busy, Cancelled, Damaged, LocalError, NoSpace, Offline
from NNActiveLogic.local.server import LocalServer
from NNActiveLogic.local.values import Archive, Found, Needs, Progress, Running, Sources, Stage

__all__ = [
    "Archive",
    "Busy",
    "Cancelled",
    "Damaged",
    "Found",
    "LocalError",
    "LocalServer",
    "Needs",
    "NoSpace",
    "Offline",
    "Progress",
    "Running",
    "Sources",
    "Stage",
]
