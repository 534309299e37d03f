"""Slices through a query patch, the way a radiologist looks at them.

The volume's axes are permuted and flipped to the closest patient axes; nothing is interpolated.
Axial: anterior up, patient's left on the viewer's right. Coronal: superior up, patient's left on
the viewer's right. Sagittal: superior up, anterior on the viewer's left.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Literal

import numpy as np

from nnactive_server.core.errors import NNActiveError
from nnactive_server.core.files import atomic_path
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Index3, Patch, index3

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
LARGEST_SIDE = 256
"""Longer slices are thinned to at most this many pixels: twenty views a cycle stay small."""

_ACROSS: dict[Plane, int] = {"axial": 0, "coronal": 1, "sagittal": 2}
_EDGES: dict[Plane, str] = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}


@dataclass(frozen=True, slots=True, eq=False)
class SliceView:
    """One slice, rows from top to bottom, columns from the viewer's left to right.

    Attributes:
        plane: which of the three.
        image: grey values 0..255 (rows, columns).
        heat: uncertainty (rows, columns); 255 stands for the view's `heat_top`.
        prediction: class ids (rows, columns).
        truth: class ids (rows, columns), or None where nobody knows them.
        box: the patch as (top, left, height, width), in pixels from the picture's corner.
        pixel: size of a pixel (row, column) in mm.
    """

    plane: Plane
    image: np.ndarray
    heat: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray | None
    box: tuple[float, float, float, float]
    pixel: tuple[float, float]

    @property
    def edges(self) -> str:
        """Patient directions at the picture's left, right, top and bottom: four of R L A P S I."""
        return _EDGES[self.plane]


@dataclass(frozen=True, slots=True, eq=False)
class QueryView:
    """The three slices through the centre of one query.

    Attributes:
        slices: axial, coronal, sagittal.
        heat_top: uncertainty that the heat value 255 stands for.
    """

    slices: tuple[SliceView, ...]
    heat_top: float

    def plane(self, name: Plane) -> SliceView:
        """The slice in this plane."""
        return self.slices[PLANES.index(name)]

    def save(self, path: Path) -> None:
        """Write as a compressed `.npz`, whole or not at all."""
        content: dict[str, np.ndarray] = {"heat_top": np.asarray(self.heat_top)}
        for view in self.slices:
            content |= {
                f"{view.plane}_{name}": np.asarray(getattr(view, name))
                for name in ("image", "heat", "prediction", "truth", "box", "pixel")
                if getattr(view, name) is not None
            }
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **content)

    @classmethod
    def load(cls, path: Path) -> QueryView:
        """Read what `save` wrote.

        Raises:
            NNActiveError: missing, damaged or of another kind, naming the file.
        """
        try:
            # Opened here, because numpy leaves a damaged file open.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                content = {name: stored[name] for name in stored.files}
            slices = tuple(_slice_from(content, plane) for plane in PLANES)
            return cls(slices, float(content["heat_top"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
            raise NNActiveError(f"{path}: not a stored query view ({problem}); delete it") from problem


def query_view(
    image: np.ndarray,
    heat: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray | None,
    geometry: Geometry,
    patch: Patch,
) -> QueryView:
    """The slices through the centre of `patch`, in display orientation.

    Args:
        image: grey values (z, y, x).
        heat: uncertainty (z, y, x), not negative.
        prediction: class ids (z, y, x), at most 255.
        truth: class ids (z, y, x), or None.
        geometry: the grid that all arrays share.
        patch: the query, inside the image.

    Raises:
        NNActiveError: an array is not on that grid, or the patch leaves it.
    """
    _check({"image": image, "heat": heat, "prediction": prediction, "truth": truth}, geometry, patch)
    axes, flips = display_axes(geometry)
    box = _display_patch(patch, geometry.shape, axes, flips)
    spacing = np.asarray(geometry.spacing)[list(axes)]

    def cut(volume: np.ndarray) -> list[np.ndarray]:
        turned = np.flip(volume.transpose(axes), tuple(a for a in range(3) if flips[a]))
        return [_pixels(turned, plane, box) for plane in PLANES]

    heat_cuts = [np.nan_to_num(h.astype(np.float32)) for h in cut(heat)]
    heat_top = max(float(h.max()) for h in heat_cuts)
    greys = _to_bytes(cut(image), *_window(image))
    heats = _to_bytes(heat_cuts, 0.0, heat_top)
    predictions = [p.astype(np.uint8) for p in cut(prediction)]
    truths = [None] * 3 if truth is None else [t.astype(np.uint8) for t in cut(truth)]
    shape = index3([geometry.shape[a] for a in axes])
    return QueryView(
        tuple(
            SliceView(plane, g, h, p, t, *_place(plane, box, shape, spacing))
            for plane, g, h, p, t in zip(PLANES, greys, heats, predictions, truths, strict=True)
        ),
        heat_top,
    )


def display_axes(geometry: Geometry) -> tuple[Index3, tuple[bool, bool, bool]]:
    """How to bring an array (z, y, x) to (superior, posterior, left).

    Returns the array axis closest to each of these three patient axes, and whether it runs the
    other way. Each array axis is used once, also when a volume lies at 45 degrees.
    """
    # Row: S, P, L (LPS reversed). Column: array axis z, y, x (i, j, k reversed).
    cosines = np.asarray(geometry.direction, dtype=float).reshape(3, 3)[::-1, ::-1]
    best = max(permutations(range(3)), key=lambda p: sum(abs(cosines[row, p[row]]) for row in range(3)))
    backwards = [bool(cosines[row, best[row]] < 0) for row in range(3)]
    return index3(best), (backwards[0], backwards[1], backwards[2])


def _display_patch(patch: Patch, shape: Index3, axes: Index3, flips: tuple[bool, ...]) -> Patch:
    start = [
        shape[a] - patch.stop[a] if turned else patch.start[a] for a, turned in zip(axes, flips, strict=True)
    ]
    return Patch(index3(start), index3([patch.size[a] for a in axes]))


def _pixels(volume: np.ndarray, plane: Plane, box: Patch) -> np.ndarray:
    """The slice of a (superior, posterior, left) volume through the centre of the box."""
    across = _ACROSS[plane]
    flat = np.take(volume, box.start[across] + box.size[across] // 2, axis=across)
    upright: np.ndarray = flat if plane == "axial" else flat[::-1]
    rows, columns = (_thinning(n) for n in upright.shape)
    return upright[rows // 2 :: rows, columns // 2 :: columns]


def _place(
    plane: Plane, box: Patch, shape: Index3, spacing: np.ndarray
) -> tuple[tuple[float, float, float, float], tuple[float, float]]:
    """Box (top, left, height, width; pixels) and pixel size (row, column; mm) of one slice."""
    row, column = (axis for axis in range(3) if axis != _ACROSS[plane])
    top = box.start[row] if plane == "axial" else shape[row] - box.stop[row]
    tall, wide = _thinning(shape[row]), _thinning(shape[column])
    place = (top / tall, box.start[column] / wide, box.size[row] / tall, box.size[column] / wide)
    return place, (float(spacing[row]) * tall, float(spacing[column]) * wide)


def _thinning(pixels: int) -> int:
    return -(-pixels // LARGEST_SIDE)


def _window(image: np.ndarray) -> tuple[float, float]:
    """Grey values shown as black and white: robust against a few extreme voxels."""
    thin = image[tuple(slice(None, None, max(1, n // 64)) for n in image.shape)]
    low, high = np.nanpercentile(thin, (0.5, 99.5))
    return float(low), float(high)


def _to_bytes(slices: list[np.ndarray], low: float, high: float) -> list[np.ndarray]:
    scale = 255.0 / (high - low) if high > low else 0.0
    return [
        np.clip(np.nan_to_num((s.astype(np.float32) - low) * scale), 0, 255).round().astype(np.uint8)
        for s in slices
    ]


def _slice_from(content: dict[str, np.ndarray], plane: Plane) -> SliceView:
    top, left, height, width = (float(v) for v in content[f"{plane}_box"])
    row, column = (float(v) for v in content[f"{plane}_pixel"])
    image, heat, prediction = (content[f"{plane}_{name}"] for name in ("image", "heat", "prediction"))
    truth = content.get(f"{plane}_truth")
    return SliceView(plane, image, heat, prediction, truth, (top, left, height, width), (row, column))


def _check(arrays: dict[str, np.ndarray | None], geometry: Geometry, patch: Patch) -> None:
    for name, array in arrays.items():
        if array is not None and array.shape != geometry.shape:
            raise NNActiveError(f"query view: {name} {array.shape} is not on the image grid {geometry.shape}")
    if not patch.inside(geometry.shape):
        raise NNActiveError(f"query view: patch {patch} leaves the image {geometry.shape}")
