"""Whole runs beside each other, each bound to a core: with more threads they would wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence


def run_each(commands: Sequence[Sequence[str]], workers: int) -> None:
    """Run commands, `workers` at a time with a core each; with one worker a run has all cores.

    Raises:
        SystemExit: one failed; the others were done all the same.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if workers > 1 else dict(os.environ)
    running: dict[int, subprocess.Popen] = {}  # by core
    codes: list[int] = []
    for command in commands:
        while len(running) >= workers:
            codes += _ended(running)
            time.sleep(0.5)
        core = next(core for core in range(workers) if core not in running)
        bound = ["taskset", "-c", str(core)] if workers > 1 else []
        running[core] = subprocess.Popen([*bound, *command], env=environment)
    codes += [process.wait() for process in running.values()]
    if any(codes):
        sys.exit("a run failed; its words are above. The same command goes on with the others.")


def _ended(running: dict[int, subprocess.Popen]) -> list[int]:
    """Exit codes of the runs that have ended, which are taken out."""
    ended = [core for core, process in running.items() if process.poll() is not None]
    return [running.pop(core).returncode for core in ended]
