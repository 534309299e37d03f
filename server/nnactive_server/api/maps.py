"""Predictions and uncertainty maps that the cycles left on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnactive_server.api.voxels import Source
from nnactive_server.core.patch import Patch
from nnactive_server.store import Case


def map_source(root: Path, case: Case, name: str) -> Source:
    raise NotImplementedError


def prediction_crop(root: Path, case: Case, box: Patch, model: str) -> np.ndarray | None:
    return None
