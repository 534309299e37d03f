from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)
from scipy.spatial.transform import Rotation

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.dataset.intake import IntakeLimits, take_in

ROTATION = Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix()
ORIGIN, DISTANCE, PIXEL = np.array([-30.0, 12.5, 200.0]), 2.5, (0.75, 1.25)
SECRET = "DOE^JANE"
VOXELS = np.random.default_rng(0).integers(0, 4000, (6, 5, 7)).astype(np.uint16)
LIMITS = IntakeLimits(members=50, unpacked=1 << 20, slack=1 << 12)


def header_of(kind: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset("", {}, file_meta=meta, preamble=SECRET.encode() * 16)
    header.SOPClassUID, header.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    header.PatientName = header.PatientID = header.StudyDescription = header.InstitutionName = SECRET
    header.SeriesDescription = header.ImageComments = SECRET
    header.add_new((0x0009, 0x0010), "LO", SECRET)  # private
    header.Modality, header.SeriesInstanceUID = "CT", "1.2.3.888"
    header.Rows, header.Columns = VOXELS.shape[1:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    header.RescaleIntercept, header.RescaleSlope = "-1024", "1"
    return header


def slices() -> list[FileDataset]:
    """An oblique series."""
    made = []
    for i, pixels in enumerate(VOXELS):
        header = header_of(CTImageStorage)
        header.ImagePositionPatient = [f"{v:.6f}" for v in ORIGIN + i * DISTANCE * ROTATION[:, 2]]
        header.ImageOrientationPatient = [f"{v:.8f}" for v in (*ROTATION[:, 0], *ROTATION[:, 1])]
        header.PixelSpacing, header.InstanceNumber = [str(v) for v in PIXEL], str(99 - i)
        header.PixelData = pixels.tobytes()
        made.append(header)
    return made


def content_of(header: FileDataset) -> bytes:
    file = io.BytesIO()
    header.save_as(file)
    return file.getvalue()


def packed(files: Sequence[bytes], names: Callable[[int], str] = "{}.dcm".format, **how: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **how) as archive:
        for i, content in enumerate(files):
            archive.writestr(names(i), content)
    return file.getvalue()


def shuffled() -> list[bytes]:
    made = [content_of(header) for header in slices()]
    return [made[i] for i in (3, 0, 5, 1, 4, 2)]


def refusal(folder: Path, content: bytes) -> str:
    source = folder / "upload"
    source.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        take_in(source, folder / "taken.nii", LIMITS)
    assert list(folder.iterdir()) == [source]
    words = str(caught.value)
    assert str(folder) not in words
    assert SECRET not in words
    return words


def expected() -> Geometry:
    direction = tuple(float(v) for v in ROTATION.ravel())
    return Geometry(VOXELS.shape, (DISTANCE, *PIXEL), tuple(ORIGIN.tolist()), direction)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_of_slices_becomes_a_volume_without_a_word_of_them(tmp_path: Path, method: int) -> None:
    content = packed(shuffled(), lambda i: f"{SECRET}{i}", compression=method)
    (tmp_path / "upload").write_bytes(content)
    taken = take_in(tmp_path / "upload", tmp_path / "taken.nii", LIMITS)
    file = (tmp_path / "taken.nii").read_bytes()
    values = np.frombuffer(file, taken.dtype, offset=taken.offset).reshape(VOXELS.shape)
    np.testing.assert_array_equal(values, VOXELS.astype(int) - 1024)
    assert taken.dtype == "<i2"
    assert taken.geometry.differences(expected(), tolerance_voxels=1e-3) == []
    assert len(file) == taken.offset + VOXELS.nbytes
    assert not any(SECRET[i : i + 4].encode() in file for i in range(len(SECRET) - 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken.nii", "upload"]


def test_the_files_of_a_series_can_be_given_as_they_lie(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    for i, content in enumerate(shuffled()):
        (tmp_path / "series" / str(i)).write_bytes(content)
    taken = take_in(sorted((tmp_path / "series").iterdir()), tmp_path / "taken.nii")
    values = np.fromfile(tmp_path / "taken.nii", taken.dtype, offset=taken.offset)
    np.testing.assert_array_equal(values, VOXELS.ravel().astype(int) - 1024)


def test_fractions_after_rescaling_are_kept_as_floats(tmp_path: Path) -> None:
    made = slices()
    made[4].RescaleSlope = "0.5"
    (tmp_path / "upload").write_bytes(packed([content_of(header) for header in made]))
    taken = take_in(tmp_path / "upload", tmp_path / "taken.nii")
    values = np.fromfile(tmp_path / "taken.nii", taken.dtype, offset=taken.offset).reshape(VOXELS.shape)
    assert taken.dtype == "<f4"
    np.testing.assert_array_equal(values[4], VOXELS[4] * 0.5 - 1024)
    np.testing.assert_array_equal(values[5], VOXELS[5] * 1.0 - 1024)


def multi_frame() -> FileDataset:
    header, order = header_of(EnhancedCTImageStorage), (2, 0, 3, 1)
    header.NumberOfFrames, header.PixelData = len(order), VOXELS[list(order)].tobytes()
    shared, measures, plane = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = [str(v) for v in PIXEL]
    plane.ImageOrientationPatient = [f"{v:.8f}" for v in (*ROTATION[:, 0], *ROTATION[:, 1])]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    header.SharedFunctionalGroupsSequence, header.PerFrameFunctionalGroupsSequence = [shared], []
    for i in order:
        group, position = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [f"{v:.6f}" for v in ORIGIN + i * DISTANCE * ROTATION[:, 2]]
        group.PlanePositionSequence = [position]
        header.PerFrameFunctionalGroupsSequence.append(group)
    return header


def test_a_multi_frame_file_is_a_volume(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(packed([content_of(multi_frame())]))
    taken = take_in(tmp_path / "upload", tmp_path / "taken.nii")
    values = np.fromfile(tmp_path / "taken.nii", taken.dtype, offset=taken.offset)
    np.testing.assert_array_equal(values, VOXELS[:4].ravel().astype(int) - 1024)


def changed(index: int, **elements: object) -> bytes:
    made = slices()
    for name, value in elements.items():
        setattr(made[index], name, value)
    return packed([content_of(header) for header in made])


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"SeriesInstanceUID": "1.2.3.999"}, "2 DICOM series"),
        ({"Rows": 4}, "mixed geometry"),
        ({"NumberOfFrames": 999999999}, "not complete"),
        ({"PixelSpacing": ["0", "1"]}, "not positive"),
        ({"PixelSpacing": ["1"]}, "values that cannot be used"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient is missing"),
        ({"ImagePositionPatient": ["0", "0", "0"]}, ""),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "a colour image"),
        ({"PixelData": b"12"}, "not complete"),
    ],
)
def test_series_that_make_no_volume_are_refused(
    tmp_path: Path, elements: dict[str, object], words: str
) -> None:
    assert words in refusal(tmp_path, changed(2, **elements))


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Rows": 65535, "Columns": 65535}, "each axis needs"),
        ({"Rows": 30000, "Columns": 30000}, "at most"),
        ({"NumberOfFrames": 999999999}, "each axis needs"),
        ({}, "cannot be decoded"),
    ],
)
def test_compressed_slices_are_decoded_only_when_their_size_is_acceptable(
    tmp_path: Path, elements: dict[str, object], words: str
) -> None:
    made = slices()
    for header in made:
        header.file_meta.TransferSyntaxUID = JPEG2000Lossless
        header.PixelData = encapsulate([b"no image"])
        header["PixelData"].is_undefined_length = True
        for name, value in elements.items():
            setattr(header, name, value)
    assert words in refusal(tmp_path, packed([content_of(header) for header in made]))


def test_reports_among_the_slices_are_left_out_and_alone_are_no_image(tmp_path: Path) -> None:
    report = header_of("1.2.840.10008.5.1.4.1.1.88.11")
    report.Modality = "SR"
    del report.Rows, report.Columns
    assert "no DICOM slices" in refusal(tmp_path, packed([content_of(report)]))
    (tmp_path / "upload").write_bytes(packed([*shuffled(), content_of(report)]))
    assert take_in(tmp_path / "upload", tmp_path / "taken.nii").geometry.shape == VOXELS.shape


def test_deflated_slices_are_not_inflated(tmp_path: Path) -> None:
    header = slices()[0]
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.add_new((0x0009, 0x1001), "OB", bytes(1 << 16))
    assert "deflated DICOM" in refusal(tmp_path, packed([content_of(header)]))


def test_other_files_in_the_zip_are_refused(tmp_path: Path) -> None:
    assert "file 7: no DICOM file" in refusal(tmp_path, packed([*shuffled(), b"hello"]))
    assert "no DICOM file" in refusal(tmp_path, packed([packed(shuffled())]))


@pytest.mark.parametrize(
    "name",
    ["../slip.dcm", "/etc/slip.dcm", "..\\slip.dcm", "C:slip.dcm", "folder/a.dcm", "folder/", "a\0/../b"],
)
def test_names_with_folders_are_refused_and_nothing_is_written_there(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep" / "work"
    folder.mkdir(parents=True)
    content = packed([shuffled()[0]], lambda _: "x" * len(name)).replace(b"x" * len(name), name.encode())
    assert "without their folder" in refusal(folder, content)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "upload", "work"]


@pytest.mark.parametrize("name", ["..", ".", "-rf", "con", "a" * 300, "ä\u202e", "same"])
def test_odd_names_play_no_part(tmp_path: Path, name: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i, content in enumerate(shuffled()):
            archive.writestr(name if i == 0 else f"{i}", content)
    (tmp_path / "upload").write_bytes(file.getvalue())
    assert take_in(tmp_path / "upload", tmp_path / "taken.nii", LIMITS).geometry.shape == VOXELS.shape


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        member = zipfile.ZipInfo("a.dcm")
        member.external_attr = (kind | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    assert "a link or no plain file" in refusal(tmp_path, file.getvalue())


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    zeros = bytes(1 << 19)
    assert "times its size" in refusal(tmp_path, packed([zeros], compression=zipfile.ZIP_DEFLATED))
    many = packed([bytes(range(256)) * 512] * 9)
    assert "unpacks to" in refusal(tmp_path, many)


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    real = bytes(range(256)) * 100
    content = packed([real], compression=zipfile.ZIP_DEFLATED)
    for told in (10, 30000):
        lied = content.replace(len(real).to_bytes(4, "little"), told.to_bytes(4, "little"))
        assert lied != content
        assert "damaged zip" in refusal(tmp_path, lied)


def test_a_zip_of_too_many_files_is_refused_by_its_end_alone(tmp_path: Path) -> None:
    assert "more than 50 files" in refusal(tmp_path, packed([b""] * 51))
    content = bytearray(packed([b""] * 40000))
    content[-14:-10] = (1).to_bytes(2, "little") * 2  # says one file
    assert "more than 50 files" in refusal(tmp_path, bytes(content))


def test_unusual_zips_are_refused(tmp_path: Path) -> None:
    content = packed([shuffled()[0]])
    assert "damaged zip" in refusal(tmp_path, content + b"comment")
    assert "damaged zip" in refusal(tmp_path, content[:-1])
    misplaced = bytearray(packed([b"12", shuffled()[0]]))
    misplaced[-10:-6] = (9999).to_bytes(4, "little")  # the directory: files would begin before the first byte
    assert "damaged zip" in refusal(tmp_path, bytes(misplaced))
    encrypted = bytearray(content)
    encrypted[content.index(b"PK\1\2") + 8] |= 1
    assert "encrypted" in refusal(tmp_path, bytes(encrypted))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert "unusual way" in refusal(tmp_path, packed([shuffled()[0]], compression=method))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("a.dcm", "w", force_zip64=True) as member:
        member.write(shuffled()[0])
    assert "only one slice" in refusal(tmp_path, file.getvalue())  # 64-bit sizes of a member do no harm


SLICES = packed(shuffled())


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(place=len(SLICES) - 6, values=b"\x15")
@given(
    place=st.one_of(st.integers(0, 1200), st.integers(len(SLICES) - 800, len(SLICES) - 1)),
    values=st.binary(min_size=1, max_size=6),
)
def test_random_damage_to_headers_is_refused_or_harmless(tmp_path: Path, place: int, values: bytes) -> None:
    (tmp_path / "upload").write_bytes(SLICES[:place] + values + SLICES[place + len(values) :])
    try:
        take_in(tmp_path / "upload", tmp_path / "taken.nii", LIMITS)
        (tmp_path / "taken.nii").unlink()
        words = ""
    except DatasetError as problem:
        words = str(problem)
    assert str(tmp_path) not in words
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 900), values=st.binary(min_size=1, max_size=6))
def test_random_damage_inside_a_slice_is_refused_or_harmless(
    tmp_path: Path, place: int, values: bytes
) -> None:
    made = shuffled()
    made[1] = made[1][:place] + values + made[1][place + len(values) :]
    (tmp_path / "upload").write_bytes(packed(made))
    try:
        take_in(tmp_path / "upload", tmp_path / "taken.nii", LIMITS)
        (tmp_path / "taken.nii").unlink()
        words = ""
    except DatasetError as problem:
        words = str(problem)
    assert str(tmp_path) not in words
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]
