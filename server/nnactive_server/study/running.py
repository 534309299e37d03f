"""All experiments of a plan, each in a process of its own, some at the same time.

What is done is skipped, so the same call goes on with a study that was stopped anywhere.
"""

from __future__ import annotations

import itertools
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nnactive_server.core.cores import available_cores
from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.monitor import Monitor
from nnactive_server.dataset import RawDataset
from nnactive_server.dataset.raw import DESCRIPTION
from nnactive_server.jobs.processes import Child, module_command
from nnactive_server.jobs.slots import Slot, detect_slots
from nnactive_server.loop import claim, project_lock
from nnactive_server.study.disk import (
    Size,
    dataset_size,
    free_bytes,
    in_words,
    left_bytes,
    peak_bytes,
    start_bytes,
)
from nnactive_server.study.phantom import make_phantoms
from nnactive_server.study.plan import KEEP, Data, Plan
from nnactive_server.study.summary import versions
from nnactive_server.study.truth import Clinician
from nnactive_server.study.units import DONE, FAILED, Unit, UnitFolder
from nnactive_server.study.workers import Workers

PLAN = "study.json"
_UNIT_PROCESS = "nnactive_server.study.unit_process"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a study will need.

    Attributes:
        folder: of the study.
        experiments: in the plan.
        done: of them.
        trainings: cycles that are left.
        workers: experiments at the same time.
        peak_bytes: the most on disk at any moment from now on, on top of what is there.
        left_bytes: of them, what stays.
        free_bytes: on the disk now.
    """

    folder: Path
    experiments: int
    done: int
    trainings: int
    workers: int
    peak_bytes: int
    left_bytes: int
    free_bytes: int

    @property
    def words(self) -> str:
        """The same for people."""
        peak, left, free = map(in_words, (self.peak_bytes, self.left_bytes, self.free_bytes))
        return (
            f"{self.experiments} experiments, {self.done} of them done; {self.trainings} trainings to go, "
            f"{self.workers} at a time. Disk: at most about {peak} more while it runs, of which {left} stay; "
            f"{free} are free in {self.folder}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class UnitResult:
    """How an experiment ended.

    Attributes:
        name: its folder below the study's.
        state: `done`, `failed` or `waiting`.
        error: why it failed.
        final_dice: Mean Dice after its last cycle.
        seconds: of computing.
    """

    name: str
    state: str
    error: str
    final_dice: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class StudyResult:
    """How a study ended.

    Attributes:
        name: of the plan.
        folder: of the study.
        units: in the order of the plan.
    """

    name: str
    folder: Path
    units: tuple[UnitResult, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each experiment that failed."""
        return tuple(f"{unit.name}: {unit.error}" for unit in self.units if unit.state == FAILED)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class StudyRun:
    """A plan and the folder it is carried out in.

    Args:
        plan: what to do.
        folder: for everything.
        workers: experiments at the same time, if not as the plan says.
        command: starts a unit's process.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        workers: int | None = None,
        command: Sequence[str] = module_command(_UNIT_PROCESS),
    ) -> None:
        self._plan, self._folder, self._command = plan, folder.resolve(), tuple(command)
        slots = detect_slots()
        self._workers = workers or plan.workers or len(slots)
        self._slots = tuple(itertools.islice(itertools.cycle(slots), self._workers))
        self._sizes: dict[str, Size] = {}
        self._sources = {data.name: data.path or self._folder / "data" / data.name for data in plan.data}

    def forecast(self) -> Forecast:
        """What is left to do, and the disk it needs.

        Raises:
            DatasetError: a data set cannot be read, or lacks labels.
            LoopError: the folder holds experiments with other settings.
        """
        self._prepare()
        todo = self._todo()
        peaks, left = self._peaks(todo), [left_bytes(unit) for unit in todo]
        # Of the seeds at work, and of the one before until the next experiment begins.
        shared = {unit.start: start_bytes(unit, self._sizes[unit.dataset]) for unit in todo if unit.start}
        if not self._plan.keep_all:
            most = sum(sorted(peaks.values())[-self._workers :]) + sum(left)
        else:
            most, left = sum(peaks.values()), list(peaks.values())
        most += sum(sorted(shared.values())[-(self._workers + 1) :])
        return Forecast(
            self._folder,
            len(self._plan.units),
            len(self._plan.units) - len(todo),
            sum(unit.cycles - self._at(unit).cycles_done() for unit in todo),
            self._workers,
            most,
            sum(left),
            free_bytes(self._folder),
        )

    def run(self, monitor: Monitor | None = None) -> StudyResult:
        """Run what is not done.

        Args:
            monitor: progress in trainings, and cancel.

        Raises:
            DatasetError: a data set cannot be read, or lacks labels.
            LoopError: the folder holds experiments with other settings, is in use, or too small.
            Cancelled: asked to stop; the same call goes on.
        """
        monitor = monitor or Monitor()
        with project_lock(self._folder):
            forecast = self.forecast()
            if forecast.peak_bytes > forecast.free_bytes:
                raise LoopError(
                    f"{self._folder}: {in_words(forecast.free_bytes)} are free, and the study needs about "
                    f"{in_words(forecast.peak_bytes)}; free some, use fewer workers or another folder"
                )
            self._describe()
            todo = self._todo()
            for unit in todo:
                claim(self._at(unit).unit, unit.to_json())
            Workers(self._workers, self._start, self._at, todo, monitor).work()
            self._drop_starts()
        return self.result()

    def result(self) -> StudyResult:
        """How every experiment stands."""
        found = []
        for unit in self._plan.units:
            state = self._at(unit).read_state()
            found.append(
                UnitResult(unit.name, state["state"], state["error"], state["final_dice"], state["seconds"])
            )
        return StudyResult(self._plan.name, self._folder, tuple(found))

    def _start(self, unit: Unit, worker: int) -> Child:
        """Begin an experiment in a process of its own."""
        folder, slot = self._at(unit), self._slots[worker]
        cores = self._cores(worker, slot)
        extra = dict(slot.environment) | ({"OMP_NUM_THREADS": str(len(cores))} if cores else {})
        needed, free = self._peaks([unit])[unit.name], free_bytes(self._folder)
        if needed > free:
            raise LoopError(
                f"{self._folder}: {in_words(free)} are free, and {unit.name} needs about {in_words(needed)}; "
                "free some, then run the same command again"
            )
        self._drop_starts()
        folder.state.unlink(missing_ok=True)  # of a failure before
        words = (self._folder, unit.name, self._sources[unit.dataset], KEEP[self._plan.keep_all])
        listed = ",".join(map(str, cores)) or "-"
        try:
            return Child((*self._command, *map(str, words), listed), self._folder, extra, folder.log)
        except OSError as problem:
            raise LoopError(f"{unit.name}: its process cannot be started ({problem})") from problem

    def _drop_starts(self) -> None:
        """Remove shared first cycles that nobody will need."""
        needed = {unit.start for unit in self._todo() if unit.start}
        for start in {unit.start for unit in self._plan.units if unit.start} - needed:
            shutil.rmtree(self._folder / start, ignore_errors=True)

    def _at(self, unit: Unit) -> UnitFolder:
        return UnitFolder(self._folder, unit.name)

    def _todo(self) -> list[Unit]:
        return [unit for unit in self._plan.units if self._at(unit).read_state()["state"] != DONE]

    def _cores(self, worker: int, slot: Slot) -> list[int]:
        """Processors of a worker: all when it is alone or on a GPU, else a share of its own."""
        if self._workers == 1 or slot.environment or not hasattr(os, "sched_getaffinity"):
            return []
        cores = sorted(os.sched_getaffinity(0))
        return cores[worker :: self._workers] or [cores[worker % len(cores)]]

    def _prepare(self) -> None:
        """Make phantoms, and find out now what would stop an experiment in an hour."""
        for data in self._plan.data:
            if data.name not in self._sizes:
                source = self._open(data)
                Clinician(source)
                self._sizes[data.name] = dataset_size(source)
        for unit in self._plan.units:
            if self._at(unit).unit.exists():
                claim(self._at(unit).unit, unit.to_json())

    def _open(self, data: Data) -> RawDataset:
        source = self._sources[data.name]
        if data.phantoms is not None and not (source / DESCRIPTION).exists():
            return make_phantoms(source, data.phantoms.cases, data.phantoms.seed)
        return RawDataset.open(source)

    def _peaks(self, units: Sequence[Unit]) -> dict[str, int]:
        return {u.name: peak_bytes(u, self._sizes[u.dataset], self._plan.keep_all) for u in units}

    def _describe(self) -> None:
        """study.json; the day it began stays."""
        path, now = self._folder / PLAN, datetime.now(UTC).isoformat(timespec="seconds")
        before = read_json(path, LoopError) if path.exists() else {}
        machine = f"{platform.system()} {platform.machine()}, {available_cores()} cores"
        places = ", ".join(dict.fromkeys(slot.name for slot in self._slots))
        write_json(
            path,
            {
                **self._plan.to_json(),
                "begun": before.get("begun", now),
                "continued": now,
                "machine": f"{machine}, {self._workers} at a time on {places}",
                "versions": versions(),
            },
        )
