"""What the tests of faults share: waiting for conditions, processes left behind, requests by hand."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import SimpleITK as sitk

SECONDS = 60.0
"""Only a broken test waits so long."""


def wait_until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What `condition` gives as soon as it is true."""
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.02)
    return found


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that name a folder or work below it."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            # A process that has ended and waits for its parent to take note has neither.
            where = (path / "cwd").resolve() if line else Path("/")
        except OSError:
            continue
        if str(folder) in line or where.is_relative_to(folder):
            found.append(line)
    return found


def free_port() -> int:
    """A port on which nobody listens, for a server that keeps its address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def request_head(server: Any, method: str, path: str, who: str = "ann", **headers: object) -> bytes:
    """The head of a request as bytes; underscores of the names become dashes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(server.url).netloc}"]
    lines.append(f"Authorization: Bearer {server.tokens[who]}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def dial(server: Any) -> socket.socket:
    """A connection to a server."""
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def piece_headers(content: bytes, first: int, end: int) -> dict[str, str]:
    """Headers of the bytes `first` to `end` of a file on their way up."""
    return {
        "Content-Range": f"bytes {first}-{end - 1}/{len(content)}",
        "NNActive-Chunk-SHA256": hashlib.sha256(content[first:end]).hexdigest(),
    }


def image_file(path: Path, seed: int, shape: tuple[int, int, int] = (8, 10, 12)) -> Path:
    """An image of noise; different seeds are different files."""
    voxels = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    return path
