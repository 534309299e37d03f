"""Whole volumes to a server and back, what the machine could do at best, and the memory it takes."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from NNActiveLogic.client.api import Client

PIECE = 4 << 20


def write_volume(path: Path, shape: Sequence[int], seed: int) -> None:
    """An uncompressed int16 NRRD file, as Slicer writes it; different seeds are different files."""
    noise = np.random.default_rng(seed).integers(-1000, 1000, (1, *shape[1:])).astype(np.int16)
    voxels = noise + np.arange(shape[0], dtype=np.int16)[:, None, None]
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.8, 0.8, 1.0))
    sitk.WriteImage(image, str(path), useCompression=False)


def send_up(url: str, token: str, project: str, path: Path) -> Iterator[tuple[str, float, float]]:
    """Upload a file and make a case of it; the case, and the seconds of both steps."""
    client = Client(url, token)
    client.me()  # the connection is there
    start = time.perf_counter()
    sha256 = client.upload(path)
    uploaded = time.perf_counter()
    case = client.add_case(project, [sha256])
    yield case.id, uploaded - start, time.perf_counter() - uploaded


def bring_back(url: str, token: str, case: str, target: Path) -> Iterator[tuple[float, float]]:
    """Seconds of the voxels of a case as a file, and in memory."""
    client = Client(url, token)
    client.me()
    start = time.perf_counter()
    client.save_image(case, target)
    saved = time.perf_counter()
    client.image(case)
    yield saved - start, time.perf_counter() - saved


def hash_and_write(source: Path, target: Path) -> Iterator[float]:
    """The least an upload that checks the file and survives a power cut costs: read, hash, write, fsync."""
    start = time.perf_counter()
    digest = hashlib.sha256()
    with source.open("rb") as file, target.open("wb") as copy:
        while piece := file.read(PIECE):
            digest.update(piece)
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    yield time.perf_counter() - start


def over_a_socket(source: Path, target: Path | None) -> Iterator[float]:
    """A file over loopback from a thread that only reads it, into a file or into nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = threading.Thread(target=_push, args=(listener.getsockname()[1], source))
        start = time.perf_counter()
        sender.start()
        line, _ = listener.accept()
        with line, open(target or os.devnull, "wb") as file:  # noqa: PTH123 — the null device is no file of ours
            while piece := line.recv(1 << 20):
                file.write(piece)
        yield time.perf_counter() - start
        sender.join()


def _push(port: int, source: Path) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line, source.open("rb") as file:
        line.sendfile(file)


class Memory:
    """Peaks of the web process and of the tasks it starts, in bytes."""

    def __init__(self, web: int) -> None:
        self._web, self.web, self.task = web, 0, 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Measure while the block lasts; Linux only."""
        Path(f"/proc/{self._web}/clear_refs").write_text("5")  # the peak starts anew
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(over,))
        watcher.start()
        yield
        over.set()
        watcher.join()
        self.web = max(self.web, status_bytes(self._web, "VmHWM"))

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(0.02):
            for child in _children(self._web):
                with suppress(OSError, KeyError):
                    if b"task_runner" in Path(f"/proc/{child}/cmdline").read_bytes():
                        self.task = max(self.task, status_bytes(child, "VmHWM"))


def status_bytes(pid: int, name: str) -> int:
    """A line of /proc/PID/status, such as VmRSS; raises KeyError when there is none."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def proportional_bytes(pid: int) -> int:
    """Memory of a process, with what it shares with others counted in part (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise KeyError("Pss")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, file.read_text().split())
    return found
