"""Training from the panel: started, watched, stopped, gone on with; the work on boxes is not disturbed."""

from __future__ import annotations

import pytest


@pytest.fixture
def ui(reader):
    return reader.ui("training")


@pytest.fixture
def answered(reader, ui, clinic):
    """One box is answered, the next is open, and the section is too."""
    reader.begin()
    reader.press("Ctrl+E")
    reader.until(lambda: clinic.answers and not reader.presenter.opened.sending.entries)
    reader.shown()
    reader.panel.sections["training"].container.collapsed = False
    return reader


@pytest.fixture
def training(answered, ui, clinic, steps):
    """Id of a training that goes on."""
    steps.click(ui.startButton)
    answered.until(lambda: clinic.jobs)
    answered.until(lambda: ui.cancelButton.visible)
    return next(iter(clinic.jobs))


def test_without_an_answer_there_is_nothing_to_train_on(reader, ui, steps):
    reader.panel.sections["training"].container.collapsed = False
    steps.click(ui.startButton)
    assert reader.host.widget.ui.messageLabel.text == "Answer some boxes first; the model learns from them."


def test_first_boxes_may_be_asked_for_before_the_end(answered, ui, clinic, steps):
    steps.click(ui.earlyCheck)
    steps.click(ui.startButton)
    answered.until(lambda: ui.cancelButton.visible)
    assert not ui.earlyCheck.visible
    assert [one.json for one in clinic.seen if one.path.endswith("/cycles")] == [{"early": True}]
    clinic.report(next(iter(clinic.jobs)), "early", 1, 4, None)
    answered.until(lambda: "first boxes" in ui.sentenceLabel.text)
    clinic.grow(3, cycle=1, early=True)
    answered.until(lambda: "First boxes are here" in ui.hintLabel.text)


def test_stage_share_and_time_left_are_shown(answered, training, ui, clinic):
    clinic.report(training, "train", 25, 100, 600.0)
    answered.until(lambda: "25 %" in ui.sentenceLabel.text)
    assert ui.sentenceLabel.text == "Training: 25 %, about 10 minutes left."
    assert ui.progressBar.value == 250
    assert not ui.startButton.visible


def test_editing_goes_on_and_new_boxes_come_without_disturbing_it(answered, training, ui, clinic):
    here = answered.here
    answered.paint("class-1", np_slab())
    drawn = answered.adapter.read().labels
    node = answered.adapter.segmentation_node
    clinic.finish(training)
    answered.until(lambda: ui.startButton.visible)
    answered.until(lambda: answered.ui("workList").patchTable.rowCount == 9)
    assert ui.sentenceLabel.text == "The training is done: new boxes are here."
    assert (answered.here, answered.adapter.segmentation_node) == (here, node)
    assert (answered.adapter.read().labels == drawn).all()
    assert "older model" in answered.ui("patch").sentenceLabel.text


def np_slab():
    import numpy as np

    return np.s_[:2]


def test_a_training_is_stopped_and_gone_on_with(answered, training, ui, clinic, steps):
    steps.click(ui.cancelButton)
    answered.until(lambda: ui.resumeButton.visible)
    assert clinic.jobs[training]["state"] == "cancelled"
    steps.click(ui.resumeButton)
    answered.until(lambda: clinic.jobs[training]["state"] == "running")
    answered.until(lambda: ui.cancelButton.visible)


def test_the_log_is_there_for_who_opens_it(answered, training, ui, clinic):
    clinic.jobs[training]["log"] = ["answers: 5 steps", "train: 100 steps"]
    answered.presenter.opened.records.refresh("jobs")
    answered.until(lambda: "train" in ui.logText.plainText)
    assert ui.logBox.visible
    assert ui.logBox.collapsed
    assert ui.logText.plainText.splitlines()[-1] == "train: 100 steps"


def test_a_failed_training_says_why(answered, training, ui, clinic):
    clinic.jobs[training].update(state="failed", error="The graphics card is out of memory.")
    clinic.tell("job.failed", training, kind="cycle")
    answered.until(lambda: "out of memory" in ui.sentenceLabel.text)
    assert ui.resumeButton.visible
    assert ui.startButton.visible
