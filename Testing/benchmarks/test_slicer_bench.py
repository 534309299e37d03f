"""The benchmark of the panel goes on working: small images, and what it did is checked, not how fast."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
UNABLE = 3
FOLDERS = (ROOT, ROOT / "Testing", ROOT / "Testing" / "NNActiveLogic" / "client")


def test_every_row_is_measured_and_every_answer_arrives_as_it_was_drawn():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, FOLDERS))}
    command = [sys.executable, "-W", "error::DeprecationWarning", HERE / "slicer_bench.py", "--quick"]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode == UNABLE:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 9, done.stdout
    assert all(line.count("|") == rows[0].count("|") for line in rows)
    for part in ("same case", "another case", "one call of our code", "stroke and reading", "memory"):
        assert part in done.stdout, part
