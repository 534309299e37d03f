"""From the store to the files a cycle is trained on: label maps, loop files, and what they amount to.

`answers.json` of a cycle comes last and freezes it: a cycle that is resumed goes on with the same answers.
Everything before it can be done again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.mapfiles import holds_maps, map_path
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.voxels import open_voxels
from nnactive_server.dataset import RawDataset, loop_path, read_loop, rebuild_label, write_loop
from nnactive_server.jobs.snapshot import Snapshot, read_answer, take_snapshot
from nnactive_server.loop import CycleFolder
from nnactive_server.loop.crossval import before_training
from nnactive_server.store import Blobs, Store

STAGE = "answers"
_NOTHING = (
    "nothing is annotated yet; answer at least one patch (not all of it unsure), then start the cycle again"
)


def answers_path(folder: CycleFolder) -> Path:
    """What a cycle is trained on: a summary, complete when it is there."""
    return folder.path / "answers.json"


def materialise(
    store: Store,
    project: str,
    folder: CycleFolder,
    open_folder: Callable[[], RawDataset],
    monitor: Monitor,
) -> dict[str, Any]:
    """Write the answers a cycle is trained on into the project's folder, unless that was done before.

    The caller holds the project's lock.

    Args:
        store: of the server.
        project: id.
        folder: of the cycle.
        open_folder: brings the images up to date and opens the folder; called after the answers were read, so
            that it knows every case they are about.
        monitor: progress (stage "answers") and cancel.

    Returns:
        `{"seq", "changed", "cases", "seen", "patches", "annotated_voxels", "foreground_voxels", "minutes",
        "classes", "before_training"}`: the newest answer's event; cases whose label maps were written anew;
        annotated and foreground voxels of every case of the project then; ids of all patches whose answers
        this model or an earlier one has seen; settled patches; voxels; active minutes of annotation; patches
        that hold each class; Dice of the model before on answers it had not seen, None before the first.

    Raises:
        LoopError: nothing is annotated.
        StoreError: a stored file is missing or damaged.
        DatasetError: an answer does not fit its image.
        Cancelled: asked to stop.
    """
    path = answers_path(folder)
    if not path.exists():
        before = _before(folder)
        snapshot = take_snapshot(store, project, folder.number, before["seq"])
        if not any(snapshot.settled()):
            raise LoopError(_NOTHING)
        writer = _Writer(store.blobs, open_folder(), snapshot, monitor)
        voxels = writer.labels(before["cases"])
        writer.loops(folder.number)
        judged = writer.judge_before(folder, set(before["seen"])) if folder.number else None
        document = _summary(snapshot, voxels, before["seen"], writer.project.labels) | {
            "before_training": judged
        }
        if not document["annotated_voxels"]:
            raise LoopError(_NOTHING)
        monitor.check()
        write_json(path, document)
    return dict(read_json(path, LoopError))


def _before(folder: CycleFolder) -> dict[str, Any]:
    """The summary of the cycle before; one that knows nothing when there is none."""
    path = answers_path(CycleFolder(folder.root, folder.number - 1))
    nothing: dict[str, Any] = {"seq": 0, "cases": {}, "seen": []}
    return nothing | dict(read_json(path, LoopError)) if path.exists() else nothing


class _Writer:
    """Writes a snapshot."""

    def __init__(self, blobs: Blobs, project: RawDataset, snapshot: Snapshot, monitor: Monitor) -> None:
        self.project = project
        self._blobs, self._snapshot, self._monitor = blobs, snapshot, monitor

    def labels(self, before: Mapping[str, list[int]]) -> dict[str, list[int]]:
        """Write the label maps that may have changed; annotated and foreground voxels of every case."""
        voxels = {case.name: before.get(case.name, [0, 0]) for case in self._snapshot.cases.values()}
        for done, case in enumerate(sorted(self._snapshot.changed), start=1):
            self._monitor.check()
            name = self._snapshot.cases[case].name
            answers = [
                read_answer(self._blobs, *settled, self.project.labels)
                for settled in self._snapshot.settled(case)
            ]
            voxels[name] = _count(rebuild_label(self.project, name, answers), self.project.labels)
            self._monitor.report(STAGE, done, len(self._snapshot.changed), name)
        return voxels

    def loops(self, number: int) -> None:
        """Write the loop files 0 to `number` that say something else."""
        for cycle in range(number + 1):
            self._monitor.check()
            path, patches = loop_path(self.project.root, cycle), self._snapshot.loop(cycle)
            if not path.exists() or read_loop(path) != patches:
                write_loop(self.project.root, cycle, patches, self.project.file_ending)

    def judge_before(self, folder: CycleFolder, seen: set[str]) -> dict[str, float | None]:
        """How well the cycle before predicted what was answered since."""
        maps = CycleFolder(folder.root, folder.number - 1).maps
        new: dict[str, list[tuple[Any, np.ndarray]]] = {}
        for patch, answer in self._snapshot.settled():
            if patch.id not in seen:
                name = self._snapshot.cases[patch.case].name
                crop = read_answer(self._blobs, patch, answer, self.project.labels)
                new.setdefault(name, []).append(crop)

        def prediction(case: str) -> np.ndarray | None:
            self._monitor.check()
            if not holds_maps(maps(case)):
                return None
            found: np.ndarray = open_voxels(map_path(maps(case), "prediction")).array()
            return found

        return before_training(prediction, new, self.project.labels)


def _count(label: np.ndarray | None, labels: LabelSet) -> list[int]:
    """Annotated voxels of a label map (z, y, x), and those of them that belong to a class."""
    if label is None:
        return [0, 0]
    annotated = int(np.count_nonzero(label != labels.ignore))
    return [annotated, annotated - int(np.count_nonzero(label == 0))]


def _summary(
    snapshot: Snapshot, voxels: Mapping[str, list[int]], seen: list[str], labels: LabelSet
) -> dict[str, Any]:
    settled = list(snapshot.settled())
    return {
        "seq": snapshot.seq,
        "changed": sorted(snapshot.cases[case].name for case in snapshot.changed),
        "cases": dict(voxels),
        "seen": sorted({*seen, *(patch.id for patch, _ in settled)}),
        "patches": len(settled),
        "annotated_voxels": sum(annotated for annotated, _ in voxels.values()),
        "foreground_voxels": sum(foreground for _, foreground in voxels.values()),
        "minutes": sum(record.answer.seconds for record in snapshot.answers.values()) / 60,
        "classes": {
            name: sum(answer.class_voxels.get(value, 0) > 0 for _, answer in settled)
            for value, name in zip(labels.foreground, labels.classes, strict=True)
        },
    }
