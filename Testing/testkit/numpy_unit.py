"""The process of a study's experiment, with the numpy engine instead of nnU-Net: see `study.unit_process`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # pytest does this for tests; we are a process apart

from nnactive_server.study.unit_process import main
from testkit.numpy_engine import NumpyEngine

COMMAND = (sys.executable, str(Path(__file__)))
"""Give it to `StudyRun`."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], NumpyEngine))
