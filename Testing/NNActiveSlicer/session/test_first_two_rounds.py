"""The whole work of a clinician: from an empty server to the second batch; real scans where there are any."""

from __future__ import annotations

import numpy as np
import pytest

BOX, BOXES = (14, 16, 14), 9
"""Small, so that many fit into few scans."""


@pytest.fixture
def scans(tmp_path):
    from testkit.known_scans import brain_scans

    return brain_scans(4, tmp_path / "phantoms")


def test_from_an_empty_server_to_the_second_batch(live, sit_down, scans, exact, steps, tmp_path):
    ann = sit_down(scans)
    assert ann.host.widget.ui.statusLabel.text.endswith("as ann (admin).")
    prepare(ann, live, scans)
    first_round(ann)
    told = training(ann, steps)
    ann.all_sent()
    labels, ignore = exact(ann, 0, told)
    assert sum((label != ignore).any() for label in labels.values()) >= 3
    second_round(ann, steps)
    progress(ann)
    export(ann, steps, tmp_path, labels)
    ann.all_sent()
    exact(ann, 1)
    assert not ann.opened.sending.entries


def prepare(ann, live, scans):
    """Images, size, first boxes."""
    ann.add_files([scan.image for scan in scans.scans])
    ann.know([scan.truth for scan in scans.scans])
    assert [case.name for case in ann.cases] == [f"case-{number:04d}" for number in range(1, 5)]
    ann.look_at(ann.cases[0])
    for value in range(1, len(scans.classes) + 1):
        ann.draw_rough_box(ann.cases[0], value)
    assert ann.suggest_size().startswith("Boxes of ")
    ann.use_size()
    assert ann.opened.project.patch_size == tuple(
        live.call("GET", f"/v1/projects/{ann.opened.project.id}").json()["patch_size"]
    )
    ann.settle_by(live, profile="smoke", patch_size=BOX, query_size=BOXES)
    ann.place_boxes()
    placed = ann.opened.records.now.patches
    assert [patch.class_name or patch.group for patch in placed] == [
        name for name in scans.classes for _ in range(2)
    ]
    for patch in placed:
        value = scans.classes.index(patch.group) + 1
        assert (ann.truth[patch.case][patch.box.slices] == value).any()
    if ann.opened.budget().random:
        ann.add_random_boxes()
    assert ann.panel.sections["project"].container.collapsed
    assert not ann.panel.sections["patch"].container.collapsed


def first_round(ann):
    """Every kind of answer; one is corrected afterwards. One box stays open."""
    ann.begin()
    assert ann.says("patch", "modelLabel") == "Starts empty."
    ann.answer(ann.brush)
    wrong = ann.wanted.copy()
    wrong[:, :, wrong.shape[2] // 2 :] = 0
    ann.write(wrong)
    ann.accept_as_it_is()
    ann.back()
    assert ann.says("patch", "modelLabel") == "Starts from the answer that was given before."
    assert np.array_equal(ann.adapter.read().labels, wrong)
    ann.answer(ann.brush)
    ann.brush(ann.wanted)
    unsure = np.zeros(ann.wanted.shape, bool)
    unsure[2:5, 3:9, 4:7] = True
    ann.mark_unsure(unsure)
    ann.accept_as_it_is(unsure)
    ann.skip()
    ann.refer("Dr. Tanaka")
    while ann.session.ahead.patches:
        ann.answer(ann.write)
    states = set(ann.rows(2))
    assert {"answered", "skipped", "open now" if "open now" in states else "open"} <= states
    assert ann.patch is not None


def training(ann, steps):
    """It goes on while a box is drawn in; what it brings leaves that box alone. What it learned from."""
    ann.all_sent()
    told = {case: ann.expected(case, 255) for case in ann.truth}
    ann.train()
    assert not ann.ui("training").startButton.visible
    here, node, boxes = ann.patch.id, ann.adapter.segmentation_node, len(ann.rows(0))
    half = ann.wanted.copy()
    half[:, half.shape[1] // 2 :] = 0
    half[0, 0, 0] = 1
    ann.brush(half)
    ann.until(lambda: ann.ui("training").progressBar.value > 0 or not ann.opened.training.running)
    ann.trained()
    assert ann.says("training") == "The training is done: new boxes are here."
    assert len(ann.rows(0)) == boxes + BOXES
    assert (ann.patch.id, ann.adapter.segmentation_node) == (here, node)
    assert np.array_equal(ann.adapter.read().labels, half)
    ann.answer(ann.brush)
    ignore = len(ann.opened.project.labels) + 1
    return {case: np.where(label == 255, ignore, label).astype(np.uint8) for case, label in told.items()}


def second_round(ann, steps):
    """The model's boxes: coloured by uncertainty, filled with its prediction."""
    from NNActiveLogic.scene import nodes

    assert (ann.patch.cycle, ann.patch.origin) == (1, "query")
    assert ann.patch.sentence == ann.says("patch", "whyLabel")
    assert ann.says("patch", "modelLabel") == "Starts from the prediction of model cycle-000."
    view = ann.session.screen.view
    assert np.array_equal(ann.adapter.read().labels, view.prefill)
    assert nodes.find(nodes.Role.HEAT) is not None
    red = ann.views.red
    coloured = red.pixels()
    ann.press("heat")
    grey = red.pixels()
    assert (coloured != grey).any(axis=2).mean() > 0.05, "the colours are seen"
    ann.press("heat")
    ann.confirm()
    kinds = [ann.answer(draw) for draw in (ann.brush, ann.write)]
    assert set(kinds) <= {"answered", "empty", "confirmed"}
    steps.choose(ann.ui("workList").filterCombo, "To do")
    assert len(ann.rows(0)) == sum(row.is_open for row in ann.opened.rows())


def progress(ann):
    """Curve, weak cases, a prediction; the open box is as it was afterwards."""
    from NNActiveLogic.scene import nodes

    ui = ann.ui("progress")
    ann.unfold("progress")
    ann.until(lambda: ui.latestLabel.visible)
    assert ui.adviceLabel.text == "There is not enough data yet to say whether another round will pay."
    assert ann.rows(0, ui.coverageTable) == [label.name for label in ann.opened.project.labels]
    qualities = [float(text) for text in ann.rows(1, ui.casesTable)]
    assert len(qualities) == len(ann.cases)
    assert qualities == sorted(qualities)
    ann.look_at_curve()
    assert nodes.of_class("vtkMRMLPlotChartNode")
    ann.look_at_curve()
    here, drawn = ann.patch.id, ann.adapter.read().labels
    ann.show_prediction(0)
    ann.press("centre")
    assert ann.patch.id == here
    assert np.array_equal(ann.adapter.read().labels, drawn)


def export(ann, steps, folder, labels):
    """Model and labels in a folder; the labels are those that the model learned from."""
    from nnactive_server.dataset import read_label

    ui = ann.ui("progress")
    ann.host.answers.expect("Folder for the model", str(folder))
    steps.click(ui.exportButton)
    ann.until(lambda: ui.exportLabel.text.startswith("The model and the labels are in "), what="the export")
    (saved,) = folder.glob("*_cycle-000")
    assert (saved / "model").is_dir()
    names = {case.id: case.name for case in ann.cases}
    for case, label in labels.items():
        (path,) = (saved / "labels").rglob(f"{names[case]}.*")
        np.testing.assert_array_equal(read_label(path).array, label)
