"""The open box: shown, drawn in, answered by button or key; the next one comes by itself."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def ui(reader):
    return reader.ui("patch")


@pytest.fixture
def working(reader):
    """A box is open."""
    reader.begin()
    return reader


def test_the_panel_says_what_the_box_is_and_why_it_was_chosen(working, ui):
    assert ui.titleLabel.text.startswith("Box 1, patient")
    assert ui.whyLabel.text == "Less certain here."
    assert ui.modelLabel.text == "Starts from the prediction of model cycle-000."
    assert ui.editor.segmentationNode() is working.adapter.segmentation_node
    assert not ui.editor.readOnly
    assert ui.timeLabel.text.startswith("0:0")


def test_a_drawing_that_is_accepted_arrives_and_the_next_box_comes(working, ui, clinic, steps):
    first = working.here
    where = np.s_[1:3, 2:4, 0:5]
    before = working.adapter.read().labels
    working.paint("class-2", where)
    steps.click(ui.acceptButton)
    working.until(lambda: working.here not in (first, None))
    working.until(lambda: clinic.answers)
    answer = clinic.answers[0]
    expected = before.copy()
    expected[where] = 2
    assert (answer["patch"], answer["kind"]) == (first, "labelled")
    assert np.array_equal(working.sent_labels(answer), expected)
    assert ui.titleLabel.text.startswith("Box 2,")


KEYS = {"Ctrl+Shift+Return": "confirmed", "Ctrl+E": "empty"}


@pytest.mark.parametrize(("keys", "kind"), KEYS.items())
def test_one_key_answers(working, clinic, keys, kind):
    first = working.here
    working.press(keys)
    working.until(lambda: clinic.answers)
    assert [(one["patch"], one["kind"]) for one in clinic.answers] == [(first, kind)]
    assert working.shown() != first


def test_keys_of_answers_are_on_their_buttons(working, ui):
    assert ui.acceptButton.text == "Accept\nCtrl+Return"
    assert ui.confirmButton.text == "Confirm as is\nCtrl+Shift+Return"
    assert ui.skipButton.toolTip == "Skip this box, with a reason"


def test_a_box_is_skipped_with_a_reason_from_the_menu(working, ui, clinic, steps):
    steps.click(ui.skipButton)
    menu = working.panel.sections["patch"]._reasons
    assert [action.text for action in menu.actions()] == [
        "&1  The image is too bad",
        "&2  I cannot tell",
        "&3  This does not belong here",
    ]
    menu.actions()[1].trigger()
    menu.hide()
    working.until(lambda: clinic.answers)
    assert (clinic.answers[0]["kind"], clinic.answers[0]["reason"]) == ("skipped", "cannot-tell")


def test_a_box_is_referred_with_a_comment(working, ui, clinic, steps):
    assert not ui.referBox.visible
    working.press("Ctrl+R")
    assert ui.referBox.visible
    steps.click(ui.referSendButton)
    assert working.host.widget.ui.messageLabel.text == "Say who should look at this box."
    steps.type_text(ui.commentEdit, "Vessel or node?")
    steps.type_text(ui.referEdit, "Dr. Tanaka")
    steps.press(ui.referEdit, "Return")
    working.until(lambda: clinic.answers)
    body = clinic.answers[0]
    assert (body["kind"], body["refer_to"], body["comment"]) == ("referred", "Dr. Tanaka", "Vessel or node?")
    working.shown()
    assert not ui.referBox.visible
    assert ui.commentEdit.text == ""


def test_a_question_is_asked_only_before_a_drawing_is_thrown_away(working, ui, clinic, steps):
    import qt

    working.paint("class-1", np.s_[:2])
    working.host.answers.expect("answered as empty", qt.QMessageBox.No)
    steps.click(ui.emptyButton)
    assert working.session.state == "editing"
    working.host.answers.expect("answered as empty", qt.QMessageBox.Yes)
    steps.click(ui.emptyButton)
    working.until(lambda: clinic.answers)
    assert clinic.answers[0]["kind"] == "empty"


def test_the_editor_takes_no_strokes_while_an_answer_is_kept(working, ui):
    ui.editor.setActiveEffectByName("Paint")
    first = working.here
    working.panel.sections["patch"].onAccept()
    assert working.session.state == "keeping"
    assert ui.editor.readOnly
    assert ui.editor.activeEffect() is None
    assert not ui.acceptButton.enabled
    working.until(lambda: working.here not in (first, None))
    working.shown()
    assert not ui.editor.readOnly
    assert ui.editor.activeEffect().name == "Paint"


def test_no_key_gives_a_brush_while_an_answer_is_kept(working, ui, monkeypatch):
    chosen = []
    working.panel.sections["patch"].onAccept()
    assert working.session.state == "keeping"
    monkeypatch.setattr(type(ui.editor), "setActiveEffectByName", lambda _, name: chosen.append(name))
    working.panel.actions["unsure"]()  # a key would let the next box come first
    assert chosen == [], "Slicer's editor would take strokes though it is locked"


def test_what_keeps_strokes_from_working_is_said(working, ui):
    hint = ui.unsureLabel.text
    working.adapter.editor_node.SetSourceVolumeIntensityMask(True)
    working.adapter.editor_node.SetSourceVolumeIntensityMaskRange(20, 150)
    working.until(lambda: ui.unsureLabel.text != hint)
    assert ui.unsureLabel.text.startswith("Only grey values from 20 to 150 can be painted")
    working.adapter.editor_node.SetSourceVolumeIntensityMask(False)
    working.until(lambda: ui.unsureLabel.text == hint)


def test_after_slicers_own_editor_the_whole_box_can_be_painted_again(working, ui):
    import slicer

    from harness.mrml_painter import Painter

    node = working.adapter.segmentation_node
    working.host.exit()
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "SegmentEditor")
    other.SetAndObserveSegmentationNode(node)
    other.SetAndObserveSourceVolumeNode(working.adapter.image_node)
    everywhere = np.ones(working.session.screen.view.case.shape, bool)
    Painter(other).paint("class-1", everywhere)
    Painter(other).erase("class-1", everywhere)
    working.host.enter()
    working.paint("class-2", np.s_[:])
    assert (working.adapter.read().labels == 2).all()


def test_only_tools_that_keep_to_the_box_are_offered(working, ui):
    assert set(ui.editor.effectNameOrder()) == {
        "Paint", "Draw", "Erase", "Level tracing", "Scissors", "Threshold",
    }  # fmt: skip
    assert not ui.editor.unorderedEffectsVisible
    for name in ("segmentationNodeSelector", "sourceVolumeNodeSelector", "addRemoveSegmentButtons"):
        assert not getattr(ui.editor, f"{name}Visible")
    assert not ui.editor.maskingSectionVisible


def test_strokes_can_be_undone(working, ui):
    before = working.adapter.read().labels
    working.paint("class-1", np.s_[:2])
    assert not np.array_equal(working.adapter.read().labels, before)
    ui.editor.undo()
    assert np.array_equal(working.adapter.read().labels, before)


def test_the_key_for_unsure_goes_there_and_back(working, ui, clinic):
    ui.editor.setCurrentSegmentID("class-2")
    working.press("Ctrl+U")
    assert ui.editor.currentSegmentID() == "unsure"
    assert ui.editor.activeEffect().name == "Paint"
    working.paint("unsure", np.s_[:1])
    working.press("Ctrl+U")
    assert ui.editor.currentSegmentID() == "class-2"
    working.press("Ctrl+Return")
    working.until(lambda: clinic.answers)
    assert clinic.answers[0]["unsure"] is not None


def test_a_box_that_was_left_is_gone_on_with(working, ui, steps):
    first = working.here
    working.paint("class-1", np.s_[:2])
    drawn = working.adapter.read().labels
    steps.click(ui.nextButton)
    second = working.shown()
    assert second != first
    steps.click(ui.previousButton)
    assert working.shown(first) == first
    assert np.array_equal(working.adapter.read().labels, drawn)
    assert ui.modelLabel.text == "Goes on from your unfinished drawing."


def test_an_answer_can_be_corrected(working, ui, clinic):
    first = working.here
    working.press("Ctrl+Return")
    working.until(lambda: working.here not in (first, None))
    working.until(lambda: clinic.answers)
    working.press("Ctrl+Left")
    working.shown(first)
    assert ui.modelLabel.text == "Starts from the answer that was given before."
    working.paint("class-2", np.s_[:1])
    working.press("Ctrl+Return")
    working.until(lambda: len(clinic.answers) == 2)
    assert [one["patch"] for one in clinic.answers] == [first, first]


def test_the_colours_follow_their_controls(working, ui, steps):
    from NNActiveLogic.scene import nodes

    heat = nodes.find(nodes.Role.HEAT)
    ui.thresholdSlider.value = 0.4
    assert heat.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.4)
    steps.choose(ui.measureCombo, "Uncertainty about lesion")
    assert working.presenter.preferences.heat.measure == "class-2"
    steps.click(ui.heatCheck)
    assert not working.presenter.preferences.heat.visible
    assert not ui.opacitySlider.enabled
    working.press("Ctrl+D")
    assert ui.heatCheck.checked
    ui.heatBox.collapsed = False
    steps.click(ui.heat3DCheck)
    assert nodes.find(nodes.Role.RENDERING) is not None


def test_boxes_start_empty_when_that_is_wanted(reader, ui, steps):
    steps.click(ui.prefillCheck)
    reader.begin()
    assert ui.modelLabel.text == "Starts empty."
    assert not reader.adapter.read().labels.any()
    assert not ui.confirmButton.enabled


def test_what_is_shown_is_marked_when_a_newer_model_comes(working, ui, clinic):
    clinic.versions.append("cycle-001")
    clinic.model = "cycle-001"
    working.presenter.opened.records.refresh()
    working.until(lambda: "older model" in ui.sentenceLabel.text)
    assert working.adapter.is_open


def test_a_box_that_is_not_seen_is_not_answered(working, ui, clinic):
    from NNActiveLogic.scene import results

    cases = working.presenter.opened.records.now.cases
    case = next(one for one in cases if one.id != working.session.patch.case)
    results.show_case(case, working.presenter.opened.desk.client.image(case.id))
    working.panel.refresh()
    assert "Press Centre" in ui.sentenceLabel.text
    assert ui.editor.readOnly
    working.press("Ctrl+Return")
    assert working.adapter.is_shown
    assert working.session.state == "editing"
    assert not clinic.answers
    assert not ui.editor.readOnly


def test_a_scene_that_is_closed_keeps_the_drawing(working, ui):
    first = working.here
    working.paint("class-1", np.s_[:2])
    drawn = working.adapter.read().labels
    working.host.close_scene()
    working.panel.refresh()
    assert ui.editor.segmentationNode() is None
    working.session.jump(first)
    working.shown(first)
    assert np.array_equal(working.adapter.read().labels, drawn)


def test_the_users_own_nodes_are_left_alone(reader):
    import slicer

    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    editor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "SegmentEditor")
    editor.SetAndObserveSegmentationNode(own)
    reader.begin()
    reader.paint("class-1", np.s_[:2])
    assert editor.GetSegmentationNode() is own
    assert own.GetSegmentation().GetNumberOfSegments() == 0


def test_leaving_the_module_lets_go_of_views_and_keys(working, ui):
    from harness import qt_segment_editor

    ui.editor.setActiveEffectByName("Paint")
    working.host.exit()
    assert not qt_segment_editor.observes_views(ui.editor)
    assert not qt_segment_editor.shortcuts_installed(ui.editor)
    assert working.host.stale_shortcuts() == []
    working.host.enter()
    assert working.adapter.is_open
    assert ui.editor.activeEffect().name == "Paint"


def test_active_time_ends_with_the_last_input_and_goes_on_with_the_next(working, ui, steps):
    activity = working.session.screen.activity
    working.until(lambda: ui.timeLabel.text == "0:01")
    activity._last_input -= 1000
    pause = activity.seconds
    working.panel.sections["patch"].presence.look()
    steps.settle()
    assert activity.seconds == pause
    working.paint("class-1", np.s_[:2])
    working.until(lambda: activity.seconds > pause)


def test_time_stands_still_while_another_program_is_in_front(working, monkeypatch):
    import qt

    activity = working.session.screen.activity
    monkeypatch.setattr(qt.QApplication, "activeWindow", staticmethod(lambda: None))
    presence = working.panel.sections["patch"].presence
    presence.look()
    assert activity._behind
    monkeypatch.undo()
    presence.look()
    assert not activity._behind


def test_the_memory_for_what_comes_next_is_chosen_and_remembered(working, ui, module_file, load_module):
    assert ui.memoryBox.value == working.presenter.memory == 1024
    working.all_loaded()
    ui.memoryBox.value = 256
    assert working.session._cache.limit == 256 << 20
    working.host.unload()
    again = load_module(module_file)
    assert again.widget.logic.presenter.memory == 256
