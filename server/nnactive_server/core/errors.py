"""The exception tree of the package.

    NNActiveError
    ├── DatasetError          files, geometry, labels, loop files
    │   └── GeometryMismatch  two grids that should agree do not
    ├── QueryError            maps, strategies, patch selection
    ├── SegmentationError     plans, training, prediction, export
    ├── LoopError             the state of an active-learning run
    └── Cancelled             the user asked to stop; state on disk is consistent

Every message names the file or field and says what to do next.
"""


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


class LoopError(NNActiveError):
    """The state of an active-learning run is missing, foreign or inconsistent."""


class Cancelled(NNActiveError):
    """The user asked to stop; what was finished so far is on disk."""
