"""What a cycle's members say about single cases, on disk: maps and features, one file each.

A query ranks by what is read back from these files, never by what was in memory before it was written.
The maps are stored as float16: half the bytes, and the rounding (11 bits) lies far below what members
differ by. Because there is only this one truth, asking again from disk gives the same proposal bit for bit.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_server.core.errors import LoopError, QueryError
from nnactive_server.core.features import Embedding, FeatureGrid
from nnactive_server.core.files import atomic_path
from nnactive_server.core.patch import Index3, index3
from nnactive_server.loop.engine import SegmentationEngine
from nnactive_server.query import uncertainty_maps

HALVED = ("predictive_entropy", "mutual_information", "mean_probability")
"""Maps stored as float16; the expected entropy is what the second leaves of the first."""

SMALL = ("prediction", "predictive_entropy", "mutual_information")
"""Maps a query always gets, for its explanations; the probabilities of all classes only when needed."""

# Higher levels take twice as long for a few percent.
_LEVEL = 1
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Where maps and features of cases lie.

    Attributes:
        path: the folder.
    """

    path: Path

    def maps(self, case: str) -> Path:
        """Prediction (uint8), entropies (z, y, x) and mean probabilities (C, z, y, x) (float16) of a case."""
        return self.path / "maps" / f"{case}.npz"

    def features(self, case: str, kind: Embedding) -> Path:
        """Features of a case."""
        return self.path / "features" / f"{case}-{kind}.npz"


class Outputs:
    """Maps and features of one cycle's members: read where they are stored, otherwise made and stored.

    Args:
        members: the trained ensemble.
        folders: looked through in this order; what is made goes into the last one.
    """

    def __init__(self, members: Path, folders: Sequence[OutputFolder]) -> None:
        self._members, self._folders = members, tuple(folders)

    def lacks_maps(self, case: str) -> bool:
        """Whether the case has to be predicted."""
        return self._stored_maps(case) is None

    def lacks_features(self, case: str, kind: Embedding, cell: Index3) -> bool:
        """Whether features with cells of this size have to be made."""
        return self._stored_features(case, kind, cell) is None

    def make_maps(self, engine: SegmentationEngine, case: str) -> None:
        """Predict a case and store its maps.

        Raises:
            QueryError: members that disagree in shape, or are no softmax.
        """
        made = uncertainty_maps(engine.predict(self._members, case), ("prediction", *HALVED), case=case)
        halved = {name: made.pop(name).astype(np.float16) for name in HALVED}
        _save(self._folders[-1].maps(case), made | halved, level=_LEVEL)

    def make_features(self, engine: SegmentationEngine, case: str, kind: Embedding, cell: Index3) -> None:
        """Compute the features of a case and store them."""
        grid = engine.embed(self._members, case, kind, cell)
        values = np.asarray(grid.values, dtype=np.float32)
        document = {"values": values, "cell": np.array(grid.cell), "shape": np.array(grid.shape)}
        _save(self._folders[-1].features(case, kind), document)

    def maps(self, case: str, measures: Iterable[str]) -> dict[str, np.ndarray]:
        """Stored maps of a case: those in `SMALL`, the expected entropy, and what `measures` adds.

        Entropies are float32, mean probabilities stay float16 until they are used.

        Raises:
            LoopError: not stored, or damaged.
        """
        path = self._stored_maps(case)
        if path is None:
            raise LoopError(f"{self._folders[0].maps(case)}: these maps were removed meanwhile; ask again")
        with _reading(path) as stored:
            maps = {name: stored[name] for name in dict.fromkeys((*SMALL, *measures)) if name in stored}
        for name in ("predictive_entropy", "mutual_information"):
            maps[name] = maps[name].astype(np.float32)
        left = maps["predictive_entropy"] - maps["mutual_information"]
        return maps | {"expected_entropy": np.maximum(left, 0, out=left)}

    def features(self, case: str, kind: Embedding, cell: Index3) -> FeatureGrid:
        """Stored features of a case.

        Raises:
            LoopError: not stored with cells of this size, or damaged.
        """
        path = self._stored_features(case, kind, cell)
        if path is None:
            where = self._folders[0].features(case, kind)
            raise LoopError(f"{where}: features in cells of {cell} were removed meanwhile; ask again")
        return _read_features(path)

    def _stored_maps(self, case: str) -> Path | None:
        """A file that holds all maps: older versions kept fewer."""
        for path in (folder.maps(case) for folder in self._folders):
            if path.exists():
                with _reading(path) as stored:
                    if set(stored) >= {"prediction", *HALVED}:
                        return path
        return None

    def _stored_features(self, case: str, kind: Embedding, cell: Index3) -> Path | None:
        """A file whose cells have this size: another patch size needs other cells."""
        for path in (folder.features(case, kind) for folder in self._folders):
            if path.exists():
                with _reading(path) as stored:
                    if tuple(stored["cell"]) == tuple(cell):
                        return path
        return None


def read_maps(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Prediction (uint8) and predictive entropy (float32, nats) of a case, both (z, y, x).

    Raises:
        LoopError: missing or damaged.
    """
    with _reading(path) as stored:
        return stored["prediction"], stored["predictive_entropy"].astype(np.float32)


def _read_features(path: Path) -> FeatureGrid:
    with _reading(path) as stored:
        cell, shape = (index3(stored[name].tolist(), name) for name in ("cell", "shape"))
        try:
            return FeatureGrid(stored["values"], cell, shape)
        except QueryError as problem:
            raise LoopError(f"{path}: {problem}; remove the file and ask again") from problem


@contextmanager
def _reading(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of a file, each read when it is looked up."""
    try:
        # Opened here, because numpy leaves a damaged file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            yield stored
    except _BROKEN as problem:
        raise LoopError(
            f"{path}: not readable ({type(problem).__name__}: {problem}); remove the file and ask again"
        ) from problem


def _save(path: Path, arrays: Mapping[str, np.ndarray], level: int = 0) -> None:
    """What `numpy.savez` writes, with a choice how hard to compress."""
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", method, compresslevel=level or None) as archive,
    ):
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
