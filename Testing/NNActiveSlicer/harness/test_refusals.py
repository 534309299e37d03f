"""What the real classes do not have, the stand-ins refuse."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _application(slicer_application):
    from harness import qt_faults

    qt_faults.take()
    yield
    qt_faults.check()


@pytest.fixture
def refused():
    from harness.qt_table import RefusedError

    return RefusedError


def test_properties_are_values_and_setters_stay():
    import qt

    button = qt.QPushButton("Send")
    button.text = "Next"
    assert button.text == "Next"
    button.setText("Back")
    assert button.text == "Back"
    with pytest.raises(TypeError, match="not callable"):
        button.text()


def test_classes_with_methods_of_two_kinds_follow_the_same_rules(refused):
    import qt

    menu, process = qt.QMenu("Reason"), qt.QProcess()
    assert (menu.title, menu.visible, process.program()) == ("Reason", False, "")
    assert process.state() == qt.QProcess.NotRunning
    with pytest.raises(refused):
        _ = menu.titel
    with pytest.raises(refused, match="new attributes"):
        process.programm = "python"


def test_every_class_of_qt_follows_the_rules(refused):
    import qt

    kinds = [kind for kind in vars(qt).values() if isinstance(kind, type) and issubclass(kind, qt.QObject)]
    ways = {getattr(kind.__getattribute__, "__module__", "") for kind in kinds}
    assert ways == {"harness.qt_pythonqt"}


def test_unknown_names_are_refused(refused):
    import ctk
    import qt
    import slicer

    button = qt.QPushButton()
    for name in ("txt", "emit", "backgroundColor"):
        with pytest.raises(refused):
            getattr(button, name)
    with pytest.raises(refused, match="new attributes"):
        button.txt = "Send"
    with pytest.raises(refused, match="cannot be set"):
        button.click = "Send"
    with pytest.raises(refused, match="read only"):
        qt.QTimer().active = True
    with pytest.raises(refused, match="no class"):
        _ = ctk.ctkSlidingWidget
    with pytest.raises(AttributeError):
        _ = slicer.qMRMLNodeBox
    for name in ("Signal", "Slot", "Property"):
        assert not hasattr(qt, name)


def test_plain_methods_of_the_real_class_are_refused_with_a_hint(refused):
    import ctk
    import slicer

    with pytest.raises(refused, match=r"plain C\+\+ method"):
        ctk.ctkSliderWidget().setRange(0, 1)
    with pytest.raises(refused, match="use the property 'nodeTypes'"):
        slicer.qMRMLNodeComboBox().setNodeTypes(["vtkMRMLModelNode"])


def test_arguments_are_held_against_the_real_signatures():
    import ctk
    import slicer

    slider = ctk.ctkSliderWidget()
    for arguments in ((), ("1",), (1, 2), (None,)):
        with pytest.raises(TypeError, match=r"setValue\(double\)"):
            slider.setValue(*arguments)
    with pytest.raises(TypeError, match="wants double"):
        slider.maximum = "1"
    with pytest.raises(TypeError, match="setMRMLScene"):
        slicer.qMRMLWidget().setMRMLScene(slider)


def test_signals_must_exist_with_their_arguments(refused):
    import qt
    import slicer

    button, selector = qt.QPushButton(), slicer.qMRMLNodeComboBox()
    for obj, signal in (
        (button, "click()"),
        (button, "clicked(int)"),
        (selector, "currentNodeChanged(QString)"),
        (selector, "nodeChanged(vtkMRMLNode*)"),
    ):
        with pytest.raises(refused, match="does not exist"):
            obj.connect(signal, print)


def test_a_signal_with_several_signatures_wants_the_signature(refused):
    import qt
    import slicer

    for signal in (slicer.qMRMLNodeComboBox().currentNodeChanged, qt.QComboBox().currentIndexChanged):
        with pytest.raises(refused, match="more than one signature"):
            signal.connect(print)
    with pytest.raises(TypeError):
        _ = qt.QPushButton().clicked[bool]


def test_a_callback_gets_no_more_than_signature_and_callable_allow():
    import qt

    heard = []
    button = qt.QPushButton()
    button.connect("clicked()", lambda name="untouched": heard.append(name))
    button.connect("clicked(bool)", lambda: heard.append("nothing"))
    button.connect("clicked(bool)", lambda *all_: heard.append(all_))
    button.clicked.connect(lambda on: heard.append(on))
    button.click()
    assert heard == ["untouched", "nothing", (False,), False]


def test_disconnecting_undoes_exactly_that_connection():
    import qt

    heard = []
    button = qt.QPushButton()
    first, second = (lambda: heard.append(1)), (lambda: heard.append(2))
    button.connect("clicked()", first)
    button.connect("clicked()", second)
    assert button.disconnect("clicked()", first)
    assert not button.disconnect("clicked()", first)
    button.click()
    assert heard == [2]


def test_objects_that_qt_made_follow_the_same_rules(refused):
    import qt

    table = qt.QTableWidget(2, 2)
    header = table.horizontalHeader()
    heard = []
    header.connect("sectionClicked(int)", heard.append)
    header.sectionClicked.emit(1)
    assert heard == [1]
    with pytest.raises(refused):
        header.connect("clicked(int)", heard.append)


def test_children_and_dynamic_properties_are_attributes(refused):
    import qt

    parent = qt.QWidget()
    child = qt.QLabel(parent)
    child.objectName = "caption"
    parent.setProperty("SlicerParameterName", "opacity")
    assert parent.caption is child
    assert parent.SlicerParameterName == "opacity"
    with pytest.raises(refused):
        _ = parent.title


def test_classes_written_in_python_may_have_what_they_like():
    import qt

    class Filter(qt.QObject):
        def __init__(self):
            super().__init__()
            self.seen = 0

        def eventFilter(self, _obj, _event):
            self.seen += 1
            return False

    watcher, button = Filter(), qt.QPushButton()
    button.installEventFilter(watcher)
    qt.QApplication.sendEvent(button, qt.QEvent(qt.QEvent.User))
    assert watcher.seen == 1


def test_an_exception_in_a_slot_is_not_lost():
    import qt

    from harness import qt_faults, qt_steps

    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    with pytest.raises(qt_faults.UnseenError, match="ZeroDivisionError"):
        qt_steps.settle()


def test_a_dialog_that_nobody_announced_is_an_error():
    import qt
    import slicer

    from harness import qt_dialogs, qt_faults

    opens = (
        lambda: slicer.util.errorDisplay("No space left"),
        lambda: qt.QMessageBox.question(None, "Title", "Really?"),
        lambda: qt.QDialog().exec_(),
        lambda: qt.QFileDialog.getOpenFileName(None, "Open"),
    )
    for open_ in opens:
        with pytest.raises(qt_dialogs.UnexpectedDialogError):
            open_()
    assert len(qt_faults.take()) == len(opens)
    qt_dialogs.answers.expect("Overwrite", "no")
    with pytest.raises(AssertionError, match="did not open"):
        qt_dialogs.answers.check()


def test_settings_come_back_as_after_a_restart():
    import qt

    from harness import qt_settings

    settings = qt.QSettings()
    for key, value in {"a": True, "b": 3, "c": ["x"], "d": ["x", "y"], "e": 0.5}.items():
        settings.setValue(f"NNActive/{key}", value)
    read = [qt.QSettings().value(f"NNActive/{key}") for key in "abcde"]
    assert read == ["true", "3", "x", ["x", "y"], "0.5"]
    assert qt.QSettings().value("NNActive/none", 7) == 7
    qt_settings.forget()
    assert qt.QSettings().value("NNActive/a") is None


def test_behaviour_cannot_add_names_to_the_real_class(refused):
    from harness.qt_standin import behaves_as

    with pytest.raises(refused, match="lacks"):

        @behaves_as("ctkSliderWidget")
        class Slider:
            def setRange(self, low, high):
                """Not reachable from Python."""


def test_behaviour_that_comes_too_late_is_an_error():
    import ctk

    from harness.qt_standin import behaves_as

    ctk.ctkCheckBox()
    with pytest.raises(RuntimeError, match="made without"):
        behaves_as("ctkCheckBox")(type("CheckBox", (), {}))


def test_a_meta_object_outlives_the_object_that_was_asked():
    import qt

    qt.QRadioButton().metaObject()
    assert qt.QRadioButton().metaObject().className() == "QRadioButton"


def test_a_value_that_no_behaviour_gives_is_not_invented():
    import slicer

    with pytest.raises(NotImplementedError, match="no behaviour"):
        slicer.qMRMLSegmentsTableView().statusShown(1)


def test_misuse_of_the_segment_editor_is_an_error():
    import slicer

    editor = slicer.qMRMLSegmentEditorWidget()
    with pytest.raises(RuntimeError, match="setMRMLScene"):
        editor.setMRMLSegmentEditorNode(slicer.vtkMRMLSegmentEditorNode())
    editor.setMRMLScene(slicer.mrmlScene)
    with pytest.raises(RuntimeError, match="comes first"):
        editor.setActiveEffectByName("Paint")
    with pytest.raises(RuntimeError, match="no effects"):
        editor.setEffectNameOrder(["Brush"])
