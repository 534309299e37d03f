"""Predictions and uncertainty maps that the cycles left on disk, as arrays to be sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_server.api.problems import Problem
from nnactive_server.api.voxels import Source, Voxels
from nnactive_server.core.mapfiles import map_path, open_newest
from nnactive_server.core.patch import Index3, Patch, index3
from nnactive_server.core.voxels import NotStored, VoxelFile, open_voxels
from nnactive_server.jobs.layout import model_name
from nnactive_server.store import Case

_STORED = ("prediction", "predictive_entropy", "mutual_information")
_CLASS = re.compile(r"class-(\d{1,3})")
_ENTROPY, _PROBABILITY = "predictive_entropy", "mean_probability"


@dataclass(frozen=True)
class _Stored:
    """A map as it lies on disk."""

    file: VoxelFile

    @property
    def shape(self) -> Index3:
        return index3(self.file.shape, "map shape")

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.file.dtype

    def read(self, box: Patch) -> np.ndarray:
        return self.file.read(box.slices)


@dataclass(frozen=True)
class _ClassSignal:
    """Probability of a class times the predictive entropy: what class-wise strategies rank by."""

    probability: VoxelFile
    entropy: VoxelFile
    value: int

    @property
    def shape(self) -> Index3:
        return index3(self.entropy.shape, "map shape")

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.entropy.dtype

    def read(self, box: Patch) -> np.ndarray:
        share = self.probability.read((slice(self.value, self.value + 1), *box.slices))[0]
        signal: np.ndarray = share.astype(np.float32) * self.entropy.read(box.slices)
        return signal.astype(self.dtype)


def map_source(root: Path, case: Case, name: str) -> Source:
    """A map of a case by the newest model that has predicted it.

    Args:
        root: folder of the project.
        case: as stored.
        name: `prediction`, `predictive_entropy`, `mutual_information` or `class-N`.

    Raises:
        Problem: no such map, or no model has predicted this case yet.
        VoxelsError: the file is damaged.
    """
    signal = _CLASS.fullmatch(name)
    if name not in _STORED and signal is None:
        raise Problem(404, "not-found", f"There is no such map; there are {', '.join(_STORED)} and class-N.")
    found = open_newest(root, case.name, _ENTROPY if signal else name)
    if found is None:
        raise Problem(404, "not-predicted", "No model has predicted this case yet; train one first.")
    number, file = found
    voxels: Voxels = _Stored(file) if signal is None else _class_signal(file, int(signal[1]))
    stamp = file.path.stat().st_mtime_ns if file.path.exists() else 0
    return Source(voxels, case.geometry, f"{case.id} {name} {number} {stamp}", model_name(number))


def prediction_crop(root: Path, case: Case, box: Patch, model: str) -> np.ndarray | None:
    """What a model predicted in a box, class ids (z, y, x); None when its maps are not the newest."""
    found = open_newest(root, case.name, "prediction")
    if found is None or model_name(found[0]) != model:
        return None
    return found[1].read(box.slices)


def _class_signal(entropy: VoxelFile, value: int) -> _ClassSignal:
    try:
        probability = open_voxels(map_path(entropy.path.parent, _PROBABILITY))
    except NotStored:
        raise Problem(503, "busy", "A new model takes the place of this one; ask again.") from None
    if value >= probability.shape[0]:
        raise Problem(404, "not-found", f"Classes go from 0 to {probability.shape[0] - 1}.")
    return _ClassSignal(probability, entropy, value)
