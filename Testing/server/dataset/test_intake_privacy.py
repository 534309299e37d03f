"""No word of a source's header may reach the file that is kept."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnactive_server.dataset.intake import take_in

SECRET = b"DOE^JANE"
VOXELS = np.arange(1, 61, dtype="<i2").reshape(3, 4, 5)
# name, first byte, length: every field of a NIfTI-1 header that does not place the voxels (nifti1.h)
FREE_1 = {
    "data_type": (4, 10),
    "db_name": (14, 18),
    "extents to dim_info": (32, 8),
    "intent_p and intent_code": (56, 14),
    "slice_end to xyzt_units": (120, 3),
    "cal_max to glmin": (124, 24),
    "descrip": (148, 80),
    "aux_file": (228, 24),
    "intent_name": (328, 16),
}
FREE_2 = {  # likewise of NIfTI-2 (nifti2.h)
    "intent_p": (80, 24),
    "cal_max to slice_end": (192, 48),
    "descrip": (240, 80),
    "aux_file": (320, 24),
    "slice_code": (496, 4),
    "intent_code and intent_name": (504, 20),
    "dim_info and unused": (524, 16),
}


def kept(folder: Path, content: bytes) -> bytes:
    """What is kept of a file, of which the voxels are kept."""
    (folder / "upload").write_bytes(content)
    taken = take_in(folder / "upload", folder / "taken.nii")
    file = (folder / "taken.nii").read_bytes()
    assert file[taken.offset :] == VOXELS.tobytes()
    return file


def require_clean(file: bytes) -> None:
    for start in range(len(SECRET) - 3):
        assert SECRET[start : start + 4] not in file


def planted(length: int) -> bytes:
    return (SECRET * 11)[:length]


def nifti_1(extension: bytes = b"") -> bytearray:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 5, 4, 3, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<9f", header, 76, 1, 1, 1, 1, 0, 0, 0, 0, 352 + len(extension))
    struct.pack_into("<h", header, 252, 1)
    header[344:348] = b"n+1\0"
    header[348] = bool(extension)
    return header + extension + VOXELS.tobytes()


def nifti_2() -> bytearray:
    header = bytearray(544)
    struct.pack_into("<i8s2h8q", header, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16, 3, 5, 4, 3, 1, 1, 1, 1)
    struct.pack_into("<8dq", header, 104, 1, 1, 1, 1, 0, 0, 0, 0, 544)
    struct.pack_into("<i", header, 344, 1)
    return header + VOXELS.tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_no_field_of_a_nifti_header_is_kept(tmp_path: Path, version: int, packed: bool) -> None:
    clean, fields = (nifti_1(), FREE_1) if version == 1 else (nifti_2(), FREE_2)
    reference = kept(tmp_path, clean)
    for name, (start, length) in fields.items():
        dirty = clean.copy()
        dirty[start : start + length] = planted(length)
        assert kept(tmp_path, gzip.compress(dirty) if packed else dirty) == reference, name
    require_clean(reference)


def test_axes_and_numbers_that_place_nothing_are_not_kept(tmp_path: Path) -> None:
    reference, dirty = kept(tmp_path, nifti_1()), nifti_1()
    dirty[92:108] = struct.pack("<4f", 11, 22, 33, 44)  # spacing along axes that are not there
    dirty[123] = 0x18  # units of time
    dirty[48:56] = SECRET  # lengths of axes that are not there
    assert kept(tmp_path, dirty) == reference


def test_extensions_are_not_kept(tmp_path: Path) -> None:
    extension = struct.pack("<2i", 96, 2) + planted(88)  # code 2: DICOM
    assert kept(tmp_path, nifti_1(extension)) == kept(tmp_path, nifti_1())


def test_no_field_of_a_nrrd_header_is_kept(tmp_path: Path) -> None:
    name = SECRET.decode()
    header = (
        f"NRRD0005\n# {name}\ntype: short\ndimension: 3\nsizes: 5 4 3\nendian: little\nencoding: raw\n"
        f'content: {name}\nunits: "{name}" "{name}" "{name}"\nlabels: "{name}" "{name}" "{name}"\n'
        f'space units: "{name}" "{name}" "{name}"\nsample units: {name}\nnumber: {name}\n'
        f"{name}:={name}\nDICOM_0010_0010:={name}\n{name}: {name}\n\n"
    )
    require_clean(kept(tmp_path, header.encode() + VOXELS.tobytes()))


def test_no_field_of_a_meta_header_is_kept(tmp_path: Path) -> None:
    name = SECRET.decode()
    header = (
        f"ObjectType = Image\nObjectSubType = {name}\nNDims = 3\nComment = {name}\nName = {name}\n"
        f"TransformType = {name}\nID = {name}\nParentID = {name}\nAcquisitionDate = {name}\n"
        f"Modality = {name}\nAnatomicalOrientation = {name}\n{name} = {name}\n"
        "BinaryData = True\nDimSize = 5 4 3\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    require_clean(kept(tmp_path, header.encode() + VOXELS.tobytes()))


def test_bytes_before_and_after_the_voxels_are_not_kept(tmp_path: Path) -> None:
    require_clean(kept(tmp_path, nifti_1() + SECRET))


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha"])
def test_metadata_written_by_itk_is_not_kept(tmp_path: Path, ending: str) -> None:
    image = sitk.GetImageFromArray(VOXELS)
    for key in ("descrip", "aux_file", "intent_name", "db_name", "ITK_FileNotes", "0010|0010", "Comment"):
        image.SetMetaData(key, SECRET.decode())
    path = tmp_path / f"source{ending}"
    sitk.WriteImage(image, str(path))
    content = path.read_bytes()
    assert SECRET in content  # or this test would show nothing
    require_clean(kept(tmp_path, content))
