"""A server that was started for programs on this machine ends with the last of them."""

import fcntl
import os
import subprocess
import sys
import time

import pytest

from nnactive_server import __version__
from nnactive_server.api.users import Watch, in_use
from testkit.live_server import LiveServer

USER = """
import fcntl, sys, time
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print(1, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def users(tmp_path):
    """Makes programs that use the server: locked files."""
    folder = tmp_path / "users"
    folder.mkdir()
    files = []

    def add():
        file = (folder / f"user-{len(files)}").open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        files.append(file)
        return file

    add.folder = folder
    yield add
    for file in files:
        file.close()


def ended(process, seconds=20.0):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if process.poll() is not None:
            return process.returncode
        time.sleep(0.05)
    return None


def test_it_ends_in_good_order_with_the_last_one(users, tmp_path):
    first, second = users(), users()
    server = LiveServer(tmp_path / "data", ["--end-with", str(users.folder)]).start()
    try:
        first.close()
        time.sleep(1.5)  # a few looks
        assert server.call("GET", "/v1/health").ok
        second.close()
        assert ended(server.process) == 0
        assert "no program uses this server any more" in server.log()
        assert not (server.data / "server.json").exists()
    finally:
        server.process.kill()
        server.process.wait()


def test_it_ends_when_its_user_is_killed(users, tmp_path):
    user = subprocess.Popen([sys.executable, "-c", USER, str(users.folder / "it")], stdout=subprocess.PIPE)
    assert user.stdout.readline() == b"1\n"
    assert in_use(users.folder)
    server = LiveServer(tmp_path / "data", ["--end-with", str(users.folder)]).start()
    try:
        user.kill()
        user.wait()
        user.stdout.close()
        assert ended(server.process) == 0
    finally:
        server.process.kill()
        server.process.wait()


def test_whoever_comes_at_the_last_moment_keeps_it(users):
    """The newcomer locks its file after the first look and before the second."""
    calls = []

    def hide():
        calls.append("hide")
        if calls.count("hide") == 1:
            calls.append(users())

    def show():
        calls.append("show")
        calls[1].close()

    watch = Watch(users.folder, hide, show)
    watch.start(lambda: calls.append("end"))
    ends = time.monotonic() + 20
    while "end" not in calls and time.monotonic() < ends:
        time.sleep(0.05)
    watch.stop()
    assert [one for one in calls if isinstance(one, str)] == ["hide", "show", "hide", "end"]


def test_files_that_nobody_locks_and_folders_that_are_gone_count_for_nothing(users, tmp_path):
    (users.folder / "dead").touch()
    assert not in_use(users.folder)
    assert not in_use(tmp_path / "none")
    held = users()
    assert in_use(users.folder)
    held.close()
    assert not in_use(users.folder)


def test_the_command_tells_its_version():
    command = [sys.executable, "-m", "nnactive_server.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == f"nnactive {__version__}\n"
