"""The .ui files and the code that uses them, without opening a window."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

MODULE = Path(__file__).resolve().parents[2] / "NNActiveSlicer"
UI_FILES = sorted((MODULE / "Resources" / "UI").glob("*.ui"))
SOURCES = [*sorted((MODULE / "NNActiveSlicerLib").glob("*.py")), MODULE / "NNActiveSlicer.py"]
SHARED = {"heat_controls": "Patch", "NNActiveSlicer": "NNActiveSlicer"}
"""Files that use the widgets of a section without being one."""


def ui_of(source):
    found = re.search(r'uiName = "(\w+)"', source.read_text("utf-8"))
    name = found[1] if found else SHARED.get(source.stem)
    return MODULE / "Resources" / "UI" / f"{name}.ui" if name else None


def test_there_are_files():
    assert len(UI_FILES) >= 7
    assert len([source for source in SOURCES if ui_of(source)]) >= 7


@pytest.mark.parametrize("path", UI_FILES, ids=[path.stem for path in UI_FILES])
def test_a_ui_file_is_as_slicer_wants_it(slicer_application, path):
    from harness.ui_check import ui_problems

    assert ui_problems(path) == []


@pytest.mark.parametrize("path", SOURCES, ids=[path.stem for path in SOURCES])
def test_code_uses_only_what_is_there(slicer_application, path):
    from harness.ui_check import module_problems

    assert module_problems(path, ui_of(path)) == []


def test_what_others_wrote_is_never_read_as_formatted_text():
    open_ = []
    for file in UI_FILES:
        for label in ElementTree.parse(file).iter("widget"):
            given = {one.get("name"): "".join(one.itertext()).strip() for one in label.findall("property")}
            if label.get("class") == "QLabel" and given.get("wordWrap") == "true" and not given.get("text"):
                open_ += [(file.stem, label.get("name"))] * (given.get("textFormat") != "Qt::PlainText")
    assert open_ == []
