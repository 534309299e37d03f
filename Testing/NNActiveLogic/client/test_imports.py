"""The client runs inside Slicer: it may import the standard library, numpy and requests, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

import NNActiveLogic.client
from testkit.imports import imported

FILES = sorted(Path(NNActiveLogic.client.__file__).parent.rglob("*.py"))
ALLOWED = {"numpy", "requests"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_allowed_packages_are_imported(path):
    for name in imported(path):
        ours = name.startswith("NNActiveLogic.client")
        assert ours or name.split(".")[0] in ALLOWED, f"{path.name} imports {name}"


def test_importing_the_client_loads_neither_torch_nor_qt():
    code = (
        "import sys, NNActiveLogic.client, NNActiveLogic.client.check\n"
        "assert not {'torch', 'qt', 'slicer', 'vtk', 'nnactive_server'} & set(sys.modules)"
    )
    root = FILES[0].parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
