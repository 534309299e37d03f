"""A whole study with the numpy engine, to be killed by tests. Usage: numpy_study.py PLAN OUT."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # pytest does this for tests; we are a process apart

from nnactive_server.study.plan import read_plan
from nnactive_server.study.running import StudyRun
from testkit.numpy_unit import COMMAND

if __name__ == "__main__":
    StudyRun(read_plan(Path(sys.argv[1])), Path(sys.argv[2]), command=COMMAND).run()
