"""The exception tree of the package.

    NNActiveError
    ├── DatasetError          files, geometry, labels, loop files
    │   └── GeometryMismatch  two grids that should agree do not
    ├── QueryError            maps, strategies, patch selection
    ├── SegmentationError     plans, training, prediction, export
    │   └── OutOfMemory       the device's or the machine's memory does not suffice
    ├── LoopError             the state of an active-learning run
    ├── ServerError           how the server was told to run
    ├── StoreError            the server's database and stored files
    │   ├── NotFound          no project, case, patch, job, file or upload of this id
    │   ├── InvalidInput      what was given breaks a rule; nothing was stored
    │   │   └── TooLarge      it is over a limit
    │   ├── Conflict          the other side is in another state; carries it
    │   │   └── KeyReused     an idempotency key came with another content
    │   ├── NoSpace           the disk is full or failing; nothing was stored
    │   └── Busy              the database is locked for too long
    └── Cancelled             the user asked to stop; state on disk is consistent

Every message names the file or field and says what to do next.
"""

from __future__ import annotations

from collections.abc import Iterator


class NNActiveError(Exception):
    """Root of every error this package raises on purpose."""


class DatasetError(NNActiveError):
    """A file, label or loop file cannot be used as it is."""


class GeometryMismatch(DatasetError):
    """Two files that must share one voxel grid do not."""


class QueryError(NNActiveError):
    """Maps, parameters or boxes given to the query engine are not valid."""


class SegmentationError(NNActiveError):
    """Planning, training, prediction or export cannot go on."""


class OutOfMemory(SegmentationError):
    """Training or prediction needs more memory than the device or the machine has."""


class LoopError(NNActiveError):
    """The state of an active-learning run is missing, foreign or inconsistent."""


class ServerError(NNActiveError):
    """The server cannot run the way it was told to."""


class StoreError(NNActiveError):
    """The server's database or a stored file cannot be used."""


class NotFound(StoreError):
    """There is nothing of this id."""


class InvalidInput(StoreError):
    """What was given breaks a rule of the store; nothing was changed."""


class TooLarge(InvalidInput):
    """What was given, or announced, is over a limit; nothing was changed."""


class Conflict(StoreError):
    """What was asked for does not fit the present state; nothing was changed.

    Attributes:
        current: what the store holds instead, for the caller to show or to continue from: an answer, a lease,
            a job, a number of bytes; None when there is nothing.
    """

    def __init__(self, message: str, current: object = None) -> None:
        super().__init__(message)
        self.current = current


class KeyReused(Conflict):
    """An idempotency key was used before with another content."""


class NoSpace(StoreError):
    """The disk is full, over quota or failing; nothing was changed."""


class Busy(StoreError):
    """Another process keeps the database locked; trying again may help."""


class Cancelled(NNActiveError):
    """The user asked to stop; what was finished so far is on disk."""


def causes(problem: BaseException) -> Iterator[BaseException]:
    """An error and those it was raised from, newest first."""
    seen: BaseException | None = problem
    while seen is not None:
        yield seen
        seen = seen.__cause__


def error_named(name: str, otherwise: type[NNActiveError]) -> type[NNActiveError]:
    """The class of this tree with a name that another process told; `otherwise` when there is none."""
    found = globals().get(name)
    return found if isinstance(found, type) and issubclass(found, NNActiveError) else otherwise
