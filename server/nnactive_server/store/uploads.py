"""Large files that arrive in pieces and survive a break of the line, the client or the server.

The part file on disk is the whole state: what was received is its size. The whole file's hash decides in the
end, so pieces are not synced one by one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from nnactive_server.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from nnactive_server.core.files import read_json, write_json
from nnactive_server.store.blobs import SHA256, Blobs, digest_of, space_needed

UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload as it stands.

    Attributes:
        id: opaque.
        sha256: of the whole file, hex.
        size: bytes of the whole file.
        received: bytes that are there, from the first on; the next piece starts here.
    """

    id: str
    sha256: str
    size: int
    received: int

    @property
    def complete(self) -> bool:
        """Whether every byte has arrived; the file is stored once `finish` has checked it."""
        return self.received == self.size


class Uploads:
    """Uploads into `blobs`."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def begin(self, sha256: str, size: int, owner: str) -> Upload:
        """Start an upload, or go on with the owner's earlier one of the same file.

        Args:
            sha256: of the whole file, hex.
            size: bytes of the whole file.
            owner: who uploads; nobody else's upload is touched.

        Returns:
            The upload; `received` is `size` already when the file is stored.

        Raises:
            InvalidInput: not a SHA-256, or a negative size.
            Conflict: the file is stored with another size, which it carries.
            TooLarge, NoSpace: see `Blobs.check_size`.
        """
        if not SHA256.fullmatch(sha256) or size < 0:
            raise InvalidInput(
                "an upload needs the SHA-256 (64 digits in lower-case hex) and the size in bytes"
            )
        upload = _id(owner, sha256, size)
        if self._blobs.refresh(sha256):
            stored = self._blobs.size(sha256)
            if stored != size:
                raise Conflict(
                    f"file {sha256}: stored already, with {stored} bytes instead of {size}", stored
                )
        part, about = self._files(upload)
        if not self._blobs.exists(sha256):
            self._blobs.check_size(size, written=min(size, _size(part)))
            with space_needed(part):
                part.touch()
        with space_needed(about):
            write_json(about, {"sha256": sha256, "size": size})
        return self.get(upload)

    def get(self, upload: str) -> Upload:
        """An upload as it stands.

        Raises:
            NotFound: unknown, given up, or swept after a long pause.
        """
        part, about = self._files(upload)
        if not about.is_file():
            raise _unknown(upload)
        facts = read_json(about, NotFound)
        sha256, size = str(facts["sha256"]), int(facts["size"])
        # In this order: a part file that is gone by now has become the stored file before.
        received = _size(part)
        return Upload(upload, sha256, size, size if self._blobs.exists(sha256) else received)

    def belongs_to(self, upload: str, owner: str) -> bool:
        """Whether this owner began an upload; raises NotFound."""
        known = self.get(upload)
        return upload == _id(owner, known.sha256, known.size)

    def append(self, upload: str, offset: int, chunk: bytes, chunk_sha256: str) -> Upload:
        """Add the next piece.

        Args:
            upload: id.
            offset: of the piece's first byte in the file.
            chunk: the piece.
            chunk_sha256: of the piece, hex.

        Raises:
            Conflict: the piece does not start where the last one ended; carries the right offset.
            InvalidInput: the piece was damaged on its way.
            TooLarge: a piece over `limits.chunk_bytes`, or more bytes than announced.
            NotFound, NoSpace: see `get`, `begin`. After any error the upload is as before.
        """
        limit = self._blobs.limits.chunk_bytes
        if len(chunk) > limit:
            raise TooLarge(f"upload {upload}: a piece of {len(chunk)} bytes; send at most {limit} at a time")
        if hashlib.sha256(chunk).hexdigest() != chunk_sha256:
            raise InvalidInput(
                f"upload {upload}: the piece at {offset} was damaged on its way; send it again"
            )
        with self._locked(upload) as (known, file):
            if offset != known.received:
                raise Conflict(
                    f"upload {upload}: the piece starts at {offset}; go on at {known.received}",
                    known.received,
                )
            if offset + len(chunk) > known.size:
                raise TooLarge(f"upload {upload}: more than the {known.size} bytes that were announced")
            self._blobs.check_size(offset + len(chunk), written=offset)
            _write_whole(file, offset, chunk)
        return Upload(upload, known.sha256, known.size, offset + len(chunk))

    def finish(self, upload: str) -> str:
        """Check the whole file and store it; after that it only says so again, until the sweep forgets it.

        Returns:
            Its SHA-256 in hex.

        Raises:
            Conflict: bytes are missing; carries the number of those received.
            InvalidInput: the content is not what was announced; the upload starts from its first byte again.
            NotFound, NoSpace: see `get`, `begin`.
        """
        known = self.get(upload)
        if not self._blobs.exists(known.sha256):
            self._settle(upload)
        part, _ = self._files(upload)
        part.unlink(missing_ok=True)
        return known.sha256

    def abandon(self, upload: str) -> None:
        """Remove an upload and what was received; unknown ones are fine."""
        for path in self._files(upload):
            path.unlink(missing_ok=True)

    def _settle(self, upload: str) -> None:
        with self._locked(upload) as (known, file):
            if self._blobs.exists(known.sha256):
                return  # somebody else was faster
            if not known.complete:
                raise Conflict(
                    f"upload {upload}: {known.received} of {known.size} bytes have arrived; send the rest",
                    known.received,
                )
            part, _ = self._files(upload)
            if digest_of(part) != known.sha256:
                file.truncate(0)
                raise InvalidInput(
                    f"upload {upload}: the content has another SHA-256; send it again from the start"
                )
            self._blobs.settle(part, known.sha256)

    @contextmanager
    def _locked(self, upload: str) -> Iterator[tuple[Upload, FileIO]]:
        """The upload and its part file, while nobody else, thread or process, touches it."""
        part, about = self._files(upload)
        self.get(upload)
        with space_needed(part), part.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Read again: whoever held the lock may have finished it.
            known = self.get(upload)
            with suppress(FileNotFoundError):  # abandoned at this moment
                os.utime(about)  # the sweep goes by age
            yield known, file

    def _files(self, upload: str) -> tuple[Path, Path]:
        """The part file and the document about it; both are swept by age with the other leftovers."""
        if not UPLOAD_ID.fullmatch(upload):
            raise _unknown(upload)
        return self._blobs.temporary / f"{upload}.part", self._blobs.temporary / f"{upload}.json"


def _id(owner: str, sha256: str, size: int) -> str:
    return hashlib.sha256(f"{owner}\0{sha256}\0{size}".encode()).hexdigest()[:32]


def _write_whole(file: FileIO, offset: int, chunk: bytes) -> None:
    """Write all of the piece or, when the disk is full, nothing."""
    view, done = memoryview(chunk), 0
    try:
        while done < len(view):
            done += file.write(view[done:]) or 0
    finally:
        if done < len(view):
            file.truncate(offset)


def _size(part: Path) -> int:
    """Bytes of a file; 0 when there is none."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _unknown(upload: str) -> NotFound:
    return NotFound(f"upload {upload[:80]}: unknown, finished or swept; begin it again")
