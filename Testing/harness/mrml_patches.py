"""Cases, arrays and patches as the server would send them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from NNActiveLogic.client.arrays import ArrayInfo, VoxelArray
from NNActiveLogic.client.values import Box, Case, Float3, Index3, Label, Patch
from NNActiveLogic.work import PatchView

STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
LABELS = (Label("Anterior", "#e8793a"), Label("Posterior", "#3aa0e8"))


def a_case(
    shape: Index3,
    spacing: Float3 = (1.0, 1.0, 1.0),
    origin: Float3 = (0.0, 0.0, 0.0),
    direction: Sequence[float] = STRAIGHT,
    name: str = "case",
) -> Case:
    """A case; arguments as in its value."""
    return Case(f"id-{name}", name, shape, spacing, origin, tuple(direction), 0, 1, None, None)


def an_array(
    case: Case, values: np.ndarray, start: Index3 = (0, 0, 0), model: str | None = None
) -> VoxelArray:
    """Voxels (z, y, x) of a case, or of a box in it that begins at `start`."""
    z, y, x = values.shape
    info = ArrayInfo(values.dtype.str, (z, y, x), case.spacing, case.origin, case.direction, start, model)
    return VoxelArray(values, info, "etag")


def a_patch(case: Case, box: Box, name: str = "p1", revision: int = 0) -> Patch:
    """An open patch of a case."""
    return Patch(
        name, "project", case.id, 1, 1, box, "", None, None, None, "", "query", "open", revision, None
    )  # fmt: skip


def a_view(
    case: Case, image: np.ndarray, box: Box, *, heat: np.ndarray | None = None, **more: Any
) -> PatchView:
    """A patch to open; `more` are further fields of `PatchView`, or `name` and `revision` of the patch."""
    patch = a_patch(case, box, more.pop("name", "p1"), more.pop("revision", 0))
    labels = more.pop("labels", LABELS)
    shown = None if heat is None else an_array(case, heat, model="3")
    return PatchView(patch, case, labels, an_array(case, image), shown, **more)
