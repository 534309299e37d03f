"""Files to the server: skipped when they are there, in pieces, resumable, checked at both ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from NNActiveLogic.client.addresses import part
from NNActiveLogic.client.errors import ClientError, Conflict, NotFoundOnServer, ProtocolError, Refused
from NNActiveLogic.client.parsing import parse
from NNActiveLogic.client.transport import Call, Transport
from NNActiveLogic.client.values import UploadState

Progress = Callable[[int, int], None]
"""Called with bytes done and in all; may raise `Cancelled` to stop."""
_CHUNK = 4 << 20
"""At most: on a line of 1 Mbit/s this takes half of what one request may."""
_SETBACKS = 8


def upload_file(transport: Transport, path: Path, progress: Progress | None = None) -> str:
    """Bring a file to the server, or find that it is there.

    Args:
        transport: to the server.
        path: the file.
        progress: is told of bytes; after an interruption it starts at what the server has.

    Returns:
        SHA-256 of the file, by which the server knows it.

    Raises:
        ClientError: the file cannot be read, the network, or the server.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            if not has_blob(transport, sha256):
                _Upload(transport, file, sha256, size, progress or _silent).run()
    except OSError as problem:
        raise ClientError(
            f"{path.name} cannot be read ({problem.strerror}).", "Choose the file again."
        ) from None
    if progress is not None:
        progress(size, size)
    return sha256


def has_blob(transport: Transport, sha256: str) -> bool:
    """Whether the server has a file of this content."""
    try:
        transport.run(Call("HEAD", f"/v1/blobs/{part(sha256)}"), lambda reply: reply.status)
    except NotFoundOnServer:
        return False
    return True


class _Upload:
    """One file on its way."""

    def __init__(
        self, transport: Transport, file: BinaryIO, sha256: str, size: int, progress: Progress
    ) -> None:
        self._transport, self._file, self._progress = transport, file, progress
        self._sha256, self._size = sha256, size

    def run(self) -> None:
        """Send what the server lacks."""
        wanted = {"sha256": self._sha256, "size": self._size}
        begun = parse(UploadState, self._transport.json(Call("POST", "/v1/uploads", json=wanted)), "upload")
        state, setbacks = begun, 0
        while not state.done:
            self._progress(state.received, self._size)
            after = self._send_next(begun, state.received)
            setbacks += after.received <= state.received and not after.done
            if setbacks > _SETBACKS:
                raise ProtocolError("The server does not take the file.", "Tell whoever runs the server.")
            state = after

    def _send_next(self, begun: UploadState, offset: int) -> UploadState:
        if not 0 <= offset < self._size:
            raise ProtocolError("The server has another number of bytes than the file.", "Load it up again.")
        self._file.seek(offset)
        chunk = self._file.read(min(begun.chunk_bytes or _CHUNK, _CHUNK))
        if not chunk:
            raise ClientError("The file became shorter while it was read.", "Load it up again.")
        try:
            return parse(UploadState, self._transport.json(self._put(begun.id, offset, chunk)), "upload")
        except Conflict as problem:
            # A repeated piece whose first copy got through, or bytes that the server lost.
            return parse(UploadState, problem.document, "upload")
        except Refused as problem:
            if problem.status != 422:
                raise
            # Damaged on the way: the same piece again, counted as a setback.
            return UploadState(offset)

    def _put(self, upload: str, offset: int, chunk: bytes) -> Call:
        headers = {
            "Content-Range": f"bytes {offset}-{offset + len(chunk) - 1}/{self._size}",
            "NNActive-Chunk-SHA256": hashlib.sha256(chunk).hexdigest(),
        }
        return Call("PUT", f"/v1/uploads/{part(upload)}", body=chunk, headers=headers)


def _silent(done: int, total: int) -> None:
    """Nobody watches."""
    del done, total
