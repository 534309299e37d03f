from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.dataset import RawDataset, import_dataset

ROTATION = Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix()
ORIGIN, DISTANCE, PIXEL = np.array([-30.0, 12.5, 200.0]), 2.5, (0.75, 1.25)
SECRET = "SECRET"
VOXELS = np.random.default_rng(0).integers(0, 2000, (4, 5, 6)).astype(np.uint16)
Slices = Callable[..., list[FileDataset]]


def base(kind: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    header.PatientName = header.PatientID = SECRET
    header.StudyDate, header.Modality = "20200101", "CT"
    header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3.777", "1.2.3.888"
    header.Rows, header.Columns = VOXELS.shape[1:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    header.RescaleIntercept, header.RescaleSlope = "-1024", "1"
    return header


def place(height: float) -> list[str]:
    return [f"{v:.6f}" for v in ORIGIN + height * ROTATION[:, 2]]


def orientation() -> list[str]:
    return [f"{v:.8f}" for v in (*ROTATION[:, 0], *ROTATION[:, 1])]


@pytest.fixture
def slices() -> Slices:
    """One header with pixels for each slice of an oblique series."""

    def make(modality: str = "CT", series: str = "1.2.3.888") -> list[FileDataset]:
        made = []
        for i, pixels in enumerate(VOXELS):
            header = base(CTImageStorage)
            header.ImagePositionPatient, header.ImageOrientationPatient = place(i * DISTANCE), orientation()
            header.PixelSpacing = [str(v) for v in PIXEL]
            header.Modality, header.SeriesInstanceUID, header.SliceThickness = modality, series, "9"
            header.PixelData = pixels.tobytes()
            made.append(header)
        return made

    return make


def save(headers: Sequence[FileDataset], folder: Path, names: Sequence[str] | None = None) -> None:
    """Write slices under names that say nothing about their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, header in enumerate(headers):
        header.save_as(folder / (names[i] if names else f"{(i * 7) % 10}_{SECRET}"))


@pytest.fixture
def src(tmp_path: Path) -> Path:
    return tmp_path / "src"


def bring(src: Path) -> RawDataset:
    import_dataset(src, src.parent / "project", labels={"lung": 1})
    return RawDataset.open(src.parent / "project")


def refusal(src: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        bring(src)
    assert list(src.parent.iterdir()) == [src]
    return str(caught.value)


def expected() -> Geometry:
    direction = tuple(float(v) for v in ROTATION.ravel())
    return Geometry(VOXELS.shape, (DISTANCE, *PIXEL), tuple(ORIGIN.tolist()), direction)


def test_slices_are_stacked_by_position_on_their_oblique_grid(src: Path, slices: Slices) -> None:
    save(slices(), src / "deep" / "folder")
    project = bring(src)
    image = project.read_image("case_001")
    np.testing.assert_array_equal(image.array[0], VOXELS.astype(np.float32) - 1024)
    assert image.geometry.differences(expected(), tolerance_voxels=1e-4) == []
    assert project.channels == ("CT",)
    assert project.labels.partial


def test_a_multi_frame_file_is_one_volume(src: Path) -> None:
    header = base(EnhancedCTImageStorage)
    order = (2, 0, 3, 1)
    header.NumberOfFrames = len(order)
    header.PixelData = VOXELS[list(order)].tobytes()
    shared, measures, plane = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    transform = pydicom.Dataset()
    transform.RescaleIntercept, transform.RescaleSlope, transform.RescaleType = "-1024", "1", "HU"
    measures.PixelSpacing, measures.SliceThickness = [str(v) for v in PIXEL], str(DISTANCE)
    plane.ImageOrientationPatient = orientation()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    shared.PixelValueTransformationSequence = [transform]
    header.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for i in order:
        frame, position = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = place(i * DISTANCE)
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    header.PerFrameFunctionalGroupsSequence = frames
    save([header], src)
    image = bring(src).read_image("case_001")
    np.testing.assert_array_equal(image.array[0], VOXELS.astype(np.float32) - 1024)
    assert image.geometry.differences(expected(), tolerance_voxels=1e-4) == []


def test_each_series_is_a_case_in_the_order_of_the_files(src: Path, slices: Slices) -> None:
    save(slices(series="1.2.9"), src / "a")
    save(slices(series="1.2.1"), src / "b")
    report = import_dataset(src, src.parent / "project", labels={"lung": 1})
    assert report.cases == ("case_001", "case_002")
    assert any("share a study" in text for text in report.warnings)


def test_nothing_that_names_the_patient_reaches_the_project(src: Path, slices: Slices) -> None:
    save(slices(), src / SECRET)
    report = import_dataset(src, src.parent / "project", labels={"lung": 1})
    assert not any(word in repr(report) for word in (SECRET, "1.2.3", "20200101"))
    for path in bringing(src.parent / "project"):
        assert SECRET not in path.name
        data = sitk.ReadImage(path).GetMetaDataKeys() if path.name.endswith(".nii.gz") else path.read_text()
        values = (
            [sitk.ReadImage(path).GetMetaData(key) for key in data] if isinstance(data, tuple) else [data]
        )
        assert not any(word in value for value in values for word in (SECRET, "1.2.3", "20200101"))


def bringing(project: Path) -> list[Path]:
    return [path for path in project.rglob("*") if path.is_file()]


def test_fractional_rescaling_keeps_its_fractions(src: Path, slices: Slices) -> None:
    headers = slices("PT")
    for i, header in enumerate(headers):
        header.RescaleSlope, header.RescaleIntercept = f"{0.25 * (i + 1)}", "0"
    save(headers, src)
    factors = np.arange(1, 5, dtype=np.float32)[:, None, None] * 0.25
    np.testing.assert_array_equal(bring(src).read_image("case_001").array[0], VOXELS * factors)


def test_a_missing_slice_is_an_error(src: Path, slices: Slices) -> None:
    headers = slices()
    del headers[1]
    save(headers, src)
    assert "missing slices" in refusal(src)


def test_two_slices_at_one_place_are_an_error(src: Path, slices: Slices) -> None:
    headers = slices()
    headers[2].ImagePositionPatient = headers[1].ImagePositionPatient
    save(headers, src)
    assert "duplicate slices: 1" in refusal(src)


def test_a_tilted_gantry_is_an_error(src: Path, slices: Slices) -> None:
    headers = slices()
    for i, header in enumerate(headers):
        moved = np.array([float(v) for v in header.ImagePositionPatient]) + i * 0.5 * ROTATION[:, 1]
        header.ImagePositionPatient = [f"{v:.6f}" for v in moved]
    save(headers, src)
    assert "tilted gantry" in refusal(src)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("PixelSpacing", ["0.75", "1.5"], "mixed geometry"),
        ("ImageOrientationPatient", ["1", "0", "0", "0", "1", "0"], "another orientation"),
        ("Rows", 4, "mixed geometry"),
        ("ImagePositionPatient", None, "ImagePositionPatient is missing"),
    ],
)
def test_a_slice_unlike_the_others_is_an_error(
    src: Path, slices: Slices, key: str, value: object, words: str
) -> None:
    headers = slices()
    setattr(headers[2], key, value)
    if key == "Rows":
        headers[2].PixelData = VOXELS[2, :4].tobytes()
    save(headers, src)
    assert words in refusal(src)


def test_every_broken_series_is_listed(src: Path, slices: Slices) -> None:
    for name in ("a", "b"):
        headers = slices(series=f"1.2.{ord(name)}")
        save([headers[0], *headers[2:]], src / name)
    save(slices(series="1.2.5"), src / "good")
    text = refusal(src)
    assert "2 problems" in text
    assert text.count("missing slices") == 2


def test_modalities_do_not_mix(src: Path, slices: Slices) -> None:
    save(slices("CT", "1.2.1"), src / "a")
    save(slices("MR", "1.2.2"), src / "b")
    assert "several modalities" in refusal(src)


def test_what_is_no_volume_is_left_out_with_a_word(src: Path, slices: Slices) -> None:
    save(slices(), src / "scan")
    localizer, report = slices(series="1.2.4")[:1], slices(series="1.2.5")[0]
    localizer[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    del report.Rows, report.Columns, report.PixelData
    save([*localizer, report], src / "rest")
    (src / "readme.txt").write_text("not DICOM")
    (src / "empty").touch()
    found = import_dataset(src, src.parent / "project", labels={"lung": 1})
    assert found.cases == ("case_001",)
    assert [text.split(":")[1] for text in found.warnings] == [
        " localizers",
        " not images (reports, structures, plans)",
    ]


def test_the_real_jpeg_2000_series_has_the_right_values_and_grid(real: Path, tmp_path: Path) -> None:
    source = real / "ct_thorax" / "dicom"
    report = import_dataset(source, tmp_path / "project", labels={"lung": 1})
    assert (report.kind, report.cases, report.channels) == ("dicom", ("case_001",), ("CT",))
    image = RawDataset.open(tmp_path / "project").read_image("case_001")
    assert image.geometry.shape == (20, 512, 512)
    assert image.geometry.spacing == (2.0, 0.9765625, 0.9765625)  # not the slice thickness, 3 mm
    assert image.geometry.origin == (-249.51171875, -437.51171875, -804.5)
    assert (image.array.min(), image.array.max()) == (-1024, 1839)


def test_a_real_series_with_a_slice_taken_out_is_refused(real: Path, src: Path) -> None:
    shutil.copytree(real / "ct_thorax" / "dicom", src)
    files = sorted(path for path in src.rglob("*") if path.is_file())
    files[len(files) // 2].unlink()
    assert "missing slices" in refusal(src)
