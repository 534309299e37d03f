"""Volumes of the scene as image files for the server: voxels, their place, and nothing else.

What is to be sent is looked at where the windows are; packing and writing wait on a thread. Voxels are not
copied for it: the arrays of a volume stay alive as long as what is on its way.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from NNActiveLogic.scene import nodes
from NNActiveLogic.scene.grid import Grid, voxels
from NNActiveLogic.scene.reading import refuse_transform
from NNActiveLogic.work import WorkError

Progress = Callable[[int, int], None]
"""Called with voxels done and in all; may raise to stop."""
_TYPES = {
    "i1": "signed char",
    "u1": "unsigned char",
    "i2": "short",
    "u2": "unsigned short",
    "i4": "int",
    "u4": "unsigned int",
    "i8": "long long",
    "u8": "unsigned long long",
    "f4": "float",
}
"""NRRD's names (https://teem.sourceforge.net/nrrd/format.html); other numbers go as `float`."""
_SKEW = 1e-4
"""Cosine between axes up to which they count as at right angles; headers are rounded."""
_PIECE = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """A volume on its way; `write` may be called on a thread.

    Attributes:
        name: as people here know it; it is not written.
        values: voxels (z, y, x); not to be changed.
        grid: where they lie.
    """

    name: str
    values: np.ndarray
    grid: Grid
    _image: Any
    _time: int

    def write(self, target: Path, progress: Progress | None = None) -> None:
        """Write an NRRD file, the same for the same voxels; on a thread.

        Raises:
            WorkError: a voxel is no number, or the volume was changed meanwhile.
            OSError: the disk is full or failing.
        """
        with target.open("wb") as file:
            file.write(_header(self.values, self.grid))
            # Neither a name nor a time is written, so that the server knows a file it has already.
            with gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:
                for done, piece in _pieces(self.values):
                    self._check(piece)
                    packed.write(piece.view(np.uint8).data)
                    if progress is not None:
                        progress(done, self.values.size)
        if self._image.GetMTime() != self._time:
            raise WorkError(f"'{self.name}' was changed while it was written.", "Send it again.")

    def _check(self, piece: np.ndarray) -> None:
        if piece.dtype.kind == "f" and not np.isfinite(piece).all():
            raise WorkError(
                f"'{self.name}' has voxels without a value (NaN or infinite).",
                "Replace them, such as with the Threshold Scalar Volume module, and send it again.",
            )


def take(volume: Any) -> Outgoing:
    """A volume of the scene, to be written later; on the thread of the windows, in no time.

    Raises:
        WorkError: it is none that the server can use, with the reason.
    """
    _refuse_other_kinds(volume)
    refuse_transform(volume, f"'{volume.GetName()}'")
    grid, image = Grid.of_volume(volume), volume.GetImageData()
    unit = grid.axes
    if np.abs(unit.T @ unit - np.eye(3)).max() > _SKEW:
        raise WorkError(
            f"The slices of '{volume.GetName()}' are not stacked at right angles (a tilted gantry).",
            "Resample it with the Resample Scalar Volume module, and choose the result.",
        )
    return Outgoing(volume.GetName(), voxels(image), grid, image, image.GetMTime())


def take_channels(volumes: Sequence[Any]) -> tuple[Outgoing, ...]:
    """The channels of one case; raises WorkError, also when they do not have the same voxels."""
    taken = tuple(take(volume) for volume in volumes)
    for other in taken[1:]:
        if not taken[0].grid.is_same(other.grid):
            raise WorkError(
                f"'{other.name}' does not have the same voxels as '{taken[0].name}'.",
                "Resample it onto the other (Resample Scalar Volume), and choose the result.",
            )
    return taken


def usable(volume: Any) -> bool:
    """Whether a volume can be sent; for lists to choose from."""
    try:
        take(volume)
    except WorkError:
        return False
    return True


def _refuse_other_kinds(volume: Any) -> None:
    if volume is None or not volume.IsA("vtkMRMLScalarVolumeNode"):
        raise WorkError("No image volume is chosen.", "Load one, or choose another.")
    name, image = volume.GetName(), volume.GetImageData()
    if image is None or min(image.GetDimensions()) < 1 or image.GetPointData().GetScalars() is None:
        raise WorkError(f"'{name}' has no voxels.", "Load it again, or choose another volume.")
    if volume.IsA("vtkMRMLLabelMapVolumeNode"):
        raise WorkError(f"'{name}' holds labels, not an image.", "Choose the image that they belong to.")
    if image.GetNumberOfScalarComponents() != 1:
        raise WorkError(
            f"'{name}' has {image.GetNumberOfScalarComponents()} values in each voxel (colours or times).",
            "Choose a volume with one value in each voxel, such as one of its channels or times.",
        )
    for browser in nodes.of_class("vtkMRMLSequenceBrowserNode"):
        if browser.GetSequenceNode(volume) is not None:
            raise WorkError(
                f"'{name}' is one time of a sequence, and changes with it.",
                "Clone the time that you mean (Data module), and choose the copy.",
            )


def _header(values: np.ndarray, grid: Grid) -> bytes:
    matrix = grid.ijk_to_lps
    lines = [
        "NRRD0004",
        f"type: {_TYPES[_stored(values.dtype).str[1:]]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(length) for length in values.shape[::-1])}",
        f"space directions: {' '.join(_vector(matrix[:3, axis]) for axis in range(3))}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(matrix[:3, 3])}",
    ]
    return "\n".join([*lines, "", ""]).encode("ascii")


def _vector(numbers: np.ndarray) -> str:
    # The shortest text that gives the same number again.
    return f"({','.join(repr(float(number)) for number in numbers)})"


def _stored(dtype: np.dtype) -> np.dtype:
    little = dtype.newbyteorder("<" if dtype.itemsize > 1 else "=")
    return little if little.str[1:] in _TYPES else np.dtype("<f4")


def _pieces(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Voxels in the order of the file, each piece with the number of voxels up to its end."""
    flat, dtype = values.reshape(-1), _stored(values.dtype)
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
            yield start + piece.size, piece.astype(dtype, copy=False)
