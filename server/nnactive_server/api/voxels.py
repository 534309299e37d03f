"""Voxels of images and maps on the wire: raw, in boxes, in ranges of bytes, never a whole one in memory."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from fastapi import Request, Response
from starlette.responses import StreamingResponse

from nnactive_server.api.problems import Problem
from nnactive_server.api.server import Server
from nnactive_server.api.settings import is_loopback
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Index3, Patch, index3

SLAB_BYTES = 4 << 20
"""So much of an array is in memory at a time; arrays up to this size are sent in one piece."""
_MEDIA = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Voxels(Protocol):
    """Something of which boxes can be read."""

    @property
    def shape(self) -> Index3:
        """Voxels (z, y, x)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel, little-endian."""

    def read(self, box: Patch) -> np.ndarray:
        """Voxels of a box (z, y, x)."""


@dataclass(frozen=True)
class RawFile:
    """Voxels that lie uncompressed in a file.

    Attributes:
        path: of the file.
        shape: voxels (z, y, x).
        dtype: of a voxel, little-endian.
        offset: bytes before the first voxel.
    """

    path: Path
    shape: Index3
    dtype: np.dtype[Any]
    offset: int

    def read(self, box: Patch) -> np.ndarray:
        """Voxels of a box (z, y, x); the rest of the file is not touched."""
        mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return np.ascontiguousarray(mapped[box.slices])


@dataclass(frozen=True)
class Source:
    """An array as it is offered.

    Attributes:
        voxels: where they come from.
        geometry: grid of the whole image.
        tag: differs whenever the voxels do.
        model: version of the model that made them; None for images.
    """

    voxels: Voxels
    geometry: Geometry
    tag: str
    model: str | None = None


def box_of(shape: Index3, start: str | None, size: str | None) -> Patch:
    """The box that a query asks for; the whole array without one.

    Raises:
        Problem: not three numbers each, or a box that reaches outside.
    """
    if start is None and size is None:
        return Patch((0, 0, 0), shape)
    try:
        box = Patch(_triple(start or "0,0,0"), _triple(size) if size else shape)
    except ValueError as problem:
        raise Problem(422, "invalid", f"start, size: {problem}") from None
    if not box.inside(shape):
        raise Problem(
            422,
            "outside",
            f"The box from {box.start} of {box.size} reaches outside the image of {shape} (z, y, x).",
        )
    return box


def send(server: Server, request: Request, source: Source, box: Patch) -> Response:
    """The voxels of a box as a reply to this request."""
    whole = math.prod(box.size) * source.voxels.dtype.itemsize
    etag = _etag(source, box)
    headers = {
        "NNActive-Array": json.dumps(_header(source, box)),
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Vary": "Accept-Encoding",
    }
    if etag in (
        tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")
    ):
        return Response(status_code=304, headers=headers)
    part = _wanted(request, whole, etag)
    if part is None and whole <= SLAB_BYTES:
        return _small(request, source.voxels.read(box).tobytes(), headers)
    first, last = part or (0, whole - 1)
    headers["Content-Length"] = str(last - first + 1)
    if part is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{whole}"
    caller = request.scope["caller"].id
    # Here, where a refusal can still be sent.
    server.transfers.check(caller)
    pieces = _counted(server, caller, _bytes(source.voxels, box, first, last + 1))
    return StreamingResponse(pieces, 200 if part is None else 206, headers, _MEDIA)


def _small(request: Request, body: bytes, headers: dict[str, str]) -> Response:
    headers["NNActive-SHA256"] = hashlib.sha256(body).hexdigest()
    client = request.client.host if request.client else ""
    accepted = (one.split(";")[0].strip() for one in request.headers.get("accept-encoding", "").split(","))
    # On one machine packing takes longer than sending.
    if "gzip" in accepted and not is_loopback(client):
        headers |= {"Content-Encoding": "gzip", "ETag": headers["ETag"][:-1] + '-gzip"'}
        body = gzip.compress(body, 1)
    return Response(body, 200, headers, _MEDIA)


def _counted(server: Server, caller: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    with server.transfers.one_more(caller):
        yield from pieces


def _bytes(voxels: Voxels, box: Patch, first: int, end: int) -> Iterator[bytes]:
    """Bytes `first` to `end` of a box in C order, a slab of slices at a time."""
    depth, plane = box.size[0], box.size[1] * box.size[2] * voxels.dtype.itemsize
    step = max(1, SLAB_BYTES // plane)
    for z in range(first // plane // step * step, depth, step):
        begins = z * plane
        if begins >= end:
            return
        count = min(step, depth - z)
        slab = replace(box, start=(box.start[0] + z, *box.start[1:]), size=(count, *box.size[1:]))
        body = memoryview(voxels.read(slab).tobytes())
        yield bytes(body[max(0, first - begins) : end - begins])


def _wanted(request: Request, whole: int, etag: str) -> tuple[int, int] | None:
    """First and last byte that the request asks for; None for all of them.

    Raises:
        Problem: past the end (416).
    """
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or request.headers.get("if-range", etag) != etag or not (found[1] or found[2]):
        return None
    if not found[1]:
        first, last = max(0, whole - int(found[2])), whole - 1
    else:
        first, last = int(found[1]), min(int(found[2] or whole - 1), whole - 1)
    if first >= whole or last < first:
        raise Problem(416, "range", f"There are {whole} bytes.")
    return first, last


def _etag(source: Source, box: Patch) -> str:
    text = json.dumps([source.tag, box.start, box.size])
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def _header(source: Source, box: Patch) -> Mapping[str, Any]:
    grid = source.geometry
    return {
        "dtype": _wire(source.voxels.dtype),
        "shape": box.size,
        "spacing": grid.spacing,
        "origin": grid.origin,
        "direction": grid.direction,
        "start": box.start,
        "model": source.model,
    }


def _wire(dtype: np.dtype[Any]) -> str:
    """Byte order, kind and size, such as `<i2`; single bytes too, which numpy marks otherwise."""
    return f"<{dtype.kind}{dtype.itemsize}"


def _triple(text: str) -> Index3:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and len(part) < 10 for part in parts):
        raise ValueError("needs three whole numbers with commas (z, y, x)")
    return index3([int(part) for part in parts])
