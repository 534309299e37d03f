"""The session with curl that the README shows."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testkit.numpy_engine import make_source

SCRIPT = Path(__file__).parents[3] / "server" / "examples" / "session.sh"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_session_goes_from_an_empty_server_to_a_second_batch(live, tmp_path):
    make_source(tmp_path / "data", cases=3)
    text = SCRIPT.read_text().replace("[20, 20, 20]", "[4, 4, 4]")
    script = tmp_path / "session.sh"
    script.write_text(text)
    done = subprocess.run(
        ["bash", str(script), live.url, live.tokens["ann"], str(tmp_path / "data")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        env={**os.environ, "PYTHON": sys.executable},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "3 cases" in lines
    assert "model cycle-000" in lines
    assert sum(line[:2].strip().isdigit() and "[" in line for line in lines) == 5
    assert lines[-1].startswith("cross-validated Dice: ")
