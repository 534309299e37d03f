"""The example module is used as a person would."""

from __future__ import annotations

import pytest


@pytest.fixture
def steps(slicer_application):
    from harness import qt_steps

    return qt_steps


@pytest.fixture
def image(panel):
    import numpy as np
    import slicer

    array = np.random.default_rng(0).normal(size=(8, 9, 10)).astype(np.float32)
    return slicer.util.addVolumeFromArray(array, name="CT 7")


@pytest.fixture
def segmentation(panel, image):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(image)
    node.GetSegmentation().AddEmptySegment("liver", "liver")
    node.GetSegmentation().AddEmptySegment("tumour", "tumour")
    panel.widget.ui.editor.setSegmentationNode(node)
    panel.widget.ui.editor.setSourceVolumeNode(image)
    return node


def test_a_click_reaches_the_module_and_its_timer_runs(panel, image, steps):
    ui = panel.widget.ui
    steps.choose(ui.imageSelector, "CT 7")
    steps.click(ui.startButton)
    assert panel.window.statusBar().currentMessage() == "Started"
    assert steps.live_timers(panel.parent)
    steps.wait_until(lambda: ui.progressBar.value == 5)
    assert not steps.live_timers(panel.parent)


def test_a_disabled_button_cannot_be_clicked(panel, steps):
    with pytest.raises(AssertionError, match="startButton is disabled"):
        steps.click(panel.widget.ui.startButton)


def test_a_widget_in_a_closed_section_cannot_be_clicked(panel, steps):
    ui = panel.widget.ui
    with pytest.raises(AssertionError, match="questionButton is not shown"):
        steps.click(ui.questionButton)
    steps.click(ui.advancedSection)
    assert not ui.advancedSection.collapsed
    panel.answers.expect("Send the annotation?", 0)
    steps.click(ui.questionButton)


def test_typed_text_is_kept_over_a_reload(panel, steps):
    steps.type_text(panel.widget.ui.addressEdit, "http://gpu:9000")
    panel.reload()
    assert panel.widget.ui.addressEdit.text == "http://gpu:9000"


def test_keys_work_while_the_module_is_open_and_not_after(panel, image, steps):
    widget = panel.widget
    steps.press(widget.ui.addressEdit, "Ctrl+Shift+S")
    assert widget.timer.active
    assert "Ctrl+Shift+S" in panel.stale_shortcuts()
    panel.exit()
    assert not widget.timer.active
    assert panel.stale_shortcuts() == []


def test_the_selector_follows_the_scene(panel, image, steps):
    import slicer

    ui = panel.widget.ui
    assert ui.imageSelector.nodeCount() == 1
    assert ui.imageSelector.currentNode() is None
    ui.imageSelector.setCurrentNode(image)
    assert (ui.imageLabel.text, ui.imageSelector.currentNodeID) == ("CT 7", image.GetID())
    assert ui.startButton.enabled
    slicer.mrmlScene.RemoveNode(image)
    assert ui.imageLabel.text == ""
    assert not ui.startButton.enabled


def test_a_slider_moved_with_keys_tells_the_logic(panel, steps):
    slider = panel.widget.ui.opacitySlider
    slider.value = 0.25
    assert panel.widget.logic.opacity == 0.25
    slider.value = 7
    assert slider.value == 1.0
    steps.click(panel.widget.ui.heatCheck)
    assert not slider.enabled


def test_strokes_and_undo_go_through_the_editor(panel, segmentation, image):
    import numpy as np
    import slicer

    from harness.qt_segment_editor import painter

    editor = panel.widget.ui.editor
    editor.setActiveEffectByName("Paint")
    assert editor.activeEffect().name == "Paint"
    where = np.zeros((8, 9, 10), bool)
    where[2:4, 3:5, 4:6] = True
    painter(editor).paint("tumour", where)

    def voxels():
        return int(
            slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "tumour", image).sum()
            if segmentation.GetSegmentation().GetSegment("tumour").GetRepresentation("Binary labelmap")
            else 0
        )

    assert voxels() == 8
    editor.undo()
    assert voxels() == 0
    assert editor.currentSegmentID() == "tumour"


def test_the_list_of_segments_follows_the_scene_and_chooses(panel, segmentation, steps):
    import qt
    import slicer

    editor = panel.widget.ui.editor
    (table,) = slicer.util.findChildren(editor, className="qMRMLSegmentsTableView")
    segmentation.GetSegmentation().AddEmptySegment("box", "box")
    assert table.displayedSegmentIDs() == ["liver", "tumour", "box"]
    table.setHideSegments(["box"])
    assert table.displayedSegmentIDs() == ["liver", "tumour"]
    assert table.segmentCount == 3
    table.setSelectedSegmentIDs(["tumour"])
    assert editor.currentSegmentID() == "tumour"
    editor.setCurrentSegmentID("liver")
    assert table.selectedSegmentIDs() == ["liver"]
    segmentation.GetSegmentation().GetSegment("liver").SetName("Leber")
    assert table.findChild(qt.QTableWidget).item(0, 0).text() == "Leber"


def test_leaving_lets_go_of_views_effects_and_keys(panel, segmentation):
    from harness import qt_segment_editor

    editor = panel.widget.ui.editor
    editor.setActiveEffectByName("Draw")
    assert qt_segment_editor.observes_views(editor)
    panel.exit()
    assert editor.activeEffect() is None
    assert not qt_segment_editor.observes_views(editor)
    assert not qt_segment_editor.shortcuts_installed(editor)


def test_closing_the_scene_and_quitting_leave_nothing(panel, segmentation, steps):
    panel.close_scene()
    assert panel.widget.ui.editor.segmentationNode() is None
    panel.quit()
    assert "PanelExample" not in panel.module.slicer.app.moduleManager().modulesNames()


def test_dialogs_get_the_announced_answers(panel, steps):
    import qt

    panel.answers.expect("Send the annotation?", qt.QMessageBox.Yes)
    panel.answers.expect("does not answer")
    steps.click(panel.widget.ui.advancedSection)
    steps.click(panel.widget.ui.questionButton)
    assert len(panel.answers.shown) == 2


def test_every_text_of_the_code_can_be_translated(load_module, example):
    from harness import slicer_app

    slicer_app.translations["*"] = "«{}»"
    try:
        host = load_module(example, show=False)
        assert host.info.title == "«Panel example»"
    finally:
        slicer_app.translations.clear()


def test_the_panel_can_be_drawn(panel, segmentation, image, steps, tmp_path):
    import qt

    panel.widget.ui.imageSelector.setCurrentNode(image)
    picture = qt.QImage(str(steps.grab(panel.window, tmp_path / "panel.png")))
    assert picture.width() == panel.window.width
    colours = {picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(0, 600, 3)}
    assert len(colours) > 20


def test_the_self_test_of_the_module_runs(panel):
    panel.module.slicer.selfTests["PanelExample"]()


def test_what_is_cut_off_in_a_narrow_panel_is_named(panel, steps):
    import qt

    panel.window.resize(420, 900)
    steps.settle()
    assert steps.cut_off(panel.parent) == []
    label = qt.QLabel("A sentence that is far too long for its place", panel.parent)
    label.objectName = "adviceLabel"
    label.setGeometry(0, 0, 60, 20)
    label.show()
    assert [text.split("'")[0] for text in steps.cut_off(panel.parent)] == ["adviceLabel "]


def test_an_action_of_a_menu_is_picked_by_its_text(panel, steps):
    import qt

    heard = []
    menu = qt.QMenu(panel.widget.ui.startButton)
    menu.addAction("Bad image").connect("triggered()", lambda: heard.append("bad"))
    menu.addAction("Cannot tell").enabled = False
    menu.popup(qt.QPoint(0, 0))
    steps.pick(menu, "Bad")
    assert heard == ["bad"]
    assert not menu.visible
    with pytest.raises(AssertionError, match="disabled"):
        steps.pick(menu, "tell")
    with pytest.raises(AssertionError, match="fits 0"):
        steps.pick(menu, "Good")


def test_a_collapsible_box_opens_at_its_title(panel, steps):
    import ctk
    import qt

    box = ctk.ctkCollapsibleGroupBox(panel.parent)
    box.title = "Details"
    layout = qt.QVBoxLayout(box)
    inside = qt.QLabel("x")
    layout.addWidget(inside)
    panel.parent.layout().addWidget(box)
    box.collapsed = True
    steps.settle()
    closed = box.height
    assert not inside.visible
    steps.click(box)
    assert inside.visible
    assert not box.collapsed
    assert box.height > closed
