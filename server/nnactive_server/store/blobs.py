"""Files that are named by the SHA-256 of their content: images, labels, masks.

A file is written under a temporary name, synced and renamed, and only then may a row of the database name it.
So a row never names a file that is missing or half written; the other way round, a file that no row names is
harmless and swept when it is old.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nnactive_server.core.errors import InvalidInput, NoSpace, NotFound, StoreError, TooLarge
from nnactive_server.core.files import sync

SHA256 = re.compile(r"[0-9a-f]{64}")
STEP = 1 << 20
"""Bytes that are read, hashed and written at a time."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before a byte is written.

    Attributes:
        blob_bytes: largest file.
        chunk_bytes: largest piece of an upload.
        reserve_bytes: what stays free on the disk, so that the database can always be written.
    """

    blob_bytes: int = 8 << 30
    chunk_bytes: int = 32 << 20
    reserve_bytes: int = 256 << 20


class Blobs:
    """The files under one folder, `ab/cdef…` for the hash `abcdef…`.

    Args:
        root: folder; made when it is missing.
        limits: sizes.
    """

    def __init__(self, root: Path, limits: Limits | None = None) -> None:
        self.root = root
        self.limits = limits or Limits()
        self.temporary = root / "tmp"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.temporary.mkdir(exist_ok=True)
        sync(root)

    def put(self, content: bytes | BinaryIO) -> str:
        """Store a file, unless it is there already; on disk when this returns.

        Args:
            content: the bytes, or a stream that is read to its end.

        Returns:
            SHA-256 in hex.

        Raises:
            TooLarge: more than `limits.blob_bytes`; a stream is read no further than that.
            NoSpace: the disk is full.
        """
        if isinstance(content, bytes):
            digest = hashlib.sha256(content).hexdigest()
            self.check_size(len(content))
            if self.refresh(digest):
                return digest
        temporary = self.temporary / f"{secrets.token_hex(8)}.put"
        try:
            with space_needed(temporary), temporary.open("xb") as file:
                digest = self._copy(content, file)
            return self.settle(temporary, digest)
        finally:
            temporary.unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        """Where a stored file lies; it must not be changed.

        Raises:
            InvalidInput: not a SHA-256 in lower-case hex.
            NotFound: no such file.
        """
        path = self._place(sha256)
        if not path.is_file():
            raise NotFound(f"file {sha256}: not stored; upload it first")
        return path

    def exists(self, sha256: str) -> bool:
        """Whether a file is stored."""
        return self._place(sha256).is_file()

    def refresh(self, sha256: str) -> bool:
        """As `exists`, and the file counts as just stored: no sweep takes it before a row can name it."""
        try:
            os.utime(self._place(sha256))
        except FileNotFoundError:
            return False
        return True

    def size(self, sha256: str) -> int:
        """Bytes of a stored file."""
        return self.path(sha256).stat().st_size

    def open(self, sha256: str) -> BinaryIO:
        """A stored file, open for reading; the caller closes it."""
        return self.path(sha256).open("rb")

    def read(self, sha256: str, start: int = 0, length: int = -1) -> bytes:
        """Bytes of a stored file: all, or `length` of them from `start` (fewer at the end)."""
        with self.open(sha256) as file:
            file.seek(start)
            return file.read(length)

    def verify(self, sha256: str) -> bool:
        """Whether a stored file still has the content it is named after."""
        return digest_of(self.path(sha256)) == sha256

    def all(self) -> Iterator[str]:
        """The hashes of all stored files."""
        for path in self.root.glob("[0-9a-f][0-9a-f]/*"):
            sha256 = path.parent.name + path.name
            if SHA256.fullmatch(sha256):
                yield sha256

    def remove(self, sha256: str) -> None:
        """Remove a stored file; fine when it is not there."""
        self._place(sha256).unlink(missing_ok=True)

    def sweep(self, used: Container[str], age_seconds: float) -> int:
        """Remove files that nothing uses, and leftovers of writes that were broken off.

        Args:
            used: hashes that stay.
            age_seconds: only what was last stored or written longer ago goes, so that a file stored a moment
                ago, whose row is still to come, stays. At least an hour is wise.

        Returns:
            Bytes freed.
        """
        before = time.time() - age_seconds
        unused = [self._place(sha256) for sha256 in self.all() if sha256 not in used]
        freed = 0
        for path in (*unused, *self.temporary.iterdir()):
            try:
                status = path.stat()
                if status.st_mtime < before:
                    path.unlink()
                    freed += status.st_size
            except FileNotFoundError:
                continue  # renamed or removed by another process meanwhile
        return freed

    def check_size(self, size: int, written: int = 0) -> None:
        """Whether a file of so many bytes, of which some are on the disk already, may be stored.

        Raises:
            TooLarge: over `limits.blob_bytes`.
            NoSpace: less than `limits.reserve_bytes` would stay free.
        """
        if size > self.limits.blob_bytes:
            raise TooLarge(f"{size} bytes; at most {self.limits.blob_bytes} are stored as one file")
        free = shutil.disk_usage(self.root).free
        if free - (size - written) < self.limits.reserve_bytes:
            raise NoSpace(
                f"{self.root}: {size - written} bytes do not fit, {free} are free and "
                f"{self.limits.reserve_bytes} are kept for the database; free some space"
            )

    def settle(self, temporary: Path, sha256: str) -> str:
        """Give a finished file, whose hash the caller has checked, its name; returns the hash."""
        final = self._place(sha256)
        with space_needed(final):
            sync(temporary)
            if not final.parent.exists():
                final.parent.mkdir(exist_ok=True)
                sync(self.root)
            temporary.replace(final)
            sync(final.parent)
        return sha256

    def _copy(self, content: bytes | BinaryIO, target: BinaryIO) -> str:
        if isinstance(content, bytes):
            target.write(content)
            return hashlib.sha256(content).hexdigest()
        digest, size = hashlib.sha256(), 0
        while step := content.read(STEP):
            self.check_size(size + len(step), written=size)
            size += len(step)
            digest.update(step)
            target.write(step)
        return digest.hexdigest()

    def _place(self, sha256: str) -> Path:
        if not SHA256.fullmatch(sha256):
            raise InvalidInput(f"'{sha256[:80]}': not a SHA-256; give 64 digits in lower-case hex")
        return self.root / sha256[:2] / sha256[2:]


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def space_needed(path: Path) -> Iterator[None]:
    """Turn the errors of a failing write into ours.

    Raises:
        NoSpace: the disk is full, or the user's quota or file size limit is reached.
        StoreError: any other error of the operating system.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno in _FULL:
            raise NoSpace(f"{path}: cannot be written ({problem.strerror}); free some space") from problem
        raise StoreError(f"{path}: cannot be written ({problem.strerror}); check the disk") from problem
