from __future__ import annotations

import gzip
import hashlib
import itertools
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.dataset.intake import IntakeLimits, TakenIn, take_in
from nnactive_server.dataset.volumes import read_geometry, read_stored

SHAPE = (5, 6, 7)
ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha")
DTYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
Make = Callable[..., Geometry]


def voxels(dtype: str = "i2", shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Every value from 1 on."""
    return (np.arange(np.prod(shape)) % 120 + 1).reshape(shape).astype(dtype)


def save(path: Path, array: np.ndarray, geometry: Geometry, compress: bool = False) -> Path:
    """Written under its ending, then renamed to a name that tells nothing."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path.rename(path.with_name(hashlib.sha256(path.name.encode()).hexdigest()))


def content(taken: TakenIn, path: Path) -> np.ndarray:
    """The voxels as a client reads them: from an offset on, in a known type and order."""
    flat = np.fromfile(path, taken.dtype, offset=taken.offset)
    return flat.reshape(taken.geometry.shape)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_voxels_of_every_type_and_format_arrive_unchanged(
    tmp_path: Path, make_geometry: Make, ending: str, compress: bool, dtype: str
) -> None:
    geometry = make_geometry(SHAPE, (10, 20, 30), flipped=True)
    source = save(tmp_path / f"a{ending}", voxels(dtype), geometry, compress or ending == ".nii.gz")
    target = tmp_path / "taken.nii"
    taken = take_in(source, target)
    np.testing.assert_array_equal(content(taken, target), voxels(dtype))
    stored = read_stored(target)
    np.testing.assert_array_equal(stored.array, voxels(dtype))
    assert stored.geometry == taken.geometry == read_geometry(target)
    assert taken.geometry.differences(geometry, tolerance_voxels=1e-3) == []
    assert taken.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert target.stat().st_size == taken.offset + target_size(taken)
    assert sorted(tmp_path.iterdir()) == sorted([source, target])


def target_size(taken: TakenIn) -> int:
    return int(np.prod(taken.geometry.shape)) * np.dtype(taken.dtype).itemsize


@pytest.mark.parametrize(
    ("stored", "highest", "kept"),
    [
        ("u1", 200, "<u1"),
        ("i2", 3, "<i2"),
        ("u2", 3, "<u2"),
        ("i4", 3, "<i4"),
        ("f4", 3, "<f4"),
        ("f8", 3, "<f4"),
        ("i1", 3, "<u1"),
        ("i8", -3, "<i2"),
        ("i8", 60000, "<u2"),
        ("u8", 70000, "<i4"),
        ("u4", 70000, "<i4"),
    ],
)
def test_a_usual_type_is_kept_and_another_becomes_the_smallest_that_holds_the_values(
    tmp_path: Path, make_geometry: Make, stored: str, highest: int, kept: str
) -> None:
    array = np.zeros(SHAPE, stored)
    array[-1, -1, -1] = highest
    source = save(tmp_path / "a.nrrd", array, make_geometry(SHAPE, (0, 0, 0)))
    taken = take_in(source, tmp_path / "taken.nii")
    assert taken.dtype == kept
    np.testing.assert_array_equal(content(taken, tmp_path / "taken.nii"), array)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    flipped=st.booleans(),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    origin=st.tuples(*[st.floats(-800, 800)] * 3),
    ending=st.sampled_from([".nii", ".nrrd", ".mha"]),
)
def test_any_grid_survives_to_a_thousandth_of_a_voxel(
    tmp_path: Path,
    make_geometry: Make,
    angles: tuple[float, float, float],
    flipped: bool,
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    ending: str,
) -> None:
    shape = (40, 30, 50)
    grid = Geometry(shape, spacing, origin, make_geometry(shape, angles, flipped).direction)
    array = np.zeros(shape, np.uint8)
    array[1, 2, 3] = 4
    source = save(tmp_path / f"a{ending}", array, grid)
    taken = take_in(source, tmp_path / "taken.nii")
    for corner in itertools.product(*((0, n - 1) for n in shape)):
        shift = np.subtract(taken.geometry.index_to_world(corner), grid.index_to_world(corner))
        assert np.abs(shift).max() <= 1e-3 * min(spacing)
    assert np.argwhere(content(taken, tmp_path / "taken.nii")).tolist() == [[1, 2, 3]]


def test_a_file_larger_than_one_piece_is_whole(tmp_path: Path, make_geometry: Make) -> None:
    shape = (40, 256, 257)  # 5 MB, and no piece ends with a voxel's last byte in the packed stream
    array = np.random.default_rng(0).integers(-1000, 1000, shape).astype("i2")
    source = save(tmp_path / "a.nii.gz", array, make_geometry(shape, (0, 0, 0)), compress=True)
    taken = take_in(source, tmp_path / "taken.nii")
    np.testing.assert_array_equal(content(taken, tmp_path / "taken.nii"), array)


def nifti_1(array: np.ndarray, order: str = "<", slope: float = 0.0, intercept: float = 0.0) -> bytearray:
    """A NIfTI-1 file with the least a header needs; voxels of 2 x 3 x 4 mm."""
    codes = {"u1": 2, "i2": 4, "u2": 512, "f4": 16}
    header = bytearray(352)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into(f"{order}2h", header, 70, codes[array.dtype.str[1:]], 8 * array.dtype.itemsize)
    struct.pack_into(f"{order}11f", header, 76, 1, 2, 3, 4, 0, 0, 0, 0, 352, slope, intercept)
    struct.pack_into(f"{order}h", header, 254, 1)
    struct.pack_into(f"{order}12f", header, 280, *(2, 0, 0, 5), *(0, 3, 0, 6), *(0, 0, 4, 7))
    header[344:348] = b"n+1\0"
    return header + array.astype(array.dtype.newbyteorder(order)).tobytes()


@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders_are_read(tmp_path: Path, order: str) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(nifti_1(voxels(), order), mtime=0))
    taken = take_in(tmp_path / "a", tmp_path / "taken.nii")
    assert taken.dtype == "<i2"
    np.testing.assert_array_equal(content(taken, tmp_path / "taken.nii"), voxels())
    assert taken.geometry.spacing == (4, 3, 2)
    assert taken.geometry.origin == (-5, -6, 7)


@pytest.mark.parametrize(
    ("slope", "intercept", "kept", "change"),
    [
        (0, 0, "<u2", lambda v: v),
        (float("nan"), float("nan"), "<u2", lambda v: v),
        (1, -1024, "<i2", lambda v: v - 1024),
        (2, 0, "<u1", lambda v: v * 2),
        (0.5, 1, "<f4", lambda v: v * 0.5 + 1),
    ],
)
def test_slope_and_intercept_are_applied(
    tmp_path: Path, slope: float, intercept: float, kept: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    (tmp_path / "a").write_bytes(nifti_1(voxels("u2"), slope=slope, intercept=intercept))
    taken = take_in(tmp_path / "a", tmp_path / "taken.nii")
    assert taken.dtype == kept
    np.testing.assert_array_equal(content(taken, tmp_path / "taken.nii"), change(voxels("i4")))


def test_a_fourth_axis_of_one_is_no_fourth_axis(tmp_path: Path) -> None:
    file = nifti_1(voxels())
    struct.pack_into("<h", file, 40, 4)
    (tmp_path / "a").write_bytes(file)
    assert take_in(tmp_path / "a", tmp_path / "taken.nii").geometry.shape == SHAPE


def test_nifti_2_is_read(tmp_path: Path) -> None:
    header = bytearray(544)
    struct.pack_into("<i8s2h8q", header, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16, 3, *SHAPE[::-1], 1, 1, 1, 1)
    struct.pack_into("<8dq2d", header, 104, 1, 2, 3, 4, 0, 0, 0, 0, 544, 1, 0)
    struct.pack_into("<i", header, 348, 1)
    struct.pack_into("<12d", header, 400, *(2, 0, 0, 5), *(0, 3, 0, 6), *(0, 0, 4, 7))
    (tmp_path / "a").write_bytes(header + voxels().tobytes())
    taken = take_in(tmp_path / "a", tmp_path / "taken.nii")
    np.testing.assert_array_equal(content(taken, tmp_path / "taken.nii"), voxels())
    assert taken.geometry.spacing == (4, 3, 2)
    assert taken.geometry.origin == (-5, -6, 7)


def test_a_nrrd_header_of_another_program_is_read(tmp_path: Path) -> None:
    header = (
        "NRRD0005\r\n# a comment\r\ntype: unsigned short\r\ndimension: 3\r\nsizes: 7 6 5\r\nspace: RAS\r\n"
        "space directions: (2,0,0) (0,3,0) (0,0,4)\r\nkinds: domain domain domain\r\nendian: big\r\n"
        "encoding: raw\r\nspace origin: (5,6,7)\r\nDWMRI_b-value:=1000\r\n\r\n"
    )
    (tmp_path / "a").write_bytes(header.encode() + voxels(">u2").tobytes())
    taken = take_in(tmp_path / "a", tmp_path / "taken.nii")
    np.testing.assert_array_equal(content(taken, tmp_path / "taken.nii"), voxels("u2"))
    assert taken.geometry.origin == (-5, -6, 7)
    assert taken.geometry.index_to_world((0, 0, 1)) == (-7, -6, 7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_voxels_that_are_no_numbers_are_refused(tmp_path: Path, make_geometry: Make, value: float) -> None:
    array = voxels("f8")
    array[1, 1, 1] = value
    source = save(tmp_path / "a.nrrd", array, make_geometry(SHAPE, (0, 0, 0)))
    with pytest.raises(DatasetError, match="at least 1 voxels are NaN, infinite or too large"):
        take_in(source, tmp_path / "taken.nii")
    assert list(tmp_path.iterdir()) == [source]


def test_whole_numbers_beyond_32_bits_are_refused(tmp_path: Path, make_geometry: Make) -> None:
    source = save(tmp_path / "a.nrrd", voxels("u8") + 2**40, make_geometry(SHAPE, (0, 0, 0)))
    with pytest.raises(DatasetError, match="do not fit 32-bit whole numbers"):
        take_in(source, tmp_path / "taken.nii")
    assert list(tmp_path.iterdir()) == [source]


def test_an_empty_image_is_refused(tmp_path: Path, make_geometry: Make) -> None:
    source = save(tmp_path / "a.nii", np.zeros(SHAPE, "i2"), make_geometry(SHAPE, (0, 0, 0)))
    with pytest.raises(DatasetError, match="every voxel is 0"):
        take_in(source, tmp_path / "taken.nii")
    assert list(tmp_path.iterdir()) == [source]


def test_a_grid_that_nifti_cannot_hold_is_refused(tmp_path: Path, make_geometry: Make) -> None:
    grid = Geometry(SHAPE, (1e-3, 1e-3, 1e-3), (12345.678, 0, 0), make_geometry(SHAPE, (0, 0, 0)).direction)
    source = save(tmp_path / "a.nrrd", voxels(), grid)
    with pytest.raises(DatasetError, match="too fine or too far from the origin"):
        take_in(source, tmp_path / "taken.nii")


@pytest.mark.parametrize("ending", ENDINGS)
def test_sizes_over_a_limit_are_refused_by_the_header_alone(
    tmp_path: Path, make_geometry: Make, ending: str
) -> None:
    source = save(tmp_path / f"a{ending}", voxels(), make_geometry(SHAPE, (0, 0, 0)))
    count = int(np.prod(SHAPE))
    for limits in (IntakeLimits(voxels=count - 1), IntakeLimits(unpacked=2 * count - 1)):
        with pytest.raises(DatasetError, match="at most"):
            take_in(source, tmp_path / "taken.nii", limits)
    assert take_in(source, tmp_path / "taken.nii", IntakeLimits(voxels=count, unpacked=2 * count))
