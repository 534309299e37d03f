"""Real servers in processes of their own; nothing may be left running when a test ends."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from NNActiveLogic.client.api import Client
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.client.values import Label
from testkit.faults import free_port, processes_of, wait_until
from testkit.live_server import LiveServer

ONCE = Limits(connect_seconds=5, read_seconds=60, total_seconds=120, attempts=1)
_numbers = itertools.count()


@pytest.fixture
def data(tmp_path):
    """The data folder of a server; no process may be left in it."""
    root = tmp_path.resolve() / "data"
    root.mkdir()
    yield root
    wait_until(lambda: not processes_of(root))


@pytest.fixture
def serve(data):
    """Start servers on the data folder; ended when the test ends."""
    made = []

    def start(*options, **more):
        server = LiveServer(data, ["--port", str(free_port()), *options], **more)
        made.append(server)
        return server.start()

    yield start
    for server in made:
        if server.process is not None:
            server.stop()


@pytest.fixture
def client():
    """Clients of a server, closed when the test ends."""
    made = []

    def connect(server, who="ann", limits=ONCE):
        made.append(Client(server.url, server.tokens[who], limits=limits))
        return made[-1]

    yield connect
    for one in made:
        one.close()


@pytest.fixture
def begin():
    """A project of a server, with as many uploaded cases as there are files."""

    def create(ann, files=(), **settings):
        name = f"project {next(_numbers)}"
        project = ann.create_project(name, [Label("organ"), Label("lesion")], ["CT"], **settings)
        return project, [ann.add_case(project.id, [ann.upload(file)]) for file in files]

    return create


@pytest.fixture
def small_disk(tmp_path):
    """Mount file systems of a given size; they are gone when the test ends."""
    mounted: list[Path] = []

    def mount(megabytes):
        folder = tmp_path.resolve() / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", str(folder)]
        for before in ([], ["sudo", "-n"]):
            if before and not shutil.which(before[0]):
                continue
            if not subprocess.run([*before, *command], capture_output=True, check=False).returncode:
                mounted.append(folder)
                return folder
        return pytest.skip("a small disk needs the right to mount one")

    yield mount
    for folder in mounted:
        wait_until(lambda folder=folder: not processes_of(folder))
        command = ["umount", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            subprocess.run(["sudo", "-n", *command], check=True)
