"""Arrays on the wire: raw little-endian voxels with a JSON header, label crops as zlib and base64.

The server is not trusted: type, shape and size are checked before a byte is allocated; nothing is unpickled.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from NNActiveLogic.client.errors import ProtocolError, TooLarge
from NNActiveLogic.client.parsing import parse
from NNActiveLogic.client.values import Float3, Index3

DTYPES = ("<u1", "<i2", "<u2", "<i4", "<f2", "<f4")
"""What may come over the wire; `|u1` is numpy's own name for the first."""
HEADER = "NNActive-Array"
_ADVICE = "Tell whoever runs the server."


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """What the header says about an array.

    Attributes:
        dtype: one of `DTYPES`.
        shape: voxels (z, y, x) of what was sent.
        spacing: mm (z, y, x).
        origin: centre of the first voxel of the whole image, or of the box, as the server says; mm, LPS.
        direction: row-major 3x3, as ITK has it.
        start: first voxel (z, y, x) on the image's own grid.
        model: version of the model it comes from; None for images.
    """

    dtype: str
    shape: Index3
    spacing: Float3
    origin: Float3
    direction: tuple[float, ...]
    start: Index3
    model: str | None

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class VoxelArray:
    """Voxels (z, y, x) with what is known about them, and the ETag under which they were sent."""

    values: np.ndarray
    info: ArrayInfo
    etag: str


@dataclass(frozen=True, slots=True)
class LabelCrop:
    """Labels of a box as they travel: `data` is base64 of the zlib-compressed C-ordered bytes."""

    encoding: str
    dtype: str
    shape: Index3
    data: str

    def to_json(self) -> dict[str, Any]:
        """As the server takes it."""
        return {
            "encoding": self.encoding,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "data": self.data,
        }


def read_header(text: str | None, limit: int) -> ArrayInfo:
    """The array header of a reply.

    Args:
        text: the header; None when there is none.
        limit: most bytes the voxels may take.

    Raises:
        ProtocolError: missing, not understood, or of a type that is not accepted.
        TooLarge: over the limit.
    """
    if text is None:
        raise ProtocolError(f"The server's answer lacks the header '{HEADER}'.", _ADVICE)
    try:
        document = json.loads(text)
    except ValueError:
        raise ProtocolError(f"The server's header '{HEADER}' is not understood.", _ADVICE) from None
    if isinstance(document, dict) and document.get("dtype") == "|u1":
        document["dtype"] = "<u1"
    info = parse(ArrayInfo, document, HEADER)
    if info.dtype not in DTYPES:
        raise ProtocolError(
            f"The server sends voxels of type '{info.dtype[:20]}', which is not accepted.", _ADVICE
        )
    if min(info.shape) < 1 or len(info.direction) != 9:
        raise ProtocolError(f"The server's header '{HEADER}' has an impossible shape or direction.", _ADVICE)
    check_size(info.nbytes, limit)
    return info


def check_size(size: int, limit: int) -> None:
    """Raises TooLarge when so many bytes are over the limit."""
    if size > limit:
        raise TooLarge(
            f"The server would send {size:,} bytes; at most {limit:,} are accepted.",
            "Ask for a smaller box.",
        )


def encode_labels(labels: np.ndarray) -> LabelCrop:
    """A label crop for the wire.

    Args:
        labels: (z, y, x); bool or whole numbers from 0 to 255.

    Raises:
        ValueError: another shape, type or range.
    """
    if labels.ndim != 3 or labels.size == 0 or labels.dtype.kind not in "bui":
        raise ValueError(f"labels: three axes (z, y, x) of whole numbers, got {labels.dtype} {labels.shape}")
    if labels.dtype.kind != "b" and (labels.min() < 0 or labels.max() > 255):
        raise ValueError(f"labels: values from 0 to 255, got {labels.min()} to {labels.max()}")
    packed = zlib.compress(np.ascontiguousarray(labels, dtype=np.uint8).tobytes(), 6)
    z, y, x = labels.shape
    return LabelCrop("zlib", "uint8", (z, y, x), base64.b64encode(packed).decode("ascii"))


def decode_labels(crop: LabelCrop, size: Sequence[int]) -> np.ndarray:
    """The labels of a box, uint8 (z, y, x).

    Args:
        crop: as it came.
        size: extent of the box; a crop of any other shape is refused before anything is unpacked.

    Raises:
        ProtocolError: another encoding, type or shape, or damaged data.
    """
    if (crop.encoding, crop.dtype) != ("zlib", "uint8"):
        raise ProtocolError(f"The server sends labels as '{crop.encoding}' of '{crop.dtype}'.", _ADVICE)
    if crop.shape != tuple(size):
        raise ProtocolError(
            f"The server's labels have shape {crop.shape}, the box has {tuple(size)}.", _ADVICE
        )
    wanted = math.prod(crop.shape)
    try:
        unpacker = zlib.decompressobj()
        # One byte more than fits shows that there is too much, however large the rest would be.
        raw = unpacker.decompress(base64.b64decode(crop.data, validate=True), wanted + 1)
    except (ValueError, zlib.error):
        raise ProtocolError("The server's labels are damaged.", _ADVICE) from None
    if len(raw) != wanted or not unpacker.eof:
        raise ProtocolError("The server's labels have another size than they claim.", _ADVICE)
    return np.frombuffer(raw, np.uint8).reshape(crop.shape).copy()
