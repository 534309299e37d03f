"""Where the voxels of an array lie in the world.

This is the one place on the server that turns array indices (z, y, x) into world
coordinates (mm, LPS as in ITK) and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnactive_server.core.patch import Index3, index3

Float3 = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Geometry:
    """The voxel grid of one image file.

    Attributes:
        shape: voxels (z, y, x).
        spacing: mm between voxel centres, array order (z, y, x).
        origin: centre of voxel (0, 0, 0), mm, LPS (x, y, z).
        direction: row-major 3x3 matrix whose columns are the unit vectors of the
            image's i, j, k axes in LPS, as ITK stores it.
    """

    shape: Index3
    spacing: Float3
    origin: Float3
    direction: tuple[float, ...]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Geometry:
        """Read what `dataclasses.asdict` made of a grid; raises KeyError, TypeError or ValueError."""
        z, y, x = document["spacing"]
        a, b, c = document["origin"]
        return cls(index3(document["shape"]), (z, y, x), (a, b, c), tuple(document["direction"]))

    def index_to_world(self, index: Sequence[float]) -> Float3:
        """World position (x, y, z; mm, LPS) of a voxel index (z, y, x)."""
        world = np.asarray(self.origin) + self._axes() @ np.asarray(index, dtype=float)[::-1]
        return float(world[0]), float(world[1]), float(world[2])

    def world_to_index(self, world: Sequence[float]) -> Float3:
        """Continuous voxel index (z, y, x) of a world position (x, y, z; mm, LPS)."""
        offset = np.asarray(world, dtype=float) - np.asarray(self.origin)
        i, j, k = np.linalg.solve(self._axes(), offset)
        return float(k), float(j), float(i)

    def differences(self, other: Geometry, tolerance_voxels: float = 1e-2) -> list[str]:
        """What differs between two grids, in words; empty when they are the same.

        Positions may differ by `tolerance_voxels` of the smallest voxel edge at any
        corner: headers written by different programs round differently.
        """
        if self.shape != other.shape:
            return [f"shape (z, y, x) {self.shape} against {other.shape}"]
        tolerance = tolerance_voxels * min(self.spacing)
        corners = np.array([self.index_to_world(c) for c in self._corners()])
        others = np.array([other.index_to_world(c) for c in self._corners()])
        shift = float(np.abs(corners - others).max())
        if shift <= tolerance:
            return []
        found = [
            f"{name} {tuple(round(v, 4) for v in a)} against {tuple(round(v, 4) for v in b)}"
            for name, a, b in (
                ("spacing", self.spacing, other.spacing),
                ("origin", self.origin, other.origin),
                ("direction", self.direction, other.direction),
            )
            if not np.allclose(a, b, rtol=0, atol=1e-4)
        ]
        return found or [f"corners differ by up to {shift:.4g} mm"]

    def _axes(self) -> np.ndarray:
        """3x3 matrix from voxel index (i, j, k) to mm offset from the origin."""
        axes: np.ndarray = np.array(self.direction, dtype=float).reshape(3, 3)
        axes *= np.asarray(self.spacing[::-1], dtype=float)
        return axes

    def _corners(self) -> list[tuple[int, int, int]]:
        z, y, x = (n - 1 for n in self.shape)
        return [(a, b, c) for a in (0, z) for b in (0, y) for c in (0, x)]
