from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import DatasetError, GeometryMismatch
from nnactive_server.core.geometry import Geometry
from nnactive_server.dataset import read_geometry, read_image, read_label, write_volume

ANGLE = st.floats(-180, 180)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(angles=st.tuples(ANGLE, ANGLE, ANGLE), flipped=st.booleans(), seed=st.integers(0, 99))
def test_any_rotated_or_flipped_grid_survives_a_round_trip(
    tmp_path: Path,
    make_geometry: Callable[..., Geometry],
    ending: str,
    angles: tuple[float, float, float],
    flipped: bool,
    seed: int,
) -> None:
    geometry = make_geometry((3, 4, 5), angles, flipped)
    array = np.random.default_rng(seed).normal(size=geometry.shape).astype(np.float32)
    path = tmp_path / f"volume{ending}"
    write_volume(path, array, geometry)
    back = read_image([path])
    assert back.geometry.differences(geometry, tolerance_voxels=1e-4) == []
    assert read_geometry(path) == back.geometry
    np.testing.assert_array_equal(back.array[0], array)


def test_the_mirror_image_of_a_grid_is_told_apart(
    tmp_path: Path, make_geometry: Callable[..., Geometry]
) -> None:
    write_volume(tmp_path / "a.nii.gz", np.zeros((3, 4, 5)), make_geometry((3, 4, 5), (0, 0, 0), True))
    assert read_geometry(tmp_path / "a.nii.gz").differences(make_geometry((3, 4, 5), (0, 0, 0), False))


def test_array_axes_are_z_y_x_of_the_file(tmp_path: Path) -> None:
    array = np.zeros((3, 4, 5), np.uint8)
    array[2, 1, 4] = 7
    write_volume(
        tmp_path / "a.nii.gz",
        array,
        Geometry((3, 4, 5), (3.0, 2.0, 1.0), (0.0,) * 3, tuple(np.eye(3).ravel())),
    )
    image = sitk.ReadImage(tmp_path / "a.nii.gz")
    assert image.GetSize() == (5, 4, 3)
    assert image.GetSpacing() == (1.0, 2.0, 3.0)
    assert image[4, 1, 2] == 7


@pytest.mark.parametrize(
    ("array", "stored"),
    [
        (np.array([0, 255], np.int64), sitk.sitkUInt8),
        (np.array([True, False]), sitk.sitkUInt8),
        (np.array([0, 256], np.int64), sitk.sitkInt16),
        (np.array([-1024, 3071], np.int32), sitk.sitkInt16),
        (np.array([0, 70000], np.int64), sitk.sitkInt32),
        (np.array([0, 0.5], np.float64), sitk.sitkFloat32),
    ],
)
def test_values_are_stored_whole_in_the_smallest_type(
    tmp_path: Path, make_geometry: Callable[..., Geometry], array: np.ndarray, stored: int
) -> None:
    array = array.reshape(1, 1, 2)
    write_volume(tmp_path / "a.nii.gz", array, make_geometry((1, 1, 2), (0, 0, 0)))
    image = sitk.ReadImage(tmp_path / "a.nii.gz")
    assert image.GetPixelID() == stored
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)


def test_labels_above_255_come_back_as_int16(tmp_path: Path, make_geometry: Callable[..., Geometry]) -> None:
    label = np.array([[[0, 300]]])
    write_volume(tmp_path / "a.nii.gz", label, make_geometry((1, 1, 2), (0, 0, 0)))
    back = read_label(tmp_path / "a.nii.gz").array
    assert back.dtype == np.int16
    assert back.tolist() == label.tolist()


def test_whole_numbers_stored_as_floats_are_labels(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.array([[[0.0, 2.0]]])), tmp_path / "a.nii.gz")
    back = read_label(tmp_path / "a.nii.gz").array
    assert back.dtype == np.uint8
    assert back.tolist() == [[[0, 2]]]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[[0.0, 0.5]]]), "whole numbers"),
        (np.array([[[0.0, np.nan]]]), "NaN"),
        (np.array([[[-1, 0]]], np.int16), "reach from -1"),
    ],
)
def test_values_that_are_no_labels_are_refused(tmp_path: Path, array: np.ndarray, words: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(array), tmp_path / "a.nii.gz")
    with pytest.raises(DatasetError, match=rf"a\.nii\.gz.*{words}"):
        read_label(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_refused(
    tmp_path: Path, make_geometry: Callable[..., Geometry], bad: float
) -> None:
    array = np.zeros((2, 3, 4))
    array[1, 1, 1] = bad
    sitk.WriteImage(sitk.GetImageFromArray(array), tmp_path / "a.nii.gz")
    with pytest.raises(DatasetError, match=r"a\.nii\.gz: 1 voxels are NaN or infinite"):
        read_image([tmp_path / "a.nii.gz"])
    with pytest.raises(DatasetError, match="1 voxels"):
        write_volume(tmp_path / "b.nii.gz", array, make_geometry((2, 3, 4), (0, 0, 0)))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.nii.gz"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (sitk.Image(4, 5, sitk.sitkUInt8), "a 2D image"),
        (sitk.Image([4, 5, 6, 2], sitk.sitkUInt8), "a 4D image"),
        (sitk.Image([4, 5, 6], sitk.sitkVectorUInt8, 3), "3 values a voxel"),
    ],
)
def test_other_than_plain_3d_volumes_are_refused(tmp_path: Path, image: sitk.Image, words: str) -> None:
    sitk.WriteImage(image, tmp_path / "a.nrrd")
    for read in (read_geometry, read_label, lambda path: read_image([path])):
        with pytest.raises(DatasetError, match=rf"a\.nrrd: {words}"):
            read(tmp_path / "a.nrrd")


def test_broken_and_missing_files_are_named(tmp_path: Path, make_geometry: Callable[..., Geometry]) -> None:
    path = tmp_path / "a.nii.gz"
    with pytest.raises(DatasetError, match=r"a\.nii\.gz: no such file"):
        read_geometry(path)
    path.write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=r"a\.nii\.gz: not a readable image"):
        read_geometry(path)
    write_volume(path, np.random.default_rng(0).normal(size=(9, 9, 9)), make_geometry((9, 9, 9), (0, 0, 0)))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(DatasetError, match=r"a\.nii\.gz: not a readable image"):
        read_image([path])


def test_a_sheared_nifti_header_is_explained(tmp_path: Path, make_geometry: Callable[..., Geometry]) -> None:
    path = tmp_path / "a.nii"
    write_volume(path, np.zeros((3, 4, 5), np.uint8), make_geometry((3, 4, 5), (0, 0, 0)))
    raw = bytearray(path.read_bytes())
    raw[252:254] = (0).to_bytes(2, "little")  # no qform
    raw[284:288] = np.float32(0.4).tobytes()  # srow_x[1]
    path.write_bytes(raw)
    with pytest.raises(DatasetError, match=r"a\.nii: .*sheared grid"):
        read_geometry(path)


def test_channels_on_different_grids_are_refused(
    tmp_path: Path, make_geometry: Callable[..., Geometry]
) -> None:
    write_volume(tmp_path / "a.nii.gz", np.zeros((3, 4, 5)), make_geometry((3, 4, 5), (0, 0, 0)))
    write_volume(tmp_path / "b.nii.gz", np.zeros((3, 4, 5)), make_geometry((3, 4, 5), (0, 0, 5)))
    with pytest.raises(GeometryMismatch, match=r"b\.nii\.gz: not on the grid of a\.nii\.gz: direction"):
        read_image([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"])


def test_an_array_of_another_shape_is_not_written(
    tmp_path: Path, make_geometry: Callable[..., Geometry]
) -> None:
    with pytest.raises(DatasetError, match="does not fit"):
        write_volume(tmp_path / "a.nii.gz", np.zeros((3, 4, 6)), make_geometry((3, 4, 5), (0, 0, 0)))


@pytest.mark.parametrize("name", ["example_mr_sm", "example_ct_sm"])
def test_real_volumes_keep_their_grid(tmp_path: Path, real: Path, name: str) -> None:
    source = real / "ct_thorax" / f"{name}.nii.gz"
    volume = read_image([source])
    write_volume(tmp_path / "copy.nii.gz", volume.array[0], volume.geometry)
    again = read_image([tmp_path / "copy.nii.gz"])
    assert again.geometry.differences(volume.geometry, tolerance_voxels=1e-5) == []
    np.testing.assert_array_equal(again.array, volume.array)
