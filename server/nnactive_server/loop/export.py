"""What a project gives away: the model for stock nnU-Net, the labels, and statistics as CSV."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import atomic_path
from nnactive_server.dataset import RawDataset, read_loops
from nnactive_server.loop.folder import CycleFolder

WORK = "work"
"""Folder of a project that belongs to the engine."""

_COLUMNS = (
    "loop", "case", "start_z", "start_y", "start_x", "size_z", "size_y", "size_x",
    "group", "score", "rank", "status", "annotator", "seconds",
)  # fmt: skip

ModelExport = Callable[[Path, Path, Path], Path]
"""`(workdir, members, dest)`, see `segmentation.export_model`."""


def latest_members(root: Path) -> CycleFolder:
    """The newest cycle whose training is complete.

    Raises:
        LoopError: there is none.
    """
    numbers = (int(path.name.removeprefix("cycle_")) for path in root.glob("cycle_[0-9]*"))
    for number in sorted(numbers, reverse=True):
        folder = CycleFolder(root, number)
        if folder.training.exists():
            return folder
    raise LoopError(f"{root}: no cycle has finished training yet, so there is no model")


def export_project(root: Path, dest: Path, export_model: ModelExport) -> dict[str, str | int]:
    """Write `model/`, `labels/` and `patches.csv` into a new folder.

    Args:
        root: a project or the folder of a simulation.
        dest: new or empty folder.
        export_model: writes the model.

    Returns:
        What was written, for people: paths, the cycle of the model, and counts.

    Raises:
        LoopError: `dest` is not empty, or there is no trained model.
    """
    project = RawDataset.open(root)
    if dest.exists() and any(dest.iterdir()):
        raise LoopError(f"{dest}: not empty; give a new folder")
    cycle = latest_members(root)
    export_model(root / WORK, cycle.members, dest / "model")
    labels = _copy_labels(project, dest / "labels")
    patches = _write_patches(root, dest / "patches.csv")
    return {
        "model": str(dest / "model"),
        "cycle": cycle.number,
        "labels": str(dest / "labels"),
        "label_maps": labels,
        "statistics": str(dest / "patches.csv"),
        "patches": patches,
    }


def _copy_labels(project: RawDataset, dest: Path) -> int:
    dest.mkdir(parents=True, exist_ok=True)
    labelled = [case for case in project.cases if project.has_label(case)]
    for case in labelled:
        source = project.label_path(case)
        shutil.copyfile(source, dest / source.name)
    return len(labelled)


def _write_patches(root: Path, target: Path) -> int:
    rows = list(_rows(root))
    with atomic_path(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(_COLUMNS)
        writer.writerows(rows)
    return len(rows)


def _rows(root: Path) -> Iterator[tuple[object, ...]]:
    for number, loop in enumerate(read_loops(root)):
        for p in loop:
            where = (*p.patch.start, *p.patch.size)
            yield number, p.case, *where, p.group, p.score, p.rank, p.status, p.annotator, p.seconds
