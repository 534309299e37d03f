"""What this machine has to compute on: one slot for a job per GPU, or one for the processor."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnactive_server.core.cores import available_cores

CACHE_SECONDS = 5.0
_QUERY = (
    "nvidia-smi",
    "--query-gpu=index,name,memory.total,memory.used,utilization.gpu",
    "--format=csv,noheader,nounits",
)
_QUERY_SECONDS = 10.0
_MEBIBYTE = 2**20

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place where one worker may run.

    Attributes:
        name: for people.
        environment: what makes a worker use it.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A line of nvidia-smi; None for what it does not tell.

    Attributes:
        index: in nvidia-smi's order, which is CUDA's order PCI_BUS_ID.
        name: of the model.
        memory_total: MiB; likewise `memory_used`.
        utilization: percent.
    """

    index: str
    name: str
    memory_total: int | None = None
    memory_used: int | None = None
    utilization: int | None = None


def detect_slots() -> tuple[Slot, ...]:
    """One slot per GPU that CUDA_VISIBLE_DEVICES, where it is set, lets through; otherwise one."""
    gpus = query_gpus()
    chosen = _chosen()
    if chosen is None:
        found = [_slot(gpu.index) for gpu in gpus]
    else:
        there = {gpu.index for gpu in gpus}
        seen = itertools.takewhile(lambda name: name in there or not name.isdecimal(), chosen)
        found = [Slot(f"gpu {name}", {"CUDA_VISIBLE_DEVICES": name}) for name in seen if gpus]
    return tuple(found) or (Slot("cpu"),)


def _slot(index: str) -> Slot:
    """For a number of nvidia-smi, which counts in this order; CUDA itself puts the fastest GPU first."""
    return Slot(f"gpu {index}", {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": index})


def _chosen() -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES names, up to the first that is none, as CUDA reads it; None when not set."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    names: list[str] = []
    for name in (word.strip() for word in value.split(",")):
        if not (name.isdecimal() or name.startswith(("GPU-", "MIG-"))):
            break
        if name not in names:
            names.append(name)
    return names


def query_gpus(command: Sequence[str] = _QUERY) -> tuple[Gpu, ...]:
    """The GPUs that nvidia-smi sees; none when it is missing, fails, or hangs."""
    try:
        found = subprocess.run(
            list(command), capture_output=True, stdin=subprocess.DEVNULL, timeout=_QUERY_SECONDS, check=True
        )
    except FileNotFoundError:
        return ()
    except (OSError, subprocess.SubprocessError) as problem:
        _logger.warning("GPUs cannot be looked up: %s", problem)
        return ()
    return parse_gpus(found.stdout.decode("utf-8", "replace"))


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """Lines of nvidia-smi; those that are none of a GPU are left out."""
    rows = ([word.strip() for word in line.split(",")] for line in text.splitlines())
    # The name is the only field that may hold a comma.
    return tuple(
        Gpu(row[0], ", ".join(row[1:-3]), *(_number(word) for word in row[-3:]))
        for row in rows
        if len(row) >= 5 and row[0].isdecimal()
    )


def _number(word: str) -> int | None:
    return int(word) if word.isdecimal() else None


class _Cache:
    """The devices as they were a few seconds ago at most."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._until = 0.0
        self._known: list[dict[str, Any]] = []

    def get(self) -> list[dict[str, Any]]:
        with self._turn:
            if time.monotonic() >= self._until:
                self._known = _look()
                self._until = time.monotonic() + CACHE_SECONDS
            return [dict(device) for device in self._known]


def _look() -> list[dict[str, Any]]:
    chosen = _chosen()
    gpus = [gpu for gpu in query_gpus() if chosen is None or not _excluded(gpu, chosen)]
    if not gpus:
        return [{"kind": "cpu", "name": f"{available_cores()} processor cores"}]
    return [
        {
            "kind": "gpu",
            "index": int(gpu.index),
            "name": gpu.name,
            "memory_total_bytes": _bytes(gpu.memory_total),
            "memory_used_bytes": _bytes(gpu.memory_used),
            "utilization_percent": gpu.utilization,
        }
        for gpu in gpus
    ]


def _excluded(gpu: Gpu, chosen: Sequence[str]) -> bool:
    """Whether a choice made by numbers leaves this GPU out; other names may not."""
    return gpu.index not in chosen and all(name.isdecimal() for name in chosen)


def _bytes(mebibytes: int | None) -> int | None:
    return None if mebibytes is None else mebibytes * _MEBIBYTE


_cache = _Cache()


def devices() -> list[dict[str, Any]]:
    """What the health page shows, at most `CACHE_SECONDS` old; plain JSON values."""
    return _cache.get()
