"""Set-ups that cannot work: each says why, and nothing is taken for a server afterwards."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from NNActiveLogic.local import Cancelled, Damaged, LocalError, LocalServer, NoSpace, Offline
from NNActiveLogic.local.environment import clean
from NNActiveLogic.local.machine import Machine
from testkit.tiny_server import make_wheel

ROOT = Path(__file__).parents[3]
SMALL_DISK = """
import sys
from pathlib import Path
from NNActiveLogic.local import LocalServer, NoSpace, Sources
import os
folder, wheels = map(Path, sys.argv[1:])
server = LocalServer(folder / "here", os.environ, Sources(wheels=wheels))
assert server.needs().enough
try:
    server.set_up(lambda _: None, lambda: False)
except NoSpace as problem:
    assert server.find() is None
    assert list((folder / "here" / "environments").iterdir()) == []
    print(problem)
"""


def programs_in(folder):
    """Command lines of programs that know the folder."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if str(folder) in line and "pytest" not in line]


def test_a_folder_that_lacks_a_package_names_it(here, told, never, wheels, folder):
    make_wheel(wheels, needs=["lungs-of-steel>=2"])
    with pytest.raises(LocalError, match="lacks lungs-of-steel") as caught:
        here.set_up(told, never)
    assert str(wheels) in caught.value.what
    assert "pip wheel" in caught.value.advice
    assert here.find() is None
    assert [*(folder / "environments").iterdir()] == []


def test_a_damaged_wheel_is_called_so(here, told, never, wheels):
    (wheel,) = wheels.iterdir()
    data = wheel.read_bytes()
    wheel.write_bytes(data[: len(data) // 2])
    with pytest.raises(Damaged, match="cannot be used"):
        here.set_up(told, never)


def test_a_server_that_does_not_work_here_is_not_taken(here, told, never, wheels):
    bad = {"name": "engine", "status": "failed", "found": "no torch", "advice": ""}
    make_wheel(wheels, doctor={"ok": False, "checks": [bad]})
    with pytest.raises(LocalError, match="engine: no torch"):
        here.set_up(told, never)
    assert here.find() is None


def test_a_wish_to_stop_ends_everything_at_once(here, folder):
    told = []
    with pytest.raises(Cancelled):
        here.set_up(told.append, lambda: bool(told) and told[-1].stage == "download")
    assert here.find() is None
    assert programs_in(folder) == []


def test_a_disk_that_fills_up_is_called_so(tmp_path):
    wheels = tmp_path / "wheels"
    make_wheel(wheels, extra={"nnactive_server/ballast": bytes(60 << 20)})
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=30m none "{disk}" && exec "$0" "$@"'
    if subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "true"], capture_output=True, check=False
    ).returncode:
        pytest.skip("a small disk cannot be made here: neither root nor user namespaces")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, sys.executable, "-c", SMALL_DISK, str(disk), str(wheels)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "is full" in done.stdout


def test_too_little_room_is_said_before_anything_begins(here, told, never, monkeypatch, folder):
    usage = shutil.disk_usage(folder.parents[1])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1))
    assert not here.needs().enough
    with pytest.raises(NoSpace, match=r"only 0\.0 GB are free"):
        here.set_up(told, never)
    assert told == []
    assert not (folder / "environments").exists()


def test_without_a_network_it_says_so(folder, environment, told, never):
    # Port 9 of this computer: nothing listens there.
    away = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}
    environment = {name: value for name, value in environment.items() if not name.startswith("PIP_")} | away
    with pytest.raises(Offline, match="offline"):
        LocalServer(folder, environment).set_up(told, never)


@pytest.mark.parametrize(
    ("machine", "word"),
    [
        (Machine("win32", "x86_64"), "not on Windows"),
        (Machine("darwin", "x86_64"), "Intel"),
        (Machine("linux", "riscv64"), "riscv64"),
    ],
)
def test_computers_on_which_the_server_cannot_run_are_told_so(machine, word):
    with pytest.raises(LocalError, match=word) as caught:
        machine.check()
    assert "another computer" in caught.value.advice


def test_slicers_own_python_and_libraries_are_not_passed_on(environment):
    seen = clean(
        {**environment, "HTTPS_PROXY": "http://proxy:3128", "PIP_INDEX_URL": "https://mirror/simple"}
    )
    home = environment["SLICER_HOME"]
    assert not [name for name, value in seen.items() if home in value]
    assert not {"PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "SLICER_HOME"} & set(seen)
    assert seen["HTTPS_PROXY"] == "http://proxy:3128"
    assert seen["PIP_INDEX_URL"] == "https://mirror/simple"
    assert "/usr/bin" in seen["PATH"].split(os.pathsep)
    elsewhere = {
        "PYTHONPATH": "/x",
        "QT_PLUGIN_PATH": "/x",
        "VTK_DIR": "/x",
        "PIP_TARGET": "/x",
        "CONDA_EXE": "/x",
    }
    assert not set(elsewhere) & set(clean(elsewhere))
    assert clean({"LD_LIBRARY_PATH": "/somewhere"}).get("LD_LIBRARY_PATH") is None
    kept = clean({"LD_LIBRARY_PATH": f"/cuda/lib:{home}/lib", "SLICER_HOME": home})
    assert kept["LD_LIBRARY_PATH"] == "/cuda/lib"
