"""The scene runs inside Slicer: it imports nothing that Slicer does not bundle, no Qt, and no presenter."""

import sys
from pathlib import Path

import pytest

import NNActiveLogic.scene
from testkit.imports import imported

FILES = sorted(Path(NNActiveLogic.scene.__file__).parent.rglob("*.py"))
ALLOWED = {"numpy", "slicer", "vtk"} | set(sys.stdlib_module_names)
OURS = (
    "NNActiveLogic.scene",
    "NNActiveLogic.client.statistics",
    "NNActiveLogic.client.values",
    "NNActiveLogic.client.arrays",
    "NNActiveLogic.work",
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_allowed_packages_are_imported(path):
    for name in imported(path):
        assert name.startswith(OURS) or name.split(".")[0] in ALLOWED, f"{path.name} imports {name}"


def test_lps_and_ras_meet_in_one_module_only():
    for path in FILES:
        if path.name != "grid.py":
            text = path.read_text()
            assert "LPS" not in text, path.name
            assert "[::-1]" not in text.replace("extent_mm[::-1]", "").replace("values.shape[::-1]", ""), (
                path.name
            )
