"""The scene runs inside Slicer: it imports nothing that Slicer does not bundle, no Qt, and no presenter."""

import ast
import sys
from pathlib import Path

import pytest

import NNActiveLogic.scene

FILES = sorted(Path(NNActiveLogic.scene.__file__).parent.rglob("*.py"))
ALLOWED = {"numpy", "slicer", "vtk"} | set(sys.stdlib_module_names)
OURS = (
    "NNActiveLogic.scene",
    "NNActiveLogic.client.values",
    "NNActiveLogic.client.arrays",
    "NNActiveLogic.work",
)


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            yield node.module


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
