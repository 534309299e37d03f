"""Kills simulations at given points and runs them again; started as a process of its own by the tests.

Usage: kill_and_resume.py SOURCE OUT STRATEGY POINTS, with POINTS a JSON list of
`[name, pattern, nth, moment]`: the run in OUT/name is killed with SIGKILL `before` or `after` the nth file
whose path ends like `pattern` (a shell pattern) appears, or when it is `removed`; of a folder, when it is
empty already. Prints, for each, whether it was killed and whether it finished.
Every run is a fork of this process, which has imported everything already. OUT/undisturbed is a run
that nobody killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # pytest does this for tests; we are a process apart

from nnactive_server.dataset import RawDataset
from nnactive_server.study.simulate import Settings, simulate
from testkit import numpy_engine as engine


def settings(strategy: str) -> Settings:
    return Settings(strategy, 2, 4, (4, 5, 4), 7, engine.NumpyProfile(), last_query=True, views=2)


def kill_at(pattern: str, nth: int, moment: str) -> None:
    """From now on, die at the rename or removal: all state is written by renames."""
    rename, unlink, rmdir, seen = Path.replace, Path.unlink, os.rmdir, 0

    def die_if(path: object, when: str) -> None:
        nonlocal seen
        hit = when == moment and fnmatch(str(path), f"*{pattern}")
        seen += hit
        if hit and seen == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def replace(self: Path, target: Path) -> Path:
        die_if(target, "before")
        moved = rename(self, target)
        die_if(target, "after")
        return moved

    def remove(self: Path, missing_ok: bool = False) -> None:
        there = self.exists()
        unlink(self, missing_ok)
        if there:
            die_if(self, "removed")

    def remove_folder(path: Any, *, dir_fd: int | None = None) -> None:
        die_if(path, "removed")
        rmdir(path, dir_fd=dir_fd)

    Path.replace, Path.unlink = replace, remove  # type: ignore[method-assign,assignment]
    os.rmdir = remove_folder  # type: ignore[assignment]


def forked(source: Path, out: Path, strategy: str, point: tuple[str, int, str] | None) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if point is not None:
        kill_at(*point)
    code = 1
    try:
        simulate(RawDataset.open(source), out, settings(strategy), make_engine=engine.NumpyEngine)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    source, out, strategy = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    forked(source, out / "undisturbed", strategy, None)
    outcome = {}
    for name, *point in json.loads(sys.argv[4]):
        killed = forked(source, out / name, strategy, tuple(point)) == -signal.SIGKILL
        finished = forked(source, out / name, strategy, None) == 0
        outcome[name] = {"killed": killed, "finished": finished}
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
