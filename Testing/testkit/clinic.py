"""A server's store with a project whose hidden truth is known, people who answer from it, and its cycles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_server.core.crops import pack_crop
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import RawDataset, write_volume
from nnactive_server.jobs.cycle import run
from nnactive_server.jobs.layout import project_root
from nnactive_server.jobs.reporting import JobContext
from nnactive_server.store import (
    Answer,
    Case,
    Job,
    JobState,
    Kind,
    NewPatch,
    PatchRecord,
    PatchState,
    Project,
    Store,
)
from testkit.numpy_engine import NumpyEngine, NumpyProfile

SETTINGS: dict[str, Any] = {
    "labels": [{"name": "large"}, {"name": "small"}],
    "channels": ["MR"],
    "patch_size": [4, 5, 4],
    "query_size": 3,
    "strategy": "clasp-pe",
    "strategy_parameters": {},
    "profile": "smoke",
    "profile_overrides": {},
    "seed": 5,
    "planned_cycles": 3,
}


def numpy_engine(project: RawDataset, workdir: Path, _profile: object, monitor: Monitor) -> NumpyEngine:
    return NumpyEngine(project, workdir, NumpyProfile(), monitor)


@dataclass
class Clinic:
    """One project of a server."""

    store: Store
    data: Path
    source: RawDataset
    project: Project

    @classmethod
    def found(
        cls, store: Store, data: Path, source: RawDataset, cases: int | None = None, **settings: Any
    ) -> Clinic:
        """A new project with the images of a dense data set."""
        clinic = cls(store, data, source, store.projects.create("Balls", SETTINGS | settings))
        for name in source.cases[:cases]:
            clinic.add_case(name)
        return clinic

    @classmethod
    def reopen(cls, store: Store, data: Path, source: RawDataset) -> Clinic:
        return cls(store, data, source, store.projects.list()[0])

    @property
    def root(self) -> Path:
        return project_root(self.data, self.project.id)

    @property
    def next_cycle(self) -> int:
        return len(self.store.jobs.list(self.project.id, [JobState.SUCCEEDED]))

    def add_case(self, name: str) -> Case:
        image = self.source.read_image(name)
        file = self.data / f"{name}.nii"
        images = []
        for channel in image.array:
            write_volume(file, channel, image.geometry)
            images.append(self.store.blobs.put(file.read_bytes()))
            file.unlink()
        return self.store.cases.add(self.project.id, name, image.geometry, images)

    def truth(self, name: str) -> np.ndarray:
        return self.source.read_label(name).array

    def case_name(self, patch: PatchRecord) -> str:
        return self.store.cases.get(patch.case).name

    def place(
        self, name: str, start: Sequence[int], size: Sequence[int] = (4, 5, 4), cycle: int | None = None
    ) -> PatchRecord:
        case = self.store.cases.by_name(self.project.id, name)
        number = self.next_cycle if cycle is None else cycle
        return self.store.patches.place(self.project.id, number, NewPatch(case.id, Patch(start, size)), "ann")

    def answer(
        self,
        patch: PatchRecord,
        kind: Kind = Kind.LABELLED,
        labels: np.ndarray | None = None,
        unsure: np.ndarray | None = None,
        **more: Any,
    ) -> None:
        """The truth, unless other labels are given."""
        crop = self.truth(self.case_name(patch))[patch.box.slices] if labels is None else labels
        if kind in (Kind.LABELLED, Kind.CONFIRMED):
            more["labels"] = self.store.blobs.put(pack_crop(crop))
            more["class_voxels"] = {v: int((crop == v).sum()) for v in (1, 2)}
        if unsure is not None:
            more["unsure"] = self.store.blobs.put(pack_crop(unsure))
        revision = self.store.patches.get(patch.id).revision
        self.store.answers.record(patch.id, revision, Answer(kind, "ann", seconds=30.0, **more))

    def start(self) -> tuple[PatchRecord, ...]:
        """Four answered patches with targets in three cases."""
        middles = {"case_0": (4, 5, 4), "case_1": (4, 5, 5), "case_2": (5, 4, 4)}
        placed = [self.place(name, start) for name, start in middles.items()]
        placed.append(self.place("case_0", (0, 0, 0)))
        for patch in placed:
            self.answer(patch)
        return tuple(placed)

    def batch(self, cycle: int) -> tuple[PatchRecord, ...]:
        return self.store.patches.list(self.project.id, cycle=cycle)

    def answer_batch(self, cycle: int) -> None:
        for patch in self.batch(cycle):
            if patch.state == PatchState.OPEN:
                self.answer(patch)

    def job(self, **params: Any) -> Job:
        """A new job for the next cycle, claimed as a worker has it."""
        self.store.jobs.enqueue(self.project.id, "cycle", {"cycle": self.next_cycle, **params})
        return self._claimed()

    def again(self, job: Job) -> Job:
        """The next attempt of a job that was stopped."""
        self.store.jobs.resume(job.id)
        return self._claimed()

    def work(
        self, job: Job, monitor: Monitor | None = None, make_engine: Callable[..., Any] = numpy_engine
    ) -> dict[str, Any]:
        """One attempt of a job, with its end in the store."""
        context = JobContext(self.store, self.data, job, monitor or Monitor())
        try:
            result = run(context, make_engine)
        except BaseException:
            self.store.jobs.finish(job.id, job.attempt, JobState.INTERRUPTED, "stopped")
            raise
        self.store.jobs.finish(job.id, job.attempt, JobState.SUCCEEDED, result=result)
        return result

    def cycle(self, **more: Any) -> dict[str, Any]:
        """The next cycle from its beginning to its end."""
        return self.work(self.job(), **more)

    def _claimed(self) -> Job:
        job = self.store.jobs.claim(1)
        assert job is not None
        return job
