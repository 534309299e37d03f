"""Starting and ending the real server of this repository."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from NNActiveLogic.local import Cancelled, LocalError
from NNActiveLogic.local.files import held
from testkit.live_server import LiveServer

ROOT = Path(__file__).parents[3]
SLICER = """
import os, sys, time
from pathlib import Path
from NNActiveLogic.local import LocalServer, Sources
server = LocalServer(Path(sys.argv[1]), os.environ, Sources(command=Path(sys.argv[2])))
print(server.start(lambda _: None, lambda: False).address, flush=True)
time.sleep(60)
"""


def health(running):
    headers = {"Authorization": f"Bearer {running.token}"}
    return requests.get(f"{running.address}/v1/health", headers=headers, timeout=5)


def gone(data, seconds=20.0):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if not held(data / "supervisor.lock"):
            return True
        time.sleep(0.05)
    return False


def test_two_slicers_share_a_server_and_the_last_one_ends_it(slicers, told, never):
    one, two = slicers(), slicers()
    started = {}
    threads = [
        threading.Thread(target=lambda here=here: started.update({here: here.start(told, never)}))
        for here in (one, two)
    ]
    for thread in threads:  # at the same moment
        thread.start()
    for thread in threads:
        thread.join()
    assert started[one] == started[two]
    assert started[one].ours
    assert health(started[one]).json()["version"] == one.find().version
    assert (one.folder / "token").stat().st_mode & 0o077 == 0
    assert started[one].token not in (one.folder / "server.log").read_text() + repr(started[one])
    me = requests.get(
        f"{started[two].address}/v1/me", headers={"Authorization": f"Bearer {started[two].token}"}, timeout=5
    )
    assert me.json()["role"] == "admin"

    assert not one.stop(1.0)  # the other one uses it
    assert two.alive()
    assert health(started[two]).ok
    assert one.start(told, never) == started[two]
    two.release()
    assert one.stop(20.0)
    assert "The server has ended." in "\n".join(two.tail(3))
    assert not (one.data / "server.json").exists()


def test_the_server_ends_by_itself_when_slicer_is_killed(slicers, folder, environment):
    nnactive = slicers().sources.command
    slicer = subprocess.Popen(
        [sys.executable, "-c", SLICER, str(folder), str(nnactive)],
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "PYTHONPATH": str(ROOT), "PYTHONHOME": ""},
    )
    address = slicer.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:")
    assert held(folder / "data" / "supervisor.lock")
    slicer.send_signal(signal.SIGKILL)
    slicer.wait()
    slicer.stdout.close()
    assert gone(folder / "data")
    with pytest.raises(requests.ConnectionError):
        requests.get(address, timeout=5)


def test_after_the_server_was_killed_another_one_starts(slicers, told, never):
    here = slicers()
    before = here.start(told, never)
    os.kill(json.loads((here.data / "server.json").read_text())["pid"], signal.SIGKILL)
    assert gone(here.data)
    assert not here.alive()
    assert (here.data / "server.json").exists()  # and nobody believes it
    after = here.start(told, never)
    assert health(after).ok
    assert after.token == before.token
    # A token that the server does not know, such as of other data, is replaced.
    (here.folder / "token").write_text("nna_of_yesterday")
    assert health(here.start(told, never)).ok
    assert here.stop(20.0)


def test_a_server_that_cannot_start_says_why(slicers, told, never):
    here = slicers()
    here.data.mkdir(parents=True)
    with sqlite3.connect(here.data / "state.sqlite") as database:
        database.execute("CREATE TABLE other (x)")
    database.close()
    with pytest.raises(LocalError) as caught:
        here.start(told, never)
    assert "state.sqlite" in caught.value.what
    (here.folder / "token").write_text("nna_something")
    with pytest.raises(LocalError, match="The server ended at once") as caught:
        here.start(told, never)
    assert "state.sqlite" in caught.value.what
    assert "server.log" in caught.value.advice
    assert not here.alive()


def test_a_start_that_is_stopped_leaves_nothing(slicers, told):
    here = slicers()
    with pytest.raises(Cancelled):
        here.start(told, lambda: (here.folder / "server.log").exists())
    assert gone(here.data)
    assert [*(here.folder / "users").iterdir()] == []


def test_a_server_that_somebody_else_runs_is_used_and_left_alone(slicers, told, never):
    here = slicers()
    with LiveServer(here.data) as theirs:
        running = here.start(told, never)
        assert running.address == theirs.url
        assert not running.ours
        assert health(running).ok
        assert not here.stop(0.0)
        assert theirs.call("GET", "/v1/health").ok
        (here.folder / "token").unlink()
        with pytest.raises(LocalError, match="in use"):
            here.start(told, never)
        assert health(running).ok  # the token that was lost is not revoked on a server for others
