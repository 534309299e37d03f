"""Where a cycle's predictions and uncertainty maps lie; readable without what made them.

    PROJECT/cycle_NNN/maps/CASE/    one folder for each case
        predictive_entropy.b2nd       float16 (z, y, x), nats
        mutual_information.b2nd       float16 (z, y, x), nats
        mean_probability.b2nd         float16 (class, z, y, x)
        quality.json                  how far the members agree
        prediction.b2nd               uint8 (z, y, x), class ids

A case's maps are complete when all of its files are there. Another process may remove a folder at any moment.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.voxels import ENDING, NotStored, VoxelFile, VoxelsError, open_voxels

MAPS = ("predictive_entropy", "mutual_information", "mean_probability", "prediction")
QUALITY = "quality.json"
QUERIES = "queries.json"
"""The proposal of a cycle; with it the cycle is complete."""

_CYCLE = re.compile(r"cycle_(\d{3,})")
_TRIES = 4


def cycle_path(root: Path, number: int) -> Path:
    """Folder of a cycle of a project."""
    return root / f"cycle_{number:03d}"


def case_maps(folder: Path, case: str) -> Path:
    """Folder with the maps of a case, in the folder of a cycle or one that is built like it."""
    return folder / "maps" / case


def map_folder(root: Path, cycle: int, case: str) -> Path:
    """Folder with the maps of a case that a cycle of a project made."""
    return case_maps(cycle_path(root, cycle), case)


def map_path(maps: Path, name: str) -> Path:
    """File of a map, see `MAPS`, in the folder of a case."""
    return maps / f"{name}{ENDING}"


def holds_maps(maps: Path) -> bool:
    """Whether all maps of a case are in its folder."""
    return all(path.is_file() for path in (*(map_path(maps, name) for name in MAPS), maps / QUALITY))


def newest_maps(root: Path, case: str) -> tuple[int, Path] | None:
    """The newest cycle that made its query and holds all maps of a case, and the folder with them.

    None when there is none. The folder may be gone when it is used: then ask again, or see `open_newest`.
    """
    # What was removed while we looked at newer cycles is in one of them by now.
    return next(filter(None, (_newest(root, case) for _ in range(_TRIES))), None)


def open_newest(root: Path, case: str, name: str) -> tuple[int, VoxelFile] | None:
    """The newest map of this name of a case, opened, and the cycle that made it; None when there is none.

    Raises:
        VoxelsError: the file is damaged.
    """
    for _ in range(_TRIES):  # a cycle that ends now removes what was the newest a moment ago
        found = newest_maps(root, case)
        if found is None:
            return None
        try:
            return found[0], open_voxels(map_path(found[1], name))
        except NotStored:
            continue
    return None


def write_quality(maps: Path, pairwise_dice: float) -> None:
    """Store how far the members agree on a case; NaN when no member shows any foreground."""
    write_json(maps / QUALITY, {"pairwise_dice": None if math.isnan(pairwise_dice) else pairwise_dice})


def read_quality(maps: Path) -> float | None:
    """Mean pairwise Dice of the members on a case (see `evaluation.pairwise_dice`): its predicted quality.

    None for a single member, and when no member shows any foreground.

    Raises:
        NotStored: not there, or not any more.
        VoxelsError: damaged.
    """
    path = maps / QUALITY
    try:
        document = read_json(path, VoxelsError)
    except VoxelsError:
        if path.is_file():
            raise
        raise NotStored(f"{path}: no such file, or removed meanwhile") from None
    value = document.get("pairwise_dice", "") if isinstance(document, dict) else ""
    if value is not None and not isinstance(value, float | int):
        raise VoxelsError(f"{path}: has no number 'pairwise_dice'")
    return value


def _newest(root: Path, case: str) -> tuple[int, Path] | None:
    for number in _cycles(root):
        maps = map_folder(root, number, case)
        if (cycle_path(root, number) / QUERIES).is_file() and holds_maps(maps):
            return number, maps
    return None


def _cycles(root: Path) -> list[int]:
    """Numbers of the cycles of a project, the newest first."""
    try:
        names = [path.name for path in root.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((int(found[1]) for name in names if (found := _CYCLE.fullmatch(name))), reverse=True)
