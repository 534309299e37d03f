"""Where voxels lie: the one place that turns LPS into RAS, and (z, y, x) into MRML's (i, j, k), and back.

The server and ITK give mm in LPS (left, posterior, superior), Slicer uses RAS (right, anterior, superior).
Arrays are (z, y, x); MRML counts the same voxels (i, j, k) = (x, y, z). The memory order is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from NNActiveLogic.client.arrays import ArrayInfo
from NNActiveLogic.client.values import Box, Case, Float3, Index3

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""LPS to RAS; also RAS to LPS."""
TOLERANCE_VOXELS = 0.01
"""Files round headers: this much apart is still the same grid."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A voxel grid in Slicer's world.

    Attributes:
        shape: voxels (z, y, x).
        ijk_to_ras: 4x4; takes the centre of voxel (i, j, k) to mm, RAS.
    """

    shape: Index3
    ijk_to_ras: np.ndarray

    @classmethod
    def of_header(cls, shape: Index3, spacing: Float3, origin: Float3, direction: tuple[float, ...]) -> Grid:
        """The grid of a header as ITK and the server have it.

        Args:
            shape: voxels (z, y, x).
            spacing: mm (z, y, x).
            origin: centre of the first voxel, mm, LPS.
            direction: row-major 3x3; its columns are the unit vectors of i, j, k in LPS.
        """
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(direction, (3, 3)) * np.asarray(spacing[::-1], float)
        affine[:3, 3] = origin
        return cls(shape, _FLIP @ affine)

    @classmethod
    def of_case(cls, case: Case) -> Grid:
        """The grid of a case's image."""
        return cls.of_header(case.shape, case.spacing, case.origin, case.direction)

    @classmethod
    def of_array(cls, info: ArrayInfo) -> Grid:
        """The grid of voxels that came from the server: of the whole image, or of a box in it.

        The origin in a header is that of the whole image; `start` says where the voxels begin.
        """
        whole = cls.of_header(info.shape, info.spacing, info.origin, info.direction)
        return whole.crop(Box(info.start, info.shape))

    @classmethod
    def of_volume(cls, volume: Any) -> Grid:
        """The grid of a volume node, without the transform that it may be under."""
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        return cls(_shape(volume.GetImageData()), as_array(matrix))

    @classmethod
    def of_image(cls, image: Any) -> Grid:
        """The grid of an oriented image (labelmap of a segment): its first voxel is that of its extent."""
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        first = image.GetExtent()[::2]
        return cls((1, 1, 1), as_array(matrix)).crop(Box((first[2], first[1], first[0]), _shape(image)))

    def crop(self, box: Box) -> Grid:
        """The grid of a box in this one."""
        moved = self.ijk_to_ras.copy()
        moved[:3, 3] = self.to_ras(box.start)
        return Grid(box.size, moved)

    def to_ras(self, index: tuple[float, float, float] | Index3) -> np.ndarray:
        """Position (RAS, mm) of a voxel index (z, y, x), which may lie between voxels."""
        point: np.ndarray = self.ijk_to_ras[:3, :3] @ np.asarray(index[::-1], float) + self.ijk_to_ras[:3, 3]
        return point

    def to_index(self, point_ras: np.ndarray) -> np.ndarray:
        """Voxel index (z, y, x), between voxels too, of a position (RAS, mm)."""
        ijk: np.ndarray = np.linalg.solve(self.ijk_to_ras[:3, :3], point_ras - self.ijk_to_ras[:3, 3])
        return ijk[::-1]

    @property
    def spacing(self) -> np.ndarray:
        """Mm between voxel centres, (z, y, x)."""
        lengths: np.ndarray = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return lengths[::-1]

    @property
    def extent_mm(self) -> np.ndarray:
        """Edge lengths (z, y, x) in mm, whole voxels."""
        return self.spacing * self.shape

    @property
    def centre_ras(self) -> np.ndarray:
        """Its middle (RAS, mm); voxels have their centres at whole numbers."""
        z, y, x = ((n - 1) / 2 for n in self.shape)
        return self.to_ras((z, y, x))

    @property
    def centre_to_ras(self) -> np.ndarray:
        """4x4: from mm along i, j, k, counted from the middle, to RAS; for a box that is drawn."""
        made = np.eye(4)
        made[:3, :3] = self.axes[:, ::-1]
        made[:3, 3] = self.centre_ras
        return made

    @property
    def axes(self) -> np.ndarray:
        """3x3: its columns are the unit vectors (RAS) of the axes z, y, x."""
        unit: np.ndarray = self.ijk_to_ras[:3, :3] / self.spacing[::-1]
        return unit[:, ::-1]

    @property
    def ijk_to_lps(self) -> np.ndarray:
        """4x4; takes the centre of voxel (i, j, k) to mm, LPS, as in files."""
        turned: np.ndarray = _FLIP @ self.ijk_to_ras
        return turned

    def offset_of(self, other: Grid) -> Index3 | None:
        """Where another grid begins in this one, in whole voxels (z, y, x); None when their voxels differ.

        The other one may lie outside.
        """
        begin = self.to_index(other.ijk_to_ras[:3, 3])
        z, y, x = (round(float(value)) for value in begin)
        expected = self.crop(Box((z, y, x), other.shape))
        last: Index3 = (other.shape[0] - 1, other.shape[1] - 1, other.shape[2] - 1)
        corners = ((0, 0, 0), last, (last[0], 0, 0), (0, last[1], 0), (0, 0, last[2]))
        apart = max(float(np.abs(expected.to_ras(c) - other.to_ras(c)).max()) for c in corners)
        return (z, y, x) if apart <= TOLERANCE_VOXELS * float(self.spacing.min()) else None

    def is_same(self, other: Grid) -> bool:
        """Whether the other grid has the same voxels."""
        return self.shape == other.shape and self.offset_of(other) == (0, 0, 0)

    def matrix(self) -> Any:
        """`ijk_to_ras` for VTK."""
        return vtk_matrix(self.ijk_to_ras)


def vtk_matrix(values: np.ndarray) -> Any:
    """A 4x4 array as VTK's matrix."""
    made = vtk.vtkMatrix4x4()
    made.DeepCopy(np.asarray(values, float).ravel().tolist())
    return made


def oriented_image(values: np.ndarray, whole: Grid, box: Box) -> Any:
    """An oriented image of a box: its extent are the voxels of the box on the whole grid.

    Args:
        values: (z, y, x) of the box.
        whole: the image's grid.
        box: where on it.
    """
    image = slicer.vtkOrientedImageData()
    (z, y, x), (depth, height, width) = box.start, box.size
    image.SetExtent(x, x + width - 1, y, y + height - 1, z, z + depth - 1)
    image.SetGeometryFromImageToWorldMatrix(whole.matrix())
    set_voxels(image, values)
    return image


def set_voxels(image: Any, values: np.ndarray, dtype: np.dtype | None = None) -> None:
    """Give an image its voxels (z, y, x), in one copy.

    Args:
        image: its extent is that of the values.
        values: what it gets.
        dtype: as what they are kept, one that VTK has; None as they are.
    """
    image.AllocateScalars(numpy_support.get_vtk_array_type(dtype or values.dtype), 1)
    voxels(image)[...] = values


def share_voxels(image: Any, values: np.ndarray) -> None:
    """Give an image voxels (z, y, x), contiguous, that stay where they are; VTK keeps them alive."""
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(values.reshape(-1), deep=False))


def voxels(image: Any) -> np.ndarray:
    """An image's voxels (z, y, x); a view, not a copy."""
    flat: np.ndarray = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return flat.reshape(_shape(image))


def _shape(image: Any) -> Index3:
    if image is None:
        return 0, 0, 0
    x, y, z = image.GetDimensions()
    return z, y, x


def as_array(matrix: Any) -> np.ndarray:
    """VTK's 4x4 matrix as an array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
