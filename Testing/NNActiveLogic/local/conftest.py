"""Fixtures: a folder of ours, a folder of wheels, and a server on this computer."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from NNActiveLogic.local import LocalServer, Sources
from testkit.tiny_server import make_wheel

NNACTIVE = Path(sys.executable).with_name("nnactive")


class Told(list):
    """Keeps what is reported."""

    def __call__(self, progress):
        self.append(progress)

    @property
    def stages(self):
        return [*dict.fromkeys(one.stage.value for one in self)]


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def never():
    return lambda: False


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a folder" / "NNActive"


@pytest.fixture
def wheels(tmp_path):
    make_wheel(tmp_path / "wheels")
    return tmp_path / "wheels"


@pytest.fixture
def environment(tmp_path):
    """Of a Slicer that somebody started: its own Python and libraries are all over it."""
    home = tmp_path / "Slicer"
    (home / "bin").mkdir(parents=True)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "SLICER_HOME": str(home),
        "PYTHONHOME": str(home / "lib" / "Python"),
        "PYTHONPATH": str(home / "lib" / "Python"),
        "LD_LIBRARY_PATH": str(home / "lib"),
        "PATH": os.pathsep.join([str(home / "bin"), str(Path(sys.base_prefix) / "bin"), "/usr/bin", "/bin"]),
    }


@pytest.fixture
def here(folder, environment, wheels):
    """A server that would be set up from the wheels."""
    server = LocalServer(folder, environment, Sources(wheels=wheels))
    yield server
    server.stop(10.0)


@pytest.fixture
def slicers(folder, environment):
    """Makes Slicers that share the folder and use the real server of this repository."""
    made = []

    def make(where=folder, **options):
        made.append(LocalServer(where, environment, Sources(command=NNACTIVE), **options))
        return made[-1]

    yield make
    for one in made:
        one.release()
    for one in made:
        assert one.stop(20.0) or not one.alive()


@pytest.fixture
def python():
    """A Python outside every virtual environment."""
    found = shutil.which(f"python3.{sys.version_info[1]}", path=str(Path(sys.base_prefix) / "bin"))
    assert found is not None
    return Path(found)
