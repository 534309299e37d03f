"""The processes of a study while they run: started as there is room, watched, and stopped in good order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.monitor import Monitor
from nnactive_server.jobs.processes import Child
from nnactive_server.study.units import DONE, FAILED, Unit, UnitFolder

POLL_SECONDS = 0.2
_LEAVE_SECONDS = 60.0
"""A process that was asked to stop and does not is ended after this time; what it had finished is on disk."""


class Workers:
    """A fixed number of processes that work through the experiments that are left.

    Args:
        count: processes at the same time.
        start: begins an experiment as the worker of this number, from 0.
        folder_of: the files of an experiment.
        todo: experiments that are left, in their order.
        monitor: progress and cancel.
    """

    def __init__(
        self,
        count: int,
        start: Callable[[Unit, int], Child],
        folder_of: Callable[[Unit], UnitFolder],
        todo: Sequence[Unit],
        monitor: Monitor,
    ) -> None:
        self._count, self._start, self._folder_of = count, start, folder_of
        self._todo, self._monitor = list(todo), monitor
        self._running: dict[int, tuple[Unit, Child]] = {}
        folders = [folder_of(unit) for unit in todo]
        self._before = {folder.name: folder.cycles_done() for folder in folders}
        self._total = sum(unit.cycles for unit in todo) - sum(self._before.values())
        self._ended = 0

    def work(self) -> None:
        """Until all are done or somebody asks to stop; one that fails does not stop the others.

        Raises:
            LoopError: a process cannot be started.
            Cancelled: asked to stop.
        """
        try:
            while self._todo or self._running:
                self._monitor.check()
                self._fill()
                self._collect()
                self._tell()
                time.sleep(POLL_SECONDS if self._running else 0)
        finally:
            self._leave()

    def _fill(self) -> None:
        for worker in range(self._count):
            if self._todo and worker not in self._running:
                unit = self._todo.pop(0)
                self._running[worker] = (unit, self._start(unit, worker))

    def _collect(self) -> None:
        for worker, (unit, child) in list(self._running.items()):
            code = child.ended()
            if code is not None:
                del self._running[worker]
                self._close(unit, code)

    def _close(self, unit: Unit, code: int) -> None:
        folder = self._folder_of(unit)
        state = folder.read_state()
        self._ended += unit.cycles - self._before[unit.name]
        if state["state"] not in (DONE, FAILED):
            error = f"its process ended with exit code {code}; see {folder.log}"
            write_json(folder.state, state | {"state": FAILED, "error": error})

    def _tell(self) -> None:
        at_work = [(unit, self._folder_of(unit)) for unit, _ in self._running.values()]
        done = self._ended + sum(f.cycles_done() - self._before[unit.name] for unit, f in at_work)
        words = "; ".join(_stage(folder) for _, folder in at_work)
        self._monitor.report("trainings", done, self._total, words)

    def _leave(self) -> None:
        """Let the processes stop in good order; end those that do not."""
        children = [child for _, child in self._running.values()]
        for child in children:
            child.terminate()
        until = time.monotonic() + _LEAVE_SECONDS
        while any(child.ended() is None for child in children):
            if time.monotonic() > until:
                for child in children:
                    child.kill()
            time.sleep(POLL_SECONDS)


def _stage(folder: UnitFolder) -> str:
    """Where an experiment stands, in a few words."""
    name = folder.name.partition("/")[2]
    if not folder.progress.exists():
        return name
    try:
        told = read_json(folder.progress, LoopError)
    except LoopError:  # removed a moment ago
        return name
    return f"{name}: {told['stage']} {told['done']} of {told['total']}"
