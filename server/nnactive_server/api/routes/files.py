"""Uploads: files that arrive in pieces and are stored under their hash."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from nnactive_server.api.access import Annotator
from nnactive_server.api.bodies import UploadIn
from nnactive_server.api.description import BINARY
from nnactive_server.api.problems import Problem
from nnactive_server.api.replies import UploadOut
from nnactive_server.api.server import Here, Server
from nnactive_server.core.errors import Conflict, InvalidInput
from nnactive_server.store import Token, Upload

router = APIRouter(prefix="/v1", tags=["files"])
_PIECE = {"required": True, "content": {"application/octet-stream": {"schema": BINARY}}}
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


@router.head("/blobs/{sha256}", response_class=Response)
def has_file(sha256: str, server: Here, caller: Annotator) -> Response:
    """Whether a file of this content is here already, so that it need not be sent."""
    size = server.known_size(sha256)
    if size is None:
        raise Problem(404, "not-found", "There is no file of this content.")
    return Response(headers={"Content-Length": str(size)}, media_type="application/octet-stream")


@router.post("/uploads", status_code=201)
def begin(body: UploadIn, server: Here, caller: Annotator) -> UploadOut:
    """Announce a file, or ask how much of it has arrived; the same file twice is one upload."""
    if server.known_size(body.sha256) is not None:
        return UploadOut(received=body.size, done=True)
    upload = server.store.uploads.begin(body.sha256, body.size, caller.id)
    chunk = server.settings.limits.chunk_bytes
    if upload.complete:
        # All bytes came before, and the answer to the last piece was lost.
        server.store.uploads.finish(upload.id)
        return UploadOut(received=upload.size, done=True)
    return UploadOut(id=upload.id, received=upload.received, chunk_bytes=chunk)


@router.put("/uploads/{upload}", openapi_extra={"requestBody": _PIECE})
async def append(
    upload: str,
    request: Request,
    server: Here,
    caller: Annotator,
    content_range: Annotated[str, Header()],
    nnactive_chunk_sha256: Annotated[str, Header(pattern=r"^[0-9a-f]{64}$")],
) -> UploadOut:
    """The next piece of a file."""
    chunk = await request.body()
    return await run_in_threadpool(
        _append, server, caller, upload, content_range, chunk, nnactive_chunk_sha256
    )


def _append(
    server: Server, caller: Token, upload: str, content_range: str, chunk: bytes, sha256: str
) -> UploadOut:
    first = _first(content_range, len(chunk))
    if not server.store.uploads.belongs_to(upload, caller.id):
        raise Problem(404, "not-found", "You have begun no such upload; begin it again.")
    try:
        known = _with_piece(server, upload, first, chunk, sha256)
        if known.complete and server.known_size(known.sha256) is None:
            server.store.uploads.finish(upload)
    except Conflict as conflict:
        raise Problem(409, "offset", str(conflict), received=conflict.current) from conflict
    return UploadOut(
        id=upload,
        received=known.received,
        done=known.complete,
        chunk_bytes=server.settings.limits.chunk_bytes,
    )


def _with_piece(server: Server, upload: str, first: int, chunk: bytes, sha256: str) -> Upload:
    """The upload with one more piece, or complete when all is here; raises Conflict for a wrong place."""
    try:
        return server.store.uploads.append(upload, first, chunk, sha256)
    except Conflict:
        # The answer to the last piece was lost, or somebody else sent the same file and was faster.
        known = server.store.uploads.get(upload)
        if known.complete or server.known_size(known.sha256) is not None:
            return replace(known, received=known.size)
        raise


def _first(content_range: str, length: int) -> int:
    """First byte of a piece; raises InvalidInput when the header does not fit its length."""
    found = _RANGE.fullmatch(content_range)
    if found is None or length == 0 or int(found[2]) - int(found[1]) + 1 != length:
        raise InvalidInput("Content-Range: needs 'bytes FIRST-LAST/TOTAL' that fits the piece")
    return int(found[1])
