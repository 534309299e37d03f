from __future__ import annotations

import hashlib
import io
import os
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from nnactive_server.core.errors import DatasetError, GeometryMismatch, NoSpace, NotFound
from nnactive_server.core.geometry import Geometry
from nnactive_server.dataset.volumes import read_geometry
from nnactive_server.jobs.handlers_cases import intake, project_folders
from nnactive_server.jobs.handlers_folders import scan_folder
from nnactive_server.store import Store, check_case_name

SHAPE = (4, 5, 6)
OUT = r"no such file|outside the folders"


def image_file(path: Path, value: int = 1, spacing: float = 2.0, shape: tuple[int, ...] = SHAPE) -> Path:
    image = sitk.GetImageFromArray(np.full(shape, value, np.int16))
    image.SetSpacing([spacing] * len(shape))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def dicom_series(folder: Path, uid: str, count: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        header.PatientName, header.Modality, header.SeriesInstanceUID = "DOE^JANE", "CT", uid
        header.Rows, header.Columns, header.SamplesPerPixel = 5, 6, 1
        header.PhotometricInterpretation, header.PixelRepresentation = "MONOCHROME2", 0
        header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
        header.ImagePositionPatient = ["0", "0", str(2 * i)]
        header.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        header.PixelSpacing, header.PixelData = ["2", "2"], np.full(30, i + 1, "<u2").tobytes()
        header.save_as(folder / f"{uid}.{i}")


@pytest.fixture
def upload(store: Store) -> Callable[..., str]:
    """Stores an image as an upload does; its path."""

    def put(name: str = "a.nii.gz", **how: Any) -> str:
        path = image_file(store.database.path.parent.parent / "local" / name, **how)
        return str(store.blobs.path(store.blobs.put(path.read_bytes())))

    return put


def leftovers(store: Store) -> list[Path]:
    return list(store.blobs.temporary.iterdir())


def geometry_from(document: dict[str, Any]) -> Geometry:
    return Geometry(**{name: tuple(values) for name, values in document.items()})


def test_the_channels_of_a_case_are_stored_plain_and_can_be_added(
    data: Path, store: Store, upload: Callable[..., str]
) -> None:
    channels = [upload("a.nii.gz"), upload("b.nrrd", value=7)]
    result = intake({"data": str(data), "channels": channels})
    assert result["arrays"] == [{"dtype": "<i2", "offset": 352}] * 2
    for sha256, value in zip(result["images"], (1, 7), strict=True):
        assert store.blobs.verify(sha256)
        voxels = np.frombuffer(store.blobs.read(sha256, 352), "<i2")
        np.testing.assert_array_equal(voxels, np.full(120, value))
    assert result["sources"] == ["".join(Path(path).parts[-2:]) for path in channels]
    geometry = geometry_from(result["geometry"])
    assert geometry.shape == SHAPE
    project = store.projects.create("p", {"labels": [{"name": "liver"}], "channels": ["T1", "T2"]})
    store.cases.add(project.id, "case", geometry, result["images"])
    assert leftovers(store) == []
    assert project_folders({"data": str(data), "projects": [project.id]}) == {"cases": {project.id: 1}}
    linked = data / "projects" / project.id / "imagesTr" / "case_0001.nii"
    assert linked.stat().st_ino == store.blobs.path(result["images"][1]).stat().st_ino
    assert read_geometry(linked) == geometry


def test_the_same_image_is_stored_once(data: Path, store: Store, upload: Callable[..., str]) -> None:
    first = intake({"data": str(data), "channels": [upload("a.nii.gz")]})
    before = store.blobs.path(first["images"][0]).stat().st_ino
    again = intake({"data": str(data), "channels": [upload("a.mha")]})
    assert again["images"] == first["images"]
    assert store.blobs.path(first["images"][0]).stat().st_ino == before
    assert leftovers(store) == []


@pytest.mark.parametrize("how", [{"spacing": 2.1}, {"shape": (4, 5, 7)}])
def test_channels_on_different_grids_are_refused(
    data: Path, store: Store, upload: Callable[..., str], how: dict[str, Any]
) -> None:
    channels = [upload("a.nii"), upload("b.nii", value=2), upload("c.nii", value=3, **how)]
    stored = sorted(store.blobs.all())
    with pytest.raises(GeometryMismatch, match="channel 2: not on the grid of channel 0"):
        intake({"data": str(data), "channels": channels})
    assert sorted(store.blobs.all()) == stored
    assert leftovers(store) == []


def test_a_bad_channel_is_named_by_its_number_and_nothing_is_stored(
    data: Path, store: Store, upload: Callable[..., str]
) -> None:
    bad = str(store.blobs.path(store.blobs.put(b"hello")))
    channels = [upload("a.nii"), bad]
    stored = sorted(store.blobs.all())
    with pytest.raises(DatasetError) as caught:
        intake({"data": str(data), "channels": channels})
    assert str(caught.value).startswith("channel 1: no image file")
    assert str(data) not in str(caught.value)
    assert sorted(store.blobs.all()) == stored
    assert leftovers(store) == []


def test_limits_are_those_of_the_params(data: Path, upload: Callable[..., str]) -> None:
    params = {"data": str(data), "channels": [upload()]}
    with pytest.raises(DatasetError, match="at most 119 voxels"):
        intake({**params, "limits": {"voxels": 119}})
    assert intake({**params, "limits": {"voxels": 120}})


def test_a_case_without_channels_is_refused(data: Path) -> None:
    with pytest.raises(DatasetError, match="an image for each channel"):
        intake({"data": str(data), "channels": []})


@pytest.fixture
def no_more_than() -> Iterator[Callable[[int], None]]:
    """Lets no file of this process grow over a size: the system's answer is that of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 353, 500])  # fails in the header for ITK, in ITK, in the image
def test_a_full_disk_is_called_that_and_stores_nothing(
    data: Path, upload: Callable[..., str], no_more_than: Callable[[int], None], size: int
) -> None:
    params = {"data": str(data), "channels": [upload()]}
    before = sorted(path for path in (data / "files").rglob("*") if path.is_file())
    no_more_than(size)
    with pytest.raises(NoSpace):
        intake(params)
    assert sorted(path for path in (data / "files").rglob("*") if path.is_file()) == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the server that its operator allowed."""
    root = (tmp_path / "allowed").resolve()
    root.mkdir()
    return root


def scan(folder: Path, path: Path | None = None) -> dict[str, Any]:
    return scan_folder({"path": str(path or folder), "roots": [str(folder)]})


def test_every_listed_case_of_a_plain_folder_can_be_taken_in(data: Path, folder: Path) -> None:
    image_file(folder / "one.nii.gz")
    image_file(folder / "two.nrrd", value=2)
    image_file(folder / "Größe 3!.mha", value=3)
    found = scan(folder)
    assert found["kind"] == "folder"
    assert found["problems"] == []
    assert {case["name"] for case in found["cases"]} == {"one", "two", "Groe_3_"}
    for case in found["cases"]:
        result = intake({"data": str(data), "channels": case["channels"], "roots": [str(folder)]})
        assert tuple(result["geometry"]["shape"]) == SHAPE
        assert result["sources"] == [None]


def test_channels_of_the_nnunet_layout_stay_together(folder: Path) -> None:
    for case in ("a", "b"):
        for channel in range(2):
            image_file(folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz")
        image_file(folder / "labelsTr" / f"{case}.nii.gz")
    description = '{"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "x": 1}}'
    (folder / "dataset.json").write_text(description)
    found = scan(folder)
    assert found["kind"] == "nnunet"
    assert found["channels"] == ["T1", "T2"]
    names = [[Path(path).name for path in case["channels"]] for case in found["cases"]]
    assert names == [["a_0000.nii.gz", "a_0001.nii.gz"], ["b_0000.nii.gz", "b_0001.nii.gz"]]
    assert "label maps of 2 cases are not taken over" in found["warnings"]


def test_dicom_series_that_share_a_folder_are_cases_of_their_own(data: Path, folder: Path) -> None:
    dicom_series(folder / "x", "1.2.1")
    dicom_series(folder / "x", "1.2.2", count=4)
    found = scan(folder)
    assert [len(case["channels"][0]) for case in found["cases"]] == [3, 4]
    for case, slices in zip(found["cases"], (3, 4), strict=True):
        result = intake({"data": str(data), "channels": case["channels"], "roots": [str(folder)]})
        assert result["geometry"]["shape"][0] == slices
        assert result["arrays"][0]["dtype"] == "<u1"


def test_a_folder_with_one_series_is_a_channel(data: Path, folder: Path) -> None:
    dicom_series(folder / "x", "1.2.1")
    result = intake({"data": str(data), "channels": [str(folder / "x")], "roots": [str(folder)]})
    assert result["geometry"]["shape"][0] == 3
    dicom_series(folder / "x", "1.2.2")
    with pytest.raises(DatasetError, match="channel 0: 2 DICOM series"):
        intake({"data": str(data), "channels": [str(folder / "x")], "roots": [str(folder)]})


def test_an_uploaded_zip_of_slices_is_a_channel(data: Path, store: Store, tmp_path: Path) -> None:
    dicom_series(tmp_path / "x", "1.2.1")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in (tmp_path / "x").iterdir():
            archive.write(path, path.name)
    stored = store.blobs.put(content.getvalue())
    result = intake({"data": str(data), "channels": [str(store.blobs.path(stored))]})
    assert result["geometry"]["shape"] == (3, 5, 6)
    assert result["sources"] == [stored] == [hashlib.sha256(content.getvalue()).hexdigest()]
    assert leftovers(store) == []


def test_one_file_is_a_case(folder: Path) -> None:
    path = image_file(folder / "deep" / "scan.nii.gz")
    assert scan(folder, path)["cases"] == [{"name": "scan", "channels": [str(path)]}]


def test_files_with_voxels_elsewhere_and_fourth_axes_are_problems(folder: Path) -> None:
    image_file(folder / "a.mhd")
    image_file(folder / "b.nhdr")
    image_file(folder / "c.nii.gz")
    found = scan(folder)
    assert [case["name"] for case in found["cases"]] == ["c"]
    assert len(found["problems"]) == 2
    assert all("in another file" in problem for problem in found["problems"])


def test_names_are_such_as_the_store_takes_and_told_apart(folder: Path) -> None:
    long = "y" * 80
    for name in ("a_b", "A!b", "con", "_x", "\u4e2d", f"{long}1", f"{long}2"):
        image_file(folder / f"{name}.nii")
    found = scan(folder)
    names = [case["name"] for case in found["cases"]]
    assert found["problems"] == []
    assert len({name.lower() for name in names}) == 7
    for name in names:
        check_case_name(name)
    assert {"x", "y" * 64} <= set(names)


@pytest.mark.parametrize("way", ["../outside", "link", "/etc", "missing", "\0"])
def test_nothing_outside_the_allowed_folders_is_listed_or_read(data: Path, folder: Path, way: str) -> None:
    outside = image_file(folder.parent / "outside" / "a.nii")
    (folder / "link").symlink_to(outside.parent)
    path = os.path.join(folder, way)  # noqa: PTH118 - an absolute second part wins, as in a hostile request
    with pytest.raises(DatasetError, match=OUT):
        scan_folder({"path": path, "roots": [str(folder)]})
    with pytest.raises(DatasetError, match=OUT):
        intake({"data": str(data), "channels": [path], "roots": [str(folder)]})
    with pytest.raises(DatasetError, match=OUT):
        intake({"data": str(data), "channels": [[path]], "roots": [str(folder)]})
    with pytest.raises(DatasetError, match=OUT):
        intake({"data": str(data), "channels": [str(outside)]})


def test_a_link_inside_an_allowed_folder_does_not_lead_out(folder: Path) -> None:
    outside = image_file(folder.parent / "outside" / "a.nii")
    (folder / "link.nii").symlink_to(outside)
    image_file(folder / "real.nii")
    found = scan(folder)
    assert [case["name"] for case in found["cases"]] == ["real"]
    assert "outside the folders" in found["problems"][0]


def test_the_folder_of_an_unknown_project_is_not_made(data: Path, store: Store) -> None:
    assert store.projects.list() == ()
    with pytest.raises(NotFound):
        project_folders({"data": str(data), "projects": ["nobody"]})
    assert not (data / "projects").exists()


def test_slices_keep_their_words_to_themselves(data: Path, store: Store, folder: Path) -> None:
    dicom_series(folder, "1.2.1")
    result = intake({"data": str(data), "channels": [str(folder)], "roots": [str(folder)]})
    assert b"DOE" not in store.blobs.read(result["images"][0])
    assert pydicom.dcmread(folder / "1.2.1.0").PatientName == "DOE^JANE"
