from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.dataset import read_image, write_volume

NOISE = np.random.default_rng(0).normal(size=(9, 10, 11))


@pytest.fixture
def plain(tmp_path: Path, make_geometry: Callable[..., Geometry]) -> Path:
    """An uncompressed volume with zeros in it."""
    array = NOISE.copy()
    array[0] = 0
    write_volume(tmp_path / "a.nii", array, make_geometry(array.shape, (0, 0, 0)))
    return tmp_path / "a.nii"


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("missing", [16, 1000])
def test_a_file_that_was_cut_off_is_refused(
    tmp_path: Path, make_geometry: Callable[..., Geometry], ending: str, missing: int
) -> None:
    path = tmp_path / f"a{ending}"
    write_volume(path, NOISE, make_geometry(NOISE.shape, (0, 0, 0)))
    read_image([path])
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(DatasetError, match=rf"a{ending}: not a readable image"):
        read_image([path])


def test_bytes_after_the_voxels_and_several_gzip_members_are_fine(plain: Path) -> None:
    raw, expected = plain.read_bytes(), read_image([plain]).array
    packed = plain.with_name("b.nii.gz")
    for data in (gzip.compress(raw + b"more"), gzip.compress(raw[:900]) + gzip.compress(raw[900:])):
        packed.write_bytes(data)
        np.testing.assert_array_equal(read_image([packed]).array, expected)


def test_a_big_endian_file_is_read_and_checked(plain: Path) -> None:
    native, path = plain.read_bytes(), plain.with_name("b.nii")
    image = sitk.ReadImage(plain)
    swapped = bytearray(native)
    for start, stop, width in ((0, 4, 4), (32, 36, 4), (40, 56, 2), (68, 76, 2), (76, 148, 4), (252, 256, 2)):
        for at in range(start, stop, width):
            swapped[at : at + width] = native[at : at + width][::-1]
    for at in (*range(256, 328, 4), *range(352, len(native), 4)):
        swapped[at : at + 4] = native[at : at + 4][::-1]
    path.write_bytes(swapped)
    np.testing.assert_array_equal(read_image([path]).array[0], sitk.GetArrayFromImage(image))
    swapped[-4:] = np.array(np.nan, ">f4").tobytes()
    path.write_bytes(swapped)
    with pytest.raises(DatasetError, match=r"b\.nii: 1 voxels are NaN"):
        read_image([path])


def test_a_renamed_file_that_is_not_compressed_is_named(plain: Path) -> None:
    path = plain.rename(plain.with_name("b.nii.gz"))
    with pytest.raises(DatasetError, match=r"b\.nii\.gz: not a readable image"):
        read_image([path])
