"""The process of a crew: `python -m nnactive_server.segmentation.crew_worker`; see `crew.py`.

It trains one member after the other, as told on its standard input, and tells on its standard output where it
stands. When the input ends, it saves a checkpoint and ends.
"""

from __future__ import annotations

import json
import logging
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from nnactive_server.core.errors import Cancelled, NNActiveError
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.output import own_output
from nnactive_server.segmentation.hardware import Hardware, torch_threads
from nnactive_server.segmentation.training.ensemble import EnsembleTraining
from nnactive_server.segmentation.training.task import TrainingTask

TELL_SECONDS = 0.5


class _Told:
    """Says how far a member is, but not more often than anybody reads it."""

    def __init__(self, output: TextIO) -> None:
        self._output, self._last = output, 0.0

    def step(self, _member: int, step: int, loss: float) -> None:
        if time.monotonic() - self._last >= TELL_SECONDS:
            self._last = time.monotonic()
            self.say({"step": step, "loss": loss})

    def say(self, message: dict[str, Any]) -> None:
        self._output.write(json.dumps(message) + "\n")
        self._output.flush()


def main() -> int:
    """Work until the input ends; the exit code is 0 unless nobody foresaw what happened."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
    # Ctrl+C reaches the whole group; the process that is in charge lets this one stop in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = _Told(own_output())
    monitor, orders = Monitor(), queue.Queue[dict[str, Any] | None]()
    threading.Thread(target=_listen, args=(orders, monitor), daemon=True).start()
    try:
        _work(orders, monitor, told)
    except Cancelled:
        return 0
    except NNActiveError as problem:
        told.say({"error": type(problem).__name__, "message": str(problem)})
    return 0


def _listen(orders: queue.Queue[dict[str, Any] | None], monitor: Monitor) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    monitor.cancel()
    orders.put(None)


def _work(orders: queue.Queue[dict[str, Any] | None], monitor: Monitor, told: _Told) -> None:
    begun = orders.get()
    if begun is None:
        return
    hardware = Hardware.from_json(begun["hardware"])
    with torch_threads(hardware.threads):
        training = EnsembleTraining(TrainingTask.from_json(begun["task"]), hardware, monitor, told.step)
        while (order := orders.get()) is not None:
            early = order["early"]
            loss = training.member(order["member"], None if early is None else Path(early))
            told.say({"ended": loss})


if __name__ == "__main__":
    sys.exit(main())
