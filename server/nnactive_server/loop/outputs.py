"""What a cycle's members say about single cases, on disk: maps, and features.

A query ranks by what is read back from these files, never by what was in memory before it was written.
The maps are stored as float16: half the bytes, and the rounding (11 bits) lies far below what members
differ by. Because there is only this one truth, asking again from disk gives the same proposal bit for bit.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_server.core.errors import LoopError, QueryError
from nnactive_server.core.features import Embedding, FeatureGrid
from nnactive_server.core.files import atomic_path
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.mapfiles import MAPS, case_maps, holds_maps, map_path, read_quality, write_quality
from nnactive_server.core.patch import Index3, index3
from nnactive_server.core.slabs import Slab
from nnactive_server.core.voxels import (
    VoxelFile,
    VoxelsError,
    VoxelWriter,
    open_voxels,
    save_voxels,
    write_voxels,
)
from nnactive_server.loop.engine import SegmentationEngine
from nnactive_server.loop.sparing import over_slabs, sparingly
from nnactive_server.loop.votes import Votes
from nnactive_server.query import uncertainty_maps
from nnactive_server.query.device import is_tensor, to_numpy

SMALL = ("prediction", "predictive_entropy", "mutual_information")
"""Maps a query always gets, for its explanations; the probabilities of all classes only when needed."""

_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Where maps and features of cases lie.

    Attributes:
        path: the folder.
    """

    path: Path

    def maps(self, case: str) -> Path:
        """Folder with the maps of a case, see `core.mapfiles`; there before they are complete."""
        return case_maps(self.path, case)

    def features(self, case: str, kind: Embedding) -> Path:
        """Features of a case."""
        return self.path / "features" / f"{case}-{kind}.npz"


class Outputs:
    """Maps and features of one cycle's members: read where they are stored, otherwise made and stored.

    Args:
        members: the trained ensemble.
        folders: looked through in this order; what is made goes into the last one.
        labels: classes that the members tell apart.
    """

    def __init__(self, members: Path, folders: Sequence[OutputFolder], labels: LabelSet) -> None:
        self._members, self._folders, self._labels = members, tuple(folders), labels

    def lacks_maps(self, case: str) -> bool:
        """Whether the case has to be predicted."""
        return self._stored_maps(case) is None

    def lacks_features(self, case: str, kind: Embedding, cell: Index3) -> bool:
        """Whether features with cells of this size have to be made."""
        return self._stored_features(case, kind, cell) is None

    def expect(self, engine: SegmentationEngine, cases: Iterable[str]) -> None:
        """Tell the engine which of these cases `make_maps` will be called for, in this order."""
        engine.expect(self._members, [case for case in cases if self.lacks_maps(case)])

    def make_maps(self, engine: SegmentationEngine, case: str) -> None:
        """Predict a case; store its maps and how far the members agree.

        No more of a case is in memory than the engine hands out in one slab.

        Raises:
            QueryError: members that disagree in shape, or are no softmax.
            LoopError: the disk is full.
            NoSpace: the engine needs more disk for temporary files than there is.
            OutOfMemory: it was tried with less, too.
            Cancelled: the engine was asked to stop.
        """

        def store(slabs: Iterator[Slab]) -> None:
            votes, target = Votes(), self._folders[-1].maps(case)
            with MapWriter(target) as writer:
                for slab in slabs:
                    made = uncertainty_maps(votes.watch(slab.members), MAPS, case=case)
                    writer.write(slab, made)
                write_quality(target, votes.agreement(self._labels))

        with _translated():
            over_slabs(case, partial(engine.slabs, self._members, case), store)

    def make_features(self, engine: SegmentationEngine, case: str, kind: Embedding, cell: Index3) -> None:
        """Compute the features of a case and store them.

        Raises:
            OutOfMemory: it was tried with less, too.
        """
        grid = sparingly(
            f"computing features of {case}",
            lambda sparing: engine.embed(self._members, case, kind, cell, sparing=sparing),
        )
        values = np.asarray(grid.values, dtype=np.float32)
        document = {"values": values, "cell": np.array(grid.cell), "shape": np.array(grid.shape)}
        with atomic_path(self._folders[-1].features(case, kind)) as temporary:
            np.savez(temporary, allow_pickle=False, **document)

    def maps(self, case: str, measures: Iterable[str]) -> dict[str, Any]:
        """Stored maps of a case: those in `SMALL`, the expected entropy, and what `measures` adds.

        Entropies are float32 arrays. Mean probabilities are `ClassMaps`: the others are in memory, but of
        these a large case has too many.

        Raises:
            LoopError: not stored, or damaged.
        """
        stored = self._existing(case)
        names = [name for name in dict.fromkeys((*SMALL, *measures)) if name in MAPS]
        with _translated():
            files = {name: open_voxels(map_path(stored, name)) for name in names}
            maps: dict[str, Any] = {
                name: ClassMaps(file) if name == "mean_probability" else file.array()
                for name, file in files.items()
            }
        for name in ("predictive_entropy", "mutual_information"):
            maps[name] = maps[name].astype(np.float32)
        left = maps["predictive_entropy"] - maps["mutual_information"]
        return maps | {"expected_entropy": np.maximum(left, 0, out=left)}

    def quality(self, case: str) -> float | None:
        """Predicted quality of a case, stored with its maps, see `core.mapfiles.read_quality`.

        Raises:
            LoopError: not stored, or damaged.
        """
        stored = self._existing(case)
        with _translated():
            return read_quality(stored)

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
        folders = (folder.maps(case) for folder in self._folders)
        return next((maps for maps in folders if holds_maps(maps)), None)

    def _existing(self, case: str) -> Path:
        stored = self._stored_maps(case)
        if stored is None:
            raise LoopError(f"{self._folders[0].maps(case)}: these maps were removed meanwhile; ask again")
        return stored

    def _stored_features(self, case: str, kind: Embedding, cell: Index3) -> Path | None:
        """A file whose cells have this size: another patch size needs other cells."""
        for path in (folder.features(case, kind) for folder in self._folders):
            if path.exists():
                with _reading(path) as stored:
                    if tuple(stored["cell"]) == tuple(cell):
                        return path
        return None


class ClassMaps:
    """A stored map (class, z, y, x) of which a class is read when it is asked for.

    Attributes:
        shape: of all classes together.
    """

    def __init__(self, file: VoxelFile) -> None:
        self._file = file
        self.shape = file.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, value: int) -> np.ndarray:
        """The map (z, y, x) of a class; raises LoopError when it is damaged."""
        number = range(len(self))[value]
        with _translated():
            found = self._file.read([slice(number, number + 1), *[slice(None)] * (len(self.shape) - 1)])
        return found.reshape(self.shape[1:])

    def min(self) -> float:
        """The lowest value of all classes; NaN when one is."""
        return float(self._extremes.min())

    def max(self) -> float:
        """The highest value of all classes; NaN when one is."""
        return float(self._extremes.max())

    @cached_property
    def _extremes(self) -> np.ndarray:
        """Lowest and highest value of each class (classes, 2)."""
        maps = (self[value] for value in range(len(self)))
        return np.array([(values.min(), values.max()) for values in maps])


class MapWriter(ExitStack):
    """Stores a case's maps slab by slab; a context manager, at whose good end they are all there.

    Args:
        target: folder of the case's maps.
    """

    def __init__(self, target: Path) -> None:
        super().__init__()
        self._target = target
        self._writers: dict[str, VoxelWriter] = {}

    def write(self, slab: Slab, maps: dict[str, Any]) -> None:
        """Store what `uncertainty_maps` made of a slab, and empty it.

        Raises:
            VoxelsError: the disk is full.
        """
        for name in MAPS:
            voxels = maps.pop(name)
            stored = _stored(name, voxels)
            if slab.is_whole:
                save_voxels(map_path(self._target, name), stored)
            else:
                self._writer(name, slab, stored).write(
                    (*[slice(None)] * (stored.ndim - 3), *slab.box), stored
                )

    def _writer(self, name: str, slab: Slab, like: np.ndarray) -> VoxelWriter:
        if name not in self._writers:
            self._writers[name] = self.enter_context(
                write_voxels(
                    map_path(self._target, name),
                    (*like.shape[:-3], *slab.shape),
                    like.dtype,
                    slab.axis,
                    slab.thickness,
                )
            )
        return self._writers[name]


def _stored(name: str, voxels: Any) -> np.ndarray:
    """A map as it is stored; of one on a device only half the bytes have to travel."""
    if name != "prediction":
        voxels = voxels.half() if is_tensor(voxels) else voxels.astype(np.float16)
    return to_numpy(voxels)


def read_maps(maps: Path) -> tuple[np.ndarray, np.ndarray]:
    """Prediction (uint8) and predictive entropy (float32, nats) of a case, both (z, y, x), from its folder.

    Raises:
        LoopError: missing or damaged.
    """
    with _translated():
        prediction, entropy = (
            open_voxels(map_path(maps, name)).array() for name in ("prediction", "predictive_entropy")
        )
    return prediction, entropy.astype(np.float32)


def _read_features(path: Path) -> FeatureGrid:
    with _reading(path) as stored:
        cell, shape = (index3(stored[name].tolist(), name) for name in ("cell", "shape"))
        try:
            return FeatureGrid(stored["values"], cell, shape)
        except QueryError as problem:
            raise LoopError(f"{path}: {problem}; remove the file and ask again") from problem


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except VoxelsError as problem:
        raise LoopError(f"{problem}; remove the case's folder and ask again") from problem


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
