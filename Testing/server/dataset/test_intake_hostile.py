"""Files made to harm: none of them may be read beyond its limits, and none may leave anything behind."""

from __future__ import annotations

import gzip
import itertools
import pickle
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import DatasetError
from nnactive_server.dataset.intake import IntakeLimits, take_in
from nnactive_server.dataset.intake.contents import geometry_of

SECRET = "DOE^JANE"
LIMITS = IntakeLimits(voxels=1 << 20, unpacked=1 << 22, slack=1 << 12)
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nendian: little\nencoding: raw\n"
META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 2 2 2\nElementType = MET_SHORT\n"
VOXELS = np.arange(1, 9, dtype="<i2").tobytes()


@pytest.fixture(scope="module")
def nii(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("made") / "a.nii"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(1, 61, dtype="i2").reshape(3, 4, 5)), str(path))
    return path.read_bytes()


def refusal(folder: Path, content: bytes) -> str:
    """Why a file is refused; nothing is left, and neither its place nor its content is told."""
    source = folder / "upload"
    source.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        take_in(source, folder / "taken.nii", LIMITS)
    words = str(caught.value)
    assert list(folder.iterdir()) == [source]
    assert str(folder) not in words
    assert SECRET not in words
    return words


def packed_into(header: bytes, form: str, place: int, *values: float) -> bytes:
    changed = bytearray(header)
    struct.pack_into(form, changed, place, *values)
    return bytes(changed)


class Canary:
    """Touches a file when somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_pickles_are_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    assert "no image file" in refusal(folder, pickle.dumps(Canary(tmp_path / "canary")))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n", "no image file"),
        (b"%PDF-1.7", "no image file"),
        (bytes(128) + b"DICM", "no image file"),
        (gzip.compress(b"hello", mtime=0), "not a NIfTI file inside"),
        (gzip.compress(b"", mtime=0), "not a NIfTI file inside"),
        (gzip.compress(NRRD.encode() + b"\n" + VOXELS), "not a NIfTI file inside"),
        (b"\x1f\x8b\x08", "its end is missing"),
        (b"\x1f\x8b\x08" + bytes(100), "damaged"),
        (b"NRRD0004\n", "no end"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path, content)


def test_what_itk_says_about_a_temporary_file_does_not_name_it(tmp_path: Path) -> None:
    for ending in (".nii", ".nrrd", ".mha"):
        with pytest.raises(DatasetError, match="not a readable image") as caught:
            geometry_of(b"hello", ending, (2, 2, 2), tmp_path)
        assert str(tmp_path) not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        take_in(tmp_path / "nowhere", tmp_path / "taken.nii")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["data file: /etc/passwd", "datafile: /etc/passwd", " data file : LIST", "data file: %d.raw 1 2 1"],
)
def test_a_nrrd_header_cannot_name_other_files(tmp_path: Path, line: str) -> None:
    assert "names other files" in refusal(tmp_path, f"{NRRD}{line}\n\n".encode() + VOXELS)


def test_an_unknown_field_is_not_handed_on(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(f"{NRRD}DATA FILE: /etc/passwd\n\n".encode() + VOXELS)
    taken = take_in(tmp_path / "upload", tmp_path / "taken.nii")
    assert (tmp_path / "taken.nii").read_bytes()[taken.offset :] == VOXELS  # its own voxels count


@pytest.mark.parametrize("file", ["/etc/passwd", "LIST\n/etc/passwd", "%d.raw 1 2 1", "local.raw", ""])
def test_a_meta_header_cannot_name_other_files(tmp_path: Path, file: str) -> None:
    content = f"{META}ElementDataFile = {file}\n".encode() + VOXELS
    assert "names other files" in refusal(tmp_path, content)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("sizes: 2 2 2", "sizes: 1000000 1000000 1000000", "each axis needs 1 to 32767"),
        ("sizes: 2 2 2", "sizes: 30000 30000 30000", "at most 1048576 voxels"),
        ("sizes: 2 2 2", "sizes: 2 -2 2", "each axis needs"),
        ("sizes: 2 2 2", "sizes: 2 2 1e400", "NaN or infinite"),
        ("sizes: 2 2 2", "sizes: 2 2 2.5", "whole numbers"),
        ("sizes: 2 2 2", f"sizes: 2 2 {SECRET}", "something else than numbers"),
        ("dimension: 3\nsizes: 2 2 2", "dimension: 4\nsizes: 2 2 2 1", "a 4D image"),
        ("dimension: 3\nsizes: 2 2 2", "dimension: 2\nsizes: 4 2", "a 2D image"),
        ("dimension: 3", "dimension: 4", "contradict"),
        ("type: short", f"type: {SECRET}", "unusual type"),
        ("type: short", "type: block", "unusual type"),
        ("endian: little", "endian: middle", "endian"),
        ("encoding: raw", "encoding: ascii", "neither raw nor gzip"),
        ("encoding: raw", "encoding: raw\nencoding: gzip", "there twice"),
        ("encoding: raw", "encoding: raw\nbyte skip: -1", "do not follow its header"),
        ("encoding: raw", "encoding: raw\nkinds: RGB-color domain domain", "several values a voxel"),
        ("encoding: raw", f"encoding: raw\nspace: {SECRET}", "names no known space"),
        ("encoding: raw", "encoding: raw\nspacings: 1 1 0", "spacing"),
        ("encoding: raw", "encoding: raw\nspacings: 1 1 nan", "NaN or infinite"),
        (
            "encoding: raw",
            "encoding: raw\nspace: lps\nspace directions: (1,0,0) (1,1,0) (0,0,1)",
            "right angles",
        ),
        ("encoding: raw", "encoding: raw\nspace: lps\nspace directions: (1,0,0) (0,1,0) (0,0,0)", ""),
    ],
)
def test_nrrd_headers_that_lie_are_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    header = NRRD.replace(old, new)
    assert header != NRRD
    assert words in refusal(tmp_path, header.encode() + b"\n" + VOXELS)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("DimSize = 2 2 2", "DimSize = 1000000 1000000 1000000", "each axis needs 1 to 32767"),
        ("DimSize = 2 2 2", "DimSize = 2 2 0", "each axis needs"),
        ("NDims = 3\n", "NDims = 4\n", "contradict"),
        ("BinaryData = True", "BinaryData = False", "written as text"),
        ("MET_SHORT", "MET_SHORT_ARRAY", "unusual type"),
        ("ElementType", "ElementNumberOfChannels = 3\nElementType", "several values a voxel"),
        ("ElementType", "HeaderSize = -1\nElementType", "do not follow"),
        ("ElementType", f"Offset = 0 0 {SECRET}\nElementType", "something else than numbers"),
        ("ElementType", "Offset = 0 0\nElementType", "needs 3 numbers"),
        ("ElementType", "ElementSpacing = 1 1 -1\nElementType", ""),
    ],
)
def test_meta_headers_that_lie_are_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    header = META.replace(old, new)
    assert header != META
    assert words in refusal(tmp_path, f"{header}ElementDataFile = LOCAL\n".encode() + VOXELS)


@pytest.mark.parametrize(
    ("form", "place", "values", "words"),
    [
        ("<4h", 40, (3, 32767, 32767, 32767), "at most 1048576 voxels"),
        ("<4h", 40, (3, -4, 5, 3), "each axis needs"),
        ("<h", 40, (0,), "no number of axes"),
        ("<h", 40, (-9,), "no number of axes"),
        ("<h", 40, (2,), "a 2D image"),
        ("<5h", 40, (4, 5, 4, 1, 3), "a 4D image"),
        ("<2h", 70, (128, 24), "a colour image"),
        ("<2h", 70, (32, 64), "unusual type"),
        ("<2h", 70, (4, 32), "contradicts itself"),
        ("<f", 108, (0.0,), "nowhere"),
        ("<f", 108, (-1e30,), "nowhere"),
        ("<f", 108, (1e30,), "nowhere"),
        ("<f", 108, (float("nan"),), "where the voxels begin"),
        ("<f", 108, (float("inf"),), "where the voxels begin"),
        ("<f", 108, (1e6,), "its end is missing"),
        ("<f", 280, (float("nan"),), "NaN or infinite"),
        ("<4s", 344, (b"ni1\0",), "pair of files"),
        ("<4s", 344, (bytes(4),), "pair of files"),
    ],
)
def test_nifti_headers_that_lie_are_refused(
    tmp_path: Path, nii: bytes, form: str, place: int, values: tuple[float, ...], words: str
) -> None:
    changed = packed_into(nii, form, place, *values)
    assert words in refusal(tmp_path, changed)
    assert words in refusal(tmp_path, gzip.compress(changed, mtime=0))


def formats(nii: bytes) -> Iterator[bytes]:
    yield nii
    yield gzip.compress(nii, mtime=0)
    yield NRRD.encode() + b"\n" + VOXELS
    yield NRRD.replace("raw", "gzip").encode() + b"\n" + gzip.compress(VOXELS, mtime=0)
    yield f"{META}ElementDataFile = LOCAL\n".encode() + VOXELS
    yield f"{META}CompressedData = True\nElementDataFile = LOCAL\n".encode() + zlib.compress(VOXELS)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, nii: bytes) -> None:
    for content in formats(nii):
        (tmp_path / "upload").write_bytes(content)
        take_in(tmp_path / "upload", tmp_path / "taken.nii", LIMITS)
        (tmp_path / "taken.nii").unlink()
        for length in (*range(0, len(content), max(1, len(content) // 40)), len(content) - 1):
            refusal(tmp_path, content[:length])


def test_a_flipped_bit_in_a_packed_file_is_found(tmp_path: Path, nii: bytes) -> None:
    content = bytearray(gzip.compress(nii, mtime=0))
    content[-6] ^= 1  # in the checksum
    assert "damaged" in refusal(tmp_path, bytes(content))


@pytest.mark.parametrize("members", [1, 64])
def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path, nii: bytes, members: int) -> None:
    bomb = gzip.compress(nii, mtime=0) + gzip.compress(bytes((32 << 20) // members)) * members
    assert "far more than" in refusal(tmp_path, bomb)
    assert "far more than" in refusal(tmp_path, NRRD.replace("raw", "gzip").encode() + b"\n" + bomb)


def test_many_bytes_after_the_voxels_are_refused(tmp_path: Path, nii: bytes) -> None:
    for content in itertools.islice(formats(nii), 0, None, 2):
        assert "far more than" in refusal(tmp_path, content + bytes(1 << 13))


def test_colours_and_vectors_are_refused(tmp_path: Path) -> None:
    colours = sitk.GetImageFromArray(np.ones((3, 4, 5, 3), np.uint8), isVector=True)
    for ending in (".nii", ".nrrd", ".mha"):
        sitk.WriteImage(colours, str(tmp_path / f"a{ending}"))
        content = (tmp_path / f"a{ending}").read_bytes()
        (tmp_path / f"a{ending}").unlink()
        refusal(tmp_path, content)


HEADS = (
    b"",
    b"\x1f\x8b\x08",
    b"NRRD0004\n",
    NRRD.encode(),
    b"ObjectType = Image\n",
    META.encode(),
    b"PK\x03\x04",
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=600))
@example(head=META.encode(), rest=b"ElementDataFile = LOCAL\n")
def test_random_bytes_are_refused(tmp_path: Path, head: bytes, rest: bytes) -> None:
    refusal(tmp_path, head + rest)


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(4, 351), values=st.binary(min_size=1, max_size=8), packed=st.booleans())
def test_a_nifti_header_with_random_bytes_is_taken_in_soundly_or_refused(
    tmp_path: Path, nii: bytes, place: int, values: bytes, packed: bool
) -> None:
    content = nii[:place] + values + nii[place + len(values) :]
    (tmp_path / "upload").write_bytes(gzip.compress(content, 1, mtime=0) if packed else content)
    try:
        taken = take_in(tmp_path / "upload", tmp_path / "taken.nii", LIMITS)
        words = ""
    except DatasetError as problem:
        words = str(problem)
    if not words:
        assert np.isfinite([*taken.geometry.spacing, *taken.geometry.origin]).all()
        (tmp_path / "taken.nii").unlink()
    assert str(tmp_path) not in words
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]
