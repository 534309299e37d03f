"""Kills simulations at given points and runs them again; started as a process of its own by the tests.

Usage: kill_and_resume.py SOURCE OUT POINTS, with POINTS a JSON list of `[name, pattern, nth, moment]`:
the run in OUT/name is killed with SIGKILL `before` or `after` the nth file whose path ends like
`pattern` (a shell pattern) appears. Prints, for each, whether it was killed and whether it finished.
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

sys.path.insert(0, str(Path(__file__).parents[2]))  # pytest does this for tests; we are a process apart

from nnactive_server.dataset import RawDataset
from nnactive_server.study.simulate import Settings, simulate
from testkit import numpy_engine as engine


def settings() -> Settings:
    return Settings("clasp-pe", 2, 4, (4, 5, 4), 7, engine.NumpyProfile(), last_query=True, views=2)


def kill_at(pattern: str, nth: int, moment: str) -> None:
    """From now on, die at the rename that makes this file appear: all state is written by renames."""
    rename, seen = Path.replace, 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal seen
        hit = fnmatch(str(target), f"*{pattern}")
        seen += hit
        if hit and seen == nth and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        moved = rename(self, target)
        if hit and seen == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return moved

    Path.replace = replace  # type: ignore[method-assign,assignment]


def forked(source: Path, out: Path, point: tuple[str, int, str] | None) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if point is not None:
        kill_at(*point)
    code = 1
    try:
        simulate(RawDataset.open(source), out, settings(), make_engine=engine.NumpyEngine)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    source, out, points = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    forked(source, out / "undisturbed", None)
    outcome = {}
    for name, *point in points:
        killed = forked(source, out / name, tuple(point)) == -signal.SIGKILL
        outcome[name] = {"killed": killed, "finished": forked(source, out / name, None) == 0}
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
