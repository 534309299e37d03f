"""The process of one experiment: `python -m nnactive_server.study.unit_process STUDY NAME SOURCE KEEP CORES`.

STUDY is the study's folder and NAME the unit's in it, SOURCE the data set, KEEP `all` or `results`, CORES
the processors to use, as `0,2`, or `-` for all of them. SIGTERM, or the death of the process that started it,
asks it to stop at its next check.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import Cancelled, LoopError, NNActiveError
from nnactive_server.core.files import read_json, remove_leftovers, write_json
from nnactive_server.core.monitor import Monitor
from nnactive_server.dataset import RawDataset
from nnactive_server.loop import BusyProject
from nnactive_server.study.simulate import EngineFactory, simulate
from nnactive_server.study.units import DONE, FAILED, Unit, UnitFolder

STOPPED = 130
TELL_SECONDS = 1.0
_WAIT_SECONDS = 1.0

_logger = logging.getLogger(__name__)


class UnitMonitor(Monitor):
    """Writes where the experiment stands, and stops it when nobody waits for it any more.

    Args:
        file: to write to.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file, self._parent, self._told = file, os.getppid(), 0.0

    def report(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Write this, unless something was written a moment ago."""
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            write_json(self._file, {"stage": stage, "done": done, "total": total, "detail": detail})

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop, or the process that started this one is gone."""
        return super().cancelled or os.getppid() != self._parent


def main(arguments: Sequence[str], make_engine: EngineFactory | None = None) -> int:
    """Run or continue a unit.

    Args:
        arguments: see the module.
        make_engine: see `simulate`.

    Returns:
        The exit code: 0 when done, 1 when it failed, `STOPPED` when stopped. state.json tells more.
    """
    study, name, source, keep, cores = arguments
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if cores != "-" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    folder = UnitFolder(Path(study), name)
    monitor = UnitMonitor(folder.progress)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: monitor.cancel())
    try:
        _run(folder, RawDataset.open(Path(source)), monitor, make_engine, keep == "all")
    except Cancelled:
        return STOPPED
    except (NNActiveError, OSError) as problem:
        _logger.error("%s", problem)
        write_json(folder.state, folder.read_state() | {"state": FAILED, "error": str(problem)})
        return 1
    finally:
        folder.progress.unlink(missing_ok=True)
    return 0


def _run(
    folder: UnitFolder,
    source: RawDataset,
    monitor: UnitMonitor,
    make_engine: EngineFactory | None,
    keep_all: bool,
) -> None:
    unit = Unit.from_json(read_json(folder.unit, LoopError))
    # Complete but not marked so: killed while its bulk was removed, without which it could not be continued.
    while folder.cycles_done() < unit.cycles:
        try:
            simulate(
                source,
                folder.run,
                unit.settings(),
                monitor=monitor,
                make_engine=make_engine,
                after_cycle=None if keep_all else folder.drop_older_members,
                start=folder.study / unit.start if unit.start else None,
            )
        except BusyProject:
            # A killed study leaves processes that end at their next check.
            monitor.check()
            time.sleep(_WAIT_SECONDS)
    if not keep_all:
        folder.drop_bulk()
    remove_leftovers(folder.run)
    write_json(folder.state, _done(folder))


def _done(folder: UnitFolder) -> dict[str, Any]:
    summary = folder.summary()
    return {
        "state": DONE,
        "error": "",
        "seconds": round(sum(sum(entry["seconds"].values()) for entry in summary["cycles"]), 1),
        "final_dice": summary["final_dice"],
        "bytes": folder.bytes_on_disk(),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
