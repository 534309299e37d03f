"""Files from the server: to memory in one go, to the disk with resumption."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from NNActiveLogic.client.arrays import HEADER, ArrayInfo, VoxelArray, read_header
from NNActiveLogic.client.errors import ClientError, ConnectionLost, ProtocolError
from NNActiveLogic.client.transport import Call, Reply, Transport

DIGEST_HEADER = "NNActive-SHA256"
Progress = Callable[[int, int], None]
"""Called with bytes done and in all; may raise `Cancelled` to stop."""
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def fetch_array(transport: Transport, call: Call) -> VoxelArray:
    """Voxels in memory; raises ClientError."""
    limit = transport.limits.array_bytes

    def consume(reply: Reply) -> VoxelArray:
        info = read_header(reply.headers.get(HEADER), limit)
        raw, filled = np.empty(info.nbytes, np.uint8), 0
        for piece in reply.pieces(info.nbytes):
            raw[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
            filled += len(piece)
        if filled != info.nbytes:
            raise ProtocolError(
                f"The server sent {filled} bytes of voxels instead of {info.nbytes}.",
                "Tell whoever runs the server.",
            )
        values = raw.view(np.dtype(info.dtype)).reshape(info.shape)
        return VoxelArray(values, info, reply.headers.get("ETag", ""))

    return transport.run(replace(call, large=True), consume)


def fetch_file(
    transport: Transport,
    call: Call,
    target: Path,
    *,
    limit: int,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> ArrayInfo | None:
    """A body as a file, which appears under its name when it is whole.

    What arrives lies in `target.part` until then, with its ETag beside it, so that a broken download goes on
    where it stopped, at the next attempt or after a restart.

    Args:
        transport: to the server.
        call: a GET.
        target: file to write.
        limit: most bytes.
        sha256: of the whole file, if known; the server's `NNActive-SHA256` counts too.
        progress: is told of bytes.

    Returns:
        The array header of the reply, if it had one.

    Raises:
        ClientError: the network, the server, or content that does not fit its hash.
    """
    part = _Part(target)
    call = replace(call, large=True)

    def attempt() -> ArrayInfo | None:
        # Ranges count the bytes as stored, so nothing may pack them on the way.
        headers = {**call.headers, "Accept-Encoding": "identity", **part.headers()}
        try:
            return transport.once(
                replace(call, headers=headers), lambda reply: part.take(reply, limit, progress)
            )
        except ClientError as problem:
            if getattr(problem, "status", 0) == 416:
                part.drop()
                raise ConnectionLost("The file on the server changed during the download.") from problem
            raise

    info = transport.retry(attempt)
    part.finish(sha256)
    return info


class _Part:
    """What has arrived of a file."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._data = target.with_name(target.name + ".part")
        self._tag = target.with_name(target.name + ".part.etag")
        self._digest: str | None = None

    def headers(self) -> dict[str, str]:
        """That ask for the rest only, provided the file is still the same."""
        tag = self._tag.read_text("utf-8") if self._tag.is_file() else ""
        size = self._data.stat().st_size if self._data.is_file() else 0
        return {"Range": f"bytes={size}-", "If-Range": tag} if tag and size else {}

    def take(self, reply: Reply, limit: int, progress: Progress | None) -> ArrayInfo | None:
        """Append a reply, or start over when it holds the whole file."""
        start, total = self._place(reply)
        self._digest = reply.headers.get(DIGEST_HEADER)
        if start == 0:
            self._begin(reply.headers.get("ETag", ""))
        done = start
        with self._data.open("ab") as file:
            for piece in reply.pieces(limit - start):
                file.write(piece)
                done += len(piece)
                if progress is not None:
                    progress(done, max(done, total))
        if done < total:
            raise ConnectionLost(
                "The answer broke off half way.", "Check the network; it goes on from there."
            )
        text = reply.headers.get(HEADER)
        return None if text is None else read_header(text, limit)

    def finish(self, sha256: str | None) -> None:
        """Check the whole file and give it its name; raises ProtocolError when it is damaged."""
        with self._data.open("r+b") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        wanted = {value.lower() for value in (sha256, self._digest) if value}
        if wanted - {found}:
            self.drop()
            raise ProtocolError("The file was damaged on its way here.", "Load it again.")
        self._data.replace(self._target)
        self._tag.unlink(missing_ok=True)

    def drop(self) -> None:
        """Forget what has arrived."""
        self._data.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)

    def _begin(self, etag: str) -> None:
        self.drop()
        # A weak ETag does not promise the same bytes, so nothing can be resumed with it.
        if etag and not etag.startswith("W/"):
            self._tag.write_text(etag, "utf-8")

    def _place(self, reply: Reply) -> tuple[int, int]:
        """First byte of the reply in the file, and the file's size (0 when unknown)."""
        if reply.status != 206:
            announced = reply.headers.get("Content-Length", "")
            return 0, int(announced) if announced.isdecimal() else 0
        found = _RANGE.fullmatch(reply.headers.get("Content-Range", ""))
        size = self._data.stat().st_size if self._data.is_file() else 0
        if found is None or int(found[1]) != size:
            self.drop()
            raise ConnectionLost("The server sent another part than was asked for.", "It is loaded again.")
        return size, int(found[3])
