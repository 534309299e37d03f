"""Archives of slices: what one may hold, and unpacking it without ever using a name from it."""

from __future__ import annotations

import secrets
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnactive_server.core.errors import DatasetError
from nnactive_server.dataset.intake.contents import IntakeLimits
from nnactive_server.dataset.intake.streams import PIECE

MAGIC = b"PK\x03\x04"
_END = struct.Struct("<4s4H2LH")  # end of central directory: magic, disks, entries, bytes, offset, comment
_LOCATOR = 20  # bytes before it, where a 64-bit archive says so
_ENTRY = 46 + 512  # bytes of a directory entry with a long name
_ENCRYPTED = 0x1
_MALFORMED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def unpacked(path: Path, folder: Path, limits: IntakeLimits) -> Iterator[list[Path]]:
    """The files of a zip, under made-up names, in the archive's order; removed when the block ends.

    Args:
        path: the archive.
        folder: for the files.
        limits: of their number and size.

    Raises:
        DatasetError: damaged, encrypted, too large, or holding folders, links or paths.
    """
    files: list[Path] = []
    try:
        _check_directory(path, limits)
        _unpack(path, folder, limits, files)
        yield files
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _unpack(path: Path, folder: Path, limits: IntakeLimits, files: list[Path]) -> None:
    """Unpack all files; each is in `files` as soon as it may exist."""
    prefix = secrets.token_hex(8)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check(members, path.stat().st_size, limits)
            for number, member in enumerate(members):
                files.append(folder / f"{prefix}-{number:04d}.dcm")
                _extract(archive, member, files[-1])
    except _MALFORMED:
        raise DatasetError("a damaged zip archive; pack it again") from None


def _check_directory(path: Path, limits: IntakeLimits) -> None:
    """Look at the end of a zip alone: reading a huge directory would cost memory without bound."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END.size - _LOCATOR))
        tail = file.read()
    if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\x05\x06":
        raise DatasetError("a damaged zip archive, or one with a comment at its end; pack it again")
    _, disk, _, _, entries, directory, _, comment = _END.unpack(tail[-_END.size :])
    if disk or comment or tail.startswith(b"PK\x06\x07"):
        raise DatasetError("an unusual zip archive; pack it again, as one file below 4 GB")
    if entries > limits.members or directory > limits.members * _ENTRY:
        raise DatasetError(f"a zip of more than {limits.members} files; no more are taken in")


def _check(members: list[zipfile.ZipInfo], packed: int, limits: IntakeLimits) -> None:
    if len(members) > limits.members:
        raise DatasetError(f"a zip of {len(members)} files; at most {limits.members} are taken in")
    total = sum(member.file_size for member in members)
    if total > limits.unpacked:
        raise DatasetError(f"a zip that unpacks to {total} bytes; at most {limits.unpacked} are taken in")
    if total > limits.ratio * packed + limits.slack:
        raise DatasetError(f"a zip that unpacks to more than {limits.ratio} times its size; pack it again")
    for number, member in enumerate(members, start=1):
        what = f"file {number} of the zip"
        if not 0 <= member.header_offset < packed:
            raise zipfile.BadZipFile
        kind = stat.S_IFMT(member.external_attr >> 16)
        if member.is_dir() or any(sign in member.orig_filename for sign in "/\\:\0"):
            raise DatasetError(f"{what} lies in a folder; pack the slices themselves, without their folder")
        if kind not in (0, stat.S_IFREG):
            raise DatasetError(f"{what} is a link or no plain file; pack the slices themselves")
        if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
            raise DatasetError(f"{what} is encrypted or packed in an unusual way; pack it as a plain zip")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    with archive.open(member) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file, PIECE)  # never more than the size that was checked
    if target.stat().st_size != member.file_size:
        raise zipfile.BadZipFile
