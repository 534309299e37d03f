"""Slicer is killed in the middle of a set-up, at several moments."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SLICER = """
import os, sys, time
from pathlib import Path
from NNActiveLogic.local import LocalServer, Sources
server = LocalServer(Path(sys.argv[1]), os.environ, Sources(wheels=Path(sys.argv[2])))
last = None
def told(progress):
    global last
    if progress.stage != last:
        last = progress.stage
        print(progress.stage.value, flush=True)
server.set_up(told, lambda: False)
print("done", flush=True)
time.sleep(60)
"""


def killed_at(moment, folder, wheels, environment):
    process = subprocess.Popen(
        [sys.executable, "-c", SLICER, str(folder), str(wheels)],
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "PYTHONPATH": str(ROOT), "PYTHONHOME": "", "SLICER_HOME": "/opt/Slicer"},
    )
    for line in process.stdout:
        if line.strip() == moment:
            break
    else:
        raise AssertionError(f"{moment} never came")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def programs_in(folder):
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if str(folder / "environments") in line]


@pytest.mark.parametrize("moment", ["environment", "download", "install"])
def test_a_half_made_server_is_never_taken_for_a_good_one(moment, here, folder, wheels, environment):
    killed_at(moment, folder, wheels, environment)
    assert here.find() is None
    ends = time.monotonic() + 10
    while programs_in(folder) and time.monotonic() < ends:
        time.sleep(0.1)
    assert programs_in(folder) == []  # what it had started ends soon after it


def test_after_the_last_moment_it_is_a_good_one_and_leftovers_go(
    here, told, never, folder, wheels, environment
):
    killed_at("check", folder, wheels, environment)
    assert here.find() is None
    killed_at("done", folder, wheels, environment)
    assert here.find() is not None
    assert len([*(folder / "environments").iterdir()]) == 1
    assert here.start(told, never).ours
