"""Setting a server up for real, from a folder with one small wheel."""

import json
import subprocess
from dataclasses import replace

import pytest

from NNActiveLogic.local import Busy, Cancelled, LocalError, LocalServer, Sources
from NNActiveLogic.local.files import FileLock
from testkit.tiny_server import VERSION, make_wheel


def test_a_server_is_set_up_found_started_and_ended(here, told, never, folder, environment, wheels):
    assert here.find() is None
    assert here.needs().download_bytes == 0
    found = here.set_up(told, never)
    assert (found.version, found.private) == (VERSION, True)
    assert told.stages == ["python", "environment", "download", "install", "check"]
    fractions = [one.fraction for one in told if one.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1
    assert LocalServer(folder, environment, Sources(wheels=wheels)).find() == found  # as a later Slicer
    running = here.start(told, never)
    assert running.ours
    assert running.token == "tiny"
    assert here.stop(10.0)
    # Outside Slicer: the environment's Python has nothing of it.
    seen = subprocess.run(
        [found.command[0].replace("/nnactive", "/python"), "-c", "import sys; print(sys.path)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Slicer" not in seen.stdout
    assert not (folder / "downloads").exists()
    assert (
        "Successfully installed nnactive" in "\n".join(here.tail(400)) + (folder / "set-up.log").read_text()
    )


def test_a_second_set_up_replaces_the_first_and_tidies_it_away(here, told, never, folder, wheels):
    first = here.set_up(told, never)
    make_wheel(wheels, version="9.9.0")
    second = here.set_up(told, never)
    assert second.version == "9.9.0"
    assert second.command != first.command
    assert here.find() == second
    here.sources = replace(here.sources, wheels=folder / "none")
    with pytest.raises(LocalError, match="no folder"):  # and the one before still counts
        here.set_up(told, never)
    assert here.find() == second
    assert len([*(folder / "environments").iterdir()]) == 1


def test_only_one_slicer_sets_it_up_at_a_time(here, told, never, folder):
    folder.mkdir(parents=True)
    lock = FileLock(folder / "set-up.lock")
    assert lock.take()
    with pytest.raises(Busy, match="Another Slicer"):
        here.set_up(told, never)
    lock.give_back()
    with pytest.raises(Cancelled):  # and not Busy
        here.set_up(told, lambda: True)


def test_an_environment_without_its_program_is_not_found(here, folder):
    folder.mkdir(parents=True)
    (folder / "server.json").write_text(json.dumps({"environment": "20260101-000000"}))
    assert here.find() is None
    (folder / "server.json").write_text("[]")
    assert here.find() is None
