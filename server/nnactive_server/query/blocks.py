"""Work on a volume in blocks that fit a processor's cache, on all cores.

Every step of the query engine is a short chain of passes over a map. Done on the whole map, each pass moves
it through main memory; done block by block, only the first and the last do. numpy lets other threads run
meanwhile, so blocks go to a thread per core. What is computed for a voxel never depends on its block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from nnactive_server.core.cores import available_cores

T = TypeVar("T")
BLOCK_VOXELS = 2**17
"""Measured: smaller blocks cost more in calls than the nearer cache saves, larger ones leave the cache."""


def rows_of(length: int, voxels_each: int) -> list[slice]:
    """Slices that cut an axis into blocks of about `BLOCK_VOXELS`.

    Args:
        length: of the axis.
        voxels_each: voxels of one position on it.
    """
    step = max(1, BLOCK_VOXELS // max(1, voxels_each))
    return [slice(first, min(first + step, length)) for first in range(0, length, step)]


def planes_and_rows(shape: Sequence[int]) -> list[tuple[slice, slice]]:
    """Blocks (z, y) of a (z, y, x) volume."""
    z, y, x = shape
    return [
        (planes, rows)
        for planes in rows_of(z, y * x)
        for rows in rows_of(y, (planes.stop - planes.start) * x)
    ]


def on_all_cores(work: Callable[[T], None], parts: Sequence[T]) -> None:
    """Call `work` for each part; the first error is raised again."""
    workers = min(available_cores(), len(parts))
    if workers < 2:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(workers, "query") as threads:
        for _ in threads.map(work, parts):
            pass
