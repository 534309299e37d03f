"""The static checks find each fault that is put into a good file."""

from __future__ import annotations

import pytest

UI_FAULTS = {
    "no widget class": ('class="QProgressBar"', 'class="QProgressBox"'),
    "has no property maximumm": ('name="maximumm"', None),
    "is read only": ('<property name="width"><number>3</number></property>', None),
    "has no signal": ("mrmlSceneChanged(vtkMRMLScene*)", "sceneChanged(vtkMRMLScene*)"),
    "has no slot": ("<slot>setEnabled(bool)</slot>", "<slot>setActive(bool)</slot>"),
    "does not fit": ("<signal>toggled(bool)</signal>", "<signal>pressed()</signal>"),
    "it stays empty": ("<receiver>editor</receiver>", "<receiver>imageSelector</receiver>"),
    "there is no such widget": ("<receiver>opacitySlider</receiver>", "<receiver>opacitySlide</receiver>"),
    "is used 2 times": ('name="imageLabel"', 'name="imageCaption"'),
    "has no tool tip": ("<string>Asks first</string>", "<string></string>"),
    "nor an accessible name": ("<cstring>addressEdit</cstring>", "<cstring>folderEdit</cstring>"),
    "not to be translated": ("<string>Server</string>", '<string notr="true">Server</string>'),
    "fixed size": ('<property name="minimumSize"><size/></property>', None),
    "Slicer's style decides": ('<property name="styleSheet"><string/></property>', None),
    "not declared": ("<class>ctkRangeWidget</class>", "<class>ctkSliderWidget</class>"),
}
MARK = '<widget class="QProgressBar" name="progressBar">'
CODE_FAULTS = {
    "is not in the .ui file": "self.ui.startKnob.enabled = True",
    "has no attribute": "self.ui.startButton.txt = _('a')",
    "plain C++ method": "self.ui.opacitySlider.setRange(0, 1)",
    "has no signal": "self.ui.startButton.connect('click()', print)",
    "no [types]": "self.ui.startButton.clicked[bool].connect(print)",
    "no named arguments": "qt.QLabel(text=_('a'))",
    "value on the class": "x = qt.Qt.CheckState.Checked",
    "no qt.Signal": "x = qt.Signal(int)",
    "not in the table": "x = ctk.ctkSlidingWidget",
    "no PySide": "import PySide6",
    "'Stop now' is not translated": "self.ui.startButton.text = 'Stop now'",
    "'patch ' is not translated": "slicer.util.showStatusMessage(f'patch {1}')",
    "plain texts": "_(f'patch {1}')",
}


@pytest.fixture
def check(slicer_application):
    from harness import ui_check

    return ui_check


def test_the_example_is_good(check, example, example_ui):
    assert check.ui_problems(example_ui) == []
    assert check.module_problems(example, example_ui) == []


@pytest.mark.parametrize("fault", UI_FAULTS)
def test_each_fault_of_a_ui_file_is_found(check, example_ui, tmp_path, fault):
    old, new = UI_FAULTS[fault]
    text = example_ui.read_text("utf-8")
    if new is None:
        text = text.replace(
            MARK, MARK + (old if old.startswith("<") else f"<property {old}><number>1</number></property>")
        )
    else:
        assert old in text
        text = text.replace(old, new)
    changed = tmp_path / "Changed.ui"
    changed.write_text(text, "utf-8")
    problems = check.ui_problems(changed)
    assert any(fault in problem for problem in problems), problems


@pytest.mark.parametrize("fault", CODE_FAULTS)
def test_each_fault_of_module_code_is_found(check, example_ui, tmp_path, fault):
    code = tmp_path / "Module.py"
    code.write_text(f"def setup(self):\n    {CODE_FAULTS[fault]}\n", "utf-8")
    problems = check.module_problems(code, example_ui)
    assert any(fault in problem for problem in problems), problems


def test_a_ui_file_with_an_unknown_property_does_not_load(check, example_ui, tmp_path):
    from harness.qt_table import RefusedError
    from harness.qt_ui_file import UiLoader

    bad = tmp_path / "Bad.ui"
    bad.write_text(example_ui.read_text("utf-8").replace('name="noneEnabled"', 'name="noneAllowed"'), "utf-8")
    with pytest.raises(RefusedError, match="noneAllowed"):
        UiLoader().load(str(bad))


def test_every_class_of_the_table_can_be_made_into_a_stand_in(check):
    import json
    from pathlib import Path

    from harness import qt_table
    from harness.qt_standin import standin

    table = json.loads(Path(qt_table.__file__).with_name("api_table.json").read_text("utf-8"))
    assert set(table["sources"]) == {"Slicer+Slicer", "commontk+CTK"}
    for name in table["classes"]:
        assert standin(name).__name__ == name
