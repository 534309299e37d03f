"""Members that do not need each other, trained at the same time by processes of their own.

    this process ── {"task", "hardware"}, then {"member", "early"} a line ──► crew_worker
                 ◄── {"step"}, {"ended"}, {"error"} a line ──────────────────

A worker whose input ends saves a checkpoint and ends: when it is told so, and when this process is gone.
"""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import NNActiveError, SegmentationError, error_named
from nnactive_server.core.monitor import Monitor
from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.training.task import TrainingTask

WORKER = (sys.executable, "-P", "-m", "nnactive_server.segmentation.training.crew_worker")
LOOK_SECONDS = 0.2
_LEAVE_SECONDS = 120.0
"""A worker that was asked to stop and does not is ended after this time; its last checkpoint is on disk."""

Told = Callable[[int, int, float], None]
"""Hears of a member, the steps it has done, and its last loss."""

log = logging.getLogger(__name__)


def train_apart(
    task: TrainingTask,
    places: Sequence[Hardware],
    members: Sequence[int],
    early: Path | None,
    monitor: Monitor,
    told: Told,
) -> dict[int, float]:
    """Train members by several processes, each one member after the other.

    Args:
        task: of the ensemble.
        places: the device and threads of each process.
        members: their numbers, from 0.
        early: see `EnsembleTraining.begin`; None to train them to their end.
        monitor: for a wish to stop.
        told: hears of progress.

    Returns:
        Last loss of each member, NaN for an early look.

    Raises:
        Cancelled: asked to stop; each member has a checkpoint.
        NNActiveError: as the first worker that failed said it; the others have stopped in good order.
    """
    waiting = list(members)
    losses: dict[int, float] = {}
    crew = _Crew(task, places[: len(waiting)])
    try:
        for worker in crew.workers:
            worker.begin(waiting.pop(0), early)
        while len(losses) < len(members):
            monitor.check()
            for worker, message in crew.heard():
                if "step" in message:
                    told(worker.member, message["step"], message["loss"])
                elif "ended" in message:
                    losses[worker.member] = float(message["ended"])
                    if waiting:
                        worker.begin(waiting.pop(0), early)
                else:
                    raise _problem(worker.member, message)
    finally:
        crew.leave()
    return losses


class _Worker:
    """One process, and what it says."""

    def __init__(self, task: TrainingTask, hardware: Hardware, said: queue.Queue[Any]) -> None:
        self.member = -1
        self._process = subprocess.Popen(
            WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._said = said
        threading.Thread(target=self._listen, daemon=True).start()
        self._tell({"task": task.to_json(), "hardware": hardware.to_json()})

    def begin(self, member: int, early: Path | None) -> None:
        """Let it train another member."""
        self.member = member
        self._tell({"member": member, "early": None if early is None else str(early)})

    def dismiss(self) -> None:
        """Ask it to stop; it needs no answer."""
        with suppress(OSError):  # it is gone already
            self._process.stdin.close()  # type: ignore[union-attr]

    def wait(self) -> None:
        """Until it has ended."""
        try:
            self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # its end is heard by the listener
            self._process.stdin.write(json.dumps(message) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]

    def _listen(self) -> None:
        with self._process.stdout as lines:  # type: ignore[union-attr]
            for line in lines:
                self._said.put((self, json.loads(line)))
        code = self._process.wait()
        self._said.put((self, {"error": "", "message": f"its process ended with exit code {code}"}))


class _Crew:
    def __init__(self, task: TrainingTask, places: Sequence[Hardware]) -> None:
        self._said: queue.Queue[tuple[_Worker, dict[str, Any]]] = queue.Queue()
        log.info("%d members are trained at the same time", len(places))
        self.workers = [_Worker(task, hardware, self._said) for hardware in places]

    def heard(self) -> list[tuple[_Worker, dict[str, Any]]]:
        """What the workers said since the last call; waits a moment for the first word."""
        with suppress(queue.Empty):
            return [self._said.get(timeout=LOOK_SECONDS)]
        return []

    def leave(self) -> None:
        """Let all stop in good order, at the same time."""
        for worker in self.workers:
            worker.dismiss()
        for worker in self.workers:
            worker.wait()


def _problem(member: int, message: dict[str, Any]) -> NNActiveError:
    kind = error_named(message["error"], SegmentationError)
    return kind(f"training member {member + 1}: {message['message']}")
